"""Errors that a user can act on: a one-line message and an exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pydantic import ValidationError


class BenchError(Exception):
    """A mistake in a request or its input.

    The message is one line: where, what was found, what was expected, what to do. `bench` prints it without a
    traceback and exits with `exit_code`. Anything that is not a BenchError is a bug and keeps its traceback.
    """

    exit_code = 2


class ScenarioError(BenchError):
    """A scenario that is unknown, unreadable or inconsistent."""


class DataError(BenchError):
    """Images that are missing or do not match the scenario."""


class StrategyError(BenchError):
    """A strategy that is unknown, cannot be loaded, or has values out of range."""


class WriteError(BenchError):
    """A file or folder that cannot be written: no space, no permission, a broken disk, or it is gone."""


class RecordError(BenchError):
    """A record that is missing, truncated, from another version, or from another trial."""


class DamagedError(RecordError):
    """A record that cannot be read as what bench wrote. Others beside it still can; its trial can be run again."""


class TakenError(RecordError):
    """A record that another process is at work on."""


class NothingToCompareError(RecordError):
    """Records without a finished trial of scratch: there is no target, and no leaderboard."""


class DeviceError(BenchError):
    """A device that is not available."""


class DeadDeviceError(DeviceError):
    """A device that has stopped working: no trial can go on in this process."""

    exit_code = 1


class MeterError(BenchError):
    """A model whose cost cannot be counted, or counters that disagree."""

    exit_code = 1


class TrialError(BenchError):
    """A trial that failed; its record holds the reason."""

    exit_code = 1


class RanksError(BenchError):
    """What cannot be done on several devices together."""


class LostRankError(RanksError):
    """Devices that were at work together, of which one has ended."""

    exit_code = 1


class RuleError(BenchError):
    """Records that break the rules for a leaderboard row."""

    exit_code = 1


class Fault(NamedTuple):
    """What a file's content has wrong: its key, pydantic's name for the fault, what was found or expected, and how many more."""

    key: str
    kind: str
    said: str
    more: int


def first_fault(cause: ValidationError) -> Fault:
    """Return the first complaint about a file's content, in words of one line."""
    complaint, more = cause.errors()[0], cause.error_count() - 1
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in complaint["loc"]).lstrip(".")
    expected = complaint["msg"].removeprefix("Input should be ").removeprefix("Input ")
    said = {
        "value_error": complaint["msg"].removeprefix("Value error, "),
        "extra_forbidden": "unknown key",
        "missing": "missing",
    }.get(complaint["type"], f"found {shown(complaint['input'])}, expected {expected}")
    return Fault(shown_key(key), complaint["type"], said, more)


_LONGEST = 80  # characters of what was found, in a message


def shown(value: object) -> str:
    """Return a value as a message shows it: on one line, and not all of a long one."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write whole numbers of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def shown_key(key: str) -> str:
    """Return a key as a message shows it: a file may have one that is no word."""
    return key if key.isprintable() and len(key) <= _LONGEST else shown(key)
