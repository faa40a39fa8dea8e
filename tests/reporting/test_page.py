from __future__ import annotations

import base64
import hashlib
import shlex
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest

from bench.analysis.ranking.leaderboard import leaderboard
from bench.cli.main import main
from bench.records.collect import Records
from bench.reporting.page import pictures, write_page
from bench.reporting.page.repeat import repeat_commands, seeds_text
from bench.reporting.tables import leaderboard_cells
from tests.reporting.page_reader import Element, cells, entries, read_page
from tests.reporting.page_records import COMMIT, made_up

EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</noscript><script>alert(2)</script>",
    "</style><!-- ' onclick='alert(3)",
]


def page_of(*parts: Records, folder: Path, **options) -> Element:
    return read_page(write_page(parts, folder, **options).read_text(encoding="utf-8"))


def fact(entry: Element, name: str) -> str:
    return next(
        pair.all("dd")[0].text for pair in entry.all("div") if pair.all("dt") and pair.all("dt")[0].text == name
    )


def table(entry: Element, caption: str) -> list[list[str]]:
    (found,) = [each for each in entry.all("table") if each.all("caption")[0].text.startswith(caption)]
    return [[cell.text for cell in row.all() if cell.tag in ("th", "td")] for row in found.all("tr")]


def test_the_page_s_cells_are_those_of_the_tables(tmp_path: Path):
    part = made_up(["fast", "slow", "weak"], points=20)
    expected = leaderboard_cells(leaderboard(part.trials, part.evals))
    page = page_of(part, folder=tmp_path)
    assert [cells(entry) for entry in entries(page)] == [list(row) for row in expected.rows]
    (board,) = page.all("table", class_="leaderboard")
    assert [button.text for button in board.all("button", class_="sort")] == [
        column.heading for column in expected.columns
    ]
    assert "provisional (mean of scratch's 3 seeds)" in board.all("caption")[0].text
    assert [note.text for note in page.all("p", class_="note")] == list(expected.notes)
    assert any(cell.startswith("< ") for entry in entries(page) for cell in cells(entry))


def test_every_row_has_the_commands_that_reproduce_it_and_bench_run_accepts_them(tmp_path: Path):
    found = entries(page_of(made_up(["fast", "weak"]), folder=tmp_path))
    assert len(found) == 3
    for entry in found:
        commands = [code.text for code in entry.all("code")]
        name = cells(entry)[1]
        horizon = 1.0 if name == "scratch" else 0.5
        whole = click.Context(main, info_name="bench", **main.context_settings)  # whose settings its commands keep
        words = [shlex.split(command)[2:] for command in commands]
        asked = [main.commands["run"].make_context("run", each, parent=whole).params for each in words]
        assert [params["strategies"] for params in asked][-1] == ((name if name == "scratch" else f"./{name}.py"),)
        assert asked[0]["strategies"] == ("scratch",)
        assert asked[-1]["horizons"] == (horizon,)
        assert all(params["seeds"] == (0, 1, 2) and params["scenarios"] == ("./made-up.toml",) for params in asked)


def test_shipped_strategies_are_given_by_name_and_a_users_own_by_file():
    (reference, command) = repeat_commands("digits-7-3", "naive", 0.5, [0, 1, 2, 5], own=False)
    assert reference == "bench run --scenario digits-7-3 --strategy scratch --horizon 1 --seeds 0-2,5"
    assert command == "bench run --scenario digits-7-3 --strategy naive --horizon 0.5 --seeds 0-2,5"
    assert "--strategy ./naive.py " in repeat_commands("digits-7-3", "naive", 0.5, [0], own=True)[-1]
    assert len(repeat_commands("digits-7-3", "scratch", 1.0, [0], own=False)) == 1
    variant = repeat_commands("digits-7-3", "naive[start.x=1]", 1.0, [0], own=False)[-1]
    assert "--strategy 'naive[start.x=1]' " in variant
    assert "--strategy './mine.py[start.x=1]' " in repeat_commands("s", "mine[start.x=1]", 1.0, [0], own=True)[-1]
    assert "--strategy ./mine.py:half " in repeat_commands("s", "mine.half", 1.0, [0], own=True)[-1]
    assert "--strategy ./mine-1.5.py " in repeat_commands("s", "mine-1.5", 1.0, [0], own=True)[-1]
    assert "'./a b; rm.py'" in repeat_commands("digits-7-3", "a b; rm", 1.0, [0], own=True)[-1]


@pytest.mark.parametrize(("seeds", "text"), [([0, 1, 2], "0-2"), ([4], "4"), ([7, 0, 2, 1], "0-2,7"), ([], "")])
def test_seeds_are_written_as_the_command_accepts_them(seeds: list[int], text: str):
    assert seeds_text(seeds) == text


def test_a_row_opens_to_costs_accuracies_seeds_and_where_it_comes_from(tmp_path: Path):
    part = made_up(["fast", "weak"])
    fast = entries(page_of(part, folder=tmp_path))[1]
    assert cells(fast)[1] == "fast"
    costs = table(fast, "Cost to the target")
    assert costs[0] == ["currency", "speedup", "95 % interval", "cost", "one evaluation earlier", "old model"]
    assert [
        "FLOPs",
        "2.00",
        "none: all 3 seeds crossed at one evaluation",
        "2.020e+04",
        "1.010e+04",
        "5.000e+03",
    ] in costs
    assert [row[0] for row in costs[1:]] == ["steps", "images", "FLOPs", "device s"]  # joules were not measured
    accuracies = table(fast, "Accuracy")
    assert accuracies[0] == ["accuracy", "all", "old", "new"]
    assert ["validation, at the end", "0.9010 ± 0.0010", "0.9110 ± 0.0010", "0.8810 ± 0.0010"] in accuracies
    assert [
        "test, at the crossing, or next measured",
        "0.8960 ± 0.0010",
        "0.9060 ± 0.0010",
        "0.8760 ± 0.0010",
    ] in accuracies
    seeds = table(fast, "Each seed")
    assert [row[:4] for row in seeds[1:]] == [[str(seed), "finished", "yes", "2.020e+04"] for seed in range(3)]
    assert seeds[2][-6:] == ["0.9010", "0.9110", "0.8810", "0.8960", "0.9060", "0.8760"]
    assert fact(fast, "Commit") == COMMIT
    assert fact(fast, "Code") == "as committed"
    assert fact(fast, "Software") == "Python 3.11.7, torch 2.6.0, numpy 2.0.0"
    assert fact(fast, "Versions") == "rules 1, training 1"
    assert fact(fast, "Strategy hash") == "hash of fast"
    assert fact(fast, "Scenario hash") == "5ce0"
    assert fact(fast, "Seeds in the row") == "0-2 (n = 3)"
    assert fact(fast, "Device") == "A card"


def test_a_row_that_missed_has_no_crossing_and_says_so(tmp_path: Path):
    weak = entries(page_of(made_up(["fast", "weak"]), folder=tmp_path))[-1]
    assert "< 2.00" in cells(weak)
    assert ["validation, at the crossing", "-", "-", "-"] in table(weak, "Accuracy")
    assert {row[3] for row in table(weak, "Each seed")[1:]} == {"not held"}


def test_missing_unfinished_and_modified_are_reported(tmp_path: Path):
    part = made_up(["fast"])
    trials, evals = part.trials.copy(), part.evals
    failed = (trials["strategy"] == "fast") & (trials["seed"] == 2)
    trials.loc[failed, ["status", "reason"]] = ["failed", "TrialError: no memory"]
    trials.loc[trials["strategy"] == "fast", "modified"] = True
    evals = evals[~((evals["strategy"] == "fast") & (evals["seed"] == 2))]
    fast = entries(page_of(Records(trials, evals), folder=tmp_path))[1]
    assert cells(fast)[1:3] == ["fast (modified)", "0.5"]
    assert cells(fast)[4] == "2 of 2 (1 unfinished, 1 missing)"
    assert fact(fast, "Code").startswith("modified")
    assert fact(fast, "Seeds in the row") == "0-1 (n = 2), 1 missing, 1 unfinished"
    last = table(fast, "Each seed")[-1]
    assert last[:4] == ["2", "failed: TrialError: no memory", "no", "-"]
    assert set(last[4:]) == {"-"}


def test_seeds_of_a_published_target_are_shown_and_not_in_the_row(tmp_path: Path):
    part = made_up(["fast"], seeds=8)
    published = {
        "published_accuracy": 0.8,
        "published_std": 0.01,
        "published_seeds": "0 1 2 3 4",
        "published_source": "here",
    }
    trials = part.trials.assign(**published, published_steps=None)
    page = page_of(Records(trials, part.evals), folder=tmp_path)
    fast = entries(page)[0]
    assert "published" in page.all("table", class_="leaderboard")[0].all("caption")[0].text
    assert fact(fast, "Seeds in the row") == "5-7 (n = 3)"
    assert [row[2] for row in table(fast, "Each seed")[1:]] == ["no"] * 5 + ["yes"] * 3


def test_a_strategys_pieces_are_shown_as_they_are_written(tmp_path: Path):
    part = made_up(["fast"])
    pieces = '{"start": {"type": "Keep"}, "selection": {"type": "OldShare", "share": 0.5}, "source": null}'
    fast = entries(page_of(Records(part.trials.assign(pieces=pieces), part.evals), folder=tmp_path))[0]
    assert fact(fast, "Pieces") == "Keep(), OldShare(share=0.5)"


def test_everything_in_a_record_stays_text(tmp_path: Path):
    names = dict(zip("abcd", EVIL, strict=True))
    part = made_up(list(names), titles=names, device=EVIL[1])
    trials, evals = part.trials.copy(), part.evals.copy()
    for column, evil in {"scenario_title": EVIL[0], "command": EVIL[2], "packages": EVIL[0], "commit": EVIL[3]}.items():
        trials[column] = evil
    for frame in (trials, evals):
        frame["strategy"] = frame["strategy"].replace({"d": EVIL[0], "c": EVIL[2]})
    tmp_path.joinpath("made-up").mkdir()
    figure = tmp_path / "made-up" / "accuracy-flops.png"
    figure.write_bytes(b"\x89PNG")
    figure.with_name("accuracy-flops.caption.txt").write_text(EVIL[2])
    page = page_of(Records(trials, evals), folder=tmp_path, written=[figure])
    assert len(page.all("script")) == 1
    assert len(page.all("style")) == 1
    assert len(page.all("img")) == 1
    assert not [name for element in page.all() for name in element.attributes if name.startswith("on")]
    for evil in EVIL:
        assert evil in page.text
    assert [cells(entry)[1] for entry in entries(page)].count(EVIL[2]) == 1
    assert entries(page)[0].attributes["data-device"] == EVIL[1]


def test_the_policy_allows_only_the_pages_own_script_and_style(tmp_path: Path):
    page = page_of(made_up(["fast"]), folder=tmp_path)
    (policy,) = [meta.attributes["content"] for meta in page.all("meta", http_equiv="Content-Security-Policy")]
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules.pop("default-src") == "'none'"
    assert rules.pop("img-src") == "data:"
    for tag in ("script", "style"):
        (element,) = page.all(tag)
        content = "".join(part for part in element.texts if isinstance(part, str))
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules.pop(f"{tag}-src") == f"'sha256-{digest}'"
    assert rules == {"base-uri": "'none'", "form-action": "'none'"}


def test_nothing_is_loaded_from_anywhere(tmp_path: Path):
    page = page_of(made_up(["fast"]), made_up(["fast"], scenario="other", updates=2), folder=tmp_path)
    for element in page.all():
        for name in ("src", "srcset", "href", "action", "poster", "data", "style"):
            value = element.attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (element.tag, name, value)
    (style,) = page.all("style")
    assert "url(" not in style.text
    assert "@import" not in style.text
    (script,) = page.all("script")
    assert not [word for word in ("fetch", "XMLHttpRequest", "import(", "eval", "http") if word in script.text]


def test_the_same_records_give_the_same_page(tmp_path: Path):
    parts = [made_up(["fast", "weak"]), made_up(["fast", "weak"], scenario="chain", updates=2)]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one, other = (write_page(parts, tmp_path / name).read_bytes() for name in ("a", "b"))
    assert one == other


def test_a_chain_has_its_updates_and_its_whole_life(tmp_path: Path):
    page = page_of(made_up(["fast", "weak"], updates=3), folder=tmp_path)
    assert [heading.text for heading in page.all("h3") if "way" not in heading.text] == [
        "Update 1 of 3",
        "Update 2 of 3",
        "Update 3 of 3",
        "The whole life",
    ]
    assert len(page.all("table", class_="leaderboard")) == 3
    assert any(caption.text.endswith("whole life") for caption in page.all("caption"))


def test_several_scenarios_have_a_pooled_table_and_one_does_not(tmp_path: Path):
    parts = [made_up(["fast", "weak"], scenario=name) for name in ("one", "two")]
    assert "All scenarios together" in [caption.text for caption in page_of(*parts, folder=tmp_path).all("caption")]
    alone = page_of(parts[0], folder=tmp_path, only="one")
    assert "All scenarios together" not in [caption.text for caption in alone.all("caption")]
    assert "This page shows scenario one only" in " ".join(alone.text.split())


def test_several_horizons_have_their_frontier(tmp_path: Path):
    part = made_up(["fast"], points=20)
    trials, evals = (
        pd.concat([frame, frame[frame["strategy"] == "scratch"].assign(strategy="fast")], ignore_index=True)
        for frame in (part.trials, part.evals)
    )
    page = page_of(Records(trials, evals), folder=tmp_path)
    assert "Frontier over horizons" in [caption.text for caption in page.all("caption")]


@pytest.mark.parametrize(
    "part",
    [
        made_up([]),
        made_up(["fast"], seeds=1),
        made_up(["one", "two"], best=0.99),
        made_up([f"s{number}" for number in range(11)]),
        made_up([f"s{number}" for number in range(11)], updates=3),
    ],
    ids=["scratch alone", "one seed", "nearly all censored", "twelve", "a chain of twelve"],
)
def test_a_page_is_well_formed_for_any_records(part: Records, tmp_path: Path):
    page = page_of(part, folder=tmp_path)
    ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
    assert len(set(ids)) == len(ids)
    for element in page.all():
        for name in ("aria-labelledby", "aria-controls"):
            assert element.attributes.get(name) in (None, *ids)
    levels = [int(element.tag[1]) for element in page.all() if element.tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) <= 1
    for each in page.all("table"):
        assert each.all("caption")[0].text
        assert all(heading.attributes.get("scope") in ("col", "row") for heading in each.all("th"))
        widths = {
            len([cell for cell in row.all() if cell.tag in ("td", "th")])
            for row in each.all("tr")
            if not row.all("table")
        }
        assert "leaderboard" in (each.attributes.get("class") or "") or len(widths) == 1
    for landmark in ("header", "main", "footer"):
        assert len(page.all(landmark)) == 1
    assert page.all("a", class_="skip")[0].attributes["href"] == "#main"
    assert page.all("html")[0].attributes["lang"] == "en"


def test_a_strategy_without_a_common_seed_opens_too(tmp_path: Path):
    part = made_up(["late"])
    trials, evals = part.trials.copy(), part.evals.copy()
    for frame in (trials, evals):
        frame.loc[frame["strategy"] == "late", "seed"] += 100
    late = entries(page_of(Records(trials, evals), folder=tmp_path))[-1]
    assert cells(late)[1:5] == ["late", "0.5", "-", "0 (3 missing)"]
    assert [row[2:4] for row in table(late, "Each seed")[1:]] == [["no", "-"]] * 3
    assert fact(late, "Seeds in the row") == "none (n = 0), 3 missing"


def figures_in(folder: Path, *names: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode() * 10)
    return [folder / name for name in names]


def test_figures_are_in_the_page_vector_before_pixels_with_their_captions(tmp_path: Path):
    written = figures_in(
        tmp_path / "made-up",
        "zeal.png",
        "accuracy-flops.png",
        "accuracy-flops.svg",
        "accuracy-flops-column.svg",
        "t.csv",
    )
    (tmp_path / "made-up" / "accuracy-flops.caption.txt").write_text("n = 3 seeds.\n")
    page = page_of(made_up(["fast"]), folder=tmp_path, written=written)
    svg = base64.b64encode(b"accuracy-flops.svg" * 10).decode()
    sources = [image.attributes["src"] for image in page.all("img")]
    assert sources[0] == f"data:image/svg+xml;base64,{svg}"
    assert len(sources) == 2
    captions = [caption.text for caption in page.all("figcaption")]
    assert captions == ["Accuracy against FLOPs. n = 3 seeds.", "Zeal. Drawn from zeal.csv, in the same folder."]


def test_a_chains_figures_are_with_their_update(tmp_path: Path):
    folder = tmp_path / "made-up"
    written = figures_in(folder, "a-update-1.svg", "a-update-2.svg", "life.svg")
    top = figures_in(tmp_path, "performance-profile.svg")
    parts = made_up(["fast"], updates=2), made_up(["fast"], scenario="other")
    page = page_of(*parts, folder=tmp_path, written=[*written, *top])
    first, second, life = page.all("section", class_="scenario")[0].all("div", class_="board")
    assert [len(board.all("img")) for board in (first, second, life)] == [1, 1, 1]
    assert base64.b64encode(b"a-update-2.svg" * 10).decode() in str(second.all("img")[0].attributes["src"])
    assert "Performance profile" in page.all("section", class_="pooled")[0].text


def test_a_figure_that_would_make_the_page_too_large_is_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pictures, "_BYTES_IN_ALL", 50)
    written = figures_in(tmp_path / "made-up", "accuracy-flops.svg")
    page = page_of(made_up(["fast"]), folder=tmp_path, written=written)
    assert not page.all("img")
    assert page.all("figure")[0].all("a")[0].attributes["href"] == "made-up/accuracy-flops.svg"
