"""Runs that are killed at random moments: no process outlives them, no file is half written, the next call ends as an undisturbed one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from conftest import copy_project, open_environment, open_shell
from hypothesis import settings
from kills import MOMENTS, check_files, draw, read_cache, strike

LONG_RUN = settings.get_current_profile_name() == "long"
SEED = 20
# Each run is killed several times in a row, where it translates first, since that is done once, and where it writes the zip last.
EARLY, LATE = "translates", "writes the zip"
RUNS, KILLS = (5, 5) if LONG_RUN else (1, 3)
# About as many events as a run has, or seconds that it takes: kills are drawn from these.
MOST = {
    "translates": 3, "begins to write a file": 150, "is about to name a file": 250, "saves a training": 60, "answers": 40,
    "writes the zip": 1, "does anything": 40,
}  # fmt: skip
SUBMITTED = ("submit_QC.txt", "submit_QI.txt", "submit.zip")


@dataclass(frozen=True)
class Hunt:
    """A project in which runs are killed, and what an undisturbed one leaves."""

    command: list[str]
    submission: dict[str, bytes]
    cache: set[tuple]


@pytest.fixture(scope="module")
def hunt(small: Path, tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hunt]:
    project = copy_project(tmp_path_factory.mktemp("undisturbed"))
    options = ("--data", small, "--models", tiny_models, "--candidates", "e5-small", "--run", "killed")
    command = ["./run_all.sh", "--profile", "smoke", *map(str, options)]
    done = open_shell(project)(*command)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    folder = project / "submissions" / "killed"
    cache = read_cache(project / "data" / "cache" / "translations.sqlite")
    assert len(cache) > 100
    yield Hunt(command, {name: (folder / name).read_bytes() for name in SUBMITTED}, cache)


@pytest.mark.parametrize("number", range(RUNS))
def test_killed_at_random_moments_a_run_ends_as_an_undisturbed_one(hunt: Hunt, number: int, tmp_path: Path) -> None:
    random, project = Random(SEED + number), copy_project(tmp_path)
    between = [moment for moment in MOMENTS if moment not in (EARLY, LATE)]
    moments = [EARLY, *random.sample(between, KILLS - 2), LATE]
    struck = []
    for place, moment in enumerate(moments):
        kill = draw(random, moment, MOST[moment])
        dead = strike(hunt.command, project, open_environment(project), kill, tmp_path / f"trap{place}")
        read = check_files(project / "runs") + check_files(project / "submissions")
        assert read_cache(project / "data" / "cache" / "translations.sqlite") <= hunt.cache
        struck.append((kill, dead, read))
        print(f"run {number}: {kill} -> {dead or 'had ended'}; {read} files read")
    done = open_shell(project)(*hunt.command)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    for name, content in hunt.submission.items():
        assert (project / "submissions" / "killed" / name).read_bytes() == content, (name, struck)
    assert read_cache(project / "data" / "cache" / "translations.sqlite") == hunt.cache
    assert all(dead for _, dead, _ in struck[:1] + struck[-1:])  # the first and the last strike wherever the others do
