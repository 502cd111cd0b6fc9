"""Start the processes (ranks) of a job file on one machine or several, stream the first rank's output, report the first error.

A notebook's kernel cannot be a rank itself. So it writes a job file and starts one supervisor per machine
(`utils.training.supervisor`), which starts the ranks through torchrun's agent and ends them when its standard input closes.
"""

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from utils.core.errors import LaunchError
from utils.core.files import write_json
from utils.core.paths import ROOT
from utils.core.progress import Style
from utils.training.ranks import Topology

ATTEMPTS = 3
PORT_TAKEN = ("EADDRINUSE", "ddress already in use")  # signs in an error message
GRACE = 20.0  # seconds that the other processes have to end after one has failed
# Signs in an error message that the rank has lost another one: its error is a consequence, not the cause.
CONSEQUENCES = (
    "closed by peer",
    "reset by peer",
    "Connection refused",
    "DistNetworkError",
    "DistBackendError",
    "NCCL",
    "heartbeat",
)


def free_port() -> int:
    """A free TCP port of this machine."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def run(job: Path, topology: Topology, worker: str, style: Style = "lines") -> None:
    """Run a job file in all processes of a topology, and print the first rank's output unless `style` is `none`.

    `worker` is the module that every rank runs. Raises LaunchError with the error of the rank that failed first.
    """
    for attempt in range(ATTEMPTS):
        error = _run_once(job, topology, worker, style)
        if not error:
            return
        # Another program may take the free port before the ranks do.
        if attempt + 1 == ATTEMPTS or not any(sign in error for sign in PORT_TAKEN):
            raise LaunchError(error)


def _run_once(job: Path, topology: Topology, worker: str, style: Style) -> str:
    """`run`, once: the error of the rank that failed first, or the empty text."""
    for stale in job.parent.glob("failed*.json"):
        stale.unlink()
    hosts = topology.hosts or ("127.0.0.1",)
    rendezvous = {
        "nodes": len(hosts), "ranks": topology.count, "address": hosts[0], "port": free_port(), "worker": worker,
    }  # fmt: skip
    write_json(job.parent / "rendezvous.json", rendezvous)
    nodes = [_start_node(number, host, job, topology.shell) for number, host in enumerate(hosts)]
    output = threading.Thread(target=_stream, args=(nodes[0], style), daemon=True)
    output.start()
    try:
        failure = _wait(nodes)
    finally:
        _end(nodes)
        output.join(GRACE)
    return _explain(job) if failure else ""


def _start_node(number: int, host: str, job: Path, shell: str) -> subprocess.Popen[str]:
    """Start the supervisor of one machine: a child process here, or through the shell on another machine."""
    command = [sys.executable, "-m", "utils.training.supervisor", str(number), str(job)]
    if number:
        command = [*shlex.split(shell), host, f"cd {shlex.quote(str(ROOT))} && exec {shlex.join(command)}"]
    log = (job.parent / f"node{number}.log").open("w")
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, errors="backslashreplace", cwd=ROOT,
        start_new_session=True,
    )  # fmt: skip


def _stream(node: subprocess.Popen[str], style: Style) -> None:
    """Print a supervisor's output line by line until it ends."""
    for line in node.stdout or ():
        if style != "none":
            print(line, end="", flush=True)


def _wait(nodes: list[subprocess.Popen[str]]) -> bool:
    """Wait until all supervisors have succeeded or one has failed; returns whether one has failed."""
    while True:
        codes = [node.poll() for node in nodes]
        if any(code not in (None, 0) for code in codes):
            return True
        if all(code == 0 for code in codes):
            return False
        with contextlib.suppress(subprocess.TimeoutExpired):
            next(node for node in nodes if node.poll() is None).wait(0.2)


def _end(nodes: list[subprocess.Popen[str]]) -> None:
    """Close every supervisor's input, which ends its ranks; kill those that do not end within the grace period."""
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
    """The error of the rank that failed first, not of those that failed because they lost it."""
    failures = [f for path in sorted(job.parent.glob("failed*.json")) for f in json.loads(path.read_text("utf-8"))]
    if not failures:
        logs = [path.read_text("utf-8", "replace").strip() for path in sorted(job.parent.glob("node*.log"))]
        reason = " / ".join(log.splitlines()[-1] for log in logs if log)
        return f"no rank could be started: {reason}; see {job.parent}/node*.log"
    first = min(failures, key=lambda failure: (_consequence(failure), failure["time"]))
    where = f"rank {first['rank']} on {first['host']}"
    if first["message"]:
        return f"{where}: {first['message']}"
    if first["exitcode"] < 0:
        name = signal.Signals(-first["exitcode"]).name
        hint = "; out of memory is the usual cause" if name == "SIGKILL" else ""
        return f"{where} was killed ({name}){hint}; the same command continues from its last checkpoint"
    return f"{where} ended with exit code {first['exitcode']}; see {job.parent}/node*.log"


def _consequence(failure: dict[str, Any]) -> bool:
    """Whether a rank failed because another one had failed before."""
    terminated = failure["exitcode"] == -signal.SIGTERM
    return terminated or any(sign in (failure["message"] or "") for sign in CONSEQUENCES)
