"""When does continuing pay? A map of the savings of `naive` on glyphs, against what changes from one update to another.

python docs/studies/savings.py run [--seeds 0-4] [--results results/savings] [--only classes]
python docs/studies/savings.py show [--results results/savings] [--out docs/studies]

Every scenario is glyphs-32-15 with one thing changed. `run` trains what is not finished, and resumes; on one core, a seed takes
about a quarter of an hour. `show` writes savings.csv, savings.md and savings.png.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

import bench
from bench.cli.options import Seeds

if TYPE_CHECKING:
    import pandas as pd

HORIZONS = (1.0, 0.6, 0.35, 0.2, 0.1)
CLASSES = 47
EPOCHS = 14


@dataclass(frozen=True)
class Point:
    """One point of the map. update: of its scenario. at: its place on the panel's axis. label: its tick, if not the number."""

    panel: str
    scenario: str
    changes: dict[str, Any]
    at: float
    label: str
    update: int = 1


PANELS = {
    "classes": "New classes, % of all 47",
    "images": "New images of known classes, % of all",
    "domain": "A new domain of known classes",
    "memory": "Old images still at hand, %",
    "chain": "Update of a chain, 5 classes each",
    "base": "Epochs of the old model, %",
}


def points() -> Iterator[Point]:
    """Yield every point, panel by panel."""
    for new in (2, 7, 15, 24, 33):
        stages = [{"classes": CLASSES - new}, {"classes": new}]
        share = round(100 * new / CLASSES)
        yield Point("classes", f"savings-classes-{new}", {"stages": stages}, share, f"{share}")
    for share in (5, 15, 30, 50, 70):
        stages = [{"share": 1 - share / 100}, {"share": share / 100}]
        changes = {"kind": "data-incremental", "stages": stages}
        yield Point("images", f"savings-images-{share}", changes, share, f"{share}")
    for place, (name, label) in enumerate(_DOMAINS.items()):
        stages = [{"folder": f"{name}-old.npz"}, {"folder": f"{name}-new.npz"}]
        yield Point("domain", f"savings-domain-{name}", {"kind": "domain-incremental", "stages": stages}, place, label)
    for share in (100, 20, 5, 1):
        # The whole memory is the scenario that another panel has already.
        stages = [{"classes": CLASSES - 15}, {"classes": 15} | ({"old_share": share / 100} if share < 100 else {})]
        name = "savings-classes-15" if share == 100 else f"savings-memory-{share}"
        yield Point("memory", name, {"stages": stages}, share, f"{share}")
    stages = [{"classes": CLASSES - 6 * 5}, *({"classes": 5} for _ in range(6))]
    for update in range(1, 7):
        yield Point("chain", "savings-chain", {"stages": stages}, update, f"{update}", update)
    for share in (50, 100, 200):
        stages = [{"classes": CLASSES - 15}, {"classes": 15}]
        changes = {"stages": stages} | ({"training": {"base_epochs": EPOCHS * share // 100}} if share != 100 else {})
        name = "savings-classes-15" if share == 100 else f"savings-base-{share}"
        yield Point("base", name, changes, share, f"{share}")


_DOMAINS = {
    "font": "one font\nmore",
    "serif": "serif after\nsans-serif",
    "noise": "half the contrast,\ntwice the noise",
}


def write_domains(folder: Path) -> None:
    """Draw the images of the domains that are no shipped set, as archives: NAME-old.npz and NAME-new.npz."""
    from bench.data.sources import glyphs

    text, last = glyphs.SANS[:-1], glyphs.SANS[-1:]
    least, most = 64, 176
    drawn = {
        "font": (glyphs.render(text, ("savings", "font")), glyphs.render(last, ("savings", "font more"))),
        "serif": (glyphs.family("sans"), glyphs.family("serif")),
        "noise": (
            glyphs.family("sans"),
            glyphs.render(glyphs.SANS, ("savings", "noise"), noise=28, contrast=(least // 2, most // 2)),
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, (old, new) in drawn.items():
        for stage, arrays in (("old", old), ("new", new)):
            path = folder / f"{name}-{stage}.npz"
            if not path.exists():
                np.savez(path, **arrays)


def scenario_of(point: Point, root: Path) -> bench.Scenario:
    """Return glyphs-32-15 with the point's changes. root: the folder of the domains' archives."""
    fields = bench.load_scenario("glyphs-32-15").model_dump(exclude={"target"}, exclude_none=True)
    changes = {"training": fields["training"] | point.changes.get("training", {})}
    fields |= {"name": point.scenario, "title": f"Glyphs, map of savings: {point.scenario}"} | point.changes | changes
    if point.panel == "domain":
        fields["data"] = {"validation_share": 0.3125, "test_share": 0.2, "image_size": 12}
    made = bench.Scenario.model_validate(fields)
    return made.model_copy(update={"root": root})


def table(results: Path) -> pd.DataFrame:
    """Return a row for each point that has records: the frontier speedup of `naive` in FLOPs, with its interval."""
    import pandas as pd

    rows = []
    for point in points():
        folder = results / point.scenario
        if not folder.exists():
            continue
        found = bench.load_results(results).frontier(point.scenario, update=point.update).frame
        for _, row in found[found["strategy"] == "naive"].iterrows():
            kept = ["n", "target", "value", "relation", "low", "low_open", "high", "high_open", "attributable", "note"]
            about = {"panel": point.panel, "at": point.at, "label": point.label.replace("\n", " ")}
            rows.append(about | {"scenario": point.scenario, "update": point.update} | row[kept].to_dict())
    return pd.DataFrame(rows)


@click.group()
def main() -> None:
    """A map of the savings of `naive` on glyphs."""


@main.command()
@click.option("--seeds", type=Seeds(), default="0-4", show_default=True)
@click.option("--results", default="results/savings", type=click.Path(path_type=Path), show_default=True)
@click.option("--work", default="runs/savings", type=click.Path(path_type=Path), help="For archives and base models.")
@click.option("--only", type=click.Choice(list(PANELS)), multiple=True, help="Panels; all if not given.")
def run(seeds: tuple[int, ...], results: Path, work: Path, only: tuple[str, ...]) -> None:
    """Train what is missing, seed by seed."""
    write_domains(work)
    for seed in seeds:
        done = set()
        for point in points():
            if (only and point.panel not in only) or point.scenario in done:
                continue
            done.add(point.scenario)
            scenario = scenario_of(point, work)
            plan = bench.frontier(
                scenario, ["naive"], HORIZONS, [seed], results=results, cache=work / "cache", device="cpu", threads=1
            )
            bench.run(plan)
            click.echo(f"{point.scenario} seed {seed}: done")


@main.command()
@click.option("--results", default="results/savings", type=click.Path(path_type=Path), show_default=True)
@click.option("--out", default="docs/studies", type=click.Path(path_type=Path), show_default=True)
def show(results: Path, out: Path) -> None:
    """Write the table and the figure."""
    from bench.reporting.figures.style import PAGE, styled

    rows = table(results)
    out.mkdir(parents=True, exist_ok=True)
    rows.to_csv(out / "savings.csv", index=False, float_format="%.6g")
    (out / "savings.md").write_text(markdown(rows), encoding="utf-8")
    with styled(PAGE):
        draw(rows).savefig(out / "savings.png")
    click.echo(f"{out / 'savings.md'}, {out / 'savings.csv'}, {out / 'savings.png'}")


def markdown(rows: pd.DataFrame) -> str:
    """Return the rows as a table in Markdown."""
    lines = ["# The map of savings", "", "Made by `python docs/studies/savings.py show` from `results/savings/`.", ""]
    lines += ["| what arrives | | speedup, FLOPs | 95 % interval | n |", "| --- | ---: | ---: | --- | ---: |"]
    for _, row in rows.iterrows():
        sign = "< " if row["relation"] == "<" else ""
        lines.append(
            f"| {PANELS[row['panel']]} | {row['label']} | {sign}{row['value']:.2f} | {interval(row)} | {row['n']} |"
        )
    return "\n".join(lines) + "\n"


def interval(row: pd.Series) -> str:
    """Return "1.20 to 1.50", with a sign at an end that lies outside the lengths that were run; empty if there is none."""
    if np.isnan(row["low"]):
        return ""
    return f"{'< ' if row['low_open'] else ''}{row['low']:.2f} to {'> ' if row['high_open'] else ''}{row['high']:.2f}"


def draw(rows: pd.DataFrame) -> Any:
    """Return the figure: a panel for each thing that changes. An arrow is an end that lies outside the lengths that were run."""
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    drawn = [panel for panel in PANELS if (rows["panel"] == panel).any()]
    columns = 2 if len(drawn) in (2, 4) else 3
    lines = math.ceil(len(drawn) / columns)
    figure, grid = plt.subplots(
        lines, columns, figsize=(6.75, 2.2 * lines), sharey=True, layout="constrained", squeeze=False
    )
    for axes, panel in zip(grid.flat, drawn, strict=False):
        mine = rows[rows["panel"] == panel]
        at = np.arange(len(mine))
        axes.axhline(1, color="0.35", linewidth=0.8, linestyle="--")
        for place, (_, row) in zip(at, mine.iterrows(), strict=True):
            bound = row["relation"] == "<"
            axes.plot(place, row["value"], "v" if bound else "o", color="C0", fillstyle="none" if bound else "full")
            if not np.isnan(row["low"]):
                axes.plot([place, place], [row["low"], row["high"]], color="C0", linewidth=1)
                for end, is_open, sign in (("low", row["low_open"], "v"), ("high", row["high_open"], "^")):
                    axes.plot(place, row[end], sign if is_open else "_", color="C0", markersize=4 if is_open else 6)
        axes.set_xticks(at, mine["label"].str.wrap(11))
        axes.set_xlim(-0.5, len(mine) - 0.5)
        axes.set_xlabel(PANELS[panel])
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(FixedLocator([0.5, 1, 2, 3, 5, 10]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for axes in list(grid.flat)[len(drawn) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel("Speedup over scratch, FLOPs")
    return figure


if __name__ == "__main__":
    main()
