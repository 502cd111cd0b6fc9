"""The a100 run in small, by the real commands: every notebook, two ranks, ZeRO-2 and ZeRO-3; and what a killed rank costs."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Shell

from utils import profiles
from utils.core import paths
from utils.core.paths import Run

pytestmark = pytest.mark.long
# An encoder trained in full under ZeRO-2, a decoder with LoRA under ZeRO-3, and a variant that is a job beside others.
CANDIDATES = "xlm-roberta-large,gemma-3-12b,gemma-3-12b-no-translation"
OPTIONS = ("./run_all.sh", "--rehearse", "a100", "--candidates", CANDIDATES)
STAGES = {"xlm-roberta-large": 2, "gemma-3-12b": 3}
PATIENCE = 300  # seconds that anything may take on a busy machine


@dataclass(frozen=True)
class Rehearsal:
    """A rehearsal that has ended, and a second run to break."""

    whole: Run
    broken: Run
    done: subprocess.CompletedProcess


@pytest.fixture(scope="module")
def rehearsal(project: Path, shell: Shell) -> Iterator[Rehearsal]:
    done = shell(*OPTIONS, "--run", "test-rehearsal")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", project)
        patch.setattr(paths, "SUBMISSIONS", project / "submissions")
        yield Rehearsal(Run("test-rehearsal"), Run("test-broken"), done)


def workers(folder: Path) -> list[int]:
    """Processes that train below a folder."""
    lines = subprocess.run(["ps", "-wweo", "pid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [int(line.split()[0]) for line in lines if "utils.experiment.worker" in line and str(folder) in line]


def test_every_notebook_passes(rehearsal: Rehearsal, shell: Shell) -> None:
    assert rehearsal.done.returncode == 0, rehearsal.done.stdout[-2000:] + rehearsal.done.stderr[-4000:]
    assert shell("python", "-m", "utils.submit", "--run", rehearsal.whole.name, "--check").returncode == 0


@pytest.mark.parametrize("task", ["QC", "QI"])
def test_each_training_tells_its_engine_and_who_saw_what(task: str, rehearsal: Rehearsal) -> None:
    engines = sorted(rehearsal.whole.final.glob(f"{task}/*/fold*/engine.json"))
    assert len(engines) == len(profiles.load("rehearsal").finals[0].folds)
    for path in [*engines, *rehearsal.whole.bakeoff.glob(f"{task}/*/fold0/engine.json")]:
        engine, stage = json.loads(path.read_text()), STAGES.get(path.parts[-3], 0)
        assert (engine["engine"], engine["zero_stage"]) == ("DeepSpeedEngine" if stage else "plain", stage)
        assert engine["world_size"] == (2 if stage else 1)
        ids = [set(part) for part in engine["ids_by_rank"]]
        assert all(ids) and sum(map(len, ids)) == len(set.union(*ids)) == engine["rows"]
        assert all(epoch["each_row_once"] for epoch in engine["epochs"])
    kinds = {json.loads(path.read_text())["engine"] for path in rehearsal.whole.bakeoff.glob(f"{task}/*/engine.json")}
    assert kinds == {"DeepSpeedEngine", "plain"}


def test_after_a_killed_rank_the_next_call_ends_with_the_same_bytes(
    rehearsal: Rehearsal, project: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    whole, broken = rehearsal.whole, rehearsal.broken
    shutil.copytree(whole.root, broken.root)
    for folder in (broken.final, broken.ensemble):
        shutil.rmtree(folder)
    again = [*OPTIONS, "--run", broken.name, "--from", "06"]
    output, errors = tmp_path / "output", tmp_path / "errors"
    with output.open("w") as out, errors.open("w") as err:
        running = subprocess.Popen(again, cwd=project, env=environment, stdout=out, stderr=err)
        ranks: list[int] = []
        while len(ranks) < 2 and running.poll() is None:  # until fold 1 of QI is trained
            time.sleep(0.05)
            ranks = [rank for fold in (broken.final / "QI").glob("*/fold1") for rank in workers(fold)]
        assert len(ranks) == 2, errors.read_text()
        os.kill(ranks[1], signal.SIGKILL)
        assert running.wait(PATIENCE) == 1
    assert "was killed (SIGKILL)" in errors.read_text()
    assert "06_final_train failed; its notebook lies in" in errors.read_text()
    assert not workers(broken.final)
    done = subprocess.run(again, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "QI fold 0: reused" in done.stdout, done.stderr[-4000:]
    for task in ("QC", "QI"):
        name = f"submit_{task}.txt"
        assert (broken.submission / name).read_bytes() == (whole.submission / name).read_bytes()


@pytest.mark.parametrize(
    ("profile", "candidates"), [("gpu24", "qwen3-4b,gemma-3-12b"), ("t4x2", "qwen3-1.7b,qwen3-4b")]
)
def test_the_profiles_of_smaller_machines_pass_too(profile: str, candidates: str, shell: Shell) -> None:
    """In 4 bits, in bfloat16 and in float16."""
    done = shell("./run_all.sh", "--rehearse", profile, "--candidates", candidates, "--run", f"test-{profile}")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert f"profile: rehearsal-{profile}" in done.stdout
