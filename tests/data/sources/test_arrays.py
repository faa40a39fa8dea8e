from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bench.data.sources import arrays
from bench.data.sources.arrays import npz_names, read_npz
from bench.errors import DataError


def packed(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_what_numpy_saves_is_read(tmp_path: Path):
    x, names = np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.array(["é", "b"])
    np.savez_compressed(tmp_path / "a.npz", x=x, classes=names)
    found = read_npz(tmp_path / "a.npz", ["x"])
    assert (found["x"] == x).all()
    assert found["classes"].tolist() == ["é", "b"]
    assert npz_names(tmp_path / "a.npz") == ["x", "classes"]


SHAPES = [
    "(900000000000,)",
    "(3000000, 3000000, 3)",
    f"({'9' * 30},)",
    "(-1,)",
    "()",
    "(23,)",
    "(2, 3, 4" + ", 1" * 4000 + ")",
]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_header_that_claims_another_shape_is_refused_before_anything_is_allocated(
    tmp_path: Path, shape: str, monkeypatch: pytest.MonkeyPatch
):
    content = saved(np.arange(24, dtype=np.uint8))
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    size = max(118, len(header) + 1)
    changed = content[:8] + size.to_bytes(2, "little") + header.ljust(size - 1).encode() + b"\n" + content[128:]
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("was allocated"))
    with pytest.raises(DataError, match=r"not a readable .npz archive") as found:
        read_npz(packed(tmp_path / "a.npz", x=changed), ["x"])
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 700


def test_arrays_larger_than_the_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = packed(tmp_path / "a.npz", x=saved(np.zeros(1000, np.uint8)))
    monkeypatch.setattr(arrays, "_memory", lambda: 500)
    with pytest.raises(DataError, match="1,128 bytes of arrays, and 500 bytes of memory"):
        read_npz(path, ["x"])


def test_objects_are_not_unpickled(tmp_path: Path):
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"not a readable .npz archive"):
        read_npz(tmp_path / "a.npz", ["x"])


def test_what_is_no_archive_is_one_line(tmp_path: Path):
    path = tmp_path / "a.npz"
    for content in (b"", b"nonsense", saved(np.arange(3))):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"not a readable .npz archive"):
            npz_names(path)
