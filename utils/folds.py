"""Who may teach and who must judge; and the proof that nothing leaks from one to the other."""

import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from utils.schema import FOLD_COLUMNS, ordered
from utils.taxonomy import Taxonomy

SCHEMES = ("report", "strict", "leave-language")


def make_folds(
    table: pd.DataFrame, task: str, tree: Taxonomy | None, depth: int, count: int, seed: int
) -> pd.DataFrame:
    """Deal the training rows of a task into folds: `id, fold, query_group, category_group`.

    QI keeps a query in one fold; QC keeps a category group (the first `depth` levels) in one fold, as the winning
    report does (arXiv 2510.25428, section 3.4). Both are stratified by language and label. `table` needs
    `id, language, query, target, label`. Raises ValueError if there are fewer groups than folds.
    """
    query_group = table["query"]
    category_group = [tree.group(target, depth) for target in table["target"]] if tree else [""] * len(table)
    groups = pd.Series(category_group, index=table.index) if task == "QC" else query_group
    if groups.nunique() < count:
        raise ValueError(
            f"{task}: {groups.nunique()} groups cannot be dealt into {count} folds; use fewer folds or more rows"
        )
    stratum = table["language"] + table["label"].astype(str)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    fold = pd.Series(-1, index=range(len(table)))
    for k, (_, judged) in enumerate(splitter.split(table, stratum, groups)):
        fold.iloc[judged] = k
    columns = [table["id"].to_numpy(), fold.to_numpy(), query_group.to_numpy(), category_group]
    return pd.DataFrame(dict(zip(FOLD_COLUMNS, columns, strict=True)))


def join_folds(clean: pd.DataFrame, dealt: pd.DataFrame) -> pd.DataFrame:
    """A clean training table with its folds, joined by id; rows outside the folds (over the cap) are left out."""
    return clean.merge(dealt, on="id", how="inner", validate="one_to_one")


def split(table: pd.DataFrame, scheme: str, fold: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows that teach and the rows that judge in one fold of a scheme.

    `table` is a clean table joined with its folds by id. `report`: the other folds teach. `strict`: of these, rows whose
    query stands among the judges are left out too. `leave-language`: fold k judges the k-th training language, and
    no row of it, nor of a judged query, teaches.
    """
    if scheme == "leave-language":
        languages = ordered(table["language"].unique().tolist())
        judged = table["language"] == languages[fold % len(languages)]
    elif scheme in SCHEMES:
        judged = table["fold"] == fold
    else:
        raise ValueError(f"unknown scheme {scheme!r}; use one of {', '.join(SCHEMES)}")
    teaches = ~judged
    if scheme != "report":
        teaches &= ~table["query_group"].isin(table.loc[judged, "query_group"])
    return table[teaches], table[judged]


def without_queries(table: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """The rows of `table` whose query does not stand in `judged`: what stage 1 of TAPT may see."""
    return table[~table["query"].isin(judged["query"])]


def fold_numbers(table: pd.DataFrame, scheme: str) -> list[int]:
    """The folds of a scheme: the dealt ones, or one a training language."""
    count = table["language"].nunique() if scheme == "leave-language" else table["fold"].max() + 1
    return list(range(int(count)))


def find_leaks(table: pd.DataFrame, scheme: str) -> list[dict[str, float]]:
    """One row a fold: what teachers and judges share, and how far the judges drift from all rows.

    Drift is the total variation distance (0 = same shares, 1 = nothing in common).
    """
    found = []
    for fold in fold_numbers(table, scheme):
        teachers, judges = split(table, scheme, fold)
        known = set(teachers["category_group"]) & set(judges["category_group"]) - {""}
        shared = judges["query_group"].isin(teachers["query_group"])
        found.append(
            {
                "fold": fold,
                "teachers": len(teachers),
                "judges": len(judges),
                "shared_queries": int(judges.loc[shared, "query_group"].nunique()),
                "shared_query_rows": float(shared.mean()) if len(judges) else 0.0,
                "shared_category_groups": len(known),
                "label_drift": _drift(judges["label"], table["label"]),
                "language_drift": _drift(judges["language"], table["language"]),
            }
        )
    return found


def _drift(part: pd.Series, whole: pd.Series) -> float:
    shares = part.value_counts(normalize=True).sub(whole.value_counts(normalize=True), fill_value=0)
    return round(float(shares.abs().sum() / 2), 6)
