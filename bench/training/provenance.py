"""A trial's provenance: code and machine from bench.records, the device from torch."""

from __future__ import annotations

import platform
from datetime import UTC, datetime

import torch

from bench.processors import bfloat16_units, usable_processors
from bench.records import provenance as origin
from bench.records.schema import Provenance
from bench.scenario import Scenario
from bench.training.device import device_name
from bench.training.step import StepMode
from bench.version import __version__


def describe_run(
    scenario: Scenario,
    source: str,
    data_hash: str,
    device: torch.device,
    compiled: bool,
    step: StepMode,
    allocator: str,
    jobs: int = 1,
    step_reason: str | None = None,
) -> Provenance:
    """Return the provenance of a trial that starts now. source, data_hash, jobs, step_reason: see Provenance."""
    code = origin.code_state()
    return Provenance(
        bench_version=__version__,
        commit=code.commit,
        modified=code.modified,
        commit_reason=code.reason,
        command=origin.command_line(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        python=platform.python_version(),
        packages=origin.packages(),
        platform=platform.platform(terse=True),
        cpu=origin.cpu_name(),
        cpus=usable_processors(),
        threads=torch.get_num_threads(),
        jobs=jobs,
        device=device_name(device),
        device_type="cuda" if device.type == "cuda" else "cpu",
        driver=origin.gpu_driver() if device.type == "cuda" else None,
        precision=scenario.training.precision,
        bf16_units=bfloat16_units() if device.type == "cpu" and scenario.training.precision == "bf16" else None,
        compiled=compiled,
        step=step,
        step_reason=step_reason,
        allocator=allocator,
        load_average=origin.load_average(),
        environment=origin.thread_environment(),
        interop_threads=torch.get_num_interop_threads(),
        flags=_flags(),
        memory_gib=origin.memory_gib(),
        cuda=torch.version.cuda if device.type == "cuda" else None,
        cudnn=str(torch.backends.cudnn.version()) if device.type == "cuda" else None,
        data_source=source,
        data_hash=data_hash,
    )


def _flags() -> dict[str, str]:
    """Return the PyTorch settings that affect precision or the choice of kernels."""
    return {
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn.allow_tf32": str(torch.backends.cudnn.allow_tf32),
        "cudnn.benchmark": str(torch.backends.cudnn.benchmark),
        "cudnn.deterministic": str(torch.backends.cudnn.deterministic),
        "deterministic_algorithms": str(torch.are_deterministic_algorithms_enabled()),
        "mkldnn": str(torch.backends.mkldnn.enabled),
    }
