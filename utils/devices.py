"""What computes: GPUs by name with their memory and peak, the one that is found here, and a CPU whose peak is measured."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from utils.settings import SettingsError

# Of the peak: a GPU's as packs of a few thousand tokens reach it, a CPU's as its own matrix products do.
UTILISATION, ON_CPU = 0.40, 0.55


@dataclass(frozen=True)
class Device:
    """What computes: `count` of a kind, with memory in bytes and peak in FLOP/s (dense bf16; of a CPU float32)."""

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


class DeviceError(SettingsError):
    """A device that is not known; the text says what to name."""


def open_device(named: str) -> tuple[Device, str]:
    """The device that was named (`a100-80gb`, `4xa100-80gb`), else what is found here, and why. Raises DeviceError."""
    if named:
        count, _, name = named.rpartition("x") if named[0].isdigit() else ("1", "", named)
        if name not in GPUS or not count.isdigit():
            raise DeviceError(f"--gpu {named}: use one of {', '.join(GPUS)}, or so many of them: 4xa100-80gb")
        return replace(GPUS[name], count=int(count)), "named with --gpu"
    if torch.cuda.is_available():
        found = torch.cuda.get_device_properties(0)
        near = [gpu for gpu in GPUS.values() if gpu.name.split("-")[0] in found.name.lower().replace(" ", "")]
        if not near:
            raise DeviceError(
                f"{found.name} is not in the table of peaks; name the nearest with --gpu: {', '.join(GPUS)}"
            )
        return replace(near[0], memory=found.total_memory, count=torch.cuda.device_count()), "found here"
    memory = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    return Device(
        "cpu", memory * 1024, measure_peak(torch.device("cpu"), torch.float32), utilisation=ON_CPU
    ), "no GPU here; its peak was measured just now"


def measure_peak(place: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest of some plain matrix products, the roof of all that a network computes there."""
    best = 0.0
    for size in (512, 1024, 2048) if place.type == "cpu" else (4096, 8192):
        left, right = (torch.randn(size, size, device=place, dtype=dtype) for _ in range(2))
        for _ in range(5):
            wait(place)
            start = time.perf_counter()
            left @ right
            wait(place)
            best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def wait(place: torch.device) -> None:
    """Until all that a GPU was given is done: before a clock is read."""
    if place.type == "cuda":
        torch.cuda.synchronize(place)
