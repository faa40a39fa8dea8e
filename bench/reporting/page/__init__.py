"""The page: every leaderboard, with the details of each row, as one self-contained file."""

from __future__ import annotations

from bench.reporting.page.write import PAGE_NAME, write_page

__all__ = ["PAGE_NAME", "write_page"]
