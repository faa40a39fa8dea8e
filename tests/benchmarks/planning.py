"""How long it takes to plan many trials, and how much memory: python -m tests.benchmarks.planning [TRIALS ...]

Two digits scenarios, 10 variants of a strategy at 10 horizons, and as many seeds as that takes. Nothing is there yet. Each
number is planned in a process of its own. Seconds are of one core (CPU time). Reading the scenarios' images and counting FLOPs is
among them; loading Python and torch, and timing steps, is not. Memory is the most that was resident, torch included.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DEFAULT = (1_000, 20_000, 100_000)
_SCENARIOS, _VARIANTS, _HORIZONS = ("digits-7-3", "digits-4-2-2-2"), 10, 10
_TRIALS_EACH = (1 + 3) * _VARIANTS * _HORIZONS  # a seed has them: one update of the one, three of the other


def measure(trials: int) -> dict[str, float]:
    """Plan about that many trials, and write their graph; return seconds, GiB at most, and MB of JSON."""
    import bench
    from bench.api.named import strategies_for
    from bench.api.sweeps import sweep
    from bench.strategies.notation import read_setting

    grid = [read_setting("--grid", f"schedule.warmup={','.join(f'{0.01 * (1 + i):.2f}' for i in range(_VARIANTS))}")]
    bench.plan("digits-7-3", ["scratch"], [0], results="nowhere", device="cpu", threads=1)  # torch is loaded
    with tempfile.TemporaryDirectory() as folder:
        before = time.process_time()
        entrants = strategies_for(["naive"], grid, [round(0.1 * (1 + i), 1) for i in range(_HORIZONS)])
        seeds = range(max(1, round(trials / _TRIALS_EACH)))
        found = sweep(_SCENARIOS, entrants, seeds, results=f"{folder}/runs", cache=f"{folder}/cache", device="cpu")
        planned = time.process_time()
        found.graph.critical_path  # noqa: B018
        counted = time.process_time()
        found.write(f"{folder}/graph.json")
        written = time.process_time()
        size = Path(f"{folder}/graph.json").stat().st_size
    jobs = found.graph.jobs
    return {
        "trials": sum(job.kind == "trial" for job in jobs),
        "plan_seconds": planned - before,
        "path_seconds": counted - planned,
        "write_seconds": written - counted,
        "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "json_mb": size / 1e6,
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(int(sys.argv[2]))))
    else:
        print(f"{'trials':>8} {'planned':>9} {'critical path':>14} {'written':>9} {'memory':>9} {'JSON':>9}")
        for number in map(int, sys.argv[1:] or DEFAULT):
            command = [sys.executable, "-m", "tests.benchmarks.planning", "--one", str(number)]
            told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(
                f"{told['trials']:>8,} {told['plan_seconds']:>7.2f} s {told['path_seconds']:>12.2f} s "
                f"{told['write_seconds']:>7.2f} s {told['gib']:>5.2f} GiB {told['json_mb']:>6.1f} MB"
            )
