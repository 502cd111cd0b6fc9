"""Same in, same out: whatever the order of a file's lines, and the hash seed of a process."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import beginning
import numpy as np
import pytest

from utils import submit
from utils.core import paths
from utils.core.paths import ROOT, Run, raw_file
from utils.data.raw import read_file
from utils.data.tables import read_table
from utils.ensemble import crossfitting, submission, tables
from utils.experiment import task_data


@pytest.fixture(scope="module")
def shuffled(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small data folder with the lines of every file in another order."""
    folder = tmp_path_factory.mktemp("shuffled")
    for number, path in enumerate(sorted(small.glob("*.txt"))):
        lines = path.read_text("utf-8").splitlines()
        random.Random(number).shuffle(lines)
        (folder / path.name).write_text("\n".join(lines) + "\n", "utf-8")
    shutil.copytree(small / "solution", folder / "solution")
    return folder


class Begun(NamedTuple):
    """A run that has begun in this process, and the same on shuffled files in another process with another hash seed; how that ended."""

    here: Path
    there: Path
    code: int
    said: str
    errors: str


@pytest.fixture(scope="module")
def begun(small: Path, shuffled: Path, tmp_path_factory: pytest.TempPathFactory) -> Begun:
    here, there = (tmp_path_factory.mktemp(name) for name in ("here", "there"))
    script = [sys.executable, ROOT / "tests" / "experiment" / "beginning.py", shuffled, there]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "1", "HF_HUB_OFFLINE": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    other = subprocess.Popen(list(map(str, script)), env=environment, **pipes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", here)
        patch.setattr(crossfitting, "choose_repeats", None)
        patch.setattr(task_data.find_noise, "__defaults__", ())
        beginning.main(small, here)
    said, errors = other.communicate(timeout=300)
    return Begun(here, there, other.returncode, said.split("\n", said.count("\n") - 1)[-1], errors)


def runs(begun: Begun) -> list[Path]:
    return [folder / "runs" / beginning.RUN.name for folder in begun[:2]]


def test_clean_rows_and_folds_are_the_same(begun: Begun) -> None:
    here, there = runs(begun)
    files = [
        path.relative_to(here) for folder in ("02_clean", "03_folds") for path in (here / folder).glob("*.parquet")
    ]
    assert len(files) == 9
    for file in files:
        assert read_table(here / file).equals(read_table(there / file)), file


def test_answers_are_the_same_for_every_candidate_and_the_ensemble(begun: Begun) -> None:
    here, there = runs(begun)
    files = [path.relative_to(here) for path in (*here.glob("04_bakeoff/*/*/*.parquet"), *here.glob("07_ensemble/*"))]
    assert len(files) == 2 * 2 + 2  # oof and test of each candidate; those of the ensemble
    for file in files:
        one, other = read_table(here / file), read_table(there / file)
        assert one.drop(columns="probability").equals(other.drop(columns="probability")) or "threshold" in one, file
        assert one["id"].tolist() == other["id"].tolist()
        assert np.abs(one["probability"] - other["probability"]).max() < 1e-6, file
        if "prediction" in one:
            assert one["prediction"].tolist() == other["prediction"].tolist()


def test_a_submission_has_the_same_answer_for_each_id_in_the_order_of_its_test_file(
    begun: Begun, small: Path, shuffled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    for root, data in zip(begun[:2], (small, shuffled), strict=True):
        monkeypatch.setattr(paths, "ROOT", root)
        run = Run(beginning.RUN.name)
        answers = tables.with_texts(run, "QC", read_table(run.ensemble / "answers_QC.parquet"))
        file = submit.write_submission({"QC": answers}, data, tmp_path / root.name)[0]
        assert not submission.check_lines(
            file.read_bytes(), read_file(raw_file(data, "test", "QC"), "QC", False)[0], "QC"
        )
        written.append(file.read_text("utf-8").splitlines())
    one, other = written
    assert one != other and sorted(one) == sorted(other)


def test_a_notebook_that_begins_cannot_open_a_solution(begun: Begun) -> None:
    """The other process has begun as notebook 04 does, read a test file, and then a solution."""
    assert begun.code == 1 and begun.said.startswith("['QC', 'QI'] 100\n"), begun.errors
    error = begun.errors.strip().splitlines()[-1]
    assert "LeakError: " in error and "solution/test_QC.txt: solutions are read by notebook 07 alone" in error
