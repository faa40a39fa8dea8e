"""The page: every leaderboard, with what stands behind each row, as one file that needs nothing else."""

from __future__ import annotations

from bench.reporting.page.write import PAGE_NAME, write_page

__all__ = ["PAGE_NAME", "write_page"]
