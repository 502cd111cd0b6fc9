"""Jobs side by side: each step in a process of its own, on its device; the first failure ends the rest and names itself."""

import itertools
import os
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import work

from utils import profiles
from utils.data.raw import read_folder
from utils.experiment import devices, pool
from utils.experiment.pool import Call, Task, WorkerError
from utils.planning import plan, sampling
from utils.planning.devices import GPUS
from utils.planning.schedule import elapsed_hours
from utils.planning.timing import Host

ONE, TWO = (devices.CPU,), (devices.CPU,) * 2


def task(name: str, function, *arguments, cost: float = 1.0) -> Task:
    return Task(name, (Call(function, arguments),), cost)


def read_note(path: Path) -> dict[str, str]:
    """What a worker left of itself."""
    return dict(part.split("=") for part in path.read_text().split())


@pytest.mark.parametrize("cores", [ONE, TWO])
def test_every_task_has_a_process_and_one_thread_of_its_own(
    cores: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    names = ["a", "b", "c"]
    pool.run([task(name, work.note, tmp_path, name) for name in names], cores, "lines", work.bind_from_many_threads)
    notes = [(tmp_path / name).read_text().split() for name in names]
    assert len({process for process, *_ in notes} | {str(os.getpid())}) == 4
    assert [threads for _, *threads in notes] == [["1", "1"]] * 3
    printed = capsys.readouterr().out
    assert all(f"noted {name}\n" in printed and f"] {name}: " in printed for name in names)
    assert "[3/3]" in printed


def test_every_step_has_a_process_of_its_own_and_gives_its_memory_back(tmp_path: Path) -> None:
    """The second step sees what the first one left on the disk, and nothing that it held in memory."""
    size = 300_000_000
    calls = (Call(work.hold, (tmp_path, "first", size)), Call(work.hold, (tmp_path, "second", 0, "first")))
    pool.run([Task("steps", calls), task("beside", work.note, tmp_path, "beside")], TWO, "none")
    notes = [read_note(tmp_path / name) for name in ("first", "second")]
    assert len({note["process"] for note in notes} | {str(os.getpid())}) == 3
    held, left = (int(note["memory"]) for note in notes)
    assert held - left > 0.8 * size
    assert not any(psutil.pid_exists(int(note["process"])) for note in notes)


def test_a_task_keeps_its_device_and_no_device_has_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that stand for four GPUs: what they do is told apart by the device that they were bound to."""
    names = [f"t{number}" for number in range(9)]
    gpus = tuple(f"cpu:{number}" for number in range(4))
    steps = [
        Task(name, tuple(Call(work.occupy, (tmp_path, name, step)) for step in range(2)), number)
        for number, name in enumerate(names)
    ]
    pool.run(steps, gpus, "none", bind=work.stand_for)
    spans: dict[str, list[tuple[float, float]]] = {gpu: [] for gpu in gpus}
    for name in names:
        first, second = (read_note(path) for path in sorted(tmp_path.glob(f"{name}.*")))
        assert first["device"] == second["device"]
        for note in (first, second):
            spans[note["device"]].append((float(note["start"]), float(note["end"])))
    assert all(spans.values())
    for used in spans.values():
        ordered = sorted(used)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ordered))


@pytest.mark.parametrize(("count", "expected"), [(1, []), (2, ["long"]), (4, ["long", "short"])])
def test_a_last_call_is_shared_out_where_devices_are_idle_and_nothing_waits(
    count: int, expected: list[str], tmp_path: Path
) -> None:
    """Of two devices one is idle only when the shorter task is over, of four two from the start."""
    tasks = []
    for name, seconds in (("long", 1.0), ("short", 0.1)):
        (folder := tmp_path / name).mkdir()
        shares = tuple(Call(work.occupy, (folder, "share", number)) for number in range(3))
        calls = (Call(work.wait, (folder, "first", seconds)), Call(work.occupy, (folder, "last", 0)))
        tasks.append(Task(name, calls, seconds, shares))
    pool.run(tasks, tuple(f"cpu:{number}" for number in range(count)), "none", bind=work.stand_for)
    for task in tasks:
        last = read_note(tmp_path / task.title / "last.0")
        shared = [read_note(path) for path in (tmp_path / task.title).glob("share.*")]
        assert len(shared) == (3 if task.title in expected else 0)
        assert all(float(note["end"]) <= float(last["start"]) for note in shared)
        assert not shared or len({note["device"] for note in shared}) > 1


def test_the_rest_is_foretold_from_what_is_done() -> None:
    clock = pool.Clock(total=10.0, devices=2)
    assert clock.estimate([]) == 0.0
    clock.note(cost=4.0, seconds=40.0)
    assert clock.estimate([]) == 30.0  # 6 of cost, 10 seconds each, on two devices
    assert clock.estimate([20.0]) == 20.0 and clock.estimate([90.0]) == 0.0


def test_the_most_expensive_task_starts_first(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    costs = {"a": 1.0, "b": 3.0, "c": 2.0}
    pool.run([task(name, work.note, tmp_path, name, cost=cost) for name, cost in costs.items()], ONE, "lines")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("noted")]
    assert lines == ["noted b", "noted c", "noted a"]


def test_a_failure_names_its_task_and_ends_the_others_while_finished_work_stays(tmp_path: Path) -> None:
    tasks = [
        task("done", work.note, tmp_path, "done", cost=4), task("waits", work.wait, tmp_path, "waiting", cost=3),
        task("breaks", work.fail, tmp_path, cost=2), task("never", work.note, tmp_path, "never"),
    ]  # fmt: skip
    with pytest.raises(WorkerError, match="breaks: ValueError: nothing fits"):
        pool.run(tasks, TWO, "none")
    assert (tmp_path / "done").exists() and not (tmp_path / "never").exists()
    assert not psutil.pid_exists(int((tmp_path / "waiting").read_text()))


def test_a_worker_that_is_killed_is_told_from_one_that_finished(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="dies: its process ended with -9; out of memory is the usual cause"):
        pool.run([task("dies", work.die, tmp_path)], ONE, "none")


def test_nothing_to_do_starts_nothing(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_work", lambda *_: pytest.fail("a worker was started"))
    pool.run([], TWO, "lines")
    assert capsys.readouterr().out == ""


def test_four_devices_take_as_long_as_the_plan_foresees(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that stand for four GPUs and are busy for as long as the plan says, an hour being some seconds."""
    monkeypatch.setattr(plan, "measure_host", lambda recipe, folder: Host(1e-3, 1e-3, 1e-4))
    names = "xlm-roberta-large,qwen3-0.6b,gemma-3-12b,gemma-3-12b-no-translation,gemma-3-12b-report-split"
    profile = profiles.load("a100", f"profile.candidates={names}")
    gpus, texts = replace(GPUS["h200"], count=4), sampling.gather_texts(read_folder(small))
    steps = [step for step in plan.make_plan(profile, texts, gpus, "") if step.notebook == "04"]
    second = 6.0 / elapsed_hours(steps)
    tasks = []
    for hours in (hours for step in steps for hours in step.jobs):
        call = Call(work.wait, (tmp_path, f"{len(tasks)}", hours * second))
        tasks.append(Task(f"job {len(tasks)}", (call,), hours))
    assert len(tasks) > 2 * 4
    pool.run([task("warm", work.wait, tmp_path, "warm", 0.0)], ONE, "none")  # the server that workers are forked from
    start = time.monotonic()
    pool.run(tasks, tuple(f"cpu:{number}" for number in range(4)), "none", bind=work.stand_for)
    assert time.monotonic() - start == pytest.approx(6.0, rel=0.25)
