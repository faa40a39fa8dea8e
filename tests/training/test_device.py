from __future__ import annotations

import mmap
import sys
import warnings

import pytest
import torch

from bench.errors import DeviceError
from bench.training.device import autocast, begin_peak_memory, choose_device, peak_memory


def test_auto_is_the_cpu_where_there_is_no_cuda(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")


@pytest.mark.parametrize("asked", ["gpu", "mps", "cpu:x", ""])
def test_an_unknown_device_is_refused(asked: str):
    with pytest.raises(DeviceError, match="expected auto, cpu, cuda or cuda:N"):
        choose_device(asked)


def test_a_missing_cuda_device_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="--device cuda:1: 0 CUDA devices found"):
        choose_device("cuda:1")


MISMATCH = (
    "CUDA initialization: Unexpected error from cudaGetDeviceCount(). Error 803: system has unsupported display driver / cuda "
    "driver combination (Triggered internally at /pytorch/c10/cuda/CUDAFunctions.cpp:109.)"
)


def test_a_driver_that_does_not_fit_is_one_line_with_what_cuda_says(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(warnings.warn(MISMATCH, stacklevel=1)))
    with pytest.raises(
        DeviceError,
        match=r"^--device cuda: 0 CUDA devices found \(CUDA init.*803: system has .* driver combination\)\. Choose cpu, or",
    ) as told:
        choose_device("cuda")
    assert "\n" not in str(told.value)
    assert choose_device("auto") == torch.device("cpu")
    (line,) = caplog.messages
    assert line.startswith("bench: CUDA does not start (CUDA initialization: ")
    assert line.endswith("driver combination): the CPU is used. Name it with --device cpu, or fix the driver")
    caplog.clear()
    assert choose_device("cpu") == torch.device("cpu")  # nobody needs a driver for that
    assert not caplog.messages
    assert not recwarn.list  # torch's own, of several lines


@pytest.mark.parametrize(("precision", "expected"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_precision_sets_the_dtype_of_products(precision: str, expected: torch.dtype):
    with autocast(torch.device("cpu"), precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a process's largest size")
def test_the_largest_size_is_that_since_it_was_begun():
    cpu, size = torch.device("cpu"), 300 << 20
    begin_peak_memory(cpu)
    before = peak_memory(cpu)
    with mmap.mmap(-1, size) as pages:
        torch.frombuffer(pages, dtype=torch.uint8).fill_(1)
    assert peak_memory(cpu) > before + 0.9 * size
    begin_peak_memory(cpu)
    assert peak_memory(cpu) < before + 0.5 * size
