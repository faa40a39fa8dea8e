from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim import SGD
from torch.optim.swa_utils import AveragedModel

from bench.errors import ScenarioError
from bench.models import build_model
from bench.models.checkpoint import checkpoint_sha256, fit_checkpoint

SHAPE = (3, 16, 16)


def old_model(classes: int = 7, name: str = "resnet8") -> dict[str, torch.Tensor]:
    return build_model(name, 3, classes, 99, "elsewhere").state_dict()


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def fit(path: Path, name: str = "resnet8", old: int = 7, classes: int = 10, seed: int = 0) -> dict[str, torch.Tensor]:
    return fit_checkpoint(path, name, SHAPE, old, classes, seed).weights


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


def test_safetensors_are_read_as_what_torch_saves(tmp_path: Path):
    weights = old_model()
    save_file({key: value.contiguous() for key, value in weights.items()}, tmp_path / "old.safetensors")
    read, known = fit(tmp_path / "old.safetensors"), fit(saved(tmp_path / "old.pt", weights))
    assert all(torch.equal(read[key], known[key]) for key in known)
    whole = (tmp_path / "old.safetensors").read_bytes()
    for torn in (b"", whole[:5], whole[: len(whole) // 2]):
        (tmp_path / "old.safetensors").write_bytes(torn)
        with pytest.raises(ScenarioError, match=r"model\.checkpoint: not a readable safetensors file"):
            fit(tmp_path / "old.safetensors")
    save_file({"other.weight": torch.zeros(3, 2)}, tmp_path / "old.safetensors")
    with pytest.raises(ScenarioError, match=r"old\.safetensors: model\.checkpoint: "):
        fit(tmp_path / "old.safetensors")


def compiled(model: nn.Module) -> nn.Module:
    """Wrapped as torch.compile does it; nothing is compiled before the first call."""
    return cast(nn.Module, torch.compile(model))


class Lightning(nn.Module):
    """A LightningModule saves its parts under their names."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


def trained() -> nn.Module:
    """An old model whose buffers are not the initial ones either."""
    model = build_model("resnet8", 3, 7, 99, "elsewhere")
    for number, value in enumerate(model.state_dict().values()):
        value.add_(number + 1)
    return model


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda m: nn.DataParallel(m).state_dict(), "module. removed from keys"),
        (lambda m: compiled(m).state_dict(), "_orig_mod. removed from keys"),
        (lambda m: nn.DataParallel(compiled(m)).state_dict(), "module. and _orig_mod. removed from keys"),
        (lambda m: compiled(nn.DataParallel(m)).state_dict(), "module. and _orig_mod. removed from keys"),
        (lambda m: AveragedModel(m).state_dict(), "module. removed from keys; n_averaged left out"),
        (
            lambda m: AveragedModel(nn.DataParallel(compiled(m))).state_dict(),
            "module. and _orig_mod. removed from keys; n_averaged left out",
        ),
        (
            lambda m: {"state_dict": Lightning(model=m).state_dict(), "epoch": 3, "optimizer_states": [{"state": {}}]},
            "weights of state_dict.model; model. removed from keys",
        ),
        (
            lambda m: {"state_dict": Lightning(net=compiled(nn.DataParallel(m))).state_dict()},
            "weights of state_dict.net; net. and module. and _orig_mod. removed from keys",
        ),
        (
            lambda m: {"model": m.state_dict(), "optimizer": SGD(m.parameters(), 0.1, momentum=0.9).state_dict(),
                       "args": argparse.Namespace(lr=0.1)},
            "weights of model",
        ),
        (lambda m: {"module": m.state_dict(), "ds_version": "0.14"}, "weights of module"),
        (lambda m: {"checkpoint": {"model": {"state_dict": m.state_dict()}}}, "weights of checkpoint.model.state_dict"),
        (lambda m: m.state_dict(), ""),
    ],
)  # fmt: skip
def test_weights_are_taken_out_of_the_wrappers_that_people_have(tmp_path: Path, wrap: Any, said: str):
    plain = {key: value.clone() for key, value in trained().state_dict().items()}
    fitted = fit_checkpoint(saved(tmp_path / "old.pt", wrap(trained())), "resnet8", SHAPE, 7, 7, 0)
    assert fitted.weights.keys() == plain.keys()
    assert all(torch.equal(fitted.weights[key], value) for key, value in plain.items())
    assert fitted.done == said


def test_a_wrapper_inside_the_model_is_taken_out_too(tmp_path: Path):
    model = trained()
    plain = {key: value.clone() for key, value in model.state_dict().items()}
    inner = next(name for name, _ in model.named_children() if name not in ("head",))
    setattr(model, inner, nn.DataParallel(getattr(model, inner)))
    fitted = fit_checkpoint(saved(tmp_path / "old.pt", model.state_dict()), "resnet8", SHAPE, 7, 7, 0)
    assert all(torch.equal(fitted.weights[key], value) for key, value in plain.items())


def test_a_file_without_batch_counters_is_filled_with_zeros_and_says_so(tmp_path: Path):
    given = {key: value for key, value in trained().state_dict().items() if not key.endswith("num_batches_tracked")}
    fitted = fit_checkpoint(saved(tmp_path / "old.pt", given), "resnet8", SHAPE, 7, 10, 0)
    missing = fitted.weights.keys() - given.keys()
    assert all(fitted.weights[key] == 0 for key in missing)
    assert fitted.done == f"{len(missing)} num_batches_tracked missing, set to 0; head grown from 7 to 10 rows"


def two_models(where: str) -> dict[str, Any]:
    """A file with the weights, conv1 all 1, and their average, all 2."""
    plain, averaged = trained(), AveragedModel(trained())
    for model, value in ((plain, 1.0), (averaged.module, 2.0)):
        model.state_dict()["conv1.weight"].fill_(value)
    if where == "prefix":
        return {"state_dict": Lightning(model=plain, ema_model=averaged).state_dict()}
    return {"model": plain.state_dict(), where: averaged.state_dict()}


@pytest.mark.parametrize("where", ["model_ema", "state_dict_ema", "ema", "swa_model", "prefix"])
def test_which_of_weights_and_their_average_must_be_named(tmp_path: Path, where: str):
    path = saved(tmp_path / "old.pt", two_models(where))
    with pytest.raises(
        ScenarioError, match=r"holds several models \(.*expected a choice\. Set model\.weights"
    ) as caught:
        fit(path)
    assert "\n" not in str(caught.value)
    label = "state_dict.ema_model" if where == "prefix" else where
    for choice, value in (("model", 1.0), ("ema", 2.0), (label, 2.0)):
        fitted = fit_checkpoint(path, "resnet8", SHAPE, 7, 7, 0, choice)
        assert (fitted.weights["conv1.weight"] == value).all(), choice
    assert f"weights of {label}" in fitted.done
    with pytest.raises(
        ScenarioError, match=r"model\.weights: found 'teacher', which names 0 .* the file holds .*model"
    ):
        fit_checkpoint(path, "resnet8", SHAPE, 7, 7, 0, "teacher")


@pytest.mark.parametrize(
    "average",
    [
        {"decay": 0.99, "shadow_params": [torch.zeros(3, 3)]},  # as torch_ema saves it: without names
        {"conv1weight": torch.zeros(3, 3)},
    ],
)
def test_an_average_that_bench_cannot_read_is_not_passed_over(tmp_path: Path, average: dict[str, Any]):
    path = saved(tmp_path / "old.pt", {"model": trained().state_dict(), "ema": average})
    with pytest.raises(ScenarioError, match=r"holds several models \(model and ema"):
        fit(path)
    assert fit_checkpoint(path, "resnet8", SHAPE, 7, 7, 0, "model").done == "weights of model"
    with pytest.raises(ScenarioError, match=r"found 'ema', which names 0 of the whole models"):
        fit_checkpoint(path, "resnet8", SHAPE, 7, 7, 0, "ema")


def test_two_models_without_an_average_are_told_apart_by_name(tmp_path: Path):
    path = saved(tmp_path / "old.pt", Lightning(student=trained(), teacher=trained()).state_dict())
    with pytest.raises(ScenarioError, match=r"several models \(student and teacher\)"):
        fit(path)
    assert "weights of teacher" in fit_checkpoint(path, "resnet8", SHAPE, 7, 7, 0, "teacher").done


@pytest.mark.parametrize("key", ["normalize.mean", "criterion.weight", "optimizer/m/0"])
def test_tensors_beside_the_models_own_are_refused_by_name(tmp_path: Path, key: str):
    path = saved(tmp_path / "old.pt", {**trained().state_dict(), key: torch.ones(3)})
    with pytest.raises(ScenarioError, match=rf"holds {key} beside the keys of model\.name 'resnet8'"):
        fit(path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file_is_one_line(tmp_path: Path, share: float):
    whole = saved(tmp_path / "whole.pt", trained().state_dict()).read_bytes()
    (tmp_path / "old.pt").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ScenarioError, match=r"old\.pt: model\.checkpoint: not written by torch\.save") as caught:
        fit(tmp_path / "old.pt")
    assert "\n" not in str(caught.value)


def test_a_quantized_model_and_a_scalar_head_are_one_line(tmp_path: Path):
    given = old_model()
    given["conv1.weight"] = given["conv1.weight"].to(torch.int8)
    with pytest.raises(ScenarioError, match=r"conv1\.weight holds torch\.int8, expected torch\.float32"):
        fit(saved(tmp_path / "old.pt", given))
    with pytest.raises(ScenarioError, match=r"wrong shape: head\.bias \(\) instead of \(10,\)"):
        fit(saved(tmp_path / "old.pt", {**old_model(), "head.bias": torch.tensor(1.0)}))


def test_a_folder_or_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.pt")
    for path in (tmp_path / "pipe.pt", tmp_path):
        with pytest.raises(ScenarioError, match="expected a file"):
            checkpoint_sha256(path)
