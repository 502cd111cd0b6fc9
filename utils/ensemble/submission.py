"""The strict check of a submission: its files against the test files, its archive, its answers against the run's, its shares."""

import json
import lzma
import zipfile
import zlib
from pathlib import Path

import pandas as pd

from utils.core.errors import DataError, cap_problems
from utils.core.paths import Run, raw_file
from utils.core.schema import TARGET_KEY, TASKS
from utils.data.raw import read_file
from utils.data.rows import parse_line, show
from utils.ensemble import tables
from utils.ensemble.decide import answer, load_ensemble

ARCHIVE = "submit.zip"
FAR = 0.2  # a share of relevant rows this far from the training's is worth a look
AGAIN = "run notebook 07 again"
# RuntimeError: encrypted, or of an unknown method.
BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError, ValueError)


def file_name(task: str) -> str:
    """The name of a task's file in a submission, `submit_<task>.txt`."""
    return f"submit_{task}.txt"


def keys_of(task: str) -> list[str]:
    """The keys of a line, in the order of the organisers."""
    return ["id", "language", "origin_query", TARGET_KEY[task], "prediction"]


def text_of(value: object) -> str | None:
    """A text as it is, None for a missing one."""
    return value if isinstance(value, str) else None


def check_lines(content: bytes, test: pd.DataFrame, task: str) -> list[str]:
    """All problems of one submission file, compared with the test file's raw table; one message for each wrong line."""
    name, source = file_name(task), f"test_{task}.txt"
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return [f"{name}:{line}: byte {error.start + 1} of the file is not UTF-8; save the file as UTF-8"]
    if lines[-1] == "":
        lines.pop()
    rows = list(zip(*(test[column] for column in ("id", "language", "origin_query", "target")), strict=True))
    places = {row[0]: number for number, row in enumerate(rows, start=1)}
    first_lines: dict[int, int] = {}
    problems, unread = [], 0
    for number, line in enumerate(lines, start=1):
        row, problem = _read_line(line, task)
        unread += bool(problem)
        if not problem and first_lines.setdefault(row["id"], number) != number:
            problem = f"id {row['id']} is also the id of line {first_lines[row['id']]}; remove one of them"
        elif not problem and row["id"] not in places:
            problem = f"id {row['id']} is not in {source}; remove the line"
        elif not problem and places[row["id"]] != number:
            problem = f"id {row['id']} is in line {places[row['id']]} of {source}; keep the order of the test file"
        if problem := problem or _difference(row, rows[number - 1], task):
            problems.append(f"{name}:{number}: {problem}")
    missing = [number for number in places if number not in first_lines]
    if len(missing) > unread:  # else they may be those of the lines that cannot be read
        problems.append(
            f"{name}:{len(lines)}: {len(missing)} rows of {source} have no line, the first is id {missing[0]}; add them"
        )
    return problems


def _read_line(line: str, task: str) -> tuple[dict, str]:
    """A line's values, and what is wrong with its form and what to do, or the empty text."""
    if line.startswith("\ufeff"):
        return {}, "begins with a byte-order mark; save the file as UTF-8 without one"
    if "\r" in line:
        return {}, "holds a carriage return, as in a Windows line end; end lines with a line feed alone"
    if not line.strip():
        return {}, "is blank; remove it"
    row, problem = parse_line(line, nan_is_null=False)
    if problem:
        return {}, problem
    if not isinstance(row, dict) or list(row) != keys_of(task):
        return {}, f"keys must be {', '.join(keys_of(task))}, in this order; {AGAIN}"
    if type(row["id"]) is not int:
        return {}, f"id is {show(row['id'])}, not a whole number; take the test file's"
    if type(row["prediction"]) is not int or row["prediction"] not in (0, 1):
        return {}, f"prediction is {show(row['prediction'])}, not 0 or 1; write 0 or 1, without quotes"
    return row, ""


def _difference(row: dict, expected: tuple, task: str) -> str:
    """Which text of a line is not the test file's and what to do, or the empty text; `expected`: id, language, query, target."""
    for key, value in zip(keys_of(task)[1:4], expected[1:], strict=True):
        if row[key] != text_of(value):
            return f"{key} differs from the test file's; copy it from there unchanged"
    return ""


def check_submission(folder: Path, data: Path) -> list[str]:
    """All problems of a submission folder: a file for each task of the data folder, and an archive of exactly these files.

    Of each file the first 20 problems are in words, the others are counted. Raises DataError for a broken test file.
    """
    problems, contents = [], {}
    for task in TASKS:
        source, path = raw_file(data, "test", task), folder / file_name(task)
        if not source.exists():
            problems += [f"{path.name}:1: the data has no {source.name}; remove the file"] if path.exists() else []
            continue
        contents[path.name] = None
        try:
            contents[path.name] = path.read_bytes()
        except FileNotFoundError:
            problems.append(f"{path.name}:1: missing; {AGAIN}")
        except OSError as error:
            problems.append(f"{path.name}:1: cannot be read ({error.strerror}); check the file and its permissions")
        else:
            test, _ = read_file(source, task, labelled=False)
            problems += cap_problems(check_lines(contents[path.name], test, task))
    return problems + _check_archive(folder / ARCHIVE, contents)


def _check_archive(path: Path, contents: dict[str, bytes | None]) -> list[str]:
    """The problems of the archive; `contents` are the files beside it by name, None for one that cannot be read."""
    if not path.exists():
        return [f"{ARCHIVE}:1: missing; {AGAIN}"]
    problems = []
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(archive.namelist())
            if names != sorted(contents):
                problems.append(
                    f"{ARCHIVE}:1: holds {show(names)}, must hold {show(sorted(contents))} at its root; {AGAIN}"
                )
            for name in sorted(set(names) & set(contents)):
                content = contents[name]
                same_size = content is not None and archive.getinfo(name).file_size == len(content)
                if content is not None and not (same_size and archive.read(name) == content):
                    problems.append(f"{ARCHIVE}:1: its {name} differs from the file beside it; {AGAIN}")
    except BROKEN_ZIP as error:
        problems.append(f"{ARCHIVE}:1: is no zip archive that can be read ({error}); {AGAIN}")
    return problems


def _predictions(folder: Path, task: str) -> dict[int, int]:
    """Id -> prediction of a task's file that `check_submission` has found to be valid, in its order; empty where there is none."""
    path = folder / file_name(task)
    if not path.exists():
        return {}
    rows = [parse_line(line)[0] for line in path.read_bytes().decode("utf-8").split("\n") if line]
    return {row["id"]: row["prediction"] for row in rows}


def check_shares(folder: Path, data: Path) -> list[str]:
    """Warnings of a valid submission: all predictions of a task are equal, or their share of 1 is far from the training labels'."""
    warnings = []
    for task in TASKS:
        predictions, source = list(_predictions(folder, task).values()), raw_file(data, "train", task)
        if not predictions or not source.exists():
            continue
        share, labels = sum(predictions) / len(predictions), read_file(source, task, labelled=True)[0]["label"]
        look = "look at the thresholds and probabilities in notebook 07"
        if len(predictions) > 1 and share in (0, 1):
            warnings.append(f"{file_name(task)}:1: every prediction is {predictions[0]}; {look}")
        elif abs(share - labels.mean()) > FAR:
            shares = f"{share:.1%} of the predictions are 1, of the training labels {labels.mean():.1%}"
            warnings.append(f"{file_name(task)}:1: {shares}; {look}")
    return warnings


def check_answers(folder: Path, run: Run) -> tuple[list[str], list[str]]:
    """Predictions of a valid submission that the run's ensemble does not give from the members' probabilities, and warnings: of a task
    whose ensemble or whose members' tables are not there, and so was not compared.

    Raises DataError for tables that cannot be read.
    """
    problems, warnings = [], []
    for task in TASKS:
        predictions, table = _predictions(folder, task), answer_again(run, task)
        if not predictions:
            continue
        if table is None:
            warnings.append(
                f"{file_name(task)}:1: not compared with the run's probabilities, which are gone; run notebooks 06 and 07 again"
            )
            continue
        answers = {row.id: (row.probability, row.threshold, row.prediction) for row in table.itertuples()}
        wrong = []
        for number, (row, prediction) in enumerate(predictions.items(), start=1):
            if row not in answers:
                wrong.append(
                    f"{file_name(task)}:{number}: the run has no answer for id {row}; run notebooks 06 and 07 again"
                )
            elif prediction != answers[row][2]:
                probability, threshold, _ = answers[row]
                reason = f"while the run's probability is {probability:.4f} at a threshold of {threshold:.4f}"
                wrong.append(f"{file_name(task)}:{number}: prediction is {prediction}, {reason}; {AGAIN}")
        problems += cap_problems(wrong)
    return problems, warnings


def answer_again(run: Run, task: str) -> pd.DataFrame | None:
    """The ensemble's table of the test rows, made from what the run has saved; None where a part of it is not there.

    Raises DataError for an ensemble or tables that cannot be read.
    """
    if not run.ensemble_file.exists():
        return None
    try:
        if task not in json.loads(run.ensemble_file.read_text("utf-8")):
            return None
        ensemble, _ = load_ensemble(run.ensemble_file, task)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{run.ensemble_file}:1: cannot be read ({show(str(error))}); {AGAIN}") from None
    members = tables.of_split(tables.load_members(run, task), "test")
    if not set(ensemble.members) <= set(members):
        return None
    together = any(decision.reads_queries for decision in ensemble.decisions.values())
    try:
        return answer(members, ensemble, tables.load_texts(run, task)["test"] if together else None)
    except ValueError as error:
        raise DataError(f"{run.final}:1: {error}") from None
