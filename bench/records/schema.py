"""What a record holds; versions.py has its history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.catalog import LARGEST_SEED
from bench.errors import first_fault
from bench.records.grid import evaluation_steps
from bench.records.versions import DIGESTS_FROM, RULES_VERSION, SCHEMA_VERSION, SEALED_FROM
from bench.scenario import MOST_POINTS, NAME

# RULES 1: phases account for the wall time to within 1 %; in short trials, to within the time a busy machine takes between two.
UNACCOUNTED_SHARE, UNACCOUNTED_SECONDS = 0.01, 0.25
# From this share on, sampled power and the energy counter disagree.
POWER_DISAGREEMENT = 0.1

_MOST_STEPS, _LONGEST_HORIZON = 10**12, 20

Status = Literal["running", "interrupted", "finished", "failed", "diverged"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EvalRow(_Record):
    """One line of evals.jsonl. Costs are totals since the start of the trial; accuracies are fractions."""

    step: int
    epoch: float  # images / training images of old + new
    images: int
    train_flops: int
    aux_flops: int
    evaluate_flops: int
    train_seconds: float
    device_seconds: float
    evaluate_seconds: float
    gpu_joules: float | None
    evaluate_gpu_joules: float | None = None
    cpu_seconds: float | None = None  # of all threads of this process, while training
    cpu_joules: float | None = None  # of the CPU packages while training, other processes included
    learning_rate: float  # of the last step
    train_loss: float | None  # mean since the previous evaluation; None if it is not finite
    validation_accuracy: float
    validation_accuracy_old: float | None  # None for a base model and for data-incremental updates
    validation_accuracy_new: float | None  # None for data-incremental updates: old and new cannot be told apart
    test_accuracy: float | None = None
    test_accuracy_old: float | None = None
    test_accuracy_new: float | None = None


class BaseCost(_Record):
    """What the base model cost, and its accuracy on its own classes."""

    key: str
    steps: int
    images: int
    train_flops: int
    aux_flops: int
    train_seconds: float
    device_seconds: float
    gpu_joules: float | None
    cpu_seconds: float | None = None
    cpu_joules: float | None = None
    validation_accuracy: float
    test_accuracy: float


class GpuUse(_Record):
    """What the GPU did while training, from one sample per second; means, except the highest temperature.

    slowed_share: share of samples with throttled clocks. slowed_by: the reasons.
    """

    samples: int
    utilization: float | None
    sm_clock_mhz: float | None
    temperature_celsius: float | None
    power_watts: float | None
    slowed_share: float | None
    slowed_by: tuple[str, ...]


class GpuWindow(_Record):
    """One segment of training, between two evaluations: its energy, and the GPU at its end; None if NVML does not report it.

    sampled_joules: by power, sampled every 100 ms; None if it has gaps. others: other processes that computed on the GPU.
    """

    seconds: float
    joules: float
    sampled_joules: float | None
    sm_clock_mhz: int | None
    temperature_celsius: int | None
    slowed_by: tuple[str, ...] | None
    others: int | None


class GpuPower(_Record):
    """How joules were measured.

    counter_tick_seconds: between two refreshes of the energy counter. idle_watts_before, idle_watts_after: of the trial.
    sampled_over_counted: sampled power's joules over the counter's, in the segments that have both.
    """

    counter_tick_seconds: float | None
    idle_watts_before: float | None
    idle_watts_after: float | None
    sampled_over_counted: float | None
    windows: tuple[GpuWindow, ...]


class GpuFacts(_Record):
    """The GPU's fixed properties from NVML; None if NVML does not report them."""

    name: str
    driver: str
    max_sm_clock_mhz: int | None
    max_memory_clock_mhz: int | None
    power_limit_watts: float | None
    mig: bool


class SeenTest(_Record):
    """Whether an old model's accuracy says that it was trained on held-out images of the old classes.

    right of images: predicted correctly, of those that were cut off the old images for use. unseen_right of unseen_images:
    of those held out for unseen_use, which are the user's own, and which the model cannot have seen. p: see
    bench.analysis.guards.seen.seen_p; likely: whether it is below the level of significance.
    """

    use: Literal["validation", "test"]
    right: int
    images: int
    unseen_use: Literal["validation", "test"]
    unseen_right: int
    unseen_images: int
    p: float
    likely: bool


class GivenModel(_Record):
    """The user's own old model: its cost is unknown, and no trials were run for it.

    read: in words, how its weights were taken from the file. normalization: in words, what it was taken to expect.
    validation_accuracy, validation_images: of the old classes, before the update. may_have_seen: for which uses old images were
    held out of a folder that it may have been trained on whole; None in records that do not say, before schema 7. seen_test: None
    where one of validation and test images is not cut off and the other not held out by the user, and in older records.
    """

    file: str  # its name, without a path
    sha256: str
    read: str | None = None
    normalization: str | None = None
    validation_accuracy: float | None = None
    validation_images: int | None = None
    may_have_seen: tuple[Literal["validation", "test"], ...] | None = None
    seen_test: SeenTest | None = None
    origin: Literal["given by the user"] = "given by the user"


class Shared(_Record):
    """With whom a trial shared its device or a busy machine; its seconds and joules are then compared with none.

    jobs: that ran side by side on its processors. busy_share: of the processors' time while training, by all other processes;
    None if the system does not report it. neighbours: other processes that computed on its GPU.
    """

    jobs: int
    busy_share: float | None
    neighbours: int = 0


class Summary(_Record):
    """How a finished trial ended."""

    steps: int
    images: int
    train_flops: int
    aux_flops: int
    evaluate_flops: int
    train_seconds: float
    device_seconds: float
    evaluate_seconds: float
    io_seconds: float
    prepare_seconds: float
    build_seconds: float
    wall_seconds: float
    unaccounted_share: float  # of wall_seconds; RULES 1 allows 0.01
    gpu_joules: float | None
    gpu_joules_reason: str | None  # why it is None
    gpu_joules_source: str | None = None  # "energy counter" or "sampled power"
    gpu_short_share: float | None = None  # share of training in segments under 10 s, whose joules are off by up to 1 %
    evaluate_gpu_joules: float | None = None
    gpu_use: GpuUse | None = None
    gpu_power: GpuPower | None = None
    cpu_seconds: float | None = None
    cpu_joules: float | None = None
    selection_seconds: float | None = None  # part of train_seconds: choosing images, by process clock, not device clock
    regularizer_flops: int | None = None  # part of aux_flops
    feature_flops: int | None = None  # part of train_flops: computing the features that are kept
    head_flops: int | None = None  # part of train_flops: fitting the head before the first step
    feature_bytes: int | None = None  # the most memory that kept features took
    cpu_joules_reason: str | None = None
    other_cpu_seconds: float | None = None  # CPU seconds of everything else on the machine while training
    load_average: float | None = None  # over the last minute, at the end
    shared: Shared | None = None  # None if it was alone, and in records that do not say
    # On a GPU, what PyTorch had allocated at most; on a CPU, the process's largest size, with what it held before. In records up
    # to commit d69f3d5 it held the kept features of trials before, too.
    peak_memory_bytes: int | None = None
    sittings: int  # 1 + how often it was interrupted and resumed
    validation_accuracy: float
    test_accuracy: float
    weights_sha256: str


class Divergence(_Record):
    """Where a training that diverged was ended. loss: the mean since the previous evaluation, as text: it may be "nan"."""

    step: int
    loss: str
    why: str


class FlopFacts(_Record):
    """FLOPs of one image, by both counters. batch: additional FLOPs of each forward and backward pass."""

    forward: int
    step: int
    forward_fvcore: int
    batch: int = 0


class PhaseFacts(_Record):
    """Steps of a trial that train the same part of the network, where a part of it is frozen.

    begin: the first of these steps. frozen: the last frozen stage; None if nothing is frozen. step, batch: FLOPs of one image's
    training step, as in FlopFacts. parameters: how many are trained. features: whether the frozen stages' results are kept.
    """

    begin: int
    frozen: str | None
    step: int
    batch: int
    parameters: int
    features: Literal["kept", "kept padded", "recomputed"] | None


class RankFacts(_Record):
    """The ranks that trained a trial together, a process and a device each; see docs/scale.md.

    size: how many. backend: what added up their gradients. batch_norm: training.batch_norm of the scenario. devices: by rank.
    """

    size: int = Field(gt=1)
    backend: Literal["gloo", "nccl"]
    batch_norm: Literal["local", "synchronized"]
    devices: tuple[str, ...]


class Provenance(_Record):
    """Where a record came from. Holds no absolute path and no host name."""

    bench_version: str
    commit: str | None  # None if it is unknown
    modified: bool | None  # whether code, scenarios or baselines differed from that commit
    commit_reason: str | None = None  # why either is None
    command: str
    started: str  # UTC, ISO 8601
    python: str
    packages: dict[str, str]
    platform: str
    cpu: str
    cpus: int
    threads: int
    jobs: int = 1  # worker processes of the run, each with `threads` threads: at most so many trials ran side by side
    device: str  # "cpu" or the GPU's model name
    device_type: Literal["cpu", "cuda"]
    driver: str | None
    precision: str
    compiled: bool  # by torch.compile
    step: Literal["eager", "graph"] = "eager"  # operator by operator, or recorded as a CUDA graph and replayed
    bf16_units: tuple[str, ...] | None = None  # of the CPU, if it trains in bf16; without any it is emulated
    step_reason: str | None = None  # what cannot run here and was left out of it, and why; None if nothing was
    allocator: str
    load_average: float | None  # over the last minute, at the start
    environment: dict[str, str] = {}  # variables that affect threads and libraries
    interop_threads: int | None = None
    flags: dict[str, str] = {}  # of PyTorch, that affect precision or the choice of kernels
    memory_gib: float | None = None
    cuda: str | None = None
    cudnn: str | None = None
    interleaved: tuple[str, ...] | None = (
        None  # by --interleave: the strategies of its slot, in the order drawn for them
    )
    gpu: GpuFacts | None = None
    images: Literal["resident", "streamed"] | None = None  # all on the device, or sent batch by batch
    data_source: str
    data_hash: (
        str  # over pixels, labels, the split, and a model of one's own: trials on different data are not compared
    )
    model_code: dict[str, Any] | None = None  # of a model of one's own: source, modules, packages, as in a strategy
    ranks: RankFacts | None = (
        None  # None if one process trained it; else device, threads and gpu are those of the first rank
    )

    def machine(self) -> str:
        """Return, as text, everything that must be equal for seconds to be compared."""
        names = (
            "cpu",
            "cpus",
            "threads",
            "jobs",
            "device",
            "driver",
            "precision",
            "compiled",
            "step",
            "allocator",
            "images",
            "flags",
            "python",
            "packages",
        )
        several = (str(self.ranks),) if self.ranks else ()
        return "; ".join([*(str(getattr(self, name)) for name in names), *several])


class _Copied(BaseModel):
    """What readers need of a scenario or a strategy that a record holds; the rest depends on the version that wrote it."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _TrainingCopy(_Copied):
    batch_size: int = Field(gt=0)


class _EvaluationCopy(_Copied):
    points: int = Field(gt=0, le=MOST_POINTS)


class _ScenarioCopy(_Copied):
    name: str = Field(pattern=NAME)
    title: str
    stages: list[dict[str, Any]] = Field(min_length=2)
    training: _TrainingCopy
    evaluation: _EvaluationCopy


class _PieceCopy(_Copied):
    type: str


class _StrategyCopy(_Copied):
    name: str = Field(min_length=1, max_length=255)
    title: str
    source: str | None = None
    start: _PieceCopy | None = None
    regularizer: _PieceCopy | None = None
    selection: _PieceCopy | None = None
    schedule: _PieceCopy | None = None
    freezing: _PieceCopy | None = None
    head: _PieceCopy | None = None


def _held(needed: type[_Copied]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a validator that checks plain values, and leaves them as they are."""

    def check(content: dict[str, Any]) -> dict[str, Any]:
        try:
            needed.model_validate(content)
        except ValidationError as cause:
            key, _, said, _ = first_fault(cause)
            raise ValueError(f"{key}: {said}") from None
        return content

    return check


class TrialRecord(_Record):
    """The content of trial.json.

    evals_sha256: of the content of evals.jsonl, in lines that end in a line feed; None while the trial runs, and before schema 7.
    record_sha256: of everything else in the record, see store.sealed; None before schema 8.
    """

    schema_version: int = SCHEMA_VERSION
    rules_version: int = RULES_VERSION
    training_version: int
    scenario: Annotated[dict[str, Any], AfterValidator(_held(_ScenarioCopy))]
    scenario_hash: str
    strategy: Annotated[dict[str, Any], AfterValidator(_held(_StrategyCopy))]
    strategy_hash: str
    update: int = Field(ge=0)  # the stage that arrives; 0 for a base model
    seed: int = Field(ge=0, le=LARGEST_SEED)
    horizon: float = Field(gt=0, allow_inf_nan=False)
    total_steps: int = Field(gt=0, le=_MOST_STEPS)
    scratch_steps: int = Field(gt=0, le=_MOST_STEPS)
    flops_per_image: FlopFacts
    parameters: int
    phases: tuple[PhaseFacts, ...] = ()  # if a part of the network is frozen at some time
    base: BaseCost | None  # what the base model cost; None if no old model was needed, or it was given
    given: GivenModel | None = None
    previous_sha256: str | None = None  # in a chain: the weights it starts from, left by its strategy's previous update
    old_share: float = 1.0  # the share of the earlier stages' training images that it was given
    provenance: Provenance
    status: Status
    reason: str | None = None  # of failure or divergence
    diverged: Divergence | None = None
    chance: float | None = None  # the largest class's share of the validation images: what guessing reaches
    validation_images: int | None = None
    summary: Summary | None = None
    evals_sha256: str | None = None
    record_sha256: str | None = None

    @model_validator(mode="after")
    def _holds_together(self) -> TrialRecord:
        if (self.status == "finished") != (self.summary is not None):
            raise ValueError(f"summary: {'found' if self.summary else 'missing'} in a trial that is {self.status}")
        if (self.status == "diverged") != (self.diverged is not None):
            raise ValueError(f"diverged: {'found' if self.diverged else 'missing'} in a trial that is {self.status}")
        if self.summary is not None and self.summary.steps != self.total_steps:
            raise ValueError(
                f"summary.steps: found {self.summary.steps}, expected {self.total_steps}, as in total_steps"
            )
        if self.total_steps > _LONGEST_HORIZON * self.scratch_steps:
            raise ValueError(
                f"total_steps: found {self.total_steps}, expected at most {_LONGEST_HORIZON} x scratch_steps"
            )
        if self.ended and self.schema_version >= DIGESTS_FROM and self.evals_sha256 is None:
            raise ValueError(f"evals_sha256: missing in a trial that is {self.status}")
        return self

    @property
    def is_sealed(self) -> bool:
        """Whether its schema has a digest of the record itself."""
        return self.schema_version >= SEALED_FROM

    @property
    def ended(self) -> bool:
        """Whether the trial has come to its end: finished, or diverged."""
        return self.status in ("finished", "diverged")

    @property
    def evaluation_steps(self) -> tuple[int, ...]:
        """The steps at which it is evaluated, in order; of a trial that diverged, up to where it ended."""
        points = self.scenario["evaluation"]["points"]
        return evaluation_steps(points, self.scratch_steps, self.total_steps, self.diverged and self.diverged.step)

    def identity(self) -> tuple[str, str, int, int, float, int]:
        """Return what identifies a trial: records with equal identity are of the same trial."""
        return (
            self.scenario_hash,
            self.strategy_hash,
            self.update,
            self.seed,
            self.horizon,
            self.training_version,
        )
