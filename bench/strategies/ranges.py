"""The ranges over which a strategy is tuned: reading them, and what lies in them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.errors import StrategyError
from bench.strategies.fields import field_types
from bench.strategies.notation import Setting, read_setting, show_value
from bench.strategies.strategy import Entrant
from bench.strategies.variants import vary

_FORM = "FIELD=LOW:HIGH, FIELD=LOW:HIGH:log or FIELD=VALUE,VALUE,..."


@dataclass(frozen=True)
class Range:
    """What a field may be: any number from low to high (whole ones, for a field of whole numbers), or one of several values.

    choices: as the command line writes them, by that text; empty for a range of numbers. log: drawn evenly in the logarithm.
    """

    field: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    choices: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        if self.choices is not None:
            return f"{self.field}={','.join(self.choices)}"
        return f"{self.field}={self.low:g}:{self.high:g}{':log' if self.log else ''}"

    def ends(self) -> list[Any]:
        """Return the values that must be possible, as `vary` takes them: the ends of the range, or all choices."""
        if self.choices is not None:
            return list(self.choices.values())
        return [self.value(self.low), self.value(self.high)]

    def value(self, found: Any) -> Any:
        """Return what was drawn as `vary` takes it; a number with four digits, so that it can be named and typed."""
        if self.choices is not None:
            return self.choices[found]
        return int(found) if self.whole else float(f"{found:.4g}")


def ranges_of(entrant: Entrant, asked: Sequence[str] = ()) -> list[Range]:
    """Return the ranges of a strategy: those asked for, else those that its file declares as `space`, a list of such texts.

    Raises StrategyError, in one line, for none, for text that is no range, for a field that is not there or is named twice, and
    for values that the strategy refuses.
    """
    texts = list(asked) or _declared(entrant)
    if not texts:
        raise StrategyError(
            f'{entrant.name}: declares no ranges, and none were given. Add space = ["schedule.peak=0.3:3:log"] to its file, or '
            "give --range schedule.peak=0.3:3:log."
        )
    found = [_read(entrant, text) for text in texts]
    fields = [each.field for each in found]
    twice = next((field for field in fields if fields.count(field) > 1), None)
    if twice is not None:
        raise StrategyError(f"{entrant.name}: {twice} has two ranges. Remove one.")
    for each in found:
        for value in each.ends():
            vary(entrant, {each.field: value})
    return found


def settings_text(settings: Mapping[str, Any], strategy: str) -> str:
    """Return settings as options of a command line, quoted for a shell where they must be."""
    import shlex

    return " ".join(
        f"--set {shlex.quote(f'{strategy}:{field}={show_value(value)}')}" for field, value in settings.items()
    )


def _declared(entrant: Entrant) -> list[str]:
    code = (entrant.plain or entrant).code
    space = vars(sys.modules[code.package]).get("space", []) if code else []
    if not isinstance(space, list | tuple) or not all(isinstance(text, str) for text in space):
        raise StrategyError(
            f"{code and code.path}: space is {space!r}, expected a list of texts such as 'schedule.peak=0.3:3:log'. Change it."
        )
    return list(space)


def _read(entrant: Entrant, text: str) -> Range:
    try:
        setting = read_setting("--grid", text)
    except StrategyError:
        raise StrategyError(f"--range {text!r}: expected {_FORM}. Change it.") from None
    if setting.of not in (None, entrant.name, (entrant.plain or entrant).name):
        raise StrategyError(f"--range {text!r}: is for {setting.of}, but {entrant.name} is tuned. Change it.")
    if setting.field == "horizon":
        raise StrategyError(
            f"--range {text!r}: a longer training is nearly always more accurate, so a length cannot be tuned for accuracy. "
            "Tune at one length, and look for the shortest by: bench frontier --find"
        )
    if len(setting.values) > 1:
        shown = [show_value(value) for value in setting.values]
        if len(set(shown)) < len(shown):
            raise StrategyError(f"--range {text!r}: a value is given twice. Remove it.")
        return Range(setting.field, choices=dict(zip(shown, setting.values, strict=True)))
    return _numbers(entrant, setting, text)


def _numbers(entrant: Entrant, setting: Setting, text: str) -> Range:
    said = str(setting.values[0]).split(":")
    try:
        low, high = (float(part) for part in said[:2])
    except ValueError:
        raise StrategyError(f"--range {text!r}: expected {_FORM}. Change it.") from None
    if len(said) > 3 or said[2:] not in ([], ["log"]) or not low < high or abs(low) + abs(high) == float("inf"):
        raise StrategyError(f"--range {text!r}: expected {_FORM}, LOW below HIGH. Change it.")
    if said[2:] and low <= 0:
        raise StrategyError(f"--range {text!r}: a logarithmic range must begin above 0. Change it.")
    aspect, _, name = setting.field.partition(".")
    kind = (
        field_types(getattr(entrant.strategy, aspect)).get(name) if name and hasattr(entrant.strategy, aspect) else None
    )
    whole = kind is int
    if whole and not (low.is_integer() and high.is_integer()):
        raise StrategyError(f"--range {text!r}: {setting.field} is a whole number, expected whole ends. Change them.")
    return Range(setting.field, low, high, bool(said[2:]), whole)
