"""How many processors this process may really use, by its affinity and its container's quota, and what they can."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_BRIEF_WAITS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
_set_here: set[str] = set()


def let_threads_wait_briefly() -> None:
    """Let OpenMP's threads spin for some ten microseconds while they wait, and then sleep, unless OMP_WAIT_POLICY is set.

    They spin for milliseconds by default, and so slow down whatever else runs; those that sleep at once wake too late for the
    next operator of a small network (docs/speed.md has what it brings). The second variable is libgomp's own; other libraries
    heed the first alone. Does nothing once torch is loaded: records hold the variables, which must not be set where they were
    not heeded.
    Source: https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html.
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        _set_here.update(name for name in _BRIEF_WAITS if name not in os.environ)
        os.environ.update({name: _BRIEF_WAITS[name] for name in _set_here})


def environment_as_given() -> dict[str, str]:
    """Return this process's environment without what let_threads_wait_briefly set."""
    return {name: value for name, value in os.environ.items() if name not in _set_here}


def usable_processors(system: Path = Path("/")) -> int:
    """Return the processors that this process may use at once, at least 1.

    A container may see all of its host's processors and still have the time of a few: by control groups, `cpu.max` (version 2) or
    `cpu.cfs_quota_us` (version 1). Half a processor does not count. system: the root of the file system.
    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(int(quota) for quota in _quotas(system))]))


def bfloat16_units(system: Path = Path("/")) -> tuple[str, ...]:
    """Return which units for products in bfloat16 the processor has, as Linux names them; none where it does not say.

    Without any, PyTorch computes in float32 and rounds, which is slower than float32 alone. system: as for usable_processors.
    """
    try:
        lines = (system / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return ()
    flags = {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()}
    return tuple(name for name in ("amx_bf16", "avx512_bf16", "svebf16", "bf16") if name in flags)


def _quotas(system: Path) -> Iterator[float]:
    """Yield the processors' time that this process's control group, and each that it lies in, may use."""
    try:
        lines = (system / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    groups = system / "sys/fs/cgroup"
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if not controllers:
            yield from (quota for folder in _upwards(groups, place) if (quota := _version_2(folder)) is not None)
        elif "cpu" in controllers.split(","):
            for name in (controllers, "cpu"):
                yield from (
                    quota for folder in _upwards(groups / name, place) if (quota := _version_1(folder)) is not None
                )


def _upwards(root: Path, place: str) -> Iterator[Path]:
    """Yield a group's folder and those above it. In a container, the path may be one of the host that is not there."""
    inside = PurePosixPath(place.lstrip("/"))
    yield from dict.fromkeys(root / each for each in (inside, *inside.parents))


def _version_2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _version_1(folder: Path) -> float | None:
    try:
        quota, period = (
            int((folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8")) for name in ("quota", "period")
        )
        return None if quota < 0 else quota / period
    except (OSError, ValueError, ZeroDivisionError):
        return None
