"""The results card says what the leaderboard says, of the records that it says."""

from __future__ import annotations

import re

import pytest

import bench
from bench.catalog import shipped_folder
from bench.reporting.card import results_card
from tests.cli.test_main import bench as command

NAME = "mnist-usps"


def tables(card: str) -> dict[str, list[dict[str, str]]]:
    """Return the tables of a card by the headings above them: rows as heading -> cell."""
    found: dict[str, list[dict[str, str]]] = {}
    heading, names = "", []
    for line in card.splitlines():
        if line.startswith("#"):
            heading, names = line.lstrip("# "), []
        elif line.startswith("| ") and not line.startswith(("| ---", "| |")):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not names:
                names = cells
            else:
                found.setdefault(heading, []).append(dict(zip(names, cells, strict=True)))
    return found


def test_it_has_the_leaderboards_values_and_the_records_origin():
    results = bench.load_results(shipped_folder("results"))
    board, trials = results.leaderboard(NAME), results.trials
    card = board.card()
    shown = tables(card)
    rows = board.frame.to_dict("records")
    assert len(shown["Strategies"]) == len(rows)
    for row, cells in zip(rows, shown["Strategies"], strict=True):
        assert cells["strategy"].partition("@")[0] == row["strategy"]
        assert float(cells["horizon"]) == pytest.approx(row["horizon"])
        bound, _, value = cells["speedup, FLOPs"].partition(" (")[0].rpartition(" ")
        assert (float(value), bound) == (round(row["value_flops"], 2), "<" if row["relation_flops"] == "<" else "")
        if row["low_flops"] == row["low_flops"]:
            assert f"({row['low_flops']:.2f} to {row['high_flops']:.2f})" in cells["speedup, FLOPs"]
        reached = cells["seeds"].split(" ")
        assert int(reached[-1]) == row["n"]
        assert float(cells["validation"].split(" ")[0]) == round(row["validation_accuracy"], 4)
    over = {cells["strategy"]: cells for cells in shown["Over several horizons"]}
    for row in results.frontier(NAME).frame.to_dict("records"):
        assert f"{row['value']:.2f}" in over[row["strategy"]]["frontier speedup, FLOPs"]
    mine = trials[(trials["scenario"] == NAME) & (trials["status"] == "finished")]
    head = card.partition("##")[0]
    facts = dict(re.findall(r"^\| ([a-z ]+) \| (.*) \|$", head, re.MULTILINE))
    assert head.startswith(f"# Results card: {rows[0]['scenario_title']}\n")
    assert board.verdict.splitlines()[0] in head
    assert facts["scenario"] == f"`{NAME}` (content `{mine['scenario_hash'].iloc[0]}`)"
    assert facts["data digest"] == f"`{mine['data_hash'].iloc[0]}`"
    assert facts["rules version"] == f"{rows[0]['rules_version']}"
    assert facts["seeds"] == ", ".join(map(str, sorted(set(mine["seed"]))))
    for name in {name for row in rows for name in row["commit"].split(" / ")}:
        assert f"`{name}`" in facts["commit"]
    assert set(mine["command"]) <= set(card.splitlines())


def test_open_and_imported_rows_stand_apart_and_threats_are_said():
    results = bench.load_results(shipped_folder("results") / "examples")
    board = results.leaderboard("glyphs-32-15")
    frame = board.frame.assign(imported=False, division="closed")
    last = len(frame) - 1
    frame.loc[last, ["imported", "division"]] = [True, None]
    frame.loc[last - 1, "division"] = "open"
    card = results_card(frame, board.cells, board.over_horizons.iloc[:0], board.origin)
    shown = tables(card)
    names = [cells["strategy"] for cells in shown["Strategies"]]
    assert len(names) == len(frame) - 2
    assert [cells["strategy"] for cells in shown["Open division: loops of their own, not ranked"]] == [
        frame["strategy"][last - 1]
    ]
    assert [cells["strategy"] for cells in shown["Imported: curves from elsewhere, not audited"]] == [
        frame["strategy"][last]
    ]
    threats = card.partition("## Threats to validity")[2].partition("##")[0]
    assert "Few seeds (3, fewer than 5)" in threats
    assert "scratch's own seeds" in threats
    assert "lwf@0.7" in threats


def test_the_command_prints_a_card_for_each_update():
    found = command("leaderboard", "--results", shipped_folder("results"), "--scenario", NAME, "--format", "card")
    assert found.exit_code == 0, found.output
    assert found.stdout == bench.load_results(shipped_folder("results")).leaderboard(NAME).card()
    chain = command(
        "leaderboard", "--results", shipped_folder("results"), "--scenario", "digits-4-2-2-2", "--format", "card"
    )
    assert chain.stdout.count("# Results card: ") == 3
    assert "| update | 2 of 3 |" in chain.stdout
