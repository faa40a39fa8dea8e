"""The pixels of image files, by value: what was read rightly before is read the same, and the rest as decided."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from torchvision import transforms

from bench.data.files.decode import decode_image, pixel_key, read_file


def noise(width: int = 31, height: int = 20, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(height, width, channels), dtype=np.uint8)


def before(path: Path, size: int) -> np.ndarray:
    """How files were decoded when only plain ones were read rightly."""
    with Image.open(path) as image:
        image.draft("RGB", (2 * size, 2 * size))
        picture = image.convert("RGB")
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    if (width, height) != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return np.asarray(picture)


@pytest.mark.parametrize("size", [8, 20])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA", "LA"])
@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp"])
def test_plain_opaque_images_keep_the_pixels_that_they_had(tmp_path: Path, mode: str, ending: str, size: int):
    if (ending == "jpg" and mode not in ("RGB", "L")) or (ending == "bmp" and mode == "LA"):
        pytest.skip("no such files")
    path = tmp_path / f"a.{ending}"
    Image.fromarray(noise()).convert(mode).save(path)
    assert (decode_image(path, size) == before(path, size)).all()


def test_transparency_shows_white(tmp_path: Path):
    pixels = np.zeros((8, 8, 4), np.uint8)  # black, as wide as it is transparent
    pixels[:, 2:4, 3], pixels[:, 4:, 3] = 51, 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = decode_image(tmp_path / "a.png", 8)
    # 51 / 255 is a fifth of black on four fifths of white: 0.8 * 255 = 204.
    assert [found[0, column].tolist() for column in (0, 2, 4)] == [[255] * 3, [204] * 3, [0] * 3]


def test_a_transparent_colour_of_a_palette_or_of_grey_shows_white(tmp_path: Path):
    indices = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8))
    palette = indices.convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "p.png", transparency=0)
    assert decode_image(tmp_path / "p.png", 2)[0].tolist() == [[255] * 3, [40, 50, 60]]
    indices.save(tmp_path / "l.png", transparency=1)
    assert decode_image(tmp_path / "l.png", 2)[0].tolist() == [[0] * 3, [255] * 3]


def test_sixteen_bit_grey_is_scaled_and_rounded(tmp_path: Path):
    deep = np.array([[0, 128, 129, 40_000], [257, 65_535, 65_407, 32_768]], np.uint16)
    Image.fromarray(deep.repeat(2, axis=0)).save(tmp_path / "a.png")
    found = decode_image(tmp_path / "a.png", 4)
    # v / 257: 0, 0.498, 0.502, 155.64; 1, 255, 254.502, 127.502
    assert found[::2, :, 0].tolist() == [[0, 0, 1, 156], [1, 255, 255, 128]]
    assert (found == found[..., :1]).all()


def test_cmyk_is_ink_on_white(tmp_path: Path):
    for ink, colour in (((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 0, 255), (0, 0, 0)), ((0, 0, 0, 0), (255, 255, 255))):
        Image.new("CMYK", (8, 8), ink).save(tmp_path / "a.jpg", quality=100)
        assert abs(decode_image(tmp_path / "a.jpg", 8).astype(int) - colour).max() <= 2


# EXIF 2.3, tag 0x0112: where row 0 and column 0 of the stored pixels are seen. Upright pixels from stored ones, by NumPy.
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("shape", [(8, 8), (31, 20)])
def test_images_are_turned_upright(tmp_path: Path, orientation: int, shape: tuple[int, int]):
    stored, exif = noise(*shape), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(np.ascontiguousarray(UPRIGHT[orientation](stored))).save(tmp_path / "upright.png")
    assert (decode_image(tmp_path / "turned.png", 8) == before(tmp_path / "upright.png", 8)).all()


def test_exif_that_cannot_be_read_leaves_an_image_as_it_is(tmp_path: Path):
    Image.fromarray(noise()).save(tmp_path / "plain.jpg")
    Image.fromarray(noise()).save(tmp_path / "odd.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert (decode_image(tmp_path / "odd.jpg", 8) == decode_image(tmp_path / "plain.jpg", 8)).all()


def test_an_image_of_more_than_64_megapixels_is_refused_before_it_is_decoded(tmp_path: Path):
    Image.new("1", (8000, 8000)).save(tmp_path / "limit.png")
    assert not decode_image(tmp_path / "limit.png", 2).any()
    Image.new("1", (8000, 8001)).save(tmp_path / "above.png")
    with pytest.raises(ValueError, match=r"8,000 x 8,001 pixels, expected at most 64 megapixels.*max_megapixels"):
        decode_image(tmp_path / "above.png", 2)


def test_more_megapixels_are_read_where_they_are_allowed_also_beyond_pillows_own_limit(tmp_path: Path):
    limit = Image.MAX_IMAGE_PIXELS
    assert limit is not None
    Image.new("1", (20_000, 9_000)).save(tmp_path / "a.png")  # Pillow refuses more than twice its limit: 178,956,970
    assert 2 * limit < 20_000 * 9_000
    with pytest.raises(ValueError, match="20,000 x 9,000 pixels, expected at most 179 megapixels"):
        decode_image(tmp_path / "a.png", 2, megapixels=179)
    assert decode_image(tmp_path / "a.png", 2, megapixels=180).shape == (2, 2, 3)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("ending", ["png", "jpg"])
@pytest.mark.parametrize(("resize", "crop"), [(16, 12), (17, 12), (40, 33), (20, 20), (256, 224)])
@pytest.mark.parametrize("shape", [(31, 20), (20, 31), (33, 33), (301, 207), (500, 256)])
def test_resize_and_crop_are_torchvisions_to_the_bit(
    tmp_path: Path, shape: tuple[int, int], resize: int, crop: int, ending: str
):
    Image.fromarray(noise(*shape)).save(tmp_path / f"a.{ending}")
    with Image.open(tmp_path / f"a.{ending}") as image:
        steps = transforms.Compose([transforms.Resize(resize), transforms.CenterCrop(crop)])
        expected = np.asarray(steps(image.convert("RGB")))
    assert (decode_image(tmp_path / f"a.{ending}", crop, resize) == expected).all()


def test_a_strip_that_resizing_would_blow_up_is_refused(tmp_path: Path):
    Image.new("L", (50_000, 2)).save(tmp_path / "a.png")  # at 256: 256 x 6,400,000 pixels
    with pytest.raises(ValueError, match="50,000 x 2 pixels, expected at most 64 megapixels once resized to 256"):
        decode_image(tmp_path / "a.png", 224, 256)


def test_a_text_of_a_file_is_not_taken_for_pixels(tmp_path: Path):
    text = PngImagePlugin.PngInfo()
    text.add_text("note", "a")
    Image.fromarray(noise()).save(tmp_path / "a.png")
    Image.fromarray(noise()).save(tmp_path / "b.png", pnginfo=text)
    assert read_file(tmp_path / "a.png") != read_file(tmp_path / "b.png")
    assert pixel_key(decode_image(tmp_path / "a.png", 8)) == pixel_key(decode_image(tmp_path / "b.png", 8))


def test_a_grey_image_has_the_key_of_the_same_image_in_rgb():
    grey = noise(channels=1)
    assert pixel_key(grey) == pixel_key(np.repeat(grey, 3, axis=-1))


def test_a_pipe_is_refused_at_once(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(OSError, match="not a regular file"):
        read_file(tmp_path / "pipe.jpg")
