"""Jobs that are killed, or that fill the disk: the next call goes on, and ends with the answers of an undisturbed one."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import trial

from utils.core.paths import ROOT
from utils.experiment.pool import WorkerError


def workers() -> set[int]:
    """Processes that this one's server has forked; asking `multiprocessing` would take their exit codes from the pool."""
    me, found = psutil.Process(), set()
    for child in me.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if child.ppid() != me.pid:
                found.add(child.pid)
    return found


@pytest.fixture(scope="module")
def undisturbed(tiny_gemma: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return trial.run(tmp_path_factory.mktemp("whole"), tiny_gemma, devices=2)


@pytest.mark.parametrize("left", ["stage1/checkpoint.safetensors", "checkpoint.safetensors", "trained.json"])
def test_a_killed_worker_is_named_and_the_next_call_ends_as_an_undisturbed_one(
    left: str, undisturbed: np.ndarray, tiny_gemma: Path, tmp_path: Path
) -> None:
    """It dies in the first stage, in the second, and while it answers."""
    stop = threading.Event()

    def kill() -> None:
        before = set()
        while not stop.is_set():
            children = workers()
            if not (tmp_path / "fold1" / left).exists():
                before = children  # what writes the checkpoint, or what ends with it
            elif victims := children - (before if left == "trained.json" else set()):
                os.kill(victims.pop(), signal.SIGKILL)
                return
            time.sleep(0.001)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(WorkerError, match=r"fold 1: its process ended with -9.*goes on from its last checkpoint"):
            trial.run(tmp_path, tiny_gemma, devices=1)
    finally:
        stop.set()
        killer.join()
    assert not (tmp_path / "fold1" / "oof.parquet").exists()
    assert np.array_equal(trial.run(tmp_path, tiny_gemma, devices=2), undisturbed)


def test_a_full_disk_is_told_and_with_room_the_next_call_ends_as_an_undisturbed_one(
    undisturbed: np.ndarray, tiny_gemma: Path, tmp_path: Path
) -> None:
    script = [sys.executable, ROOT / "tests" / "experiment" / "trial.py", tiny_gemma, tmp_path, 150_000]
    command = ["unshare", "--mount", "--map-root-user", *script]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=environment, check=False, timeout=300
    )
    if not (tmp_path / "problem.txt").exists():
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()[-200:]}")
    assert "No space left" in (tmp_path / "problem.txt").read_text()
    assert (tmp_path / "left.txt").read_text() == ""  # no half-written file stays
    assert done.returncode == 0, done.stderr[-3000:]
    assert np.allclose(np.loadtxt(tmp_path / "answers.txt"), undisturbed, atol=1e-15, rtol=1e-12)
