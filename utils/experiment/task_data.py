"""The rows of one task: loaded as notebooks 02 and 03 left them, split for a recipe, and changed as the recipe asks."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from utils.core.paths import SUSPECTS, Run
from utils.core.recipe import Recipe
from utils.core.schema import AUXILIARY, CLEAN_COLUMNS, FOLD_COLUMNS
from utils.data import folds
from utils.data.leaks import check_apart
from utils.data.tables import read_table, sample_queries, table_hash, tasks_of, write_table
from utils.data.taxonomy import Taxonomy, read_tree
from utils.data.text import TEXT_VERSION
from utils.ensemble.tables import RELATED
from utils.evaluation import label_noise
from utils.evaluation.label_noise import find_suspects, remedy
from utils.experiment import baselines
from utils.experiment.augmentation import Sources, augment, mark_levels
from utils.experiment.fit import Tables


@dataclass(frozen=True)
class TaskData:
    """The rows of one task: what is split into training and validation rows, and the splits that are answered besides."""

    task: str
    train: pd.DataFrame  # a clean table joined with its folds
    splits: Tables = field(default_factory=dict)  # split -> clean table
    auxiliary: pd.DataFrame | None = None  # the auxiliary task's training rows, for stage 1 of TAPT
    validation_rows: int = 0  # at most so many validation rows per fold (whole queries); 0 = all
    # For recipes that ask for them: training queries in other languages, and the tree of QC's paths.
    expanded: pd.DataFrame | None = None
    tree: Taxonomy | None = None
    suspects: frozenset[int] | None = None  # ids of training rows with a noisy label; None = found in those of the fold

    @cached_property
    def keeps_english(self) -> bool:
        """`folds.keeps_english` of what is split."""
        return folds.keeps_english(self.train)

    def count_rows(self) -> pd.Series:
        """Rows of each split that is answered."""
        return pd.Series({split: len(table) for split, table in self.splits.items()})


def load_task_data(run: Run, task: str, splits: Sequence[str] = ("test",), validation_rows: int = 0) -> TaskData:
    """A task's rows as notebooks 02 and 03 left them, with the auxiliary task's training rows where they exist.

    A split without a file is left out.
    """
    train = {
        name: read_table(run.clean_table("train", name), CLEAN_COLUMNS) for name in tasks_of(run.clean, "train_{}")
    }
    categories = read_table(run.category_folds, folds.CATEGORY_COLUMNS) if task == "QC" else None
    joined = folds.join_folds(train[task], read_table(run.fold_table(task), FOLD_COLUMNS), categories)
    there = [split for split in splits if run.clean_table(split, task).exists()]
    tables = {split: read_table(run.clean_table(split, task), CLEAN_COLUMNS) for split in there}
    expanded = read_table(run.expanded_table(task)) if run.expanded_table(task).exists() else None
    return TaskData(task, joined, tables, train.get(AUXILIARY[task]), validation_rows, expanded, read_tree(run, "QC"))


def withhold_related(data: TaskData, recipes: Sequence[Recipe], rows: int) -> TaskData:
    """The same data with a split `related` to answer, of at most `rows` rows that no training sees (`folds.withhold_related`)."""
    numbers = sorted({fold for recipe in recipes for fold in recipe.folds})
    train, related = folds.withhold_related(data.train, numbers, rows, recipes[0].seed)
    if related.empty:
        return data
    auxiliary = None if data.auxiliary is None else folds.without_queries(data.auxiliary, related)
    return replace(data, train=train, splits=data.splits | {RELATED: related}, auxiliary=auxiliary)


def other_rows(recipe: Recipe, data: TaskData, validation: pd.DataFrame) -> pd.DataFrame:
    """The auxiliary task's rows that may train: none whose query stands among the validation rows and, where a language is held
    out, none in it.

    Raises ValueError where the data holds no auxiliary task.
    """
    if data.auxiliary is None:
        raise ValueError(
            f"{recipe.name}: the auxiliary task of {data.task} is not in the data; set auxiliary_rows and joint to 0"
        )
    rows = folds.without_queries(data.auxiliary, validation)
    held_out = validation["language"].unique() if recipe.scheme == "leave-language" else ()
    return rows[~rows["language"].isin(held_out)]


def auxiliary_rows(recipe: Recipe, data: TaskData, validation: pd.DataFrame) -> pd.DataFrame:
    """Those of `other_rows` that stage 1 of TAPT trains on."""
    return sample_queries(other_rows(recipe, data, validation), recipe.auxiliary_rows, recipe.seed)


class UnfitError(ValueError):
    """Rows that a candidate cannot be trained or validated on."""


def split_rows(recipe: Recipe, data: TaskData, fold: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and validation rows of a recipe's fold, capped as the recipe and the task's data say.

    Raises UnfitError where the scheme has no such fold of these rows.
    """
    if fold not in folds.fold_numbers(data.train, recipe.scheme):
        raise UnfitError(
            f"{recipe.name} {data.task}: these rows cannot be split by scheme {recipe.scheme} into fold {fold}"
        )
    train, validation = folds.split(data.train, recipe.scheme, fold, data.validation_rows, recipe.seed)
    return sample_queries(train, recipe.rows, recipe.seed), validation


class FoldRows(NamedTuple):
    """What a recipe trains on in a fold, what stage 1 of TAPT trains on before (None = no stage 1), what validates, and how many
    training rows the fold has, before any is dropped or added.
    """

    train: pd.DataFrame
    auxiliary: pd.DataFrame | None
    validation: pd.DataFrame
    count: int


def make_rows(recipe: Recipe, data: TaskData, fold: int) -> FoldRows:
    """The rows of a recipe's fold, changed as the recipe asks: noisy labels first, then what is added, then how paths are written.

    Raises UnfitError where training or validation rows have one label only, LeakError where a validation query trains.
    """
    train, validation = split_rows(recipe, data, fold)
    title, count = f"{recipe.name} {data.task} fold {fold}", len(train)
    check_apart(train, validation, title, recipe.scheme, pd.Series(True, index=train.index), data.keeps_english)
    if recipe.noisy_labels != "keep":
        everything, _ = split_rows(recipe.with_(rows=0), data, fold)
        suspects = find_noise(everything) if data.suspects is None else data.suspects
        train = remedy(train, train["id"].isin(suspects).to_numpy(), recipe.noisy_labels)
    for name, table in (("training", train), ("validation", validation)):
        if table["label"].nunique() < 2:
            raise UnfitError(f"{title}: {len(table)} {name} rows of one label only; use more rows or fewer folds")
    other, own = other_rows(recipe, data, validation) if recipe.joint else None, train["id"]
    train = augment(train, validation, recipe, Sources(data.task, data.expanded, other, data.tree))
    check_apart(train, validation, title, recipe.scheme, train["id"].isin(own), data.keeps_english)
    withheld = data.splits.get(RELATED, validation.head(0))
    train = train[train["id"].isin(own) | ~train["query"].isin(withheld["query"])]  # what was added may be such a query
    check_apart(train, withheld, f"{title}, withheld rows", recipe.scheme, english=False)
    train, auxiliary = mark_levels(train, data.task, recipe, data.tree), None
    if recipe.auxiliary_rows:
        auxiliary = auxiliary_rows(recipe, data, validation)
        for rows, english in ((validation, True), (withheld, False)):
            check_apart(auxiliary, rows, f"{title}, stage 1", recipe.scheme, english=english)
        auxiliary = mark_levels(auxiliary, AUXILIARY[data.task], recipe, data.tree)
    return FoldRows(train, auxiliary, mark_levels(validation, data.task, recipe, data.tree), count)


def find_noise(train: pd.DataFrame, cache: Path = SUSPECTS) -> frozenset[int]:
    """The ids of the training rows whose label their own out-of-fold answers contradict (`baselines.cross_fit`).

    Nothing else is read: no validation row has a say. None where the rows are too few for that. Kept in the folder `cache`, under
    the hash of the rows.
    """
    columns = ["id", "query", "query_en", "target", "label", "query_group"]
    path = cache / f"{table_hash(train[columns])}-{TEXT_VERSION}-{baselines.VERSION}-{label_noise.VERSION}.parquet"
    if not path.exists():
        probability = baselines.cross_fit(train, seed=0)
        suspect = (
            np.zeros(len(train), dtype=bool) if probability is None else find_suspects(train["label"], probability)
        )
        write_table(train.loc[suspect, ["id"]], path)
    return frozenset(read_table(path, ("id",))["id"])
