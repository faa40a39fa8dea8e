"""What `bench update --dry-run` takes on 100,000 small files: the first time, which decodes them, and warm.

    python tests/benchmarks/preflight.py                # expected: warm under 30 s, memory under 1 GB
    python tests/benchmarks/preflight.py --profile 25   # also the 25 functions that take longest, warm
    python tests/benchmarks/preflight.py --images 2000 --digests 20   # decoding alone, with and without digests, in 20 pairs

Made-up images, half of them JPEG and half PNG, in 100 classes, 60 of them old. Memory is the most that one process had resident,
without the page cache, sampled. Files go to a temporary folder, about 0.5 GB; TMPDIR says where.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

_CLASSES, _OLD, _SIZE = 100, 60, 32


def write_class(folder: Path, number: int, count: int) -> None:
    """Write one class's images: noise around a colour, so that no two are equal and a model can tell classes apart."""
    random, place = np.random.default_rng(number), folder / ("old" if number < _OLD else "new") / f"class-{number:03d}"
    place.mkdir(parents=True)
    for index in range(count):
        pixels = number + random.integers(100, size=(_SIZE, _SIZE + 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{index:05d}.{'jpg' if index % 2 else 'png'}")


def anonymous_bytes(process: int) -> int:
    """Return the anonymous memory of a process and its children, the largest of them; 0 for one that has ended."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    own = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)
    return max([own, *(anonymous_bytes(int(child)) for child in children)])


def dry_run(folder: Path, profile: Path | None = None) -> tuple[float, float, int]:
    """Run the command; return seconds, CPU seconds of all its processes, and the most memory of one of them."""
    words = ["update", "--old", "old", "--new", "new", "--image-size", str(_SIZE), "--output", "updated", "--dry-run"]
    words += ["--cache", "cache", "--data-root", "data", "--device", "cpu"]
    how = ["-m", "cProfile", "-o", str(profile), "-m", "bench"] if profile else ["-m", "bench"]
    root = Path(__file__).resolve().parents[2]
    before, begun, most = os.times(), time.perf_counter(), 0
    process = subprocess.Popen(
        [sys.executable, *how, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None:
        most = max(most, anonymous_bytes(process.pid))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(process.returncode)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - begun, spent, most


def digest_cost(folder: Path, pairs: int) -> str:
    """Decode the files of all classes with and without digests of bytes and pixels, in turns; return the ratio of CPU seconds."""
    from scipy import stats

    from bench.data.files import decode

    files = tuple(str(path.relative_to(folder)) for path in sorted(folder.rglob("*.*")))
    chunk = decode.Chunk(number=0, folder=folder, files=files, target=folder / "pixels", offset=0, size=_SIZE)
    chunk.target.touch()
    plain, ratios = (decode.file_digest, decode.pixel_key), []
    for pair in range(pairs + 1):
        spent = {}
        for digests in (True, False) if pair % 2 else (False, True):
            decode.file_digest, decode.pixel_key = plain if digests else ((lambda content: ""), (lambda image: ""))
            begun = time.process_time()
            decode.decode_chunk(chunk)
            spent[digests] = time.process_time() - begun
        ratios += [spent[True] / spent[False]] if pair else []  # the first warms up
    half = float(stats.t.ppf(0.975, pairs - 1)) * float(np.std(ratios, ddof=1)) / pairs**0.5
    mean = float(np.mean(ratios))
    return f"with digests / without: {mean:.3f} (95 % interval {mean - half:.3f} to {mean + half:.3f}, {pairs} pairs)"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--profile", type=int, metavar="LINES", default=0)
    parser.add_argument("--digests", type=int, metavar="PAIRS", default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ProcessPoolExecutor(2) as pool:
            tasks = [pool.submit(write_class, folder, k, arguments.images // _CLASSES) for k in range(_CLASSES)]
            for task in tasks:
                task.result()
        if arguments.digests:
            print(digest_cost(folder, arguments.digests))
            return
        for what in ("first", "warm", "warm"):
            seconds, spent, most = dry_run(folder)
            print(f"{what}: {seconds:.1f} s, {spent:.1f} CPU seconds, most memory of a process {most / 1e9:.2f} GB")
        if arguments.profile:
            dry_run(folder, folder / "profile")
            import pstats

            pstats.Stats(str(folder / "profile")).sort_stats("cumulative").print_stats(arguments.profile)


if __name__ == "__main__":
    main()
