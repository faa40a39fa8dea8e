"""Running a graph of jobs on an executor: what may begin, what is tried again, and what is left."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bench.errors import TrialError
from bench.execution.jobs import Ended, Graph, Job
from bench.execution.listener import Listener
from bench.execution.local import TAKEN_SECONDS

# A job that died on another machine leaves a lock, which is not heeded after some minutes; so often it is asked for.
LOST_SECONDS = 20.0
# How often a job that failed is tried again, unless it is said otherwise.
RETRIES = 1


class Executor(Protocol):
    """Runs jobs somewhere, each once. room: how many more it takes now."""

    @property
    def room(self) -> int: ...

    def submit(self, jobs: Sequence[Job]) -> None:
        """Begin jobs, at most as many as there is room for, or have them wait where it is decided what runs."""
        ...

    def poll(self) -> list[Ended]:
        """Return the jobs that have ended since. Waits for one, but only a moment."""
        ...

    def cancel(self) -> None:
        """Stop all that runs, each after its step and with a checkpoint, and let go of everything."""
        ...


@dataclass
class Left:
    """The jobs that did not run to their end, by id, and why.

    taken: another process is at work on them. waiting: the id of the one among these that they need, at once or in
    the end.
    """

    failed: dict[str, str] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return a line for each job that another process is at work on, with what waits for it."""
        return [f"{id}: skipped{self._waiting_for(id)}: {reason}" for id, reason in self.taken.items()]

    def require_all_ran(self, jobs: int) -> None:
        """Raise TrialError, naming each job that failed, why, and what needs it, if any did. jobs: how many were due."""
        if self.failed:
            said = "; ".join(f"{id} ({reason}){self._waiting_for(id)}" for id, reason in self.failed.items())
            which = "1 job" if jobs == 1 else f"{jobs} jobs"
            raise TrialError(f"{len(self.failed)} of {which} failed: {said}. The same command tries them again.")

    def _waiting_for(self, id: str) -> str:
        found = [each for each, needed in self.waiting.items() if needed == id]
        return f", and so not run: {', '.join(found)}" if found else ""


def drive(graph: Graph, executor: Executor, listener: Listener, *, retries: int = RETRIES, wait: bool = False) -> Left:
    """Run what is due, longest first, each after what it needs, and return what was not run to its end.

    A job that fails is tried again, up to `retries` times, and then left; so is all that needs it. One that another process is
    at work on is left, too, unless it failed here before: then its lock may be its own. wait: ask for it again until it is free.
    The executor is cancelled at the end, however it comes.
    """
    left, tries, running = Left(), Counter[str](), set[str]()
    due = {job.id: job for job in graph.due}
    lacking = {job.id: {each for each in job.needs if each in due} for job in graph.due}
    followers: dict[str, list[str]] = {}
    for job in graph.due:
        for each in job.needs:
            followers.setdefault(each, []).append(job.id)
    ready = [(-graph.lengths[id], id) for id, needs in lacking.items() if not needs]
    heapq.heapify(ready)
    later: list[tuple[float, str]] = []
    trials = sum(job.kind == "trial" for job in graph.jobs)
    listener.planned(trials, sum(job.kind == "trial" for job in graph.due), sum(job.steps for job in graph.due))

    def leave(root: str) -> None:
        waiting = list(followers.get(root, ()))
        for id in waiting:
            left.waiting.setdefault(id, root)
            waiting += followers.get(id, ())

    try:
        while ready or running or later:
            while later and later[0][0] <= time.monotonic():
                id = heapq.heappop(later)[1]
                heapq.heappush(ready, (-graph.lengths[id], id))
            begun = [heapq.heappop(ready)[1] for _ in range(min(executor.room, len(ready)))]
            if begun:
                running.update(begun)
                executor.submit([due[id] for id in begun])
            for ended in executor.poll():
                id = ended.id
                running.discard(id)
                if ended.outcome == "done":
                    for each in followers.get(id, ()):
                        lacking[each].discard(id)
                        if not lacking[each]:
                            heapq.heappush(ready, (-graph.lengths[each], each))
                elif ended.outcome == "taken" and (wait or tries[id]):
                    pause = TAKEN_SECONDS if wait else LOST_SECONDS
                    heapq.heappush(later, (time.monotonic() + pause, id))
                elif ended.outcome == "failed" and tries[id] < retries:
                    tries[id] += 1
                    heapq.heappush(ready, (-graph.lengths[id], id))
                else:
                    kept = left.taken if ended.outcome == "taken" else left.failed
                    kept[id] = ended.reason or "no reason given"
                    leave(id)
    finally:
        executor.cancel()
    return left
