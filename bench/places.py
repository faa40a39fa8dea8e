"""Where things lie unless the user names another place."""

from __future__ import annotations

from pathlib import Path

# Below the current folder: records of one's own, and what is drawn from them.
RUNS, REPORTS = Path("runs"), Path("reports")
LOGS = Path("logs")  # what --log writes


def cache_folder() -> Path:
    """Return the folder of base models and checkpoints, in the user's cache folder."""
    from platformdirs import user_cache_path  # 10 ms, and most commands need no cache

    return user_cache_path("compute-to-accuracy", appauthor=False)


def data_folder() -> Path:
    """Return the folder of image sets, downloaded or put there, and of prepared images."""
    return cache_folder() / "data"
