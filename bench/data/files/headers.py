"""What image files say of themselves: their sizes and modes, without decoding them."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bench.data.files.decode import FORMATS

_MOST = 200  # files of a folder: reading the headers of 100,000 would take seconds
_HEAD = 1 << 16  # bytes, in which nearly every file says its size


def sizes_and_modes(folder: Path, files: Sequence[str]) -> str:
    """Return such as "from 64 x 48 to 640 x 480 px; RGB 190, L 10 of 200 files looked at"; "" where no file can be read.

    Of many files, evenly spaced ones are looked at. Sizes are as stored: before EXIF turns them, the smallest and the largest by
    pixels.
    """
    chosen = np.unique(np.linspace(0, len(files) - 1, min(_MOST, len(files))).round().astype(int))
    sizes, modes = set[tuple[int, int]](), Counter[str]()
    for place in map(int, chosen):
        try:
            with (
                (folder / files[place]).open("rb") as file,
                Image.open(io.BytesIO(file.read(_HEAD)), formats=FORMATS) as image,
            ):
                sizes.add(image.size)
                modes[image.mode] += 1
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # decoding says what is wrong with it
            continue
    if not sizes:
        return ""
    least, most = (f"{width} x {height}" for width, height in (pick(sizes, key=np.prod) for pick in (min, max)))
    spread = f"from {least} to {most} px" if least != most else f"{least} px"
    return f"{spread}; {', '.join(f'{mode} {n}' for mode, n in modes.most_common())} of {len(chosen)} files looked at"
