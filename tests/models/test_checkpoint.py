from __future__ import annotations

import io
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import ScenarioError
from bench.models import build_model
from bench.models.checkpoint import checkpoint_sha256, fit_checkpoint, read_state_dict

SHAPE = (3, 16, 16)


def old_model(classes: int = 7, name: str = "resnet8") -> dict[str, torch.Tensor]:
    return build_model(name, 3, classes, 99, "elsewhere").state_dict()


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def fit(path: Path, name: str = "resnet8", old: int = 7, classes: int = 10, seed: int = 0) -> dict[str, torch.Tensor]:
    return fit_checkpoint(path, name, SHAPE, old, classes, seed)


def test_a_narrower_head_is_grown_known_rows_first_and_the_rest_fresh(tmp_path: Path):
    given = old_model()
    fitted = fit(saved(tmp_path / "old.pt", given))
    fresh = build_model("resnet8", 3, 10, 0, "base").state_dict()
    assert torch.equal(fitted["head.weight"][:7], given["head.weight"])
    assert torch.equal(fitted["head.weight"][7:], fresh["head.weight"][7:])
    assert torch.equal(fitted["conv1.weight"], given["conv1.weight"])
    other = fit(tmp_path / "old.pt", seed=1)
    assert not torch.equal(other["head.weight"][7:], fitted["head.weight"][7:])
    build_model("resnet8", 3, 10, 0, "update").load_state_dict(fitted)


def test_a_head_of_all_classes_is_used_unchanged(tmp_path: Path):
    given = old_model(10)
    fitted = fit(saved(tmp_path / "old.pt", given))
    assert all(torch.equal(value, given[key]) for key, value in fitted.items())


@pytest.mark.parametrize("rows", [12, 5, 8])
def test_a_head_of_another_width_is_refused(tmp_path: Path, rows: int):
    with pytest.raises(ScenarioError, match=rf"a head of {rows} rows .*expected 7 \(the old classes\) or 10 \(all\)"):
        fit(saved(tmp_path / "old.pt", old_model(rows)))


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_a_training_scripts_wrapper_is_removed(tmp_path: Path, wrapper: str):
    content = {wrapper: {f"module.{key}": value.half() for key, value in old_model().items()}, "epoch": 3}
    fitted = fit(saved(tmp_path / "old.pt", content))
    assert fitted["conv1.weight"].dtype == torch.float32
    assert torch.equal(fitted["conv1.weight"], old_model()["conv1.weight"].half().float())


def test_keys_that_do_not_fit_are_named_in_one_line(tmp_path: Path):
    given = old_model()
    given["bn1.wait"] = given.pop("bn1.weight")
    given["conv1.weight"] = torch.zeros(16, 1, 3, 3)
    with pytest.raises(ScenarioError) as caught:
        fit(saved(tmp_path / "old.pt", given))
    line = str(caught.value)
    assert (
        "missing: bn1.weight; unknown: bn1.wait; wrong shape: conv1.weight (16, 1, 3, 3) instead of (16, 3, 3, 3)"
        in line
    )
    assert "\n" not in line


def test_a_checkpoint_of_another_architecture_is_one_line(tmp_path: Path):
    path = saved(tmp_path / "old.pt", old_model(name="resnet18-cifar"))
    with pytest.raises(ScenarioError, match=r"architecture differs from model\.name 'resnet8' \(.* and \d+ more") as c:
        fit(path)
    assert "\n" not in str(c.value)


def test_non_finite_values_are_refused(tmp_path: Path):
    given = old_model()
    given["bn1.weight"][3] = torch.nan
    with pytest.raises(ScenarioError, match=r"bn1\.weight holds non-finite values"):
        fit(saved(tmp_path / "old.pt", given))


class Evil:
    """Its pickle would write a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "ran")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path, save):
    mark = tmp_path / "mark"
    save({"conv1.weight": Evil(mark)}, tmp_path / "evil.pt")
    with pytest.raises(ScenarioError, match="reading it would run code from the file, which is refused") as caught:
        fit(tmp_path / "evil.pt")
    assert not mark.exists()
    assert "\n" not in str(caught.value)


def test_a_whole_pickled_model_is_refused_as_code(tmp_path: Path):
    torch.save(build_model("resnet8", 3, 7, 0, "base"), tmp_path / "model.pt")
    with pytest.raises(ScenarioError, match="would run code"):
        fit(tmp_path / "model.pt")


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"PK\x03\x04 torn"])
def test_a_file_that_is_not_a_checkpoint_is_one_line(tmp_path: Path, content: bytes):
    (tmp_path / "old.pt").write_bytes(content)
    with pytest.raises(ScenarioError, match=r"old\.pt: model\.checkpoint: not written by torch\.save") as caught:
        fit(tmp_path / "old.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "found"),
    [([1, 2], "a list"), ({}, "an empty mapping"), ({"epoch": 3, "loss": 0.1}, "a mapping of epoch")],
)
def test_a_file_without_a_state_dict_says_what_it_holds(tmp_path: Path, content: Any, found: str):
    with pytest.raises(ScenarioError, match=f"holds {found}.*expected a state dict"):
        fit(saved(tmp_path / "old.pt", content))


def test_a_missing_checkpoint_is_one_line(tmp_path: Path):
    with pytest.raises(ScenarioError, match=r"nowhere\.pt: model\.checkpoint: cannot be read \(No such file"):
        checkpoint_sha256(tmp_path / "nowhere.pt")


def test_safetensors_is_imported_only_when_named_and_missing_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    (tmp_path / "old.safetensors").write_bytes(b"")
    with pytest.raises(ScenarioError, match=r"old\.safetensors: model\.checkpoint: needs the package safetensors"):
        read_state_dict(tmp_path / "old.safetensors")


def test_safetensors_are_read_by_the_packages_own_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package, reader = types.ModuleType("safetensors"), types.ModuleType("safetensors.torch")
    package.SafetensorError = type("SafetensorError", (Exception,), {})
    reader.load_file = lambda path: torch.load(io.BytesIO(Path(path).read_bytes()), weights_only=True)
    monkeypatch.setitem(sys.modules, "safetensors", package)
    monkeypatch.setitem(sys.modules, "safetensors.torch", reader)
    assert fit(saved(tmp_path / "old.safetensors", old_model()))["head.weight"].shape == (10, 64)

    def torn(path: str) -> None:
        raise package.SafetensorError("header too large")

    monkeypatch.setattr(reader, "load_file", torn)
    with pytest.raises(ScenarioError, match=r"not a readable safetensors file \(header too large\)"):
        fit(tmp_path / "old.safetensors")
