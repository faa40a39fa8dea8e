"""bench: what does updating a trained model cost, compared with training again, at the same accuracy?

To run and compare strategies from Python: plan, run, load_results, report, plan_ablation, ablate. To write a strategy: Strategy
and the pieces of its nine aspects. docs/python.md and docs/strategies.md show both.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bench.processors import let_threads_wait_briefly
from bench.version import __version__

let_threads_wait_briefly()

# Loaded on first use: most of these need torch, `import bench` and `bench leaderboard` do not.
_PUBLIC = {
    "Ablation": "bench.api.ablations",
    "AblationPlan": "bench.api.ablations",
    "Batch": "bench.strategies.objective",
    "BeforeDecay": "bench.strategies.start",
    "BenchError": "bench.errors",
    "ClassMeans": "bench.strategies.head",
    "Cosine": "bench.strategies.schedule",
    "CrossEntropy": "bench.strategies.objective",
    "DirectionAwareShrink": "bench.strategies.start",
    "FreezeStages": "bench.strategies.freezing",
    "Fresh": "bench.strategies.start",
    "InfoBatch": "bench.strategies.selection",
    "Keep": "bench.strategies.start",
    "L2Init": "bench.strategies.regularizer",
    "LearningSpeed": "bench.strategies.selection",
    "Linear": "bench.strategies.schedule",
    "Logistic": "bench.strategies.head",
    "MultiStep": "bench.strategies.schedule",
    "NoAveraging": "bench.strategies.averaging",
    "NoFreezing": "bench.strategies.freezing",
    "NoRegularizer": "bench.strategies.regularizer",
    "NoTeacher": "bench.strategies.teacher",
    "Objective": "bench.strategies.objective",
    "OldModelFilter": "bench.strategies.selection",
    "OldShare": "bench.strategies.selection",
    "OldShareOverTime": "bench.strategies.selection",
    "OldTeacher": "bench.strategies.teacher",
    "OneCycle": "bench.strategies.schedule",
    "Plan": "bench.api.plans",
    "Pool": "bench.data.feed.batches",
    "RandomHead": "bench.strategies.head",
    "ReducibleLoss": "bench.strategies.selection",
    "Results": "bench.api.results",
    "Ridge": "bench.strategies.head",
    "Scenario": "bench.scenario",
    "Setting": "bench.strategies.objective",
    "ShrinkAndNoise": "bench.strategies.start",
    "ShrinkAndPerturb": "bench.strategies.start",
    "Strategy": "bench.strategies.strategy",
    "TailDecay": "bench.strategies.averaging",
    "TailMean": "bench.strategies.averaging",
    "Tuned": "bench.api.tuning",
    "Uniform": "bench.strategies.selection",
    "Updated": "bench.api.updates",
    "WarmupStableDecay": "bench.strategies.schedule",
    "ablate": "bench.api.ablations",
    "build_model": "bench.api.named",
    "check_strategy": "bench.api.contracts",
    "find_horizons": "bench.api.horizons",
    "frontier": "bench.api.horizons",
    "import_curves": "bench.api.imports",
    "load_results": "bench.api.results",
    "load_scenario": "bench.api.named",
    "new": "bench.api.starts",
    "plan": "bench.api.plans",
    "plan_ablation": "bench.api.ablations",
    "plan_update": "bench.api.updates",
    "preflight": "bench.api.updates",
    "prepare": "bench.api.plans",
    "report": "bench.api.results",
    "run": "bench.api.plans",
    "strategy": "bench.api.named",
    "track": "bench.api.tracking",
    "tune": "bench.api.tuning",
    "update": "bench.api.updates",
    "update_scenario": "bench.api.updates",
}

__all__ = [
    "Ablation",
    "AblationPlan",
    "Batch",
    "BeforeDecay",
    "BenchError",
    "ClassMeans",
    "Cosine",
    "CrossEntropy",
    "DirectionAwareShrink",
    "FreezeStages",
    "Fresh",
    "InfoBatch",
    "Keep",
    "L2Init",
    "LearningSpeed",
    "Linear",
    "Logistic",
    "MultiStep",
    "NoAveraging",
    "NoFreezing",
    "NoRegularizer",
    "NoTeacher",
    "Objective",
    "OldModelFilter",
    "OldShare",
    "OldShareOverTime",
    "OldTeacher",
    "OneCycle",
    "Plan",
    "Pool",
    "RandomHead",
    "ReducibleLoss",
    "Results",
    "Ridge",
    "Scenario",
    "Setting",
    "ShrinkAndNoise",
    "ShrinkAndPerturb",
    "Strategy",
    "TailDecay",
    "TailMean",
    "Tuned",
    "Uniform",
    "Updated",
    "WarmupStableDecay",
    "__version__",
    "ablate",
    "build_model",
    "check_strategy",
    "find_horizons",
    "frontier",
    "import_curves",
    "load_results",
    "load_scenario",
    "new",
    "plan",
    "plan_ablation",
    "plan_update",
    "preflight",
    "prepare",
    "report",
    "run",
    "strategy",
    "track",
    "tune",
    "update",
    "update_scenario",
]

if TYPE_CHECKING:
    from bench.api.ablations import Ablation, AblationPlan, ablate, plan_ablation
    from bench.api.contracts import check_strategy
    from bench.api.horizons import find_horizons, frontier
    from bench.api.imports import import_curves
    from bench.api.named import build_model, load_scenario, strategy
    from bench.api.plans import Plan, plan, prepare, run
    from bench.api.results import Results, load_results, report
    from bench.api.starts import new
    from bench.api.tracking import track
    from bench.api.tuning import Tuned, tune
    from bench.api.updates import Updated, plan_update, preflight, update, update_scenario
    from bench.data.feed.batches import Pool
    from bench.errors import BenchError
    from bench.scenario import Scenario
    from bench.strategies.averaging import NoAveraging, TailDecay, TailMean
    from bench.strategies.freezing import FreezeStages, NoFreezing
    from bench.strategies.head import ClassMeans, Logistic, RandomHead, Ridge
    from bench.strategies.objective import Batch, CrossEntropy, Objective, Setting
    from bench.strategies.regularizer import L2Init, NoRegularizer
    from bench.strategies.schedule import Cosine, Linear, MultiStep, OneCycle, WarmupStableDecay
    from bench.strategies.selection import (
        InfoBatch,
        LearningSpeed,
        OldModelFilter,
        OldShare,
        OldShareOverTime,
        ReducibleLoss,
        Uniform,
    )
    from bench.strategies.start import (
        BeforeDecay,
        DirectionAwareShrink,
        Fresh,
        Keep,
        ShrinkAndNoise,
        ShrinkAndPerturb,
    )
    from bench.strategies.strategy import Strategy
    from bench.strategies.teacher import NoTeacher, OldTeacher


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
