from __future__ import annotations

import re
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import catalog
from bench.data.sources import find
from bench.reporting.figures import gallery
from tests.docs.pages import ROOT


@pytest.fixture(autouse=True)
def checkpoint_at_each_evaluation() -> None:
    """Not here: checkpoints are as rare as a reader's."""


_EACH = 40  # images of a class


def _first_of_each(labels: np.ndarray) -> np.ndarray:
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:_EACH] for label in np.unique(labels)]))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reader's folder. bench has fewer published records, images and figures there, and two scenarios train briefly."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    rooms = {"scenarios": tmp_path / "home" / "scenarios", "results": tmp_path / "results"}
    shutil.copytree(ROOT / "scenarios", rooms["scenarios"])
    for name in ("glyphs-32-15", "digits-7-3"):
        file = rooms["scenarios"] / f"{name}.toml"
        text = file.read_text(encoding="utf-8")
        for key, value in {"epochs": 3, "points": 2, "test_every": 2}.items():
            text = re.sub(rf"^{key} = .*", f"{key} = {value}", text, flags=re.MULTILINE)
        file.write_text(text, encoding="utf-8")
    for name in ("cifar100-70-30-lite", "fashion-mnist-7-3", "mnist-usps"):
        shutil.copytree(ROOT / "results" / name, rooms["results"] / name)
    arrays = find._find_arrays

    def few(name: str, *others: Any) -> Any:
        found, where, source = arrays(name, *others)
        keep = {part: _first_of_each(found[f"y_{part}"]) for part in ("train", "test") if f"y_{part}" in found}
        return {key: v[keep[key[2:]]] if key[2:] in keep else v for key, v in found.items()}, where, source

    monkeypatch.setattr(find, "_find_arrays", few)
    sheets = gallery.sheets
    monkeypatch.setattr(gallery, "sheets", lambda *given: islice(sheets(*given), 2))  # figures of a report
    folder = catalog.shipped_folder
    monkeypatch.setattr(catalog, "shipped_folder", lambda room: rooms.get(room) or folder(room))
    return tmp_path
