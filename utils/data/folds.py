"""Training rows and validation rows of every fold, and the check that nothing leaks between them."""

import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from utils.core.schema import FOLD_COLUMNS, ordered
from utils.data.taxonomy import Taxonomy

SCHEMES = ("report", "strict", "leave-language")


def make_folds(
    table: pd.DataFrame, task: str, tree: Taxonomy | None, depth: int, count: int, seed: int
) -> pd.DataFrame:
    """Split the training rows of a task into `count` folds: `id, fold, query_group, category_group`.

    For QI all rows of a query are in one fold; for QC all rows of a category group (the first `depth` levels), as in
    the winning report (arXiv 2510.25428, section 3.4). Both are stratified by language and label. `table` needs
    `id, language, query, target, label`. Raises ValueError if there are fewer groups than folds.
    """
    query_group = table["query"]
    category_group = [tree.group(target, depth) for target in table["target"]] if tree else [""] * len(table)
    groups = pd.Series(category_group, index=table.index) if task == "QC" else query_group
    if groups.nunique() < count:
        raise ValueError(
            f"{task}: {groups.nunique()} groups cannot be split into {count} folds; use fewer folds or more rows"
        )
    stratum = table["language"] + table["label"].astype(str)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    fold = pd.Series(-1, index=range(len(table)))
    for k, (_, positions) in enumerate(splitter.split(table, stratum, groups)):
        fold.iloc[positions] = k
    columns = [table["id"].to_numpy(), fold.to_numpy(), query_group.to_numpy(), category_group]
    return pd.DataFrame(dict(zip(FOLD_COLUMNS, columns, strict=True)))


def join_folds(clean: pd.DataFrame, folds: pd.DataFrame) -> pd.DataFrame:
    """A clean training table joined with its folds by id; rows without a fold (over the cap) are left out.

    Raises pandas' MergeError if an id occurs twice.
    """
    return clean.merge(folds, on="id", how="inner", validate="one_to_one")


def split(table: pd.DataFrame, scheme: str, fold: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training rows and validation rows of one fold of a scheme.

    `table` is the result of `join_folds`. `report`: validation rows are the fold, training rows the other folds. `strict`:
    the same without training rows whose query is also among the validation rows. `leave-language`: validation rows are
    the k-th training language, training rows all other languages without the validation rows' queries. Raises
    ValueError for an unknown scheme.
    """
    if scheme == "leave-language":
        languages = ordered(table["language"].unique().tolist())
        validation = table["language"] == languages[fold % len(languages)]
    elif scheme in SCHEMES:
        validation = table["fold"] == fold
    else:
        raise ValueError(f"unknown scheme {scheme!r}; use one of {', '.join(SCHEMES)}")
    train = ~validation
    if scheme != "report":
        train &= ~table["query_group"].isin(table.loc[validation, "query_group"])
    return table[train], table[validation]


def without_queries(table: pd.DataFrame, validation: pd.DataFrame) -> pd.DataFrame:
    """The rows of `table` whose query is not among the validation rows: the rows allowed in stage 1 of TAPT."""
    return table[~table["query"].isin(validation["query"])]


def fold_numbers(table: pd.DataFrame, scheme: str) -> list[int]:
    """The fold numbers of a scheme: those of the table, or one per training language."""
    count = table["language"].nunique() if scheme == "leave-language" else table["fold"].max() + 1
    return list(range(int(count)))


def find_leaks(table: pd.DataFrame, scheme: str) -> list[dict[str, float]]:
    """One record per fold: what training and validation rows share, and the drift of the validation rows from all rows.

    Drift is the total variation distance of the shares (0 = equal, 1 = disjoint). `shared_query_rows` is a share of rows.
    """
    leaks = []
    for fold in fold_numbers(table, scheme):
        train, validation = split(table, scheme, fold)
        train_groups, groups = (set(rows["category_group"]) - {""} for rows in (train, validation))
        shared = validation["query_group"].isin(train["query_group"])
        leaks.append(
            {
                "fold": fold,
                "train_rows": len(train),
                "validation_rows": len(validation),
                "shared_queries": int(validation.loc[shared, "query_group"].nunique()),
                "shared_query_rows": float(shared.mean()) if len(validation) else 0.0,
                "shared_category_groups": len(groups & train_groups),
                "unseen_category_groups": len(groups - train_groups),
                "label_drift": _drift(validation["label"], table["label"]),
                "language_drift": _drift(validation["language"], table["language"]),
            }
        )
    return leaks


def _drift(part: pd.Series, whole: pd.Series) -> float:
    """Total variation distance of the value shares of two columns, in 0..1."""
    shares = part.value_counts(normalize=True).sub(whole.value_counts(normalize=True), fill_value=0)
    return round(float(shares.abs().sum() / 2), 6)


def compare_schemes(table: pd.DataFrame, task: str) -> pd.DataFrame:
    """`find_leaks` of every scheme as one table: `task, scheme, fold, ...`."""
    parts = []
    for scheme in SCHEMES:
        leaks = pd.DataFrame(find_leaks(table, scheme))
        leaks.insert(0, "task", task)
        leaks.insert(1, "scheme", scheme)
        parts.append(leaks)
    return pd.concat(parts, ignore_index=True)


def nest_leaks(leaks: pd.DataFrame) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Task -> scheme -> one record per fold, as in `leaks.json`."""
    by_task: dict[str, dict[str, list[dict[str, float]]]] = {}
    for (task, scheme), rows in leaks.groupby(["task", "scheme"], sort=False):
        by_task.setdefault(str(task), {})[str(scheme)] = rows.drop(columns=["task", "scheme"]).to_dict("records")
    return by_task


def check_leaks(leaks: pd.DataFrame) -> None:
    """Raises ValueError, with schemes and folds, if training and validation rows share what their scheme separates."""
    report, language = leaks["scheme"] == "report", leaks["scheme"] == "leave-language"
    category = leaks["task"] == "QC"
    queries = leaks[(~report | ~category) & (leaks["shared_queries"] > 0)]
    groups = leaks[category & ~language & (leaks["shared_category_groups"] > 0)]
    for kind, rows in (("a query", queries), ("a category group", groups)):
        if len(rows):
            folds = rows[["task", "scheme", "fold"]].to_dict("records")
            raise ValueError(f"{kind} is in both training and validation rows of {folds[:5]}; run notebook 03 again")


def describe_groups(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Numbers of distinct queries and category groups of each task's training rows, one row per task."""
    columns = {"query_group": "queries", "category_group": "category groups"}
    return pd.DataFrame({task: table[list(columns)].nunique().rename(columns) for task, table in tables.items()}).T
