"""One call at a time works on a run: the second is told who does, and a killed one leaves no lock."""

import errno
import fcntl
import json
import os
import platform
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
from datetime import datetime
from pathlib import Path
from utils.core import paths
from utils.running import lock
paths.ROOT = Path(sys.argv[1])
class Then(datetime):
    now = classmethod(lambda _, zone=None: datetime.fromisoformat(sys.argv[3]))
lock.datetime = Then
held = lock.take(paths.Run("shared"), sys.argv[2])
print("held", flush=True)
time.sleep(600)
"""


SINCE = datetime(2024, 2, 29, 12, 30).astimezone()  # when the other process has begun


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


def close(held: tuple[TextIO, ...]) -> None:
    for file in held:
        file.close()


def hold(root: Path, part: str = "") -> subprocess.Popen[str]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(root), part, SINCE.isoformat()]
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
        assert said[2] == SINCE.isoformat(" ", "seconds")
        close(lock.take(Run("other")))
        with pytest.raises(LockError, match=f"run 'shared' is being worked on by process {other.pid} on"):
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
        close(lock.take(Run("shared"), parts=2))  # a call that starts the parts itself
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
    since = json.loads(Run("shared").lock().read_text())["since"]

    class Before(datetime):
        now = classmethod(lambda _, zone=None: datetime(1970, 1, 2, tzinfo=zone))

    monkeypatch.setattr(lock, "datetime", Before)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with pytest.raises(LockError, match=re.escape(f"by process {os.getpid()} on {platform.node()} since {since};")):
        lock.take(Run("shared"))
    close(held)


def test_parts_of_another_number_are_kept_away(root: Path) -> None:
    """Their trainings are the same ones, shared out otherwise."""
    other = hold(root, "1/12")
    try:
        for part in ("1/3", "1/2", "2/3"):
            with pytest.raises(
                LockError, match=rf"another number of parts than \d by process {other.pid} on .*; wait for its end"
            ):
                lock.take(Run("shared"), part)
        with pytest.raises(LockError, match=f"in another number of parts than 2 by process {other.pid} on"):
            lock.take(Run("shared"), parts=2)
        close(lock.take(Run("shared"), "12/12"))
    finally:
        other.kill()
        other.wait()
    held = lock.take(Run("shared"), parts=2)  # a call that starts two parts
    close(lock.take(Run("shared"), "2/2"))
    with pytest.raises(LockError, match=f"in another number of parts than 3 by process {os.getpid()} on"):
        lock.take(Run("shared"), "1/3")
    close(held)
    close(lock.take(Run("shared"), "1/3"))


def test_a_refusal_names_a_part_that_is_alive(root: Path) -> None:
    """Whichever began last."""
    alive, dead = hold(root, "1/2"), hold(root, "2/2")
    dead.kill()
    dead.wait()
    try:
        with pytest.raises(LockError, match=f"is being worked on by process {alive.pid} on"):
            lock.take(Run("shared"))
    finally:
        alive.kill()
        alive.wait()
