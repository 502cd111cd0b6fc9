"""Read and check the competition's files."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from utils.core.errors import DataError
from utils.core.paths import raw_file, solution_file
from utils.core.schema import LANGUAGES, SPLITS, TARGET_KEY, TASKS

MAX_PROBLEMS = 20  # listed per file; further ones are only counted
LABELS = {0: 0, 1: 1, "0": 0, "1": 1}


@dataclass(frozen=True)
class Raw:
    """The files of a data folder: (split, task) -> table, file name -> counts of repairs, and notices of absent files."""

    folder: Path
    tables: dict[tuple[str, str], pd.DataFrame]
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    @property
    def tasks(self) -> list[str]:
        """The tasks that have a training file, in the order of `TASKS`."""
        return [task for task in TASKS if ("train", task) in self.tables]

    def splits(self, task: str) -> list[str]:
        """The splits of a task that have a file, in the order of `SPLITS`."""
        return [split for split in SPLITS if (split, task) in self.tables]


def _raise_problems(problems: list[str]) -> None:
    """Raises DataError with the first problems in words and the number of the rest, if there are any."""
    if problems:
        rest = len(problems) - MAX_PROBLEMS
        raise DataError(
            "\n".join(problems[:MAX_PROBLEMS] + ([f"... and {rest} more of this file"] if rest > 0 else []))
        )


def _text_problem(key: str, value: Any) -> str:
    """What is wrong with a text or null value and what to do, or the empty text."""
    if value is not None and not isinstance(value, str):
        return f"{key} is {json.dumps(value)[:40]}, not text; put it in quotes"
    if value and any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        return f"{key} holds half of a surrogate pair, which no file can store; fix or remove the \\ud... escape"
    return ""


def _row_problem(row: Any, task: str, keys: list[str], labelled: bool) -> str:
    """What is wrong with one parsed row and what to do, or the empty text."""
    if not isinstance(row, dict):
        return "not a JSON object; write one object per line"
    missing_keys = [key for key in keys if key not in row]
    if missing_keys:
        return f"key {', '.join(missing_keys)} is missing; each line needs {', '.join(keys)}"
    if isinstance(row["id"], bool) or not isinstance(row["id"], int) or not -(2**63) <= row["id"] < 2**63:
        return f"id is {json.dumps(row['id'])[:40]}, not a whole number; number the rows"
    if row.get("task", task) != task:
        return f"task is {json.dumps(row['task'])[:40]} in a file of {task}; move the row to the right file or fix the task"
    if row["language"] not in LANGUAGES if isinstance(row["language"], str) else True:
        return f"language {json.dumps(row['language'])[:40]} is unknown; use one of {' '.join(LANGUAGES)}"
    if labelled and (isinstance(row["label"], (bool, float, list, dict)) or row["label"] not in LABELS):
        return f"label is {json.dumps(row['label'])[:40]}; a label is 0 or 1"
    return _text_problem("origin_query", row["origin_query"]) or _text_problem(TARGET_KEY[task], row[TARGET_KEY[task]])


def _lines(content: bytes, name: str, problems: list[str], counts: Counter[str]) -> list[tuple[int, str]]:
    """Numbered lines that are not blank, decoded, without byte-order mark and Windows line ends; adds to problems and counts."""
    if content.startswith(b"\xef\xbb\xbf"):
        content, counts["bom_removed"] = content[3:], 1
    lines = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.endswith(b"\r"):
            line, counts["crlf_removed"] = line[:-1], counts["crlf_removed"] + 1
        if not line.strip():
            counts["blank_lines"] += 1
            continue
        try:
            lines.append((number, line.decode("utf-8")))
        except UnicodeDecodeError as error:
            problems.append(f"{name}:{number}: byte {error.start + 1} is not UTF-8; save the file as UTF-8")
    counts["blank_lines"] -= content.endswith(b"\n") or not content  # nothing follows the last line end
    return lines


def read_file(path: Path, task: str, labelled: bool, name: str = "") -> tuple[pd.DataFrame, dict[str, int]]:
    """Read one JSON Lines file of the competition.

    Returns the table `id, language, origin_query, target[, label]` in the file's order, texts unchanged
    (null stays None), and counts of rows and repairs. Raises DataError with the first 20 problems of the file
    and the number of the others.
    """
    name = name or path.name
    problems: list[str] = []
    counts: Counter[str] = Counter(rows=0, blank_lines=0)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{name}:1: cannot be read ({error.strerror}); check the file and its permissions") from None
    keys = ["id", "language", "origin_query", TARGET_KEY[task]] + (["label"] if labelled else [])
    rows, first_line = [], {}
    for number, line in _lines(content, name, problems, counts):
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            reason = getattr(error, "msg", "nested too deeply")
            problems.append(
                f"{name}:{number}: not valid JSON ({reason}, character {getattr(error, 'colno', 1)}); fix the line"
            )
            continue
        problem = _row_problem(row, task, keys, labelled)
        if not problem and first_line.setdefault(row["id"], number) != number:
            problem = f"id {row['id']} is also the id of line {first_line[row['id']]}; give each row its own id"
        if problem:
            problems.append(f"{name}:{number}: {problem}")
            continue
        counts["text_labels"] += labelled and isinstance(row["label"], str)
        counts["labels_ignored"] += not labelled and "label" in row
        rows.append([row[key] if key != "label" else LABELS[row[key]] for key in keys])
    _raise_problems(problems)
    if not rows:
        raise DataError(f"{name}:1: no rows; the file must hold one JSON object per line")
    counts["rows"] = len(rows)
    names = ["id", "language", "origin_query", "target", "label"][: len(keys)]
    table = pd.DataFrame(rows, columns=names, dtype=object)  # a null text stays None
    integers = {name: "int64" for name in names if name in ("id", "label")}
    return table.astype({**integers, "language": "str"}), {k: v for k, v in counts.items() if v}


def read_folder(folder: Path) -> Raw:
    """Read and check a whole data folder.

    A task without files is skipped with a notice; `dev_*` may be absent. Raises DataError with files and lines.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}:1: no such folder; name one with train_QC.txt, test_QC.txt, train_QI.txt, test_QI.txt"
        )
    raw, problems = Raw(folder, {}), []
    for task in TASKS:
        splits = [split for split in SPLITS if raw_file(folder, split, task).exists()]
        if not splits:
            raw.notices.append(f"{task}: no file of this task in {folder.name}/, so it is skipped")
        elif "dev" not in splits:
            raw.notices.append(f"{task}: no dev file, so nothing is predicted for dev")
        for split in ("train", "test"):
            if splits and split not in splits:
                problems.append(
                    f"{split}_{task}.txt:1: missing, while {splits[0]}_{task}.txt is there; add it or remove {task}"
                )
        for split in splits:
            path = raw_file(folder, split, task)
            try:
                table, counts = read_file(path, task, labelled=split == "train")
            except DataError as error:
                problems.append(str(error))
                continue
            raw.tables[split, task], raw.counts[path.name] = table, counts
            if split == "train":
                problems += _train_problems(table, path.name)
    if problems:
        raise DataError("\n".join(problems))
    if not raw.tables:
        raise DataError(
            f"{folder}:1: no data; put train_QC.txt and test_QC.txt, or train_QI.txt and test_QI.txt, there"
        )
    return raw


def _train_problems(table: pd.DataFrame, name: str) -> list[str]:
    """Why a training table cannot be used: one label only, or too few queries for folds."""
    if table["label"].nunique() < 2:
        return [f"{name}:1: every label is {table['label'].iloc[0]}; add rows of the other label"]
    if table["origin_query"].nunique() < 10:
        return [f"{name}:1: fewer than 10 distinct queries, too few for folds; add rows"]
    return []


def read_solutions(folder: Path, task: str) -> dict[str, pd.DataFrame]:
    """Split -> labels (`id, label`) of dev and test, where the data folder has them; only notebook 07 reads them.

    Raises DataError as `read_file` does.
    """
    solutions = {split: read_solution(folder, split, task) for split in ("dev", "test")}
    return {split: solution for split, solution in solutions.items() if solution is not None}


def read_solution(folder: Path, split: str, task: str) -> pd.DataFrame | None:
    """The labels (`id, label`) of dev or test, None if the data folder lacks them; only notebook 07 reads them.

    Raises DataError as `read_file` does.
    """
    path = solution_file(folder, split, task)
    if not path.exists():
        return None
    return read_file(path, task, labelled=True, name=f"solution/{path.name}")[0][["id", "label"]]
