"""A published target as text for a scenario file."""

from __future__ import annotations

import json
from collections.abc import Sequence

from bench.target import TargetPart


def target_toml(targets: Sequence[TargetPart]) -> str:
    """Return TOML to paste: [target] for one update, [[target]] for each of a chain's."""
    heading = "[target]" if len(targets) == 1 else "[[target]]"
    return "\n".join(f"{heading}\n{_fields(target)}" for target in targets)


def _fields(target: TargetPart) -> str:
    # A JSON string is a TOML string, and so is a list of whole numbers.
    lines = [
        f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in target.model_dump(mode="json").items()
    ]
    return "\n".join(line for line in lines if not line.endswith(" = null")) + "\n"
