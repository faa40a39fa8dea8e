from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.catalog import find_scenario
from bench.data.images import Arrays
from bench.data.sources import glyphs
from bench.data.sources.find import load_images, load_set
from bench.data.stages.splits import cut
from bench.errors import DataError
from bench.scenario import load_scenario

ROOT = Path(__file__).resolve().parents[3]
# Of all that is drawn, and of all images.
_DIGESTS = ("8c34d948a19f0109", "ddee32d34e800055")
# The oldest and the newest that were tried; with others, glyphs may be drawn a little differently.
_TRIED = (
    "matplotlib 3.8.4, Pillow 10.4.0, FreeType 2.13.2",
    "matplotlib 3.11.2, Pillow 13.0.0, FreeType 2.14.3",
)


def sha256(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()[:16]


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return glyphs.glyphs()


def test_every_class_has_160_training_and_50_test_images_half_of_each_family(arrays: Arrays):
    assert np.bincount(arrays["y_train"]).tolist() == [160] * 47
    assert np.bincount(arrays["y_test"]).tolist() == [50] * 47
    assert np.bincount(arrays["y_train"][: 47 * 80]).tolist() == [80] * 47
    assert arrays["x_train"].shape == (47 * 160, 12, 12)


@pytest.mark.parametrize("name", ["glyphs-32-15", "glyphs-sans-serif"])
def test_a_scenario_trains_on_110_images_of_a_class_and_holds_out_50_and_tests_on_50(name: str, tmp_path: Path):
    scenario = load_scenario(find_scenario(name))
    images = load_images(scenario, tmp_path)
    split = cut(scenario, images)
    for part, labels, count in (
        (split.train, images.y_train, 110),
        (split.validation, images.y_train, 50),
        (split.test, images.y_test, 50),
    ):
        assert np.bincount(labels[np.concatenate(part)]).tolist() == [count] * 47


def test_both_scenarios_are_made_of_the_same_images(tmp_path: Path):
    by_class, by_domain = (
        load_images(load_scenario(find_scenario(name)), tmp_path) for name in ("glyphs-32-15", "glyphs-sans-serif")
    )
    assert np.array_equal(np.asarray(by_class.x_train), np.asarray(by_domain.x_train))
    assert by_class.class_names == by_domain.class_names
    assert by_domain.domains == ("glyphs-sans", "glyphs-serif")
    assert by_class.source == by_domain.source == f"embedded (drawn with {glyphs.versions()})"


def test_the_images_are_those_of_published_records(arrays: Arrays):
    drawn = [glyphs.draw(font) for font in (*glyphs.SANS, *glyphs.SERIF)]
    found = sha256(*drawn), sha256(arrays["x_train"], arrays["x_test"])
    if found[0] != _DIGESTS[0] and glyphs.versions() not in _TRIED:
        pytest.skip(f"{glyphs.versions()} draw other glyphs than {' or '.join(_TRIED)}")
    assert found == _DIGESTS


def test_views_of_given_shapes_are_the_same_with_every_version_of_every_package():
    # A square and a stroke instead of glyphs: nothing here depends on fonts.
    shapes = np.zeros((2, 176, 176), np.uint8)
    shapes[0, 60:116, 60:116], shapes[1, 60:116, 84:92] = 255, 200
    views = glyphs._views(shapes, np.arange(300) % 2, ("a", "test"), 14, (64, 176))
    assert sha256(views) == "2c8b59d65ed2a6f5", "the same random numbers gave other pixels"


def test_without_noise_and_movement_a_view_is_the_average_of_its_square(monkeypatch: pytest.MonkeyPatch):
    for name in ("_TURN", "_SHEAR", "_SCALE", "_SHIFT"):
        monkeypatch.setattr(glyphs, name, 0.0)
    monkeypatch.setattr(glyphs, "_GROUND", 0)
    shape = np.zeros((1, 176, 176), np.uint8)
    # An image shows the middle 72 pixels, 6 in each of its own: rows 4 and 5, and the left half of column 2.
    shape[0, 52 + 24 : 52 + 36, 52 + 12 : 52 + 15] = 255
    expected = np.zeros((12, 12))
    expected[4:6, 2] = 127
    assert np.array_equal(glyphs._views(shape, np.zeros(1, np.int64), ("a", "test"), 0, (255, 255))[0], expected)


def test_the_largest_view_stays_on_the_canvas():
    ends = np.array([[turn, shear, scale] for turn in (-1, 0, 1) for shear in (-1, 1) for scale in (-1.0, 1.0)])
    reach = np.abs(glyphs._affine(*ends.T)).sum(axis=2).max() / glyphs._ONE
    assert reach * (glyphs.SIZE / 2 + glyphs._SHIFT) < glyphs._CANVAS / 2


def shape_of(drawn: np.ndarray) -> np.ndarray:
    """The ink alone, stretched to 12 x 12: what is left when position, height and width say nothing."""
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    ink = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.asarray(Image.fromarray(ink).resize((12, 12), Image.Resampling.BOX)) / 255


def nearest(font: str) -> float:
    """The mean difference of the two characters of a font that are most alike."""
    shapes = np.stack([shape_of(drawn) for drawn in glyphs.draw(font)])
    apart = np.abs(shapes[:, None] - shapes[None]).mean(axis=(2, 3))
    return apart[~np.eye(len(shapes), dtype=bool)].min()


@pytest.mark.parametrize("font", [*glyphs.SANS, *glyphs.SERIF])
def test_no_two_characters_of_a_font_have_the_same_shape(font: str):
    assert nearest(font) > 0.04  # E and F come to 0.050, C and G to 0.051


def test_the_shapes_of_characters_that_were_left_out_are_the_same(monkeypatch: pytest.MonkeyPatch):
    for pair, font in (("0o", "STIXGeneralBol.ttf"), ("Il", "DejaVuSerif-Bold.ttf")):
        monkeypatch.setattr(glyphs, "CHARACTERS", pair)
        assert nearest(font) < 0.04


def test_class_names_differ_on_a_file_system_that_ignores_case():
    names = load_set("glyphs", Path("nowhere")).class_names
    assert len({name.lower() for name in names}) == 47


def test_an_archive_in_the_data_root_is_used_instead(tmp_path: Path, arrays: Arrays):
    np.savez(tmp_path / "glyphs.npz", **{**arrays, "x_test": np.zeros_like(arrays["x_test"])})
    found = load_set("glyphs", tmp_path)
    assert found.source == "glyphs.npz"
    assert not np.asarray(found.x_test).any()


def test_a_font_that_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(glyphs, "_folder", lambda: tmp_path)
    with pytest.raises(
        DataError, match=r"DejaVuSans\.ttf: cannot be drawn .*expected a font that matplotlib ships"
    ) as e:
        glyphs.draw("DejaVuSans.ttf")
    assert "\n" not in str(e.value)


def test_drawing_loads_neither_torch_nor_scikit_learn():
    code = """
import sys
from pathlib import Path
from bench.data.sources.find import load_set
load_set("glyphs", Path("nowhere"))
found = {"torch", "sklearn", "matplotlib.pyplot"} & set(sys.modules)
assert not found, found
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-500:]
