"""Auditing a record: does the ledger of its trial agree with a real counter?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from bench.catalog import installed_names, strategy_names
from bench.data.feed.update import Update, build_update
from bench.data.sources.find import load_images
from bench.data.stages.splits import cut
from bench.errors import RecordError
from bench.models import build_model
from bench.records.schema import BaseCost, TrialRecord
from bench.records.store import read_trial
from bench.scenario import Scenario, load_scenario, parse_scenario
from bench.strategies.strategy import Entrant
from bench.strategies.variants import load_variant
from bench.streams import torch_stream
from bench.training.audit import AuditedPart, replay
from bench.training.learner import Learner
from bench.training.spec import Base, TrialSpec


@dataclass(frozen=True)
class Audit:
    """The result of auditing one record. parts: the replayed ones, then the record's figures against recomputed ones."""

    trial: str
    parts: tuple[AuditedPart, ...]

    @property
    def agrees(self) -> bool:
        return all(part.agrees for part in self.parts)


def audit_record(
    folder: Path, strategy: str | None, data_root: Path, device: torch.device, scenario_file: Path | None = None
) -> Audit:
    """Replay some steps of the trial recorded in `folder`, and compare the record's figures with recomputed ones.

    strategy: path of the strategy's file, if it is not a shipped one. scenario_file: the scenario's, which its folders of one's
    own are relative to; without it they are looked for in the current folder, and around the record. No base model is needed:
    counts depend on shapes alone, so a fresh model stands in for it.
    Raises RecordError if there is no finished trial, if the strategy or scenario found is not the recorded one, or if the
    scenario's folders are not found.
    """
    record = read_trial(folder)
    if record is None or record.summary is None:
        raise RecordError(
            f"{folder}: no finished trial, expected its trial.json. Name a record's folder, seed-<n> or update-<k>."
        )
    scenario = _with_root(record, folder, scenario_file)
    entrant = _entrant(record, folder, strategy)
    images = load_images(scenario, data_root)
    spec = TrialSpec(scenario, entrant, record.update, record.seed)
    update = build_update(scenario, images, cut(scenario, images), record.update, device, whole=spec.whole)
    base = _stand_in(scenario, update, record.seed) if entrant.strategy.needs_base else None
    learner, parts = replay(spec, update, base, device)
    return Audit(str(folder), (*parts, *_recorded(record, learner, parts)))


def _with_root(record: TrialRecord, folder: Path, scenario_file: Path | None) -> Scenario:
    """Return the recorded scenario, with the folder that its own folders are relative to."""
    scenario = parse_scenario(record.scenario, str(folder / "trial.json"))
    if scenario_file is not None:
        named = load_scenario(scenario_file)
        if named.hash() != record.scenario_hash:
            raise RecordError(
                f"{scenario_file}: another scenario than the recorded one (hash {named.hash()}, expected "
                f"{record.scenario_hash}). Give the file that the trial was run with."
            )
        return scenario.model_copy(update={"root": named.root})
    wanted = [stage.folder for stage in scenario.stages if stage.folder]
    if not wanted:
        return scenario
    # A record holds no absolute path. Its results usually lie beside the scenario's file, or below the current folder.
    looked = list(dict.fromkeys([Path.cwd(), *folder.resolve().parents]))
    found = next((place for place in looked if all((place / name).exists() for name in wanted)), None)
    if found is None:
        raise RecordError(
            f"{folder}: its scenario's folders {', '.join(wanted)} are not there, looked in {', '.join(map(str, looked))}. "
            "Name the scenario's file, which they are relative to, with --scenario."
        )
    return scenario.model_copy(update={"root": found})


def _entrant(record: TrialRecord, folder: Path, strategy: str | None) -> Entrant:
    name = record.strategy["name"]
    plain, bracket, settings = name.partition("[")
    if strategy is None and plain not in (*strategy_names(), *installed_names("strategies")):
        raise RecordError(f"{folder}: its strategy {name} is not shipped with bench. Give its file with --strategy.")
    reference = strategy or plain
    entrant = load_variant(reference if "[" in reference else f"{reference}{bracket}{settings}").at(record.horizon)
    if entrant.hash() != record.strategy_hash:
        raise RecordError(
            f"{folder}: was made by a different {name} (hash {record.strategy_hash}, but this file's hash is {entrant.hash()}). "
            "Give the original file with --strategy."
        )
    return entrant


def _stand_in(scenario: Scenario, update: Update, seed: int) -> Base:
    """Return an untrained base model with random learning speeds."""
    channels, height, _ = update.train.image_shape
    model = build_model(scenario.model.name, channels, update.head, seed, "base", height)
    old = int((~update.pool.new).sum())
    nothing = BaseCost(
        key="stand-in",
        steps=0,
        images=0,
        train_flops=0,
        aux_flops=0,
        train_seconds=0.0,
        device_seconds=0.0,
        gpu_joules=None,
        validation_accuracy=0.0,
        test_accuracy=0.0,
    )
    return Base(model.state_dict(), torch.rand(old, generator=torch_stream(seed, "audit")), nothing)


def _recorded(record: TrialRecord, learner: Learner, parts: list[AuditedPart]) -> list[AuditedPart]:
    """Compare the record's figures with recomputed ones.

    If the replay charged nothing but whole steps, the whole trial must have cost just its steps. If it charged more, or froze a
    part of the network, how often it does so is up to the strategy, so the total is not checked.
    """
    assert record.summary is not None
    facts, summary, ledger = record.flops_per_image, record.summary, learner.ledger
    found = [
        AuditedPart("recorded: one image's forward", learner.flops.forward, facts.forward),
        AuditedPart("recorded: one image's step", learner.flops.step, facts.step),
    ]
    once = learner.flops.batch + learner.hook_flops(0)
    only_steps = ledger.images * learner.flops.step + ledger.steps * once
    for number, (phase, recorded) in enumerate(zip(learner.phases, record.phases, strict=False), 1):
        found.append(AuditedPart(f"recorded: one image's step in phase {number}", phase.step.image, recorded.step))
    if not record.phases and sum(part.charged for part in parts) == only_steps:
        whole = summary.images * learner.flops.step + summary.steps * once
        found.append(AuditedPart("recorded: the whole trial", whole, summary.train_flops))
    return found
