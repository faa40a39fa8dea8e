"""The contract of a strategy: each rule that is broken is named, and honest strategies keep all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.cli.main import main
from bench.execution.contract import RULES, RuleCheck, Verdict, check_contract

BREAKERS = Path(__file__).parents[1] / "strategies" / "breakers"
# Each rule that takes a run of its own is checked only where it is to be found broken.
CASES = {
    "raises_in_a_hook": ("runs", "Odd: failed with ValueError: no idea"),
    "wrong_shape": ("runs", "choose returned (108, 1) torch.int64, expected a vector"),
    "nan_weights": ("finite", "is not"),
    "changes_the_scenario": ("scenario", "it changed it"),
    "writes_to_held_out_images": ("images", "it changed them"),
    "opens_the_network": ("network", "asked for getaddrinfo 127.0.0.1"),
    "another_each_time": ("deterministic", "a second run gave other weights"),
    "forgets_when_it_resumes": ("resumes", "it ended with other weights"),
    "hidden_randomness": ("streams", "drew from PyTorch's global generator"),
    "computes_for_nothing": ("charges", "FLOPs counted"),
    "looks_at_held_out_labels": ("held-out", "it learned something else"),
}


def check(reference: str | Path, *rules: str) -> dict[str, Verdict]:
    said: list[dict[str, Any]] = []
    RuleCheck(str(reference), said.append, rules).check()
    return {each["rule"]: Verdict(**each) for each in said if "rule" in each}


@pytest.mark.parametrize("name", CASES)
def test_each_breaker_is_named_by_the_rule_that_it_breaks(name: str):
    rule, said = CASES[name]
    found = check(BREAKERS / f"{name}.py", rule)
    assert [each.rule for each in found.values() if each.state == "broken"] == [rule]
    assert said in found[rule].said


def test_every_file_of_the_folder_is_tested():
    assert {path.stem for path in BREAKERS.glob("*.py")} == {*CASES, "loops_at_import", "cannot_be_sent"}


def test_a_field_that_cannot_be_sent_is_named():
    found = check(BREAKERS / "cannot_be_sent.py", "picklable")
    broken = {each.rule: each.said for each in found.values() if each.state == "broken"}
    assert broken.keys() <= {"picklable", "loads"}
    assert broken


def test_an_honest_strategy_keeps_every_rule():
    found = check("naive", *(set(RULES) - {"compiled", "cuda"}))
    assert {each.rule: each.said for each in found.values() if each.state != "kept"} == {}
    assert set(found) == set(RULES) - {"compiled", "cuda"}
    assert found["time"].said.endswith(" times")


def test_an_import_that_never_ends_is_ended_and_named_by_the_command():
    file = str(BREAKERS / "loops_at_import.py")
    result = CliRunner().invoke(main, ["check-strategy", file, "--load-seconds", "0.5", "--format", "json"])
    assert result.exit_code == 1
    said = json.loads(result.stdout)["rules"][0]
    assert said == {"rule": "loads", "state": "broken", "said": "did not come back within 0.5 s"}
    assert len(result.stderr.splitlines()) == 1
    assert "breaks 1 rule: loads" in result.stderr


def test_a_process_that_ends_by_itself_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    python = tmp_path / "python"
    python.write_text('#!/bin/bash\necho \'{"begins": "loads"}\' >&$4\nexit 7\n')
    python.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))
    found = check_contract("naive")
    assert not found.ok
    assert found.verdicts[0] == Verdict("loads", "broken", "its process ended with exit code 7")
    assert found.verdicts[1] == Verdict("runs", "not checked", "after loads")
