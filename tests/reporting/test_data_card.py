"""Exported records are read without bench, and the README beside them says what each column means."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from bench.api.results import load_results
from bench.catalog import shipped_folder
from bench.errors import RecordError
from bench.records.export import write_tables
from tests.cli.test_main import bench, refused

KEY = ["scenario", "strategy", "horizon", "seed", "update"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("some") / "results"
    for name in ("glyphs-sans-serif", "cifar100-70-30"):
        shutil.copytree(shipped_folder("results") / name, folder / name)
    return folder


def test_both_tables_are_what_results_hold_and_join_by_the_key(results: Path, tmp_path: Path):
    done = bench("collect", "--results", results, "--export", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        str(tmp_path / "out" / name) for name in ("trials.parquet", "evaluations.parquet", "README.md")
    ]
    assert not (results / "records.parquet").exists()
    trials, evaluations = (pd.read_parquet(tmp_path / "out" / f"{name}.parquet") for name in ("trials", "evaluations"))
    found = load_results(results, seeds="all")
    assert (len(trials), len(evaluations)) == (18, len(found.evaluations))
    for name in ("train_flops", "validation_accuracy", "weights_sha256"):
        assert trials[name].tolist() == found.trials[name].tolist()
    both = evaluations.merge(trials, on=KEY, suffixes=("", "_total"))
    assert len(both) == len(evaluations)
    last = both.groupby(KEY).last()
    assert (last["train_flops"] == last["train_flops_total"]).all()


def test_the_readme_has_each_scenario_and_the_meaning_of_each_column(results: Path, tmp_path: Path):
    (*_, readme) = load_results(results).export(tmp_path)
    text = readme.read_text(encoding="utf-8")
    assert "18 trials" in text
    assert re.search(r"^\| `glyphs-sans-serif` .* naive, optimized, scratch \| 0, 1, 2 \| 9 \|", text, re.MULTILINE)
    for name in ("trials", "evaluations"):
        part = text.partition(f"## Columns of `{name}.parquet`")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| `(\w+)` \| [a-z ]+ \| [\d,]* \| (\S.*) \|$", part, re.MULTILINE)
        assert [name for name, _ in rows] == pd.read_parquet(tmp_path / f"{name}.parquet").columns.tolist()
    code = text.partition("```python\n")[2].partition("```")[0].replace('read_parquet("', f'read_parquet("{tmp_path}/')
    names: dict[str, pd.DataFrame] = {}
    exec(code, names)
    assert len(names["both"]) == len(names["evaluations"])


def test_dictionaries_become_json_and_numbers_among_nothing_stay_numbers(tmp_path: Path):
    trials = pd.DataFrame(
        {"a": [None, {"x": 1}], "b": [None, 2], "c": [None, None], "d": ["t", None], "e": pd.Series([True, False])}
    )
    write_tables(tmp_path, trials, trials.astype({"d": "category"}), lambda *tables: "read\n")
    read = pd.read_parquet(tmp_path / "trials.parquet")
    assert read["a"].isna().tolist() == [True, False]
    assert read["a"][1] == '{"x": 1}'
    assert read["b"].iloc[1] == 2
    assert read["b"].dtype.kind == "f"
    assert read["c"].isna().all()
    assert read["e"].tolist() == [True, False]


def test_nothing_to_write_and_two_places_are_one_line(results: Path, tmp_path: Path):
    with pytest.raises(RecordError, match="no trials to write"):
        write_tables(tmp_path / "none", pd.DataFrame(), pd.DataFrame(), lambda *tables: "")
    assert not (tmp_path / "none").exists()
    both = ["collect", "--results", results, "--export", tmp_path / "a", "--output", tmp_path / "b"]
    assert refused(bench(*both)).startswith("bench: --export, --output: found both, expected one. Leave one out.")
