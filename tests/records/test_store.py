from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.errors import DamagedError, RecordError, WriteError
from bench.records import store
from bench.records.schema import EvalRow
from bench.records.store import (
    RecordWriter,
    evaluations_complete,
    last_evaluation,
    read_evals,
    read_trial,
    require_writable,
    trial_folder,
    write_atomically,
)
from bench.strategies.strategy import Entrant
from tests.conftest import RunTrial
from tests.records.made_up import finished, seal


def row(step: int, **more: float) -> EvalRow:
    numbers = {name: 0 for name in EvalRow.model_fields if not name.startswith("test")}
    return EvalRow.model_validate({**numbers, "step": step, "gpu_joules": None, **more})


def test_a_trial_has_a_folder_of_its_own():
    assert trial_folder(Path("results"), "s", "naive", 0.35, 2) == Path("results/s/naive/0.35/seed-2")
    assert trial_folder(Path("results"), "s", "naive", 1.0, 2) == Path("results/s/naive/1/seed-2")


def test_what_is_written_is_read(tmp_path: Path):
    writer = RecordWriter(tmp_path)
    rows = [row(1), row(2, test_accuracy=0.5)]
    for one in rows:
        writer.append(one)
    assert read_evals(tmp_path) == rows
    first = json.loads((tmp_path / "evals.jsonl").read_text().splitlines()[0])
    assert "test_accuracy" not in first


def test_a_torn_last_line_is_refused_by_readers_and_dropped_by_the_writer(tmp_path: Path):
    writer = RecordWriter(tmp_path)
    for step in (1, 2):
        writer.append(row(step))
    with (tmp_path / "evals.jsonl").open("ab") as file:
        file.write(b'{"step": 3')
    with pytest.raises(RecordError, match=r"evals\.jsonl:3: not an evaluation \(torn"):
        read_evals(tmp_path)
    writer.keep_until(1)
    assert read_evals(tmp_path) == [row(1)]


def test_a_line_broken_in_the_middle_is_refused_even_by_the_writer(tmp_path: Path):
    (tmp_path / "evals.jsonl").write_text("nonsense\n" + row(2).model_dump_json() + "\n")
    with pytest.raises(RecordError, match=r"evals\.jsonl:1"):
        read_evals(tmp_path, torn_allowed=True)


def test_an_unknown_key_in_an_evaluation_is_refused(tmp_path: Path):
    (tmp_path / "evals.jsonl").write_text(json.dumps({**row(1).model_dump(), "extra": 1}) + "\n")
    with pytest.raises(RecordError, match="not an evaluation"):
        read_evals(tmp_path)


def test_another_schema_version_is_refused(tmp_path: Path):
    (tmp_path / "trial.json").write_text('{"schema_version": 99}')
    with pytest.raises(RecordError, match="schema version 99, expected 1 to 9"):
        read_trial(tmp_path)


def test_a_record_of_version_1_is_still_read(run_trial: RunTrial, scratch: Entrant, tmp_path: Path):
    run_trial(scratch)
    path = tmp_path / "trial" / "trial.json"
    record = json.loads(path.read_text())
    record["schema_version"] = 1
    summary = "gpu_joules_source gpu_short_share evaluate_gpu_joules gpu_use cpu_seconds cpu_joules cpu_joules_reason"
    for key in f"{summary} selection_seconds regularizer_flops other_cpu_seconds load_average".split():
        del record["summary"][key]
    for key in ["environment", "interop_threads", "flags", "memory_gib", "cuda", "cudnn", "gpu", "images"]:
        del record["provenance"][key]
    del record["flops_per_image"]["batch"], record["evals_sha256"], record["record_sha256"]
    path.write_text(json.dumps(record))
    read = read_trial(path.parent)
    assert read.summary.cpu_seconds is None
    assert read.flops_per_image.batch == 0


def test_a_broken_record_is_refused_and_a_missing_one_is_none(tmp_path: Path):
    assert read_trial(tmp_path) is None
    (tmp_path / "trial.json").write_text("{")
    with pytest.raises(RecordError, match=r"trial\.json: not a trial's record"):
        read_trial(tmp_path)


def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(self: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(WriteError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(RecordError, match="cannot be written"):
        require_writable(file / "results")
    with pytest.raises(RecordError, match=r"\(Not a directory\), expected .*\. Name another one with --cache\.$"):
        require_writable(file / "cache", "--cache")


def test_a_record_names_no_path_of_this_machine(run_trial: RunTrial, scratch: Entrant, tmp_path: Path):
    run_trial(scratch)
    provenance = read_trial(tmp_path / "trial").provenance.model_dump()
    provenance.pop("command")  # the user's own words
    text = json.dumps(provenance)
    assert str(tmp_path) not in text
    assert str(Path.cwd()) not in text
    assert str(Path.home()) not in text


def test_reading_records_needs_no_torch():
    code = "import sys, bench.records.collect, bench.analysis.ranking.leaderboard; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


FLIPS = {
    "a cost": lambda record: record["summary"].update(train_flops=record["summary"]["train_flops"] + 1),
    "a time": lambda record: record["provenance"].update(started="2026-01-02T00:00:00+00:00"),
    "a hash": lambda record: record.update(strategy_hash="0" * 16),
    "the digest": lambda record: record.update(record_sha256="0" * 64),
}


@pytest.mark.parametrize("what", FLIPS)
def test_a_record_that_changed_since_it_was_written_is_not_believed(tmp_path: Path, what: str):
    folder = finished(tmp_path, [0.25, 0.5], schema_version=8)
    path = folder / "trial.json"
    assert read_trial(folder).summary is not None
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content))  # other spaces are the same record
    assert read_trial(folder).summary is not None
    FLIPS[what](content)
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedError, match=r"trial.json: changed since it was written \(SHA-256 .*, expected"):
        read_trial(folder)
    del content["record_sha256"]
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedError, match="record_sha256: missing"):
        read_trial(folder)


def test_evaluations_with_their_records_digest_are_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = finished(tmp_path, [0.5, 0.7, 0.8], schema_version=8)
    record, path, parsed = read_trial(folder), folder / "evals.jsonl", []
    assert record is not None
    parse = store.parse_evals

    def counting(content: bytes, where: Path, **options: bool) -> list[EvalRow]:
        parsed.append(len(content.splitlines()))
        return parse(content, where, **options)

    monkeypatch.setattr(store, "parse_evals", counting)
    assert evaluations_complete(folder, record)
    assert parsed == []
    last = last_evaluation(folder, record)
    assert last is not None
    assert last.validation_accuracy == 0.8
    assert parsed == [1]
    whole = path.read_text()
    path.write_text(whole.replace("0.7", "0.6"))
    assert not evaluations_complete(folder, record)
    assert last_evaluation(folder, record) == last
    assert parsed == [1, 3, 3]


def test_a_digest_of_too_few_evaluations_does_not_make_them_complete(tmp_path: Path):
    folder = finished(tmp_path, [0.5, 0.7, 0.8], schema_version=8)
    path = folder / "evals.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    for found in (lines[1:], [lines[0], lines[0], lines[2]], [*lines[:2], "{}\n"], [*lines, "\n"], [*lines, "x"]):
        path.write_text("".join(found))
        seal(folder)
        record = read_trial(folder)
        assert record is not None
        assert not evaluations_complete(folder, record) or found == [*lines, "\n"]  # an empty line says nothing
