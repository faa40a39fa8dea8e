"""What a device can do at most, as its maker says."""

from __future__ import annotations

# Dense products, without sparsity, in TFLOP/s. fp32 is that of the plain units: bench does not let TF32 stand in for it.
# Name as PyTorch gives it -> (precision -> TFLOP/s, data sheet). The longest name that the device's begins with counts.
_H100 = "https://resources.nvidia.com/en-us-tensor-core/nvidia-tensor-core-gpu-datasheet"
_A100 = "https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf"
_V100 = "https://images.nvidia.com/content/technologies/volta/pdf/volta-v100-datasheet-update-us-1165301-r5.pdf"
_T4 = "https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/tesla-t4/t4-tensor-core-datasheet-951643.pdf"
_PEAKS: dict[str, tuple[dict[str, float], str]] = {
    "NVIDIA H100 80GB HBM3": ({"bf16": 989.4, "fp32": 66.9}, _H100),  # SXM
    "NVIDIA H100 PCIe": ({"bf16": 756.0, "fp32": 51.0}, _H100),
    "NVIDIA H100 NVL": ({"bf16": 835.5, "fp32": 60.0}, _H100),
    "NVIDIA H200": ({"bf16": 989.4, "fp32": 66.9}, "https://www.nvidia.com/en-us/data-center/h200/"),
    "NVIDIA H200 NVL": ({"bf16": 835.5, "fp32": 60.0}, "https://www.nvidia.com/en-us/data-center/h200/"),
    "NVIDIA A100": ({"bf16": 312.0, "fp32": 19.5}, _A100),
    "NVIDIA A10": ({"bf16": 125.0, "fp32": 31.2}, "https://www.nvidia.com/en-us/data-center/products/a10-gpu/"),
    "NVIDIA L4": ({"bf16": 121.0, "fp32": 30.3}, "https://www.nvidia.com/en-us/data-center/l4/"),
    "NVIDIA L40S": ({"bf16": 362.0, "fp32": 91.6}, "https://www.nvidia.com/en-us/data-center/l40s/"),
    "Tesla V100-SXM2": ({"fp32": 15.7}, _V100),
    "Tesla V100-PCIE": ({"fp32": 14.0}, _V100),
    "Tesla T4": ({"fp32": 8.1}, _T4),
}


def peak_flops(device: str, precision: str) -> tuple[float, str] | None:
    """Return a device's peak in FLOP/s and where it is from, or None if it is not known. device: as PyTorch names it.

    A part of a GPU (MIG) has less than the whole, and none is known.
    """
    name = max((name for name in _PEAKS if device.startswith(name)), key=len, default=None)
    if name is None or " MIG " in device or device[len(name) :][:1].isalnum():  # an L40 is no L4
        return None
    peaks, source = _PEAKS[name]
    return (peaks[precision] * 1e12, source) if precision in peaks else None
