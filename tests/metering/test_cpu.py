from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.metering.cpu import CpuSeconds, PackageEnergy


def rapl(folder: Path, energies: dict[str, int], full: int = 262_143_328_850) -> Path:
    """Lay out a powercap tree: two packages, and a part of the first that must not be counted twice."""
    for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:1", "package-1")):
        (folder / zone).mkdir(exist_ok=True)
        (folder / zone / "name").write_text(name + "\n")
        (folder / zone / "max_energy_range_uj").write_text(f"{full}\n")
        (folder / zone / "energy_uj").write_text(f"{energies[name]}\n")
    return folder


def spend(meter: PackageEnergy, folder: Path, energies: dict[str, int]) -> None:
    meter.begin("train")
    for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:1", "package-1")):
        (folder / zone / "energy_uj").write_text(f"{energies[name]}\n")
    meter.end("train")


def test_packages_are_added_and_their_parts_are_not(tmp_path: Path):
    rapl(tmp_path, {"package-0": 1_000_000, "core": 0, "package-1": 0})
    meter = PackageEnergy(tmp_path)
    spend(meter, tmp_path, {"package-0": 31_000_000, "core": 20_000_000, "package-1": 12_500_000})
    assert meter.joules("train") == 30 + 12.5
    assert meter.joules("evaluate") == 0
    assert meter.reason is None


def test_a_full_counter_starts_again(tmp_path: Path):
    rapl(tmp_path, {"package-0": 99_000_000, "core": 0, "package-1": 5}, full=99_999_999)
    meter = PackageEnergy(tmp_path)
    spend(meter, tmp_path, {"package-0": 2_000_000, "core": 0, "package-1": 5})
    assert meter.joules("train") == pytest.approx(3.0)


def test_a_counter_that_may_have_wrapped_twice_is_void(tmp_path: Path):
    rapl(tmp_path, {"package-0": 0, "core": 0, "package-1": 0}, full=60_000_000_000)
    moments = iter([0.0, 61.0])
    meter = PackageEnergy(tmp_path, now=lambda: next(moments))
    spend(meter, tmp_path, {"package-0": 1_000_000, "core": 0, "package-1": 0})
    assert meter.joules("train") is None
    assert "wrapped more than once" in str(meter.reason)


def test_a_missing_counter_and_a_forbidden_one_are_null_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    nothing = PackageEnergy(tmp_path / "nowhere")
    assert (nothing.joules("train"), nothing.reason) == (None, "this machine has no RAPL counter")
    rapl(tmp_path, {"package-0": 0, "core": 0, "package-1": 0})

    def forbidden(self: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", forbidden)
    meter = PackageEnergy(tmp_path)
    assert (meter.joules("train"), meter.reason) == (None, "RAPL's counter cannot be read: Permission denied")


def test_a_resumed_trial_adds_its_earlier_joules(tmp_path: Path):
    rapl(tmp_path, {"package-0": 0, "core": 0, "package-1": 0})
    first = PackageEnergy(tmp_path)
    spend(first, tmp_path, {"package-0": 5_000_000, "core": 0, "package-1": 0})
    second = PackageEnergy(tmp_path)
    second.restore(first.state())
    spend(second, tmp_path, {"package-0": 6_000_000, "core": 0, "package-1": 0})
    assert second.joules("train") == 6.0


def test_cpu_seconds_are_ours_and_the_rest_is_others(tmp_path: Path):
    stat, mine = tmp_path / "stat", min(os.sched_getaffinity(0))
    foreign = max(os.sched_getaffinity(0)) + 1
    # user nice system idle iowait irq softirq steal, in hundredths of a second
    rest = "".join(f"cpu{number} 0 0 0 0 0 0 0 0 0 0\n" for number in os.sched_getaffinity(0) - {mine})
    stat.write_text(f"cpu{mine} 1000 0 500 9000 0 0 0 0 0 0\ncpu{foreign} 5 0 0 0 0 0 0 0 0 0\n{rest}")
    meter = CpuSeconds(stat)
    meter.begin("train")
    sum(range(300_000))
    # 800 more, without idle and iowait; the CPU that is not ours does not count.
    stat.write_text(f"cpu{mine} 1400 100 700 9100 50 10 20 70 0 0\ncpu{foreign} 9000 0 0 0 0 0 0 0 0 0\n{rest}")
    meter.end("train")
    assert 0 < meter.own("train") < 8
    assert meter.others("train") == pytest.approx(8 - meter.own("train"))
    assert meter.others("evaluate") == 0


def test_a_system_that_does_not_report_it_gives_no_figure_for_others(tmp_path: Path):
    meter = CpuSeconds(tmp_path / "nothing")
    meter.begin("train")
    meter.end("train")
    assert meter.others("train") is None
    assert meter.own("train") >= 0
