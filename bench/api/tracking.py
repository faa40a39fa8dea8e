"""A training loop of one's own, from Python."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.named import load_scenario, seeds_for
from bench.api.named import strategy as strategy_named
from bench.errors import BenchError
from bench.places import RUNS, cache_folder, data_folder

if TYPE_CHECKING:
    from bench.api.named import ScenarioLike
    from bench.execution.tracking import TrackedTrial

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@contextmanager
def track(
    scenario: ScenarioLike,
    strategy: str,
    seed: int = 0,
    *,
    steps: int | None = None,
    reference: str | None = None,
    old_model: bool = True,
    results: str | os.PathLike[str] = RUNS,
    device: str = "auto",
    data_root: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    fresh: bool = False,
) -> Iterator[TrackedTrial]:
    """Give a loop of one's own what it trains on, and record it: a trial of the open division, called open-<strategy>.

    steps: of the optimizer, in all; None for as many as scratch has. reference: the strategy, tracked too, that it is compared
    with: scratch under the same freedom. Without one it is listed without a ratio. old_model: whether the loop starts from the
    old model, which is trained first if there is none. fresh: replace a record; that of the same code which was killed is begun
    again without it, or goes on where the block calls trial.resume(). The others are those of plan(). The file that
    calls this, and what it imports, is recorded, as a strategy's code is.
    FLOPs are counted while the block runs, all of them. Raises a BenchError for what can be known to be wrong, and TrialError for
    a step that is not evaluated, and for a block that ends without finish().
    """
    from bench.execution.local import LocalRun
    from bench.execution.tracking import tracking

    for what, name in (("strategy", strategy), ("reference", reference)):
        if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise BenchError(f"{what}: found {name!r}, expected letters, digits, dots, - and _. Change it.")
    if steps is not None and (type(steps) is not int or steps < 1):
        raise BenchError(f"steps: found {steps!r}, expected a whole number above 0, or None. Change it.")
    run = LocalRun(
        load_scenario(scenario),
        [strategy_named("naive" if old_model else "scratch")],
        seeds_for([seed]),
        device=device,
        data_root=data_folder() if data_root is None else Path(data_root),
        results=Path(results),
        cache=cache_folder() if cache is None else Path(cache),
        step="eager",
        threads=threads,
        fresh=True,
    )
    options = {"steps": steps, "reference": reference, "old_model": old_model, "fresh": fresh}
    with tracking(run, strategy, seed, code=_calling_code(), **options) as trial:
        yield trial


def _calling_code() -> dict[str, Any]:
    """Return the code of the file that calls track(), and what it imports; nothing of what is typed in."""
    from bench.code import read_code

    ours = (__file__, inspect.getsourcefile(contextmanager))
    frame = next((each for each in inspect.stack() if each.filename not in ours), None)
    path = Path(frame.filename) if frame else Path()
    if path.suffix != ".py" or not path.is_file():
        return {"source": None}
    code = read_code(path)
    return {"source": code.source, "modules": code.modules(), "packages": code.packages()}
