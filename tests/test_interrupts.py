"""The first signal ends a command where nothing is lost; the second at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from bench.interrupts import SIGNALS, Interrupted, asked, check, held, interruptible


@pytest.fixture(autouse=True)
def heard():
    """Whoever started the tests may have told them to ignore a signal, as shells do for background commands."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_raised_where_it_arrives(number: signal.Signals):
    with pytest.raises(Interrupted) as caught, interruptible():
        os.kill(os.getpid(), number)
    assert caught.value.number == number
    assert signal.getsignal(number) == signal.SIG_DFL
    check()  # it is over


@pytest.mark.parametrize("number", SIGNALS)
def test_within_a_hold_it_is_only_noted(number: signal.Signals):
    with interruptible(), held():
        with held():
            os.kill(os.getpid(), number)
        assert asked()
        with pytest.raises(Interrupted):
            check()


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    with interruptible():
        os.kill(os.getpid(), signal.SIGHUP)
        assert not asked()


@pytest.mark.parametrize("held_", ["held()", "suppress(KeyboardInterrupt)"])
def test_the_second_ends_the_process_at_once_and_quietly(held_: str):
    script = f"""
import os, signal
from contextlib import suppress
from bench.interrupts import held, interruptible
signal.signal(signal.SIGINT, signal.SIG_DFL)
with interruptible():
    with {held_}:
        os.kill(os.getpid(), signal.SIGINT)
    with held():
        print("noted", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        print("not reached")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGTERM, "noted\n", "")
