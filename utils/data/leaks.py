"""What training and validation rows of a scheme share, how its validation rows differ from the test's, and alarms: nothing goes on
where rows are evaluated by what was fitted on them.
"""

import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from utils.core.paths import Run, solution_folder
from utils.core.schema import CLEAN_COLUMNS
from utils.data.folds import BY_CATEGORY, SCHEMES, by_target, fold_numbers, keeps_english, lies_in, split
from utils.data.groups import query_groups
from utils.data.tables import read_table
from utils.data.taxonomy import Taxonomy

DRIFT_DIGITS = 6


def find_leaks(table: pd.DataFrame, scheme: str) -> list[dict[str, float]]:
    """One record per fold: what training and validation rows share, and the drift of the validation rows from all rows.

    Drift is the total variation distance of the shares (0 = equal, 1 = disjoint). `shared_query_rows` and `unseen_category_rows` are shares
    of the validation rows: whose query group is also in training, whose category group is not. `shared_texts` counts the distinct queries
    and English queries that stand on both sides, whatever their groups say.
    """
    texts = ["query", "query_en"] if keeps_english(table) else ["query"]
    codes = table.assign(
        query_code=pd.factorize(table["query_group"])[0],
        category_code=pd.factorize(table["category_group"])[0],
        **{text: pd.factorize(table[text].mask(table[text] == ""))[0] for text in texts},  # -1: no text
    )
    has_categories = bool(table["category_group"].any())
    leaks = []
    for fold in fold_numbers(table, scheme):
        train, validation = split(codes, scheme, fold)
        shared = validation["query_code"].isin(train["query_code"].unique())
        groups, known = validation["category_code"], validation["category_code"].isin(train["category_code"].unique())
        leaks.append(
            {
                "fold": fold,
                "train_rows": len(train),
                "validation_rows": len(validation),
                "shared_queries": int(validation.loc[shared, "query_code"].nunique()),
                "shared_query_rows": _share(shared),
                "shared_texts": sum(_count_shared(train[text], validation[text]) for text in texts),
                "shared_category_groups": int(groups[known].nunique()) if has_categories else 0,
                "unseen_category_groups": int(groups[~known].nunique()) if has_categories else 0,
                "unseen_category_rows": _share(~known) if has_categories else 0.0,
                "label_drift": drift(validation["label"], table["label"]),
                "language_drift": drift(validation["language"], table["language"]),
            }
        )
    return leaks


def _count_shared(train: pd.Series, validation: pd.Series) -> int:
    """Distinct codes on both sides; -1 is no code."""
    return int(validation[(validation >= 0) & validation.isin(train.unique())].nunique())


def _share(mask: pd.Series) -> float:
    return float(mask.mean()) if len(mask) else 0.0


def drift(part: pd.Series, whole: pd.Series) -> float:
    """Total variation distance of the value shares of two columns, in 0..1."""
    shares = part.value_counts(normalize=True).sub(whole.value_counts(normalize=True), fill_value=0)
    return round(float(shares.abs().sum() / 2), DRIFT_DIGITS)


def compare_schemes(table: pd.DataFrame, task: str) -> pd.DataFrame:
    """`find_leaks` of every scheme as one table: `task, scheme, fold, ...`."""
    parts = []
    for scheme in SCHEMES:
        leaks = pd.DataFrame(find_leaks(table, scheme))
        if leaks.empty:
            print(f"notice: {task} cannot be split by scheme {scheme}: too few languages or category groups")
            continue
        leaks.insert(0, "task", task)
        leaks.insert(1, "scheme", scheme)
        parts.append(leaks)
    return pd.concat(parts, ignore_index=True)


def compare_with_test(leaks: pd.DataFrame, table: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """One row per scheme and one for the test: training rows, and the shares that tell which validation looks like the test.

    `table` holds the task's training rows and `test` its test rows, both with `query_group` and `category_group` over both together.
    Unseen languages are test languages without training rows; a fold of `leave-language` has nothing else.
    """
    schemes = leaks.groupby("scheme", sort=False)
    rows = schemes[["train_rows", "validation_rows"]].mean().round().astype(int)
    rows["unseen queries"] = 1 - schemes["shared_query_rows"].mean()
    rows["unseen category groups"] = schemes["unseen_category_rows"].mean()
    rows["unseen languages"] = [float(scheme == "leave-language") for scheme in rows.index]
    rows.loc["the test"] = {
        "train_rows": len(table), "validation_rows": len(test),
        "unseen queries": _share(~test["query_group"].isin(table["query_group"])),
        "unseen category groups": _share(~test["category_group"].isin(table["category_group"])),
        "unseen languages": _share(~test["language"].isin(table["language"])),
    }  # fmt: skip
    return rows.astype({"train_rows": int, "validation_rows": int})


def group_test_rows(run: Run, task: str, table: pd.DataFrame, tree: Taxonomy | None, depth: int) -> pd.DataFrame:
    """A task's test rows with `query_group` and `category_group`, where a query like one of the training rows has that one's group.

    `table` holds the training rows with their groups. Raises DataError if the clean test table is missing.
    """
    test = read_table(run.clean_table("test", task), CLEAN_COLUMNS)
    columns = ["query", "query_en"]
    groups = query_groups(pd.concat([table[columns], test[columns]], ignore_index=True).assign(target=None)).to_numpy()
    known = dict(zip(groups[: len(table)], table["query_group"], strict=True))
    own = [known.get(group, group) for group in groups[len(table) :]]
    return test.assign(query_group=own, category_group=by_target(test, tree, depth).to_numpy())


def explain(likeness: pd.DataFrame) -> str:
    """Why `query` validates, in figures: the unseen shares of the schemes and of the test, and the training rows left."""
    query, strict, test = (
        likeness.loc[name] for name in ("query", "strict" if "strict" in likeness.index else "query", "the test")
    )
    text = f"{test['unseen queries']:.1%} of the test rows have a query that training does not know; with *query* all validation rows have"
    if "report" in likeness.index and likeness.loc["report", "unseen category groups"] > 0:
        column = "unseen category groups"
        text += f". {test[column]:.1%} of the test rows have a new category group: {query[column]:.1%} with *query*, "
        text += f"{strict[column]:.0%} with *report* and *strict*. *strict* leaves {strict['train_rows']:,.0f} training rows, "
        text += f"*query* {query['train_rows']:,.0f}"
    text += f". {test['unseen languages']:.0%} of the test rows are of new languages"
    return text + (", which *leave-language* stands for." if "leave-language" in likeness.index else ".")


def nest_leaks(leaks: pd.DataFrame) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Task -> scheme -> one record per fold, as in `leaks.json`."""
    by_task: dict[str, dict[str, list[dict[str, float]]]] = {}
    for (task, scheme), rows in leaks.groupby(["task", "scheme"], sort=False):
        by_task.setdefault(str(task), {})[str(scheme)] = rows.drop(columns=["task", "scheme"]).to_dict("records")
    return by_task


class LeakError(RuntimeError):
    """Rows are evaluated by what was fitted on them. A defect of the code or of tables that were changed, not of a person's input: the
    pipeline fails (exit code 1), and no reader takes it for a wrong value.
    """


def check_leaks(leaks: pd.DataFrame) -> None:
    """Raises LeakError, with schemes and folds, if training and validation rows share what their scheme separates."""
    by_query = leaks["scheme"] != "report"
    shared = {
        "a query": leaks[by_query & (leaks["shared_queries"] > 0)],
        "the text of a query": leaks[by_query & (leaks["shared_texts"] > 0)],
        "a category group": leaks[leaks["scheme"].isin(BY_CATEGORY) & (leaks["shared_category_groups"] > 0)],
    }
    for kind, rows in shared.items():
        if len(rows):
            folds = rows[["task", "scheme", "fold"]].to_dict("records")
            raise LeakError(f"{kind} is in both training and validation rows of {folds[:5]}; run notebook 03 again")


def check_apart(
    train: pd.DataFrame, validation: pd.DataFrame, name: str, scheme: str, own: pd.Series | None = None, english: bool = True
) -> None:  # fmt: skip
    """An alarm before anything trains: no validation row's query, query group or English may stand among the training rows, nor its
    category group under a scheme that goes by these.

    `own` marks the training rows that come from the task's own folds; None: none does. Without `english` that of queries is not
    compared, as folds of so few queries do not keep it apart (`folds.keeps_english`). The scheme `report` lets queries be shared, as
    the winning report did. Raises LeakError with the first row.
    """
    if scheme in BY_CATEGORY and own is not None:
        _check_categories(train, validation, name, own)
    if scheme == "report":
        return
    columns = ["query", "query_group"] if own is not None and "query_group" in train else ["query"]
    for column in [*columns, *(["query_en"] if english else [])]:
        texts = validation.loc[validation[column] != "", column]
        _refuse(train[train[column].isin(texts)], column, name)


def _check_categories(train: pd.DataFrame, validation: pd.DataFrame, name: str, own: pd.Series) -> None:
    """Own rows answer for the group that the folds gave them, added ones for their path."""
    if "category_group" not in validation or not validation["category_group"].any():
        return
    if "category_group" in train:
        _refuse(train[own & train["category_group"].isin(validation["category_group"])], "category_group", name)
    paths = train[~own & (train["task"] == "QC")] if "task" in train else train[~own]
    _refuse(paths[lies_in(paths["target"], validation["category_group"])], "target", name)


def _refuse(rows: pd.DataFrame, column: str, name: str) -> None:
    """Raises LeakError for training rows that share a column's values with validation rows, if there are any."""
    if len(rows):
        raise LeakError(
            f"{name}: {len(rows)} training rows share their {column} with validation rows, the first is id {rows['id'].iloc[0]} "
            f"({rows[column].iloc[0]!r}); run notebooks 02 and 03 again"
        )


def check_unseen(fitted: ArrayLike, evaluated: ArrayLike, name: str) -> None:
    """An alarm before anything is evaluated: no query group of the `evaluated` rows may be one of the rows that `name` was `fitted` on.

    Raises LeakError with the first one.
    """
    evaluated = pd.Series(np.asarray(evaluated))
    _refuse_seen(evaluated[evaluated.isin(pd.unique(np.asarray(fitted)))], name)


def check_parts(part: ArrayLike, cluster: ArrayLike, name: str) -> None:
    """`check_unseen` of all parts at once: what is fitted on all parts but one and evaluated on that one. `[rows]` both."""
    part, cluster = np.asarray(part), pd.Series(np.asarray(cluster))
    codes = pd.factorize(cluster, use_na_sentinel=False)[0]
    of_cluster = np.zeros(codes.max(initial=-1) + 1, dtype=part.dtype)
    of_cluster[codes] = part
    _refuse_seen(cluster[of_cluster[codes] != part], name)


def _refuse_seen(rows: pd.Series, name: str) -> None:
    if len(rows):
        raise LeakError(
            f"{name}: fitted on the query groups of {len(rows)} rows that it is evaluated on, the first is {rows.iloc[0]!r}; "
            "the rows were split wrongly: run notebook 03 and all after it again"
        )


@dataclass
class Seal:
    """Keeps a folder shut in this process, whoever asks, until it is lifted."""

    folder: Path
    shut: bool = True

    def watch(self, event: str, details: tuple[Any, ...]) -> None:
        """An audit hook: it is called before any file is opened. A sample that is made anew may be written."""
        reads = event == "open" and (details[2] or 0) & os.O_ACCMODE == os.O_RDONLY
        if reads and self.shut and isinstance(details[0], (str, bytes, os.PathLike)):
            path = Path(os.path.realpath(os.fsdecode(details[0])))
            if self.folder in path.parents:
                raise LeakError(
                    f"{path}: solutions are read by notebook 07 alone, once the submission stands; do not read it"
                )

    def lift(self) -> None:
        """Let this process open the folder's files."""
        self.shut = False


@cache
def _hang(folder: Path) -> Seal:
    """The seal of a folder, one for each process, as no audit hook can be taken away."""
    seal = Seal(folder)
    sys.addaudithook(seal.watch)
    return seal


def seal_solution(data: Path) -> Seal:
    """From now on Python code in this process cannot read what lies in a data folder's `solution/`: LeakError, until the seal is
    lifted.
    """
    seal = _hang(solution_folder(data).resolve())
    seal.shut = True
    return seal


def describe_groups(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Of each task's training rows: distinct queries, groups of like queries, rows of the largest one, category groups."""
    rows = {}
    for task, table in tables.items():
        sizes = table["query_group"].value_counts()
        rows[task] = {
            "rows": len(table), "queries": table["query"].nunique(), "query groups": len(sizes), "rows of the largest": int(sizes.max()),
            "category groups": table.loc[table["category_group"] != "", "category_group"].nunique(),
        }  # fmt: skip
    return pd.DataFrame(rows).T
