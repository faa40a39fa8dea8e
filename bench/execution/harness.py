"""What the harness itself takes: planning and scoring many made-up trials, with nothing trained."""

from __future__ import annotations

import hashlib
import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from bench.catalog import REFERENCE
from bench.errors import BenchError
from bench.execution.loops import CASES, scenario_of
from bench.execution.plan import plan_trials
from bench.metering.flops import FlopCount
from bench.records.schema import EvalRow, FlopFacts, Provenance, Summary, TrialRecord
from bench.records.speed import HarnessRecord, Piece
from bench.records.store import sealed, trial_folder
from bench.strategies.schedule import OneCycle
from bench.strategies.start import Fresh
from bench.strategies.strategy import Entrant, Strategy
from bench.training import TRAINING_VERSION
from bench.training.provenance import describe_run
from bench.training.spec import TrialSpec

_SEEDS = 10
_STEPS = 10  # between evaluations
_CURVES = 20  # that differ; the others repeat them
_FLOPS = FlopCount(forward=1_000, step=3_000, forward_fvcore=1_000)
_BATCH = 128


def measure_harness(trials: int, evaluations: int, told: Callable[[str], None] = lambda line: None) -> HarnessRecord:
    """Write so many finished trials to a temporary folder, and time planning them, `bench collect` and `bench leaderboard`.

    10,000 of 200 evaluations take 1.4 GB there. Raises BenchError for fewer than two strategies' trials.
    """
    if trials < 2 * _SEEDS:
        raise BenchError(f"--trials {trials}: expected at least {2 * _SEEDS}: scratch and another strategy. Raise it.")
    place = _place()
    specs = _specs(trials, evaluations)
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        told(f"writing {len(specs):,} trials of {evaluations} evaluations")
        write_made_up(results, specs, evaluations, place)
        pieces = []
        told("planning")
        begun, cpu = time.perf_counter(), time.process_time()
        planned = plan_trials(specs, results, "cpu", place.data_hash, fresh=False)
        assert all(trial.state == "finished" for trial in planned)
        pieces.append(
            Piece(
                name="plan",
                seconds=time.perf_counter() - begun,
                cpu_seconds=time.process_time() - cpu,
                megabytes=None,
            )
        )
        for name, words in (("collect", []), ("leaderboard", [])):
            told(name)
            pieces.append(_command(name, [name, "--results", str(results), *words]))
    return HarnessRecord(trials=len(specs), evaluations=evaluations, pieces=tuple(pieces), provenance=place)


def _place() -> Provenance:
    scenario = scenario_of(CASES["resnet8-12"], "fp32")
    return describe_run(scenario, "made up", "made up", torch.device("cpu"), False, "eager", "system")


def _specs(trials: int, evaluations: int) -> list[TrialSpec]:
    scenario = scenario_of(CASES["resnet8-12"], "fp32")
    grid = scenario.evaluation.model_copy(update={"points": evaluations})
    scenario = scenario.model_copy(update={"evaluation": grid})
    found = []
    for number in range(trials // _SEEDS):
        name = f"strategy-{number:04d}" if number else REFERENCE
        entrant = Entrant(name, Strategy(title=name.title(), start=Fresh(), schedule=OneCycle(0.1)))
        found += [TrialSpec(scenario, entrant, 1, seed) for seed in range(_SEEDS)]
    return found


def write_made_up(results: Path, specs: Sequence[TrialSpec], evaluations: int, place: Provenance) -> None:
    """Write finished records: curves that rise to 0.8, some faster than scratch's and some never there, with noise."""
    curves = [list(_curve(number, evaluations)) for number in range(_CURVES)]
    texts = ["".join(f"{row.model_dump_json(exclude_unset=True)}\n" for row in curve) for curve in curves]
    scenario = specs[0].scenario
    plain, scenario_hash = scenario.model_dump(mode="json"), scenario.hash()
    for number, spec in enumerate(specs):
        curve = number % _CURVES
        record = TrialRecord(
            training_version=TRAINING_VERSION,
            scenario=plain,
            scenario_hash=scenario_hash,
            strategy=spec.entrant.describe(),
            strategy_hash=spec.entrant.hash(),
            update=1,
            seed=spec.seed,
            horizon=spec.horizon,
            total_steps=_STEPS * evaluations,
            scratch_steps=_STEPS * evaluations,
            flops_per_image=FlopFacts(**asdict(_FLOPS)),
            parameters=1_000,
            base=None,
            provenance=place,
            status="finished",
            evals_sha256=hashlib.sha256(texts[curve].encode()).hexdigest(),
            summary=_summary(curves[curve][-1], f"{spec.entrant.name}-{spec.seed}"),
        )
        folder = trial_folder(results, scenario.name, spec.entrant.name, spec.horizon, spec.seed)
        folder.mkdir(parents=True)
        (folder / "trial.json").write_text(sealed(record).model_dump_json(indent=1) + "\n", encoding="utf-8")
        (folder / "evals.jsonl").write_text(texts[curve], encoding="utf-8")


def _curve(number: int, evaluations: int) -> Iterator[EvalRow]:
    draw = random.Random(number)
    rate = 4 + (number % 7 - 1) / 3
    for place in range(1, evaluations + 1):
        step, accuracy = _STEPS * place, 0.8 * (1 - math.exp(-rate * place / evaluations)) + draw.gauss(0, 0.004)
        yield EvalRow(
            step=step,
            epoch=step / 10,
            images=step * _BATCH,
            train_flops=step * _BATCH * _FLOPS.step,
            aux_flops=step * 8_000,
            evaluate_flops=place * 100_000,
            train_seconds=step * 0.1,
            device_seconds=step * 0.1,
            evaluate_seconds=place * 0.1,
            gpu_joules=None,
            learning_rate=0.1,
            train_loss=1 / step,
            validation_accuracy=accuracy,
            validation_accuracy_old=None,
            validation_accuracy_new=None,
            test_accuracy=None if place % 5 and place < evaluations else accuracy,
        )


def _summary(last: EvalRow, fingerprint: str) -> Summary:
    costs = (
        "images",
        "train_flops",
        "aux_flops",
        "evaluate_flops",
        "train_seconds",
        "device_seconds",
        "evaluate_seconds",
    )
    assert last.test_accuracy is not None
    return Summary(
        steps=last.step,
        **{name: getattr(last, name) for name in costs},
        io_seconds=0.1,
        prepare_seconds=0.2,
        build_seconds=0.3,
        wall_seconds=last.train_seconds + last.evaluate_seconds + 0.6,
        unaccounted_share=0.0,
        gpu_joules=None,
        gpu_joules_reason="a CPU trial",
        sittings=1,
        validation_accuracy=last.validation_accuracy,
        test_accuracy=last.test_accuracy,
        weights_sha256=fingerprint,
    )


def _command(name: str, words: Sequence[str]) -> Piece:
    """Run a command of bench in a process of its own. Raises BenchError if it fails."""
    used = usage_of([sys.executable, "-m", "bench", *words])
    if used.code:
        raise BenchError(
            f"bench {name}: exit code {used.code} ({used.stderr.strip()[-200:]}), expected 0. Run it by itself."
        )
    return Piece(name=name, seconds=used.seconds, cpu_seconds=used.cpu_seconds, megabytes=used.megabytes)


@dataclass(frozen=True)
class Usage:
    """What a command took, and how it ended. megabytes: the most that was resident."""

    seconds: float
    cpu_seconds: float
    megabytes: float
    code: int
    stdout: str
    stderr: str


# The most that was resident counts from before a program is loaded: a process that PyTorch made large would be in every number.
_LAUNCHER = """
import os, subprocess, sys, time
begun = time.perf_counter()
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
with open(sys.argv[1], "w") as file:
    spent, code = usage.ru_utime + usage.ru_stime, os.waitstatus_to_exitcode(status)
    print(time.perf_counter() - begun, spent, usage.ru_maxrss, code, file=file)
"""


def usage_of(words: Sequence[str]) -> Usage:
    """Run a command to its end, started by a small process, and return what it took."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "usage"
        done = subprocess.run(
            [sys.executable, "-S", "-c", _LAUNCHER, str(said), *words], check=True, capture_output=True, text=True
        )
        seconds, spent, most, code = said.read_text().split()
    kilobytes = int(most) / (1024 if sys.platform == "darwin" else 1)
    return Usage(float(seconds), float(spent), kilobytes / 1024, int(code), done.stdout, done.stderr)
