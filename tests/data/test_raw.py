"""Every bad input gets a clear error before anything is loaded; safe repairs are made and counted."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import pipeline
from utils.core import paths
from utils.core.errors import DataError
from utils.data import folds, raw, tables
from utils.data.clean import clean_table
from utils.data.taxonomy import parse

QUERIES = [f"query {number // 2}" for number in range(40)]


def row(number: int, **changes: object) -> dict[str, object]:
    content = {
        "id": number,
        "task": "QC",
        "language": "en",
        "origin_query": QUERIES[number % 40],
        "category_path": "a,b",
        "label": number % 2,
    }
    return {key: value for key, value in {**content, **changes}.items() if value != "DROP"}


def write(folder: Path, name: str, rows: list[dict[str, object]] | bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = rows if isinstance(rows, bytes) else "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode()
    (folder / name).write_bytes(text)
    return folder / name


def folder_with(folder: Path, train: list[dict[str, object]] | bytes) -> Path:
    """A data folder with this training file and a good test file."""
    write(folder, "train_QC.txt", train)
    write(folder, "test_QC.txt", [row(number, label="DROP") for number in range(10)])
    return folder


def broken(position: int, line: bytes) -> bytes:
    """A good file with one line put in at a position."""
    lines = [json.dumps(row(number)).encode() for number in range(40)]
    return b"\n".join([*lines[:position], line, *lines[position:]]) + b"\n"


BAD = {
    "broken JSON": (broken(4, b'{"id": 99, "task"'), "train_QC.txt:5: not valid JSON"),
    "not an object": (broken(4, b"[1, 2]"), "train_QC.txt:5: not a JSON object"),
    "missing key": ([row(n, category_path="DROP" if n == 3 else "a,b") for n in range(40)], "train_QC.txt:4: key category_path is missing"),
    "missing label": ([row(n, label="DROP" if n == 3 else 1) for n in range(40)], "train_QC.txt:4: key label is missing"),
    "label 2": ([row(n, label=2 if n == 3 else n % 2) for n in range(40)], "train_QC.txt:4: label is 2; a label is 0 or 1"),
    "label true": ([row(n, label=True if n == 3 else n % 2) for n in range(40)], "train_QC.txt:4: label is true"),
    "label yes": ([row(n, label="yes" if n == 3 else n % 2) for n in range(40)], 'train_QC.txt:4: label is "yes"'),
    "label null": ([row(n, label=None if n == 3 else n % 2) for n in range(40)], "train_QC.txt:4: label is null"),
    "duplicate id": ([row(n, id=2 if n == 7 else n) for n in range(40)], "train_QC.txt:8: id 2 is also the id of line 3"),
    "text id": ([row(n, id="x" if n == 7 else n) for n in range(40)], 'train_QC.txt:8: id is "x", not a whole number'),
    "unknown task": ([row(n, task="QX" if n == 7 else "QC") for n in range(40)], 'train_QC.txt:8: task is "QX" in a file of QC'),
    "unknown language": ([row(n, language="xx" if n == 7 else "en") for n in range(40)], 'train_QC.txt:8: language "xx" is unknown'),
    "number as query": ([row(n, origin_query=5 if n == 7 else "a") for n in range(40)], "train_QC.txt:8: origin_query is 5, not text"),
    "half a surrogate": (broken(4, b'{"id": 99, "language": "en", "origin_query": "\\ud83d", "category_path": "a", "label": 1}'),
                         "train_QC.txt:5: origin_query holds half of a surrogate pair"),
    "empty file": (b"", "train_QC.txt:1: no rows"),
    "blank file": (b"\n\n", "train_QC.txt:1: no rows"),
    "not UTF-8": (broken(4, b'{"id": 99, "origin_query": "caf\xe9"}'), "train_QC.txt:5: byte 32 is not UTF-8"),
    "one label": ([row(n, label=1) for n in range(40)], "train_QC.txt:1: every label is 1"),
    "few clean queries": ([row(n, origin_query=["Cup", "cup ", "CUP", " cup", "", None][n % 6] if n else "mug") for n in range(40)],
                          "train_QC.txt:1: fewer than 10 distinct queries"),
    "one label left": ([row(n, origin_query=QUERIES[n] if n % 2 else "\u200b") for n in range(40)], "train_QC.txt:1: every label is 1"),
    "one query's label": ([row(n, origin_query=QUERIES[n] if n > 3 else "mug", label=int(n <= 3)) for n in range(40)],
                          "train_QC.txt:1: one query alone has rows of label 1, too few for folds"),
    "few queries": ([row(n, origin_query="same") for n in range(40)], "train_QC.txt:1: fewer than 10 distinct queries"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_file_line_and_fix(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    content, expected = BAD[name]
    code = pipeline.main(["--profile", "smoke", "--run", "test-refused", "--data", str(folder_with(tmp_path, content))])
    errors = capsys.readouterr().err
    assert code == pipeline.REFUSED and expected in errors
    assert all("; " in line for line in errors.strip().splitlines()), "an error says what to do behind a semicolon"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "train_QC.txt", [row(number) for number in range(40)])
    with pytest.raises(DataError, match=r"test_QC\.txt:1: missing, while train_QC\.txt is there; add it"):
        raw.read_folder(tmp_path)
    with pytest.raises(DataError, match=r"no data; put train_QC\.txt"):
        raw.read_folder(tmp_path / "..")
    with pytest.raises(DataError, match="no such folder"):
        raw.read_folder(tmp_path / "nowhere")


def test_all_problems_are_listed_at_once_up_to_twenty(tmp_path: Path) -> None:
    path = write(tmp_path, "train_QC.txt", [row(number, label=7) for number in range(35)])
    with pytest.raises(DataError) as refused:
        raw.read_file(path, "QC", labelled=True)
    lines = str(refused.value).splitlines()
    assert len(lines) == 21 and lines[-1] == "... and 15 more of this file"


def test_problems_of_all_files_are_listed_together(tmp_path: Path) -> None:
    folder_with(tmp_path, [row(number, label=7 if number == 3 else number % 2) for number in range(40)])
    write(tmp_path, "test_QC.txt", b"{\n")
    with pytest.raises(DataError) as refused:
        raw.read_folder(tmp_path)
    assert "train_QC.txt:4" in str(refused.value) and "test_QC.txt:1" in str(refused.value)


def test_safe_repairs_are_made_and_counted(tmp_path: Path) -> None:
    lines = [json.dumps(row(n, label=str(n % 2) if n < 5 else n % 2)).encode() for n in range(40)]
    path = write(tmp_path, "train_QC.txt", b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\r\n\r\n")
    table, counts = raw.read_file(path, "QC", labelled=True)
    assert counts == {"rows": 40, "bom_removed": 1, "crlf_removed": 41, "text_labels": 5, "blank_lines": 1}
    assert table["label"].tolist() == [n % 2 for n in range(40)] and table["origin_query"][0] == "query 0"


def test_labels_of_a_test_file_are_counted_and_never_read(tmp_path: Path) -> None:
    path = write(tmp_path, "test_QC.txt", [row(number) for number in range(5)])
    table, counts = raw.read_file(path, "QC", labelled=False)
    assert "label" not in table and counts["labels_ignored"] == 5


@given(st.lists(st.none() | st.text(max_size=20), min_size=1, max_size=8))
def test_texts_come_back_as_they_went_in(tmp_path_factory: pytest.TempPathFactory, texts: list[str | None]) -> None:
    texts = [None if text is None else text.encode("utf-8", "ignore").decode() for text in texts]
    rows = [row(number, label="DROP", origin_query=text) for number, text in enumerate(texts)]
    path = write(tmp_path_factory.mktemp("texts"), "test_QC.txt", rows)
    assert raw.read_file(path, "QC", labelled=False)[0]["origin_query"].tolist() == texts


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    for arguments in (
        ["--run", "a/b"],
        ["--rows", "-5"],
        ["--only", "09"],
        ["--data", str(tmp_path / "none")],
        ["--profile", "x"],
    ):
        with pytest.raises(SystemExit) as refused:
            pipeline.main(arguments)
        assert refused.value.code == pipeline.REFUSED


def test_caps_take_whole_queries() -> None:
    import pandas as pd

    table = pd.DataFrame({"query": [f"q{number // 3}" for number in range(90)], "id": range(90)})
    capped = tables.sample_queries(table, 40, seed=1)
    assert len(capped) == 39 and (capped.groupby("query").size() == 3).all() and capped["id"].is_monotonic_increasing
    assert tables.sample_queries(table, 40, seed=1).equals(capped) and len(tables.sample_queries(table, 0, 1)) == 90


def test_a_solution_that_cannot_be_used_scores_nothing_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = folder_with(tmp_path, [row(number) for number in range(40)])
    labelled = [row(number) for number in range(len((folder / "test_QC.txt").read_text().splitlines()))]
    write(folder, "test_QC.txt", [{key: value for key, value in line.items() if key != "label"} for line in labelled])
    (folder / "solution").mkdir()
    write(folder / "solution", "test_QC.txt", labelled)
    assert raw.read_solutions(folder, "QC")["test"]["label"].tolist() == [line["label"] for line in labelled]
    write(folder / "solution", "test_QC.txt", labelled[:-1])
    assert raw.read_solutions(folder, "QC") == {}
    assert "notice: not scored on test: solution/test_QC.txt has other ids than test_QC.txt" in capsys.readouterr().out
    write(folder / "solution", "dev_QC.txt", labelled)
    assert raw.read_solutions(folder, "QC") == {}
    assert "notice: not scored on dev: dev_QC.txt:1: cannot be read (No such file" in capsys.readouterr().out
    write(folder / "solution", "test_QC.txt", b"{broken")
    assert raw.read_solutions(folder, "QC") == {}
    assert "notice: not scored on test: solution/test_QC.txt:1: not valid JSON" in capsys.readouterr().out


@settings(max_examples=15)
@given(order=st.permutations(range(40)))
def test_tables_hang_on_the_rows_and_not_on_the_order_of_lines(
    order: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Read, cleaned, capped, grouped and split: by id all is the same."""
    paths_of = [f"top {number % 3},low {number % 7}" for number in range(40)]
    lines = [row(7 * number % 40, category_path=paths_of[number]) for number in range(40)]
    tables_of = []
    for rows in (lines, [lines[place] for place in order]):
        read = raw.read_folder(folder_with(tmp_path_factory.mktemp("order"), rows))
        train, _ = clean_table(read.tables["train", "QC"], train=True)
        train = tables.sample_queries(train.assign(query_en=train["query"]), 30, 1)
        split = folds.make_folds(train, "QC", parse(train["target"]), 1, 3, 5)
        tables_of.append((read.tables["train", "QC"], train, split))
    for one, other in zip(*tables_of, strict=True):
        assert one["id"].is_monotonic_increasing and one.equals(other)
