"""Running trials one after the other in this process."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from bench.data.sources import load_images
from bench.data.splits import cut
from bench.data.update import Update, build_update
from bench.errors import RecordError, StrategyError, TrialError
from bench.execution.plan import PlannedTrial, plan_trials
from bench.records.schema import EvalRow, Provenance
from bench.records.store import discard, read_trial, require_writable
from bench.reporting.progress import Listener
from bench.scenario import Scenario, digest
from bench.strategies.strategy import Entrant
from bench.training import TRAINING_VERSION
from bench.training.allocator import keep_freed_memory
from bench.training.base import BaseStore
from bench.training.device import choose_device
from bench.training.grid import scratch_steps, trial_steps
from bench.training.provenance import describe_run
from bench.training.trial import Base, Trial, TrialSpec


class LocalRun:
    """A scenario's trials for some strategies and seeds, on one device of this machine.

    compiled: whether to use torch.compile; None leaves it to the scenario. Making it checks everything that can be
    checked without training: data, splits, folders, records that stand in the way.
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
        fresh: bool = False,
    ) -> None:
        self._allocator = keep_freed_memory()
        # Compiling for the CPU, torch warns that there is no CUDA.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        names = [entrant.name for entrant in entrants]
        if len(set(names)) != len(names):
            raise StrategyError(f"--strategy: two of one name among {', '.join(names)}. Rename one of the files.")
        self._scenario = scenario
        self._device = choose_device(device)
        self._cache = cache
        self._fresh = fresh
        self._compiled = scenario.training.compile if compiled is None else compiled
        require_writable(results)
        require_writable(cache)
        # Seed by seed, and strategies in turn within one, so that their seconds come from the same minutes.
        specs = [TrialSpec(scenario, entrant, 1, seed) for seed in seeds for entrant in entrants]
        self.trials = plan_trials(specs, results, self._device.type, fresh=fresh)
        self._images = load_images(scenario.data.set, data_root)
        self._split = cut(scenario, self._images)
        self._bases = BaseStore(cache, scenario, self._device)

    def run(self, listener: Listener) -> None:
        """Run what is due. A failed trial is recorded and the others go on.

        Raises TrialError at the end where any failed, RecordError where another process holds a trial.
        """
        due = [trial for trial in self.trials if trial.due]
        listener.planned(len(self.trials), len(due), self._steps(due))
        if self._device.type == "cuda":
            torch.backends.cudnn.benchmark = True
        failed = []
        for trial in due:
            try:
                self._run_trial(trial, listener)
            except (RuntimeError, ArithmeticError, MemoryError, TrialError) as cause:
                failed.append(f"{_label(trial.spec)} ({type(cause).__name__}: {str(cause).splitlines()[0]})")
                listener.ended(_label(trial.spec), None)
        if failed:
            raise TrialError(
                f"{len(failed)} of {len(self.trials)} trials failed: {'; '.join(failed)}. See their trial.json."
            )

    def _steps(self, due: Sequence[PlannedTrial]) -> int:
        """Return the optimizer steps of trials that are due, and of the base models that they lack."""
        old, new = (sum(map(len, self._split.train[: update + 1])) for update in (0, 1))
        lacking = {
            trial.spec.seed
            for trial in due
            if trial.spec.entrant.strategy.needs_base and self._bases.load(trial.spec.seed) is None
        }
        steps = sum(trial_steps(scratch_steps(self._scenario, new), trial.spec.horizon) for trial in due)
        return steps + len(lacking) * scratch_steps(self._scenario, old)

    @cached_property
    def _old(self) -> Update:
        return build_update(self._scenario, self._images, self._split, 0, self._device)

    @cached_property
    def _update(self) -> Update:
        return build_update(self._scenario, self._images, self._split, 1, self._device)

    def _run_trial(self, trial: PlannedTrial, listener: Listener) -> None:
        spec, label = trial.spec, _label(trial.spec)
        base = self._base(spec.seed, listener) if spec.entrant.strategy.needs_base else None
        checkpoint = self._checkpoint(trial)
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(checkpoint.with_suffix(".lock"), timeout=0):
                if self._fresh:
                    checkpoint.unlink(missing_ok=True)
                    discard(trial.folder)
                observer = _Labelled(listener, label)
                finished = Trial(
                    spec, self._update, base, self._provenance(), trial.folder, checkpoint, self._device, observer
                ).run()
                checkpoint.unlink(missing_ok=True)
        except Timeout:
            raise RecordError(
                f"{trial.folder}: another process is running this trial. Wait for it, or stop it."
            ) from None
        listener.ended(label, finished.record)

    def _base(self, seed: int, listener: Listener) -> Base:
        base = self._bases.load(seed)
        if base is None:
            label = f"base seed {seed}"
            base = self._bases.obtain(seed, lambda: self._old, self._provenance(), _Labelled(listener, label))
            listener.ended(label, read_trial(self._bases.folder(seed)))
        return base

    def _checkpoint(self, trial: PlannedTrial) -> Path:
        """One for each trial, device type and place of its record."""
        spec = trial.spec
        identity = [
            spec.scenario.hash(),
            spec.entrant.hash(),
            TRAINING_VERSION,
            spec.update,
            spec.seed,
            self._device.type,
            self._compiled,
        ]
        place = hashlib.sha256(str(trial.folder.resolve()).encode()).hexdigest()
        return self._cache / "checkpoints" / f"{digest([*identity, place])}.pt"

    def _provenance(self) -> Provenance:
        return describe_run(self._scenario, self._images, self._split, self._device, self._compiled, self._allocator)


@dataclass
class _Labelled:
    """Passes one trial's news on under its label."""

    listener: Listener
    label: str
    total_steps: int = 0

    def began(self, total_steps: int, done_steps: int) -> None:
        self.total_steps = total_steps
        self.listener.began(self.label, total_steps, done_steps)

    def evaluated(self, row: EvalRow) -> None:
        self.listener.evaluated(self.label, row, self.total_steps)


def _label(spec: TrialSpec) -> str:
    return f"{spec.entrant.name} seed {spec.seed}"
