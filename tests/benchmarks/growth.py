"""How what many trials take grows: files, bytes, and each command's CPU time and memory, with the exponent, and a million's.

    python -m tests.benchmarks.growth                          # 1,000, 10,000 and 100,000 trials
    python -m tests.benchmarks.growth 1000 10000 --only plan --only collect

Made up: scenarios of 100 strategies x 10 seeds, 20 evaluations each. 100,000 trials take 3 GB in TMPDIR, and half an hour.
Every command has a process of its own. Seconds are of all its threads (CPU time): other work on the machine moves them less.
Memory is the most that was resident. From each, what the same command takes for 20 trials is subtracted before the power of the
number of trials is fitted, by least squares on logarithms.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.execution.harness import _place, _specs, usage_of, write_made_up
from bench.execution.plan import plan_trials
from bench.records.listing import list_records
from bench.records.store import record_digest
from bench.training.spec import TrialSpec

SIZES, MILLION = (1_000, 10_000, 100_000), 1_000_000
_FEW, _EACH, _EVALUATIONS = (
    20,
    1_000,
    20,
)  # trials for what a command takes anyway; of a scenario; evaluations of a trial
_SLOT = 100  # trials of one seed
_COMMANDS = {
    "collect": ["collect", "--results", "{}"],
    "leaderboard": ["leaderboard", "--results", "{}"],
    "plan": [],
    "status": ["status", "--results", "{}"],
    "check": ["check", "{}"],
    "merge": ["merge", "{}", "--results", "{}-merged"],
    "merge again": ["merge", "{}", "--results", "{}-merged"],
}


def specs_of(trials: int) -> list[TrialSpec]:
    """Return so many trials, of as many scenarios as that takes."""
    first, found = _specs(min(trials, _EACH), _EVALUATIONS), []
    for number in range(max(1, trials // _EACH)):
        scenario = first[0].scenario.model_copy(update={"name": f"scenario-{number:04d}"})
        found += [TrialSpec(scenario, spec.entrant, 1, spec.seed) for spec in first]
    return found


def make(results: Path, trials: int) -> None:
    """Write so many finished trials: those of one scenario, and the same under the names of the others."""
    specs = specs_of(trials)
    write_made_up(results, specs[:_EACH], _EVALUATIONS, _place())
    contents = {
        folder: (json.loads((folder / "trial.json").read_bytes()), (folder / "evals.jsonl").read_bytes())
        for folder in map(Path, list_records(results).folders)
    }
    first = specs[0].scenario.name
    for scenario in {spec.scenario.name: spec.scenario for spec in specs[_EACH:]}.values():
        for folder, (content, lines) in contents.items():
            content["scenario"]["name"], content["scenario_hash"] = scenario.name, scenario.hash()
            content["record_sha256"] = record_digest(content)
            place = results / scenario.name / folder.relative_to(results / first)
            place.mkdir(parents=True)
            (place / "trial.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            (place / "evals.jsonl").write_bytes(lines)


def plan(results: Path, trials: int) -> None:
    """Plan them again, and print the CPU seconds of that alone: without loading PyTorch, and without describing the trials.

    A hundred at a time, as a graph is made seed by seed: their records are not kept.
    """
    specs = specs_of(trials)
    before = time.process_time()
    for begin in range(0, len(specs), _SLOT):
        planned = plan_trials(specs[begin : begin + _SLOT], results, "cpu", "made up", fresh=False)
        assert {trial.state for trial in planned} == {"finished"}
    print(time.process_time() - before)


def measure(name: str, results: Path, trials: int) -> tuple[float, float, float]:
    """Return (CPU seconds, MB at most, seconds by the clock) of a command, in a process of its own."""
    words = ["-m", "bench", *(word.format(results) for word in _COMMANDS[name])]
    if name == "plan":
        words = ["-m", "tests.benchmarks.growth", "--plan", str(results), str(trials)]
    used = usage_of([sys.executable, *words])
    assert used.code == 0 or name == "check", f"{name}: exit code {used.code}"  # those of no clean commit break a rule
    return float(used.stdout) if name == "plan" else used.cpu_seconds, used.megabytes, used.seconds


def disk(results: Path) -> dict[str, float]:
    """Return what lies below a folder: files, folders, MB of content, and MB that they take."""
    found = {"files": 0, "folders": 0, "MB": 0.0, "MB on disk": 0.0}
    for folder, folders, files in os.walk(results):
        found["folders"] += len(folders)
        found["files"] += len(files)
        for file in files:
            status = os.stat(os.path.join(folder, file))  # noqa: PTH116, PTH118
            found["MB"] += status.st_size / 1e6
            found["MB on disk"] += status.st_blocks * 512 / 1e6
    return found


def row(name: str, unit: str, sizes: list[int], values: list[float], least: float) -> str:
    """Return a line of the table: values by size, the power, and what it gives for a million."""
    above = [max(value - least, 1e-9) for value in values]
    power, factor = (1.0, 0.0) if len(sizes) < 2 else np.polyfit(np.log(sizes), np.log(above), 1)
    million = least + float(np.exp(factor + power * np.log(MILLION)))
    cells = [f"{value:,.1f}" if value < 100 else f"{value:,.0f}" for value in (*values, million)]
    return f"| {name}, {unit} | {' | '.join(cells[:-1])} | {power:.2f} | {cells[-1]} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--only", action="append", choices=list(_COMMANDS), help="default: all")
    parser.add_argument("--plan", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.plan:
        plan(Path(asked.plan[0]), int(asked.plan[1]))
        return
    names = asked.only or list(_COMMANDS)
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    stored: list[dict[str, float]] = []
    for trials in (_FEW, *asked.sizes):
        with tempfile.TemporaryDirectory() as folder:
            results = Path(folder) / "results"
            make(results, trials)
            stored.append(disk(results))
            for name in names:
                taken[name].append(measure(name, results, trials))
                spent, most, seconds = taken[name][-1]
                print(f"{trials:,} trials: {name}: CPU {spent:.1f} s, {most:,.0f} MB; {seconds:.0f} s", flush=True)
            if (results / "records.parquet").exists():
                stored[-1]["MB of records.parquet"] = (results / "records.parquet").stat().st_size / 1e6
    sizes = list(asked.sizes)
    print(f"| | {' | '.join(f'{size:,}' for size in sizes)} | power | 1,000,000 |")
    print(f"| --- |{' ---: |' * (len(sizes) + 2)}")
    for name in stored[-1]:
        values = [each.get(name, 0.0) for each in stored[1:]]
        print(row("on disk", name, sizes, values, 0.0))
    for name in names:
        (least, floor, _), *found = taken[name]
        print(row(f"`{name}`", "CPU s", sizes, [spent for spent, _, _ in found], least))
        print(row(f"`{name}`", "MB", sizes, [most for _, most, _ in found], floor))


if __name__ == "__main__":
    main()
