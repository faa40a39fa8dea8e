"""A checkpoint that is not as it was written is named, put aside, and never used."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.records.store import read_evals, read_trial
from bench.strategies.strategy import Entrant
from bench.training.checkpoint import (
    load_checkpoint,
    load_or_set_aside,
    remove_checkpoint,
    save_checkpoint,
    usable_checkpoints,
)
from tests.conftest import RunTrial
from tests.training.test_trial import KillAfter, Killed, learned


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def seal_list(path: Path) -> None:
    """Write a list with a sound digest, as bench never does."""
    torch.save([1], path)
    plain = path.read_bytes()
    comment = f"sha256:{hashlib.sha256(plain).hexdigest()}".encode()
    path.write_bytes(plain[:-2] + len(comment).to_bytes(2, "little") + comment)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut short, or without the SHA-256": cut,
    "the SHA-256 that it was written with": lambda path: flip(path, path.stat().st_size // 2),
    "without the SHA-256 that bench writes": lambda path: torch.save({"step": 1}, path),
    "not a checkpoint of bench": lambda path: seal_list(path),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "a.pt", {"weights": torch.arange(5.0), "step": 1}, keep=True)
    return tmp_path / "a.pt"


def test_torch_reads_a_checkpoint_as_it_is(path: Path):
    assert torch.equal(torch.load(path, weights_only=True)["weights"], torch.arange(5.0))
    assert load_checkpoint(path)["step"] == 1


def test_every_flipped_byte_of_the_content_is_seen(path: Path):
    size = path.stat().st_size
    for place in range(0, size - 75, 7):  # the last 73 are the comment and its length
        flip(path, place)
        assert load_checkpoint(path) is None, place
        flip(path, place)
    assert load_checkpoint(path)["step"] == 1


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_put_aside(how: str, path: Path, caplog: pytest.LogCaptureFixture):
    DAMAGE[how](path)
    damaged = path.read_bytes()
    assert load_checkpoint(path) is None
    assert path.exists()  # only looked at
    with caplog.at_level(logging.WARNING):
        assert load_or_set_aside(path) is None
    (line,) = caplog.messages
    assert line.startswith(f"bench: {path}: ")
    assert how in line
    assert line.endswith("; put aside as a.pt.damaged, and made anew")
    assert not path.exists()
    assert path.with_name("a.pt.damaged").read_bytes() == damaged


@pytest.mark.parametrize("place", range(-71, 0, 5))
def test_a_flipped_byte_of_the_digest_is_seen(path: Path, place: int):
    flip(path, path.stat().st_size + place)
    assert load_checkpoint(path) is None


def test_two_checkpoints_are_kept_and_both_removed(path: Path):
    save_checkpoint(path, {"step": 2}, keep=True)
    save_checkpoint(path, {"step": 3}, keep=True)
    assert [saved["step"] for saved in usable_checkpoints(path)] == [3, 2]
    cut(path)
    assert [saved["step"] for saved in usable_checkpoints(path)] == [2]
    path.unlink(missing_ok=True)  # as if killed between the two renames
    assert [saved["step"] for saved in usable_checkpoints(path)] == [2]
    remove_checkpoint(path)
    assert [each.name for each in path.parent.iterdir()] == ["a.pt.damaged"]


@pytest.mark.parametrize(("damaged", "sittings"), [(("cut.pt",), 2), (("cut.pt", "cut.pt.previous"), 1)])
def test_a_trial_goes_on_from_the_checkpoint_before_a_damaged_one_or_starts_over(
    run_trial: RunTrial, scratch: Entrant, tmp_path: Path, damaged: tuple[str, ...], sittings: int
):
    whole = run_trial(scratch, name="whole")
    with pytest.raises(Killed):
        run_trial(scratch, name="cut", observer=KillAfter(24))
    for name in damaged:
        flip(tmp_path / name, 1000)
    resumed = run_trial(scratch, name="cut")
    assert resumed.record.summary.sittings == sittings
    assert resumed.record.summary.weights_sha256 == whole.record.summary.weights_sha256
    assert learned(tmp_path / "cut") == learned(tmp_path / "whole")
    assert [row.step for row in read_evals(tmp_path / "cut")] == [8, 16, 24, 32]
    assert read_trial(tmp_path / "cut").status == "finished"


def test_evaluations_that_changed_while_a_trial_was_interrupted_are_not_gone_on_from(
    run_trial: RunTrial, scratch: Entrant, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    whole = run_trial(scratch, name="whole")
    with pytest.raises(Killed):
        run_trial(scratch, name="cut", observer=KillAfter(24))
    path = tmp_path / "cut" / "evals.jsonl"
    first, *others = path.read_text().splitlines(keepends=True)
    changed = {**json.loads(first), "validation_accuracy": 0.987}
    path.write_text("".join([json.dumps(changed) + "\n", *others]))
    resumed = run_trial(scratch, name="cut")
    assert resumed.record.summary.sittings == 1
    assert "changed since its checkpoint was saved" in caplog.text
    assert resumed.record.summary.weights_sha256 == whole.record.summary.weights_sha256
    assert learned(tmp_path / "cut") == learned(tmp_path / "whole")
