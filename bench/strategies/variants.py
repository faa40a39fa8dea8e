"""Variants of a strategy: some fields set to other values, from the command line or from Python."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bench.catalog import REFERENCE, find_strategy
from bench.errors import StrategyError
from bench.strategies import averaging, freezing, head, objective, regularizer, schedule, selection, start, teacher
from bench.strategies.fields import canonical, checked, field_types
from bench.strategies.notation import Call, Setting, Word, is_required, show_value, split_reference
from bench.strategies.strategy import (
    ASPECTS,
    Entrant,
    in_a_line,
    load_strategy,
    own_code,
    require_recordable,
)

MOST_VARIANTS = 1000
# A name is a folder's name, and file systems hold 255 bytes; figures add to it.
_LONGEST_NAME = 200
_MODULES = {
    "start": start,
    "regularizer": regularizer,
    "selection": selection,
    "schedule": schedule,
    "freezing": freezing,
    "head": head,
    "averaging": averaging,
    "teacher": teacher,
    "objective": objective,
}


def load_variant(reference: str) -> Entrant:
    """Return a strategy by a name or path, which may have parameters: "optimized[schedule.warmup=0.2]". Raises StrategyError."""
    name, settings = split_reference(reference)
    plain = load_strategy(find_strategy(name))
    return vary(plain, settings) if settings else plain


def vary(entrant: Entrant, settings: Mapping[str, Any]) -> Entrant:
    """Return the strategy with fields set to other values, validated as if its file had said so.

    settings: a field such as "start.shrink", "start" or "horizon" -> its value; pieces as objects, as a Word or as a Call.
    The name says what differs from the file, in one order and form however it was asked for: optimized[schedule.warmup=0.2]. The
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
            parts[aspect] = _value(entrant.name, "horizon", float, value)
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
    if len(name.encode()) > _LONGEST_NAME or "/" in name or "\\" in name or not name.isprintable():
        raise StrategyError(
            f"{name[:60]!r}...: cannot name a folder, expected at most {_LONGEST_NAME} bytes, no slash and no line break. "
            "Write the strategy as a file."
        )
    fields = own_code(varied, plain)
    return require_recordable(Entrant(name, varied, **fields, code=plain.code, plain=plain, tuning=plain.tuning))


def expand(entrants: Sequence[tuple[str, Entrant]], settings: Sequence[Setting]) -> list[Entrant]:
    """Return the strategies with all settings applied: of several values, one variant each, and of several grids their product.

    entrants: (as it was asked for, strategy). A setting without a strategy is for all but scratch, and each of them must have the
    field. Raises StrategyError, also where a setting is for no strategy, or there would be more than MOST_VARIANTS.
    """
    _refuse_one_name(entrants)
    for setting in settings:
        if not any(_concerns(setting, *each) for each in entrants):
            known = ", ".join(asked for asked, _ in entrants)
            what = setting.of or f"a strategy other than {REFERENCE}"
            raise StrategyError(
                f"{setting.text}: {what} is not among the strategies asked for ({known}). Change one of them."
            )
        _refuse_partial(setting, entrants)
    mine = [[setting for setting in settings if _concerns(setting, *each)] for each in entrants]
    for (asked, _), found in zip(entrants, mine, strict=True):
        _refuse_repeated(asked, found)
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
    return not dot or (aspect in ASPECTS and name in field_types(getattr(entrant.strategy, aspect)))


def _concerns(setting: Setting, asked: str, entrant: Entrant) -> bool:
    if setting.of is None:
        return entrant.name != REFERENCE
    return setting.of in (asked, entrant.name, (entrant.plain or entrant).name)


def _refuse_one_name(entrants: Sequence[tuple[str, Entrant]]) -> None:
    """Raise StrategyError for two strategies of one name: their records would lie in one folder."""
    known: dict[str, Entrant] = {}
    for _, each in entrants:
        other = each.plain or each
        one = known.setdefault(other.name, other)
        if one is other:
            continue
        paths = [each.code.path if each.code else None for each in (one, other)]
        if paths[0] and paths[1] and paths[0].resolve() != paths[1].resolve():
            raise StrategyError(f"--strategy: {paths[0]} and {paths[1]} have the same name. Rename one of the files.")
        if (
            one.at(1.0).hash() != other.at(1.0).hash()
        ):  # one file, changed between being asked for twice, or two objects
            raise StrategyError(
                f"--strategy: two different strategies are called {one.name}. Rename one; if one file was asked for twice, it "
                "changed meanwhile: run the command again."
            )


def _refuse_repeated(asked: str, settings: Sequence[Setting]) -> None:
    given = split_reference(asked)[1]
    for setting in settings:
        if setting.field in given:
            raise StrategyError(f"{setting.text}: {setting.field} is also set in {asked}. Remove one of them.")
    for first, second in itertools.combinations(settings, 2):
        if first.field == second.field:
            raise StrategyError(f"{second.text}: {first.field} is also set by {first.text}. Remove one of them.")


def _with_field(strategy: str, parts: Mapping[str, Any], aspect: str, name: str, value: Any) -> Any:
    """Return the piece of an aspect with one of its fields set."""
    types = field_types(parts[aspect])
    if name not in types:
        raise _unknown(strategy, f"{aspect}.{name}", parts)
    found = _value(strategy, f"{aspect}.{name}", types[name], value)
    with _made_by(f"{strategy}: {aspect}.{name}={show_value(found)}"):
        return dataclasses.replace(parts[aspect], **{name: found})


def _piece(entrant: Entrant, aspect: str, value: Any) -> Any:
    """Return a whole piece: the object itself, or one made by the name of its class."""
    kinds = _pieces(entrant, aspect)
    known = ", ".join(sorted(kinds))
    if dataclasses.is_dataclass(value) and not isinstance(value, type | Word | Call):
        return canonical(value, f"{entrant.name}: {aspect}")  # Strategy says whether it is a piece of this aspect
    if not isinstance(value, Word | Call):
        raise StrategyError(
            f"{entrant.name}: {aspect}={show_value(value)[:60]}: expected a piece, such as NAME or NAME(FIELD=VALUE,...), one of "
            f"{known}. Change it."
        )
    name, arguments = (value.text, {}) if isinstance(value, Word) else (value.name, value.arguments)
    where = f"{entrant.name}: {aspect}={name}"
    kind = kinds.get(name)
    if kind is None:
        near = difflib.get_close_matches(name, kinds, 1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise StrategyError(f"{where}: no such piece of this aspect. {hint}Use one of {known}, or write a file.")
    types = field_types(kind)
    for argument in arguments:
        if argument not in types:
            fields = ", ".join(types) or "none"
            raise StrategyError(f"{where}: unknown field {argument}, expected one of: {fields}. Change it.")
    required = [field.name for field in dataclasses.fields(kind) if field.init and is_required(field)]
    missing = [field for field in required if field not in arguments]
    if missing:
        raise StrategyError(f"{where}: {', '.join(missing)} missing. Write {name}({missing[0]}=...).")
    found = {key: _value(entrant.name, f"{aspect}.{key}", types[key], each) for key, each in arguments.items()}
    with _made_by(where):
        return kind(**found)


def _pieces(entrant: Entrant, aspect: str) -> dict[str, type]:
    """Return the pieces of an aspect, by name: bench's, and those that the strategy's own file defines."""
    code = (entrant.plain or entrant).code
    own = vars(sys.modules[code.package]) if code else {}
    known = {**vars(_MODULES[aspect]), **own}
    method = next(name for name, value in vars(ASPECTS[aspect]).items() if callable(value) and not name.startswith("_"))
    return {
        name: value
        for name, value in known.items()
        if isinstance(value, type) and dataclasses.is_dataclass(value) and hasattr(value, method)
    }


@contextmanager
def _made_by(where: str) -> Iterator[None]:
    """Turn what a piece raises when it is made into a StrategyError that says where the value came from."""
    try:
        yield
    except StrategyError as cause:
        raise StrategyError(f"{where}: {cause}") from cause
    except (Exception, SystemExit) as cause:
        raise StrategyError(f"{where}: failed with {in_a_line(cause)}. Change it.") from cause


def _value(strategy: str, field: str, kind: Any, value: Any) -> Any:
    """Return a value as the field's type has it. Raises StrategyError for one of another type."""
    try:
        return checked(value.text if isinstance(value, Word) else value, kind)
    except ValueError as cause:
        raise StrategyError(f"{strategy}: {field}={show_value(value)[:60]}: expected {cause}. Change it.") from None


def _unknown(strategy: str, field: str, parts: Mapping[str, Any]) -> StrategyError:
    known = [name for name in parts if name == field.partition(".")[0]] or list(parts)
    fields = [f"{name}.{each}" for name in known if name != "horizon" for each in field_types(parts[name])]
    choices = [*fields, *known]
    near = difflib.get_close_matches(field, choices, 1)
    if near:
        hint = f"Did you mean {near[0]}? "
    elif len(known) == 1 and known[0] != "horizon" and not fields:
        hint = f"{type(parts[known[0]]).__name__} has no fields. "
    else:
        hint = ""
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
