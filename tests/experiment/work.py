"""What workers of the tests do; a worker imports it by its name."""

import os
import signal
import time
from pathlib import Path

import psutil
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from utils.experiment import devices

DEVICE = ""  # of this process, where it stands for one


def note(folder: Path, name: str) -> None:
    """Leave the process's number and its threads in a file."""
    print(f"noted {name}")
    pools = max([pool["num_threads"] for pool in threadpool_info()], default=1)
    (folder / name).write_text(f"{os.getpid()} {torch.get_num_threads()} {pools}")


def hold(folder: Path, name: str, size: int, former: str = "") -> None:
    """Leave the process's number and its memory while it holds `size` bytes; a `former` step has left its file."""
    assert not former or (folder / former).exists()
    held = b"x" * size
    (folder / name).write_text(f"process={os.getpid()} memory={psutil.Process().memory_info().rss} held={len(held)}")


def bind_from_many_threads(device: str) -> None:
    """Bind this process to a device, whatever number of threads the environment says."""
    torch.set_num_threads(3)
    threadpool_limits(3)
    assert torch.get_num_threads() == 3 and max(pool["num_threads"] for pool in threadpool_info()) == 3
    devices.bind(device)


def stand_for(device: str) -> None:
    """Bind this process to a device that is not there."""
    global DEVICE
    DEVICE = device


def occupy(folder: Path, name: str, step: int) -> None:
    """Be busy on the device for a moment."""
    start = time.monotonic()
    time.sleep(0.05)
    (folder / f"{name}.{step}").write_text(f"device={DEVICE} start={start} end={time.monotonic()}")


def wait(folder: Path, name: str, seconds: float = 60.0) -> None:
    """Leave a file, then wait."""
    (folder / name).write_text(str(os.getpid()))
    time.sleep(seconds)


def fail(folder: Path) -> None:
    """Raise once another worker has begun to wait."""
    while not (folder / "waiting").exists():
        time.sleep(0.05)
    raise ValueError("nothing fits")


def die(_: Path) -> None:
    """End as a process does that has no more memory."""
    os.kill(os.getpid(), signal.SIGKILL)
