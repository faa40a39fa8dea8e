"""The long form: prints one table of what was tried, what survived, and what was lost.

    python -m tests.faults                      # 100 kills, every write, 2,000 mutations of each input, 8 runs at once, ...
    python -m tests.faults --kills 20 --every 10 --only kills,writes

Each command is run in a forked process, so that importing torch is paid once. Exit code 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import os
import pickle
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from tests.faults.kills import Found

# Those that take longest first, so that two at a time end together.
KINDS = ("writes", "fuzz", "soak", "kills", "concurrency", "clocks")
_UNDER = "BENCH_FAULTS_UNDER_SHIM"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only", default=",".join(KINDS), help="Kinds of faults or rows of the table, separated by commas."
    )
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs at random moments.")
    parser.add_argument("--every", type=int, default=1, help="Fail every so manieth call that writes.")
    parser.add_argument("--mutations", type=int, default=2000, help="Of each kind of input.")
    parser.add_argument("--runs", type=int, default=8, help="Runs of one command at once.")
    parser.add_argument("--trials", type=int, default=500, help="Trials in one process.")
    parser.add_argument("--seed", type=int, default=0, help="Of the moments of kills, and of mutations.")
    parser.add_argument("--jobs", type=int, default=2, help="Kinds of faults at a time, each in a process of its own.")
    asked = parser.parse_args()
    only = {each.strip() for each in asked.only.split(",")}
    if any(each.startswith("writes") for each in only) and _UNDER not in os.environ:
        _start_again_under_shim()
    os.environ.setdefault("OMP_NUM_THREADS", "1")

    from tests.faults.clocks import set_back
    from tests.faults.commands import import_everything
    from tests.faults.crowd import alone, crowd
    from tests.faults.kills import kill_all
    from tests.faults.writes import WRITERS, fail_each

    import_everything()
    work: dict[str, Callable[[Path], Found]] = {
        **{f"writes of {each.name}": partial(fail_each, each, every=asked.every * by) for each, by in WRITERS},
        "fuzz": lambda place: _fuzz(asked.mutations, asked.seed),
        "soak": lambda place: _soak(asked.trials, place),
        "kills": lambda place: kill_all(asked.kills, place, asked.seed),
        "concurrency": lambda place: _crowds(alone, crowd, asked.runs, place),
        "clocks": set_back,
    }
    rows = [row for row in work if {row, row.split()[0]} & only]
    if unknown := only - {*KINDS, *rows}:
        parser.error(f"--only: unknown {', '.join(sorted(unknown))}, expected some of {', '.join((*KINDS, *work))}")
    print("| fault | points | survived | lost | tracebacks | seconds | |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    lost, begun = 0, time.monotonic()
    for kind, found, seconds in _side_by_side(work, rows, asked.jobs):
        lost += found.points - found.survived + found.tracebacks
        for line in found.wrong:
            print(f"{kind}: {line}", file=sys.stderr)
        numbers = (found.points, found.survived, found.lost, found.tracebacks, seconds)
        print(f"| {kind} | {' | '.join(map(str, numbers))} | {found.notes} |", flush=True)
    print(f"{time.monotonic() - begun:.0f} s in all, {asked.jobs} at a time", file=sys.stderr)
    sys.exit(1 if lost else 0)


def _side_by_side(
    work: Mapping[str, Callable[[Path], Found]], rows: Sequence[str], jobs: int
) -> Iterator[tuple[str, Found, int]]:
    """Yield (row, what it found, seconds) as each ends. Each is a process of its own, `jobs` at a time."""
    waiting, running = list(rows), dict[int, str]()
    with tempfile.TemporaryDirectory(prefix="bench-faults-") as place:
        while waiting or running:
            while waiting and len(running) < jobs:
                kind = waiting.pop(0)
                sys.stdout.flush()
                sys.stderr.flush()
                pid = os.fork()
                if pid == 0:
                    _end_with(work[kind], Path(place), kind)
                running[pid] = kind
            pid, status = os.wait()
            kind = running.pop(pid)
            if status:
                sys.exit(f"{kind}: ended with status {os.waitstatus_to_exitcode(status)}, see above")
            found, seconds = pickle.loads((Path(place) / f"{kind}.pickle").read_bytes())
            yield kind, found, seconds


def _end_with(work: Callable[[Path], Found], place: Path, kind: str) -> NoReturn:
    """Do one kind's work in this process, leave what it found, and end the process."""
    code, begun, folder = 1, time.monotonic(), place / kind
    try:
        place.chmod(0o755)
        folder.mkdir()
        found = work(folder)
        (place / f"{kind}.pickle").write_bytes(pickle.dumps((found, round(time.monotonic() - begun))))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _fuzz(mutations: int, seed: int) -> Found:
    from tests.faults.fuzz import fuzz

    found = Found()
    for row in fuzz(mutations, seed, tell=lambda line: found.wrong.append(str(line))):
        found.add(Found(row.points, row.survived, row.lost, row.tracebacks))
    found.notes = f"{mutations:,} mutations of each kind of input, seed {seed}"
    return found


def _crowds(alone: Callable[..., Any], crowd: Callable[..., Found], runs: int, place: Path) -> Found:
    undisturbed = alone(2, place / "alone")
    found = crowd(runs, 2, place / "all", undisturbed)
    found.add(crowd(runs, 2, place / "killed", undisturbed, killed=2))
    users = " and two users" if os.geteuid() == 0 else ""
    found.notes = f"{runs} runs under {runs} TMPDIRs{users}; again with 2 of them killed"
    return found


def _soak(trials: int, place: Path) -> Found:
    from tests.faults.soak import flat, soak

    seen = soak(trials, place, tell=True)
    fine = flat(seen)
    shown = sorted({0, 9, trials // 2, trials - 1} & set(range(trials)))
    figures = [f"{seen[n][0] / 2**20:.0f} MiB and {seen[n][1]} open files after {n + 1}" for n in shown]
    found = Found(points=trials, survived=trials if fine else 0)
    found.notes = f"trials in one process: {', '.join(figures)}"
    found.wrong = [] if fine else [found.notes]
    return found


def _start_again_under_shim() -> None:
    from tests.faults.writes import COMPILER, build_shim

    if COMPILER is None:
        sys.exit("writes: needs a C compiler, for tests/faults/shim.c. Install one, or leave it out with --only.")
    built = build_shim(Path(tempfile.mkdtemp(prefix="bench-faults-shim-")))
    environment = {**os.environ, "LD_PRELOAD": str(built), _UNDER: "1"}
    os.execve(sys.executable, [sys.executable, "-m", "tests.faults", *sys.argv[1:]], environment)


if __name__ == "__main__":
    main()
