"""How a strategy's settings are written on a command line, and in the name of a variant: reading and showing them."""

from __future__ import annotations

import ast
import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from bench.errors import StrategyError

_ASSIGNMENT = re.compile(r"(?:(?P<of>[^=\[\]]+(?:\[.*\])?):)?(?P<field>[A-Za-z_][\w.]*)=(?P<value>.*)", re.DOTALL)

_LONGEST_VALUE = 1000  # characters; a variant's name, which holds its values, has at most 200 bytes


@dataclass(frozen=True)
class Word:
    """A bare word on a command line: a piece's name, or a string without quotes."""

    text: str


@dataclass(frozen=True)
class Call:
    """A piece with arguments on a command line, such as ShrinkAndPerturb(shrink=0.9, perturb=0.1)."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """One --set or --grid option. of: the strategy that it is for, as it was asked for; None for all but scratch.

    values: one for --set. text: the option as it was typed, for messages.
    """

    field: str
    values: tuple[Any, ...]
    of: str | None
    text: str


def read_setting(option: str, text: str) -> Setting:
    """Read [STRATEGY:]FIELD=VALUE of --set, or [STRATEGY:]FIELD=VALUE,VALUE,... of --grid. Raises StrategyError."""
    found = _ASSIGNMENT.fullmatch(text)
    values = _split(found["value"]) if found and option == "--grid" else [found["value"]] if found else []
    if found is None or not all(value.strip() for value in values):
        form = "FIELD=VALUE" if option == "--set" else "FIELD=VALUE,VALUE,..."
        raise StrategyError(f"{option} {text!r}: expected [STRATEGY:]{form}, such as start.shrink=0.9. Change it.")
    return Setting(found["field"], tuple(map(read_value, values)), found["of"], f"{option} {text}")


def split_reference(text: str) -> tuple[str, dict[str, Any]]:
    """Return (name or path, settings by field) of text such as "optimized[schedule.warmup=0.2]". Raises StrategyError."""
    if not text.endswith("]"):
        if "[" in text and not text.endswith(".py"):
            raise StrategyError(
                f"strategy {text!r}: a bracket is not closed, expected NAME[FIELD=VALUE,...]. Close it."
            )
        return text, {}
    begin, depth = len(text), 0
    while begin and (depth or begin == len(text)):
        begin -= 1
        depth += {"]": 1, "[": -1}.get(text[begin], 0)
    name, inner = text[:begin], text[begin + 1 : -1]
    settings: dict[str, Any] = {}
    for part in _split(inner):
        found = _ASSIGNMENT.fullmatch(part.strip())
        if depth or not name or found is None or found["of"] or not found["value"].strip():
            raise StrategyError(
                f"strategy {text!r}: expected NAME[FIELD=VALUE,...], such as optimized[schedule.warmup=0.2]. Change it."
            )
        if found["field"] in settings:
            raise StrategyError(f"strategy {text!r}: {found['field']} is set twice. Remove one of them.")
        settings[found["field"]] = read_value(found["value"])
    return name, settings


def read_value(text: str) -> Any:
    """Return what a value on the command line says: a Python literal, a Word or a Call; other text is a string.

    Raises StrategyError for a field that is given twice, and for a longer text than any value takes.
    """
    if len(text) > _LONGEST_VALUE:
        raise StrategyError(
            f"{text.strip()[:40]!r}...: a value of {len(text):,} characters, expected at most {_LONGEST_VALUE:,}. Change it."
        )
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return text.strip()
    if isinstance(node, ast.Name):
        return Word(node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
        try:
            arguments = {word.arg or "**": _argument(word.value) for word in node.keywords}
        except (ValueError, TypeError):
            return text.strip()
        if len(arguments) < len(node.keywords):
            raise StrategyError(f"{text.strip()}: a field is given twice. Remove one of them.")
        return Call(node.func.id, arguments)
    try:
        return _argument(node)
    except (ValueError, TypeError, MemoryError, RecursionError):
        return text.strip()


def _argument(node: ast.expr) -> Any:
    """Return a literal, a Word, or a tuple of literals and of strings without quotes."""
    if isinstance(node, ast.Tuple):
        return tuple(each.id if isinstance(each, ast.Name) else ast.literal_eval(each) for each in node.elts)
    return Word(node.id) if isinstance(node, ast.Name) else ast.literal_eval(node)


def show_value(value: Any) -> str:
    """Return a value as the command line takes it."""
    if isinstance(value, Word):
        return value.text
    if isinstance(value, Call):
        return f"{value.name}({','.join(f'{name}={show_value(each)}' for name, each in value.arguments.items())})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        given = [field for field in dataclasses.fields(value) if field.init]
        told = [field for field in given if is_required(field) or getattr(value, field.name) != _default(field)]
        inner = ",".join(f"{field.name}={show_value(getattr(value, field.name))}" for field in told)
        return type(value).__name__ + (f"({inner})" if inner else "")
    if isinstance(value, tuple):
        return f"({','.join(map(show_value, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, str) and value.isidentifier() and value not in ("None", "True", "False"):
        return value
    return repr(value)


def is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _split(text: str) -> list[str]:
    """Split at the commas outside brackets and quotes."""
    parts, depth, quote, begin = [], 0, "", 0
    for place, mark in enumerate(text):
        if quote:
            quote = "" if mark == quote else quote
        elif mark in "'\"":
            quote = mark
        elif mark in "([{":
            depth += 1
        elif mark in ")]}":
            depth -= 1
        elif mark == "," and not depth:
            parts.append(text[begin:place])
            begin = place + 1
    return [*parts, text[begin:]]
