"""The files are those that a kernel shows: https://docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/sched-bwc."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.processors import bfloat16_units, usable_processors


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)


def lay(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V1 = "11:cpu,cpuacct:/docker/abc\n5:cpuset:/docker/abc\n"


@pytest.mark.parametrize(
    ("files", "processors"),
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "1600000 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "nonsense\n"}, 8),
        (
            {
                "proc/self/cgroup": "0::/kubepods/pod\n",
                "sys/fs/cgroup/kubepods/pod/cpu.max": "600000 100000\n",
                "sys/fs/cgroup/kubepods/cpu.max": "400000 100000\n",
            },
            4,
        ),
        ({"proc/self/cgroup": "0::/of/the/host\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            8,
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "500000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            5,
        ),
    ],
)
def test_affinity_and_quotas_of_all_groups_above_limit_the_processors(
    files: dict[str, str], processors: int, tmp_path: Path
):
    assert usable_processors(lay(tmp_path, files)) == processors


@pytest.mark.parametrize(
    ("program", "set_by_user", "used"),
    [
        ("import bench.cli.main", {}, "PASSIVE 1000 False"),
        ("import bench", {}, "PASSIVE 1000 False"),
        ("import bench", {"GOMP_SPINCOUNT": "7"}, "PASSIVE 7 False"),
        ("import bench", {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None False"),
        ("import bench", {"OMP_WAIT_POLICY": "PASSIVE"}, "PASSIVE None False"),  # at once, as libgomp understands it
        (
            "import sys; sys.modules['torch'] = sys; import bench",
            {},
            "None None True",
        ),  # too late for OpenMP to heed it
    ],
)
def test_threads_that_wait_spin_briefly_and_sleep_unless_the_user_says_otherwise(
    program: str, set_by_user: dict[str, str], used: str
):
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in names} | set_by_user
    program += f"; import os, sys; print(*map(os.environ.get, {names}), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == used


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("flags\t\t: fpu avx512_bf16 amx_bf16 amx_tile\n", ("amx_bf16", "avx512_bf16")),
        ("flags\t\t: fpu avx2 avx512f\n", ()),
        ("processor\t: 0\nFeatures\t: fp asimd bf16 sve\n", ("bf16",)),
        (None, ()),
    ],
)
def test_what_a_processor_has_for_bfloat16_is_what_linux_says(text: str | None, units: tuple[str, ...], tmp_path: Path):
    assert bfloat16_units(lay(tmp_path, {"proc/cpuinfo": text} if text else {})) == units
