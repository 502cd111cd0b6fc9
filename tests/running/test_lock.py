"""One call at a time works on a run: the second is told who does, and a killed one leaves no lock."""

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TextIO

import pytest

from utils.core import paths
from utils.core.errors import DiskError, LockError
from utils.core.paths import Run
from utils.running import lock

HOLD = """
import sys, time
from pathlib import Path
from utils.core import paths
from utils.running import lock
paths.ROOT = Path(sys.argv[1])
held = lock.take(paths.Run("shared"), sys.argv[2])
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


def close(held: tuple[TextIO, ...]) -> None:
    for file in held:
        file.close()


def hold(root: Path, part: str = "") -> subprocess.Popen[str]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(root), part]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_second_call_is_refused_with_the_process_and_the_start_of_the_first(root: Path) -> None:
    other = hold(root)
    try:
        with pytest.raises(LockError) as refused:
            lock.take(Run("shared"))
        said = re.fullmatch(
            r"run 'shared' is being worked on by process (\d+) on .+ since (.+); wait for its end, or name another run \(--run NAME\)",
            str(refused.value),
        )
        assert said and int(said[1]) == other.pid
        assert abs((datetime.now().astimezone() - datetime.fromisoformat(said[2])).total_seconds()) < 60
        close(lock.take(Run("other")))
        with pytest.raises(LockError, match=f"run 'shared', part 1/2, is being worked on by process {other.pid} on"):
            lock.take(Run("shared"), "1/2")
    finally:
        other.kill()
        other.wait()
    held = lock.take(Run("shared"))
    assert json.loads(Run("shared").lock().read_text())["process"] == os.getpid()
    close(held)


def test_each_part_has_a_lock_of_its_own(root: Path) -> None:
    other = hold(root, "1/2")
    try:
        with pytest.raises(LockError, match=f"run 'shared', part 1/2, is being worked on by process {other.pid} on"):
            lock.take(Run("shared"), "1/2")
        close(lock.take(Run("shared"), "2/2"))
        with pytest.raises(LockError, match="run 'shared' is being worked on by process"):
            lock.take(Run("shared"))
        close(lock.take(Run("shared"), parts=True))  # a call that starts the parts itself
    finally:
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    close(lock.take(Run("shared"), "1/2"))


def test_of_many_calls_at_once_one_gets_the_lock() -> None:
    held, refused, gate = [], [], threading.Barrier(16)

    def call() -> None:
        gate.wait()
        try:
            held.append(lock.take(Run("shared")))
        except LockError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1 and len(refused) == 15
    close(held[0])


def test_a_lock_file_that_is_broken_names_another_process(root: Path) -> None:
    held = lock.take(Run("shared"))
    for content in ("", "{", "[]", "{}", "null"):
        Run("shared").lock().write_text(content)
        with pytest.raises(LockError, match="is being worked on by another process;"):
            lock.take(Run("shared"))
    close(held)


def test_a_disk_without_locks_is_told_and_a_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def refuse(*_: object) -> Iterator[None]:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    close(lock.take(Run("shared")))
    assert "is on a disk without locks; start no second call with this run" in capsys.readouterr().out


def test_no_folder_for_the_run_is_told(root: Path) -> None:
    (root / "runs").symlink_to(root / "unplugged")
    with pytest.raises(
        DiskError, match=r"runs/\.shared\.lock: .*; a file or a broken link stands where a folder is needed"
    ):
        lock.take(Run("shared"))


def test_a_clock_that_jumps_back_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    held = lock.take(Run("shared"))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with pytest.raises(LockError, match=f"by process {os.getpid()} on"):
        lock.take(Run("shared"))
    close(held)
