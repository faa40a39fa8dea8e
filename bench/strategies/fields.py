"""The fields of a piece: their types, and values as these types have them."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from bench.errors import StrategyError

_STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


def field_types(piece: Any) -> dict[str, Any]:
    """Return the type of each field that can be set, by name. piece: an object or its class, a dataclass."""
    kind = piece if isinstance(piece, type) else type(piece)
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


def checked(value: Any, kind: Any) -> Any:
    """Return a value as its field's type has it, so that equal values are recorded and hashed alike: 1 for a float is 1.0.

    Raises ValueError, saying what is expected, for a value of another type, and for a number that is not finite.
    """
    given = value.item() if type(value).__module__ == "numpy" and not getattr(value, "shape", ()) else value
    adapter = _adapter(kind)
    if adapter is None:  # a type of the user's own, which pydantic does not know
        return given
    try:
        return _without_negative_zero(adapter.validate_python(given, strict=True))
    except ValidationError as cause:
        if isinstance(given, list):  # how a command line may write a tuple
            return checked(tuple(given), kind)
        raise ValueError(cause.errors()[0]["msg"].removeprefix("Input should be ").removeprefix("Input ")) from None


def canonical(piece: Any, where: str) -> Any:
    """Return a piece with every field as its type has it. where: for messages. Raises StrategyError, naming the field."""
    try:
        types = field_types(piece)
    except (NameError, TypeError, AttributeError):  # annotations that name what is not there at run time
        return piece
    changed = {}
    for name, kind in types.items():
        value = getattr(piece, name)
        try:
            found = checked(value, kind)
        except ValueError as cause:
            raise StrategyError(f"{where}.{name}: found {value!r}, expected {cause}. Change it.") from None
        if repr(found) != repr(value):
            changed[name] = found
    return dataclasses.replace(piece, **changed) if changed else piece


def _adapter(kind: Any) -> TypeAdapter[Any] | None:
    for config in (_STRICT, None):  # a dataclass or a model takes no other configuration than its own
        try:
            return TypeAdapter(kind, config=config)
        except (PydanticUserError, PydanticSchemaGenerationError):
            continue
    return None


def _without_negative_zero(value: Any) -> Any:
    if isinstance(value, float) and value == 0:
        return 0.0
    return tuple(map(_without_negative_zero, value)) if type(value) is tuple else value
