"""A run's trials on this machine, and running them one after the other in this process."""

from __future__ import annotations

import copy
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from bench.data.feed.streaming import Residence
from bench.data.feed.update import Update, build_update, check_channels
from bench.data.sources.find import load_images
from bench.data.stages.splits import Split, cut, cut_off_old
from bench.errors import (
    DeadDeviceError,
    LostRankError,
    MeterError,
    RecordError,
    StrategyError,
    TakenError,
    TrialError,
)
from bench.execution.listener import Listener
from bench.execution.plan import PlannedTrial, check_chains, mend_chains, plan_trial, plan_trials
from bench.execution.ranks import rank_facts, require_alone, require_same, way_on_ranks
from bench.files import make_folder
from bench.interrupts import check
from bench.locks import locked
from bench.models.build import find_own_model
from bench.processors import bfloat16_units
from bench.records.listing import EVALS, TRIAL
from bench.records.provenance import cpu_name
from bench.records.schema import EvalRow, Provenance
from bench.records.store import discard, read_trial, require_writable
from bench.scenario import Scenario, digest
from bench.strategies.strategy import Entrant
from bench.streams import numpy_stream
from bench.training import TRAINING_VERSION
from bench.training.able import LeftOut, able, require_freezing
from bench.training.allocator import keep_freed_memory
from bench.training.base import BaseStore, base_entrant, require_before_decay
from bench.training.chain import ChainStore, align
from bench.training.checkpoint import remove_checkpoint
from bench.training.device import choose_device, device_name, fix_threads
from bench.training.faults import explained, release_memory
from bench.training.given import OldModel, assess, find_given, require_no_speed
from bench.training.grid import scratch_steps, trial_steps
from bench.training.kept import keep_model
from bench.training.provenance import describe_run
from bench.training.ranks import ALONE, World
from bench.training.spec import Base, TrialSpec
from bench.training.step import StepChoice, choose_step
from bench.training.trial import Finished, Trial

_LOG = logging.getLogger(__name__)
# How long to wait before asking again for trials that other processes run.
TAKEN_SECONDS = 0.5


class LocalRun:
    """A scenario's trials for some strategies and seeds, on one device of this machine.

    models: a folder for the weights of each trial that finishes, see bench.training.kept; None keeps none.
    compiled, step: see choose_step. threads: see fix_threads.
    jobs: how many trials run side by side, this one included; for the record. residence: see bench.data.feed.streaming.fits.
    adapt: run strategies without those of their pieces that cannot run here, which are then in `left_out`. interleave: run the
    strategies of each slot, a seed's trials of one update, in an order drawn from the seed, rather than always as they are named.
    The constructor checks everything that can be checked without training: data, splits, folders, a given checkpoint,
    conflicting records.
    """

    def __init__(
        self,
        scenario: Scenario,
        entrants: Sequence[Entrant],
        seeds: Sequence[int],
        *,
        device: str,
        data_root: Path,
        results: Path,
        cache: Path,
        compiled: bool | None = None,
        step: StepChoice = "auto",
        threads: int | None = None,
        jobs: int = 1,
        residence: Residence = "auto",
        fresh: bool = False,
        models: Path | None = None,
        adapt: bool = False,
        interleave: bool = False,
    ) -> None:
        self.world = ALONE
        self._devices: tuple[str, ...] = ()  # of each rank, where there are several
        self._allocator = keep_freed_memory()
        fix_threads(threads)
        self.threads = threads
        self._jobs = jobs
        names = Counter(f"{entrant.name} at horizon {entrant.strategy.horizon:g}" for entrant in entrants)
        twice = next((name for name, count in names.items() if count > 1), None)
        if twice is not None:
            raise StrategyError(f"{twice}: listed twice. Remove one.")
        self.scenario = scenario
        self.images = load_images(scenario, data_root)
        self.split = cut(scenario, self.images)
        check_channels(scenario, self.images.image_shape[0])
        self.left_out: tuple[LeftOut, ...] = ()
        self.entrants = self._able(entrants) if adapt else tuple(entrants)
        # When compiling for the CPU, torch warns that there is no CUDA.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        require_before_decay(scenario, self.entrants)
        self.device = choose_device(device)
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32; bf16 autocast ignores this
        self._cache = cache
        self._fresh = fresh
        self._interleave = interleave
        self._models = models
        self._residence: Residence = residence
        self.way = choose_step(step, self.device, compiled, scenario.training.compile)
        self._results = results
        old, every = self.split.classes_seen[0], [self.images.class_names[label] for label in self.split.class_order]
        cut_off = cut_off_old(self.images, self.split)
        given = find_given(scenario, self.images.image_shape, old, every, self.entrants, cut_off)
        pixels = self.images.hash()
        self._model = find_own_model(scenario.model.name)
        own_code = [self._model.identity()] if self._model else []

        def data_hash(split: Split) -> str:
            return digest([pixels, split.hash(), *([given.sha256] if given else []), *own_code])

        self._whole = self.split.whole or self.split
        self.data_hash, whole_hash = data_hash(self.split), data_hash(self._whole)
        self._given = given
        self._assessed: OldModel | None = None
        self._bases = BaseStore(cache, scenario.whole, self.device, whole_hash, given)
        self._chain = ChainStore(cache, self._bases.key)
        self._specs = self._specs_of(self.entrants, seeds)
        if not adapt:
            self._require_freezing()
        self.trials = self.look()
        check_chains(self.trials)
        # By (update, whole), see build_update. Two are kept: stage 0 and an update, or one update both ways.
        self.data_of = lru_cache(maxsize=2)(self._build_update)

    def of(self, entrants: Sequence[Entrant], seeds: Sequence[int]) -> LocalRun:
        """Return the run of some of its strategies and of any seeds, without reading the data again.

        Raises what the constructor raises for these.
        """
        other = copy.copy(self)
        other.entrants = tuple(entrants)
        require_before_decay(self.scenario, entrants)
        if self._given is not None:
            require_no_speed(entrants)
        other._require_freezing()
        other._specs = self._specs_of(entrants, seeds)
        other.trials = other.look()
        check_chains(other.trials)
        return other

    def at(self, results: Path, cache: Path) -> LocalRun:
        """Return the same run with its records and models elsewhere, for no strategy or seed; its data are not read again."""
        other = copy.copy(self)
        other._results, other._cache = results, cache
        other._bases = replace(self._bases, cache=cache)
        other._chain = replace(self._chain, cache=cache)
        return other.of((), ())

    def join(self, world: World) -> None:
        """Train every trial on all ranks of a world; each rank calls it. Raises a BenchError for what is not done on several."""
        self.world = world
        if world.size == 1:
            return
        with world.agreed():
            self.way = way_on_ranks(self.way, self.scenario, self.entrants, world.size)
        require_same(world, self.scenario, self.entrants, self.data_hash, self.device)
        world.use(self.device)
        self._devices = tuple(world.gather(device_name(self.device)))

    def asked(self, name: str, horizon: float, update: int, seed: int) -> tuple[TrialSpec, Update]:
        """Return the trial that rank 0 is at, and its data. update: 0 for a base model."""
        if update == 0:
            scenario = self._bases.scenario
            return TrialSpec(scenario, base_entrant(scenario), 0, seed), self.data_of(0, False)
        entrant = next(each for each in self.entrants if (each.name, each.strategy.horizon) == (name, horizon))
        spec = TrialSpec(self.scenario, entrant, update, seed)
        return spec, self._data_for(spec)

    def _data_for(self, spec: TrialSpec) -> Update:
        return self.data_of(spec.update, spec.whole and self.restricted)

    def _specs_of(self, entrants: Sequence[Entrant], seeds: Sequence[int]) -> list[TrialSpec]:
        """Return all trials, seed by seed, update by update, and strategies in turn within one: a slot.

        So their seconds come from the same minutes.
        """
        found = []
        for seed in seeds:
            for k in range(1, self.scenario.updates + 1):
                slot = [TrialSpec(self.scenario, each, k, seed) for each in entrants]
                order = range(len(slot))
                if self._interleave:
                    order = numpy_stream(seed, "interleave", k).permutation(len(slot))
                found += [slot[place] for place in order]
        return found

    def _slot_of(self, spec: TrialSpec) -> tuple[str, ...] | None:
        """Return the strategies of a trial's slot in the order that was drawn for them; None if none was."""
        if not self._interleave:
            return None
        there = [each for each in self._specs if (each.seed, each.update) == (spec.seed, spec.update)]
        return tuple(f"{each.entrant.name}@{each.horizon:g}" for each in there)

    def _able(self, entrants: Sequence[Entrant]) -> tuple[Entrant, ...]:
        """Return what of each strategy can run, once, and keep what was left out."""
        found: dict[tuple[str, float], Entrant] = {}
        for entrant in entrants:
            horizon = entrant.strategy.horizon
            steps = trial_steps(self.budget(1), horizon)
            classes = len(self.split.class_order)
            runs, left_out = able(entrant, self.scenario, self.images.image_shape, classes, steps)
            found.setdefault((runs.name, horizon), runs)
            self.left_out += (left_out,) if left_out else ()
        return tuple(found.values())

    def _require_freezing(self) -> None:
        classes = len(self.split.class_order)
        for entrant in self.entrants:
            steps = trial_steps(self.budget(1), entrant.strategy.horizon)
            require_freezing(entrant, self.scenario, self.images.image_shape, classes, steps)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is slower here than it could be, a line each."""
        found = [f"steps run {self.way.name}: {self.way.reason}"] if self.way.reason else []
        if self.scenario.training.precision == "bf16" and self.device.type == "cpu" and not bfloat16_units():
            found.append(
                f"{self.scenario.name}: training.precision is bf16, but this processor has no units for it (AMX, AVX512-BF16): "
                "it is slower than fp32. Use a GPU, or a scenario with fp32."
            )
        return tuple(found)

    def look(self) -> list[PlannedTrial]:
        """Return every trial that was asked for, and how far its record is now."""
        found = plan_trials(self._specs, self._results, self.device.type, self.data_hash, fresh=self._fresh)
        return mend_chains(found, self._chain)

    def run(self, listener: Listener) -> None:
        """Run what is due. A failed trial is recorded and the others continue; so they do where another process runs one.

        Raises TrialError at the end if any failed. Raises at once what is not one trial's fault: anything that is a bug, and
        DeadDeviceError if the device stops working.
        """
        due, failed = self.begin(listener), list[str]()
        while due:
            taken: list[PlannedTrial] = []
            for trial in due:
                if any(_follows(trial, other) for other in taken):
                    taken.append(trial)
                    continue
                try:
                    failed += [failure] if (failure := self.attempt(trial, listener)) else []
                except TakenError:
                    taken.append(trial)
            if len(taken) == len(due):
                time.sleep(TAKEN_SECONDS)
            due = taken
        self.require_all_ran(failed)

    def old_model(self) -> OldModel | None:
        """Return what a given checkpoint is like, measured once; None if there is none, or no trial that is due needs it.

        Raises ScenarioError if it is no better than guessing and the scenario does not allow that.
        """
        needed = any(trial.due and trial.spec.entrant.strategy.needs_base for trial in self.trials)
        if self._given is None or not needed:
            return None
        if self._assessed is None:
            names = [self.images.class_names[label] for label in self.split.class_order[: self._given.old]]
            kept = self._cache / "given" / self._bases.key
            self._assessed = assess(self._given, self.scenario, self.data_of(0, False), names, self.device, kept)
        return self._assessed

    def begin(self, listener: Listener) -> list[PlannedTrial]:
        """Make ready, return the trials that are due, and tell the listener. Raises what make_ready does."""
        self.make_ready()
        due = [trial for trial in self.trials if trial.due]
        listener.planned(len(self.trials), len(due), self._steps(due))
        return due

    def make_ready(self) -> None:
        """Do what comes before the first trial.

        Raises RecordError if nothing can be written, and what old_model does.
        """
        require_alone(self.world)
        self.old_model()
        require_writable(self._results, "--results")
        require_writable(self._cache, "--cache")
        for trial in self.trials:
            self.tidy(trial)

    def tidy(self, trial: PlannedTrial) -> None:
        """Delete the checkpoint of a trial that is done: a run may have ended between its record and that."""
        if not trial.due and trial.record:
            remove_checkpoint(self._checkpoint(trial, trial.record.previous_sha256))

    def forget(self, trial: PlannedTrial) -> None:
        """Remove a trial's record, its checkpoint, and the model that it left; nothing of a trial that another process runs."""
        with suppress(TakenError), locked(lock_of(trial.folder)):
            record = None
            with suppress(RecordError):
                record = read_trial(trial.folder)
            for before in {None, record and record.previous_sha256}:
                remove_checkpoint(self._checkpoint(trial, before))
            discard(trial.folder)
            self._chain.discard(trial.spec)

    def attempt(self, trial: PlannedTrial, listener: Listener) -> str | None:
        """Run a trial, and the base model that it lacks. Returns None, or which trial failed and why.

        Raises TakenError if another process runs it, DeadDeviceError if the device stops working, and what is not the trial's
        fault, as `run` does.
        """
        failure = self.failure_of(trial, listener)
        return failure and f"{self.label_of(trial)} ({failure})"

    def failure_of(self, trial: PlannedTrial, listener: Listener) -> str | None:
        """Do what `attempt` does; of a trial that failed, return only why."""
        label = self.label_of(trial)
        failure = self._guarded(label, lambda: self._run_trial(trial, listener))
        if failure is not None:
            listener.ended(label, None)
        return failure

    def attempt_base(self, seed: int, listener: Listener) -> str | None:
        """Train a base model, unless it is there. Returns None, or why it failed.

        Raises TakenError if another process trains it, and what `attempt` does.
        """

        def obtain() -> None:
            self._base(seed, listener, wait=False)

        return self._guarded(base_label(seed), obtain)

    def _guarded(self, label: str, action: Callable[[], None]) -> str | None:
        """Do something, give back the memory that it held, and return None, or why it failed."""
        failure = None
        try:
            action()
        except (
            RuntimeError,
            ArithmeticError,
            MemoryError,
            TrialError,
            MeterError,
            StrategyError,
            DeadDeviceError,
        ) as cause:
            known = explained(cause, self.scenario.training.batch_size) or cause
            if isinstance(known, DeadDeviceError):
                raise DeadDeviceError(f"{label}: {known}") from cause
            reason = (str(known).splitlines() or ["no reason given"])[0]
            failure = f"{type(known).__name__}: {reason}"
            del known
        if failure is not None and self.world.broken:
            raise LostRankError(
                f"{label} failed on several ranks, which ends the run ({failure}). Run it on one device, or leave it out; the "
                "same command goes on."
            )
        release_memory(self.device)  # an exception, whose frames hold the trial's tensors, is gone only here
        return failure

    def require_all_ran(self, failed: Sequence[str]) -> None:
        """Raise TrialError if any trial failed. failed: as `attempt` returns it."""
        if failed:
            which = "1 trial" if len(self.trials) == 1 else f"{len(self.trials)} trials"
            raise TrialError(f"{len(failed)} of {which} failed: {'; '.join(failed)}. See their trial.json.")

    def label_of(self, planned: PlannedTrial) -> str:
        """Name a trial in words, with its horizon if its strategy is run at several."""
        spec = planned.spec
        horizons = {trial.spec.horizon for trial in self.trials if trial.spec.entrant.name == spec.entrant.name}
        return _label(spec, with_horizon=len(horizons) > 1)

    def _steps(self, due: Sequence[PlannedTrial]) -> int:
        """Return the optimizer steps of trials that are due, and of the base models that they lack."""
        return sum(map(self.steps_of, due)) + len(self.lacking_bases()) * self.budget(0)

    def steps_of(self, trial: PlannedTrial) -> int:
        """Return the optimizer steps of a whole trial."""
        return trial_steps(self.budget(trial.spec.update), trial.spec.horizon)

    def lacking_bases(self) -> set[int]:
        """Return the seeds whose base model must be trained for due trials."""
        seeds = {
            trial.spec.seed
            for trial in self.trials
            if trial.due and trial.spec.update == 1 and trial.spec.entrant.strategy.needs_base
        }
        return {seed for seed in seeds if self._bases.load(seed) is None}

    def has_base(self, seed: int) -> bool:
        """Return whether a seed's base model is there, and whole."""
        return self._bases.load(seed) is not None

    def base_folder(self, seed: int) -> Path:
        """Return where a seed's base model and its record belong."""
        return self._bases.folder(seed)

    def starts_from(self, trial: PlannedTrial) -> list[Path]:
        """Return the files of the model that a trial starts from, and of its record; none for a new or a given model."""
        spec = trial.spec
        if not spec.entrant.strategy.needs_base:
            return []
        if spec.update == 1:
            return self._bases.files(spec.seed)
        before = trial.folder.with_name(f"update-{spec.update - 1}")
        model = self._chain.path(replace(spec, update=spec.update - 1))
        return [model, before / EVALS, before / TRIAL]

    @property
    def trains_bases(self) -> bool:
        """Whether the base models are trained, rather than given as the user's own checkpoint."""
        return self.scenario.model.checkpoint is None

    @property
    def restricted(self) -> bool:
        """Whether some updates have only a share of the old images."""
        return bool(self.split.at_hand)

    @property
    def device_name(self) -> str:
        """The GPU's model name, or the processor's."""
        return cpu_name() if self.device.type == "cpu" else device_name(self.device)

    def budget(self, update: int) -> int:
        """Return scratch's optimizer steps on an update; for update 0, a base model's."""
        if update:
            return scratch_steps(self.scenario, sum(map(len, self.split.training(update, whole=True))))
        whole = self.scenario.whole
        steps = scratch_steps(whole, sum(map(len, self._whole.training(0, whole=True))))
        return trial_steps(steps, base_entrant(whole).strategy.horizon)

    @property
    def whole_budget(self) -> int:
        """Scratch's optimizer steps on the first update; in a pilot, of the whole scenario."""
        return scratch_steps(self.scenario.whole, sum(map(len, self._whole.training(1, whole=True))))

    def _build_update(self, number: int, whole: bool) -> Update:
        split = self.split if number else self._whole
        return build_update(
            self.scenario, self.images, split, number, self.device, whole=whole, residence=self._residence
        )

    def _run_trial(self, trial: PlannedTrial, listener: Listener) -> None:
        spec, label = trial.spec, self.label_of(trial)
        # Held from before its base model is made, so that another run goes on with what is free.
        with locked(lock_of(trial.folder)):
            found = plan_trial(spec, self._results, self.device.type, self.data_hash, fresh=self._fresh)
            if not found.due:
                if trial.state != "damaged" or not self._chain.lacks(spec, found.record):
                    return  # another process has finished it since
                _LOG.warning(
                    "bench: %s: finished, but the model that update %d starts from is missing or damaged; it runs again",
                    trial.folder,
                    spec.update + 1,
                )
            old = self._old_model(trial, listener) if spec.entrant.strategy.needs_base else None
            update = self._data_for(spec)
            base = align(*old, update.indices) if old else None
            checkpoint = self._checkpoint(trial, base.previous_sha256 if base else None)
            make_folder(checkpoint.parent)
            if self._fresh:
                remove_checkpoint(checkpoint)
                discard(trial.folder)
                self._chain.discard(spec)
            observer = _Labelled(listener, label)
            # The model is saved before the record is marked as finished.
            leaves = spec.entrant.strategy.needs_base and spec.update < self.scenario.updates

            def keep(finished: Finished) -> None:
                if leaves:
                    self._chain.keep(spec, update.indices, finished)
                if self._models is not None:
                    keep_model(self._models, spec, finished)

            finished = Trial(
                spec,
                update,
                base,
                self._provenance(self.data_hash).model_copy(update={"interleaved": self._slot_of(spec)}),
                trial.folder,
                checkpoint,
                self.device,
                observer,
                keep,
                self.way.automatic,
                self.world,
            ).run()
            remove_checkpoint(checkpoint)
        listener.ended(label, finished.record)
        check()

    def _old_model(self, trial: PlannedTrial, listener: Listener) -> tuple[Base, np.ndarray]:
        """Return the model that a trial starts from, and the images that its learning speeds belong to."""
        spec = trial.spec
        if spec.update == 1:
            return self._base(spec.seed, listener), self.split.old
        before = replace(spec, update=spec.update - 1)
        found, record = self._chain.load(before), read_trial(trial.folder.with_name(f"update-{before.update}"))
        if found is None or record is None or record.summary is None:
            raise TrialError(f"not run: update {before.update} left no model")
        if found[0].previous_sha256 != record.summary.weights_sha256:
            raise TrialError(f"not run: the model of update {before.update} in the cache is not the one in its record")
        return found

    def _base(self, seed: int, listener: Listener, *, wait: bool = True) -> Base:
        base = self._bases.load(seed)
        if base is None:
            label = base_label(seed)
            try:
                base = self._bases.obtain(
                    seed,
                    lambda: self.data_of(0, False),
                    self._provenance(self._bases.data_hash),
                    _Labelled(listener, label),
                    self.way.automatic,
                    wait,
                    self.world,
                )
            except Exception as cause:
                if not isinstance(cause, TakenError):
                    listener.ended(label, None)
                raise
            listener.ended(label, read_trial(self._bases.folder(seed)))
        elif self._given is None:
            self._bases.tidy(seed)
        old = self.old_model()
        if base.given is not None and old is not None:
            facts = {
                "normalization": old.normalization,
                "validation_accuracy": old.accuracy,
                "validation_images": sum(old.images),
                "seen_test": old.seen_test,
            }
            base = replace(base, given=base.given.model_copy(update=facts))
        return base

    def _checkpoint(self, trial: PlannedTrial, previous_sha256: str | None) -> Path:
        """Return the file: one per trial, device type and record folder and, in a chain, per model it starts from."""
        spec = trial.spec
        identity = [
            spec.scenario.hash(),
            spec.entrant.hash(),
            TRAINING_VERSION,
            spec.update,
            spec.seed,
            self.device.type,
            self.data_hash,
            str(trial.folder.resolve()),
            *([previous_sha256] if previous_sha256 else []),
        ]
        return self._cache / "checkpoints" / f"{digest(identity)}.pt"

    def _provenance(self, data_hash: str) -> Provenance:
        found = describe_run(
            self.scenario,
            self.images.source,
            data_hash,
            self.device,
            self.way.compiled,
            self.way.mode,
            self._allocator,
            self._jobs,
            self.way.reason,
        )
        more = {
            "model_code": self._model.describe() if self._model else None,
            "ranks": rank_facts(self.world, self.scenario, self._devices),
        }
        return found.model_copy(update=more)


@dataclass
class _Labelled:
    """Passes on one trial's progress under its label."""

    listener: Listener
    label: str
    total_steps: int = 0

    def began(self, total_steps: int, done_steps: int) -> None:
        self.total_steps = total_steps
        self.listener.began(self.label, total_steps, done_steps)

    def evaluated(self, row: EvalRow) -> None:
        self.listener.evaluated(self.label, row, self.total_steps)


def _follows(trial: PlannedTrial, other: PlannedTrial) -> bool:
    """Return whether a trial starts from what another one of its chain leaves."""
    one, before = trial.spec, other.spec
    return (one.entrant, one.seed) == (before.entrant, before.seed) and one.update > before.update


def lock_of(folder: Path) -> Path:
    """Return the lock of a trial's record, or of a base model."""
    return folder.with_name(f"{folder.name}.lock")


def base_label(seed: int) -> str:
    """Name a base model in words."""
    return f"base seed {seed}"


def _label(spec: TrialSpec, *, with_horizon: bool) -> str:
    horizon = f" horizon {spec.horizon:g}" if with_horizon else ""
    update = f" update {spec.update}" if spec.scenario.updates > 1 else ""
    return f"{spec.entrant.name}{horizon}{update} seed {spec.seed}"
