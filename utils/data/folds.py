"""Training rows and validation rows of every fold, under one of four schemes."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from utils.core.schema import FOLD_COLUMNS, ordered
from utils.data.groups import query_groups
from utils.data.tables import sample_queries
from utils.data.taxonomy import Taxonomy

SCHEMES = ("query", "report", "strict", "leave-language")
BY_CATEGORY = ("report", "strict")  # where validation rows have category groups of their own
CATEGORY_COLUMNS = ("category_group", "category_fold")
NO_CATEGORIES = pd.DataFrame({"category_group": pd.Series(dtype="str"), "category_fold": pd.Series(dtype="int64")})


def make_folds(
    table: pd.DataFrame, task: str, tree: Taxonomy | None, depth: int, count: int, seed: int
) -> pd.DataFrame:
    """Split the training rows of a task into `count` folds: `id, fold, query_group, category_group`.

    All rows of a query group (`groups.query_groups`) are in one fold; folds are alike in language, label and, for QC, top-level
    category, so that category groups (the first `depth` levels) are balanced, as section 1 of the winning report says (arXiv
    2510.25428). Where there are fewer such groups than folds, queries of equal text or English stay together; where these are too few,
    too, equal queries alone. `table` needs `id, language, query, query_en, target, label`. Raises ValueError if there are fewer queries
    than folds.
    """
    group = query_groups(table)
    if group.nunique() < count:
        print(
            f"notice: {task} has {group.nunique()} groups of like queries, fewer than folds; only equal queries stay together"
        )
        group = _by_text(table)
        group = group if group.nunique() >= count else table["query"]
    category_group = by_target(table, tree, depth)
    stratum = table["language"] + " " + by_target(table, tree, 1)
    fold = assign(group, stratum, table["label"], count, seed, task)
    columns = [table["id"].to_numpy(), fold, group.to_numpy(), category_group.to_numpy()]
    return pd.DataFrame(dict(zip(FOLD_COLUMNS, columns, strict=True)))


def _by_text(table: pd.DataFrame) -> pd.Series:
    """The groups of queries with equal text or equal English, whatever their targets."""
    return query_groups(table[["query", "query_en"]].assign(target=None))


def keeps_english(table: pd.DataFrame) -> bool:
    """Whether the folds of `table` (of `join_folds`) keep queries of equal English together: all do, but those of too few queries."""
    return _by_text(table).nunique() > table["fold"].max()


def by_target(table: pd.DataFrame, tree: Taxonomy | None, depth: int) -> pd.Series:
    """The first levels of each row's category path; empty without a tree."""
    if tree is None:
        return pd.Series("", index=table.index)
    groups = {target: tree.group(target, depth) for target in table["target"].unique()}
    return table["target"].map(groups)


def assign(group: pd.Series, stratum: pd.Series, label: pd.Series, count: int, seed: int, name: str) -> np.ndarray:
    """The fold of each row: a group lies in one fold, and folds are alike in stratum and label.

    A stratum with fewer rows than folds is the label's alone. Raises ValueError if there are fewer groups than folds.
    """
    if group.nunique() < count:
        raise ValueError(
            f"{name}: {group.nunique()} groups cannot be split into {count} folds; use fewer folds or more rows"
        )
    labelled = stratum + " " + label.astype(str)
    rare = labelled.map(labelled.value_counts()) < count
    classes = pd.factorize(labelled.mask(rare, label.astype(str)))[0]
    fold = pd.Series(-1, index=range(len(group)))
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for k, (_, positions) in enumerate(splitter.split(classes, classes, pd.factorize(group)[0])):
        fold.iloc[positions] = k
    return fold.to_numpy()


def make_category_folds(table: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """The fold of each category group, for `report` and `strict`: `category_group, category_fold`.

    A category group is in one fold only, as in section 3.4 of the winning report (arXiv 2510.25428); folds are alike in language
    and label. `table` is clean rows joined with `make_folds`. Empty, with a notice, where there are fewer groups than folds.
    """
    groups = table["category_group"]
    if groups.nunique() < count:
        if groups.any():
            print(f"notice: {groups.nunique()} category groups are fewer than {count} folds; no split by category")
        return NO_CATEGORIES
    fold = assign(groups, table["language"], table["label"], count, seed, "categories")
    return pd.DataFrame(dict(zip(CATEGORY_COLUMNS, (groups.to_numpy(), fold), strict=True))).drop_duplicates(
        ignore_index=True
    )


def join_folds(clean: pd.DataFrame, folds: pd.DataFrame, categories: pd.DataFrame | None = None) -> pd.DataFrame:
    """A clean training table joined with its folds by id; rows without a fold (over the cap) are left out.

    With `categories` (of `make_category_folds`) it has `category_fold`, too. Raises pandas' MergeError if an id occurs twice.
    """
    joined = clean.merge(folds, on="id", how="inner", validate="one_to_one")
    if categories is None or categories.empty:
        return joined
    return joined.merge(categories, on="category_group", how="left", validate="many_to_one")


def languages_of(table: pd.DataFrame) -> list[str]:
    """The training languages in the fixed order: the folds of `leave-language`."""
    return ordered(table["language"].unique().tolist())


def held_out_folds(table: pd.DataFrame, count: int) -> tuple[int, ...]:
    """The folds of `leave-language` that `count` held-out languages need, spread over the languages other than English.

    English is left in, as translations are English. Empty where there are fewer than two languages to hold out.
    """
    others = [number for number, code in enumerate(languages_of(table)) if code != "en"]
    if len(others) < 2:
        return ()
    count = min(count, len(others))
    spread = [others[round(place * (len(others) - 1) / max(1, count - 1))] for place in range(count)]
    return tuple(dict.fromkeys(spread))


def split(
    table: pd.DataFrame, scheme: str, fold: int, validation_rows: int = 0, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training rows and at most `validation_rows` validation rows (whole queries; 0 = all) of one fold of a scheme.

    `table` is the result of `join_folds`. `query`: validation rows are the fold, training rows the other folds. `report`: the same with
    the folds of category groups. `strict`: `report` without training rows whose query group is also among the validation rows.
    `leave-language`: validation rows are of one training language, training rows of all others without the validation rows' query
    groups. For QI `report` and `strict` are `query`. Raises ValueError for an unknown scheme or a fold that it does not have.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"unknown scheme {scheme!r}; use one of {', '.join(SCHEMES)}")
    if fold not in fold_numbers(table, scheme):
        raise ValueError(
            f"scheme {scheme} has {len(fold_numbers(table, scheme))} folds of these rows, and no fold {fold}"
        )
    if scheme == "leave-language":
        validation = table["language"] == languages_of(table)[fold]
    else:
        validation = table[_fold_column(table, scheme)] == fold
    chosen = sample_queries(table[validation], validation_rows, seed)
    train = table[~validation]
    if scheme in ("strict", "leave-language"):
        train = train[~train["query_group"].isin(chosen["query_group"])]
    return train, chosen


def withhold_related(
    table: pd.DataFrame, folds: Sequence[int], rows: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of `table` (of `join_folds`) without some of its queries, and the rows of these: at most `rows` in all.

    Each withheld query leaves another one of its group behind, and none lies in one of these `folds`, which validate. So
    it is new to a network that trains on the rest, and yet has a like one there, as some of the test's have.
    """
    others = table[~table["fold"].isin(folds)]
    shuffled = others.drop_duplicates("query").sample(frac=1.0, random_state=seed)
    queries = shuffled.groupby("query_group", sort=False)["query"].agg(["size", "first"])
    chosen = queries.loc[queries["size"] > 1, "first"]
    withheld = sample_queries(others[others["query"].isin(chosen)], rows, seed) if rows else others.head(0)
    return table[~table["query"].isin(withheld["query"])], withheld


def without_queries(table: pd.DataFrame, validation: pd.DataFrame) -> pd.DataFrame:
    """The rows of `table` whose query and English are not among the validation rows': the rows allowed in stage 1 of TAPT."""
    english = validation.loc[validation["query_en"] != "", "query_en"]
    return table[~table["query"].isin(validation["query"]) & ~table["query_en"].isin(english)]


def lies_in(path: pd.Series, groups: Iterable[str]) -> pd.Series:
    """Whether each clean path is one of some category groups or lies below one."""
    starts = tuple(f"{group}," for group in set(groups))
    inside = {target: f"{target},".startswith(starts) for target in path.unique()}
    return path.map(inside).astype(bool)


def fold_numbers(table: pd.DataFrame, scheme: str) -> list[int]:
    """The fold numbers of a scheme: those of the table, or one per training language where there are several; none if it has none."""
    if scheme == "leave-language":
        count = len(languages_of(table))
        return list(range(count)) if count > 1 else []
    column = _fold_column(table, scheme)
    return list(range(int(table[column].max()) + 1)) if column in table else []


def _fold_column(table: pd.DataFrame, scheme: str) -> str:
    """The column that a scheme splits by. Titles have no categories: the report keeps their queries together, as `query` does."""
    return "fold" if scheme == "query" or not table["category_group"].any() else "category_fold"
