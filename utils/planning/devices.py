"""Devices to plan for: GPUs by name with memory and peak, the GPU of this machine, or its CPU with a measured peak."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from utils.core.errors import DeviceError

# Share of the peak that training reaches: of a GPU with packs of a few thousand tokens, of a CPU beside its matrix products.
UTILISATION, ON_CPU = 0.40, 0.55


@dataclass(frozen=True)
class Device:
    """`count` devices of a kind, with memory in bytes and peak in FLOP/s of each (dense bfloat16; float32 of a CPU)."""

    name: str
    memory: float
    peak: float
    count: int = 1
    utilisation: float = UTILISATION


GPUS = {
    gpu.name: gpu
    for gpu in (
        Device("a100-80gb", 80e9, 312e12),
        Device("a100-40gb", 40e9, 312e12),
        Device("h100-80gb", 80e9, 989e12),
        Device("h200", 141e9, 989e12),
        Device("l40s-48gb", 48e9, 362e12),
        Device("rtx4090-24gb", 24e9, 165e12),
        Device("t4-16gb", 16e9, 65e12),
    )
}


def open_device(gpu: str) -> tuple[Device, str]:
    """The device of a name (`a100-80gb`, `4xa100-80gb`), else (empty) that of this machine; and the reason.

    Raises DeviceError for an unknown name, or a GPU that is not in the table.
    """
    if gpu:
        count, _, name = gpu.rpartition("x") if gpu[0].isdigit() else ("1", "", gpu)
        if name not in GPUS or not count.isdigit():
            raise DeviceError(f"--gpu {gpu}: use one of {', '.join(GPUS)}, or several of them, as in 4xa100-80gb")
        return replace(GPUS[name], count=int(count)), "named with --gpu"
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        matches = [
            kind for kind in GPUS.values() if kind.name.split("-")[0] in properties.name.lower().replace(" ", "")
        ]
        if not matches:
            raise DeviceError(
                f"{properties.name} is not in the table of peaks; name the nearest with --gpu: {', '.join(GPUS)}"
            )
        return replace(matches[0], memory=properties.total_memory, count=torch.cuda.device_count()), "found here"
    memory = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    peak = measure_peak(torch.device("cpu"), torch.float32)
    return Device("cpu", memory * 1024, peak, utilisation=ON_CPU), "no GPU here; its peak was measured just now"


def measure_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Peak of a device in FLOP/s: that of the fastest of a few matrix products."""
    best = 0.0
    for size in (512, 1024, 2048) if device.type == "cpu" else (4096, 8192):
        left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        for _ in range(5):
            wait(device)
            start = time.perf_counter()
            left @ right
            wait(device)
            best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def wait(device: torch.device) -> None:
    """Wait until a GPU has done all its work, before a clock is read; a CPU has nothing to wait for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
