"""Read and check the competition's files."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from utils.core.errors import DataError, raise_problems
from utils.core.paths import raw_file, solution_file
from utils.core.schema import SPLITS, TARGET_KEY, TASKS
from utils.data.rows import LABELS, parse_line, row_problem, split_lines
from utils.data.text import map_distinct, normalise_query


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
    for number, line in split_lines(content, name, problems, counts):
        row, problem = parse_line(line)
        problem = problem or row_problem(row, task, keys, labelled)
        if not problem and first_line.setdefault(row["id"], number) != number:
            problem = f"id {row['id']} is also the id of line {first_line[row['id']]}; give each row its own id"
        if problem:
            problems.append(f"{name}:{number}: {problem}")
            continue
        counts["text_labels"] += labelled and isinstance(row["label"], str)
        counts["labels_ignored"] += not labelled and "label" in row
        rows.append([row[key] if key != "label" else LABELS[row[key]] for key in keys])
    raise_problems(problems)
    if not rows:
        raise DataError(f"{name}:1: no rows; the file must hold one JSON object per line")
    counts["rows"] = len(rows)
    names = ["id", "language", "origin_query", "target", "label"][: len(keys)]
    table = pd.DataFrame(rows, columns=names, dtype=object)  # a null text stays None
    integers = {name: "int64" for name in names if name in ("id", "label")}
    return table.astype({**integers, "language": "str"}), {k: v for k, v in counts.items() if v}


def read_folder(folder: Path) -> Raw:
    """Read and check a whole data folder.

    Its tables are in the order of their ids, so that what is made of them hangs on the rows and not on the order of a file's
    lines. A task without files is skipped with a notice; `dev_*` may be absent. Raises DataError with files and lines.
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
            raw.tables[split, task] = table.sort_values("id", ignore_index=True)
            raw.counts[path.name] = counts
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
    """Why a training table cannot be used: too few queries for folds, or of one label; rows whose clean query is empty are not used."""
    query = pd.Series(map_distinct(normalise_query, table["origin_query"]))
    if query[query != ""].nunique() < 10:
        return [f"{name}:1: fewer than 10 distinct queries, too few for folds; add rows"]
    labels = table["label"].to_numpy()[query != ""]
    if len(set(labels)) < 2:
        return [f"{name}:1: every label is {labels[0]}; add rows of the other label"]
    queries = query[query != ""].groupby(labels).nunique()
    if queries.min() < 2:
        return [
            f"{name}:1: one query alone has rows of label {queries.idxmin()}, too few for folds; add rows of other queries"
        ]
    return []


def read_solutions(folder: Path, task: str) -> dict[str, pd.DataFrame]:
    """Split -> labels (`id, label`) of dev and test, where the data folder has them; only notebook 07 reads them.

    A solution that is broken, has no file of its split beside it or does not hold just its ids scores nothing: a notice says so.
    """
    solutions = {}
    for split in ("dev", "test"):
        try:
            solution = read_solution(folder, split, task)
            if solution is None:
                continue
            ids, _ = read_file(raw_file(folder, split, task), task, labelled=False)
        except DataError as error:
            print(f"notice: not scored on {split}: {str(error).splitlines()[0]}")
            continue
        if set(solution["id"]) == set(ids["id"]):
            solutions[split] = solution
        else:
            print(f"notice: not scored on {split}: solution/{split}_{task}.txt has other ids than {split}_{task}.txt")
    return solutions


def read_solution(folder: Path, split: str, task: str) -> pd.DataFrame | None:
    """The labels (`id, label`) of dev or test, None if the data folder lacks them; only notebook 07 reads them.

    Raises DataError as `read_file` does.
    """
    path = solution_file(folder, split, task)
    if not path.exists():
        return None
    return read_file(path, task, labelled=True, name=f"solution/{path.name}")[0][["id", "label"]]
