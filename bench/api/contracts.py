"""The contract of a strategy, from Python."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from bench.catalog import find_strategy
from bench.errors import BenchError

if TYPE_CHECKING:
    import pandas as pd

    from bench.execution.contract import Contract, Verdict


@dataclass(frozen=True)
class Checked:
    """What became of each rule of a strategy's contract."""

    contract: Contract

    @property
    def ok(self) -> bool:
        """Whether no rule is broken."""
        return self.contract.ok

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each rule: rule, state ("kept", "broken" or "not checked"), said (what was found)."""
        import pandas as pd

        return pd.DataFrame([asdict(each) for each in self.contract.verdicts])

    def _repr_html_(self) -> str:
        from bench.reporting.layout import html_table
        from bench.reporting.metering import contract_cells

        return html_table(contract_cells(self.contract))


def check_strategy(
    strategy: str | os.PathLike[str],
    *,
    load_seconds: float = 60.0,
    compiled: bool = True,
    told: Callable[[Verdict], None] = lambda verdict: None,
) -> Checked:
    """Check a strategy against its contract, on a few small images that are embedded, in a process of its own.

    strategy: a name, or the path of a file, with or without parameters. load_seconds: how long its file may take to load.
    compiled: whether it is also compiled, which takes longer than the rest. told: is called with each rule's verdict as it comes.
    Raises StrategyError if there is no such strategy or file.
    """
    from bench.execution.contract import check_contract
    from bench.strategies.notation import split_reference

    reference = os.fspath(strategy)
    if not isinstance(load_seconds, int | float) or not load_seconds > 0:
        raise BenchError(f"load_seconds: found {load_seconds!r}, expected a number above 0. Change it.")
    find_strategy(split_reference(reference)[0])
    return Checked(check_contract(reference, load_seconds=load_seconds, compiled=compiled, told=told))
