"""Every figure shows what its table says, and nothing else."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from bench.records.collect import Records
from bench.reporting.figures.gallery import sheets, write_overview
from bench.reporting.figures.inks import INKS, MOST_DRAWN, drawn, inks_of, titles_of
from bench.reporting.figures.profile import draw_profile
from bench.reporting.figures.sheet import NO_PICTURES, Prints, Sheet, read_table
from bench.reporting.figures.style import COLUMN, PAGE, styled
from bench.reporting.report import write_report, write_reports
from tests.reporting.made_up import made_up

MISSED_BY_ALL = {"strategies": 3, "missed": True}


def ranking_of(records: Records, folder: Path) -> pd.DataFrame:
    write_report(records, folder, NO_PICTURES)
    return read_table(folder / "leaderboard.csv")


def draw(name: str, records: Records, folder: Path, change=None) -> tuple[Figure, pd.DataFrame]:
    """Draw one figure from its table as it was written, and return both. change: of the table, before it is drawn."""
    ranking = ranking_of(records, folder)
    sheet = next(sheet for sheet in sheets(records, ranking) if sheet.name == name)
    rows = read_table(folder / f"{name}.csv")
    with styled(PAGE):
        return sheet.draw(rows if change is None else change(rows), ranking, PAGE), rows


def named(figure: Figure, name: str) -> Artist:
    """Return the one artist of that name."""
    found = [artist for artist in figure.findobj() if artist.get_gid() == name]
    assert len(found) == 1, [name, len(found)]
    return found[0]


def names(figure: Figure) -> set[str]:
    return {artist.get_gid() for artist in figure.findobj() if artist.get_gid()}


def of(rows: pd.DataFrame, strategy: str) -> pd.DataFrame:
    return rows[rows["strategy"] == strategy]


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.mark.parametrize("currency", ["steps", "images", "flops", "device-seconds", "gpu-joules"])
def test_curves_are_their_table_in_every_currency(currency: str, tmp_path: Path):
    figure, rows = draw(f"accuracy-{currency}", made_up(joules=True), tmp_path)
    for strategy, horizon in (("scratch", 1), ("naive", 1), ("optimized", 0.5)):
        x, y = named(figure, f"curve {strategy}@{horizon:g}").get_data()
        np.testing.assert_array_equal(x, of(rows, strategy)["cost"])
        np.testing.assert_array_equal(y, of(rows, strategy)["accuracy"])
    bands = [artist for artist in figure.axes[0].collections if len(artist.get_paths())]
    assert len(bands) == 3
    naive = of(rows, "naive")
    points = bands[1].get_paths()[0].vertices
    assert {naive["low"].iloc[3], naive["high"].iloc[3]} <= set(points[:, 1])


def test_a_figure_follows_its_table(tmp_path: Path):
    figure, rows = draw("accuracy-flops", made_up(), tmp_path, lambda rows: rows.assign(cost=rows["cost"] * 3))
    x, _ = named(figure, "curve naive@1").get_data()
    np.testing.assert_array_equal(x, 3 * of(rows, "naive")["cost"])


def test_what_is_drawn_is_read_back_from_the_file(tmp_path: Path):
    seen = []
    rows = pd.DataFrame({"strategy": ["None"], "title": ["1e5"], "cost": [1 / 3], "aspect": [""]})

    def spy(table: pd.DataFrame, ranking: pd.DataFrame, width: object) -> Figure:
        seen.append(table)
        return plt.figure()

    Sheet("spy", rows, spy).write(tmp_path, "-update-2", pd.DataFrame(), "words\n", Prints(("png",), ("pdf",)))
    assert {path.name for path in tmp_path.iterdir()} == {
        "spy-update-2.csv", "spy-update-2.caption.txt", "spy-update-2.png", "spy-update-2-column.pdf",
    }  # fmt: skip
    assert len(seen) == 2
    assert seen[0].iloc[0].to_dict() == pytest.approx({**rows.iloc[0].to_dict(), "aspect": np.nan}, nan_ok=True)


def test_where_half_of_the_curves_is_near_the_target_a_panel_shows_that_part(tmp_path: Path):
    def rising(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(accuracy=rows["cost"] / rows["cost"].max())

    assert len(draw("accuracy-flops", made_up(), tmp_path / "rising", rising)[0].axes) == 1
    figure, rows = draw("accuracy-flops", made_up(), tmp_path)
    whole, near = figure.axes
    target = read_table(tmp_path / "leaderboard.csv")["target"].iloc[0]
    reach = 0.1 * (rows["accuracy"].max() - rows["accuracy"].min())
    assert near.get_ylim()[0] == pytest.approx(target - reach)
    assert (
        whole.get_ylim()[0] < rows["accuracy"].min() < near.get_ylim()[0] < rows["accuracy"].max() < near.get_ylim()[1]
    )
    assert near.get_ylim()[1] < 1.02
    for name in ("curve scratch@1", "crossed naive@1", "target"):
        again = named(figure, f"{name} near the target")
        np.testing.assert_array_equal(again.get_xydata(), named(figure, name).get_xydata())
        assert again.axes is near


def test_a_dot_is_where_the_target_is_held_and_an_x_where_it_was_missed(tmp_path: Path):
    figure, _ = draw("accuracy-flops", made_up(), tmp_path / "held")
    ranking = read_table(tmp_path / "held" / "leaderboard.csv").set_index("strategy")
    for strategy, horizon in (("naive", 1), ("optimized", 0.5)):
        dot = named(figure, f"crossed {strategy}@{horizon:g}")
        assert dot.get_marker() == "o"
        assert dot.get_xdata()[0] == pytest.approx(ranking.loc[strategy, "cost_flops"])
    assert named(figure, "target").get_ydata()[0] == ranking.loc["scratch", "target"]
    missed, rows = draw("accuracy-flops", made_up(**MISSED_BY_ALL), tmp_path / "missed")
    assert {name for name in names(missed) if name.startswith(("crossed", "missed"))} == {
        "crossed scratch@1", "missed naive@1", "missed optimized@0.5",
    }  # fmt: skip
    end = named(missed, "missed naive@1")
    assert (end.get_marker(), end.get_xdata()[0]) == ("x", of(rows, "naive")["cost"].max())


def test_speedups_are_their_table_and_bounds_are_open(tmp_path: Path):
    figure, rows = draw("speedup-target", made_up(), tmp_path / "held")
    mine = of(rows, "naive").sort_values("share")
    measured = mine["value"].where(mine["relation"] == "=")
    np.testing.assert_array_equal(named(figure, "speedup naive@1").get_ydata(), measured)
    missed, rows = draw("speedup-target", made_up(**MISSED_BY_ALL), tmp_path / "missed")
    full = of(rows, "naive").set_index("share").loc[1.0]
    assert full["relation"] == "<"
    bound = named(missed, "bound naive@1 1.00")
    assert (bound.get_ydata()[0], bound.get_markerfacecolor()) == (full["value"], "white")
    arrows = [text for text in missed.axes[0].texts if text.arrow_patch is not None]
    assert len(arrows) == (rows["relation"] == "<").sum()
    assert all(arrow.get_position()[1] < 0 for arrow in arrows)  # downwards


def test_a_frontier_is_its_table(tmp_path: Path):
    figure, rows = draw("frontier-flops", made_up(horizons=(0.25, 0.5, 0.75)), tmp_path)
    mine = of(rows, "optimized")
    assert len(mine) == 3
    np.testing.assert_array_equal(named(figure, "horizons optimized").get_data(), [mine["cost"], mine["accuracy"]])
    np.testing.assert_array_equal(named(figure, "frontier optimized").get_ydata(), mine["frontier"])
    bar = named(figure, "interpolated optimized")
    assert (bar.get_xdata()[0], bar.get_ydata()[0]) == (mine["cost_at_target"].iloc[0], mine["target"].iloc[0])
    assert "horizons scratch" in names(figure)
    assert "frontier scratch" not in names(figure)  # one horizon


def test_a_frontiers_interval_is_its_band_with_an_arrow_at_an_open_end(tmp_path: Path):
    figure, rows = draw("frontier-flops", made_up(horizons=(0.25, 0.5, 0.75)), tmp_path)
    open_ends = set()
    for strategy in ("naive", "optimized"):
        row = of(rows, strategy).iloc[0]
        assert row["cost_low"] <= row["cost_at_target"] <= row["cost_high"]
        band = named(figure, f"interval {strategy}")
        assert list(band.get_xdata()) == [row["cost_low"], row["cost_high"]]
        assert list(band.get_ydata()) == [row["target"]] * 2
        open_ends |= {f"open {side} {strategy}" for side in ("low", "high") if row[f"cost_{side}_open"]}
    assert {name for name in names(figure) if name.startswith("open ")} == open_ends
    figure.draw_without_rendering()
    bands = [named(figure, f"interval {strategy}") for strategy in ("naive", "optimized")]
    heights = [band.get_transform().transform((band.get_xdata()[0], band.get_ydata()[0]))[1] for band in bands]
    assert heights[0] - heights[1] == pytest.approx(
        6.5 / 72 * figure.dpi
    )  # both are at the target, one above the other


def test_without_an_interval_a_frontier_has_no_band(tmp_path: Path):
    figure, rows = draw("frontier-flops", made_up(horizons=(0.25, 0.5, 0.75), seeds=2), tmp_path)
    assert rows["cost_low"].isna().all()
    assert "interpolated optimized" in names(figure)
    assert not [name for name in names(figure) if name.startswith(("interval", "open"))]


def test_an_ablation_is_its_table(tmp_path: Path):
    figure, rows = draw("ablation", made_up(12, ablation=True), tmp_path)
    assert rows["strategy"].iloc[0] == "optimized"
    assert rows["aspect"].notna().sum() == len(rows) - 1 >= 2
    for place, (_, row) in enumerate(rows.iterrows()):
        bar = named(figure, f"difference {row['strategy']}@{row['horizon']:g}")
        assert bar.get_width() == row["difference"]
        assert bar.get_y() + bar.get_height() / 2 == pytest.approx(place)
        assert named(figure, f"speedup {row['strategy']}@{row['horizon']:g}").get_width() == row["value"]


def test_old_and_new_is_its_table_and_its_lines_join_what_is_equal(tmp_path: Path):
    figure, rows = draw("old-new", made_up(), tmp_path)
    assert rows["old_weight"].to_numpy() == pytest.approx(0.7)
    for images in ("validation", "test"):
        row = of(rows[rows["images"] == images], "naive").iloc[0]
        point = named(figure, f"{images} naive@1")
        assert (point.get_xdata()[0], point.get_ydata()[0]) == (row["old"], row["new"])
    line = next(line for line in figure.axes[0].lines if line.get_gid() == "scratch's accuracy")
    overall = 0.7 * np.asarray(line.get_xdata()) + 0.3 * np.asarray(line.get_ydata())
    scratch = of(rows[rows["images"] == "validation"], "scratch")["all"].iloc[0]
    assert overall == pytest.approx(scratch, abs=1e-6)


@pytest.mark.parametrize("unit", ["flops", "seconds"])
def test_bars_of_costs_are_their_table(unit: str, tmp_path: Path):
    figure, rows = draw(f"cost-{unit}", made_up(), tmp_path)
    mine = of(rows, "naive")
    ends = [named(figure, f"{part} naive@1") for part in mine["part"]]
    assert [bar.get_width() for bar in ends] == pytest.approx(mine["cost"].tolist())
    assert ends[-1].get_x() + ends[-1].get_width() == pytest.approx(mine["whole"].iloc[0])


@pytest.mark.parametrize(
    ("unit", "whole", "text"),
    [
        ("seconds", 0.924, "0.92"),
        ("seconds", 73.18, "73.2"),
        ("seconds", 1234.4, "1,234"),
        ("flops", 6.96e13, "69.6\N{NO-BREAK SPACE}T"),
    ],
)
def test_the_total_next_to_a_bar_of_costs(unit: str, whole: float, text: str, tmp_path: Path):
    figure, _ = draw(f"cost-{unit}", made_up(), tmp_path, lambda rows: rows.assign(whole=whole))
    assert [label.get_text() for label in figure.axes[0].texts] == [text] * 3


def test_a_legend_keeps_the_number_of_seeds_together(tmp_path: Path):
    figure, _ = draw("accuracy-flops", made_up(long_titles=True), tmp_path)
    labels = [label.get_text() for legend in figure.legends for label in legend.get_texts()]
    assert sum("n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}3" in label for label in labels) == 3
    assert any("\n" in label for label in labels)


def test_every_seeds_crossing_is_its_table_and_a_miss_is_open_with_an_arrow(tmp_path: Path):
    figure, rows = draw("seed-crossings", made_up(**MISSED_BY_ALL), tmp_path)
    for _, row in rows.iterrows():
        mark = named(figure, f"seed {row['strategy']}@{row['horizon']:g} {row['seed']}")
        assert mark.get_xdata()[0] == row["cost"]
        assert (mark.get_markerfacecolor() == "white") == (not row["crossed"])
    arrows = [text for text in figure.axes[0].texts if text.arrow_patch is not None]
    assert len(arrows) == (~rows["crossed"]).sum() >= 6


def test_reached_by_cost_is_its_table(tmp_path: Path):
    figure, rows = draw("seeds-reached", made_up(seeds=5), tmp_path)
    mine = of(rows, "naive")
    np.testing.assert_array_equal(named(figure, "reached naive@1").get_data(), [mine["cost"], mine["reached"]])
    assert mine["reached"].iloc[0] == 0


def test_energy_is_its_table(tmp_path: Path):
    figure, rows = draw("energy-time", made_up(joules=True), tmp_path)
    mine = of(rows, "optimized")
    np.testing.assert_array_equal(named(figure, "joules optimized@0.5").get_data(), [mine["seconds"], mine["joules"]])
    np.testing.assert_array_equal(named(figure, "watts optimized@0.5").get_ydata(), mine["watts"])


def test_a_profile_is_its_table(tmp_path: Path):
    parts = [made_up(seeds=2, name=f"s{number}", draw=number) for number in range(4)]
    (*_,) = write_reports(parts, tmp_path, NO_PICTURES)
    rows = read_table(tmp_path / "performance-profile.csv")
    with styled(COLUMN):
        figure = draw_profile(rows, COLUMN)
    mine = of(rows, "naive")
    np.testing.assert_array_equal(named(figure, "profile naive@1").get_data(), [mine["tau"], mine["rho"]])
    assert rows["scenarios"].unique().tolist() == [4]


def test_one_scenario_has_no_profile(tmp_path: Path):
    alone = list(write_reports([made_up()], tmp_path, NO_PICTURES))
    assert not any("profile" in path.name for path in alone)
    assert write_overview([made_up()], [ranking_of(made_up(), tmp_path)], tmp_path, NO_PICTURES) == []


def test_a_profile_of_an_earlier_report_goes_when_no_strategy_is_shared_any_more(tmp_path: Path):
    parts = [made_up(name=f"s{number}", draw=number) for number in range(2)]
    (*_,) = write_reports(parts, tmp_path, NO_PICTURES)
    (tmp_path / "performance-profile-column.png").write_bytes(b"drawn before")
    (tmp_path / "mine.txt").write_text("not a figure")
    alone = parts[1].trials["strategy"].isin(["scratch"])
    fewer = Records(parts[1].trials[alone], parts[1].evals[parts[1].evals["strategy"] == "scratch"])
    (*_,) = write_reports([parts[0], fewer], tmp_path, NO_PICTURES)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["mine.txt"]


def test_figures_without_data_are_not_drawn(tmp_path: Path):
    written = {sheet.name for sheet in sheets(made_up(), ranking_of(made_up(), tmp_path))}
    assert not {"energy-time", "accuracy-gpu-joules", "frontier-flops", "ablation", "seeds-reached"} & written
    alone = made_up(1, seeds=1)
    assert "speedup-target" not in {sheet.name for sheet in sheets(alone, ranking_of(alone, tmp_path))}


def test_seconds_and_joules_of_different_machines_are_not_drawn(tmp_path: Path):
    records = made_up(joules=True)
    records.trials.loc[records.trials["strategy"] == "naive", "machine"] = "other"
    ranking = ranking_of(records, tmp_path)
    found = {sheet.name: set(sheet.rows["strategy"]) for sheet in sheets(records, ranking)}
    for name in ("accuracy-device-seconds", "accuracy-gpu-joules", "energy-time", "cost-seconds"):
        assert found[name] == {"scratch", "optimized"}, name
    assert found["accuracy-flops"] == {"scratch", "naive", "optimized"}


def test_of_many_strategies_scratch_and_the_best_are_drawn(tmp_path: Path):
    records = made_up(15, seeds=2)
    ranking = ranking_of(records, tmp_path)
    keys = drawn(ranking)
    assert (len(keys), keys[0]) == (MOST_DRAWN, ("scratch", 1.0))
    others = ranking[ranking["strategy"] != "scratch"]["strategy"].tolist()
    assert {key[0] for key in keys[1:]} == set(others[: MOST_DRAWN - 1])
    figure, rows = draw("accuracy-flops", records, tmp_path)
    assert rows["strategy"].nunique() == 15  # its table has them all
    assert sum(name.startswith("curve ") and "near" not in name for name in names(figure)) == MOST_DRAWN


def test_a_frontier_has_every_horizon_of_the_strategies_that_are_drawn(tmp_path: Path):
    # cifar100-70-30-lite: with a thirteenth curve, scratch's own frontier had lost its shortest horizon.
    horizons = (0.1, 0.2, 0.4, 0.5, 0.75)
    records = made_up(4, horizons=horizons)
    assert len(ranking_of(records, tmp_path)) > MOST_DRAWN
    _, rows = draw("frontier-flops", records, tmp_path)
    found = rows.groupby("strategy")["horizon"].apply(lambda each: tuple(sorted(each))).to_dict()
    assert found == {"scratch": (1.0,), **dict.fromkeys(("naive", "optimized", "other-03"), horizons)}


def test_scratch_always_has_the_same_ink_and_no_other_strategy_has_it():
    ranking = pd.DataFrame({"strategy": ["a", "scratch"], "horizon": [1.0, 1.0], "title": ["A", "Scratch"]})
    assert inks_of(ranking)["scratch", 1.0] == INKS[0]
    assert INKS[0] not in inks_of(ranking[ranking["strategy"] == "a"]).values()


def test_two_strategies_with_one_title_are_distinguished_by_name():
    ranking = pd.DataFrame({"strategy": ["a", "b", "c"], "horizon": [1.0, 1.0, 0.5], "title": ["T", "T", "T"]})
    assert list(titles_of(ranking).values()) == ["T [a]", "T [b]", "T"]


def _lightness(colour: str) -> float:
    """Return CIE L*, 0 to 100."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def test_inks_are_distinct_in_grey():
    looks = [(str(ink.dashes), ink.marker) for ink in INKS]
    assert len(INKS) == MOST_DRAWN == len({marker for _, marker in looks})
    first = [dashes for dashes, _ in looks[:6]]
    assert len(set(first)) == 6
    for one, other in pairwise(INKS):
        assert abs(_lightness(one.colour) - _lightness(other.colour)) >= 10, (one.colour, other.colour)
        assert one.dashes != other.dashes
    assert all(_lightness(ink.colour) < 75 for ink in INKS)  # visible on white
