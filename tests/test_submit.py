"""The submission: byte for byte the test file's texts, and a check that reports every difference."""

import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils import submit
from utils.core import paths
from utils.core.settings import Settings, save

TEXT = st.none() | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=15)
TESTS = st.lists(st.tuples(TEXT, TEXT, st.integers(0, 1)), min_size=1, max_size=12)


def write_test_file(folder: Path, rows: list[tuple[str | None, str | None, int]]) -> pd.DataFrame:
    """A QI test file whose ids run backwards; the answers come in another order than the file."""
    lines = []
    for number, (query, title, _) in enumerate(rows):
        content = {"id": 900 - number, "task": "QI", "language": "vn", "origin_query": query, "item_title": title}
        lines.append(json.dumps(content, ensure_ascii=False))
    (folder / "test_QI.txt").write_bytes(("\n".join(lines) + "\n").encode())
    columns = ["origin_query", "target", "prediction"]
    answers = pd.DataFrame(rows, columns=columns, dtype=object).assign(language="vn")
    answers.insert(0, "id", [900 - number for number in range(len(rows))])
    return answers.sample(frac=1.0, random_state=0)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TESTS)
def test_what_is_written_passes_the_check_and_says_what_was_answered(tmp_path: Path, rows: list) -> None:
    answers = write_test_file(tmp_path, rows)
    submit.write_submission({"QI": answers}, tmp_path, tmp_path / "out")
    assert submit.check_submission(tmp_path / "out", tmp_path) == []
    lines = [json.loads(line) for line in (tmp_path / "out" / "submit_QI.txt").read_text("utf-8").split("\n")[:-1]]
    assert [(line["origin_query"], line["item_title"], line["prediction"]) for line in lines] == rows
    assert list(lines[0]) == ["id", "language", "origin_query", "item_title", "prediction"]


ROWS = [("áo", "Shirt", 1), (None, "", 0), ("x", None, 1)]
ANSWERS = pd.DataFrame(ROWS, columns=["origin_query", "target", "prediction"], dtype=object).assign(
    language="vn", id=[900, 899, 898]
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    submit.write_submission({"QI": write_test_file(tmp_path, ROWS)}, tmp_path, tmp_path / "out")
    return tmp_path


def edit(path: Path, change: dict[str, object], line: int = 1) -> None:
    lines = path.read_text("utf-8").split("\n")
    content = json.loads(lines[line])
    lines[line] = json.dumps(
        {key: value for key, value in {**content, **change}.items() if value != "DROP"}, ensure_ascii=False
    )
    path.write_bytes("\n".join(lines).encode())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"prediction": 2}, "submit_QI.txt:2: prediction is 2, not 0 or 1"),
        ({"prediction": True}, "submit_QI.txt:2: prediction is true"),
        ({"prediction": "1"}, 'submit_QI.txt:2: prediction is "1"'),
        ({"prediction": 0.5}, "submit_QI.txt:2: prediction is 0.5"),
        ({"id": 1}, "submit_QI.txt:2: id 1 is not in test_QI.txt; remove the line"),
        ({"origin_query": ""}, "submit_QI.txt:2: origin_query differs"),
        ({"item_title": None}, "submit_QI.txt:2: item_title differs"),
        ({"language": "en"}, "submit_QI.txt:2: language differs"),
        ({"prediction": "DROP"}, "submit_QI.txt:2: keys must be"),
        ({"extra": 1}, "submit_QI.txt:2: keys must be"),
    ],
)
def test_the_check_reports_a_wrong_line(folder: Path, change: dict[str, object], expected: str) -> None:
    edit(folder / "out" / "submit_QI.txt", change)
    assert any(problem.startswith(expected) for problem in submit.check_submission(folder / "out", folder))


def test_the_check_reports_missing_doubled_and_swapped_lines(folder: Path) -> None:
    path = folder / "out" / "submit_QI.txt"
    first, second, third, end = path.read_text("utf-8").split("\n")
    for lines in ([first, second, end], [first, second, third, third, end], [second, first, third, end]):
        path.write_bytes("\n".join(lines).encode())
        assert submit.check_submission(folder / "out", folder)


def test_the_check_reports_a_wrong_archive(folder: Path) -> None:
    archive = folder / "out" / "submit.zip"
    good = archive.read_bytes()
    archive.write_bytes(b"no zip")
    (problem,) = submit.check_submission(folder / "out", folder)
    assert problem.startswith("submit.zip:1: is no zip archive that can be read (")
    for names in (["folder/submit_QI.txt"], ["../submit_QI.txt"], ["/submit_QI.txt"], ["submit_QI.txt", "../x"]):
        with zipfile.ZipFile(archive, "w") as writer:
            for name in names:
                writer.writestr(name, (folder / "out" / "submit_QI.txt").read_bytes())
        assert 'must hold ["submit_QI.txt"] at its root' in submit.check_submission(folder / "out", folder)[0]
    assert not (folder / "x").exists()
    archive.write_bytes(good)
    edit(folder / "out" / "submit_QI.txt", {"prediction": 1})
    assert submit.check_submission(folder / "out", folder) == [
        "submit.zip:1: its submit_QI.txt differs from the file beside it; run notebook 07 again"
    ]


def test_the_same_answers_give_the_same_bytes(folder: Path) -> None:
    before = (folder / "out" / "submit.zip").read_bytes()
    submit.write_submission({"QI": ANSWERS.sort_values("id")}, folder, folder / "out")
    assert (folder / "out" / "submit.zip").read_bytes() == before


def test_a_row_without_an_answer_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="1 test rows have no answer, the first is id 898"):
        submit.write_submission({"QI": ANSWERS[ANSWERS["id"] > 898]}, folder, folder / "out")


@pytest.mark.parametrize(
    "change",
    [{"language": "id"}, {"origin_query": "ao"}, {"origin_query": None}, {"target": "shirt"}, {"target": None}],
)
def test_an_answer_for_other_texts_is_refused(change: dict, folder: Path) -> None:
    """The same ids with other texts: answers of another release of the data."""
    other = ANSWERS.copy()
    for column, value in change.items():
        other.loc[0, column] = value
    with pytest.raises(
        ValueError, match="QI: id 900 was answered with other texts than the test file's; run notebook 02"
    ):
        submit.write_submission({"QI": other}, folder, folder / "out")


def test_escapes_follow_the_test_file(tmp_path: Path) -> None:
    line = {"id": 1, "task": "QI", "language": "ja", "origin_query": "靴", "item_title": "shoe"}
    (tmp_path / "test_QI.txt").write_text(json.dumps(line) + "\n", "ascii")
    row = {"id": [1], "language": ["ja"], "origin_query": ["靴"], "target": ["shoe"], "prediction": [1]}
    submit.write_submission({"QI": pd.DataFrame(row)}, tmp_path, tmp_path / "out")
    assert b'"\\u9774"' in (tmp_path / "out" / "submit_QI.txt").read_bytes()


def test_windows_line_ends_and_doubled_keys_are_reported(folder: Path) -> None:
    path = folder / "out" / "submit_QI.txt"
    good = path.read_bytes()
    path.write_bytes(good.replace(b"\n", b"\r\n", 1))
    assert "carriage return" in submit.check_submission(folder / "out", folder)[0]
    path.write_bytes(good.replace(b'"prediction": 1', b'"prediction": 0, "prediction": 1', 1))
    assert any("key prediction twice" in problem for problem in submit.check_submission(folder / "out", folder))


def test_without_its_data_a_submission_cannot_be_checked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(paths, "ROOT", folder)
    run = paths.Run("small")
    save(run, Settings("smoke", str(folder)))
    monkeypatch.setattr("sys.argv", ["submit", "--run", "small", "--check", str(folder / "out")])
    assert submit.main() == 0
    (folder / "test_QI.txt").unlink()
    assert submit.main() == 2 and "other data" in capsys.readouterr().err
