"""Characters drawn from the fonts that matplotlib ships: an image set without a download.

Each glyph is drawn once, large, by Pillow. An image is then a random affine view of it, with random contrast and noise, in
integer arithmetic on random bits alone, so that only the drawn glyphs depend on the versions of Pillow and of the fonts.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from bench.data.images import Arrays
from bench.errors import DataError
from bench.streams import numpy_stream

# 47 classes, as many as EMNIST-balanced has. No 0, which is an O in many fonts, and of the lower-case letters only those
# whose shape is not that of a capital: no c, o, s, ... and neither i, j nor l.
CHARACTERS = "123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghmnqrt"
SIZE = 12  # pixels, of an image
TRAIN, TEST = 80, 25  # images of each class of one family

# Upright, bold and slanted faces of text fonts; cmtt10 has slab serifs. Without cmti10, which matplotlib 3.8 does not ship.
SANS = (
    *(f"DejaVuSans{face}.ttf" for face in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{face}.ttf" for face in ("", "-Bold", "-Oblique", "-BoldOblique")),
    "cmss10.ttf",
)
SERIF = (
    *(f"DejaVuSerif{face}.ttf" for face in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{face}.ttf" for face in ("", "Bol", "Italic", "BolIta")),
    *(f"cm{face}10.ttf" for face in ("r", "b", "tt")),
)
FAMILIES = {"sans": SANS, "serif": SERIF}

_EM, _CANVAS = 64, 176  # pixels, of a drawn glyph; no sample of an image lies outside the canvas
_FINE = 4  # samples per pixel and axis
_PLACES = 24  # binary places of a product of two fixed-point numbers, which fits 32 bits
_ONE = 1 << 12  # 1 in the fixed-point numbers of an affine map
_STEP = 6.0  # pixels of a drawn glyph per pixel of an image, at scale 1: a capital is 8 pixels high
_TURN, _SHEAR, _SCALE, _SHIFT = 0.26, 0.25, 0.2, 1.0  # largest: radians, slope, log of the factor, pixels
_GROUND, _CONTRAST = 64, (64, 176)  # largest grey level of the background; how much lighter the ink is
_NOISE = 14  # of each of four numbers; their sum has a standard deviation of 16.7
_CHUNK = 256  # images at a time, so that their samples stay in the processor's cache


def glyphs() -> Arrays:
    """Return the images of both families: 160 training and 50 test images of each of 47 classes, 12 x 12 pixels."""
    parts = [family("sans"), family("serif")]
    names = {"classes": parts[0].pop("classes")}
    return {
        key: np.concatenate([part[key] for part in parts]) for key in ("x_train", "y_train", "x_test", "y_test")
    } | names


def family(name: str) -> Arrays:
    """Return the images of one family of fonts, as render() makes them. name: "sans" or "serif"."""
    return render(FAMILIES[name], ("glyphs", name))


def render(
    fonts: Sequence[str], stream: Sequence[str], *, noise: int = _NOISE, contrast: tuple[int, int] = _CONTRAST
) -> Arrays:
    """Return images of some fonts: 80 training and 25 test images of each of 47 classes.

    fonts: file names in matplotlib's folder. stream: the name of the random numbers; another one gives other images. noise: the
    standard deviation is 1.2 times it, in grey levels. contrast: the least and the greatest difference between ink and
    background, in grey levels.
    Images are uint8 (images, 12, 12), light on dark. The same for every seed and trial.
    Raises DataError if a font is missing, or if Pillow cannot draw text.
    """
    drawn = np.stack([draw(font) for font in fonts])
    # Class names become folders, and some file systems do not distinguish a from A.
    names = [f"lower-{character}" if character.islower() else character for character in CHARACTERS]
    arrays: Arrays = {"classes": np.array(names)}
    for part, count in (("train", TRAIN), ("test", TEST)):
        labels = np.repeat(np.arange(len(CHARACTERS)), count)
        which = numpy_stream(0, *stream, part, "font").integers(len(drawn), size=len(labels))
        glyph = which * len(CHARACTERS) + labels
        arrays[f"x_{part}"] = _views(drawn.reshape(-1, _CANVAS, _CANVAS), glyph, (*stream, part), noise, contrast)
        arrays[f"y_{part}"] = labels
    return arrays


def draw(font: str) -> np.ndarray:
    """Draw every character of a font, its ink centred: uint8 (47, 176, 176), 255 for ink.

    font: the name of a file in matplotlib's folder of fonts. An em is 64 pixels. Raises DataError if it cannot be drawn.
    """
    from PIL import Image, ImageDraw, ImageFont

    path = _folder() / font
    try:
        # Its content, since Pillow looks for a missing path's name among the system's fonts. The basic layout, since the
        # other one depends on a library.
        face = ImageFont.truetype(BytesIO(path.read_bytes()), _EM, layout_engine=ImageFont.Layout.BASIC)
    except (OSError, ImportError) as cause:
        raise DataError(
            f"{path}: cannot be drawn ({cause}), expected a font that matplotlib ships, and Pillow with FreeType. "
            "Install matplotlib and pillow again."
        ) from cause
    drawn = np.zeros((len(CHARACTERS), _CANVAS, _CANVAS), np.uint8)
    for number, character in enumerate(CHARACTERS):
        sheet = Image.new("L", (2 * _EM, 2 * _EM))
        ImageDraw.Draw(sheet).text((_EM // 2, _EM // 2), character, fill=255, font=face)
        ink = np.asarray(sheet.crop(sheet.getbbox()))
        top, left = (_CANVAS - ink.shape[0]) // 2, (_CANVAS - ink.shape[1]) // 2
        drawn[number, top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return drawn


def versions() -> str:
    """Return what the images depend on, as text: the versions of matplotlib, Pillow and FreeType."""
    import matplotlib
    import PIL
    from PIL import features

    return f"matplotlib {matplotlib.__version__}, Pillow {PIL.__version__}, FreeType {features.version('freetype2')}"


def _folder() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def _views(
    drawn: np.ndarray, which: np.ndarray, stream: Sequence[str], noise: int, contrast: tuple[int, int]
) -> np.ndarray:
    """Return a random view of each chosen glyph: uint8 (images, 12, 12)."""
    turn, shear, scale, right, down, ground, ink_above = (
        numpy_stream(0, *stream, name).random(len(which))
        for name in ("turn", "shear", "scale", "right", "down", "ground", "contrast")
    )
    matrix = _affine(2 * turn - 1, 2 * shear - 1, 2 * scale - 1)
    shift = np.rint((2 * np.stack([down, right], axis=1) - 1) * (_SHIFT * _ONE)).astype(np.int32)
    ink = np.concatenate(
        [
            _sample(drawn, which[chunk], matrix[chunk], shift[chunk])
            for chunk in (slice(start, start + _CHUNK) for start in range(0, len(which), _CHUNK))
        ]
    )
    least, most = contrast
    low = np.floor(ground * _GROUND).astype(np.int32)[:, None, None]
    span = np.floor(least + ink_above * (most - least)).astype(np.int32)[:, None, None]
    # The sum of four uniform integers: nearly Gaussian, and exact on every machine.
    steps = numpy_stream(0, *stream, "noise").integers(-noise, noise, (4, *ink.shape), endpoint=True)
    return np.clip(low + span * ink // (255 * _FINE * _FINE) + steps.sum(axis=0), 0, 255).astype(np.uint8)


def _affine(turn: np.ndarray, shear: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return maps from (down, right) in an image to (down, right) in a glyph: int32 (images, 2, 2), in 1/4096.

    turn, shear, scale: -1..1. Rounding hides that sin, cos and exp differ between machines in their last bit.
    """
    angle, factor = turn * _TURN, _STEP * np.exp(scale * _SCALE)
    cosine, sine = np.cos(angle), np.sin(angle)
    rows = np.stack([cosine, sine, shear * _SHEAR * cosine - sine, shear * _SHEAR * sine + cosine], axis=1)
    return np.rint(rows * factor[:, None] * _ONE).astype(np.int32).reshape(-1, 2, 2)


def _sample(drawn: np.ndarray, which: np.ndarray, matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Add up 4 x 4 samples in each pixel: int32 (images, 12, 12), 0..4080.

    drawn: uint8 (glyphs, 176, 176). which: int64 (images,), index into it. matrix: see _affine. shift: int32 (images, 2),
    (down, right) in 1/4096 pixel.
    """
    count = SIZE * _FINE
    middles = (2 * np.arange(count, dtype=np.int32) + 1 - count) * (_ONE // (2 * _FINE))  # from the image's middle
    down, right = (middles - shift[:, axis, None] for axis in (0, 1))
    row, column = (
        ((along[:, 0, None] * down)[:, :, None] + (along[:, 1, None] * right)[:, None, :]) >> _PLACES
        for along in (matrix[:, 0], matrix[:, 1])
    )
    first = (which * _CANVAS * _CANVAS)[:, None, None]
    places = first + (row + _CANVAS // 2) * _CANVAS + (column + _CANVAS // 2)
    samples = drawn.reshape(-1)[places].reshape(-1, SIZE, _FINE, SIZE, _FINE)
    return samples.sum(axis=(2, 4), dtype=np.int32)
