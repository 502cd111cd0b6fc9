"""Runs that are killed at random moments: no process outlives them, no file is half written, the next call ends as an undisturbed one."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil
import pytest
from conftest import copy_project, is_long_run, open_environment, open_shell
from kills import MARK, MOMENTS, VICTIMS, Kill, check_files, command_of, draw, family, find_marked, read_cache, strike

from utils.running.interruptions import SIGNALS

LONG_RUN = is_long_run()
SEED = 20
# Each run is killed several times in a row, where it translates first, since that is done once, and where it writes the zip last.
EARLY, LATE = "translates", "writes the zip"
RUNS, KILLS = (6, 5) if LONG_RUN else (1, 3)
# About as many events as a run has, or seconds that it takes: kills are drawn from these, in the short cut from the first ones.
MOST = {
    "translates": 3, "begins to write a file": 150, "is about to name a file": 250, "saves a training": 60, "answers": 40,
    "writes the zip": 1, "does anything": 40,
}  # fmt: skip
SHORT = {"saves a training": 6, "answers": 4}
CACHE = Path("data/cache/translations.sqlite")


@dataclass(frozen=True)
class Hunt:
    """A project in which runs are killed, and what an undisturbed one leaves."""

    project: Path
    command: list[str]
    submission: dict[str, bytes]
    cache: set[tuple]

    def check(self, project: Path, run: str = "killed") -> None:
        """That a run ended as the undisturbed one."""
        for name, content in self.submission.items():
            assert (project / "submissions" / run / name).read_bytes() == content, name
        assert read_cache(project / CACHE) == self.cache


@pytest.fixture(scope="module")
def hunt(small: Path, tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hunt]:
    project, data = copy_project(tmp_path_factory.mktemp("undisturbed")), small
    if not LONG_RUN:  # one task
        data = tmp_path_factory.mktemp("short")
        for split in ("train", "test"):
            shutil.copy(small / f"{split}_QI.txt", data)
    options = ("--data", data, "--models", tiny_models, "--candidates", "e5-small", "--run", "killed")
    command = ["./run_all.sh", "--profile", "smoke", *map(str, options)]
    done = open_shell(project)(*command)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    folder = project / "submissions" / "killed"
    cache = read_cache(project / CACHE)
    assert len(cache) > 50
    yield Hunt(project, command, {path.name: path.read_bytes() for path in folder.glob("submit*")}, cache)


@pytest.fixture(scope="module")
def record() -> list[tuple[Kill, str]]:
    """All kills, and what died of each: nothing where the call had ended before its moment came."""
    return []


@pytest.mark.parametrize("number", range(RUNS))
def test_killed_at_random_moments_a_run_ends_as_an_undisturbed_one(
    hunt: Hunt, number: int, record: list[tuple[Kill, str]], tmp_path: Path
) -> None:
    random, project = Random(SEED + number), copy_project(tmp_path)
    between = [moment for moment in (MOST if LONG_RUN else SHORT) if moment not in (EARLY, LATE)]
    moments = [EARLY, *random.sample(between, KILLS - 2), LATE]
    for place, moment in enumerate(moments):
        kill = draw(random, moment, MOST[moment] if LONG_RUN else SHORT.get(moment, MOST[moment]))
        dead = strike(hunt.command, project, open_environment(project), kill, tmp_path / f"trap{place}")
        read = check_files(project / "runs") + check_files(project / "submissions")
        assert read_cache(project / CACHE) <= hunt.cache
        record.append((kill, dead))
        print(f"run {number}: {kill} -> {dead or 'had ended'}; {read} files read")
    done = open_shell(project)(*hunt.command)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    hunt.check(project)
    assert record[-KILLS][1] and record[-1][1]  # the first and the last strike wherever the others do


@pytest.mark.skipif(not LONG_RUN, reason="of many kills: --long")
def test_enough_kills_struck_at_every_moment_and_of_every_process(record: list[tuple[Kill, str]]) -> None:
    struck = [(kill, dead) for kill, dead in record if dead]
    assert len(record) == RUNS * KILLS and len(struck) >= 25
    assert {kill.moment for kill, _ in struck} == set(MOMENTS) and {dead for _, dead in struck} == set(VICTIMS)
    assert {kill.delay > 0 for kill, _ in struck} == {True, False}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_call_that_is_told_to_end_says_so_and_leaves_no_process(
    hunt: Hunt, number: signal.Signals, tmp_path: Path
) -> None:
    """By Ctrl-C, which reaches the whole group, by a scheduler, which tells the call alone, and by a terminal that is closed; while a
    notebook begins, and while several processes train.
    """
    environment = open_environment(hunt.project) | {MARK: f"{tmp_path}"}
    options = {"cwd": hunt.project, "env": environment, "start_new_session": True}
    options["preexec_fn"] = lambda: [
        signal.signal(each, signal.SIG_DFL) for each in SIGNALS
    ]  # tests may run in the background
    begin, awaited = ("04", "multiprocessing.forkserver") if number == signal.SIGTERM else ("01", "ipykernel")
    name = f"{number.name}-{begin}"
    if begin != "01":
        shutil.copytree(hunt.project / "runs" / "killed", hunt.project / "runs" / name)
        shutil.rmtree(hunt.project / "runs" / name / "04_bakeoff")
    with (tmp_path / "log").open("w") as log:
        command = [*hunt.command[:-1], name, "--only", begin]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)
    while process.poll() is None and sum(awaited in command_of(p) for p in family(process.pid)) < (
        1 if begin == "01" else 2
    ):
        time.sleep(0.01)
    processes = family(process.pid)
    (os.kill if number == signal.SIGTERM else os.killpg)(process.pid, number)
    assert process.wait(30) == 1
    assert not psutil.wait_procs(processes, timeout=1)[1] and not find_marked(str(tmp_path), 1)
    said = (tmp_path / "log").read_text()
    assert said.rstrip().endswith(
        f"interrupted by {number.name} in {'01_eda' if begin == '01' else '04_bakeoff'}; the same command goes on where it stopped"
    ), said
    assert "Traceback" not in said and "Error" not in said


def test_runs_that_cannot_be_written_are_refused_before_anything_is_done(hunt: Hunt) -> None:
    script = "mount --bind runs runs && mount -o remount,ro,bind runs && exec " + shlex.join(
        [*hunt.command[:-1], "other"]
    )
    shell = open_shell(hunt.project)
    if shell("unshare", "--mount", "--map-root-user", "mount", "--bind", "runs", "runs").returncode:
        pytest.skip("nothing can be mounted here")
    done = shell("unshare", "--mount", "--map-root-user", "sh", "-c", script)
    assert done.returncode == 2 and "[1/7]" not in done.stdout
    assert re.search(
        r"runs/\.other\.lock: Read-only file system; let `runs`.* lie on a disk that can be written\n$", done.stderr
    ), done.stderr


@pytest.mark.skipif(not LONG_RUN, reason="takes minutes: --long")
def test_on_a_disk_that_is_full_a_run_says_so_and_with_room_ends_as_an_undisturbed_one(
    hunt: Hunt, tmp_path: Path
) -> None:
    """The disk of `runs` fills while notebooks are written, while folds train and while they answer."""
    project = copy_project(tmp_path)
    (project / "runs").mkdir()
    call = shlex.join(hunt.command)
    steps = ["mount -t tmpfs -o size=100k tmpfs runs"]
    for number, size in enumerate(("800k", "2500k", "6m", "500m")):
        steps += [f"mount -o remount,size={size} runs", f"{call} > log{number} 2>&1; echo $? >> log{number}"]
    shell = open_shell(project)
    if shell("unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "tmpfs", "runs").returncode:
        pytest.skip("nothing can be mounted here")
    done = shell(
        "unshare", "--mount", "--map-root-user", "sh", "-c", " && ".join(steps[:1]) + "; " + "; ".join(steps[1:])
    )
    logs = [(project / f"log{number}").read_text() for number in range(4)]
    full = [log for log in logs if "No space left on device" in log]
    assert len(full) >= 2, [log[-300:] for log in logs]
    assert all(log.splitlines()[-1] == "2" for log in full)
    assert all(
        "No space left on device; make room and call again" in log.splitlines()[-3] + log.splitlines()[-2]
        for log in full
    ), full
    assert logs[-1].splitlines()[-1] == "0", logs[-1][-3000:] + done.stderr
    hunt.check(project)


@pytest.mark.skipif(not LONG_RUN, reason="takes minutes: --long")
def test_two_runs_that_share_their_caches_end_as_one_alone_while_the_clock_jumps(hunt: Hunt, tmp_path: Path) -> None:
    """Both translate and train at once; for one of them each look at the clock is up to an hour off."""
    project, watch = copy_project(tmp_path), tmp_path / "watch"
    watch.mkdir()
    (watch / "sitecustomize.py").write_text(CLOCK)
    environment = open_environment(project)
    odd = environment | {"PYTHONPATH": f"{watch}{os.pathsep}{project}"}
    calls = []
    for name, own in (("even", environment), ("odd", odd)):
        with (tmp_path / name).open("w") as log:
            command = [*hunt.command[:-1], name]
            calls.append(
                subprocess.Popen(command, cwd=project, env=own, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            )
    while calls[0].poll() is None and "[1/7]" not in (tmp_path / "even").read_text():
        time.sleep(0.1)
    second = open_shell(project)(*hunt.command[:-1], "even")
    assert second.returncode == 2 and f"'even' is being worked on by process {calls[0].pid} on " in second.stderr
    for call, name in zip(calls, ("even", "odd"), strict=True):
        assert call.wait() == 0, (tmp_path / name).read_text()[-3000:]
        hunt.check(project, name)


CLOCK = """
import random, time
_true = time.time
time.time = lambda: _true() - random.random() * 3600
"""
