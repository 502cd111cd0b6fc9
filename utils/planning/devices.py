"""Devices to plan for: GPUs by name with memory and peak, the GPU of this machine, or its cores with a measured peak."""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch

from utils.core.errors import DeviceError
from utils.training.cores import count_cores

# Share of the peak that long operations reach: of a GPU in training steps of 500 to 2,000 tokens and in scoring 16,000 at once
# (Gemma-3-12B on an H200), of a core in its matrix products alone.
TRAINING, SCORING, ON_CPU = 0.30, 0.38, 0.95
CPU = "cpu"


@dataclass(frozen=True)
class Device:
    """`count` devices of a kind, with memory in bytes and peak in FLOP/s of each (dense bfloat16; float32 of a core).

    `training` and `scoring` are the shares of the peak that are reached there. `bandwidth` is that of its memory, `link` that to the
    next device, in bytes/s; of a core what its operations besides matrix products read and write, and no link.
    """

    name: str
    memory: float
    peak: float
    count: int = 1
    training: float = TRAINING
    scoring: float = SCORING
    bandwidth: float = math.inf
    link: float = math.inf


GPUS = {
    gpu.name: gpu
    for gpu in (
        Device("a100-80gb", 80e9, 312e12, bandwidth=2.0e12, link=3.0e11),
        Device("a100-40gb", 40e9, 312e12, bandwidth=1.6e12, link=3.0e11),
        Device("h100-80gb", 80e9, 989e12, bandwidth=3.4e12, link=4.5e11),
        Device("h200", 141e9, 989e12, bandwidth=4.8e12, link=4.5e11),
        Device("l40s-48gb", 48e9, 362e12, bandwidth=8.6e11, link=3.2e10),
        Device("rtx4090-24gb", 24e9, 165e12, bandwidth=1.0e12, link=3.2e10),
        Device("t4-16gb", 16e9, 65e12, bandwidth=3.2e11, link=1.6e10),
    )
}


def open_device(gpu: str) -> tuple[Device, str]:
    """The device of a name (`a100-80gb`, `4xa100-80gb`), else (empty) that of this machine; and the reason.

    Raises DeviceError for an unknown name, or a GPU that is not in the table.
    """
    if gpu:
        count, _, name = gpu.partition("x") if gpu[0].isdigit() else ("1", "", gpu)
        if name not in GPUS or not count.isdecimal() or int(count) < 1:
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
    count, memory = count_cores()
    return open_core(count, memory / count), "no GPU here; the peak of a core was measured just now"


def open_core(count: int, memory: float = 0.0) -> Device:
    """So many cores, all of them busy, each with `memory` bytes: their speeds are measured."""
    return Device(CPU, memory, measure_core(count), count, ON_CPU, ON_CPU, measure_traffic())


def measure_core(count: int) -> float:
    """Peak of one core in FLOP/s while `count` of them are busy, in processor time, so that other programs do not count."""
    threads, best = torch.get_num_threads(), 0.0
    with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for size in (512, 1024, 2048):
            square = torch.randn(size, size)
            for _ in range(5):
                slowest = max(pool.map(_time_square, [square] * count))
                best = max(best, 2 * size**3 / slowest)
    torch.set_num_threads(threads)
    return best


def measure_traffic() -> float:
    """Bytes/s that one core reads and writes in operations other than matrix products, on tensors as large as a pack's."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    values, best = torch.randn(512, 1024), math.inf
    for _ in range(5):
        start = time.thread_time()
        for _ in range(4):
            torch.nn.functional.gelu(values * values + values)
        best = min(best, time.thread_time() - start)
    torch.set_num_threads(threads)
    return 4 * 8 * values.nbytes / best  # read twice and written, twice, then read and written


def _time_square(square: torch.Tensor) -> float:
    """Seconds of this thread's processor time for one matrix product."""
    start = time.thread_time()
    square @ square
    return time.thread_time() - start


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
