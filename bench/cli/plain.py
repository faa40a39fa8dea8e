"""Output where not every character can be shown: an ASCII terminal gets ASCII, and no character is a traceback."""

from __future__ import annotations

import codecs
import sys
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.reporting.layout import Cells

_ERRORS, _ASCII = "bench_plain", "bench_ascii"
_PLAIN = {
    **{"×": "x", "±": "+-", "µ": "u", "−": "-", "‐": "-", "–": "-", "—": "-", "…": "~", "·": ".", "•": "*"},
    **{"→": "->", "≤": "<=", "≥": ">=", "≈": "~", "†": "*", "‘": "'", "’": "'", "“": '"', "”": '"'},
}


def plain_where_needed() -> None:
    """Make the standard streams replace what their encoding lacks."""
    codecs.register_error(_ERRORS, _replace)
    codecs.register(_find)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # click takes an ASCII stream for a mistake, and would write UTF-8 to it: so it goes by another name.
            reconfigure(encoding=_ASCII if _name(stream.encoding) == "ascii" else stream.encoding, errors=_ERRORS)


def plain_cells(cells: Cells) -> Cells:
    """Return a table as the standard output can show it, so that its columns are as wide as what is written."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if _name(encoding).startswith("utf"):
        return cells

    def plain(text: str) -> str:
        return text.encode(encoding, _ERRORS).decode(encoding)

    return replace(
        cells,
        heading=plain(cells.heading),
        columns=tuple(replace(column, heading=plain(column.heading)) for column in cells.columns),
        rows=tuple(tuple(map(plain, row)) for row in cells.rows),
        notes=tuple(map(plain, cells.notes)),
    )


def _name(encoding: str) -> str:
    return codecs.lookup(encoding).name


def _replace(cause: UnicodeError) -> tuple[str, int]:
    if not isinstance(cause, UnicodeEncodeError):
        raise cause
    return "".join(map(_one, cause.object[cause.start : cause.end])), cause.end


def _one(mark: str) -> str:
    if mark in _PLAIN:
        return _PLAIN[mark]
    if 0x2500 <= ord(mark) <= 0x257F:  # lines of boxes
        return {"─": "-", "━": "-", "═": "-", "│": "|", "┃": "|", "║": "|"}.get(mark, "+")
    letters = unicodedata.normalize("NFKD", mark).encode("ascii", "ignore").decode()
    return letters or "?"


class _Encoder(codecs.IncrementalEncoder):
    def encode(self, input: str, final: bool = False) -> bytes:
        return codecs.ascii_encode(input, self.errors)[0]


def _find(name: str) -> codecs.CodecInfo | None:
    if name != _ASCII:
        return None
    ascii_codec = codecs.lookup("ascii")
    return codecs.CodecInfo(
        ascii_codec.encode,
        ascii_codec.decode,
        ascii_codec.streamreader,
        ascii_codec.streamwriter,
        _Encoder,
        ascii_codec.incrementaldecoder,
        _ASCII,
    )
