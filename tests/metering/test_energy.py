"""GPU energy against a stub of NVML, through the real ctypes binding, in a separate process each time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.metering.energy import integrate_power
from bench.metering.nvml import UnmeasuredError
from bench.records.schema import GpuPower

_COMPILER = shutil.which("cc") or shutil.which("gcc")
pytestmark = pytest.mark.skipif(_COMPILER is None, reason="needs a C compiler, for the stub of NVML")

_OPENING = """
import ctypes, json, os
import pynvml
from bench.metering.energy import GpuEnergy, GpuWatch
from bench.metering.meters import open_meters
from bench.metering.nvml import UnmeasuredError, open_gpu

pynvml._LoadNvmlLibrary()

def put(**values):
    for name, value in values.items():
        assert pynvml.nvmlLib.stub_set(name.encode(), ctypes.c_longlong(value)) == 0, name

class Clock:
    seconds = 0.0
    def __call__(self):
        return self.seconds

clock = Clock()
found = {}

def train(energy, seconds, /, **change):
    energy.begin("train")
    clock.seconds += seconds
    put(**change)
    energy.end("train")
"""

Run = Callable[..., dict]


@pytest.fixture(scope="session")
def build_stub(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    def build(*without: str) -> Path:
        folder = tmp_path_factory.mktemp("nvml")
        source = Path(__file__).parent / "nvml_stub.c"
        defines = [f"-DWITHOUT_{name}" for name in without]
        command = [str(_COMPILER), "-shared", "-fPIC", *defines, "-o", str(folder / "libnvidia-ml.so.1"), str(source)]
        subprocess.run(command, check=True, capture_output=True)
        return folder

    return build


@pytest.fixture(scope="session")
def run(build_stub: Callable[..., Path]) -> Run:
    """Run lines of Python against the stub; return what they put into `found`."""
    stubs: dict[tuple[str, ...], Path] = {}

    def run(lines: str, *without: str) -> dict:
        stub = stubs.get(without) or stubs.setdefault(without, build_stub(*without))
        script = _OPENING + textwrap.dedent(lines) + "\nprint(json.dumps(found))"
        environment = {**os.environ, "LD_LIBRARY_PATH": str(stub)}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_300_watts_for_60_seconds_are_18_000_joules_by_the_counter(run: Run):
    found = run("""
        with open_gpu("second") as gpu:
            put(energy=5_000_000)
            energy = GpuEnergy(gpu, clock)
            train(energy, 60, energy=5_000_000 + 18_000_000)
            found.update(joules=energy.joules("train"), source=energy.source, short=energy.short_share(), reason=energy.reason)
            found.update(evaluate=energy.joules("evaluate"))
    """)
    assert found == {"joules": 18_000, "source": "energy counter", "short": 0, "reason": None, "evaluate": 0}


def test_300_watts_for_60_seconds_are_18_000_joules_by_sampled_power(run: Run):
    found = run("""
        put(energy_result=3, power=300_000)
        with open_gpu("second") as gpu:
            energy = GpuEnergy(gpu, clock, sampling=False)
            energy.begin("train")
            for _ in range(120):
                clock.seconds += 0.5
                energy.sample()
            energy.end("train")
            found.update(joules=energy.joules("train"), source=energy.source)
    """)
    assert found == {"joules": 18_000, "source": "sampled power"}


def test_a_ramp_is_integrated_by_trapezoids(run: Run):
    # From 0 to 600 W in a minute: half of 600 W times 60 s. A rectangle rule over these samples is off by 300 J.
    found = run("""
        put(energy_result=3)
        with open_gpu("second") as gpu:
            energy = GpuEnergy(gpu, clock, sampling=False)
            energy.begin("train")
            for second in range(1, 61):
                clock.seconds = second
                put(power=10_000 * second)
                energy.sample()
            energy.end("train")
            found.update(joules=energy.joules("train"))
    """)
    assert found == {"joules": 18_000}


def test_trapezoids_by_hand():
    assert integrate_power([0, 0.5, 1.5], [100, 200, 300]) == 0.5 * 150 + 1.0 * 250


@pytest.mark.parametrize(("seconds", "message"), [([0, 1.5], "a gap of 1.5 s"), ([0], "power samples: 1")])
def test_a_gap_in_sampled_power_is_refused(seconds: list[float], message: str):
    with pytest.raises(UnmeasuredError, match=message):
        integrate_power(seconds, [100.0] * len(seconds))


def test_a_gap_makes_the_trial_void(run: Run):
    found = run("""
        put(energy_result=3, power=300_000)
        with open_gpu("second") as gpu:
            energy = GpuEnergy(gpu, clock, sampling=False)
            train(energy, 60)
            found.update(joules=energy.joules("train"), reason=energy.reason)
    """)
    assert found == {"joules": None, "reason": "a gap of 60.0 s in sampled power, expected at most 1 s"}


# What goes wrong in the middle of training, and what the record then says.
_FAILURES = {
    "GPU is lost": ("energy_result=15", "NVML does not report energy: GPU is lost"),
    "no permission": ("energy_result=4", "NVML does not report energy: Insufficient Permissions"),
    "counter reset": (
        "energy=1_000_000",
        "the energy counter went backwards by 4000 J: it was reset, or is at its end",
    ),
    "other processes": ("energy=9_000_000, processes=3", "2 other processes computed on the GPU"),
}


@pytest.mark.parametrize("failure", _FAILURES)
def test_a_failure_in_the_middle_gives_null_and_its_reason_for_good(run: Run, failure: str):
    change, reason = _FAILURES[failure]
    found = run(f"""
        with open_gpu("second") as gpu:
            put(energy=5_000_000)
            energy = GpuEnergy(gpu, clock)
            train(energy, 60, {change})
            put(energy=9_000_000, energy_result=0, processes=0)
            train(energy, 60, energy=12_000_000)
            found.update(joules=energy.joules("train"), reason=energy.reason)
    """)
    assert found == {"joules": None, "reason": reason}


# What is wrong from the start: settings, functions that the driver lacks, and the reason in the record.
_REFUSALS = {
    "not supported": (
        "energy_result=3, power_result=3, instant_result=3",
        (),
        "NVML does not report energy: Not Supported; NVML does not report power: Not Supported",
    ),
    "MIG": ("mig=1, mig_result=0", (), "the GPU is split into MIG slices: its counter covers all of them"),
    "a MIG slice": ("slice=1", (), "a MIG slice has no energy counter of its own"),
    "driver not loaded": ("init=9", (), "NVML does not report any GPU: Driver Not Loaded"),
    "driver and library mismatch": (
        "init=18",
        (),
        "NVML does not report any GPU: RM has detected an NVML/RM version mismatch.",
    ),
    "no permission at all": ("init=4", (), "NVML does not report any GPU: Insufficient Permissions"),
    "no permission for this GPU": ("handle=4", (), "NVML does not report this GPU: Insufficient Permissions"),
    "GPU not found": ("handle=6", (), "NVML does not report this GPU: Not Found"),
    "missing symbols": (
        "energy=0",
        ("ENERGY", "POWER", "FIELDS"),
        "NVML does not report energy: Function Not Found; NVML does not report power: Function Not Found",
    ),
}


@pytest.mark.parametrize("refusal", _REFUSALS)
def test_each_refusal_gives_null_and_its_reason(run: Run, refusal: str):
    settings, without, reason = _REFUSALS[refusal]
    found = run(
        f"""
        put({settings})
        with open_meters("second") as meters:
            for meter in meters.all:
                meter.begin("train")
                meter.end("train")
            summary = meters.summary()
            found.update(joules=summary["gpu_joules"], reason=summary["gpu_joules_reason"])
        """,
        *without,
    )
    assert found == {"joules": None, "reason": reason}


def test_without_a_counter_power_is_sampled_by_a_thread(run: Run):
    found = run(
        """
        import time
        put(power=200_000)
        with open_gpu("second") as gpu:
            energy = GpuEnergy(gpu)
            begun = time.perf_counter()
            energy.begin("train")
            time.sleep(0.5)
            energy.end("train")
            seconds = time.perf_counter() - begun
            found.update(watts=energy.joules("train") / seconds, source=energy.source)
        """,
        "ENERGY",
    )
    assert found["source"] == "sampled power"
    assert 180 < found["watts"] <= 200  # the power is constant; only the ends of the segment are missing


def test_a_gpu_is_found_by_its_uuid_not_by_its_index(run: Run):
    found = run("""
        put(energy=7_000)
        for uuid in ("first", "second", "GPU-second"):
            with open_gpu(uuid) as gpu:
                found[uuid] = gpu.total_joules()
        try:
            with open_gpu("third"):
                pass
        except UnmeasuredError as cause:
            found["third"] = str(cause)
    """)
    assert found == {"first": 0, "second": 7, "GPU-second": 7, "third": "NVML does not report this GPU: Not Found"}


def test_our_own_process_is_not_foreign(run: Run):
    found = run("""
        with open_gpu("second") as gpu:
            put(processes=2, own_pid=os.getpid())
            found["ours and another"] = gpu.foreign_processes()
            put(processes=1)
            found["ours"] = gpu.foreign_processes()
            put(own_pid=0)
            found["one by another number, as in a container"] = gpu.foreign_processes()
    """)
    assert found == {"ours and another": 1, "ours": 0, "one by another number, as in a container": 0}


def test_short_segments_are_flagged(run: Run):
    found = run("""
        with open_gpu("second") as gpu:
            energy = GpuEnergy(gpu, clock)
            for number, seconds in enumerate((9, 30, 1), 1):
                train(energy, seconds, energy=number)
            found["share"] = energy.short_share()
    """)
    assert found["share"] == 10 / 40


def test_a_resumed_trial_adds_its_earlier_joules(run: Run):
    found = run("""
        with open_gpu("second") as gpu:
            first = GpuEnergy(gpu, clock)
            train(first, 60, energy=1_000_000)
            second = GpuEnergy(gpu, clock)
            second.restore(first.state())
            train(second, 60, energy=3_000_000)
            found["both"] = second.joules("train")
            put(energy_result=3, power=100_000)
            third = GpuEnergy(gpu, clock, sampling=False)
            third.restore(second.state())
            found["by another way"] = third.joules("train")
            found["reason"] = third.reason
    """)
    assert found["both"] == 3000
    assert found["by another way"] is None
    assert found["reason"] == "measured by energy counter before the interruption, by sampled power after"


@pytest.mark.parametrize("without", [(), ("EVENT_REASONS",)], ids=["driver 535", "older driver"])
def test_a_throttled_run_is_visible(run: Run, without: tuple[str, ...]):
    found = run(
        """
        with open_gpu("second") as gpu:
            watch = GpuWatch(gpu, interval=None)
            watch.begin("train")
            put(utilization=90, sm_clock=1980, temperature=60, power=500_000, reasons=0x01)
            watch.sample()
            put(utilization=100, sm_clock=1480, temperature=84, power=300_000, reasons=0x04 | 0x40)
            watch.sample()
            restored = GpuWatch(gpu, interval=None)
            restored.restore(json.loads(json.dumps(watch.state())))
            found.update(restored.summary())
        """,
        *without,
    )
    assert found == {
        "samples": 2,
        "utilization": 0.95,
        "sm_clock_mhz": 1730,
        "temperature_celsius": 84,
        "power_watts": 400,
        "slowed_share": 0.5,
        "slowed_by": ["hardware thermal", "power cap"],
    }


def test_training_in_short_segments_is_watched_and_nothing_else_is(run: Run):
    found = run(
        """
        import time
        with open_gpu("second") as gpu:
            watch = GpuWatch(gpu, interval=0.05)
            put(utilization=90, sm_clock=1980, temperature=60, power=500_000, reasons=0x01)
            for _ in range(40):  # segments shorter than the interval
                watch.begin("train"); time.sleep(0.02); watch.end("train")
            found["training"] = watch.summary()["samples"]
            watch.begin("evaluate"); time.sleep(0.3); watch.end("evaluate")
            found["evaluating"] = watch.summary()["samples"] - found["training"]
            watch.close()
        """
    )
    assert found["training"] > 2
    assert found["evaluating"] == 0


def test_facts_for_records(run: Run):
    found = run("""
        from bench.records.schema import GpuFacts
        with open_meters("second") as meters:
            found.update(GpuFacts(**meters.gpu_facts()).model_dump())
    """)
    assert found == {
        "name": "Stub 100",
        "driver": "999.1",
        "max_sm_clock_mhz": 1980,
        "max_memory_clock_mhz": 2619,
        "power_limit_watts": 700.0,
        "mig": False,
    }


# A GPU as it behaves: 70 W idle, 400 W at work, and a counter that is refreshed every 100 ms and read in about a millisecond.
_TRACE = """
class Trace:
    def __init__(self, begin=5_000_000, shown=1.0, frozen=False):
        self.milliseconds, self.millijoules, self.watts = 0, begin, 70
        self.shown, self.frozen, self.limit = shown, frozen, None
        self.used = {"train": 0, "evaluate": 0}
        self._show()
    def __call__(self):
        self.pass_(0.001)
        return self.milliseconds / 1000
    def pass_(self, seconds):
        for _ in range(round(seconds * 1000)):
            self.milliseconds += 1
            self.millijoules += self.watts
            if self.milliseconds % 100 == 63 and not self.frozen:
                self._show()
    def _show(self):
        put(energy=self.millijoules % self.limit if self.limit else self.millijoules)
    def work(self, energy, phase, seconds):
        energy.begin(phase)
        self.watts = 400
        put(power=int(400_000 * self.shown))
        before = self.millijoules
        for _ in range(round(seconds * 10)):
            self.pass_(0.1)
            energy.sample()
        self.used[phase] += (self.millijoules - before) / 1000
        self.watts = 70
        energy.end(phase)
        put(power=70_000)
        self.pass_(0.037)

def measure(gpu, trace):
    put(power=70_000)
    energy = GpuEnergy(gpu, trace, sampling=False, sleep=trace.pass_)
    energy.calibrate()
    return energy
"""


def on_trace(run: Run, lines: str) -> dict:
    return run(_TRACE + '\nwith open_gpu("second") as gpu:\n' + textwrap.indent(textwrap.dedent(lines), "    "))


def test_segments_are_cut_at_the_counters_ticks_and_compared_with_sampled_power(run: Run):
    found = on_trace(
        run,
        """
        trace = Trace()
        put(sm_clock=1980, temperature=61, reasons=0x01)
        energy = measure(gpu, trace)
        for number in range(2):
            trace.work(energy, "train", 12)
            trace.work(energy, "evaluate", 11)
            put(sm_clock=1410, temperature=84, reasons=0x04)
        found.update(train=energy.joules("train"), evaluate=energy.joules("evaluate"), power=energy.power(), used=trace.used)
        """,
    )
    # 400 W for 24.2 s and 22.2 s; a cut is off by some milliseconds. Uncut, the four segments are off by 10 to 40 J each.
    assert abs(found["train"] - found["used"]["train"]) < 3
    assert abs(found["evaluate"] - found["used"]["evaluate"]) < 3
    assert 9600 < found["used"]["train"] < 9750
    power = found["power"]
    assert 0.095 < power["counter_tick_seconds"] < 0.105
    assert (power["idle_watts_before"], power["idle_watts_after"]) == (70, 70)
    assert abs(power["sampled_over_counted"] - 1) < 0.01
    first, second = power["windows"]
    assert (first["sm_clock_mhz"], first["temperature_celsius"], first["slowed_by"], first["others"]) == (
        1980,
        61,
        [],
        0,
    )
    assert (second["sm_clock_mhz"], second["temperature_celsius"], second["slowed_by"]) == (1410, 84, ["power cap"])
    assert abs(first["seconds"] - 12) < 0.2
    assert abs(first["joules"] + second["joules"] - found["train"]) < 1e-6
    assert GpuPower(**power).windows[1].slowed_by == ("power cap",)


# What happens to the trace after a first good segment, and what the record then says.
_TROUBLE = {
    "a neighbour appears": ("put(processes=2, own_pid=os.getpid())", "1 other processes computed on the GPU"),
    "the counter wraps": ("trace.limit = trace.millijoules + 1_000_000", "the energy counter went backwards by"),
    "the counter stands still": ("trace.frozen = True", "the energy counter did not move in 12.1 s of work: it stands"),
}


@pytest.mark.parametrize("trouble", _TROUBLE)
def test_trouble_in_the_trace_makes_the_meter_void_with_its_reason(run: Run, trouble: str):
    change, reason = _TROUBLE[trouble]
    found = on_trace(
        run,
        f"""
        trace = Trace()
        energy = measure(gpu, trace)
        trace.work(energy, "train", 12)
        found.update(before=energy.joules("train"))
        {change}
        trace.work(energy, "train", 12)
        found.update(after=energy.joules("train"), reason=energy.reason, power=energy.power())
        """,
    )
    assert found["before"] > 4700
    assert (found["after"], found["power"]) == (None, None)
    assert found["reason"].startswith(reason)


def test_a_counter_that_stands_still_is_void_before_training_and_in_short_segments(run: Run):
    found = on_trace(
        run,
        """
        energy = measure(gpu, Trace(frozen=True))
        found["from the start"] = energy.reason
        trace = Trace()
        energy = measure(gpu, trace)
        trace.frozen = True
        for _ in range(3):
            trace.work(energy, "train", 0.3)
        found["after 0.9 s"] = energy.reason
        trace.work(energy, "train", 0.3)
        found["after 1.2 s"] = energy.reason
        """,
    )
    assert found["from the start"] == "the energy counter did not move in 1 s before training: it stands still"
    assert found["after 0.9 s"] is None
    assert found["after 1.2 s"].startswith("the energy counter did not move in 1.2 s of work")


def test_sampled_power_that_disagrees_or_is_not_reported_is_visible_and_does_not_void_the_counter(run: Run):
    found = on_trace(
        run,
        """
        trace = Trace(shown=1.25)
        energy = measure(gpu, trace)
        trace.work(energy, "train", 12)
        found.update(joules=energy.joules("train") - trace.used["train"], ratio=energy.power()["sampled_over_counted"])
        put(power_result=3, instant_result=3)
        energy = measure(gpu, trace)
        trace.work(energy, "train", 12)
        again = GpuEnergy(gpu, trace, sampling=False, sleep=trace.pass_)
        found.update(counted=energy.joules("train") - trace.used["train"] / 2)
        again.restore(json.loads(json.dumps(energy.state())))
        power = again.power()
        found.update(again=again.joules("train") - energy.joules("train"))
        found.update(unknown=power["sampled_over_counted"], idle=power["idle_watts_after"])
        """,
    )
    assert abs(found["joules"]) < 3
    assert abs(found["ratio"] - 1.25) < 0.01
    assert found["again"] == 0
    assert abs(found["counted"]) < 10  # what the idle GPU draws is not known here
    assert (found["unknown"], found["idle"]) == (None, None)
