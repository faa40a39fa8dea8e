"""Reads a page back as elements; the standard library's HTML parser is enough for that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "link", "img", "input", "br", "hr"}


@dataclass
class Element:
    """One element. texts: its own and, in order with them, its children."""

    tag: str
    attributes: dict[str, str | None]
    texts: list[str | Element] = field(default_factory=list)

    def all(self, tag: str | None = None, **wanted: str) -> list[Element]:
        """Return the elements within, at any depth, of a tag and with these words among an attribute's (class_ for class)."""
        asked = {name.rstrip("_").replace("_", "-"): value for name, value in wanted.items()}
        return [
            found
            for found in self._within()
            if tag in (None, found.tag)
            and all(value in (found.attributes.get(name) or "").split() for name, value in asked.items())
        ]

    @property
    def text(self) -> str:
        return "".join(part if isinstance(part, str) else part.text for part in self.texts).strip()

    def _within(self) -> Iterator[Element]:
        for part in self.texts:
            if isinstance(part, Element):
                yield part
                yield from part._within()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = Element(tag, dict(attrs))
        self._open[-1].texts.append(found)
        if tag not in _VOID:
            self._open.append(found)

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].texts.append(data)


def read_page(html: str) -> Element:
    """Return a page's root. Fails if an element is not closed, or closes another."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert [element.tag for element in reader._open] == [""]
    return reader.root


def entries(page: Element) -> list[Element]:
    """Return every leaderboard's rows, each with its details."""
    return [entry for table in page.all("table", class_="leaderboard") for entry in table.all("tbody", class_="entry")]


def cells(entry: Element) -> list[str]:
    """Return the cells of a leaderboard row; for the strategy, its name without its title."""
    shown = entry.all("tr")[0]
    return [
        cell.all("button")[0].text if cell.all("button") else cell.text
        for cell in shown.all()
        if cell.tag in ("td", "th")
    ]
