"""The command that checks other people's code: what a strategy must keep to."""

from __future__ import annotations

from dataclasses import asdict

import click

from bench.cli.show import show
from bench.errors import RuleError


@click.command("check-strategy", short_help="Check a strategy's code against the rules.")
@click.argument("strategy")
@click.option(
    "--load-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="How long its file may take to load.",
)
@click.option("--no-compile", is_flag=True, help="Do not compile it, which takes longer than the rest.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def check_strategy_command(strategy: str, load_seconds: float, no_compile: bool, form: str) -> None:
    """Check a strategy, by name or by the path of its file, against what every strategy must keep to.

    It is run on a few small images that are embedded, in a process of its own without network. Exits with 1 if a rule is broken.
    """
    import json

    from bench.api.contracts import check_strategy
    from bench.reporting.metering import contract_cells

    found = check_strategy(strategy, load_seconds=load_seconds, compiled=not no_compile).contract
    if form == "json":
        click.echo(
            json.dumps({"strategy": found.name, "ok": found.ok, "rules": list(map(asdict, found.verdicts))}, indent=1)
        )
    else:
        show(contract_cells(found))
    broken = [each for each in found.verdicts if each.state == "broken"]
    if broken:
        rules = "1 rule" if len(broken) == 1 else f"{len(broken)} rules"
        raise RuleError(
            f"{strategy}: breaks {rules}: {', '.join(each.rule for each in broken)}; first: {broken[0].said} Fix its file."
        )
