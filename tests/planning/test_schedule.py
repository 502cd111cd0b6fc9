"""Hours from start to end: jobs side by side, the longest first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.planning.cost import Cost
from utils.planning.schedule import Step, elapsed_hours


def step(jobs: list[float], workers: int, notebook: str = "04") -> Step:
    cost = Cost(0, 0, 0, 0, 0, 0, 0)
    return Step(notebook, "", "QC", 0, 0, 0, 0, 0, cost, tuple(jobs), workers, False, 0)


def test_jobs_of_a_notebook_fill_the_workers_and_notebooks_wait_for_each_other() -> None:
    assert elapsed_hours([step([2, 3], 2), step([2], 2)]) == 4  # 3 beside 2 + 2
    assert elapsed_hours([step([3], 2), step([1], 2, "05")]) == 4
    assert elapsed_hours([step([3, 3], 1)]) == 6
    assert elapsed_hours([step([3, 3], 2), step([1], 1)]) == 4  # the last one has the machine for itself
    assert elapsed_hours([]) == 0


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=12), st.integers(1, 8))
def test_no_schedule_beats_the_longest_job_or_the_share_of_each_worker(jobs: list[float], workers: int) -> None:
    elapsed, share = elapsed_hours([step(jobs, workers)]), sum(jobs) / workers
    assert max(max(jobs), share) <= elapsed * (1 + 1e-9)
    assert elapsed <= (share + max(jobs) * (1 - 1 / workers)) * (1 + 1e-9)  # Graham's bound
    if workers == 1:
        assert elapsed == pytest.approx(sum(jobs))
