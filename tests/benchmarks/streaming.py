"""What streaming from a memory map costs, in speed and in memory. Made-up images; a run of its own, on a quiet machine.

    python tests/benchmarks/streaming.py speed     # streamed / resident images a second, ResNet-8; expected at least 0.90
    python tests/benchmarks/streaming.py memory    # anonymous memory of training from a 4 GB map; expected below 1.5 GB

Both arms of `speed` are in one process and take turns, so that they meet the same machine. Threads: as torch decides, or
OMP_NUM_THREADS. Files go to a temporary folder; TMPDIR says where.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch

from bench.catalog import find_scenario, find_strategy
from bench.data.feed.streaming import Residence
from bench.data.feed.update import build_update
from bench.data.images import ImageRows, ImageSet, MappedPixels
from bench.data.stages.splits import cut
from bench.scenario import Scenario, load_scenario
from bench.strategies.strategy import load_strategy
from bench.training.allocator import keep_freed_memory
from bench.training.device import choose_device
from bench.training.learner import Learner
from bench.training.spec import TrialSpec

_CLASSES = 10
_CHUNK = 4096  # images
_TEST = 1000


def mapped_images(folder: Path, count: int, size: int) -> ImageSet:
    """Write `count` images of noise into a file, and return them as rows of its memory map."""
    path, random = folder / "images.npy", np.random.default_rng(0)
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, size, size, 3))
    for start in range(0, count, _CHUNK):
        part = pixels[start : start + _CHUNK]
        part[:] = random.integers(256, size=part.shape, dtype=np.uint8)
    pixels.flush()
    del pixels
    parts = [MappedPixels(np.load(path, mmap_mode="r"), "noise")]

    def rows(first: int, end: int) -> ImageRows:
        return ImageRows(parts, np.zeros(end - first, np.int64), np.arange(first, end))

    kept = count - _TEST
    train, test = np.arange(kept) % _CLASSES, np.arange(_TEST) % _CLASSES
    names = tuple(map(str, range(_CLASSES)))
    return ImageSet(rows(0, kept), train, rows(kept, count), test, names, "noise")


def scenario_for(batch: int) -> Scenario:
    """cifar100-70-30-lite's training, not compiled, on ten classes."""
    lite = load_scenario(find_scenario("cifar100-70-30-lite"))
    content = lite.model_dump(mode="json")
    content["stages"] = [{"classes": 7}, {"classes": 3}]
    content["training"] |= {"compile": False, "batch_size": batch, "epochs": 1000}
    return Scenario.model_validate(content)


def learner_on(images: ImageSet, scenario: Scenario, device: torch.device, residence: Residence) -> Learner:
    """Return scratch, ready to train."""
    update = build_update(scenario, images, cut(scenario, images), 1, device, residence=residence)
    scratch = load_strategy(find_strategy("scratch"))
    learner = Learner(TrialSpec(scenario, scratch, 1, 0), update, None, device, compiled=False)
    learner.prepare()
    learner.start()
    return learner


def measure_speed(arguments: argparse.Namespace, images: ImageSet) -> None:
    """Train both arms in turns, and print each pair's ratio and their median."""
    scenario, device = scenario_for(arguments.batch), choose_device(arguments.device)
    arms = {name: learner_on(images, scenario, device, name) for name in ("resident", "streamed")}
    ratios = []
    for turn in range(arguments.pairs + 1):
        speed = {}
        # The second of a pair meets another machine than the first: which one it is changes.
        for name in list(arms)[:: 1 if turn % 2 else -1]:
            begun = time.perf_counter()
            arms[name].train(arguments.steps)
            speed[name] = arguments.steps * arguments.batch / (time.perf_counter() - begun)
        ratio = speed["streamed"] / speed["resident"]
        note = "" if turn else " (warming up, not counted)"
        print(f"resident {speed['resident']:,.0f}, streamed {speed['streamed']:,.0f} images/s, ratio {ratio:.3f}{note}")
        if turn:
            ratios.append(ratio)
    print(f"median ratio of {len(ratios)} pairs: {statistics.median(ratios):.3f} (expected at least 0.90)")


def measure_memory(arguments: argparse.Namespace, images: ImageSet) -> None:
    """Train and evaluate from the map, and print the most anonymous memory that was seen."""
    device, stop, seen, before = choose_device("cpu"), threading.Event(), [0], anonymous_bytes()

    def watch() -> None:
        while not stop.wait(0.02):
            seen[0] = max(seen[0], anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        learner = learner_on(images, scenario_for(arguments.batch), device, "auto")
        learner.train(arguments.steps)
        trained = seen[0]
        learner.evaluate(with_test=True)
    finally:
        stop.set()
        watcher.join()
    total = len(images.x_train) * int(np.prod(images.x_train.shape[1:]))
    print(f"map {total / 1e9:.2f} GB, most anonymous memory {seen[0] / 1e9:.2f} GB (expected below 1.5 GB),")
    print(f"of that {before / 1e9:.2f} GB before any image was read, {trained / 1e9:.2f} GB at the end of training")


def anonymous_bytes() -> int:
    """Return this process' anonymous memory: what is in no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["speed", "memory"])
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--images", type=int, help="default: 20,000 for speed, 4 GB of them for memory")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=60, help="of a turn; of the whole run for memory")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    keep_freed_memory()
    default = 20_000 if arguments.what == "speed" else (4 << 30) // (arguments.size**2 * 3)
    with tempfile.TemporaryDirectory() as folder:
        images = mapped_images(Path(folder), arguments.images or default, arguments.size)
        (measure_speed if arguments.what == "speed" else measure_memory)(arguments, images)


if __name__ == "__main__":
    main()
