"""What workers of the tests do; a worker imports it by its name."""

import os
import signal
import time
from pathlib import Path

import torch
from threadpoolctl import threadpool_info


def note(folder: Path, name: str) -> None:
    """Leave the process's number and its threads in a file."""
    print(f"noted {name}")
    pools = max([pool["num_threads"] for pool in threadpool_info()], default=1)
    (folder / name).write_text(f"{os.getpid()} {torch.get_num_threads()} {pools}")


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
