"""What many records take: made up in a temporary folder, each command in a process of its own. On a quiet machine.

    python -m tests.benchmarks.records                                      # 1 scenario x 1,000 strategies x 10 seeds
    python -m tests.benchmarks.records --scenarios 10 --strategies 100      # as many trials, other tables
    python -m tests.benchmarks.records --only collect --only leaderboard    # some of the commands

Expected of 10,000 trials with 200 evaluations: collect below 15 s and 1 GB, leaderboard from its file below 3 s. Files
take 1.4 GB; TMPDIR says where. Memory is the process' peak, as the system tells it when the process has ended. Beside other
work read the CPU seconds: collect spends them in two or three threads, leaderboard in one.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.records.made_up import evaluation, trial, write

_COMMANDS = {
    "collect": ["collect"],
    "leaderboard": ["leaderboard"],
    "leaderboard as csv": ["leaderboard", "--format", "csv"],
    "compare": ["compare", "scratch", "strategy-001", "--scenario", "scenario-00"],
    "check": ["check"],
    "report": ["report"],
    "leaderboard without a collected file": ["leaderboard"],
}


def make(results: Path, scenarios: int, strategies: int, seeds: int, evaluations: int, schema: int) -> None:
    """Write records: curves that rise to 0.8, some faster than scratch's and some never there, with noise."""
    for scenario in range(scenarios):
        for number in range(strategies):
            for seed in range(seeds):
                draw = random.Random(f"{scenario} {number} {seed}")
                rate = 4 + 2 * (number % 7 - 1) / 7 if number else 4
                lines = []
                for place in range(1, evaluations + 1):
                    accuracy = 0.8 * (1 - math.exp(-rate * place / evaluations)) + draw.gauss(0, 0.004)
                    test = {} if place % 5 else {"test_accuracy": accuracy, "test_accuracy_old": accuracy}
                    lines.append(evaluation(10 * place, accuracy, train_loss=draw.random(), **test))
                name = f"strategy-{number:03d}" if number else "scratch"
                where = {"scenario": f"scenario-{scenario:02d}", "strategy": name, "seed": seed}
                write(results, trial(**where, steps=10 * evaluations, schema_version=schema, last=lines[-1]), lines)


def measure(words: list[str]) -> tuple[float, float, float, int]:
    """Run bench, and return (seconds, CPU seconds of all threads, peak memory in MB, exit code)."""
    begun = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "bench", *words], stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begun
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, process.returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenarios", type=int, default=1)
    parser.add_argument("--strategies", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--schema", type=int, default=7, help="of the records; before 7 they hold no digest to verify")
    parser.add_argument("--only", action="append", choices=list(_COMMANDS), help="default: all but report")
    asked = parser.parse_args()
    count = asked.scenarios * asked.strategies * asked.seeds
    print(f"{asked.scenarios} scenarios x {asked.strategies} strategies x {asked.seeds} seeds = {count:,} trials,")
    print(f"{asked.evaluations} evaluations each, {count * asked.evaluations:,} in all")
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        begun = time.perf_counter()
        make(results, asked.scenarios, asked.strategies, asked.seeds, asked.evaluations, asked.schema)
        print(f"written in {time.perf_counter() - begun:.0f} s")
        for name in asked.only or [name for name in _COMMANDS if name != "report"]:
            words = [*_COMMANDS[name], *([str(results)] if name == "check" else ["--results", str(results)])]
            if name == "report":
                words += ["--reports", str(Path(folder) / "reports")]
            if "without" in name:
                (results / "records.parquet").unlink(missing_ok=True)
            seconds, spent, megabytes, code = measure(words)
            told = f"{seconds:.2f} s (CPU {spent:.2f} s), {megabytes:,.0f} MB"
            print(f"bench {name}: {told}" + f", exit code {code}" * bool(code), flush=True)


if __name__ == "__main__":
    main()
