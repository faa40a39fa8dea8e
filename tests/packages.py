"""A tiny package that offers strategies, scenarios and models, installed into a folder as pip would."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, points: str, files: dict[str, str] | None = None
) -> Path:
    """Write modules and a .dist-info with entry_points.txt into folder/site-packages, on sys.path while the test runs."""
    site = folder / f"{name}-at" / "site-packages"
    for path, text in (files or {}).items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    information = site / f"{name}-1.2.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (information / "entry_points.txt").write_text(points)
    tops = {path.partition("/")[0].removesuffix(".py") for path in files or {}}
    (information / "top_level.txt").write_text("\n".join(sorted(tops)))
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    for module in [each for each in sys.modules if each.partition(".")[0] in tops]:
        monkeypatch.delitem(sys.modules, module)
    return site
