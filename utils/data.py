"""Read and check the competition's files; read and write the road's own tables."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from utils.files import write_with
from utils.paths import raw_file, solution_file
from utils.schema import LANGUAGES, SPLITS, TARGET_KEY, TASKS

SHOWN = 20  # problems of one file that are listed before the rest is only counted
LABELS = {0: 0, 1: 1, "0": 0, "1": 1}


class DataError(Exception):
    """Input that cannot be used; each line reads `FILE:LINE: what is wrong; what to do`."""


@dataclass(frozen=True)
class Raw:
    """The files of a data folder: one table a (split, task), and what was counted while reading."""

    folder: Path
    tables: dict[tuple[str, str], pd.DataFrame]
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    @property
    def tasks(self) -> list[str]:
        return [task for task in TASKS if ("train", task) in self.tables]

    def splits(self, task: str) -> list[str]:
        return [split for split in SPLITS if (split, task) in self.tables]


def _finish(problems: list[str]) -> None:
    if problems:
        rest = len(problems) - SHOWN
        raise DataError("\n".join(problems[:SHOWN] + ([f"... and {rest} more of this file"] if rest > 0 else [])))


def _text_problem(key: str, value: Any) -> str:
    if value is not None and not isinstance(value, str):
        return f"{key} is {json.dumps(value)[:40]}, not text; put it in quotes"
    if value and any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        return f"{key} holds half of a surrogate pair, which no file can store; mend or remove the \\ud... escape"
    return ""


def _row_problem(row: Any, task: str, keys: list[str], labelled: bool) -> str:
    """What is wrong with one parsed row, or the empty text."""
    if not isinstance(row, dict):
        return "not a JSON object; write one object a line"
    missing = [key for key in keys if key not in row]
    if missing:
        return f"key {', '.join(missing)} is missing; each line needs {', '.join(keys)}"
    if isinstance(row["id"], bool) or not isinstance(row["id"], int) or not -(2**63) <= row["id"] < 2**63:
        return f"id is {json.dumps(row['id'])[:40]}, not a whole number; number the rows"
    if row.get("task", task) != task:
        return (
            f"task is {json.dumps(row['task'])[:40]} in a file of {task}; move the row to its own file or mend the name"
        )
    if row["language"] not in LANGUAGES if isinstance(row["language"], str) else True:
        return f"language {json.dumps(row['language'])[:40]} is unknown; use one of {' '.join(LANGUAGES)}"
    if labelled and (isinstance(row["label"], (bool, float, list, dict)) or row["label"] not in LABELS):
        return f"label is {json.dumps(row['label'])[:40]}; a label is 0 or 1"
    return _text_problem("origin_query", row["origin_query"]) or _text_problem(TARGET_KEY[task], row[TARGET_KEY[task]])


def _lines(content: bytes, name: str, problems: list[str], counts: Counter[str]) -> list[tuple[int, str]]:
    """Decode line by line, mending a byte-order mark and Windows line ends; blank lines are counted."""
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
    counts["blank_lines"] -= content.endswith(b"\n") or not content  # what follows the last line end is no line
    return lines


def read_file(path: Path, task: str, labelled: bool, name: str = "") -> tuple[pd.DataFrame, dict[str, int]]:
    """Read one JSON Lines file of the competition.

    Returns the table `id, language, origin_query, target[, label]` in the file's order, texts as they are
    (null stays None), and counts of what was repaired. Raises DataError with every problem of the file, the
    first 20 in words.
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
            what = getattr(error, "msg", "nested too deeply")
            problems.append(
                f"{name}:{number}: not valid JSON ({what}, character {getattr(error, 'colno', 1)}); mend the line"
            )
            continue
        problem = _row_problem(row, task, keys, labelled)
        if not problem and first_line.setdefault(row["id"], number) != number:
            problem = f"id {row['id']} stands in line {first_line[row['id']]} already; give each row its own id"
        if problem:
            problems.append(f"{name}:{number}: {problem}")
            continue
        counts["text_labels"] += labelled and isinstance(row["label"], str)
        counts["labels_ignored"] += not labelled and "label" in row
        rows.append([row[key] if key != "label" else LABELS[row[key]] for key in keys])
    _finish(problems)
    if not rows:
        raise DataError(f"{name}:1: no rows; the file must hold one JSON object a line")
    counts["rows"] = len(rows)
    names = ["id", "language", "origin_query", "target", "label"][: len(keys)]
    table = pd.DataFrame(rows, columns=names, dtype=object)  # a null text stays None
    whole = {name: "int64" for name in names if name in ("id", "label")}
    return table.astype({**whole, "language": "str"}), {k: v for k, v in counts.items() if v}


def read_folder(folder: Path) -> Raw:
    """Read and check the whole data folder before anything else runs.

    A task with no file is skipped with a notice; `dev_*` may be absent. Raises DataError naming files and lines.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}:1: no such folder; name one with train_QC.txt, test_QC.txt, train_QI.txt, test_QI.txt"
        )
    raw, problems = Raw(folder, {}), []
    for task in TASKS:
        there = [split for split in SPLITS if raw_file(folder, split, task).exists()]
        if not there:
            raw.notices.append(f"{task}: no file of this task in {folder.name}/, so it is skipped")
        elif "dev" not in there:
            raw.notices.append(f"{task}: no dev file, so nothing is predicted for dev")
        for split in ("train", "test"):
            if there and split not in there:
                problems.append(
                    f"{split}_{task}.txt:1: missing, while {there[0]}_{task}.txt is there; add it or take {task} out"
                )
        for split in there:
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
    if table["label"].nunique() < 2:
        return [f"{name}:1: every label is {table['label'].iloc[0]}; a model needs both"]
    if table["origin_query"].nunique() < 10:
        return [f"{name}:1: fewer than 10 distinct queries; folds cannot be made, give more rows"]
    return []


def read_solution(folder: Path, split: str, task: str) -> pd.DataFrame | None:
    """The labels of a dev or test split, `id, label`, where the data folder has them; notebook 07 alone asks."""
    path = solution_file(folder, split, task)
    if not path.exists():
        return None
    return read_file(path, task, labelled=True, name=f"solution/{path.name}")[0][["id", "label"]]


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a parquet table atomically, without its index."""
    write_with(path, lambda temporary: table.to_parquet(temporary, index=False))


def read_table(path: Path, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a parquet table and check that the columns are there (`label` may be absent)."""
    if not path.exists():
        raise DataError(f"{path}:1: missing; run the notebook whose number its folder carries")
    table = pd.read_parquet(path)
    missing = [column for column in columns if column not in table and column != "label"]
    if missing:
        raise DataError(f"{path}:1: column {', '.join(missing)} is missing; run the notebook that writes it again")
    return table


def tasks_of(folder: Path, form: str) -> list[str]:
    """The tasks whose tables stand in a folder; `form` is the file's name with {} for the task."""
    return [task for task in TASKS if (folder / f"{form.format(task)}.parquet").exists()]


def table_hash(table: pd.DataFrame) -> str:
    """Hash of a table's content in its order; 16 hex digits."""
    hashes = pd.util.hash_pandas_object(table, index=False).to_numpy()
    return hashlib.sha256(hashes.tobytes() + ",".join(table.columns).encode()).hexdigest()[:16]


def cap_queries(table: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """At most `rows` rows made of whole queries, drawn at random with a seed; 0 or fewer keeps all.

    Rows keep their order. A query that would overfill the cap is passed over for the next that fits.
    """
    if rows <= 0 or len(table) <= rows:
        return table
    sizes = table.groupby("query", sort=True).size().sample(frac=1.0, random_state=seed)
    kept, total = [], 0
    for query, size in sizes.items():
        if total + size <= rows:
            kept.append(query)
            total += size
    return table[table["query"].isin(kept)]
