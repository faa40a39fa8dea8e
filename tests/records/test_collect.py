from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import combinations
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

from bench import L2Init, NoRegularizer
from bench.errors import RecordError, WriteError
from bench.records import bulk, parquet, rows
from bench.records import collect as module
from bench.records.collect import Records, collect, write_collected
from bench.records.rules import check_results
from bench.records.schema import EvalRow
from bench.records.store import read_trial, verified_evals
from tests.records.made_up import evaluation, finished, trial, write

OPTIONAL = [name for name, field in EvalRow.model_fields.items() if not field.is_required()]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Records of every kind."""
    results = tmp_path / "results"
    for seed in range(2):
        finished(results, [0.3, 0.5, 0.7, 0.8], seed=seed)
        finished(results, [0.6, 0.9], strategy="short", horizon=0.5, seed=seed)
        for update in (1, 2):
            chain = {"scenario": "chain", "stages": 3, "seed": seed, "update": update}
            finished(results, [0.4, 0.6], **chain, previous_sha256=f"before {update}")
    finished(results, [0.5], seed=10, old_share=0.2)
    metered(results)
    first_schema(results)
    write(results, trial(strategy="broke", status="failed", reason="it broke"), [evaluation(10, 0.5)])
    running = write(results, trial(strategy="runs"), [evaluation(10, 0.5)])
    with (running / "evals.jsonl").open("a") as file:
        file.write('{"step": 2')  # still being written
    return results


def metered(results: Path) -> None:
    """A trial on a GPU: joules, occasional tests, a loss that is not a number, null and NaN side by side."""
    lines = [
        evaluation(10, 0.5, gpu_joules=1.5, train_loss=None, cpu_joules=3),
        evaluation(20, 0.7, gpu_joules=3.25, train_loss=float("nan"), test_accuracy=0.6, test_accuracy_old=0.5),
    ]
    content = trial(strategy="metered", steps=20, last=lines[-1])
    use = {"samples": 3, "utilization": 0.9, "sm_clock_mhz": 1.0, "temperature_celsius": 40.0, "power_watts": 300.0}
    content["summary"]["gpu_use"] = {**use, "slowed_share": 0.5, "slowed_by": ["heat", "power"]}
    write(results, content, lines)


def first_schema(results: Path) -> None:
    """A record of schema 1, which lacks what came later."""
    missing = dict.fromkeys(OPTIONAL, "missing")
    lines = [evaluation(10 * place, 0.6, **missing, validation_accuracy_new=None) for place in (1, 2)]
    write(results, trial(strategy="first", steps=20, last=lines[-1], schema_version=1), lines)


def assert_same(one: Records, other: Records) -> None:
    assert_frame_equal(one.trials, other.trials, check_exact=True)
    assert_frame_equal(one.evals, other.evals, check_exact=True)


def never(*_: object, **__: object) -> None:
    raise AssertionError("must not be called")


def test_a_collected_file_gives_the_same_frames(results: Path, monkeypatch: pytest.MonkeyPatch):
    directly, notes = collect(results), []
    found = write_collected(results)
    assert found.path == results / "records.parquet"
    assert (found.trials, found.evals) == (len(directly.trials), len(directly.evals)) == (13, 25)
    monkeypatch.setattr(rows, "read_trial", never)
    assert_same(collect(results, notes.append), directly)
    assert notes == []


def test_reading_in_bulk_gives_what_reading_with_care_gives(results: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bulk, "_BATCH_BYTES", 1000)
    with monkeypatch.context() as patched:
        patched.setattr(bulk, "_read_with_care", never)
        fast = collect(results)
    monkeypatch.setattr(bulk, "_read_fast", lambda batch, fields: None)
    assert_same(fast, collect(results))


def test_frames_hold_what_the_records_say(results: Path):
    records = collect(results)
    for name in ("scenario", "strategy"):
        assert isinstance(records.evals[name].dtype, pd.CategoricalDtype)
    mine = records.evals[records.evals["strategy"] == "metered"]
    assert mine["gpu_joules"].tolist() == [1.5, 3.25]
    assert mine["train_loss"].isna().all()
    assert mine["test_accuracy"].tolist()[1:] == [0.6]
    first = records.evals[records.evals["strategy"] == "first"]
    assert first[[*OPTIONAL, "validation_accuracy_new"]].isna().all(axis=None)
    assert first["train_flops"].tolist() == [1_920_000, 3_840_000]
    statuses = dict(zip(records.trials["strategy"], records.trials["status"], strict=True))
    assert (statuses["broke"], statuses["runs"], statuses["metered"]) == ("failed", "running", "finished")
    assert not set(records.evals["strategy"]) & {"broke", "runs"}
    use = records.trials.set_index("strategy").loc["metered", "gpu_use"]
    assert use["slowed_by"] == ["heat", "power"]


def test_some_columns_are_those_columns_of_all(results: Path):
    asked = ["step", "validation_accuracy"]
    for _ in range(2):  # without a collected file, and with one
        some = collect(results, never, asked)
        whole = collect(results, never)
        assert_frame_equal(some.evals, whole.evals[[*bulk.KEY, *asked]], check_exact=True)
        assert_frame_equal(some.trials, whole.trials, check_exact=True)
        write_collected(results)


def touch(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def grow(results: Path) -> None:
    with (results / "made-up/runs/1/seed-0/evals.jsonl").open("a") as file:
        file.write("0}\n")


CHANGES: dict[str, Callable[[Path], object]] = {
    "one more evaluation": grow,
    "a record written again": lambda results: touch(results / "made-up/scratch/1/seed-0/trial.json"),
    "evaluations written again": lambda results: touch(results / "chain/scratch/1/seed-1/update-2/evals.jsonl"),
    "one more trial": lambda results: finished(results, [0.5], seed=3),
    "one trial fewer": lambda results: (results / "made-up/broke/1/seed-0/trial.json").unlink(),
    "a folder renamed": lambda results: (results / "made-up/runs").rename(results / "made-up/ran"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_file_older_than_a_record_is_not_used(results: Path, what: str):
    write_collected(results)
    CHANGES[what](results)
    notes: list[str] = []
    with_file = collect(results, notes.append)
    (results / "records.parquet").unlink()
    assert_same(with_file, collect(results, never))
    (note,) = notes
    assert note.startswith(f"{results}/records.parquet is outdated (made from 13 trials; now ")
    assert note.endswith(f"not used. Run: bench collect --results {results}")


def test_a_record_rewritten_at_once_at_the_same_length_is_noticed(tmp_path: Path):
    path = finished(tmp_path, [0.25]) / "evals.jsonl"
    for digit in range(2, 6):
        path.write_text(
            path.read_text().replace(f'"validation_accuracy": 0.{digit}', f'"validation_accuracy": 0.{digit + 1}')
        )
        assert collect(tmp_path).evals["validation_accuracy"].tolist() == [float(f"0.{digit + 1}5")]
        write_collected(tmp_path)


def test_collecting_waits_until_the_last_record_is_older_than_a_clocks_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Within one tick a record can be rewritten, at the same length, without a later time."""
    path, slept = finished(tmp_path, [0.25]) / "trial.json", []
    now = 10**18
    monkeypatch.setattr(module.time, "time_ns", lambda: now + int(sum(slept) * 1e9))
    monkeypatch.setattr(module.time, "sleep", slept.append)
    os.utime(path.parent / "evals.jsonl", ns=(0, 0))
    for age, waits in ((10**9, 0), (10**6, 1), (-(10**9), 0)):
        slept.clear()
        os.utime(path, ns=(0, now - age))
        write_collected(tmp_path)
        assert len(slept) == waits


def test_records_from_the_future_are_records(results: Path):
    """Of a machine whose clock is ahead; of two clocks, nobody can say which is right."""
    for path in results.rglob("*.json*"):
        os.utime(path, (time.time() + 86_400,) * 2)
    path = results / "made-up/scratch/1/seed-0/trial.json"
    content = json.loads(path.read_text())
    content["provenance"]["started"] = "2999-01-01T00:00:00+00:00"
    path.write_text(json.dumps(content))
    directly = collect(results, never)
    assert directly.unreadable == ()
    assert "2999-01-01T00:00:00+00:00" in set(directly.trials["started"])
    write_collected(results)
    assert_same(collect(results, never), directly)
    touch(path)
    notes: list[str] = []
    assert_same(collect(results, notes.append), directly)
    assert "is outdated" in notes[0]


def test_a_record_that_changes_while_it_is_collected_makes_the_file_outdated(
    results: Path, monkeypatch: pytest.MonkeyPatch
):
    read, late = rows.read_trial, results / "made-up/scratch/1/seed-0/trial.json"

    def change_then_read(folder: Path):
        found = read(folder)
        if folder == late.parent:
            late.write_text(late.read_text().replace('"seed": 0', '"seed": 7'))
        return found

    with monkeypatch.context() as patched:
        patched.setattr(rows, "read_trial", change_then_read)
        write_collected(results)
    assert 7 in set(collect(results).trials["seed"])


def test_a_broken_file_is_never_believed(results: Path):
    directly = collect(results)
    path = write_collected(results).path
    whole = path.read_bytes()
    broken = [b"", b"no Parquet", whole[: len(whole) // 2], whole[:-1], whole[:4] + whole[-4:]]
    for content in broken:
        path.write_bytes(content)
        notes: list[str] = []
        assert_same(collect(results, notes.append), directly)
        assert "cannot be read" in notes[0]


def test_no_flipped_bit_gives_other_numbers(results: Path):
    directly = collect(results)
    path = write_collected(results).path
    whole = path.read_bytes()
    for place in range(3, len(whole), max(1, len(whole) // 150)):
        content = bytearray(whole)
        content[place] ^= 4
        path.write_bytes(content)
        notes: list[str] = []
        assert_same(collect(results, notes.append), directly)
        assert len(notes) == 1, place


def test_exchanged_columns_are_seen(results: Path):
    directly = collect(results)
    path = write_collected(results).path
    group, content = pq.ParquetFile(path).metadata.row_group(0), bytearray(path.read_bytes())
    chunks = [group.column(place) for place in range(group.num_columns)]
    pages = [slice(each.data_page_offset, each.data_page_offset + each.total_compressed_size) for each in chunks]
    first, second = next(
        (one, other)
        for one, other in combinations(pages, 2)
        if one.stop - one.start == other.stop - other.start and content[one] != content[other]
    )
    content[first], content[second] = content[second], content[first]
    path.write_bytes(content)
    notes: list[str] = []
    assert_same(collect(results, notes.append), directly)
    assert "was changed since it was written" in notes[0]


def test_trials_lie_in_parts_so_that_a_texts_limit_is_none_of_their_number(
    results: Path, monkeypatch: pytest.MonkeyPatch
):
    directly = collect(results, never)
    write_collected(results)
    monkeypatch.setattr(parquet, "_MOST_BYTES", 10_000)  # 13 trials take more
    notes: list[str] = []
    assert_same(collect(results, notes.append), directly)
    assert "its trials are cut off, or too many" in notes[0]
    monkeypatch.setattr(rows, "_PART_TRIALS", 3)
    path = write_collected(results).path
    assert_same(collect(results, never), directly)
    assert len(list(parquet._parts(path, {b"bench.format": b"8"}))) == 5
    assert path.read_bytes()[:4] == b"PAR1"
    assert len(pd.read_parquet(path)) == len(directly.evals)
    for engine in (pq.read_table, pq.ParquetDataset):
        assert engine(path)


def test_a_file_of_the_format_before_is_still_read(results: Path, monkeypatch: pytest.MonkeyPatch):
    """In format 7, Records.trials was one text in the metadata."""
    directly, path = collect(results, never), write_collected(results).path
    table = pq.read_table(path)
    (packed,) = parquet._parts(path, table.schema.metadata)
    facts = {
        **table.schema.metadata,
        b"bench.format": b"7",
        b"bench.trials": base64.b64encode(packed),
        b"bench.digest": b"0" * 64,
    }
    pq.write_table(table.replace_schema_metadata(facts), path)
    with path.open("r+b") as file:
        place = parquet._place_of_digest(file)
        digest = parquet._digest(file, place)
        file.seek(place)
        file.write(digest)
    monkeypatch.setattr(rows, "read_trial", never)
    assert_same(collect(results, never), directly)


@pytest.mark.parametrize(("name", "value"), [("FORMAT", 0), ("READABLE_VERSIONS", (1,)), ("RULES_VERSION", 0)])
def test_a_file_of_another_version_is_not_used(
    results: Path, name: str, value: object, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patched:
        patched.setattr(parquet, name, value)
        write_collected(results)
    notes: list[str] = []
    collect(results, notes.append)
    assert "is from another version of bench: not used" in notes[0]


def test_a_file_that_lacks_a_column_is_not_used(results: Path):
    path = write_collected(results).path
    pq.write_table(pq.read_table(path).drop_columns(["train_loss"]), path)
    notes: list[str] = []
    assert "train_loss" in collect(results, notes.append).evals
    assert "was changed since it was written: not used" in notes[0]


def test_columns_of_trials_match_the_version_of_the_format(results: Path):
    """Changing these columns requires incrementing parquet.FORMAT: existing collected files have the old ones."""
    columns = """scenario strategy horizon seed update updates title scenario_title status reason scenario_hash strategy_hash
    rules_version training_version device machine data_hash commit modified commit_reason
    command started python packages threads precision compiled own_code
    published_accuracy published_std published_source published_seeds published_steps chance validation_images points
    total_steps scratch_steps old_share previous_sha256 pieces
    base_steps base_images base_flops base_device_seconds base_gpu_joules
    steps images train_flops aux_flops evaluate_flops train_seconds device_seconds evaluate_seconds io_seconds prepare_seconds
    build_seconds wall_seconds unaccounted_share gpu_joules gpu_joules_reason gpu_joules_source gpu_short_share
    evaluate_gpu_joules gpu_use cpu_seconds cpu_joules cpu_joules_reason other_cpu_seconds load_average sittings
    validation_accuracy test_accuracy weights_sha256 selection_seconds regularizer_flops
    feature_flops head_flops feature_bytes may_have_seen tuning_flops division reference"""
    assert (parquet.FORMAT, sorted(collect(results).trials)) == (8, sorted(columns.split()))


@pytest.mark.parametrize(
    ("regularizer", "spent"),
    [
        (asdict(NoRegularizer()) | {"type": "NoRegularizer"}, 0),
        (asdict(L2Init(0.1)) | {"type": "L2Init"}, 40 * 10 * L2Init.passes),  # steps, parameters
        ({"type": "Own"}, None),
    ],
)
def test_what_a_known_regularizer_spent_is_known_of_older_records_too(
    tmp_path: Path, regularizer: dict, spent: int | None
):
    regularized(tmp_path, regularizer)
    found = collect(tmp_path).trials["regularizer_flops"].iloc[0]
    assert found == spent if spent is not None else pd.isna(found)


def test_a_records_own_regularizer_flops_take_precedence(tmp_path: Path):
    regularized(tmp_path, {"type": "L2Init"}, regularizer_flops=77)
    assert collect(tmp_path).trials["regularizer_flops"].tolist() == [77]


def regularized(results: Path, regularizer: dict, **summary: object) -> None:
    """Write a trial of 40 steps on 10 parameters."""
    path = finished(results, [0.5, 0.6, 0.7, 0.8]) / "trial.json"
    content = json.loads(path.read_text())
    content["strategy"]["regularizer"] = regularizer
    content["summary"] |= summary
    path.write_text(json.dumps(content))


def test_seeds_are_sorted_by_number(tmp_path: Path):
    for seed in (10, 2, 0):
        finished(tmp_path, [0.5, 0.6], seed=seed)
    assert collect(tmp_path).trials["seed"].tolist() == [0, 2, 10]
    assert collect(tmp_path).evals["seed"].tolist() == [0, 0, 2, 2, 10, 10]


def test_the_part_of_some_trials_holds_their_evaluations(results: Path):
    records = collect(results)
    trials = records.trials[records.trials["strategy"].isin(["metered", "first"])]
    part = records.only(trials)
    expected = records.evals[records.evals["strategy"].isin(["metered", "first"])]
    assert len(expected) == 4
    assert_frame_equal(part.evals, expected)
    assert records.only(trials.iloc[:0]).evals.empty


def test_the_file_can_be_read_with_pandas_alone(results: Path):
    frame = pd.read_parquet(write_collected(results).path)
    mine = frame[frame["strategy"] == "metered"]
    assert mine["validation_accuracy"].tolist() == [0.5, 0.7]
    assert mine["title"].unique().tolist() == ["Metered"]
    assert isinstance(frame["strategy"].dtype, pd.CategoricalDtype)
    assert set(frame) == {*bulk.OF_TRIAL, *EvalRow.model_fields}


# Lines that bench would not write. Each replaces the first trial's second line.
_GOOD = json.dumps(evaluation(20, 0.5))
ODD_LINES = {
    "nothing": "",
    "null": "null",
    "a list": "[1]",
    "text": "nonsense",
    "a space": " ",
    "a trailing space": _GOOD + " ",
    "two objects": _GOOD + _GOOD,
    "two objects and an empty line": _GOOD + _GOOD + "\n",
    "an object inside": _GOOD.replace("0.1", '{"a": 0.1}', 1),
    "a list inside": _GOOD.replace("0.1", "[0.1]", 1),
    "braces in text": _GOOD.replace("0.1", '"}{"', 1),
    "an unknown key": _GOOD.replace("{", '{"extra": 1, ', 1),
    "a repeated key": _GOOD.replace("{", '{"step": 10, ', 1),
    "an escaped key": _GOOD.replace("gpu_joules", "gpu\\u005fjoules", 1),
    "a number as text": _GOOD.replace("0.1", '"0.1"', 1),
    "a whole number as a fraction": _GOOD.replace('"step": 20', '"step": 20.0'),
    "a whole number with an exponent": _GOOD.replace('"step": 20', '"step": 2e1'),
    "half a step": _GOOD.replace('"step": 20', '"step": 20.5'),
    "true": _GOOD.replace('"learning_rate": 0.1', '"learning_rate": true'),
    "an infinite number": _GOOD.replace('"learning_rate": 0.1', '"learning_rate": Infinity'),
    "Inf": _GOOD.replace('"learning_rate": 0.1', '"learning_rate": Inf'),
    "not a number": _GOOD.replace('"learning_rate": 0.1', '"learning_rate": NaN'),
    "more than a float holds": _GOOD.replace('"learning_rate": 0.1', '"learning_rate": 1e999'),
    "a step that is null": _GOOD.replace('"step": 20', '"step": null'),
    "a missing key": json.dumps(evaluation(20, 0.5, step="missing")),
    "a missing key that is null elsewhere": json.dumps(evaluation(20, 0.5, gpu_joules="missing")),
    "a byte order mark": "\ufeff" + _GOOD,
    "a Windows line end": _GOOD + "\r",
    "a zero byte": _GOOD + "\0",
}


@pytest.mark.parametrize("what", ODD_LINES)
def test_an_odd_line_is_read_or_refused_as_by_the_careful_reader(tmp_path: Path, what: str):
    lines = [evaluation(10, 0.4), evaluation(20, 0.5), evaluation(30, 0.6)]
    folder = write(tmp_path, trial(steps=30, last=lines[-1]), lines)
    finished(tmp_path, [0.5], seed=1)
    path = folder / "evals.jsonl"
    first, _, last = path.read_text().splitlines()
    path.write_text(f"{first}\n{ODD_LINES[what]}\n{last}\n")
    expected, refused = careful(folder)
    if refused:
        found = collect(tmp_path)
        assert [(each.where, each.why) for each in found.unreadable] == [("made-up/scratch/1/seed-0", refused)]
        assert set(found.trials["seed"]) == set(found.evals["seed"]) == {1}
        assert f"{path}:2: not an evaluation" in refused or "finished, but evaluation 2" in refused
    else:
        evals = collect(tmp_path).evals
        mine = evals[evals["seed"] == 0][list(expected)]
        assert_frame_equal(mine, expected.astype(mine.dtypes.to_dict()), check_exact=True)


def careful(folder: Path) -> tuple[pd.DataFrame, str]:
    """Return (the evaluations, nothing), or why they are refused."""
    try:
        return pd.DataFrame([row.model_dump() for row in verified_evals(folder, read_trial(folder))]), ""
    except RecordError as cause:
        return pd.DataFrame(), str(cause)


def left_out(results: Path) -> dict[str, str]:
    """Return folder -> why of what cannot be read, which must be the same from a collected file, and without one."""
    directly = collect(results, never)
    write_collected(results)
    assert_same(collect(results, never), directly)
    assert collect(results, never).unreadable == directly.unreadable
    (results / "records.parquet").unlink()
    keys = directly.trials[["scenario", "strategy", "seed"]].itertuples(index=False, name=None)
    assert not {f"{scenario}/{strategy}/1/seed-{seed}" for scenario, strategy, seed in keys} & {
        each.where for each in directly.unreadable
    }
    return {each.where: each.why for each in directly.unreadable}


def test_a_torn_last_line_of_a_finished_trial_leaves_that_trial_out(results: Path):
    path = results / "made-up/scratch/1/seed-0/evals.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    why = f"{path}:4: not an evaluation (torn: no newline at its end). Run the trial again."
    assert left_out(results) == {"made-up/scratch/1/seed-0": why}
    assert len(collect(results).trials) == 12


def test_a_torn_line_that_the_next_file_completes_is_refused(tmp_path: Path):
    lines = [evaluation(10, 0.4), evaluation(20, 0.5)]
    for seed in (0, 1, 2):
        write(tmp_path, trial(steps=20, seed=seed, last=lines[-1]), lines)
    one, other = (tmp_path / f"made-up/scratch/1/seed-{seed}/evals.jsonl" for seed in (0, 1))
    text = one.read_text()
    cut = len(text) - 30
    one.write_text(text[:cut])
    other.write_text(text[cut:] + other.read_text())
    found = left_out(tmp_path)
    assert "seed-0/evals.jsonl:2: not an evaluation (torn" in found["made-up/scratch/1/seed-0"]
    assert "seed-1/evals.jsonl:1: not an evaluation" in found["made-up/scratch/1/seed-1"]
    assert len(found) == 2


def test_evaluations_that_end_early_are_left_out(results: Path):
    path = results / "made-up/short/0.5/seed-1/evals.jsonl"
    for kept, end in ((1, 10), (0, 0)):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:kept]))
        why = f"{path.parent}: finished, but its evaluations end at step {end}, expected 20. Run it again."
        assert left_out(results) == {"made-up/short/0.5/seed-1": why}
    path.unlink()
    assert "end at step 0, expected 20" in left_out(results)["made-up/short/0.5/seed-1"]


LINES_OF_A_TRIAL = {
    "one is missing": [0, 2, 3],
    "one is there twice": [0, 1, 1, 2, 3],
    "two are in another order": [1, 0, 2, 3],
    "a whole run was appended": [0, 1, 2, 3, 0, 1, 2, 3],
}


@pytest.mark.parametrize("what", LINES_OF_A_TRIAL)
def test_evaluations_that_are_not_those_of_the_grid_are_left_out(results: Path, what: str):
    path = results / "made-up/scratch/1/seed-1/evals.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[place] for place in LINES_OF_A_TRIAL[what]))
    (where, why), *others = left_out(results).items()
    assert (where, others) == ("made-up/scratch/1/seed-1", [])
    assert re.search(r"finished, but evaluation \d of evals.jsonl is at step \d+, expected \d+", why)
    assert ("readable", where) in {(each.rule, each.where) for each in check_results(results).violations}


def test_a_number_that_changed_since_the_trial_ended_is_noticed(tmp_path: Path):
    sealed = finished(tmp_path, [0.25, 0.5], seed=1, schema_version=7)
    finished(tmp_path, [0.25, 0.5], seed=2, schema_version=7)
    path = sealed / "evals.jsonl"
    assert left_out(tmp_path) == {}
    path.write_text(path.read_text().replace('"validation_accuracy": 0.25', '"validation_accuracy": 0.35'))
    assert "changed since the trial ended" in left_out(tmp_path)["made-up/scratch/1/seed-1"]
    assert "readable" in {each.rule for each in check_results(tmp_path).violations}


def test_a_diverged_trials_evaluations_are_verified_too(tmp_path: Path):
    lines = [evaluation(10, 0.4), evaluation(20, 0.1, train_loss=None)]
    ended = {"status": "diverged", "diverged": {"step": 20, "loss": "nan", "why": "not a finite loss"}}
    folder = write(tmp_path, trial(steps=40, schema_version=7, **ended), lines)
    finished(tmp_path, [0.25, 0.5, 0.6, 0.7], seed=2)
    assert left_out(tmp_path) == {}
    assert collect(tmp_path).evals.groupby("seed")["step"].apply(list).to_dict() == {
        0: [10, 20, 30, 40],
        2: [10, 20, 30, 40],
    }
    path = folder / "evals.jsonl"
    path.write_text(path.read_text().replace("0.4", "0.5"))
    assert list(left_out(tmp_path)) == ["made-up/scratch/1/seed-0"]
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    assert "diverged, but its evaluations end at step 10, expected 20" in left_out(tmp_path)["made-up/scratch/1/seed-0"]


@pytest.mark.parametrize("as_copied", ["with Windows line ends", "with a byte order mark"])
def test_a_copy_with_other_line_ends_is_the_same_record(tmp_path: Path, as_copied: str):
    folder = finished(tmp_path, [0.25, 0.5], seed=1, schema_version=7)
    before = collect(tmp_path)
    for name in ("trial.json", "evals.jsonl"):
        content = (folder / name).read_bytes()
        changed = content.replace(b"\n", b"\r\n") if "line ends" in as_copied else b"\xef\xbb\xbf" + content
        (folder / name).write_bytes(changed)
    assert left_out(tmp_path) == {}
    assert_same(collect(tmp_path), before)


@pytest.mark.parametrize(
    "damage", ["{", "", "[" * 100_000, '{"schema_version": 2}', "null", '{"schema_version": ' + "9" * 5000]
)
def test_a_trial_json_that_cannot_be_read_leaves_that_trial_out(results: Path, damage: str):
    path = results / "made-up/scratch/1/seed-0/trial.json"
    path.write_text(damage)
    ((where, why),) = left_out(results).items()
    assert where == "made-up/scratch/1/seed-0"
    assert why.startswith(f"{path}: not a trial's record (")
    assert "\n" not in why


MISSING_OR_SURPLUS: dict[str, tuple[Callable[[dict], object], str]] = {
    "missing": (lambda record: record.pop("horizon"), "horizon: missing"),
    "deep": (lambda record: record["provenance"].pop("cpu"), "provenance.cpu: missing"),
    "surplus": (lambda record: record["summary"].update(colour="red"), "summary.colour: unknown key"),
    "in a copy": (
        lambda record: record["scenario"]["training"].pop("batch_size"),
        "scenario: training.batch_size: missing",
    ),
    "of another type": (
        lambda record: record["strategy"].update(name=[1]),
        "strategy: name: found [1], expected a valid string",
    ),
    "another place": (lambda record: record["scenario"].update(name="../up"), "scenario: name: found '../up'"),
    "a seed too large": (
        lambda record: record.update(seed=2**63),
        "seed: found 9223372036854775808, expected less than or equal",
    ),
    "an endless grid": (
        lambda record: record.update(total_steps=10**11, summary=record["summary"] | {"steps": 10**11}),
        "total_steps: found",
    ),
    "no digest": (lambda record: record.update(schema_version=7), "evals_sha256: missing in a trial that is finished"),
    "no summary": (lambda record: record.update(summary=None), "summary: missing in a trial that is finished"),
}


@pytest.mark.parametrize("what", MISSING_OR_SURPLUS)
def test_a_key_that_is_missing_or_surplus_is_named_with_its_file(results: Path, what: str):
    path, (change, said) = results / "made-up/scratch/1/seed-0/trial.json", MISSING_OR_SURPLUS[what]
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    ((_, why),) = left_out(results).items()
    assert why.startswith(f"{path}: not a trial's record (")
    assert said in why


def test_a_record_that_lies_twice_counts_once_and_the_copy_is_named(results: Path):
    first = results / "made-up/scratch/1/seed-1"
    shutil.copytree(first, first.with_name("seed-3"))
    ((where, why),) = left_out(results).items()
    assert where == "made-up/scratch/1/seed-3"
    assert f"{first.with_name('seed-3')}: a copy of {first}" in why


def test_a_results_folder_elsewhere_reads_the_same(results: Path, tmp_path: Path):
    before = collect(results)
    write_collected(results)
    moved = tmp_path / "else" / "where"
    moved.parent.mkdir()
    results.rename(moved)
    assert_same(collect(moved, never), before)
    copied = Path(shutil.copytree(moved, tmp_path / "copied"))
    assert_same(collect(copied), before)
    (tmp_path / "linked").symlink_to(copied)
    assert_same(collect(tmp_path / "linked"), before)


def test_totals_beyond_64_bits_are_floats(tmp_path: Path):
    large = 2**63 + 2**20
    lines = [evaluation(10, 0.5, train_flops=5), evaluation(20, 0.6, train_flops=large)]
    write(tmp_path, trial(steps=20, last=lines[-1]), lines)
    directly = collect(tmp_path)
    assert directly.evals["train_flops"].tolist() == [5.0, float(large)]
    assert directly.evals["aux_flops"].dtype == "int64"
    write_collected(tmp_path)
    assert_same(collect(tmp_path, never), directly)


def test_a_number_beyond_64_bits_that_the_summary_lacks_is_refused(tmp_path: Path):
    lines = [evaluation(10, 0.5, train_flops=2**64), evaluation(20, 0.6)]
    write(tmp_path, trial(steps=20, last=lines[-1]), lines)
    finished(tmp_path, [0.5], seed=1)
    assert "evals.jsonl: a number above 9223372036854775807" in left_out(tmp_path)["made-up/scratch/1/seed-0"]


def test_without_a_finished_trial_there_are_no_evaluations(tmp_path: Path):
    write(tmp_path, trial(), [evaluation(10, 0.5)])
    directly = collect(tmp_path)
    assert (len(directly.trials), len(directly.evals)) == (1, 0)
    assert write_collected(tmp_path).evals == 0
    assert_same(collect(tmp_path, never), directly)


def test_without_trials_there_is_nothing_to_collect(tmp_path: Path):
    with pytest.raises(RecordError, match="no trials, expected at least one"):
        write_collected(tmp_path)
    with pytest.raises(RecordError, match="no such results folder"):
        write_collected(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_output_is_refused_in_one_line(results: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "records.parquet", tmp_path / "folder"):
        with pytest.raises(WriteError, match=r"cannot be written|not a regular file, and never replaced") as found:
            write_collected(results, path)
        assert "\n" not in str(found.value)
    assert not list(tmp_path.glob(".*.part*"))


def test_a_failed_write_leaves_the_old_file(results: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_collected(results).path
    old = path.read_bytes()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(parquet, "_write", full)
        with pytest.raises(WriteError, match=r"cannot be written \(No space left on device\)"):
            write_collected(results)
    assert path.read_bytes() == old
    assert list(results.glob("records.parquet*")) == [path]


def test_a_kill_while_collecting_leaves_the_old_file(results: Path):
    path = write_collected(results).path
    old = path.read_bytes()
    code = f"""
import sys, time
from pathlib import Path
from bench.records import collect, parquet
def slow(file, *_):
    file.write(b"PAR1"); file.flush(); print("writing", flush=True); time.sleep(60)
parquet._write = slow
collect.write_collected(Path({str(results)!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert path.read_bytes() == old
    collect(results, never)


def test_a_collected_file_elsewhere_is_a_copy_that_is_not_looked_for(results: Path, tmp_path: Path):
    found = write_collected(results, tmp_path / "sent" / "all.parquet")
    assert found.path.is_file()
    assert not (results / "records.parquet").exists()
    assert len(pd.read_parquet(found.path)) == found.evals


def test_a_checked_folder_may_hold_a_collected_file(tmp_path: Path):
    finished(tmp_path, [0.5, 0.6])
    before = check_results(tmp_path)
    write_collected(tmp_path)
    assert check_results(tmp_path) == before
    assert before.violations == ()
