"""A figure's inks on a dark page."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from bench.reporting.figures.inks import INKS
from bench.reporting.page.theme import GROUND, dark_ink, themed


def contrast(one: str, other: str) -> float:
    """Return the contrast of WCAG 2.2, from 1 to 21."""

    def luminance(colour: str) -> float:
        channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_the_ground_is_the_pages():
    style = files("bench.reporting.page").joinpath("page.css").read_text(encoding="utf-8")
    assert tuple(dict.fromkeys(re.findall(r"--ground: (#\w+);", style))) == GROUND
    assert dark_ink(GROUND[0]) == GROUND[1]


@pytest.mark.parametrize("colour", [*(ink.colour for ink in INKS), "#262626", "#000000", "#595959"])
def test_every_ink_can_be_seen_on_a_dark_page(colour: str):
    assert contrast(dark_ink(colour), GROUND[1]) >= 3  # WCAG 2.2 for graphics


def test_no_two_inks_become_one():
    assert len({dark_ink(ink.colour) for ink in INKS}) == len(INKS)


def test_an_svg_names_both_colours_of_each_ink_and_of_what_has_none():
    svg = '<?xml version="1.0"?>\n<svg width="9pt"><path style="fill: #ffffff; stroke: #0173b2"/></svg>'
    found = themed(svg)
    assert 'style="fill: var(--ffffff,#ffffff); stroke: var(--0173b2,#0173b2)"' in found
    style = found[found.index("<style>") : found.index("</style>")]
    assert found.index('<svg width="9pt">') < found.index("<style>") < found.index("<path")
    assert "--ffffff:#12161b" in style
    assert f"--0173b2:{dark_ink('#0173b2')}" in style
    assert ":root{fill:var(--000000,#000000)}" in style
    assert themed("nothing to draw") == "nothing to draw"
