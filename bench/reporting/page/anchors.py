"""Addresses in the page that can be shared: the same for the same scenario, strategy and horizon in any report."""

from __future__ import annotations

import re

_OTHERS = re.compile(r"[^A-Za-z0-9._@=-]+")


class Anchors:
    """Gives each address once. Of names that differ only in other characters, later ones are numbered."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def of(self, *words: str) -> str:
        """Return an address such as "glyphs-32-15/naive@0.5"."""
        plain = "/".join(_OTHERS.sub("-", word) for word in words)
        number, found = 1, plain
        while found in self._given:
            number += 1
            found = f"{plain}/{number}"
        self._given.add(found)
        return found
