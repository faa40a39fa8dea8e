"""Which published target a record is compared with."""

from __future__ import annotations

from pydantic import ValidationError

from bench.catalog import find_scenario, scenario_names
from bench.errors import RecordError
from bench.records.schema import TrialRecord
from bench.scenario import Scenario, load_scenario
from bench.target import TargetPart


class PublishedTargets:
    """Looks up targets; every shipped scenario's file is read once."""

    def __init__(self) -> None:
        self._shipped: dict[str, Scenario | None] = {}

    def of(self, record: TrialRecord) -> TargetPart | None:
        """Return the target of a record's update, or None if none is published yet.

        It comes from the shipped scenario of the same name if the hashes match: a target published later applies to older
        records, too. Otherwise it comes from the record's own copy of its scenario.
        Raises RecordError if that copy's target is invalid.
        """
        name = record.scenario["name"]
        if name not in self._shipped:
            self._shipped[name] = load_scenario(find_scenario(name)) if name in scenario_names() else None
        shipped = self._shipped[name]
        if shipped is not None and shipped.hash() == record.scenario_hash:
            targets = shipped.target
            return targets[record.update - 1] if targets else None
        copied = record.scenario.get("target")
        if not copied:
            return None
        try:
            return TargetPart.model_validate(copied[record.update - 1])
        except (ValidationError, IndexError, TypeError) as cause:
            raise RecordError(
                f"{name}: seed {record.seed}: the record's copy of the scenario has no valid target for update "
                f"{record.update}, expected accuracy, std, seeds and source. Run it again with --fresh."
            ) from cause
