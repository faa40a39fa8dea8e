"""Variants of a strategy: some fields set to other values, from the command line or from Python."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import math
import re
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bench.catalog import REFERENCE, find_strategy
from bench.errors import StrategyError
from bench.strategies import regularizer, schedule, selection, start
from bench.strategies.notation import Call, Setting, Word, is_required, show_value, split_reference
from bench.strategies.strategy import ASPECTS, Entrant, load_strategy, module_name, source_of

MOST_VARIANTS = 1000
# A name is a folder's name, and file systems hold 255 bytes; figures add to it.
_LONGEST_NAME = 200
_PIECES = {
    name: value
    for module in (start, regularizer, selection, schedule)
    for name, value in vars(module).items()
    if isinstance(value, type) and dataclasses.is_dataclass(value)
}
_STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


def load_variant(reference: str) -> Entrant:
    """Return a strategy by a name or path, which may have parameters: "optimized[start.shrink=0.9]". Raises StrategyError."""
    name, settings = split_reference(reference)
    plain = load_strategy(find_strategy(name))
    return vary(plain, settings) if settings else plain


def vary(entrant: Entrant, settings: Mapping[str, Any]) -> Entrant:
    """Return the strategy with fields set to other values, validated as if its file had said so.

    settings: a field such as "start.shrink", "start" or "horizon" -> its value; pieces as objects, as a Word or as a Call.
    The name says what differs from the file, in one order and form however it was asked for: optimized[start.shrink=0.9]. The
    horizon is no part of it: it is in every record and table by itself, and several of them are one strategy's frontier.
    Raises StrategyError for a field that does not exist, and for a value of another type or out of range.
    """
    plain = entrant.plain or entrant
    parts: dict[str, Any] = {name: getattr(entrant.strategy, name) for name in (*ASPECTS, "horizon")}
    # Whole pieces first, whatever the order they are given in: start.shrink is a field of the start that is asked for.
    for field, value in sorted(settings.items(), key=lambda item: "." in item[0]):
        aspect, dot, name = field.partition(".")
        if aspect not in parts or (dot and aspect == "horizon"):
            raise _unknown(entrant.name, field, parts)
        if dot:
            parts[aspect] = _with_field(entrant.name, parts, aspect, name, value)
        elif aspect == "horizon":
            parts[aspect] = _checked(entrant.name, "horizon", float, value)
        else:
            parts[aspect] = _piece(entrant, aspect, value)
    try:
        changed = dataclasses.replace(plain.strategy, **parts)
    except StrategyError as cause:
        raise StrategyError(f"{entrant.name}: {cause}") from cause
    label = _label(plain, changed)
    title = f"{plain.strategy.title}, {label}" if label else plain.strategy.title
    varied = dataclasses.replace(changed, title=title)
    name = f"{plain.name}[{label}]" if label else plain.name
    if len(name.encode()) > _LONGEST_NAME or re.search(r"[/\\\0]", name):
        raise StrategyError(
            f"{name}: cannot name a folder, expected at most {_LONGEST_NAME} bytes and no slash. Write the strategy as a file."
        )
    return Entrant(name, varied, source_of(varied, plain), plain.origin, plain)


def expand(entrants: Sequence[tuple[str, Entrant]], settings: Sequence[Setting]) -> list[Entrant]:
    """Return the strategies with all settings applied: of several values, one variant each, and of several grids their product.

    entrants: (as it was asked for, strategy). A setting without a strategy is for all but scratch, and each of them must have the
    field. Raises StrategyError, also where a setting is for no strategy, or there would be more than MOST_VARIANTS.
    """
    for setting in settings:
        if not any(_concerns(setting, *each) for each in entrants):
            known = ", ".join(asked for asked, _ in entrants)
            what = setting.of or f"a strategy other than {REFERENCE}"
            raise StrategyError(
                f"{setting.text}: {what} is not among the strategies asked for ({known}). Change one of them."
            )
        _refuse_partial(setting, entrants)
    mine = [[setting for setting in settings if _concerns(setting, *each)] for each in entrants]
    for found in mine:
        _refuse_repeated(found)
    counts = [math.prod(len(setting.values) for setting in found) for found in mine]
    if sum(counts) > MOST_VARIANTS:
        raise StrategyError(
            f"--grid: {sum(counts):,} strategies, expected at most {MOST_VARIANTS:,}. Give fewer values."
        )
    return [variant for (_, each), found in zip(entrants, mine, strict=True) for variant in _variants(each, found)]


def _variants(entrant: Entrant, settings: Sequence[Setting]) -> Iterator[Entrant]:
    for values in itertools.product(*(setting.values for setting in settings)):
        chosen = {setting.field: value for setting, value in zip(settings, values, strict=True)}
        yield vary(entrant, chosen) if chosen else entrant


def _refuse_partial(setting: Setting, entrants: Sequence[tuple[str, Entrant]]) -> None:
    """Raise StrategyError for a setting that is for all strategies, where some have such a field and some do not."""
    having = {asked: _has_field(each, setting.field) for asked, each in entrants if _concerns(setting, asked, each)}
    if setting.of is None and len(set(having.values())) > 1:
        first = next(asked for asked, has in having.items() if has)
        lacking = ", ".join(asked for asked, has in having.items() if not has)
        option = setting.text.partition(" ")[0]
        raise StrategyError(
            f"{setting.text}: {lacking} has no {setting.field}. Name the strategy that it is for: {option} "
            f"{first}:{setting.field}=..."
        )


def _has_field(entrant: Entrant, field: str) -> bool:
    aspect, dot, name = field.partition(".")
    return not dot or (aspect in ASPECTS and name in _fields(getattr(entrant.strategy, aspect)))


def _concerns(setting: Setting, asked: str, entrant: Entrant) -> bool:
    return entrant.name != REFERENCE if setting.of is None else setting.of in (asked, entrant.name)


def _refuse_repeated(settings: Sequence[Setting]) -> None:
    for first, second in itertools.combinations(settings, 2):
        if first.field == second.field:
            raise StrategyError(f"{second.text}: {first.field} is also set by {first.text}. Remove one of them.")


def _with_field(strategy: str, parts: Mapping[str, Any], aspect: str, name: str, value: Any) -> Any:
    """Return the piece of an aspect with one of its fields set."""
    piece = parts[aspect]
    hints = _fields(piece)
    if name not in hints:
        raise _unknown(strategy, f"{aspect}.{name}", parts)
    checked = _checked(strategy, f"{aspect}.{name}", hints[name], value)
    try:
        return dataclasses.replace(piece, **{name: checked})
    except StrategyError as cause:
        raise StrategyError(f"{strategy}: {aspect}.{name}={show_value(checked)}: {cause}") from cause


def _piece(entrant: Entrant, aspect: str, value: Any) -> Any:
    """Return a whole piece: the object itself, or one made by the name of its class."""
    if not isinstance(value, Word | Call):
        return value  # Strategy says what it expects
    name, arguments = (value.text, {}) if isinstance(value, Word) else (value.name, value.arguments)
    own = getattr(sys.modules.get(module_name((entrant.plain or entrant).name)), name, None)
    kind = own if isinstance(own, type) and dataclasses.is_dataclass(own) else _PIECES.get(name)
    if kind is None:
        near = difflib.get_close_matches(name, _PIECES, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise StrategyError(
            f"{entrant.name}: {aspect}={name}: unknown piece.{hint} Use one of {', '.join(sorted(_PIECES))}, or write a file."
        )
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    for argument in arguments:
        if argument not in fields:
            known = ", ".join(fields) or "none"
            raise StrategyError(
                f"{entrant.name}: {aspect}={name}: unknown field {argument}, expected one of: {known}. Change it."
            )
    required = [name for name, field in fields.items() if is_required(field) and name not in arguments]
    if required:
        raise StrategyError(
            f"{entrant.name}: {aspect}={name}: {', '.join(required)} missing. Write {name}({required[0]}=...)."
        )
    checked = {key: _checked(entrant.name, f"{aspect}.{key}", hints[key], each) for key, each in arguments.items()}
    try:
        return kind(**checked)
    except StrategyError as cause:
        raise StrategyError(f"{entrant.name}: {aspect}={name}: {cause}") from cause


def _fields(piece: Any) -> dict[str, Any]:
    """Return the type of each field that can be set, by name."""
    hints = typing.get_type_hints(type(piece))
    return {field.name: hints[field.name] for field in dataclasses.fields(piece) if field.init}


def _checked(strategy: str, field: str, kind: Any, value: Any) -> Any:
    """Return the value as the field's type has it. Raises StrategyError for one of another type."""
    plain = value.text if isinstance(value, Word) else tuple(value) if isinstance(value, list) else value
    try:
        return TypeAdapter(kind, config=_STRICT).validate_python(plain)
    except ValidationError as cause:
        expected = cause.errors()[0]["msg"].removeprefix("Input should be ").removeprefix("Input ")
        raise StrategyError(f"{strategy}: {field}={show_value(value)}: expected {expected}. Change it.") from None


def _unknown(strategy: str, field: str, parts: Mapping[str, Any]) -> StrategyError:
    known = [name for name in parts if name == field.partition(".")[0]] or list(parts)
    fields = [f"{name}.{each}" for name in known if name != "horizon" for each in _fields(parts[name])]
    choices = [*fields, *known]
    near = difflib.get_close_matches(field, choices, 1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return StrategyError(f"{strategy}: {field}: no such field. {hint}Use one of {', '.join(choices)}.")


def _label(plain: Entrant, changed: Any) -> str:
    """Return what differs from the file, aspect by aspect; empty where nothing but the horizon does."""
    words = []
    for aspect in ASPECTS:
        before, after = getattr(plain.strategy, aspect), getattr(changed, aspect)
        if type(before) is not type(after):
            words.append(f"{aspect}={show_value(after)}")
            continue
        names = [field.name for field in dataclasses.fields(after)]
        differing = [name for name in names if getattr(before, name) != getattr(after, name)]
        words += [f"{aspect}.{name}={show_value(getattr(after, name))}" for name in differing]
    return ",".join(words)
