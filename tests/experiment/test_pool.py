"""Jobs side by side: each in a process of its own, on one thread; the first failure ends the rest and names itself."""

import os
from pathlib import Path

import psutil
import pytest
import work

from utils.experiment import pool
from utils.experiment.pool import Task, WorkerError


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_has_a_process_and_one_thread_of_its_own(
    workers: int, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    names = ["a", "b", "c"]
    pool.run([Task(name, work.note, (tmp_path, name)) for name in names], workers, "lines")
    notes = [(tmp_path / name).read_text().split() for name in names]
    assert len({process for process, *_ in notes} | {str(os.getpid())}) == 4
    assert [threads for _, *threads in notes] == [["1", "1"]] * 3
    printed = capsys.readouterr().out
    assert all(f"noted {name}\n" in printed and f"] {name}: " in printed for name in names)
    assert "[3/3]" in printed


def test_the_most_expensive_task_starts_first(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pool.run(
        [Task(name, work.note, (tmp_path, name), cost) for name, cost in (("a", 1), ("b", 3), ("c", 2))], 1, "lines"
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("noted")]
    assert lines == ["noted b", "noted c", "noted a"]


def test_a_failure_names_its_task_and_ends_the_others_while_finished_work_stays(tmp_path: Path) -> None:
    tasks = [Task("done", work.note, (tmp_path, "done"), 3), Task("waits", work.wait, (tmp_path, "waiting"), 2)]
    with pytest.raises(WorkerError, match="breaks: ValueError: nothing fits"):
        pool.run(
            [*tasks, Task("breaks", work.fail, (tmp_path,), 1), Task("never", work.note, (tmp_path, "never"))],
            2,
            "none",
        )
    assert (tmp_path / "done").exists() and not (tmp_path / "never").exists()
    assert not psutil.pid_exists(int((tmp_path / "waiting").read_text()))


def test_a_worker_that_is_killed_is_told_from_one_that_finished(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="dies: its process ended with -9; out of memory is the usual cause"):
        pool.run([Task("dies", work.die, (tmp_path,))], 1, "none")


def test_nothing_to_do_starts_nothing(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_work", lambda *_: pytest.fail("a worker was started"))
    pool.run([], 2, "lines")
    assert capsys.readouterr().out == ""
