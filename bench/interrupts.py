"""Ending on a signal: at a safe point after the first one, at once after the second.

A command runs within `interruptible`. SIGINT, SIGTERM and SIGHUP then raise Interrupted where they arrive; within `held` they are
only noted, and the code there ends by itself once `asked` says so. A signal that is ignored when the command begins, as nohup
does, stays ignored.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end. number: which one; the exit code is 128 + number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class _State:
    asked: int | None = None
    holders = 0


@contextmanager
def interruptible(numbers: Sequence[int] = SIGNALS) -> Iterator[None]:
    """Let signals end what runs inside; outside the main thread, where Python does not deliver them, change nothing."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {
            number: signal.signal(number, _arrived) for number in numbers if signal.getsignal(number) != signal.SIG_IGN
        }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _State.asked = None


@contextmanager
def held() -> Iterator[None]:
    """Only note a signal that arrives inside: what runs there asks, and ends where nothing is lost."""
    _State.holders += 1
    try:
        yield
    finally:
        _State.holders -= 1


@contextmanager
def spawning() -> Iterator[None]:
    """Start processes inside: they begin with the signals blocked, until ignore_signals, and so never end with a traceback."""
    resource_tracker.ensure_running()  # unblocks them when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_signals() -> None:
    """Leave the signals to the parent process, which gets them too, and stops its workers."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def asked() -> bool:
    """Return whether a signal has asked this process to end."""
    return _State.asked is not None


def check() -> None:
    """Raise Interrupted if a signal has asked this process to end."""
    if _State.asked is not None:
        raise Interrupted(_State.asked)


def _arrived(number: int, _: FrameType | None) -> None:
    if _State.asked is not None:
        with suppress(OSError, ValueError):
            if sys.stderr.isatty():  # a progress bar hides the cursor
                os.write(sys.stderr.fileno(), b"\x1b[?25h\n")
        os._exit(128 + number)  # whatever the process waits for; its workers end with it
    _State.asked = number
    if not _State.holders:
        raise Interrupted(number)
