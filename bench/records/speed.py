"""Records of how fast the training step is, and of what the harness itself costs: one JSON file each, in <results>/speed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.errors import RecordError
from bench.files import write_atomically
from bench.records.schema import Provenance

FOLDER = "speed"
_PROCESSES, _HARNESS = "processes", "harness"
SPEED_VERSION = 2  # of records of version 1, the usual loop ran in the process of the other two, with bench's settings

LoopName = Literal["ours", "bare", "usual"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_Kind = TypeVar("_Kind", bound=_Part)


class PairedRatio(_Part):
    """Another loop's time or CPU time to ours, over pairs; see bench.analysis.speedup.pairs.Ratio."""

    value: float
    low: float | None
    high: float | None
    median: float
    pairs: int


class LoopSpeed(_Part):
    """One loop. steps: of one round. images_per_second: the median over rounds.

    seconds_per_step, cpu_seconds_per_step: of each round, in the order of the pairs; CPU seconds are of all threads and workers.
    """

    steps: int
    seconds_per_step: tuple[float, ...]
    cpu_seconds_per_step: tuple[float, ...]
    images_per_second: float


class OperatorShare(_Part):
    """An operator's share of all operators' time."""

    name: str
    share: float


class ProfileFacts(_Part):
    """Where the time of our loop goes, by torch.profiler, which slows it down.

    Per step: wall_seconds; host_seconds, in operators on the CPU; device_seconds, in kernels on a GPU, None on a CPU. What the
    operators lack to the wall's is Python's. operators: those that take most, on the GPU if there is one.
    """

    steps: int
    wall_seconds: float
    host_seconds: float
    device_seconds: float | None
    operators: tuple[OperatorShare, ...]


class SpeedRecord(_Part):
    """One model's speed. bench.execution.loops says what the loops are.

    ratios: how many times as many images a second ours takes as each other loop; cpu_ratios: the same for a CPU second, which
    other work on the machine moves far less. flops_per_step: of the model, forward and backward. peak_flops: of the device in
    this precision, in FLOP/s, from peak_source; None if unknown. evaluation_images_per_second: the median.
    evaluation_share: of a trial's time, if a tenth as many images as it trains on are evaluated once an epoch.
    workers: of the usual loop. wall_seconds: of all rounds; other_cpu_seconds: what everything else on the machine took of it.
    """

    speed_version: int = SPEED_VERSION
    model: str
    image: tuple[int, int, int]
    classes: int
    parameters: int
    batch_size: int
    round_seconds: float
    workers: int
    loops: dict[LoopName, LoopSpeed]
    ratios: dict[LoopName, PairedRatio]
    cpu_ratios: dict[LoopName, PairedRatio]
    flops_per_step: int
    flops_per_second: float
    peak_flops: float | None
    peak_source: str | None
    evaluation_images_per_second: float
    evaluation_share: float
    profile: ProfileFacts
    wall_seconds: float
    other_cpu_seconds: float | None
    load_average_at_end: float | None
    provenance: Provenance

    @property
    def way(self) -> str:
        """How the steps ran, as --step calls it."""
        place = self.provenance
        parts = [name for name, has in (("graph", place.step == "graph"), ("compiled", place.compiled)) if has]
        return "+".join(parts) or "eager"

    @property
    def processor(self) -> str:
        """The GPU's name, or the CPU's."""
        return self.provenance.cpu if self.provenance.device_type == "cpu" else self.provenance.device

    @property
    def name(self) -> str:
        """The name of its file: one for each model, size, precision, step, number of threads and processor."""
        threads = [f"{self.provenance.threads}-threads"] if self.provenance.device_type == "cpu" else []
        words = (self.model, f"{self.image[1]}px", self.provenance.precision, self.way, *threads, self.processor)
        return _file_name(*words)


def write_speed(results: Path, record: SpeedRecord) -> Path:
    """Write a record, in place of an earlier one of the same name, and return its file."""
    return _write(results / FOLDER / f"{record.name}.json", record)


def read_speeds(results: Path) -> list[SpeedRecord]:
    """Return all records of steps in a results folder, by name. Raises RecordError if there is none, or one is not readable."""
    return _read(results / FOLDER, SpeedRecord, f"bench speed --results {results}")


Arm = Literal["processes", "threads"]


class ThroughputRecord(_Part):
    """How many trials a minute there are: `processes` processes of one thread each, against one process of as many threads.

    trials: of a turn, all of scratch. seconds_per_trial: of each turn, by the clock, in the order of the pairs.
    trials_per_minute: the median over turns. ratio: how many times as many the processes have. wall_seconds: of everything,
    processes' start included; other_cpu_seconds: what everything else on the machine took of it.
    """

    speed_version: int = SPEED_VERSION
    scenario: str
    scenario_hash: str
    processes: int
    trials: int
    seconds_per_trial: dict[Arm, tuple[float, ...]]
    trials_per_minute: dict[Arm, float]
    ratio: PairedRatio
    wall_seconds: float
    other_cpu_seconds: float | None
    load_average_at_end: float | None
    provenance: Provenance

    @property
    def name(self) -> str:
        return _file_name(self.scenario, f"{self.processes}-processes", self.provenance.cpu)


def write_throughput(results: Path, record: ThroughputRecord) -> Path:
    """Write a record, in place of an earlier one of the same name, and return its file."""
    return _write(results / FOLDER / _PROCESSES / f"{record.name}.json", record)


def read_throughputs(results: Path) -> list[ThroughputRecord]:
    """Return all records of many trials; see read_speeds."""
    return _read(results / FOLDER / _PROCESSES, ThroughputRecord, f"bench speed --processes 2 --results {results}")


class Piece(_Part):
    """What one command or function took. megabytes: its process' peak memory; None if it had no process of its own."""

    name: str
    seconds: float
    cpu_seconds: float
    megabytes: float | None


class HarnessRecord(_Part):
    """What planning and scoring made-up trials takes: the harness' own cost."""

    speed_version: int = SPEED_VERSION
    trials: int
    evaluations: int
    pieces: tuple[Piece, ...]
    provenance: Provenance

    @property
    def name(self) -> str:
        return _file_name(f"{self.trials}-trials-{self.evaluations}-evaluations", self.provenance.cpu)


def write_harness(results: Path, record: HarnessRecord) -> Path:
    """Write a record, in place of an earlier one of the same name, and return its file."""
    return _write(results / FOLDER / _HARNESS / f"{record.name}.json", record)


def read_harnesses(results: Path) -> list[HarnessRecord]:
    """Return all records of the harness' own cost; see read_speeds."""
    return _read(results / FOLDER / _HARNESS, HarnessRecord, f"bench speed --harness --results {results}")


def _read(folder: Path, kind: type[_Kind], command: str) -> list[_Kind]:
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(kind.model_validate_json(path.read_bytes()))
        except OSError as cause:
            raise RecordError(f"{path}: cannot be read ({cause.strerror}). Fix its permissions.") from cause
        except ValidationError as cause:
            error = cause.errors()[0]
            where = ".".join(map(str, error["loc"])) or "the file"
            raise RecordError(
                f"{path}: {where}: {error['msg']}, expected a record of bench speed. Run it again."
            ) from None
    if not found:
        raise RecordError(f"{folder}: no records, expected some of bench speed. Run: {command}")
    return found


def _write(path: Path, record: _Part) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (record.model_dump_json(indent=1) + "\n").encode())
    return path


def _file_name(*words: str) -> str:
    return re.sub(r"[^a-z0-9+]+", "-", "-".join(words).lower()).strip("-")
