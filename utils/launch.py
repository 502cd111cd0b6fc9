"""One process or many, on one machine or several: a job file, the processes that read it, and the error that stopped them.

A notebook's kernel cannot be one of several ranks. So it writes a job, starts a supervisor on every machine, and streams what the
first rank says; a supervisor starts the ranks through torchrun's own agent and ends them when its input closes.

python -m utils.launch N JOB      the supervisor of machine N
"""

import argparse
import contextlib
import datetime
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from utils.files import write_json
from utils.paths import ROOT
from utils.progress import Style
from utils.ranks import Places

WORKER = "utils.worker"  # what a rank runs
GRACE = 20.0  # seconds that the processes have to end once one of them has failed
# A rank that says this has lost another one: its error is a consequence.
CONSEQUENCES = (
    "closed by peer",
    "reset by peer",
    "Connection refused",
    "DistNetworkError",
    "DistBackendError",
    "NCCL",
    "heartbeat",
)


class LaunchError(RuntimeError):
    """Processes that failed; the text names the first rank that did, and its error."""


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def run(job: Path, places: Places, style: Style = "lines") -> None:
    """Run a job file in all places, and show what the first rank says. Raises LaunchError with the first error."""
    for stale in job.parent.glob("failed*.json"):
        stale.unlink()
    hosts = places.hosts or ("127.0.0.1",)
    meeting = {"nodes": len(hosts), "ranks": places.count, "address": hosts[0], "port": free_port()}
    write_json(job.parent / "meeting.json", meeting)
    nodes = [_start_node(number, host, job, places.shell) for number, host in enumerate(hosts)]
    show = threading.Thread(target=_stream, args=(nodes[0], style), daemon=True)
    show.start()
    try:
        failed = _wait(nodes)
    finally:
        _end(nodes)
        show.join(GRACE)
    if failed:
        raise LaunchError(_explain(job))


def _start_node(number: int, host: str, job: Path, shell: str) -> subprocess.Popen[str]:
    """The supervisor of one machine: here, or through the shell."""
    command = [sys.executable, "-m", "utils.launch", str(number), str(job)]
    if number:
        command = [*shlex.split(shell), host, f"cd {shlex.quote(str(ROOT))} && exec {shlex.join(command)}"]
    log = (job.parent / f"node{number}.log").open("w")
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT, start_new_session=True
    )


def _stream(node: subprocess.Popen[str], style: Style) -> None:
    for line in node.stdout or ():
        if style != "none":
            print(line, end="", flush=True)


def _wait(nodes: list[subprocess.Popen[str]]) -> bool:
    """Until all have ended well, or one has not: then True."""
    while True:
        codes = [node.poll() for node in nodes]
        if any(code not in (None, 0) for code in codes):
            return True
        if all(code == 0 for code in codes):
            return False
        with contextlib.suppress(subprocess.TimeoutExpired):
            next(node for node in nodes if node.poll() is None).wait(0.2)


def _end(nodes: list[subprocess.Popen[str]]) -> None:
    """Close every supervisor's input, which ends its ranks; kill what does not end."""
    for node in nodes:
        with contextlib.suppress(OSError):
            node.stdin.close()
    for node in nodes:
        try:
            node.wait(GRACE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGKILL)
            node.wait()


def _explain(job: Path) -> str:
    """The error of the rank that failed first of itself, not of those that lost it."""
    failures = [f for path in sorted(job.parent.glob("failed*.json")) for f in json.loads(path.read_text("utf-8"))]
    if not failures:
        logs = [path.read_text("utf-8", "replace").strip() for path in sorted(job.parent.glob("node*.log"))]
        return f"no rank could be started: {' / '.join(log.splitlines()[-1] for log in logs if log)}"
    first = min(failures, key=lambda failure: (_consequence(failure), failure["time"]))
    where = f"rank {first['rank']} on {first['host']}"
    if first["message"]:
        return f"{where}: {first['message']}"
    if first["exitcode"] < 0:
        name = signal.Signals(-first["exitcode"]).name
        hint = "; out of memory is the usual cause" if name == "SIGKILL" else ""
        return f"{where} was killed ({name}){hint}; the same command goes on from its last checkpoint"
    return f"{where} ended with exit code {first['exitcode']}; see {job.parent}/node*.log"


def _consequence(failure: dict[str, Any]) -> bool:
    ended = failure["exitcode"] == -signal.SIGTERM
    return ended or any(sign in (failure["message"] or "") for sign in CONSEQUENCES)


# -- on every machine ---------------------------------------------------------------------------------------------------


def supervise(job: Path, number: int) -> int:
    """Start this machine's ranks, wait for them, and write down those that failed; 1 if any did."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    meeting = json.loads((job.parent / "meeting.json").read_text("utf-8"))
    config = LaunchConfig(
        min_nodes=meeting["nodes"], max_nodes=meeting["nodes"], nproc_per_node=meeting["ranks"], run_id="job", rdzv_backend="static",
        rdzv_endpoint=f"{meeting['address']}:{meeting['port']}", rdzv_configs={"rank": number, "timeout": 300}, max_restarts=0,
        monitor_interval=0.2, start_method="spawn",
    )  # fmt: skip
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun has it
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        elastic_launch(config, sys.executable)("-m", WORKER, str(job))
    except ChildFailedError as error:
        failures = [
            {
                "rank": rank,
                "host": socket.gethostname(),
                "exitcode": f.exitcode,
                "time": f.timestamp,
                "message": _told(job, rank),
            }
            for rank, f in error.failures.items()
        ]
        write_json(job.parent / f"failed{number}.json", failures)
        return 1
    return 0


def _end_with_input() -> None:
    """The parent holds this process's input open as long as it lives."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _error_file(job: Path, rank: int) -> Path:
    return job.parent / f"error{rank}.json"


def _told(job: Path, rank: int) -> str:
    """What a rank has written down before it ended; empty if it had no time to."""
    path = _error_file(job, rank)
    return json.loads(path.read_text("utf-8"))["message"] if path.exists() else ""


def take_part(job: Path, work: Any) -> int:
    """One rank: meet the others, do the work, and write down what stops it."""
    import torch
    import torch.distributed as dist

    rank = int(os.environ["RANK"])
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    else:
        os.environ["DS_ACCELERATOR"] = "cpu"  # DeepSpeed reads it when it is imported
    _error_file(job, rank).unlink(missing_ok=True)
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=datetime.timedelta(minutes=30))
    try:
        with contextlib.redirect_stdout(sys.stdout if rank == 0 else open(os.devnull, "w")):  # noqa: PTH123
            work(job)
        dist.barrier()
    except BaseException as error:
        write_json(_error_file(job, rank), {"message": f"{type(error).__name__}: {error}"})
        traceback.print_exc()
        os._exit(1)  # the others may be waiting for this rank: its farewell would wait for them
    dist.destroy_process_group()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m utils.launch", description="Start and watch one machine's ranks.")
    parser.add_argument("node", type=int, metavar="N", help="the machine's number, from 0")
    parser.add_argument("job", type=Path)
    asked = parser.parse_args()
    return supervise(asked.job.resolve(), asked.node)


if __name__ == "__main__":
    sys.exit(main())
