"""A figure's inks on a dark page: an SVG that follows the colours of the page it is in."""

from __future__ import annotations

import re

# The ground of the page, light and dark; as in page.css. On it, a figure looks transparent; where a browser does not tell it the
# page's colours, it can still be read.
GROUND = ("#ffffff", "#12161b")
_DARKEST, _LIGHTEST = 0.2, 0.94  # of greys on a dark page, in OKLab's lightness
_DULL = 0.02  # chroma: below, a grey
_PALE = 0.85  # lightness: above, a tint of the ground
_HEX = re.compile(r"#[0-9a-f]{6}\b")


def themed(svg: str) -> str:
    """Return an SVG in which every colour has a second value, for pages in dark colours.

    An image in a page sees the page's colours as its own `prefers-color-scheme`.
    """
    inks = sorted({*_HEX.findall(svg), "#000000"})  # black is what is drawn where nothing is said
    named = _HEX.sub(lambda found: f"var(--{found[0][1:]},{found[0]})", svg)
    dark = ";".join(f"--{ink[1:]}:{dark_ink(ink)}" for ink in inks)
    style = f"<style>:root{{fill:var(--000000,#000000)}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    begin = re.search(r"<svg\b[^>]*>", named)
    return named if begin is None else f"{named[: begin.end()]}{style}{named[begin.end() :]}"


def dark_ink(colour: str) -> str:
    """Return the colour, "#rrggbb", that a light page's has on a dark one: of the same hue, light enough to be seen.

    Greys and tints of the ground are turned around; of the others, the darker become lighter and remain the darker ones.
    """
    if colour == GROUND[0]:
        return GROUND[1]
    lightness, a, b = _oklab(colour)
    if a * a + b * b < _DULL**2 or lightness > _PALE:
        lightness = _DARKEST + (1 - lightness) ** 0.7 * (_LIGHTEST - _DARKEST)  # a grid stays visible
    else:
        lightness = 0.6 + 0.3 * lightness
    return _hex(lightness, a, b)


def _oklab(colour: str) -> tuple[float, float, float]:
    """Return lightness (0 to 1), a and b. Source: Ottosson 2020, A perceptual color space for image processing."""
    red, green, blue = (_linear(int(colour[place : place + 2], 16) / 255) for place in (1, 3, 5))
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    medium = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def _hex(lightness: float, a: float, b: float) -> str:
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    channels = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    return "#" + "".join(f"{round(255 * _curved(min(1.0, max(0.0, channel)))):02x}" for channel in channels)


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


def _curved(channel: float) -> float:
    return 12.92 * channel if channel <= 0.0031308 else 1.055 * channel ** (1 / 2.4) - 0.055
