"""Errors that a user can act on: a one-line message and an exit code."""

from __future__ import annotations


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


class TakenError(RecordError):
    """A record that another process is at work on."""


class NothingToCompareError(RecordError):
    """Records without a finished trial of scratch: there is no target, and no leaderboard."""


class DeviceError(BenchError):
    """A device that is not available."""


class MeterError(BenchError):
    """A model whose cost cannot be counted, or counters that disagree."""

    exit_code = 1


class TrialError(BenchError):
    """A trial that failed; its record holds the reason."""

    exit_code = 1


class RuleError(BenchError):
    """Records that break the rules for a leaderboard row."""

    exit_code = 1
