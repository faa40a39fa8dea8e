from __future__ import annotations

from pathlib import Path

import pytest

from bench.catalog import shipped_folder


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """digits-7-3 in one epoch of 16 steps."""
    text = (shipped_folder("scenarios") / "digits-7-3.toml").read_text()
    path = tmp_path / "tiny.toml"
    path.write_text(
        text.replace("digits-7-3", "tiny").replace("epochs = 24", "epochs = 1").replace("points = 20", "points = 2")
    )
    return path
