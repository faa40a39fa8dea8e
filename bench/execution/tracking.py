"""A trial whose training loop is the user's own: images, grid, clock, meters and record from here, FLOPs by the counter."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from bench.data.feed.update import Update
from bench.errors import BenchError, RecordError, TrialError
from bench.execution.listener import Silent
from bench.execution.local import LocalRun
from bench.locks import locked
from bench.metering.clock import PhaseClock
from bench.metering.formulas import Tally
from bench.metering.meters import Meters, open_meters
from bench.models import build_model
from bench.records.provenance import load_average
from bench.records.schema import EvalRow, FlopFacts, GpuFacts, Provenance, Summary, TrialRecord
from bench.records.sharing import shared_by
from bench.records.store import RecordWriter, read_evals, read_trial, trial_folder
from bench.scenario import digest
from bench.training import TRAINING_VERSION
from bench.training.checkpoint import remove_checkpoint, save_checkpoint, usable_checkpoints, weights_sha256
from bench.training.counted import count_built
from bench.training.device import gpu_uuid
from bench.training.evaluate import measure
from bench.training.grid import evaluation_grid
from bench.training.learner import _compiled_graphs
from bench.training.spec import Base

OPEN = "open-"  # what the name of every strategy of the open division begins with
_ADAM_PASSES = 14  # FLOPs per parameter and step: two moments, their corrections, root, quotient, decay and update
_OTHER_PASSES = 2  # of an optimizer that is not known: the update alone; the rest is the user's to charge
_CHECKPOINT_FORMAT = 1  # increment when the content of a checkpoint changes


@runtime_checkable
class Stateful(Protocol):
    """What can be resumed: a module, an optimizer, a schedule, a scaler."""

    def state_dict(self) -> Any: ...
    def load_state_dict(self, state_dict: Any) -> Any: ...


class TrackedTrial:
    """What a loop of one's own is given. Steps are those of any optimizer of PyTorch, counted by a hook.

    labels: int64 (images,); new: bool (images,), whether an image arrived with this update; both on the device, old images first.
    classes: how many there are now. steps, total_steps: taken so far, and in all. scratch_steps: scratch's.
    """

    def __init__(
        self,
        run: LocalRun,
        update: Update,
        base: Base | None,
        meters: Meters,
        record: TrialRecord,
        writer: RecordWriter,
        checkpoint: Path | None,
        unfinished: bool,
    ) -> None:
        """checkpoint: where one is kept; None for a loop whose code is unknown. unfinished: whether one may be there."""
        self._run, self._update, self._base, self._meters, self._writer = run, update, base, meters, writer
        self._checkpoint, self._unfinished = checkpoint, unfinished
        self._parts: dict[str, Stateful | torch.Generator] = {}
        self._sittings = 1
        self._record = record
        self._seed = record.seed
        self.device = run.device
        self.labels, self.new = update.train.labels, update.pool.new.to(run.device)
        self.classes, self.total_steps, self.scratch_steps = update.classes, record.total_steps, record.scratch_steps
        self._grid = evaluation_grid(run.scenario, record.scratch_steps, record.total_steps)
        self._totals = dict.fromkeys(("images", "train_flops", "aux_flops", "evaluate_flops"), 0)
        self.steps = 0
        self._rows: list[EvalRow] = []
        self._rate = 0.0
        self._drawn = 0
        self.finished = False
        self._compiled = _compiled_graphs()
        self._clock = PhaseClock(run.device, meters.all)
        self._phase: AbstractContextManager[None] | None = None
        self._counter = Tally()
        with self._clock.phase("prepare"), self._counter:
            _rehearse(run.device)
        self._counted = self._counter.total

    def batch(self, indices: Tensor, *, charge: bool = True) -> tuple[Tensor, Tensor]:
        """Return (images, labels) of a batch to train on, cropped and flipped as the scenario says, and count its images.

        indices: int64 (batch,). Images are float32 (batch, channels, height, width), normalized. charge: False where batches are
        fetched ahead, as some loaders do: charge() their images once they are trained on.
        """
        train = self._update.train
        drawn = train.draw(len(indices), self._seed, self._drawn)
        self._drawn += 1
        if charge:
            self._totals["images"] += len(indices)
        where = indices.to(self.device)
        return train.batch(where, *drawn), self.labels[where]

    def plain(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return (images, labels) as evaluation sees them, for a loop with augmentation of its own; charge() its images."""
        where = indices.to(self.device)
        return self._update.train.plain(where), self.labels[where]

    def new_model(self) -> nn.Module:
        """Return the scenario's model, newly initialized from this trial's seed, on the device."""
        channels, height, _ = self._update.train.image_shape
        name = self._run.scenario.model.name
        return build_model(name, channels, self._update.head, self._seed, "update", height).to(self.device)

    def old_model(self) -> nn.Module:
        """Return the scenario's model with the old model's weights, on the device. Raises TrialError if none was asked for."""
        if self._base is None:
            raise TrialError("track: found old_model=False, expected True where the old model is used. Change it.")
        model = self.new_model()
        model.load_state_dict(self._base.weights)
        return model

    def resume(self, **parts: Stateful | torch.Generator) -> bool:
        """Keep a checkpoint of these parts at each evaluation, and go on from the last one of a trial that was interrupted.

        parts: all that the loop changes, such as model and optimizer, by name: whatever has state_dict() and load_state_dict(),
        and generators. PyTorch's, NumPy's and Python's own random streams are kept, too. Called once, before the first step.
        Returns whether it goes on: parts and `steps` are then as they were. Raises TrialError.
        """
        if self._parts or self.steps or not parts:
            found = "a second time" if self._parts else f"after {self.steps} steps" if self.steps else "without parts"
            raise TrialError(f"resume: called {found}, expected once, with parts, before the first step. Move it.")
        for name, part in parts.items():
            if not isinstance(part, Stateful | torch.Generator):
                raise TrialError(
                    f"resume: {name} is a {type(part).__name__}, expected a generator, or something with state_dict() and "
                    "load_state_dict(). Leave it out, or wrap it."
                )
        self._parts = parts
        self._pause()
        with self._clock.phase("io"):
            self._require_readable()
            found = usable_checkpoints(self._checkpoint, self.device) if self._unfinished and self._checkpoint else ()
            resumed = any(map(self._resume_from, found))
            if not resumed:
                self._begin()
        if self._next() is not None:
            self._go_on()
        return resumed

    def due(self) -> bool:
        """Whether the model is to be evaluated now: at the steps at which every strategy of the scenario is."""
        return self.steps == self._next()

    def charge(self, flops: int = 0, *, images: int = 0) -> None:
        """Charge what the counter cannot see: FLOPs of element-wise work or of other libraries, and images trained on."""
        if not (isinstance(flops, int) and isinstance(images, int) and flops >= 0 and images >= 0):
            raise BenchError(
                f"charge: found {flops!r} FLOPs and {images!r} images, expected whole numbers of 0 or more."
            )
        if self._next() is None:
            raise TrialError("charge: after the last evaluation, which holds what the trial cost. Charge before it.")
        self._totals["aux_flops"] += flops
        self._totals["images"] += images

    def evaluate(self, model: nn.Module, *, loss: float | None = None) -> float:
        """Measure a model on the held-out images, in float32 and off the clock, record it, and return its validation accuracy.

        loss: the mean training loss since the last time. Raises TrialError if none is due.
        """
        if not self.due():
            raise TrialError(f"evaluate: at step {self.steps}, expected step {self._next()}. Ask due() first.")
        if not self._totals["images"]:
            raise TrialError(
                "evaluate: no images were counted, expected those that were trained on. Take them from batch() in this process, "
                "or charge(images=...) them."
            )
        self._pause()
        if _compiled_graphs() != self._compiled:
            raise TrialError(
                "evaluate: the loop runs compiled code, which the counter cannot see. Run it without torch.compile."
            )
        with self._clock.phase("evaluate"), self._counter:
            test = self.steps in self._grid.test
            parts = {"validation": self._update.validation, **({"test": self._update.test} if test else {})}
            found: dict[str, float | None] = {}
            for part, images in parts.items():
                accuracy = measure(model, [], images, self.classes, "fp32", self.device)
                apart = self._update.new_is_apart
                found[f"{part}_accuracy"] = accuracy.all
                found[f"{part}_accuracy_old"] = accuracy.old if apart else None
                found[f"{part}_accuracy_new"] = accuracy.new if apart else None
        self._totals["evaluate_flops"] += self._count()
        with self._clock.phase("io"):
            row = EvalRow.model_validate(
                {
                    "step": self.steps,
                    "epoch": self._totals["images"] / len(self._update.train),
                    **self._totals,
                    "train_seconds": self._clock.seconds["train"],
                    "device_seconds": self._clock.seconds["train"],
                    "evaluate_seconds": self._clock.seconds["evaluate"],
                    **self._meters.totals(),
                    "learning_rate": self._rate,
                    "train_loss": loss,
                    **found,
                }
            )
            self._writer.append(row)
            self._rows.append(row)
            self._save()
        if self._next() is not None:  # the last one is the trial's end
            self._go_on()
        return row.validation_accuracy

    def finish(self, model: nn.Module) -> TrialRecord:
        """End the trial: its last step must be taken and evaluated. Returns the record. Raises TrialError."""
        if self.steps != self.total_steps or self._next() is not None:
            raise TrialError(
                f"finish: after {self.steps} of {self.total_steps} steps, and {len(self._rows)} of {len(self._grid.steps)} "
                "evaluations, expected all. Take them, or give track() fewer steps."
            )
        self._pause()
        last = self._rows[-1]
        with self._clock.phase("io"):
            fingerprint = weights_sha256({key: each.detach().cpu() for key, each in model.state_dict().items()})
        metered, trained = self._meters.summary(), self._clock.seconds["train"]
        shared = shared_by(self._record.provenance, trained, metered["other_cpu_seconds"], self._meters.neighbours)
        summary = Summary.model_validate(
            {
                "steps": self.steps,
                **self._totals,
                **{f"{phase}_seconds": spent for phase, spent in self._clock.seconds.items()},
                "device_seconds": self._clock.seconds["train"],
                "wall_seconds": self._clock.wall_seconds,
                "unaccounted_share": self._clock.unaccounted_share(),
                **metered,
                "load_average": load_average(),
                "shared": shared,
                "sittings": self._sittings,
                "validation_accuracy": last.validation_accuracy,
                "test_accuracy": last.test_accuracy,
                "weights_sha256": fingerprint,
            }
        )
        changes = {"status": "finished", "summary": summary, "parameters": sum(p.numel() for p in model.parameters())}
        record = self._writer.save(self._record.model_copy(update=changes))
        self.finished = True
        if self._checkpoint:
            remove_checkpoint(self._checkpoint)
        return record

    def end(self, cause: BaseException) -> None:
        """Record why a trial did not finish. What stops the process is an interruption, from which it can be resumed."""
        changes = {"status": "interrupted"}
        if isinstance(cause, Exception):
            changes = {"status": "failed", "reason": " ".join(f"{type(cause).__name__}: {cause}".split())}
        self._writer.save(self._record.model_copy(update=changes))

    def _begin(self) -> None:
        """Start the record anew, and drop what an interrupted trial left."""
        self._unfinished = False
        if self._checkpoint:
            remove_checkpoint(self._checkpoint)
        self._writer.begin(self._record)

    def _save(self) -> None:
        if not (self._parts and self._checkpoint):
            return
        clock = self._clock.state()
        saved = {
            "format": _CHECKPOINT_FORMAT,
            "parts": self._states(),
            "random": _random_state(self.device),
            "steps": self.steps,
            "totals": self._totals,
            "rate": self._rate,
            "drawn": self._drawn,
            "clock": clock,
            "evals_sha256": self._writer.digest(),
            "sittings": self._sittings,
            "provenance": self._record.provenance.model_dump(),
        }
        save_checkpoint(self._checkpoint, saved, keep=True)

    def _states(self) -> dict[str, Any]:
        return {
            name: part.get_state() if isinstance(part, torch.Generator) else part.state_dict()
            for name, part in self._parts.items()
        }

    def _require_readable(self) -> None:
        """Raise TrialError for a part whose state could be written, and not read: a checkpoint holds no code."""
        for name, state in self._states().items():
            written = io.BytesIO()
            try:
                torch.save(state, written)
                written.seek(0)
                torch.load(written, weights_only=True, map_location="cpu")
            except Exception as cause:  # torch raises whatever its writers and readers do
                raise TrialError(
                    f"resume: the state of {name} cannot be kept, expected tensors, numbers, text, and lists and dictionaries of "
                    "these in its state_dict(). Leave it out, or change it."
                ) from cause

    def _resume_from(self, saved: dict[str, Any]) -> bool:
        """Take over a checkpoint; return False for one of another machine, of other parts, or that the record does not reach."""
        if saved.get("format") != _CHECKPOINT_FORMAT or set(saved["parts"]) != set(self._parts):
            return False
        before, here = Provenance.model_validate(saved["provenance"]), self._record.provenance
        try:
            rows = [row for row in read_evals(self._writer.folder, torn_allowed=True) if row.step <= saved["steps"]]
        except RecordError:
            return False
        whole = [row.step for row in rows] == [step for step in self._grid.steps if step <= saved["steps"]]
        if before.machine() != here.machine() or not whole or self._writer.digest(len(rows)) != saved["evals_sha256"]:
            return False
        for name, part in self._parts.items():
            state = saved["parts"][name]
            if isinstance(part, torch.Generator):
                part.set_state(state.cpu())
            else:
                part.load_state_dict(state)
        self._writer.keep_until(saved["steps"])
        self._rows, self.steps = rows, saved["steps"]
        self._totals, self._rate, self._drawn = saved["totals"], saved["rate"], saved["drawn"]
        self._sittings = saved["sittings"] + 1
        self._clock.restore(saved["clock"])
        if before.commit != here.commit or before.modified:  # trained by several versions of the code
            changed = here.model_copy(update={"modified": True})
            self._record = self._record.model_copy(update={"provenance": changed})
        self._unfinished = False
        self._writer.save(self._record)
        _set_random_state(saved["random"], self.device)
        return True

    def _next(self) -> int | None:
        return self._grid.steps[len(self._rows)] if len(self._rows) < len(self._grid.steps) else None

    def _took(self, optimizer: Optimizer) -> None:
        """Count a step that an optimizer has taken, and charge its work on the parameters."""
        if self._unfinished:  # nobody asked to resume it
            self._begin()
        following = self._next()
        if following is None or self.steps >= following:
            raise TrialError(
                f"step {self.steps + 1}: "
                + (
                    f"expected {self.total_steps} in all"
                    if following is None
                    else f"step {following} was not evaluated"
                )
                + ". Ask due() after each step, and evaluate() then."
            )
        self.steps += 1
        for group in optimizer.param_groups:
            count = sum(each.numel() for each in group["params"] if each.grad is not None)
            self._totals["aux_flops"] += _passes(optimizer, group) * count
            self._rate = float(group["lr"])

    def _go_on(self) -> None:
        self._phase = self._clock.phase("train")
        self._phase.__enter__()
        self._counter.__enter__()

    def _pause(self) -> None:
        if self._phase is None:
            return
        self._counter.__exit__(None, None, None)
        self._phase.__exit__(None, None, None)
        self._totals["train_flops"] += self._count()
        self._phase = None

    def _count(self) -> int:
        """Return the FLOPs since the last time."""
        before, self._counted = self._counted, self._counter.total
        return self._counted - before


def _passes(optimizer: Optimizer, group: Mapping[str, Any]) -> int:
    """Return an optimizer's FLOPs per parameter and step: SGD's as everywhere, Adam's, or those of the update alone."""
    if isinstance(optimizer, torch.optim.SGD):
        momentum = group["momentum"] > 0
        return 2 * (1 + (group["weight_decay"] > 0) + momentum + (momentum and group["nesterov"]))
    return _ADAM_PASSES if isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW) else _OTHER_PASSES


def _identity(record: TrialRecord) -> tuple[str, str, int, str]:
    """Return what makes an interrupted trial the same as another one of its folder."""
    return record.scenario_hash, record.strategy_hash, record.training_version, record.provenance.data_hash


def _rehearse(device: torch.device) -> None:
    """Take a small step: what PyTorch and the counter set up when they first see one is not the loop's time."""
    with torch.random.fork_rng(devices=[]):
        images = torch.zeros(2, 1, 4, 4, device=device)
        kernel = torch.zeros(1, 1, 3, 3, device=device, requires_grad=True)
        F.cross_entropy(
            F.conv2d(images, kernel).flatten(1), torch.zeros(2, dtype=torch.int64, device=device)
        ).backward()


def _random_state(device: torch.device) -> dict[str, Any]:
    """Return the global random streams, as a checkpoint can hold them."""
    kind, key, place, has_gauss, gauss = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": (str(kind), np.asarray(key).tolist(), int(place), int(has_gauss), float(gauss)),
        "python": random.getstate(),
    }


def _set_random_state(state: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
    kind, key, *rest = state["numpy"]
    np.random.set_state((kind, np.array(key, dtype=np.uint32), *rest))
    random.setstate(state["python"])


@contextmanager
def tracking(
    run: LocalRun,
    name: str,
    seed: int,
    *,
    steps: int | None,
    reference: str | None,
    code: Mapping[str, Any],
    old_model: bool,
    fresh: bool,
) -> Iterator[TrackedTrial]:
    """Yield a trial of the open division; its record says so. run: of the scenario, for whatever strategy.

    steps: in all; None for scratch's. reference: the strategy, of the open division too, that it is compared with. code: source,
    modules and packages of the loop. old_model: whether it starts from one, which is trained first if there is none.
    A trial of the same code that was killed or interrupted is begun again, or goes on, see TrackedTrial.resume.
    Raises RecordError if there is any other record already and not `fresh`, and TrialError if the loop ends without finish().
    """
    update, scenario = run.data_of(1, False), run.scenario
    total = run.budget(1) if steps is None else steps
    horizon = total / run.budget(1)
    content = {"division": "open", **({"reference": f"{OPEN}{reference}"} if reference else {}), **code}
    identity = (
        scenario.hash(),
        digest({key: value for key, value in content.items() if key != "packages"}),
        TRAINING_VERSION,
        run.data_hash,
    )
    folder = trial_folder(
        run._results, scenario.name, f"{OPEN}{name}", horizon, seed, 1 if scenario.updates > 1 else None
    )
    with ExitStack() as stack:
        stack.enter_context(locked(folder.with_name(f"{folder.name}.lock")))
        previous = read_trial(folder)
        unfinished = previous is not None and previous.status in ("running", "interrupted") and not fresh
        if previous is not None and not fresh and not (unfinished and _identity(previous) == identity):
            raise RecordError(
                f"{folder}: holds a record already{' of other code, which was interrupted' * unfinished}. Give track() "
                "fresh=True to replace it, or another name."
            )
        base = run._base(seed, Silent()) if old_model else None
        meters = stack.enter_context(open_meters(gpu_uuid(run.device)))
        channels, height, width = update.train.image_shape
        model = build_model(scenario.model.name, channels, update.head, seed, "update", height)
        flops = count_built(model, scenario.model.name, (channels, height, width), update.head)
        facts = meters.gpu_facts()
        changes = {"gpu": GpuFacts(**facts) if facts else None, "compiled": False, "step": "eager"}
        record = TrialRecord(
            training_version=TRAINING_VERSION,
            scenario=scenario.model_dump(mode="json"),
            scenario_hash=scenario.hash(),
            strategy={"name": f"{OPEN}{name}", "title": f"{name} (open division)", "horizon": horizon, **content},
            strategy_hash=identity[1],
            update=1,
            seed=seed,
            horizon=horizon,
            total_steps=total,
            scratch_steps=run.budget(1),
            flops_per_image=FlopFacts(**asdict(flops)),
            parameters=sum(each.numel() for each in model.parameters()),
            chance=int(update.validation.labels.bincount().max()) / len(update.validation),
            validation_images=len(update.validation),
            base=base.cost if base else None,
            given=base.given if base else None,
            old_share=update.old_share,
            provenance=run._provenance(run.data_hash).model_copy(update=changes),
            status="running",
        )
        del model
        writer = RecordWriter(folder)
        where = [*identity, seed, total, run._bases.key if old_model else None, run.device.type, str(folder.resolve())]
        checkpoint = run._cache / "checkpoints" / f"{digest(where)}.pt" if code.get("source") else None
        trial = TrackedTrial(run, update, base, meters, record, writer, checkpoint, unfinished)
        if not (unfinished and checkpoint):
            trial._begin()
        hook = register_optimizer_step_post_hook(lambda optimizer, arguments, options: trial._took(optimizer))
        try:
            trial._go_on()
            yield trial
            if not trial.finished:
                raise TrialError(f"{OPEN}{name} seed {seed}: its loop ended without finish(model). Call it at the end.")
        except BaseException as cause:
            if not trial.finished:
                trial.end(cause)
            raise
        finally:
            hook.remove()
            trial._pause()
