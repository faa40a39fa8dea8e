from __future__ import annotations

from pathlib import Path

import pytest

from bench.metering.flops import count_flops, count_pass, count_step
from bench.models.build import build_model, head_keys
from bench.models.stages import Parts, find_stages
from bench.training import counted
from bench.training.counted import count_built, count_part_pass, count_part_step, made_of

# The same head's width and number of parameters, and other costs.
MODELS = """
from torch import nn


def plain(channels, classes):
    return nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))


def strided(channels, classes):
    layer = nn.Conv2d(channels, 4, 3, stride=2, padding=1)
    return nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))
"""


@pytest.fixture(autouse=True)
def nothing_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counted, "_COUNTED", {})


def test_each_model_shape_and_head_has_its_own_count(tmp_path: Path):
    (tmp_path / "mine.py").write_text(MODELS)
    own = [f"{tmp_path / 'mine.py'}:{name}" for name in ("plain", "strided")]
    asked = [
        ("resnet8-narrow", 8, 2),
        ("resnet8-narrow", 8, 3),
        ("resnet8-narrow", 12, 2),
        ("mlp", 8, 2),
        ("mlp", 12, 2),
    ]
    asked += [(name, 8, 2) for name in own]
    found = []
    for name, size, classes in asked:
        model, shape = build_model(name, 1, classes, 0, "update", size), (1, size, size)
        found.append(count_built(model, name, shape, classes))
        assert found[-1] == count_flops(model, shape) == count_built(model, name, shape, classes)
    assert len({count.step for count in found}) == len(asked)


def test_a_model_is_counted_once(monkeypatch: pytest.MonkeyPatch):
    model = build_model("resnet8-narrow", 1, 4, 0, "update", 8)
    first = count_built(model, "resnet8-narrow", (1, 8, 8), 4)
    monkeypatch.setattr(counted, "count_flops", lambda *about: pytest.fail("counted again"))
    other = build_model("resnet8-narrow", 1, 4, 7, "base", 8)
    assert count_built(other, "resnet8-narrow", (1, 8, 8), 4) == first


def parts_of(size: int, classes: int, alike: bool = True) -> Parts:
    model = build_model("resnet8-narrow", 1, classes, 0, "update", size)
    stages = find_stages(model, head_keys("resnet8-narrow", 1, classes, size))
    return Parts(model, stages, made_of("resnet8-narrow", (1, size, size), classes) if alike else None)


def test_each_part_of_each_model_has_its_own_count():
    found = []
    for size, classes, end in ((8, 2, 1), (8, 2, 2), (8, 3, 2), (12, 2, 2)):
        parts = parts_of(size, classes)
        part, rest, shape = parts.between(0, end), parts.between(end), (1, size, size)
        flops, features = count_part_pass(parts, part, 0, end, shape)
        assert (flops, features) == count_pass(part, shape)
        step = count_part_step(parts, rest, end, features)
        assert step == count_step(rest, features)
        found += [(flops, step, count_part_pass(parts, part, 0, end, (1, size + 4, size + 4)))]
    assert len(set(found)) == 4


def test_a_part_is_counted_once_unless_nothing_is_known_of_its_model(monkeypatch: pytest.MonkeyPatch):
    asked: list[object] = []
    monkeypatch.setattr(counted, "count_step", lambda part, shape: asked.append(part))
    for alike in (True, True, False, False):
        parts = parts_of(8, 2, alike)
        count_part_step(parts, parts.between(1), 1, (8, 8, 8))
    assert len(asked) == 1 + 2
