"""Proof that a structural change changes nothing: run it before and after, and compare the lines.

    python -m tests.equality                       # one line an item, and one hash over all
    python -m tests.equality > before.txt          # then change the structure, and:
    python -m tests.equality --against before.txt  # exit code 1 and the items that differ

Runs digits-7-3 and digits-4-2-2-2 on two seeds through the command line, and hashes every learned and counted field of every
record, the leaderboards in all formats and every table and caption of the reports; the latter two also of the committed
records. Clocks, joules and provenance differ from run to run, so they are replaced by values made up from the step before
tables are made. Uses only the command line and the files it writes, so that no module may move under it. About three minutes on
two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.records.made_up import seal

ROOT = Path(__file__).resolve().parents[1]
SCENARIOS = ("digits-7-3", "digits-4-2-2-2")
FORMATS = ("table", "md", "csv", "json", "tex")
_NOT_LEARNED = (
    "seconds",
    "joules",
    "load_average",
    "gpu_use",
    "unaccounted_share",
    "provenance",
    "sittings",
    "shared",
    "peak_memory",
    "evals_sha256",
    "record_sha256",
)
_MADE_UP = {"commit": "0" * 40, "modified": False, "command": "bench run", "started": "2026-01-01T00:00:00+00:00"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--against", type=Path, help="Lines of an earlier run; exit code 1 where any differs.")
    against: Path | None = parser.parse_args().against
    with tempfile.TemporaryDirectory() as place:
        found = dict(_items(Path(place)))
    found["all"] = _hash("".join(f"{name} {value}\n" for name, value in sorted(found.items())))
    for name, value in found.items():
        print(f"{value}  {name}")
    if against:
        before = {name: value for value, name in (line.split("  ", 1) for line in against.read_text().splitlines())}
        differ = sorted(name for name in before.keys() | found.keys() if before.get(name) != found.get(name))
        sys.exit(f"{len(differ)} differ: {', '.join(differ)}" if differ else 0)


def _items(place: Path) -> Iterator[tuple[str, str]]:
    """Yield (what, hash) of everything that a structural change must leave alone."""
    runs = place / "runs"
    for scenario in SCENARIOS:
        _bench("run", "--scenario", scenario, "--seeds", "0-1", "--results", runs, "--cache", place / "cache")
    for path in sorted(runs.rglob("trial.json")):
        name = path.parent.relative_to(runs)
        yield f"record {name}", _hash(json.dumps(_learned(json.loads(path.read_text())), sort_keys=True))
        rows = [_learned(json.loads(line)) for line in (path.parent / "evals.jsonl").read_text().splitlines()]
        yield f"evaluations {name}", _hash(json.dumps(rows, sort_keys=True))
        _make_up(path.parent)
    for kind, records in (("run", runs), ("committed", ROOT / "results")):
        # Not of folders that hold results of their own, such as results/savings.
        names = sorted({path.relative_to(records).parts[0] for path in records.glob("*/*/*/seed-*")})
        for form in FORMATS:
            for scenario in (None, *names):
                chosen = ("--scenario", scenario) if scenario else ()
                text = _bench("leaderboard", *chosen, "--format", form, "--results", records)
                yield f"{kind} leaderboard {scenario or 'all'} {form}", _hash(text)
        reports = place / f"reports of {kind}"
        _bench("report", "--results", records, "--reports", reports, "--formats", "svg", "--width", "page")
        for path in sorted(reports.rglob("*")):
            if path.suffix in (".csv", ".md", ".txt"):
                yield f"{kind} report {path.relative_to(reports)}", _hash(path.read_text(encoding="utf-8"))


def _bench(*arguments: str | Path) -> str:
    environment = {**os.environ, "COLUMNS": "240", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "bench", *map(str, arguments)], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        sys.exit(f"bench {' '.join(map(str, arguments))}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def _learned(value: Any) -> Any:
    """Return a record's part without what no two runs share."""
    if isinstance(value, dict):
        return {key: _learned(part) for key, part in value.items() if not any(word in key for word in _NOT_LEARNED)}
    return value


def _make_up(folder: Path) -> None:
    """Replace a record's clocks and origin by values that depend on the step alone."""
    trial = json.loads((folder / "trial.json").read_text())
    trial["provenance"] |= _MADE_UP
    trial["provenance"] |= {"load_average": 0.0, "packages": {}, "memory_gib": 1.0, "environment": {}}
    steps = trial["summary"]["steps"]
    trial["summary"]["shared"] = None
    for part in (trial["summary"], trial["base"] or {}):
        _made_up_clocks(part, part.get("steps", steps))
    (folder / "trial.json").write_text(json.dumps(trial))
    lines = [json.loads(line) for line in (folder / "evals.jsonl").read_text().splitlines()]
    for row in lines:
        _made_up_clocks(row, row["step"])
    (folder / "evals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    seal(folder)


def _made_up_clocks(part: dict[str, Any], steps: int) -> None:
    for key, value in part.items():
        if ("seconds" in key or key in ("load_average", "unaccounted_share")) and value is not None:
            part[key] = round(steps * (0.001 + 0.0001 * (len(key) % 7)), 6) if "seconds" in key else 0.0


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


if __name__ == "__main__":
    main()
