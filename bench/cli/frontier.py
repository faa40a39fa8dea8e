"""The command that runs strategies at several horizons, and the search for the shortest that holds the target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.catalog import REFERENCE, TUNING_FROM
from bench.cli.collect import say_unreadable
from bench.cli.data import prepare_and_tell
from bench.cli.options import Seeds, entrants_of, what_and_where
from bench.cli.show import show_tables
from bench.errors import BenchError
from bench.places import REPORTS

if TYPE_CHECKING:
    from bench.api.horizons import Tried

_OPTIONS = ("device", "data_root", "results", "cache", "compiled", "step", "threads")


class Horizons(click.ParamType):
    """Horizons as "1,0.7,0.5"."""

    name = "horizons"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            raise BenchError(f"--horizons {value!r}: expected numbers like 1,0.7,0.5. Change it.") from None
        if len(set(found)) < max(2, len(found)):
            raise BenchError(f"--horizons {value!r}: expected at least two, and none twice. Change it.")
        return found


@click.command("frontier", short_help="Run several horizons, or find the shortest that is enough.")
@what_and_where(
    click.option(
        "--horizons",
        type=Horizons(),
        default="1,0.7,0.5,0.35,0.25,0.18",
        show_default=True,
        help="Planned lengths of each strategy, as shares of scratch's steps. Scratch's full length is always run.",
    ),
    click.option(
        "--seeds", type=Seeds(), default=None, show_default=f"0-2; {TUNING_FROM} with --find", help="Like 0-4 or 0,2,5."
    ),
    click.option(
        "--find",
        is_flag=True,
        help=f"Bisect for the shortest horizon that holds the target, on tuning seeds ({TUNING_FROM} and up).",
    ),
    click.option("--resolution", type=float, default=0.02, show_default=True, help="Resolution of --find."),
    click.option(
        "--reports",
        type=click.Path(path_type=Path),
        default=REPORTS,
        show_default=True,
        help="Folder below which the figure is written.",
    ),
)
def frontier_command(
    horizons: tuple[float, ...],
    seeds: tuple[int, ...] | None,
    find: bool,
    resolution: float,
    reports: Path,
    **asked: Any,
) -> None:
    """Run strategies at several horizons, those trials that are missing, and show the frontier: table and figure.

    With --find, look for each strategy's shortest horizon whose final accuracy holds the target; scratch is the reference.
    """
    from bench.api.horizons import find_horizons, frontier
    from bench.api.named import check_names, load_scenario
    from bench.api.plans import run
    from bench.api.results import report_frontier
    from bench.reporting.progress import progress_on_terminal

    check_names(asked["strategies"])
    if find and seeds and min(seeds) < TUNING_FROM:
        raise BenchError(
            f"--seeds: {min(seeds)} is scored, and --find must not choose a length on what is scored; expected seeds from "
            f"{TUNING_FROM} on. Change it."
        )
    scenario = load_scenario(asked["scenario"])
    # All that can be refused is refused before images are decoded, which may take hours.
    entrants_of(**asked, horizons=horizons)
    entrants = entrants_of(**asked, horizons=())
    prepare_and_tell(scenario, asked["data_root"])
    options = {name: asked[name] for name in _OPTIONS}
    if find:
        with progress_on_terminal() as listener:
            found = find_horizons(
                scenario,
                entrants,
                seeds or (TUNING_FROM,),
                resolution=resolution,
                tell=_say,
                jobs=asked["jobs"],
                listener=listener,
                **options,
            )
        for name, horizon in found.items():
            click.echo(
                f"{name}: " + ("1 does not hold the target" if horizon is None else f"shortest horizon {horizon:g}")
            )
        click.echo(f"records: {asked['results'] / scenario.name}")
        return
    plan = frontier(scenario, entrants, horizons, seeds or range(3), **options)
    with progress_on_terminal() as listener:
        results = run(plan, jobs=asked["jobs"], listener=listener)
    say_unreadable(results)
    click.echo(f"records: {plan.results / scenario.name}")
    for update in range(1, scenario.updates + 1):
        for line in results.leaderboard(scenario, update=update).verdict.splitlines():
            click.echo(line)
        show_tables([results.frontier(scenario, update=update).cells])
    for path in report_frontier(results, reports, scenario):
        click.echo(str(path))


def _say(tried: Tried) -> None:
    """Print one step of the search."""
    state = "holds" if tried.holds else "misses"
    click.echo(f"{tried.strategy} at {tried.horizon:g}: {tried.accuracy:.4f}, {state} {REFERENCE}'s {tried.target:.4f}")
