"""A start for a strategy, a scenario or a model of one's own: a file that runs as it is, and a test of it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from string import Template

from bench.catalog import scenario_names, strategy_names
from bench.errors import BenchError, WriteError
from bench.files import make_folder, write_text

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")

_STRATEGY = '''"""$name: a strategy of one's own.

    bench check-strategy ./$name.py                                          # keeps it the rules?
    bench run --scenario glyphs-32-15 --strategy scratch --strategy ./$name.py
    python -m pytest test_strategy_$word.py

Pieces that come with bench: docs/strategies.md. What differs from plain continuing (naive) here is the selection below.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bench import Keep, OneCycle, Pool, Strategy


@dataclass(frozen=True)
class ShareOfOld:
    """All new images and, each epoch, another random share of the old ones. Its fields can be set: selection.share=0.3."""

    share: float
    needs_speed: ClassVar[bool] = False  # whether it must be told how fast the old model learned each image

    def choose(self, pool: Pool, epoch: int, stream) -> torch.Tensor:
        """Return the indices of the images that this epoch sees. pool.new, pool.labels: of each image, which may be chosen.

        All randomness comes from `stream`: the same seed and epoch give the same draw, also after an interruption.
        """
        old, new = (~pool.new).nonzero()[:, 0], pool.new.nonzero()[:, 0]
        drawn = torch.randperm(len(old), generator=stream("share of old", epoch))
        return torch.cat([old[drawn[: round(self.share * len(old))]], new])


strategy = Strategy(
    title="$name",
    start=Keep(),  # from the old model's weights
    selection=ShareOfOld(0.5),
    schedule=OneCycle(warmup=0.1),  # the learning rate: up for a tenth of the steps, then down to 0
    horizon=0.5,  # half as many steps as scratch
)

# What `bench tune` varies.
space = ["schedule.peak=0.3:3:log", "selection.share=0.2:1"]
'''

_STRATEGY_TEST = '''"""python -m pytest test_strategy_$word.py"""

from pathlib import Path

import torch

import bench

FILE = Path(__file__).with_name("$name.py")


def test_it_keeps_the_rules():
    found = bench.check_strategy(FILE, compiled=False)
    assert found.ok, found.frame.to_string()


def test_an_epoch_sees_all_new_images_and_half_of_the_old_ones():
    pool = bench.Pool(torch.zeros(30, dtype=torch.int64), torch.arange(30) >= 20, None)  # labels, which are new, speeds
    chosen = bench.strategy(FILE).strategy.selection.choose(pool, 0, lambda *names: torch.Generator().manual_seed(0))
    assert (len(set(chosen.tolist())), int((chosen >= 20).sum())) == (20, 10)
'''

_SCENARIO = """# $name: a scenario of one's own. docs/scenarios.md has every key.
#
#   bench plan --scenario ./$name.toml        # what would run, and how long it would take
#   bench run --scenario ./$name.toml
#   python -m pytest test_scenario_$word.py
name = "$name" # its records lie in a folder of this name: give another one to a scenario that differs
title = "$name: 32 characters, then 15 more"
kind = "class-incremental" # or domain-incremental, data-incremental, mixed
stages = [{ classes = 32 }, { classes = 15 }] # what the old model knows, and what arrives
# With images of your own, one folder per class in each, and neither `set` nor `class_order_seed` below:
# stages = [{ folder = "old" }, { folder = "new" }]

[data]
set = "glyphs" # embedded; `bench data status` lists the others
class_order_seed = 1993
validation_share = 0.3125 # of each class's training images

[model]
name = "resnet8-narrow" # or one of your own: bench new model

[training] # scratch's; a strategy's horizon is a share of its steps
epochs = 14
batch_size = 64
learning_rate = 0.4
momentum = 0.9
weight_decay = 5e-4
label_smoothing = 0.0
precision = "fp32" # or bf16
crop_padding = 1
flip = false # mirrored characters are others

[evaluation]
points = 9 # times that accuracy is measured in a trial of scratch's length
test_every = 9 # at each ninth of them also on the test images
"""

_SCENARIO_TEST = '''"""python -m pytest test_scenario_$word.py"""

from pathlib import Path

import bench

FILE = Path(__file__).with_name("$name.toml")


def test_it_loads_under_its_own_name():
    assert bench.load_scenario(FILE).name == FILE.stem


def test_it_can_be_planned(tmp_path):
    plan = bench.plan(FILE, ["scratch", "naive"], seeds=[0], results=tmp_path / "runs", cache=tmp_path / "cache")
    assert list(plan.trials.state) == ["due", "due"]
'''

_MODEL = '''"""$name: a model of one's own. In a scenario, relative to the folder that bench runs in:

    [model]
    name = "./$name.py:make"

python -m pytest test_model_$word.py
"""

from torch import Tensor, nn


class Block(nn.Module):
    """3 x 3 convolution, batch normalization and ReLU, at half of the resolution."""

    def __init__(self, entering: int, leaving: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(entering, leaving, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(leaving)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu()


class Net(nn.Module):
    """Three blocks and a linear head.

    The head must be all that has a row per class: a grown model keeps the rows of the old classes. A forward without branches
    on values can be cut into stages, which strategies can freeze, and compiled.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(channels, 16), Block(16, 32), Block(32, 64))
        self.head = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width), normalized, to logits (batch, classes)."""
        return self.head(self.blocks(x).mean((2, 3)))


def make(channels: int, classes: int) -> nn.Module:
    """Return a new model: initialized from PyTorch's global generator, which bench seeds for each trial."""
    return Net(channels, classes)
'''

_MODEL_TEST = '''"""python -m pytest test_model_$word.py"""

from pathlib import Path

import torch

import bench

FILE = Path(__file__).with_name("$name.py")


def test_it_gives_a_logit_for_each_class():
    model = bench.build_model(f"{FILE}:make", channels=3, classes=7, seed=0)
    assert model.eval()(torch.zeros(2, 3, 16, 16)).shape == (2, 7)


def test_a_scenario_can_train_it(tmp_path):
    known = bench.load_scenario("glyphs-32-15")
    changes = {"name": "mine", "model": known.model.model_copy(update={"name": f"{FILE}:make"})}
    places = {"results": tmp_path / "runs", "cache": tmp_path / "cache"}
    plan = bench.plan(known.model_copy(update=changes), ["scratch"], seeds=[0], **places)
    assert plan.costs().frame.flops.min() > 0  # times a few steps; trains nothing
'''

_STARTS = {
    "strategy": (".py", _STRATEGY, _STRATEGY_TEST),
    "scenario": (".toml", _SCENARIO, _SCENARIO_TEST),
    "model": (".py", _MODEL, _MODEL_TEST),
}


def new(kind: str, name: str, folder: str | os.PathLike[str] = ".") -> tuple[Path, Path]:
    """Write a start for something of one's own, which runs as it is, and a test of it; return both paths.

    kind: "strategy", "scenario" or "model". Nothing is ever overwritten. Raises BenchError for another kind, for a name that
    cannot be a file's or is a shipped one's, and WriteError for a file that is there already.

    >>> import bench
    >>> bench.new("strategy", "naive")
    Traceback (most recent call last):
    bench.errors.BenchError: new strategy 'naive': is the name of a shipped one. Choose another.
    """
    if kind not in _STARTS:
        raise BenchError(f"new {kind!r}: expected one of {', '.join(_STARTS)}. Change it.")
    if not _NAME.fullmatch(name):
        raise BenchError(
            f"new {kind} {name!r}: expected a letter, then letters, digits, - and _, at most 100. Choose another."
        )
    if name.casefold() in {"strategy": strategy_names, "scenario": scenario_names}.get(kind, list)():
        raise BenchError(f"new {kind} {name!r}: is the name of a shipped one. Choose another.")
    suffix, start, test = _STARTS[kind]
    word = name.replace("-", "_")
    paths = Path(folder) / f"{name}{suffix}", Path(folder) / f"test_{kind}_{word}.py"
    for path in paths:
        if path.exists() or path.is_symlink():
            raise WriteError(f"{path}: is there already, and never overwritten. Choose another name, or move it.")
    make_folder(Path(folder))
    for path, text in zip(paths, (start, test), strict=True):
        write_text(path, Template(text).substitute(name=name, word=word))
    return paths
