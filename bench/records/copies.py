"""Records that lie in a results folder twice, because a folder was copied: a seed must not count twice."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from bench.records.schema import TrialRecord
from bench.records.store import place_of


class Copies:
    """Finds records of one and the same trial among those that it is told of."""

    def __init__(self, results: Path) -> None:
        self._results = results
        self._folders: dict[str, list[tuple[Path, str]]] = defaultdict(list)

    def add(self, folder: Path, record: TrialRecord) -> None:
        """Note a record, and the weights that it ended with."""
        weights = record.summary.weights_sha256 if record.summary else ""
        self._folders[place_of(record)].append((folder, weights))

    def found(self) -> dict[str, str]:
        """Return folder -> what it is a copy of, for every record but one of each trial: the one that lies where it belongs."""
        copies = {}
        for place, found in self._folders.items():
            if len(found) > 1:
                home = self._results / place
                kept = next((each for each in found if each[0] == home), found[0])
                for each in found:
                    if each is not kept:
                        copies[str(each[0])] = _words(each, kept)
        return copies


def _words(one: tuple[Path, str], kept: tuple[Path, str]) -> str:
    what = "a copy of" if one[1] == kept[1] else "another record of the trial in"
    return f"{one[0]}: {what} {kept[0]}, as its scenario, strategy, horizon, seed and update say. Remove one of them."
