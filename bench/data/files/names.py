"""Names of classes: in one form, and distinct."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from bench.errors import DataError


def plain_name(name: str) -> str:
    """Return a class name in Unicode's composed form (NFC), without spaces around it."""
    return unicodedata.normalize("NFC", name).strip()


def distinct_names(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Return class names by `plain_name`, in the order given.

    Raises DataError if one is empty, is not UTF-8 or holds a control character, or if two are equal but for form or case.
    """
    seen: dict[str, str] = {}
    for name in names:
        ours = plain_name(name)
        if not ours or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in ours):
            raise DataError(f"{where}: class name {name!a}: expected readable UTF-8 text on one line. Rename it.")
        if ours.casefold() in seen:
            raise alike(seen[ours.casefold()], name, where)
        seen[ours.casefold()] = name
    return tuple(map(plain_name, seen.values()))


def alike(one: str, other: str, where: str) -> DataError:
    """Return the error for two class names that are equal, or would be but for form and case."""
    return DataError(
        f"{where}: class names {_quoted(one)} and {_quoted(other)}: the same but for spelling, expected distinct names. "
        "Merge the classes, or rename one."
    )


def _quoted(name: str) -> str:
    """Return a name in quotes; in escapes if it is not in composed form, so that what differs can be seen."""
    return repr(name) if unicodedata.is_normalized("NFC", name) else ascii(name)


def shown(text: str) -> str:
    """Return a path or name as printable text on one line; what is not UTF-8 or would break the line is escaped."""
    return "".join(
        letter if unicodedata.category(letter) not in ("Cc", "Cs") else ascii(letter)[1:-1] for letter in text
    )
