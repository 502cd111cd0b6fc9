"""The large road in small, by the real commands: every notebook, two ranks, ZeRO-2 and ZeRO-3; and what a killed rank costs."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from utils.paths import ROOT, Run
from utils.profiles import REHEARSAL, ZERO_STAGE

RUNGS = "xlm-roberta-large,gemma-3-12b"  # the ladder's two ends: an encoder trained in full, a decoder with LoRA
WHOLE, BROKEN = Run("test-rehearsal"), Run("test-rehearsal-broken")


def command(run: Run, *arguments: str) -> list[str]:
    return ["./run_all.sh", "--profile", "rehearsal", "--run", run.name, "--rungs", RUNGS, *arguments]


@pytest.fixture(scope="module")
def rehearsed() -> Iterator[subprocess.CompletedProcess]:
    for run in (WHOLE, BROKEN):
        shutil.rmtree(run.root, ignore_errors=True)
    yield subprocess.run(command(WHOLE), cwd=ROOT, capture_output=True, text=True, check=False)
    for run in (WHOLE, BROKEN):
        shutil.rmtree(run.root, ignore_errors=True)
        shutil.rmtree(run.submission, ignore_errors=True)


def test_every_notebook_passes_on_two_ranks(rehearsed: subprocess.CompletedProcess, shell) -> None:
    assert rehearsed.returncode == 0, rehearsed.stdout[-2000:] + rehearsed.stderr[-4000:]
    assert shell("python", "-m", "utils.submit", "--run", WHOLE.name, "--check").returncode == 0


@pytest.mark.parametrize("task", ["QC", "QI"])
def test_each_training_tells_its_engine_and_who_saw_what(task: str, rehearsed: subprocess.CompletedProcess) -> None:
    trained = sorted(WHOLE.final.glob(f"{task}/*/fold*/engine.json"))
    assert len(trained) == len(REHEARSAL.finals[0].folds)
    for path in trained:
        told = json.loads(path.read_text())
        assert (told["engine"], told["zero_stage"], told["world_size"]) == ("DeepSpeedEngine", ZERO_STAGE[task], 2)
        one, other = map(set, told["ids_by_rank"])
        assert one and other and not one & other and len(one | other) == told["rows"]
        assert all(epoch["each_row_once"] for epoch in told["epochs"])
    kinds = {json.loads(path.read_text())["engine"] for path in WHOLE.bakeoff.glob(f"{task}/*/engine.json")}
    assert kinds == {"DeepSpeedEngine"}


def test_after_a_killed_rank_the_next_call_ends_with_the_same_bytes(
    rehearsed: subprocess.CompletedProcess, shell
) -> None:
    shutil.copytree(WHOLE.root, BROKEN.root)
    for folder in (BROKEN.final, BROKEN.ensemble):
        shutil.rmtree(folder)
    again = command(BROKEN, "--from", "06")
    with subprocess.Popen(again, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stderr is not None
        next(line for line in running.stdout if "QI fold 1" in line)  # its training has begun
        found = shell("pgrep", "-f", f"utils.worker {BROKEN.final}").stdout.split()
        assert len(found) == 2
        killed = time.monotonic()
        os.kill(int(found[1]), signal.SIGKILL)
        running.stdout.read()
        told = running.stderr.read()
        assert running.wait(60) == 1 and time.monotonic() - killed < 60
    assert "was killed (SIGKILL)" in told and "06_final_train failed; its notebook lies in" in told
    assert not shell("pgrep", "-f", f"utils.worker {BROKEN.final}").stdout
    done = subprocess.run(again, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "QI fold 0: reused" in done.stdout, done.stderr[-4000:]
    for task in ("QC", "QI"):
        name = f"submit_{task}.txt"
        assert (BROKEN.submission / name).read_bytes() == (WHOLE.submission / name).read_bytes()
