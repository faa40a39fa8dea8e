"""Errors that a user can act on: one line, and an exit code."""

from __future__ import annotations


class BenchError(Exception):
    """A mistake in what was asked for or given.

    The message is one line: where, what was found, what was expected, what to do. `bench` prints it without a
    traceback and exits with `exit_code`. Anything that is not a BenchError is a bug and keeps its traceback.
    """

    exit_code = 2


class ScenarioError(BenchError):
    """A scenario that is unknown, cannot be read, or does not hold together."""


class DataError(BenchError):
    """Images that are missing, or not what the scenario says they are."""


class StrategyError(BenchError):
    """A strategy that is unknown, cannot be loaded, or is given values outside their range."""


class RecordError(BenchError):
    """A record that is missing, torn, of another version, or of another trial."""


class DeviceError(BenchError):
    """A device that is not there."""


class MeterError(BenchError):
    """A model whose cost cannot be counted, or counters that disagree."""

    exit_code = 1


class TrialError(BenchError):
    """A trial that could not be finished; its record holds the reason."""

    exit_code = 1


class RuleError(BenchError):
    """Records that do not keep the rules for a leaderboard's row."""

    exit_code = 1
