"""What only a GPU can show. docs/gpu.md names the test of each point that needs none."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch

from bench.data.feed.update import build_update
from bench.errors import TrialError
from bench.metering.energy import GpuEnergy
from bench.metering.nvml import UnmeasuredError, open_gpu
from bench.strategies.strategy import Entrant
from bench.training.device import gpu_uuid
from bench.training.faults import explained, release_memory
from bench.training.learner import Learner
from bench.training.spec import Base, TrialSpec
from bench.training.step import CudaRecorder, lacking_compiler
from tests.training.test_step import PLAIN, made, same

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
DEVICE = torch.device("cuda", 0)
_HOLD = "import torch; torch.ones(1, device='cuda'); print('there', flush=True); input()"


def test_compiled_steps_are_those_operator_by_operator_but_for_rounding(short, digits, split, base: Base):
    if lacking := lacking_compiler(DEVICE):
        pytest.skip(lacking)
    found = []
    for compiled in (False, True):
        update = build_update(short, digits, split, 1, DEVICE)
        learner = Learner(TrialSpec(short, Entrant("one", PLAIN), 1, 0), update, base, DEVICE, compiled)
        learner.prepare()
        learner.start()
        learner.train(3)
        found.append(learner.weights())
    for key, value in found[0].items():
        assert torch.allclose(value, found[1][key], rtol=1e-2, atol=1e-3), key


def test_the_same_training_again_is_the_same_with_deterministic_kernels(short, digits, split, base: Base):
    found = []
    with torch.backends.cudnn.flags(deterministic=True, benchmark=False, allow_tf32=False):
        for _ in range(2):
            update = build_update(short, digits, split, 1, DEVICE)
            learner = made(short, update, base, PLAIN, CudaRecorder(DEVICE), DEVICE)
            learner.start()
            learner.train(20)
            found.append(learner)
    assert same(*found)


def test_out_of_memory_leaves_a_process_that_trains(short, digits, split, base: Base):
    with pytest.raises(torch.OutOfMemoryError) as told:
        torch.empty(1 << 45, dtype=torch.uint8, device=DEVICE)  # 32 TiB
    assert isinstance(explained(told.value, 64), TrialError)
    release_memory(DEVICE)
    learner = made(short, build_update(short, digits, split, 1, DEVICE), base, PLAIN, CudaRecorder(DEVICE), DEVICE)
    learner.start()
    assert learner.train(2) > 0


def test_another_process_on_the_gpu_is_counted():
    torch.ones(1, device=DEVICE)
    uuid = gpu_uuid(DEVICE)
    assert uuid is not None
    try:
        with open_gpu(uuid) as gpu:
            before = gpu.foreign_processes()
            other = subprocess.Popen([sys.executable, "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            try:
                assert other.stdout is not None
                assert other.stdout.readline() == b"there\n"
                assert gpu.foreign_processes() == before + 1
            finally:
                other.communicate(b"\n")
    except UnmeasuredError as cause:
        pytest.skip(str(cause))


def test_the_energy_counter_agrees_with_sampled_power_within_5_percent():
    uuid = gpu_uuid(DEVICE)
    assert uuid is not None
    matrix = torch.randn(4096, 4096, device=DEVICE)
    try:
        with open_gpu(uuid) as gpu:
            energy = GpuEnergy(gpu)
            energy.calibrate()
            energy.begin("train")
            ends = time.perf_counter() + 12
            while time.perf_counter() < ends:
                for _ in range(20):
                    matrix @ matrix
                torch.cuda.synchronize(DEVICE)
            energy.end("train")
            power, reason = energy.power(), energy.reason
    except UnmeasuredError as cause:
        pytest.skip(str(cause))
    if power is None or power["sampled_over_counted"] is None:
        pytest.skip(reason or "no counter, or no power, to compare")
    assert power["sampled_over_counted"] == pytest.approx(1, abs=0.05)
