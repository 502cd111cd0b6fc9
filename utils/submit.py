"""The submission: written as the organisers ask, and checked strictly.

python -m utils.submit --run NAME --check [DIR]
"""

import argparse
import json
import sys
import zipfile
from pathlib import Path

import pandas as pd

from utils.core.errors import InputError
from utils.core.files import write_text, write_with
from utils.core.paths import Run, raw_file
from utils.core.schema import TARGET_KEY, TASKS
from utils.core.settings import reopen
from utils.core.streams import accept_all_text
from utils.data.raw import read_file
from utils.data.rows import parse_line

ARCHIVE = "submit.zip"


def file_name(task: str) -> str:
    """The name of a task's file in a submission, `submit_<task>.txt`."""
    return f"submit_{task}.txt"


def _keys(task: str) -> list[str]:
    """The keys of a line, in the order of the organisers."""
    return ["id", "language", "origin_query", TARGET_KEY[task], "prediction"]


def _text(value: object) -> str | None:
    """A text as it is, None for a missing one."""
    return value if isinstance(value, str) else None


def format_submission(test: pd.DataFrame, answers: pd.DataFrame, task: str, ascii_only: bool = False) -> str:
    """The lines of one task, in the test file's order and with its texts unchanged.

    `test` is the raw table; `answers` holds `id, language, origin_query, target, prediction`, the texts being those that were answered.
    `ascii_only` escapes other characters as the test file does. Raises ValueError if a row has no answer or two, or one for other texts.
    """
    if answers["id"].duplicated().any():
        raise ValueError(f"{task}: an id is answered twice")
    texts = ["language", "origin_query", "target"]
    answered = {row[0]: row[1:] for row in answers[["id", *texts, "prediction"]].itertuples(index=False)}
    missing = test["id"][~test["id"].isin(list(answered))]
    if len(missing):
        raise ValueError(f"{task}: {len(missing)} test rows have no answer, the first is id {missing.iloc[0]}")
    lines = []
    for number, *own in test[["id", *texts]].itertuples(index=False):
        *others, prediction = answered[number]
        own, others = [_text(value) for value in own], [_text(value) for value in others]
        if own != others:
            raise ValueError(
                f"{task}: id {number} was answered with other texts than the test file's; run notebook 02 again"
            )
        values = (int(number), *own, int(prediction))
        lines.append(json.dumps(dict(zip(_keys(task), values, strict=True)), ensure_ascii=ascii_only))
    return "\n".join(lines) + "\n"


def write_submission(answers: dict[str, pd.DataFrame], data: Path, folder: Path) -> list[Path]:
    """Write `submit_<task>.txt` for each task of `answers` and `submit.zip` with these files at its root; returns the paths.

    The same answers give the same bytes. Raises ValueError if a test row has no answer or two.
    """
    paths = []
    for task, table in answers.items():
        source = raw_file(data, "test", task)
        content = source.read_bytes()
        test, _ = read_file(source, task, labelled=False)
        ascii_only = content.isascii() and b"\\u" in content  # escaped where the test file is
        path = folder / file_name(task)
        write_text(path, format_submission(test, table, task, ascii_only))
        paths.append(path)
    write_with(folder / ARCHIVE, lambda path: _archive(path, paths))
    return [*paths, folder / ARCHIVE]


def _archive(path: Path, files: list[Path]) -> None:
    """Write files into a ZIP archive at its root, with a fixed date."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.name, date_time=(2025, 1, 1, 0, 0, 0))  # the time would change the bytes
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, file.read_bytes())


def check_lines(content: bytes, test: pd.DataFrame, task: str) -> list[str]:
    """All problems of one submission file, compared with the test file's raw table; one message for each wrong line."""
    name = file_name(task)
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        return [f"{name}: byte {error.start} is not UTF-8"]
    if lines[-1] == "":
        lines.pop()
    problems = [] if len(lines) == len(test) else [f"{name}: {len(lines)} lines, the test file has {len(test)}"]
    rows = zip(test["id"], test["language"], test["origin_query"], test["target"], strict=True)
    for number, (line, row) in enumerate(zip(lines, rows, strict=False), start=1):
        problem = _line_problem(line, row, task)
        if problem:
            problems.append(f"{name}:{number}: {problem}")
    return problems


def _line_problem(line: str, row: tuple, task: str) -> str:
    """The first problem of a line, empty for none; `row` is the test file's id, language, query and target."""
    if line.endswith("\r"):
        return "ends with a Windows line end"
    content, problem = parse_line(line)
    if problem:
        return problem
    if not isinstance(content, dict) or list(content) != _keys(task):
        return f"keys must be {', '.join(_keys(task))}, in this order"
    if type(content["id"]) is not int or content["id"] != row[0]:
        return f"id is {content['id']}, the test file has {row[0]} in this line"
    for key, value in zip(_keys(task)[1:4], row[1:], strict=True):
        if content[key] != _text(value):
            return f"{key} differs from the test file's"
    if type(content["prediction"]) is not int or content["prediction"] not in (0, 1):
        return f"prediction is {json.dumps(content['prediction'])}, not 0 or 1"
    return ""


def check_submission(folder: Path, data: Path) -> list[str]:
    """All problems of a submission folder: a file for each task of the data folder, and an archive of exactly these files."""
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
        with zipfile.ZipFile(archive) as content:
            if sorted(content.namelist()) != sorted(names):
                problems.append(f"{ARCHIVE}: holds {sorted(content.namelist())}, must hold {sorted(names)} at its root")
            for name in set(names) & set(content.namelist()):
                if (folder / name).exists() and content.read(name) != (folder / name).read_bytes():
                    problems.append(f"{ARCHIVE}: its {name} differs from the file beside it")
    except zipfile.BadZipFile:
        problems.append(f"{ARCHIVE}: is no zip archive")
    return problems


def require_valid(folder: Path, data: Path) -> None:
    """Raise ValueError with the first five problems of a submission folder; do nothing if it is valid."""
    if problems := check_submission(folder, data):
        raise ValueError("\n".join(problems[:5]))


def main() -> int:
    """The command: check a submission folder. Exit code 0 if it is valid, 1 with the problems, 2 where the run's data is gone."""
    accept_all_text()
    parser = argparse.ArgumentParser(prog="python -m utils.submit", description="Check a run's submission strictly.")
    parser.add_argument("--run", required=True)
    parser.add_argument(
        "--check", required=True, nargs="?", const="", metavar="DIR", help="the folder (default: submissions/RUN)"
    )
    arguments = parser.parse_args()
    name, run = arguments.run, Run(arguments.run)
    if not run.settings.exists():
        parser.error(f"run {name!r} is not known; runs/{name}/run.json is missing: run ./run_all.sh --run {name}")
    folder = Path(arguments.check) if arguments.check else run.submission
    try:
        problems = check_submission(folder, Path(reopen(run).data))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(problems) if problems else f"{folder}: valid", file=sys.stderr if problems else sys.stdout)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
