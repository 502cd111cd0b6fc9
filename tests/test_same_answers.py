"""The whole pipeline twice: lines in another order, another number of workers and of threads, another hash seed, other solutions."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from conftest import copy_project, is_long_run, open_environment, open_shell

from utils.data.tables import read_table

pytestmark = pytest.mark.skipif(not is_long_run(), reason="takes minutes: --long")
VALUES = ("probability", "threshold")  # columns of which the last digits may differ


@pytest.fixture(scope="module")
def runs(small: Path, tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two projects in which the same run has ended."""
    other = tmp_path_factory.mktemp("other")
    for number, path in enumerate(sorted(small.rglob("*.txt"))):
        lines = path.read_text("utf-8").splitlines()
        random.Random(number).shuffle(lines)
        if path.parent.name == "solution":
            lines = [flip(line) for line in lines]
        (other / path.relative_to(small)).parent.mkdir(exist_ok=True)
        (other / path.relative_to(small)).write_text("\n".join(lines) + "\n", "utf-8")
    projects = []
    for data, threads, workers, seed in ((small, "1", "2", "1"), (other, "2", "1", "2")):
        project = copy_project(tmp_path_factory.mktemp("project"))
        environment = open_environment(project) | {"OMP_NUM_THREADS": threads, "PYTHONHASHSEED": seed}
        call = ("./run_all.sh", "--profile", "smoke", "--run", "same", "--data", data, "--models", tiny_models)
        done = open_shell(project)(*call, "--set", f"smoke.workers={workers}", env=environment)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        projects.append(project)
    return projects


def flip(line: str) -> str:
    """A line of a solution with the other label."""
    row = json.loads(line)
    return json.dumps(row | {"label": 1 - int(row["label"])}, ensure_ascii=False)


def test_every_table_is_the_same(runs: list[Path]) -> None:
    """Clean rows and folds to the byte, probabilities to a millionth."""
    roots = [project / "runs" / "same" for project in runs]
    files = sorted(path.relative_to(roots[0]) for path in roots[0].rglob("*.parquet") if path.name != "log.parquet")
    assert len(files) > 100 and files == sorted(
        p.relative_to(roots[1]) for p in roots[1].rglob("*.parquet") if p.name != "log.parquet"
    )
    for file in files:
        one, two = (read_table(root / file) for root in roots)
        values = [name for name in VALUES if name in one]
        assert one.drop(columns=values).equals(two.drop(columns=values)), file
        assert np.abs(one[values] - two[values]).max(axis=None) < 1e-6 if values and len(one) else True, file
    print(f"{len(files)} tables")


def test_every_row_gets_the_same_answer_whatever_the_solution_says(runs: list[Path]) -> None:
    for task in ("QC", "QI"):
        lines = [
            (project / "submissions" / "same" / f"submit_{task}.txt").read_text("utf-8").splitlines()
            for project in runs
        ]
        assert lines[0] != lines[1] and sorted(lines[0]) == sorted(lines[1])
