"""The page as HTML: one file that loads nothing and runs only its own script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from bench.files import write_atomically
from bench.records.collect import Records
from bench.reporting.page.build import build_page
from bench.reporting.page.content import Page

PAGE_NAME = "index.html"


def write_page(
    parts: Sequence[Records], reports: Path, written: Sequence[Path] = (), *, only: str | None = None
) -> Path:
    """Write reports/index.html, and return its path. See build_page for the arguments.

    The same records and figures give the same bytes.
    """
    path = reports / PAGE_NAME
    write_atomically(path, render(build_page(parts, reports, written, only=only)).encode())
    return path


def render(page: Page) -> str:
    """Return the page as HTML. All content is text and is escaped; only bench's own assets are not."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    template = environment.from_string(_asset("page.html"))
    return template.render(page=page, style=style, script=script, policy=policy)


def _asset(name: str) -> str:
    return files("bench.reporting.page").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """Return a script's or style's hash for the content security policy, which allows no other, inline or not."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
