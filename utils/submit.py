"""Table -> the organisers' files, and the strict check of them.

python -m utils.submit --run NAME --check [DIR]
"""

import argparse
import json
import sys
import zipfile
from pathlib import Path

import pandas as pd

from utils.data import DataError, read_file
from utils.files import write_text, write_with
from utils.paths import Run, raw_file
from utils.schema import TARGET_KEY, TASKS

ARCHIVE = "submit.zip"


def file_name(task: str) -> str:
    return f"submit_{task}.txt"


def _keys(task: str) -> list[str]:
    return ["id", "language", "origin_query", TARGET_KEY[task], "prediction"]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def format_submission(test: pd.DataFrame, answers: pd.DataFrame, task: str, ascii_only: bool = False) -> str:
    """The lines of one task, in the test file's order with its texts as they are.

    `test` is the raw table, `answers` holds `id, prediction`. Raises ValueError if a row has no answer, or two.
    """
    if answers["id"].duplicated().any():
        raise ValueError(f"{task}: an id is answered twice")
    prediction = test["id"].map(answers.set_index("id")["prediction"])
    if prediction.isna().any():
        raise ValueError(
            f"{task}: {int(prediction.isna().sum())} test rows have no answer, the first is id {test['id'][prediction.isna()].iloc[0]}"
        )
    columns = (test["id"], test["language"], test["origin_query"], test["target"], prediction)
    lines = []
    for number, language, query, target, answer in zip(*columns, strict=True):
        values = (int(number), language, _text(query), _text(target), int(answer))
        lines.append(json.dumps(dict(zip(_keys(task), values, strict=True)), ensure_ascii=ascii_only))
    return "\n".join(lines) + "\n"


def write_submission(answers: dict[str, pd.DataFrame], data: Path, folder: Path) -> list[Path]:
    """Write `submit_<task>.txt` of each answered task and `submit.zip` with them at its root; the same answers, the same bytes."""
    written = []
    for task, table in answers.items():
        source = raw_file(data, "test", task)
        content = source.read_bytes()
        test, _ = read_file(source, task, labelled=False)
        ascii_only = content.isascii() and b"\\u" in content  # the organisers' own way of writing, where it shows
        path = folder / file_name(task)
        write_text(path, format_submission(test, table, task, ascii_only))
        written.append(path)
    write_with(folder / ARCHIVE, lambda path: _archive(path, written))
    return [*written, folder / ARCHIVE]


def _archive(path: Path, files: list[Path]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.name, date_time=(2025, 1, 1, 0, 0, 0))  # a clock would change the bytes
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, file.read_bytes())


def check_lines(content: bytes, test: pd.DataFrame, task: str) -> list[str]:
    """Everything that is wrong with one submission file, held against the test file's raw table."""
    name = file_name(task)
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        return [f"{name}: byte {error.start} is not UTF-8"]
    if lines[-1] == "":
        lines.pop()
    problems = [] if len(lines) == len(test) else [f"{name}: {len(lines)} lines, the test file has {len(test)}"]
    expected = zip(test["id"], test["language"], test["origin_query"], test["target"], strict=True)
    for number, (line, row) in enumerate(zip(lines, expected, strict=False), start=1):
        problem = _line_problem(line, row, task)
        if problem:
            problems.append(f"{name}:{number}: {problem}")
    return problems


def _line_problem(line: str, expected: tuple, task: str) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        return f"not valid JSON ({error.msg})"
    if not isinstance(row, dict) or list(row) != _keys(task):
        return f"keys must be {', '.join(_keys(task))}, in this order"
    if type(row["id"]) is not int or row["id"] != expected[0]:
        return f"id is {row['id']}, the test file has {expected[0]} in this line"
    for key, value in zip(_keys(task)[1:4], expected[1:], strict=True):
        if row[key] != _text(value):
            return f"{key} differs from the test file's"
    if type(row["prediction"]) is not int or row["prediction"] not in (0, 1):
        return f"prediction is {json.dumps(row['prediction'])}, not 0 or 1"
    return ""


def check_submission(folder: Path, data: Path) -> list[str]:
    """All problems of a submission folder: the files of the tasks in the data folder, and the archive of just these."""
    problems, names = [], []
    for task in TASKS:
        source = raw_file(data, "test", task)
        if not source.exists():
            continue
        names.append(file_name(task))
        path = folder / names[-1]
        if not path.exists():
            problems.append(f"{path.name}: missing")
            continue
        problems += check_lines(path.read_bytes(), read_file(source, task, labelled=False)[0], task)
    archive = folder / ARCHIVE
    if not archive.exists():
        return [*problems, f"{ARCHIVE}: missing"]
    try:
        with zipfile.ZipFile(archive) as opened:
            if sorted(opened.namelist()) != sorted(names):
                problems.append(f"{ARCHIVE}: holds {sorted(opened.namelist())}, must hold {sorted(names)} at its root")
            for name in set(names) & set(opened.namelist()):
                if (folder / name).exists() and opened.read(name) != (folder / name).read_bytes():
                    problems.append(f"{ARCHIVE}: its {name} differs from the file beside it")
    except zipfile.BadZipFile:
        problems.append(f"{ARCHIVE}: is no zip archive")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m utils.submit", description="Check a run's submission strictly.")
    parser.add_argument("--run", required=True)
    parser.add_argument(
        "--check", required=True, nargs="?", const="", metavar="DIR", help="the folder (default: submissions/RUN)"
    )
    asked = parser.parse_args()
    run = Run(asked.run)
    if not run.settings.exists():
        parser.error(
            f"run {asked.run!r} is not known; runs/{asked.run}/run.json is missing: run ./run_all.sh --run {asked.run}"
        )
    folder = Path(asked.check) if asked.check else run.submission
    data = Path(json.loads(run.settings.read_text("utf-8"))["data"])
    try:
        problems = check_submission(folder, data)
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(problems) if problems else f"{folder}: valid", file=sys.stderr if problems else sys.stdout)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
