"""Ranks other than the first: each does with its learner what rank 0 does with its own."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from bench.execution.local import LocalRun
from bench.interrupts import check, held
from bench.metering.clock import Phase, PhaseClock
from bench.metering.meters import open_meters
from bench.training.device import gpu_uuid
from bench.training.faults import explained, release_memory
from bench.training.learner import Learner
from bench.training.ranks import Measured, Ranks
from bench.training.spec import Base

# The phase of rank 0's clock in which it tells the others to call a method of their learner.
_PHASES: dict[str, Phase] = {
    "prepare": "prepare",
    "start": "train",
    "train": "train",
    "evaluate": "evaluate",
    "restore": "io",
}


def follow(run: LocalRun, world: Ranks) -> None:
    """Do what rank 0 says, until it ends the run. A signal that arrives ends the trial of all ranks, after the step.

    Raises what ends this rank, once rank 0 can know of it.
    """
    try:
        with held(), ExitStack() as stack:
            follower: _Follower | None = None
            while (order := world.hear()) is not None:
                name, arguments = order
                if name == "build":
                    follower = None
                    stack.close()
                    release_memory(run.device)
                    follower = _Follower(run, world, stack, *arguments)
                else:
                    assert follower is not None
                    follower.do(name, *arguments)
    except Exception as cause:
        known = explained(cause, run.scenario.training.batch_size) or cause
        world.report(known)
        if known is cause:
            raise
        raise known from cause
    check()


class _Follower:
    """This rank's part of one trial: a learner, with the clock and the meters that are read with it."""

    def __init__(
        self,
        run: LocalRun,
        world: Ranks,
        stack: ExitStack,
        name: str,
        horizon: float,
        update: int,
        seed: int,
        base: Base | None,
    ) -> None:
        """stack: closes the meters."""
        self._world = world
        self._meters = stack.enter_context(open_meters(gpu_uuid(run.device)))
        self._clock = PhaseClock(run.device, self._meters.all)
        spec, data = run.asked(name, horizon, update, seed)
        with self._clock.phase("build"), world.doing("build"):
            self._learner = Learner(spec, data, base, run.device, compiled=False, world=world)

    def do(self, name: str, *arguments: Any) -> None:
        if name == "measured":
            self._world.gather(Measured(self._meters.known(), self._world.first_here))
        elif name == "clock":
            self._world.gather(self._clock.state())
        elif name == "wind":
            self._clock.restore(arguments[0][self._world.rank - 1])
        else:
            with self._clock.phase(_PHASES[name]):
                getattr(self._learner, name)(*arguments)
