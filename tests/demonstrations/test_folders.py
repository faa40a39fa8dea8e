"""What the demonstrations write: the folders that their transcripts start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.demonstrations.folders import photo_mixed, tiny_imagenet


def test_mixed_folders_bring_more_photos_and_art_of_two_new_classes(tmp_path: Path):
    labels, names = np.repeat(np.arange(7), 8), np.array(list("abcdefg"))
    pixels = np.arange(56 * 48).reshape(56, 4, 4, 3).astype(np.uint8)
    parts = {
        f"{kind}_{domain}": part
        for domain in ("photo", "art_painting")
        for kind, part in (("x", pixels), ("y", labels))
    }
    np.savez(tmp_path / "pacs.npz", classes=names, **parts)
    photo_mixed(tmp_path, tmp_path / "made", 4)
    counts = {
        place: {each.name: len(list(each.iterdir())) for each in sorted((tmp_path / "made" / place).iterdir())}
        for place in ("old", "new")
    }
    assert counts["old"] == dict.fromkeys("abcde", 3)
    assert counts["new"] == {**dict.fromkeys("abcde", 1), "f": 4, "g": 4}
    old, new = (np.asarray(Image.open(tmp_path / "made" / file)) for file in ("old/b/0002.png", "new/b/0003.png"))
    np.testing.assert_array_equal(old, pixels[10])
    np.testing.assert_array_equal(new, pixels[11])


def test_tiny_imagenets_files_keep_their_bytes(tmp_path: Path):
    images = tmp_path / "tiny-imagenet-200" / "val" / "images"
    images.mkdir(parents=True)
    lines = []
    for number in range(202):
        (images / f"val_{number}.JPEG").write_bytes(b"%d" % number)
        lines.append(f"val_{number}.JPEG\tn{number % 101:03d}\t0\t0\t63\t63\n")
    (images.parent / "val_annotations.txt").write_text("".join(lines))
    tiny_imagenet(tmp_path, tmp_path / "made", 1)
    assert len(list((tmp_path / "made" / "old").iterdir())) == 100
    (only,) = (tmp_path / "made" / "new").rglob("*.JPEG")
    assert (only.parent.name, only.read_bytes()) == ("n100", b"100")
