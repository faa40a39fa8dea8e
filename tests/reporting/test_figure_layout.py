"""Nothing in a figure is cut off or overlaps anything else, at either width."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from bench.analysis.ranking.leaderboard import leaderboard
from bench.analysis.ranking.profiles import profiles
from bench.reporting.figures.gallery import sheets
from bench.reporting.figures.profile import draw_profile
from bench.reporting.figures.sheet import Prints, read_table
from bench.reporting.figures.style import COLUMN, PAGE, Width, save, styled
from bench.reporting.report import write_report
from tests.reporting.made_up import made_up

LONG = "A scenario's title that is long enough to take more than a single line at either of both widths, and then some words"
CASES = {
    "one strategy, one seed": {"strategies": 1, "seeds": 1, "title": LONG},
    "three strategies": {"joules": True},
    "twelve strategies": {"strategies": 12, "joules": True, "ablation": True},
    "twelve long titles": {"strategies": 12, "ablation": True, "long_titles": True, "title": LONG},
    "all missed": {"strategies": 5, "missed": True, "ablation": True},
    "many horizons": {"horizons": (0.25, 0.5, 0.75)},
    "ten seeds": {"seeds": 10},
}
# Figures that differ from accuracy-flops in their axis alone, and the cases that draw them nevertheless.
_ALIKE = {"accuracy-steps", "accuracy-images", "accuracy-device-seconds", "accuracy-gpu-joules"}
EVERY_CURRENCY = {"three strategies", "twelve long titles"}
_SLACK = 1.5  # pixels at 300 dpi by which glyphs' boxes may overlap


def texts(figure: Figure) -> list[Text]:
    """Return all text in a figure; of tick labels, only those in view."""
    found = [text for text in (*figure.texts, figure._suptitle) if text is not None]
    found += [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        found += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            found += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            found.append(axis.get_offset_text())
    return [text for text in dict.fromkeys(found) if text.get_visible() and text.get_text().strip()]


def faults(figure: Figure) -> list[str]:
    """Return what is cut off or overlaps, in words."""
    figure.draw_without_rendering()
    whole = Bbox.from_extents(0, 0, *figure.bbox.size)
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    found = [f"{text!r} is cut off" for text, box in boxes if not _inside(box, whole)]
    for (one, box), (other, another) in combinations(boxes, 2):
        if _overlap(box, another):
            found.append(f"{one!r} lies on {other!r}")
    for axes in figure.axes:
        frame = axes.get_window_extent()
        found += [f"{text!r} lies on an axes" for text, box in boxes if _crosses(box, frame)]
        if axes.axison and min(frame.width, frame.height) < 90:  # 0.3 inches
            found.append("an axes is squeezed")
    return found


def _inside(box: Bbox, whole: Bbox) -> bool:
    return box.x0 >= -_SLACK and box.y0 >= -_SLACK and box.x1 <= whole.x1 + _SLACK and box.y1 <= whole.y1 + _SLACK


def _overlap(one: Bbox, other: Bbox) -> bool:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return width > _SLACK and height > _SLACK


def _crosses(box: Bbox, frame: Bbox) -> bool:
    """Whether a text is partly inside the frame and partly outside."""
    return _overlap(box, frame) and not _inside(
        box.translated(-frame.x0, -frame.y0), frame.translated(-frame.x0, -frame.y0)
    )


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_cut_off_or_overlaps(case: str, tmp_path: Path):
    records = made_up(**CASES[case])
    ranking = leaderboard(records.trials, records.evals)
    found = {}
    for sheet in sheets(records, ranking):
        if sheet.name in _ALIKE and case not in EVERY_CURRENCY:
            continue
        sheet.rows.to_csv(tmp_path / "rows.csv", index=False)
        rows = read_table(tmp_path / "rows.csv")
        for width in (PAGE, COLUMN):
            with styled(width):
                figure = sheet.draw(rows, ranking, width)
                found[sheet.name, width.name] = faults(figure)
                assert figure.get_size_inches()[0] == width.inches
                plt.close(figure)
    assert len(found) >= 2 * (6 if case in EVERY_CURRENCY else 3)
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize("width", [PAGE, COLUMN], ids=["page", "column"])
@pytest.mark.parametrize(("scenarios", "strategies"), [(2, 12), (10, 3)])
def test_a_profile_is_laid_out_for_any_number_of_scenarios(scenarios: int, strategies: int, width: Width):
    parts = [made_up(strategies, seeds=2, long_titles=True, draw=number) for number in range(scenarios)]
    rows = profiles([leaderboard(part.trials, part.evals) for part in parts])
    with styled(width):
        figure = draw_profile(rows, width)
        assert faults(figure) == []
        plt.close(figure)


def test_faults_are_found():
    figure, axes = plt.subplots(figsize=(2, 2), dpi=300)
    axes.set_xticks([0.5, 0.51], ["one label", "another one"])
    figure.text(0.95, 0.5, "beyond the edge")
    found = faults(figure)
    plt.close(figure)
    assert "'one label' lies on 'another one'" in found
    assert "'beyond the edge' is cut off" in found


def test_a_users_title_is_not_a_formula(tmp_path: Path):
    records = made_up(2, title=r"$\frac{1$: 5 $ an hour, 6 $ a day")
    records.trials["title"] = r"$\bad{$ & <b>"
    paths = write_report(records, tmp_path, Prints(("svg",), ()))
    assert (tmp_path / "accuracy-flops.svg") in paths


def test_saving_lays_out_once_and_keeps_the_width(tmp_path: Path):
    with styled(COLUMN):
        figure = plt.figure(figsize=(COLUMN.inches, 2), layout="constrained")
        save(figure, [tmp_path / "a.png"])
    from PIL import Image

    assert Image.open(tmp_path / "a.png").size == (990, 600)  # 3.3 by 2 inches at 300 dpi
