"""The strict check: of 200 random corruptions of a valid submission every one is reported."""

import json
import random
import shutil
from pathlib import Path

import pandas as pd
import pytest
from corruptions import NAMES, corrupt, zip_again

from utils import submit
from utils.core import paths, recipe
from utils.core.errors import DataError
from utils.core.recipe import Recipe
from utils.core.schema import TARGET_KEY, TASKS
from utils.core.settings import Settings, save
from utils.data.tables import write_table
from utils.ensemble import submission
from utils.ensemble.decide import Decision, Ensemble, save_ensembles

ROWS = 30
QUERIES = ["red mug", "áo khoác", "赤い靴", "كوب \u200fأحمر", "a\u0000b", "👩‍👩‍👧 mug", "e\u0301", "\u2028", "", None]
CORRUPTIONS = 200


def make_rows(task: str, split: str) -> list[dict[str, object]]:
    """Rows with all kinds of texts; ids run in no order, half of the labels are 1."""
    numbers = random.Random(split).sample(range(1000), ROWS)
    return [
        {"id": number, "task": task, "language": "vn", "origin_query": QUERIES[place % len(QUERIES)],
         TARGET_KEY[task]: None if place == 7 else f"cup{place},ö\t{place}"} | ({"label": place % 2} if split == "train" else {})
        for place, number in enumerate(numbers)
    ]  # fmt: skip


def make_run(folder: Path) -> tuple[paths.Run, Path, Path]:
    """A run of both tasks with one member, its data folder, and its valid submission."""
    run, data = paths.Run("small"), folder / "data"
    ensembles = {}
    for task in TASKS:
        data.mkdir(exist_ok=True)
        for split in ("train", "test"):
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in make_rows(task, split))
            (data / f"{split}_{task}.txt").write_bytes(text.encode())
        test = pd.DataFrame(make_rows(task, "test")).rename(columns={TARGET_KEY[task]: "target"})
        table = test[["id", "language"]].assign(
            probability=[(place * 7 % ROWS) / ROWS for place in range(ROWS)], fold=-1
        )
        recipe.save_all([Recipe("member", "gemma")], run.tapt / "final" / task)
        write_table(table, run.final / task / "member" / "test.parquet")
        decision = Decision({"member": 1.0}, {"member": (0.9, 1.1)}, (1.0, 0.0), 0.5)
        ensembles[task] = Ensemble(("en",), {"seen": decision, "unseen": decision}, scales={"member": (1.0, 0.0)})
    save(run, Settings("smoke", str(data)))
    save_ensembles(ensembles, "copy", run.ensemble_file)
    answers = {}
    for task in TASKS:
        test = pd.DataFrame(make_rows(task, "test")).rename(columns={TARGET_KEY[task]: "target"})
        answers[task] = test.merge(submission.answer_again(run, task)[["id", "prediction"]], on="id")
    submit.write_submission(answers, data, run.submission)
    return run, data, run.submission


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[paths.Run, Path, Path]:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "SUBMISSIONS", tmp_path / "submissions")
    return make_run(tmp_path)


def find_problems(folder: Path, data: Path, run: paths.Run) -> list[str]:
    return submission.check_submission(folder, data) or submission.check_answers(folder, run)[0]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_hundred_corruptions_are_reported(small: tuple[paths.Run, Path, Path], tmp_path: Path) -> None:
    run, data, valid = small
    assert find_problems(valid, data, run) == [] and submission.check_shares(valid, data) == []
    missed = []
    for number in range(CORRUPTIONS):
        draw, name = random.Random(number), NAMES[number % len(NAMES)]
        folder = tmp_path / "corrupt"
        shutil.copytree(valid, folder)
        corrupt(name, folder, draw)
        problems = find_problems(folder, data, run)
        missed += [] if problems else [f"{name} (seed {number})"]
        wordless = [
            line for line in problems if not line.startswith("... and ") and (": " not in line or "; " not in line)
        ]
        assert not wordless, name
        shutil.rmtree(folder)
    assert not missed


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("ones", "expected"),
    [(ROWS, "every prediction is 1; look"), (0, "every prediction is 0; look"),
     (ROWS - 1, "96.7% of the predictions are 1, of the training labels 50.0%; look")],
)  # fmt: skip
def test_shares_far_from_the_training_labels_are_warnings(
    small: tuple[paths.Run, Path, Path], task: str, ones: int, expected: str
) -> None:
    _, data, folder = small
    path = folder / f"submit_{task}.txt"
    lines = [
        json.loads(line) | {"prediction": int(n < ones)} for n, line in enumerate(path.read_bytes()[:-1].split(b"\n"))
    ]
    path.write_bytes("".join(json.dumps(line) + "\n" for line in lines).encode())
    zip_again(folder)
    assert submission.check_submission(folder, data) == []
    (warning,) = submission.check_shares(folder, data)
    assert warning.startswith(f"submit_{task}.txt:1: {expected}")


def test_warnings_are_printed_and_the_submission_is_valid(
    small: tuple[paths.Run, Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    run, _, folder = small
    for path in [*folder.glob("*.txt")]:
        path.write_bytes(path.read_bytes().replace(b'"prediction": 0', b'"prediction": 1'))
    zip_again(folder)
    monkeypatch.setattr("sys.argv", ["submit", "--run", "small", "--check"])
    assert submit.main() == 1 and "while the run's probability is 0." in capsys.readouterr().err
    run.ensemble_file.unlink()  # without an ensemble there is nothing to compare with
    assert submit.main() == 0
    printed = capsys.readouterr()
    assert printed.out == f"{folder}: valid\n" and printed.err.count("warning: ") == 4
    assert printed.err.count(": not compared with the run's probabilities") == 2


def test_a_prediction_that_the_run_does_not_give_is_reported_by_line(small: tuple[paths.Run, Path, Path]) -> None:
    run, data, folder = small
    path = folder / "submit_QC.txt"
    lines = path.read_bytes().split(b"\n")
    lines[0] = lines[0].replace(b'"prediction": 0', b'"prediction": 1')
    path.write_bytes(b"\n".join(lines))
    zip_again(folder)
    assert find_problems(folder, data, run) == [
        "submit_QC.txt:1: prediction is 1, while the run's probability is 0.0000 at a threshold of 0.5000; "
        "run notebook 07 again"
    ]


def test_a_task_whose_tables_are_gone_is_not_compared(small: tuple[paths.Run, Path, Path]) -> None:
    run, _, folder = small
    (run.final / "QC" / "member" / "test.parquet").unlink()
    assert submission.answer_again(run, "QC") is None
    assert submission.check_answers(folder, run) == (
        [], ["submit_QC.txt:1: not compared with the run's probabilities, which are gone; run notebooks 06 and 07 again"]
    )  # fmt: skip


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"QC": {}}', b'{"QC": []}', b"1"])
def test_an_ensemble_that_cannot_be_read_is_named(small: tuple[paths.Run, Path, Path], content: bytes) -> None:
    run, _, _ = small
    run.ensemble_file.write_bytes(content)
    if content == b"[]":
        assert submission.answer_again(run, "QC") is None
        return
    with pytest.raises(DataError, match=r"ensemble\.json:1: cannot be read .*; run notebook 07 again"):
        submission.answer_again(run, "QC")


def test_a_probability_that_is_no_number_is_named(small: tuple[paths.Run, Path, Path]) -> None:
    run, _, _ = small
    path = run.final / "QC" / "member" / "test.parquet"
    write_table(pd.read_parquet(path).assign(probability=float("nan")), path)
    with pytest.raises(DataError, match=r"06_final:1: member: 30 probabilities are not numbers; remove its folder"):
        submission.answer_again(run, "QC")


def test_what_is_left_of_another_task_is_reported(small: tuple[paths.Run, Path, Path]) -> None:
    _, data, folder = small
    for path in data.glob("*_QI.txt"):
        path.unlink()
    problems = submission.check_submission(folder, data)
    assert problems[0] == "submit_QI.txt:1: the data has no test_QI.txt; remove the file" and len(problems) == 2
