"""Names as PyTorch gives them; numbers from the makers' data sheets."""

from __future__ import annotations

import pytest

from bench.metering.peaks import peak_flops


@pytest.mark.parametrize(
    ("device", "precision", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4),
        ("NVIDIA H100 PCIe", "bf16", 756),
        ("NVIDIA A100-SXM4-40GB", "bf16", 312),
        ("NVIDIA A100 80GB PCIe", "fp32", 19.5),
        ("NVIDIA L4", "fp32", 30.3),
        ("NVIDIA L40S", "fp32", 91.6),
        ("NVIDIA H200", "bf16", 989.4),
        ("NVIDIA H200 NVL", "bf16", 835.5),
        ("Tesla V100-SXM2-16GB", "fp32", 15.7),
    ],
)
def test_a_known_device_has_its_peak_and_its_source(device: str, precision: str, teraflops: float):
    found = peak_flops(device, precision)
    assert found is not None
    assert found[0] == pytest.approx(teraflops * 1e12)
    assert found[1].startswith("https://")


@pytest.mark.parametrize(
    ("device", "precision"),
    [
        ("cpu", "fp32"),
        ("Tesla V100-SXM2-16GB", "bf16"),  # has no such units
        ("NVIDIA L40", "fp32"),
        ("NVIDIA A10G", "fp32"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "fp32"),
        ("NVIDIA H100", "fp32"),  # of which form?
    ],
)
def test_what_is_not_in_the_table_is_unknown(device: str, precision: str):
    assert peak_flops(device, precision) is None
