"""The supervisor of one machine's ranks, started by `utils.training.launch`, and what every rank does around its work."""

import argparse
import contextlib
import datetime
import json
import os
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

from utils.core.files import write_json


def supervise(job: Path, number: int) -> int:
    """Start this machine's ranks, wait for them, and write the failures to `failedN.json`; returns the exit code, 0 or 1."""
    import torch
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    rendezvous = json.loads((job.parent / "rendezvous.json").read_text("utf-8"))
    config = LaunchConfig(
        min_nodes=rendezvous["nodes"], max_nodes=rendezvous["nodes"], nproc_per_node=rendezvous["ranks"], run_id="job",
        rdzv_backend="static", rdzv_endpoint=f"{rendezvous['address']}:{rendezvous['port']}",
        rdzv_configs={"rank": number, "timeout": 300}, max_restarts=0, monitor_interval=0.2, start_method="spawn",
    )  # fmt: skip
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # torchrun's default
    if rendezvous["ranks"] > torch.cuda.device_count():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # no two ranks can have one GPU: a rehearsal's compute on the CPU
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        elastic_launch(config, sys.executable)("-m", rendezvous["worker"], str(job))
    except ChildFailedError as error:
        failures = [
            {
                "rank": rank,
                "host": socket.gethostname(),
                "exitcode": f.exitcode,
                "time": f.timestamp,
                "message": _message(job, rank),
            }
            for rank, f in error.failures.items()
        ]
        write_json(job.parent / f"failed{number}.json", failures)
        return 1
    return 0


def _end_with_input() -> None:
    """End this process when its standard input closes: the parent keeps it open for as long as it runs."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _error_file(job: Path, rank: int) -> Path:
    """Where a rank writes its error."""
    return job.parent / f"error{rank}.json"


def _message(job: Path, rank: int) -> str:
    """The error that a rank wrote before it ended; empty where it could not write one."""
    path = _error_file(job, rank)
    return json.loads(path.read_text("utf-8"))["message"] if path.exists() else ""


def take_part(job: Path, work: Any) -> NoReturn:
    """Run one rank: join the process group, call `work(job)`, write an error to the rank's error file, and end the process.

    The exit code is 0, or 1 after an error. The process ends at once in both cases: a regular exit after an error would wait for
    the other ranks, which may be waiting for this one; after success, threads that libraries still hold may abort it.
    """
    import torch
    import torch.distributed as dist

    rank = int(os.environ["RANK"])
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    else:
        os.environ["DS_ACCELERATOR"] = "cpu"  # DeepSpeed reads it at import
    _error_file(job, rank).unlink(missing_ok=True)
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=datetime.timedelta(minutes=30))
    try:
        with contextlib.redirect_stdout(sys.stdout if rank == 0 else open(os.devnull, "w")):  # noqa: PTH123
            work(job)
        dist.barrier()
    except BaseException as error:
        write_json(_error_file(job, rank), {"message": f"{type(error).__name__}: {error}"})
        traceback.print_exc()
        os._exit(1)
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def main() -> int:
    """The command line: the machine's number and the job file."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.training.supervisor", description="Start and watch one machine's ranks."
    )
    parser.add_argument("node", type=int, metavar="N", help="the machine's number, from 0")
    parser.add_argument("job", type=Path)
    arguments = parser.parse_args()
    return supervise(arguments.job.resolve(), arguments.node)


if __name__ == "__main__":
    sys.exit(main())
