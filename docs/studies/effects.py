"""Known effects, reproduced: the warm-start gap, what closes it, and linear probing before fine-tuning.

python docs/studies/effects.py run [--seeds 0-4] [--results results/effects]
python docs/studies/effects.py show [--results results/effects] [--out docs/studies]

The images are glyphs. `run` trains what is not finished, and resumes; on one core, a seed takes about six minutes. `show` writes
effects.csv and effects.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import bench
from bench.cli.options import Seeds

if TYPE_CHECKING:
    import pandas as pd

    from bench.api.named import StrategyLike

CONSTANT = bench.WarmupStableDecay(warmup=0.0, decay=0.0)
LENGTHS = (0.1, 0.2, 0.5)
ONE_CYCLE = bench.OneCycle(warmup=0.2)
# The authors' values.
SHRINK = bench.ShrinkAndPerturb(0.4, 0.1)
HALVES = {"kind": "data-incremental", "stages": [{"share": 0.5}, {"share": 0.5}]}


@dataclass(frozen=True)
class Effect:
    """One scenario: glyphs-32-15 with some things changed, and what is compared on it.

    question: heads its rows. training: fields of the training part. pairs: (strategy, the one it is held against).
    """

    scenario: str
    question: str
    changes: Mapping[str, Any]
    training: Mapping[str, Any]
    strategies: Sequence[StrategyLike]
    pairs: Sequence[tuple[str, str]]


def _from(title: str, start: Any, schedule: Any) -> bench.Strategy:
    return bench.Strategy(title=title, start=start, schedule=schedule)


EFFECTS = (
    Effect(
        "effects-plain",
        "Half of the images, then all: no augmentation, constant rate (Ash & Adams 2020)",
        HALVES,
        # base_decay: the old model's rate falls in its last hundredth alone, the least that a scenario can ask for.
        {"epochs": 50, "learning_rate": 0.05, "weight_decay": 0.0, "crop_padding": 0, "base_decay": 0.01},
        [
            _from("Cold", bench.Fresh(), CONSTANT),
            _from("Warm", bench.Keep(), CONSTANT),
            _from("Shrunk", SHRINK, CONSTANT),
        ],
        [("warm", "cold"), ("shrunk", "cold"), ("shrunk", "warm")],
    ),
    Effect(
        "effects-augmented",
        "The same with crops and a rate that falls (arXiv 2502.21147)",
        HALVES,
        {"epochs": 14},
        ["scratch", "naive", _from("Shrunk", SHRINK, ONE_CYCLE)],
        [("naive", "scratch"), ("shrunk", "scratch"), ("shrunk", "naive")],
    ),
    Effect(
        "effects-probed",
        "A head fitted before fine-tuning, or random rows for new classes (Kumar et al. 2022)",
        {},
        {},
        [f"naive[{head}horizon={length}]" for length in LENGTHS for head in ("", "head=Logistic,")],
        [(f"naive[head=Logistic]@{length}", f"naive@{length}") for length in LENGTHS],
    ),
)


def scenario_of(effect: Effect) -> bench.Scenario:
    """Return glyphs-32-15 with the effect's changes."""
    fields = bench.load_scenario("glyphs-32-15").model_dump(exclude={"target"}, exclude_none=True)
    fields |= {"name": effect.scenario, "title": f"Glyphs: {effect.question}", **effect.changes}
    fields["training"] |= effect.training
    return bench.Scenario.model_validate(fields)


def table(results: Path) -> pd.DataFrame:
    """Return a row for each pair: both mean accuracies, and the paired difference with its 95 % interval, in shares of 1."""
    import pandas as pd

    found = bench.load_results(results)
    rows = []
    for effect in EFFECTS:
        if effect.scenario not in found.scenarios["scenario"].unique():
            continue
        for one, other in effect.pairs:
            frame = found.compare(one, other, effect.scenario).frame
            [row] = frame[frame["accuracy"] == "validation_accuracy"].to_dict("records")
            rows.append({"scenario": effect.scenario, "question": effect.question} | row)
    return pd.DataFrame(rows)


@click.group()
def main() -> None:
    """Known effects, reproduced on glyphs."""


@main.command()
@click.option("--seeds", type=Seeds(), default="0-4", show_default=True)
@click.option("--results", default="results/effects", type=click.Path(path_type=Path), show_default=True)
@click.option("--work", default="runs/effects", type=click.Path(path_type=Path), help="For base models.")
@click.option("--only", type=click.Choice([each.scenario for each in EFFECTS]), multiple=True, help="All if not given.")
def run(seeds: tuple[int, ...], results: Path, work: Path, only: tuple[str, ...]) -> None:
    """Train what is missing, seed by seed."""
    for seed in seeds:
        for effect in EFFECTS:
            if not only or effect.scenario in only:
                plan = bench.plan(
                    scenario_of(effect),
                    effect.strategies,
                    [seed],
                    results=results,
                    cache=work / "cache",
                    device="cpu",
                    threads=1,
                )
                bench.run(plan)
                click.echo(f"{effect.scenario} seed {seed}: done")


@main.command()
@click.option("--results", default="results/effects", type=click.Path(path_type=Path), show_default=True)
@click.option("--out", default="docs/studies", type=click.Path(path_type=Path), show_default=True)
def show(results: Path, out: Path) -> None:
    """Write the table."""
    rows = table(results)
    out.mkdir(parents=True, exist_ok=True)
    rows.to_csv(out / "effects.csv", index=False, float_format="%.6g")
    (out / "effects.md").write_text(markdown(rows), encoding="utf-8")
    click.echo(f"{out / 'effects.md'}, {out / 'effects.csv'}")


def markdown(rows: pd.DataFrame) -> str:
    """Return the rows as a table in Markdown for each question; accuracies in percent."""
    lines = [
        "# Known effects, reproduced",
        "",
        "Made by `python docs/studies/effects.py show` from `results/effects/`.",
    ]
    for question, mine in rows.groupby("question", sort=False):
        lines += ["", f"**{question}**", "", "| this | against | accuracy | | difference, points | n |"]
        lines += ["| --- | --- | ---: | ---: | --- | ---: |"]
        for row in mine.to_dict("records"):
            names = " | ".join(f"`{row[side]}`{_length(row[f'{side}_horizon'])}" for side in ("one", "other"))
            means = f"{100 * row['mean']:.1f} | {100 * row['other_mean']:.1f}"
            interval = "" if row["n"] < 2 else f" ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
            lines.append(f"| {names} | {means} | {100 * row['difference']:+.1f}{interval} | {row['n']} |")
    return "\n".join(lines) + "\n"


def _length(horizon: float) -> str:
    return "" if horizon == 1 else f" at {horizon:g}"


if __name__ == "__main__":
    main()
