from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.catalog import find_strategy
from bench.errors import StrategyError
from bench.strategies.notation import Call, Word, read_setting, read_value, split_reference
from bench.strategies.schedule import MultiStep
from bench.strategies.start import Keep, ShrinkAndPerturb
from bench.strategies.strategy import Entrant, load_strategy
from bench.strategies.variants import expand, vary

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def four_aspects() -> Entrant:
    return load_strategy(find_strategy("four-aspects"))


def asked(*names: str) -> list[tuple[str, Entrant]]:
    return [(name, load_strategy(find_strategy(name))) for name in names]


def named(reference: str) -> Entrant:
    name, settings = split_reference(reference)
    return vary(load_strategy(find_strategy(name)), settings)


def test_a_variant_has_its_value_its_name_and_another_hash(four_aspects: Entrant):
    variant = vary(four_aspects, {"start.shrink": 0.9})
    assert variant.strategy.start == ShrinkAndPerturb(shrink=0.9, perturb=four_aspects.strategy.start.perturb)
    assert variant.name == "four-aspects[start.shrink=0.9]"
    assert variant.strategy.title == "Continuing with four aspects changed, start.shrink=0.9"
    assert variant.hash() != four_aspects.hash()
    assert variant.describe()["name"] == variant.name


@pytest.mark.parametrize(
    ("recorded", "reference"),
    [
        ("four-aspects-kept", "four-aspects[start=Keep]"),
        ("four-aspects-no-l2", "four-aspects[regularizer=NoRegularizer]"),
        ("four-aspects-all-images", "four-aspects[selection=Uniform]"),
        ("four-aspects-long-warmup", "four-aspects[schedule.warmup=0.2]"),
    ],
)
def test_a_variant_is_the_strategy_that_was_once_a_file(recorded: str, reference: str):
    """The hash is what the committed records hold, from when each of these was a file of its own."""
    path = ROOT / f"results/three-seeds/cifar100-70-30-lite/{recorded}/0.4/seed-0/trial.json"
    assert named(reference).hash() == json.loads(path.read_text())["strategy_hash"]
    assert named(reference).name == reference


@pytest.mark.parametrize(
    "reference",
    [
        "four-aspects[start.shrink=0.9,schedule.warmup=0.3]",
        "four-aspects[schedule.warmup=0.3,start.shrink=0.90]",
        "four-aspects[schedule.warmup=3e-1, start=ShrinkAndPerturb(shrink=0.9, perturb=0.02)]",
        "four-aspects[start=ShrinkAndPerturb(shrink=0.5,perturb=0.02),start.shrink=.9,schedule.warmup=0.3,horizon=0.2]",
    ],
)
def test_one_variant_has_one_name_however_it_is_written(reference: str):
    assert named(reference).name == "four-aspects[start.shrink=0.9,schedule.warmup=0.3]"


def test_a_variants_name_names_it_again(four_aspects: Entrant):
    schedule = MultiStep(milestones=(0.3, 0.6), gamma=0.1)
    variant = vary(four_aspects, {"schedule": schedule, "start": Keep(), "selection.drop_fastest": 0.25})
    assert variant.name == (
        "four-aspects[start=Keep,selection.drop_fastest=0.25,schedule=MultiStep(milestones=(0.3,0.6),gamma=0.1)]"
    )
    assert named(variant.name).hash() == variant.hash()


def test_a_name_with_a_tuple_of_words_names_it_again():
    written = named("optimized[freezing.through=('stem', 'stage1')]")
    assert written.name == "optimized[freezing.through=(stem,stage1)]"
    assert named(written.name).hash() == written.hash()


def test_values_of_the_file_and_the_horizon_are_no_part_of_the_name(four_aspects: Entrant):
    same = vary(four_aspects, {"start.shrink": four_aspects.strategy.start.shrink, "horizon": 0.3})
    assert (same.name, same.strategy.horizon) == ("four-aspects", 0.3)
    assert same.hash() == four_aspects.at(0.3).hash()


def test_a_variant_of_a_variant_is_named_after_the_file(four_aspects: Entrant):
    assert vary(vary(four_aspects, {"start.shrink": 0.9}), {"start.perturb": 0.1}).name == (
        "four-aspects[start.shrink=0.9,start.perturb=0.1]"
    )


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (
            {"start.shrnk": 0.9},
            r"four-aspects: start.shrnk: no such field. Did you mean start.shrink\? Use one of start.shrink",
        ),
        ({"strat": 1}, r"four-aspects: strat: no such field. Did you mean start\?"),
        ({"horizon.x": 1}, "four-aspects: horizon.x: no such field"),
        ({"title": "x"}, "four-aspects: title: no such field"),
        ({"start.shrink": Word("much")}, r"four-aspects: start.shrink=much: expected a valid number. Change it."),
        ({"start.shrink": True}, r"four-aspects: start.shrink=True: expected a valid number"),
        ({"start.shrink": float("nan")}, r"four-aspects: start.shrink=nan: expected a finite number"),
        (
            {"start.shrink": 1.5},
            r"four-aspects: start.shrink=1.5: ShrinkAndPerturb: shrink 1.5, .* expected both in 0..1",
        ),
        ({"start.buffers": Word("old")}, r"four-aspects: start.buffers=old: expected 'base' or 'fresh'"),
        (
            {"start": Word("Kept")},
            r"start=Kept: no such piece of this aspect. Did you mean Keep\? Use one of BeforeDecay",
        ),
        (
            {"start": Word("Uniform")},
            r"four-aspects: start=Uniform: no such piece of this aspect. Use one of BeforeDecay, DirectionAwareShrink, Fresh",
        ),
        ({"start": Call("ShrinkAndPerturb", {"shrink": 0.9})}, r"start=ShrinkAndPerturb: perturb missing"),
        ({"start": Call("Keep", {"x": 1})}, r"start=Keep: unknown field x, expected one of: none"),
        (
            {"start": 0.9},
            r"four-aspects: start=0.9: expected a piece, such as NAME or NAME\(FIELD=VALUE,...\), one of BeforeDecay",
        ),
        ({"horizon": "long"}, r"four-aspects: horizon='?long'?: expected a valid number"),
        ({"horizon": 11}, r"four-aspects: Strategy: horizon 11.0, expected above 0 and at most 10"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_strategy_and_field(
    four_aspects: Entrant, settings: dict, complaint: str
):
    with pytest.raises(StrategyError, match=complaint) as raised:
        vary(four_aspects, settings)
    assert "\n" not in str(raised.value)


def test_a_setting_without_a_strategy_is_for_all_but_scratch():
    found = expand(asked("scratch", "naive", "four-aspects"), [read_setting("--set", "schedule.warmup=0.3")])
    assert [each.name for each in found] == [
        "scratch",
        "naive[schedule.warmup=0.3]",
        "four-aspects[schedule.warmup=0.3]",
    ]


def test_a_setting_that_not_every_strategy_has_says_how_to_name_one():
    complaint = r"--set start.shrink=0.9: naive has no start.shrink. Name the strategy .*: --set four-aspects:start.shrink=\.\.\."
    with pytest.raises(StrategyError, match=complaint):
        expand(asked("scratch", "naive", "four-aspects"), [read_setting("--set", "start.shrink=0.9")])
    found = expand(asked("scratch", "naive", "four-aspects"), [read_setting("--set", "four-aspects:start.shrink=0.9")])
    assert [each.name for each in found] == ["scratch", "naive", "four-aspects[start.shrink=0.9]"]


def test_grids_make_their_product():
    grids = [read_setting("--grid", "start.shrink=0.8,0.9"), read_setting("--grid", "horizon=0.2,0.3,0.5")]
    found = [(each.name, each.strategy.horizon) for each in expand(asked("scratch", "four-aspects"), grids)]
    assert found == [
        ("scratch", 1.0),
        *((f"four-aspects[start.shrink={shrink}]", horizon) for shrink in (0.8, 0.9) for horizon in (0.2, 0.3, 0.5)),
    ]


def test_a_grid_over_whole_pieces_splits_at_its_own_commas_only():
    grid = read_setting("--grid", "start=Keep,ShrinkAndPerturb(shrink=0.9,perturb=0.1)")
    assert [each.name for each in expand(asked("four-aspects"), [grid])] == [
        "four-aspects[start=Keep]",
        "four-aspects[start.shrink=0.9,start.perturb=0.1]",
    ]


def test_more_than_a_thousand_strategies_are_refused_before_any_is_made():
    many = ",".join(f"{n / 1000:g}" for n in range(1, 1001))
    grids = [read_setting("--grid", f"start.shrink={many}"), read_setting("--grid", f"start.perturb={many}")]
    with pytest.raises(
        StrategyError, match=r"--grid: 1,000,001 strategies, expected at most 1,000. Give fewer values."
    ):
        expand(asked("scratch", "four-aspects"), grids)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["optimised:horizon=0.3"], "--set optimised:horizon=0.3: optimised is not among the strategies asked for"),
        (["horizon=0.3", "horizon=0.4"], "--set horizon=0.4: horizon is also set by --set horizon=0.3"),
    ],
)
def test_a_setting_for_nobody_or_given_twice_is_refused(settings: list[str], complaint: str):
    with pytest.raises(StrategyError, match=complaint):
        expand(asked("scratch", "four-aspects"), [read_setting("--set", text) for text in settings])


@pytest.mark.parametrize("text", ["", "start.shrink", "=1", "start.shrink=", "a b=1"])
def test_what_is_no_assignment_is_refused_with_an_example(text: str):
    with pytest.raises(StrategyError, match=r"expected \[STRATEGY:\]FIELD=VALUE, such as start.shrink=0.9"):
        read_setting("--set", text)


@pytest.mark.parametrize(
    "text", ["four-aspects[start.shrink]", "[start.shrink=1]", "four-aspects[a=1,,b=2]", "four-aspects]"]
)
def test_a_reference_that_cannot_be_read_is_refused(text: str):
    with pytest.raises(StrategyError, match=r"expected NAME\[FIELD=VALUE,...\]"):
        split_reference(text)


def test_brackets_of_a_path_are_no_settings():
    assert split_reference("./runs[1]/mine.py") == ("./runs[1]/mine.py", {})
    assert split_reference("./runs[1]/mine.py[horizon=0.5]") == ("./runs[1]/mine.py", {"horizon": 0.5})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.9", 0.9),
        ("-1", -1),
        ("True", True),
        ("base", Word("base")),
        ("'base'", "base"),
        ("(0.3, 0.6)", (0.3, 0.6)),
        ("Keep()", Call("Keep", {})),
        ("Cosine(warmup=0.1)", Call("Cosine", {"warmup": 0.1})),
        ("__import__('os').getcwd()", "__import__('os').getcwd()"),
        ("a-b", "a-b"),
    ],
)
def test_a_value_is_a_literal_a_word_or_a_piece_and_never_run(text: str, value: object):
    assert read_value(text) == value


def test_a_piece_of_the_strategys_own_file_can_be_set_and_its_code_is_recorded(tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom bench import *\n"
        "@dataclass(frozen=True)\nclass Later:\n    after: float = 0.5\n"
        "    def factors(self, steps):\n        return [self.after] * steps\n"
        "strategy = Strategy('Mine', start=Keep(), schedule=Linear())\n"
    )
    plain = load_strategy(path)
    assert plain.source is None
    variant = vary(plain, {"schedule": Call("Later", {"after": 0.25})})
    assert variant.name == "mine[schedule=Later(after=0.25)]"
    assert variant.source == path.read_text()


def test_a_variant_that_cannot_name_a_folder_is_refused(tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom bench import *\n"
        "@dataclass(frozen=True)\nclass Named:\n    label: str = 'x'\n"
        "    def factors(self, steps):\n        return [1.0] * steps\n"
        "strategy = Strategy('Mine', start=Keep(), schedule=Named())\n"
    )
    for label in ("../../elsewhere", "x" * 300):
        with pytest.raises(
            StrategyError, match="cannot name a folder, expected at most 200 bytes, no slash and no line break"
        ):
            vary(load_strategy(path), {"schedule.label": label})
