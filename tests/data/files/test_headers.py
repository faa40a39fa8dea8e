"""Sizes and modes of files, from their headers."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from bench.data.files.headers import sizes_and_modes


def test_sizes_and_modes_are_those_of_the_files(tmp_path: Path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg")
    Image.new("L", (10, 50)).save(tmp_path / "b.png")
    Image.new("RGB", (40, 40)).save(tmp_path / "c.bmp")
    (tmp_path / "d.png").write_bytes(b"none")
    said = sizes_and_modes(tmp_path, ("a.jpg", "b.png", "c.bmp", "d.png"))
    assert said == "from 10 x 50 to 40 x 40 px; RGB 2, L 1 of 4 files looked at"
    assert sizes_and_modes(tmp_path, ("d.png",)) == ""


def test_of_many_files_two_hundred_evenly_spaced_ones_are_looked_at(tmp_path: Path):
    for place in range(401):
        Image.new("L", (2 + place, 1)).save(tmp_path / f"{place:03d}.png")
    files = sorted(path.name for path in tmp_path.iterdir())
    assert sizes_and_modes(tmp_path, files) == "from 2 x 1 to 402 x 1 px; L 200 of 200 files looked at"
