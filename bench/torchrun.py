"""What torchrun tells each process that it starts, read without PyTorch."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Launch:
    """This process among those that torchrun started together. rank: 0 speaks, writes and decides for all.

    local_rank of local_size: among those of this machine.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int


def launch() -> Launch | None:
    """Return this process's place among several; None if it is alone."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # what else sets a WORLD_SIZE may not mean it for bench
        return None
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    found = Launch(*(int(os.environ[name]) for name in names))
    return found if found.size > 1 else None


def speaks() -> bool:
    """Return whether this process is the one that prints, of all that are at work on the same."""
    found = launch()
    return found is None or found.rank == 0
