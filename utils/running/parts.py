"""The parts of a notebook's trainings, one on each of several machines that share this folder."""

import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from utils.core.errors import LaunchError
from utils.core.paths import ROOT

GRACE = 20.0  # seconds that the other parts have to end after one has failed
# A part ends with the input that this process keeps open for it, so that none outlives the call that started it.
GUARD = "exec 3<&0; (cat <&3 >/dev/null; kill -TERM $$ 2>/dev/null) & exec {command} 3<&- </dev/null"


def run_parts(notebook: Path, hosts: Sequence[str], shell: str, arguments: Sequence[str]) -> None:
    """Run a notebook's trainings, the K-th part on the K-th host, the first of which is this machine.

    `arguments` are the pipeline's that name the run. Prints the output of all parts, each line after its host. Raises
    LaunchError with the part that failed first, after the others were ended; what is finished stays.
    """
    parts = []
    for number, host in enumerate(hosts, start=1):
        options = [*arguments, "--only", notebook.stem[:2], "--part", f"{number}/{len(hosts)}"]
        parts.append(
            (host, _start([sys.executable, "-m", "utils.pipeline", *options], host if number > 1 else "", shell))
        )
    readers = [threading.Thread(target=_show, args=part, daemon=True) for part in parts]
    for reader in readers:
        reader.start()
    try:
        failed = _wait(parts)
    finally:
        for _, process in parts:
            _end(process)
    for reader in readers:
        reader.join(GRACE)
    if failed:
        raise LaunchError(f"{failed}: its part of {notebook.stem} failed; its last lines stand above")


def _start(command: list[str], host: str, shell: str) -> subprocess.Popen[str]:
    """Start a command in this folder, here or, through the shell, on a host."""
    guarded = f"cd {shlex.quote(str(ROOT))} && {GUARD.format(command=shlex.join(command))}"
    whole = [*shlex.split(shell), host, guarded] if host else ["sh", "-c", guarded]
    return subprocess.Popen(
        whole, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="backslashreplace", cwd=ROOT,
        start_new_session=True,
    )  # fmt: skip


def _show(host: str, process: subprocess.Popen[str]) -> None:
    """Print a part's output line by line until it ends."""
    for line in process.stdout or ():
        print(f"{host}: {line}", end="", flush=True)


def _wait(parts: Sequence[tuple[str, subprocess.Popen[str]]]) -> str:
    """Wait until all parts have succeeded or one has failed; the host of that one, or the empty text."""
    while True:
        codes = {host: process.poll() for host, process in parts}
        if failed := [host for host, code in codes.items() if code]:
            return failed[0]
        if all(code == 0 for code in codes.values()):
            return ""
        time.sleep(0.2)


def _end(process: subprocess.Popen[str]) -> None:
    """Close a part's input, which ends it; kill what does not end within the grace period."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
