"""The devices that jobs run on, one job each at a time: a machine's GPUs, or its cores with one thread each."""

from utils.training.cores import count_cores

CPU = "cpu"  # one core


def list_devices(workers: int = 0) -> tuple[str, ...]:
    """The devices of this machine, `cuda:0`, `cuda:1`, ... or `cpu` for each core; with `workers` so many jobs share them in turn."""
    import torch

    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    devices = gpus or [CPU] * (workers or count_cores()[0])
    return tuple(devices[number % len(devices)] for number in range(workers or len(devices)))


def bind(device: str) -> None:
    """Let this process compute on one device alone.

    On a core it has one thread: no partner to wait for, so another busy program costs it its share and no more. A GPU's
    process keeps its threads, which wait for nobody.
    """
    import torch
    from threadpoolctl import threadpool_limits

    if device != CPU:
        torch.cuda.set_device(device)
        return
    torch.set_num_threads(1)
    threadpool_limits(1)
