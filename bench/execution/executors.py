"""Executors by name, and what each takes as options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from bench.errors import BenchError
from bench.execution import on_ray, on_slurm
from bench.execution.jobs import Place
from bench.execution.listener import Listener
from bench.execution.on_processes import Processes
from bench.execution.sweep import Executor

ExecutorName = Literal["local", "slurm", "ray"]
EXECUTORS: tuple[ExecutorName, ...] = get_args(ExecutorName)
_OPTIONS: dict[str, Mapping[str, tuple[type, str]]] = {"local": {}, "slurm": on_slurm.OPTIONS, "ray": on_ray.OPTIONS}


def open_executor(
    name: ExecutorName,
    place: Place,
    count: int | None,
    options: Mapping[str, Any],
    listener: Listener,
    tell: Callable[[str], object] = lambda line: None,
) -> Executor:
    """Return an executor. count: how many jobs run at once at most; None for one, or as many as a cluster has room for.

    options: as read_options returns them. tell: is given a line of what was found out.
    Raises BenchError for what is not installed or not there.
    """
    if name == "local":
        return Processes(place, count or 1, listener)
    if name == "slurm":
        return on_slurm.Slurm(place, count, options, listener)
    return on_ray.Ray(place, count, options, listener, tell)


def check_log(name: str, log: Sequence[str]) -> None:
    """Raise BenchError for --log with an executor that tells no evaluations."""
    if log and name != "local":
        raise BenchError(f"--log: --executor {name} tells no evaluations, expected local. Remove one of them.")


def read_options(name: str, texts: Sequence[str]) -> dict[str, Any]:
    """Return an executor's options from texts such as "partition=gpu". Raises BenchError for one that it does not take."""
    if name not in _OPTIONS:
        raise BenchError(f"--executor {name}: unknown, expected one of {', '.join(EXECUTORS)}. Choose one of these.")
    known, found = _OPTIONS[name], dict[str, Any]()
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key not in known:
            expected = f"some of {', '.join(f'{each}=...' for each in known)}" if known else "none"
            raise BenchError(f"--with {text}: --executor {name} takes {expected}. Change it.")
        kind = known[key][0]
        try:
            found[key] = kind(value)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise BenchError(f"--with {text}: expected {what} after {key}=. Change it.") from None
        if (kind is not str and not 0 < found[key] < 1e9) or value == "":
            raise BenchError(f"--with {text}: expected a number above 0, or a name, after {key}=. Change it.")
    return found
