from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.data.sources import known as sources
from bench.data.sources.find import ImageSet, load_set, set_state
from bench.errors import DataError, ScenarioError


def arrays(classes: int = 10, shape: tuple[int, ...] = (28, 28), count: int = 20) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        f"{kind}_{part}": random.integers(256, size=(count, *shape), dtype=np.uint8)
        if kind == "x"
        else np.arange(count) % classes
        for part in ("train", "test")
        for kind in "xy"
    }


def write_idx(path: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">u4").tobytes()
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))


@pytest.fixture
def no_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make Fashion-MNIST look as on a machine without Debian's package."""
    facts = sources.SETS["fashion-mnist"]
    bare = sources.SetFacts(facts.classes, facts.shape, facts.torchvision, None, None, facts.remedy)
    monkeypatch.setitem(sources.SETS, "fashion-mnist", bare)


def test_digits_are_scikit_learns_1797_images(digits: ImageSet):
    # Counts from scikit-learn's own description of the set: 1,797 samples, 8 x 8, 10 classes.
    assert len(digits.x_train) + len(digits.x_test) == 1797
    assert digits.image_shape == (1, 8, 8)
    assert digits.x_train.max() == 255
    assert np.bincount(digits.y_test).min() >= 43


def test_digits_without_scikit_learn_are_one_line_that_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)  # what Python does for a package that is not there
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert set_state("digits", tmp_path).text == "missing: pip install scikit-learn"
    with pytest.raises(ScenarioError, match=r"^data\.set 'digits': needs the package scikit-learn, .*pip install") as e:
        load_set("digits", tmp_path)
    assert "\n" not in str(e.value)
    assert e.value.exit_code == 2


def test_a_keras_archive_is_found_first(tmp_path: Path):
    made = arrays()
    np.savez(tmp_path / "fashion-mnist.npz", **made)
    found = load_set("fashion-mnist", tmp_path, download=False)
    assert found.source == "fashion-mnist.npz"
    assert (found.x_train[..., 0] == made["x_train"]).all()


@pytest.mark.usefixtures("no_system")
def test_torchvisions_own_files_are_found(tmp_path: Path):
    made, raw = arrays(), tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    names = {"train": "train", "test": "t10k"}
    for part, name in names.items():
        for kind, stem in (("x", "images-idx3"), ("y", "labels-idx1")):
            packed = raw / "packed"
            write_idx(packed, made[f"{kind}_{part}"])
            (raw / f"{name}-{stem}-ubyte").write_bytes(gzip.decompress(packed.read_bytes()))
            packed.unlink()
    found = load_set("fashion-mnist", tmp_path, download=False)
    assert found.source == "torchvision files"
    assert (found.x_test[..., 0] == made["x_test"]).all()
    assert found.class_names[9] == "Ankle boot"


def test_a_system_folder_of_idx_files_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made, folder = arrays(), tmp_path / "system"
    folder.mkdir()
    for part, name in (("train", "train"), ("test", "t10k")):
        write_idx(folder / f"{name}-images-idx3-ubyte.gz", made[f"x_{part}"])
        write_idx(folder / f"{name}-labels-idx1-ubyte.gz", made[f"y_{part}"])
    monkeypatch.setitem(sources.SETS, "fashion-mnist", sources.SetFacts(10, (28, 28, 1), "FashionMNIST", folder))
    found = load_set("fashion-mnist", tmp_path / "empty", download=False)
    assert found.source == "system package"
    assert (found.x_train[..., 0] == made["x_train"]).all()
    assert (found.y_test == made["y_test"]).all()


@pytest.mark.usefixtures("no_system")
def test_missing_data_says_what_to_put_where(tmp_path: Path):
    with pytest.raises(DataError, match=r"fashion-mnist: not found under .*Put fashion-mnist\.npz there.*--data-root"):
        load_set("fashion-mnist", tmp_path, download=False)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("x_train", np.zeros((20, 28, 28)), "x_train is float64, expected uint8"),
        ("x_test", np.zeros((20, 32, 32), np.uint8), r"images of \(32, 32, 1\), expected \(28, 28, 1\)"),
        ("y_train", np.arange(20.0), "y_train is float64, expected integers"),
        ("y_train", np.arange(20), r"labels 0\.\.19, expected 0\.\.9"),
        ("y_test", np.arange(20) % 9, "no test image of class 9"),
        ("y_test", np.arange(19) % 10, "20 images but 19 labels"),
        ("classes", np.array(["one"]), "1 class names, expected 10"),
    ],
)
def test_an_archive_that_is_not_the_set_is_refused(tmp_path: Path, key: str, value: np.ndarray, complaint: str):
    np.savez(tmp_path / "fashion-mnist.npz", **{**arrays(), key: value})
    with pytest.raises(DataError, match=complaint):
        load_set("fashion-mnist", tmp_path, download=False)


def test_a_file_that_is_not_an_archive_is_refused(tmp_path: Path):
    (tmp_path / "cifar10.npz").write_bytes(b"not a zip file")
    with pytest.raises(DataError, match=r"cifar10\.npz: not a readable \.npz archive"):
        load_set("cifar10", tmp_path, download=False)


def test_an_archive_of_pickled_objects_is_refused(tmp_path: Path):
    np.savez(tmp_path / "cifar10.npz", **{**arrays(shape=(32, 32, 3)), "x_train": np.array([{}], dtype=object)})
    with pytest.raises(DataError, match="not a readable"):
        load_set("cifar10", tmp_path, download=False)


def test_an_unknown_set_names_the_known_ones(tmp_path: Path):
    with pytest.raises(DataError, match=r"'cifar1': unknown, expected one of digits"):
        load_set("cifar1", tmp_path)
