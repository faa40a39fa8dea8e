"""Running trials one after the other in this process."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from bench.data.sources import load_images
from bench.data.splits import cut
from bench.data.update import Update, build_update
from bench.errors import MeterError, RecordError, StrategyError, TrialError
from bench.execution.plan import PlannedTrial, plan_trial, plan_trials
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
from bench.training.learner import Base, TrialSpec
from bench.training.provenance import describe_run
from bench.training.trial import Trial


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
        self._results = results
        self._images = load_images(scenario.data.set, data_root)
        self._split = cut(scenario, self._images)
        self._data_hash = digest([self._images.hash(), self._split.hash()])
        self.trials = plan_trials(specs, results, self._device.type, self._data_hash, fresh=fresh)
        self._bases = BaseStore(cache, scenario, self._device, self._data_hash)

    def run(self, listener: Listener) -> None:
        """Run what is due. A failed trial is recorded and the others go on.

        Raises TrialError at the end where any failed, and at once what is no single trial's fault: RecordError where
        another process holds a trial, and whatever is a bug.
        """
        due = [trial for trial in self.trials if trial.due]
        listener.planned(len(self.trials), len(due), self._steps(due))
        if self._device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32; bf16 autocast does not ask
        failed = []
        for trial in due:
            try:
                self._run_trial(trial, listener)
            except (RuntimeError, ArithmeticError, MemoryError, TrialError, MeterError, StrategyError) as cause:
                reason = (str(cause).splitlines() or ["no reason given"])[0]
                failed.append(f"{_label(trial.spec)} ({type(cause).__name__}: {reason})")
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
            with FileLock(_lock_of(trial.folder), timeout=0):
                if not plan_trial(spec, self._results, self._device.type, self._data_hash, fresh=self._fresh).due:
                    return  # another process has finished it since
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
            self._data_hash,
            str(trial.folder.resolve()),
        ]
        return self._cache / "checkpoints" / f"{digest(identity)}.pt"

    def _provenance(self) -> Provenance:
        source = self._images.source
        return describe_run(self._scenario, source, self._data_hash, self._device, self._compiled, self._allocator)


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


def _lock_of(folder: Path) -> Path:
    """Return the lock file of a record's folder: the same for every process on this machine, whatever its cache."""
    locks = Path(tempfile.gettempdir()) / "compute-to-accuracy-locks"
    locks.mkdir(exist_ok=True)
    return locks / f"{digest(str(folder.resolve()))}.lock"


def _label(spec: TrialSpec) -> str:
    return f"{spec.entrant.name} seed {spec.seed}"
