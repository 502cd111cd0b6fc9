"""Progress on a clock that the test sets: which lines are printed, with what rate and time left."""

from types import SimpleNamespace

import pytest

from utils.core import progress
from utils.core.progress import Progress


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=clock))
    return clock


def run(clock: Clock, style: progress.Style, steps: list[tuple[float, int, str]], total: int = 2400) -> None:
    """A computation whose steps are (seconds since the start, finished rows, note)."""
    with Progress("train", total, "rows", style) as bar:
        for seconds, rows, note in steps:
            clock.now = 100.0 + seconds
            bar.add(rows, note)


STEPS = [(10.0, 400, "loss 0.7"), (20.0, 800, "loss 0.5"), (30.0, 600, "loss 0.4"), (40.0, 600, "loss 0.3")]


def test_a_line_every_fifteen_seconds_and_one_at_the_end(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    run(clock, "lines", STEPS)
    assert capsys.readouterr().out.splitlines() == [
        "  train: 1,200/2,400 rows, 60/s, ETA 20 s, loss 0.5",  # 20 s since the start; at 30 s only 10 s since this line
        "  train: 2,400/2,400 rows, 60/s, 40 s, loss 0.3",
    ]


def test_without_a_note_a_line_ends_with_the_time(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    run(clock, "lines", [(15.0, 1200, ""), (16.0, 80, "")], total=1600)
    assert capsys.readouterr().out.splitlines() == [
        "  train: 1,200/1,600 rows, 80/s, ETA 5 s",
        "  train: 1,280/1,600 rows, 80/s, ETA 4 s",  # stopped before the total
    ]


def test_the_style_none_prints_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    run(clock, "none", STEPS)
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "")


def test_no_last_line_after_an_error_or_without_finished_rows(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), Progress("train", 10, "rows", "lines") as lines:
        lines.add(5)
        raise KeyError
    run(clock, "lines", [])
    assert capsys.readouterr().out == ""


def test_seconds_and_rate_count_from_the_start(clock: Clock) -> None:
    with Progress("score", 100, "rows", "none") as quiet:
        assert quiet.seconds > 0 and quiet.rate == 0  # no division by zero at the start
        clock.now += 8.0
        quiet.add(20)
        assert quiet.seconds == 8.0 and quiet.rate == 2.5


def test_a_bar_counts_and_shows_the_note() -> None:
    with Progress("train", 10, "rows", "bar") as progress_bar:
        progress_bar.add(3, "loss 0.5")
        progress_bar.add(4, "loss 0.4")
        assert (progress_bar.bar.n, progress_bar.bar.postfix, progress_bar.done) == (7, "loss 0.4", 7)
