"""Kills a run at a chosen moment, whatever it is doing then, and looks at what is left: processes, files, the cache."""

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pandas as pd
import psutil
from safetensors import safe_open

from utils.core import files

# Every process of the run counts what it is about to do, and stops where the count is reached, for the hunter to find it.
TRAP = """
import os, re, signal, sys
def _trap(event, details):
    if event == "open":
        path, writes = details[0], details[2] & (os.O_WRONLY | os.O_RDWR)
        if isinstance(path, int) or not writes:
            return
    elif event in ("os.rename", "sqlite3.connect"):
        path = details[0]
    else:
        return
    if re.search(PATTERN, event + " " + os.fsdecode(path)):
        os.write(COUNTER, b".")
        if os.fstat(COUNTER).st_size >= NUMBER:
            try:
                os.close(os.open(FOLDER + "/" + str(os.getpid()), os.O_CREAT | os.O_EXCL))
                os.symlink(str(os.getpid()), FOLDER + "/stopped")
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGSTOP)
if "TRAP_FOLDER" in os.environ:
    FOLDER, PATTERN, NUMBER = os.environ["TRAP_FOLDER"], os.environ["TRAP_PATTERN"], int(os.environ["TRAP_NUMBER"])
    COUNTER = os.open(FOLDER + "/count", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sys.addaudithook(_trap)
"""
# What a run is about to do, as an audit event and the file; a random moment has none.
MOMENTS = {
    "translates": r"sqlite3\.connect .*/translations",
    "begins to write a file": r"open .*/runs/.*/\.[^/]+\.\d+-[0-9a-f]{8}",
    "is about to name a file": r"os\.rename .*/runs/",
    "saves a training": r"os\.rename .*/0[4-6]_.*\.(safetensors|json)$",
    "answers": r"os\.rename .*/fold\d+/\.(oof|test)\.",
    "writes the zip": r"open .*/submissions/.*/\.submit\..*\.zip",
    "does anything": "",
}
VICTIMS = ("all", "call", "kernel", "worker")
MARK = "CALL_OF_A_TEST"  # a variable that all processes of a call inherit
GRACE = 15.0  # seconds in which all processes of a killed run have ended


def command_of(process: psutil.Process) -> str:
    """A process's command line; empty where it has just ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


@dataclass(frozen=True)
class Kill:
    """A moment of `MOMENTS`, its number or its second, how long after it, and which processes die."""

    moment: str
    number: float  # of the events; of a random moment, seconds after the start
    delay: float  # seconds; 0 = while it stands still
    victim: str


def draw(random: Random, moment: str, most: float) -> Kill:
    """A kill at one of the first `most` events or seconds."""
    number = random.uniform(1, most) if not MOMENTS[moment] else random.randint(1, int(most))
    return Kill(moment, number, random.choice([0.0, random.uniform(0, 0.05)]), random.choice(VICTIMS))


def family(pid: int) -> list[psutil.Process]:
    """A call's processes, itself first."""
    call = psutil.Process(pid)
    return [call, *call.children(recursive=True)]


def choose(kill: Kill, processes: list[psutil.Process], stopped: int) -> tuple[str, list[psutil.Process]]:
    """Those of a call's processes that are to die, and what they are; where there is no such one, all."""
    kernels, workers = [], []
    for process in processes[1:]:
        command = command_of(process)
        kernels += [process] if "ipykernel" in command else []
        workers += [process] if re.search(r"multiprocessing\.(forkserver|spawn)", command) else []
    own = [process for process in workers if process.pid == stopped]
    found = {"call": processes[:1], "kernel": kernels, "worker": own or workers[-1:]}.get(kill.victim)
    return (kill.victim, found) if found else ("all", processes)


def strike(command: list[str], project: Path, environment: dict[str, str], kill: Kill, trap: Path) -> str:
    """Start a command and kill it at its moment; what died, or the empty text where it had ended before.

    Raises AssertionError where a process outlives it.
    """
    trap.mkdir()
    (trap / "sitecustomize.py").write_text(TRAP)
    variables = {"PYTHONPATH": f"{trap}{os.pathsep}{environment['PYTHONPATH']}", MARK: str(trap)}
    if pattern := MOMENTS[kill.moment]:
        variables |= {"TRAP_FOLDER": str(trap), "TRAP_PATTERN": pattern, "TRAP_NUMBER": str(int(kill.number))}
    with (trap / "log").open("w") as log:
        options = {"cwd": project, "env": environment | variables, "stdout": log, "stderr": log}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **options)
    start = time.monotonic()
    while process.poll() is None:
        if (trap / "stopped").is_symlink() or (not pattern and time.monotonic() - start > kill.number):
            break
        time.sleep(0.002)
    if process.poll() is not None:
        return ""
    stopped = int((trap / "stopped").readlink().name) if pattern else 0
    if stopped and kill.delay:
        os.kill(stopped, signal.SIGCONT)
    time.sleep(kill.delay)
    processes = family(process.pid)
    dead, victims = choose(kill, processes, stopped)
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
    if stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(stopped, signal.SIGCONT)
    process.wait(60)
    _, alive = psutil.wait_procs(processes, timeout=GRACE)
    alive += find_marked(str(trap))
    assert not alive, f"{kill}: {[command_of(orphan) for orphan in alive]} outlived the call"
    return dead


def find_marked(mark: str, seconds: float = GRACE) -> list[psutil.Process]:
    """The processes that a call has started, whoever their parent is now, of those that do not end within some time."""
    deadline = time.monotonic() + seconds
    while (
        found := [process for process in psutil.process_iter() if mark_of(process) == mark]
    ) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def mark_of(process: psutil.Process) -> str:
    """The mark of the call that a process belongs to; empty for any other, and for one that has just ended."""
    with contextlib.suppress(psutil.Error):
        return process.environ().get(MARK, "")
    return ""


def _check_safetensors(path: Path) -> None:
    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118
            file.get_tensor(name)


CHECKS: dict[str, Callable[[Path], object]] = {
    ".json": lambda path: json.loads(path.read_text("utf-8")), ".parquet": pd.read_parquet, ".csv": pd.read_csv,
    ".safetensors": _check_safetensors, ".zip": lambda path: zipfile.ZipFile(path).testzip(),
}  # fmt: skip


def check_files(folder: Path) -> int:
    """Read every file below a folder that has its name; how many there were. Papermill's own copies are left out."""
    count = 0
    for path in folder.rglob("*.*"):
        is_whole = path.is_file() and not re.fullmatch(files.UNFINISHED, path.name)
        if is_whole and path.suffix in CHECKS:
            CHECKS[path.suffix](path)
            count += 1
    return count


def read_cache(path: Path) -> set[tuple]:
    """The translations of a cache that SQLite finds whole; none where there is no file yet."""
    if not path.exists():
        return set()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        tables = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
        return set(connection.execute("select * from translations")) if tables else set()
