"""Settings of what `make docs` builds. Its source folder is the repository itself, so that every link works in both places."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.version import __version__

project = "bench"
author = "the authors of bench"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click"]
root_doc = "docs/index"
include_patterns = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md"),
    *("docs/*.md", "docs/demonstrations/*.md", "docs/studies/*.md", "results/*.md"),
]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "bench"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", _plain)


def _plain(app: Any, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text: | and * in formulas are no markup, and `name` is code."""
    for place, line in enumerate(lines):
        if not line.lstrip().startswith(">>>"):
            escaped = line.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*")
            lines[place] = re.sub(r"`([^`]+)`", r"``\1``", escaped)
