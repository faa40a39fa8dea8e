"""Updating a model of one's own: what there is, whether to continue it or to train a new one, and the new model as a file."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.analysis.studies.decision import MARGIN
from bench.catalog import REFERENCE
from bench.errors import BenchError, NothingToCompareError, RecordError, ScenarioError, TrialError

if TYPE_CHECKING:
    from bench.analysis.studies.decision import Decision
    from bench.analysis.studies.pilots import Pilot
    from bench.api.named import ScenarioLike, StrategyLike
    from bench.api.plans import Plan
    from bench.api.results import Results
    from bench.execution.listener import Listener
    from bench.execution.plan import PlannedTrial
    from bench.execution.preflight import Preflight
    from bench.models.export import Card
    from bench.records.collect import Records
    from bench.records.schema import Summary, TrialRecord
    from bench.scenario import Scenario
    from bench.training.spec import TrialSpec

# Naive's full length costs as much as scratch, so that it could save nothing.
COMPARED = (REFERENCE, "naive[horizon=0.5]", "optimized")


@dataclass(frozen=True)
class Updated:
    """What bench.update leaves behind.

    decision: None where scratch was not run. models: strategy -> folder of its model.safetensors and model.json; the first is
    the one to use. results: the records. pilot: what it points to, where it was a pilot, which leaves no models.
    """

    output: Path
    decision: Decision | None
    models: dict[str, Path]
    results: Results
    pilot: Pilot | None = None


def update_scenario(
    old: str | os.PathLike[str],
    new: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    weights: str | None = None,
    architecture: str | None = None,
    preprocessing: str | None = None,
    trained_on: str | os.PathLike[str] | None = None,
    untrained_is_fine: bool = False,
    name: str = "update",
    image_size: int | None = None,
    epochs: int = 30,
    batch_size: int = 64,
    learning_rate: float = 0.1,
    validation: str | os.PathLike[str] | None = None,
    test: str | os.PathLike[str] | None = None,
    validation_share: float | None = None,
    test_share: float | None = None,
    duplicates: str = "drop",
    max_megapixels: int = 64,
    old_layout: str | None = None,
    new_layout: str | None = None,
) -> Scenario:
    """Return the scenario of updating a model with a folder of new images. Lists the folders, reads no image.

    old, new: folders with one folder per class, or .npz archives, see docs/own-data.md. A class of `new` that is in `old` is
    the same class; what arrives is derived from the folders. model: a file of the old model's weights; None trains one on
    `old`. weights: "ema", "model" or a name, where it holds several models. The card of a model that bench.update wrote,
    model.json beside it, says its architecture and pixels. architecture: its name, None for the card's, or resnet8.
    preprocessing: "imagenet" where the model expects pixels normalized so; "imagenet-224" where it also expects them resized
    to 256 and cropped to 224. image_size: pixels, square; None for what is cropped, or 64. trained_on: a text file that lists
    those images of `old` that the model was trained on, see docs/own-data.md. untrained_is_fine: take a model that does not
    stand out from guessing, too. max_megapixels: larger images are refused. epochs: scratch's budget. learning_rate: its
    peak. validation, test: folders of held-out images of all classes; None cuts a share off `old` and `new`.
    validation_share, test_share: of each class's images; None for 0.2. duplicates: "refuse" where an image that comes twice
    is an error. old_layout, new_layout: "classes" or "splits", how to read a folder that could be two things.
    Raises DataError for folders that cannot be used, ScenarioError for a value out of range.
    """
    from bench.scenario import RESIZED_PRESETS, parse_scenario

    folders = [Path(place).absolute() for place in (old, new)]
    part = _model_part(model, architecture, preprocessing)
    if trained_on is not None:
        part["trained_on"] = str(Path(trained_on).absolute())
    if weights is not None:
        part["weights"] = weights
    if untrained_is_fine:
        part["untrained_is_fine"] = True
    architecture = part["name"]
    size = image_size or int(part.get("crop") or RESIZED_PRESETS.get(preprocessing or "", (0, 64))[1])
    content: dict[str, Any] = {
        "name": re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "update",
        "title": f"{folders[0].name}, then {folders[1].name} ({architecture}, {size} px)",
        "kind": "mixed",
        "stages": [
            {"folder": str(folder)} | ({} if layout is None else {"layout": layout})
            for folder, layout in zip(folders, (old_layout, new_layout), strict=True)
        ],
        "data": {
            "validation_share": 0.2 if validation_share is None and validation is None else validation_share,
            "test_share": 0.2 if test_share is None and test is None else test_share,
            "image_size": size,
            "max_megapixels": max_megapixels,
            "duplicates": duplicates,
            "validation": None if validation is None else str(Path(validation).absolute()),
            "test": None if test is None else str(Path(test).absolute()),
        },
        "model": part,
        "training": {
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "label_smoothing": 0.1,
            "precision": "fp32",
            "crop_padding": max(1, size // 8),
            "flip": True,
        },
        "evaluation": {"points": 20, "test_every": 5},
    }
    scenario = parse_scenario(content, "bench update")
    return scenario.model_copy(update={"root": Path.cwd()})


def _model_part(
    model: str | os.PathLike[str] | None, architecture: str | None, preprocessing: str | None
) -> dict[str, Any]:
    """Return a scenario's model part. Raises ScenarioError for a card that is not one of bench's, or says something else."""
    from bench.models.export import read_card

    card = read_card(Path(model)) if model is not None else None
    if card and architecture and architecture != card["architecture"]:
        raise ScenarioError(
            f"{model}: its model.json says {card['architecture']}, found architecture {architecture!r}. Leave it out."
        )
    part: dict[str, Any] = {"name": card["architecture"] if card else architecture or "resnet8"}
    brought = {"mean", "std", "resize", "crop"} if card else set[str]()
    if preprocessing:
        part["preprocessing"] = preprocessing
        brought -= {"mean", "std"} if preprocessing == "imagenet" else {"mean", "std", "resize", "crop"}
    part |= {name: card[name] for name in sorted(brought) if card and name in card}
    return part if model is None else part | {"checkpoint": str(Path(model).absolute())}


def write_scenario(scenario: Scenario, path: Path) -> None:
    """Write a scenario file that reads as the same scenario; it must not name anything relative to another folder."""
    from bench.files import make_folder, write_atomically

    content = scenario.model_dump(mode="json")
    lines = [f"{key} = {_toml(content.pop(key))}" for key in list(content) if not isinstance(content[key], dict)]
    for part, values in content.items():
        lines += ["", f"[{part}]", *(f"{key} = {_toml(value)}" for key, value in values.items() if value is not None)]
    make_folder(path.parent)
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def plan_update(
    scenario: ScenarioLike,
    output: str | os.PathLike[str],
    strategies: Iterable[StrategyLike] = COMPARED,
    seeds: Iterable[int] | None = None,
    *,
    pilot: float | None = None,
    **options: Any,
) -> Plan:
    """Return the plan of an update: its records go to <output>/runs, the weights of its trials to <output>/weights.

    A strategy runs without those of its pieces that cannot run here, which are then in Plan.left_out.
    seeds: None for 0, 1 and 2, in a pilot for 0. pilot: a share of the training images, such as 0.1, to compare on instead of all
    (experimental); its records go to <output>/pilot/runs, and no weights are kept.
    options: as for plan(). Raises ScenarioError for a chain of several updates, and a BenchError as plan() does.

    >>> import bench
    >>> plan = bench.plan_update("digits-7-3", "output-of-the-example", seeds=[0])
    >>> plan.trials[["strategy", "horizon"]].to_dict("list")
    {'strategy': ['scratch', 'naive', 'optimized'], 'horizon': [1.0, 0.5, 0.44]}
    """
    from bench.api.named import load_scenario
    from bench.api.plans import plan

    asked = load_scenario(scenario)
    if asked.updates != 1:
        raise ScenarioError(
            f"{asked.name}: a chain of {asked.updates} updates, expected one update: two stages. Use bench run for a chain."
        )
    folder = Path(output)
    if pilot is not None:
        asked, folder = asked.as_pilot(pilot), folder / "pilot"
    numbers = seeds if seeds is not None else range(1 if pilot else 3)
    weights = None if pilot else folder / "weights"
    return plan(asked, strategies, numbers, results=folder / "runs", models=weights, adapt=True, **options)


def preflight(plan: Plan) -> Preflight:
    """Return what a plan would train on, class by class, and how good a given old model is. Reads the images, trains nothing.

    Raises ScenarioError for an old model that is no better than guessing.
    """
    from bench.execution.preflight import look_at

    return look_at(plan._local)


def update(
    plan: Plan,
    output: str | os.PathLike[str],
    *,
    margin: float = MARGIN,
    keep: Sequence[str] = (),
    jobs: int = 1,
    listener: Listener | None = None,
) -> Updated:
    """Run a plan as returned by plan_update, and write the answer and the model into its output folder.

    Writes verdict.json, where scratch is among the strategies, and model.safetensors with model.json: of the cheapest strategy
    that is shown to lose less than `margin` of scratch's accuracy (a fraction), else of scratch; where scratch was not
    run, of the first strategy. keep: further strategies whose models are written, to models/<strategy>/. Each model is that of
    the first seed. jobs, listener: as for run(). Of a pilot, verdict.json is all that is written, to <output>/pilot.
    Raises BenchError for a margin that is not between 0 and 1 or a strategy that was not run, TrialError where a trial fails,
    RecordError where a finished trial's weights are not in <output>/weights.
    """
    from bench.analysis.studies.decision import decide
    from bench.api.plans import run
    from bench.models.export import write_json

    if not 0 <= margin < 1:
        raise BenchError(f"margin {margin:g}: expected a fraction from 0 to below 1, such as 0.005. Change it.")
    names = [each.name for each in plan.strategies]
    runs = {each.asked: each.runs for each in plan.left_out}
    keep = [runs.get(name, name) for name in keep]
    unknown = [name for name in keep if name not in names]
    if unknown:
        raise BenchError(
            f"keep {unknown[0]!r}: not among the strategies, expected one of {', '.join(names)}. Change it."
        )
    if plan.scenario.pilot:
        return _run_pilot(plan, plan.scenario.pilot.share, Path(output), margin, keep, jobs, listener)
    folder, results = Path(output), run(plan, jobs=jobs, listener=listener)
    trials = {trial.spec.entrant.name: trial for trial in reversed(plan._local.look())}  # of each, the first seed
    decision = None
    if REFERENCE in names and len(names) > 1:
        part = _asked(plan, results)
        decision = replace(decide(part.trials, part.evals, margin), likely_seen=_likely_seen(plan))
    chosen = (decision.chosen.strategy if decision.chosen else REFERENCE) if decision else names[0]
    if decision and decision.chosen:
        horizon = decision.chosen.horizon
        trials[chosen] = next(
            trial for trial in plan._local.look() if trial.spec.entrant.name == chosen and trial.spec.horizon == horizon
        )
    models = {chosen: folder} | {name: folder / "models" / name for name in keep if name != chosen}
    for name, place in models.items():
        _write(plan, trials[name], folder / "weights", place)
    if decision:
        write_json(folder / "verdict.json", _verdict(plan, decision, chosen, results))
    return Updated(folder, decision, models, results)


def _run_pilot(
    plan: Plan, share: float, output: Path, margin: float, keep: Sequence[str], jobs: int, listener: Listener | None
) -> Updated:
    """Run a pilot, and write what it points to. Raises BenchError where it has nothing to compare, or is to leave a model,
    NothingToCompareError where its scratch learned nothing.
    """
    from bench.analysis.studies.decision import decide
    from bench.analysis.studies.pilots import read_pilot
    from bench.api.plans import run
    from bench.models.export import write_json
    from bench.reporting.updates import pilot_lines

    if keep or len(plan.strategies) == 1 or REFERENCE not in [each.name for each in plan.strategies]:
        found = f"keep {keep[0]!r}" if keep else f"strategy {plan.strategies[0].name!r} alone"
        raise BenchError(
            f"pilot: found {found}, but a pilot compares with {REFERENCE} and leaves no model. Remove one."
        )
    results = run(plan, jobs=jobs, listener=listener)
    part = _asked(plan, results)
    try:
        decision = replace(decide(part.trials, part.evals, margin), likely_seen=_likely_seen(plan))
    except NothingToCompareError as cause:
        reason = str(cause).split(", so there is no target", 1)[0]
        raise NothingToCompareError(
            f"{reason}: this pilot says nothing. Give a larger share, or compare as a whole."
        ) from cause
    pilot = read_pilot(part.trials, decision, share, plan._local.whole_budget)
    content = {
        "answer": "pilot",
        "sentence": pilot_lines(pilot, decision)[0],
        "points_to": pilot.points_to,
        "share": share,
        "cost_percent": 100 * pilot.cost,
        "scenario": plan.scenario.name,
        "scenario_hash": plan.scenario.hash(),
        "seeds": list(plan.seeds),
        "by_rule": _plain(asdict(decision)),
    }
    write_json(output / "pilot" / "verdict.json", content)
    return Updated(output, decision, {}, results, pilot)


def _asked(plan: Plan, results: Results) -> Records:
    """Return the records of a plan's own trials: its folder may hold those of an earlier one as well."""
    part = results._records.of(plan.scenario.name)
    asked = {(each.name, each.strategy.horizon) for each in plan.strategies}
    keys = zip(*(part.trials[name] for name in ("strategy", "horizon", "seed")), strict=True)
    return part.only(part.trials[[(name, at) in asked and seed in plan.seeds for name, at, seed in keys]])


def _likely_seen(plan: Plan) -> str:
    """Return what the records say of whether the given old model was trained on held-out images; "" for nothing."""
    from bench.records.store import read_trial
    from bench.training.given import in_words

    records = (read_trial(trial.folder) for trial in plan._local.look())
    tests = (record.given.seen_test for record in records if record and record.given and record.given.seen_test)
    return next((in_words(found) for found in tests if found.likely), "")


def _write(plan: Plan, trial: PlannedTrial, weights: Path, folder: Path) -> None:
    """Write one trial's model."""
    from bench.models.export import write_model
    from bench.records.store import read_trial
    from bench.training.kept import kept_model

    record = read_trial(trial.folder)
    if record is not None and record.status == "diverged":
        raise TrialError(
            f"{trial.spec.entrant.name}, seed {trial.spec.seed}: diverged, so there is no model of it. Lower the learning rate, "
            "or choose another strategy."
        )
    if record is None or record.summary is None:
        raise RecordError(f"{trial.folder}: not finished, expected a finished trial. Run the same command again.")
    found = kept_model(weights, trial.spec, record.summary.weights_sha256)
    if found is None:
        raise RecordError(
            f"{weights}: no weights of {trial.spec.entrant.name}, seed {trial.spec.seed}, though its record is finished. "
            f"Run the same command again with --fresh."
        )
    write_model(folder, found, _heads(plan), _card(plan, trial.spec, record, record.summary))


def _heads(plan: Plan) -> frozenset[str]:
    """Return the keys of the model's weights that have a row per class."""
    from bench.models.build import head_keys

    channels, height, _ = plan._local.images.image_shape
    return head_keys(plan.scenario.model.name, channels, len(plan._local.split.class_order), height)


def _card(plan: Plan, spec: TrialSpec, record: TrialRecord, summary: Summary) -> Card:
    from bench.models.export import Card
    from bench.version import __version__

    local = plan._local
    normalize = local.data_of(0, False).train.normalize
    resize, crop = plan.scenario.model.resizing or (None, None)
    continued = spec.entrant.strategy.needs_base
    return Card(
        architecture=plan.scenario.model.name,
        classes=tuple(local.images.class_names[place] for place in local.split.class_order.tolist()),
        channels=local.images.image_shape[0],
        image_size=plan.scenario.data.image_size,
        mean=normalize.unit_mean,
        std=normalize.unit_std,
        precision=plan.scenario.training.precision,
        strategy=spec.entrant.name,
        horizon=spec.horizon,
        seed=spec.seed,
        validation_accuracy=summary.validation_accuracy,
        test_accuracy=summary.test_accuracy,
        flops=summary.train_flops + summary.aux_flops,
        device_seconds=summary.device_seconds,
        scenario_hash=record.scenario_hash,
        data_hash=record.provenance.data_hash,
        weights_sha256=summary.weights_sha256,
        old_model_sha256=record.given.sha256 if continued and record.given else None,
        bench=__version__,
        resize=resize,
        crop=crop,
    )


def _verdict(plan: Plan, decision: Decision, chosen: str, results: Results) -> dict[str, Any]:
    """Return the answer as plain values; what is not known is null. left_out: only where records could not be read."""
    from bench.reporting.updates import decision_lines

    horizon = decision.chosen.horizon if decision.chosen else 1.0
    name = next((each.asked for each in plan.left_out if each.runs == chosen), chosen)
    settings = f",horizon={horizon:g}]" if name.endswith("]") else f"[horizon={horizon:g}]"
    again = chosen if chosen == REFERENCE else f"{name.removesuffix(']')}{settings}"
    return {
        "answer": decision.answer,
        "sentence": decision_lines(decision)[0],
        "use": chosen,
        "horizon": horizon,
        "next_time": None if decision.answer == "undecided" else f"--only '{again}'",
        "scenario": plan.scenario.name,
        "scenario_hash": plan.scenario.hash(),
        "seeds": list(plan.seeds),
        "left_out": [asdict(each) for each in plan.left_out],
        **_plain(asdict(decision)),
        **({"left_out": results.unreadable["where"].tolist()} if len(results.unreadable) else {}),
    }


def _plain(value: Any) -> Any:
    """Return plain values with null for each number that is none."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _toml(value: Any) -> str:
    """Return a plain value as TOML. Its strings are JSON's, without JSON's pairs of escapes for one character."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items() if each is not None) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
