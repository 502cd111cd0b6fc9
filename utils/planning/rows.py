"""Rows of a scheme's folds before notebooks 02 and 03 have run, as far as clean rows without translations tell."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from utils.data import folds, taxonomy
from utils.data.tables import sample_queries
from utils.planning.sampling import Texts
from utils.profiles.base import Profile


@dataclass(frozen=True)
class FoldRows:
    """Training rows of one fold, their distinct queries, and its validation rows.

    `estimate`: the scheme keeps like queries apart, and translations will show that more of them are alike.
    """

    train: int
    queries: int
    validation: int
    estimate: bool = False

    def cap(self, rows: int) -> "FoldRows":
        """The same with at most `rows` training rows (0 = all)."""
        if not rows or self.train <= rows:
            return self
        return FoldRows(rows, round(self.queries * rows / self.train), self.validation)


@dataclass(frozen=True)
class TaskRows:
    """The rows of one task that a profile splits into folds."""

    texts: Texts
    task: str
    profile: Profile

    @cached_property
    def table(self) -> pd.DataFrame:
        """The rows, each query a group of its own: what makes like queries one group, their English, is not there yet."""
        table = sample_queries(self.texts.train, self.profile.rows, self.profile.seed)
        return table.assign(query_group=table["query"], category_group="")

    @cached_property
    def by_category(self) -> pd.DataFrame:
        """The same rows with their category groups and the folds of these, which are those of notebook 03."""
        tables = [self.texts.train, *self.texts.splits.values()]
        tree = taxonomy.parse(pd.concat([table["target"] for table in tables])) if self.task == "QC" else None
        table = self.table.assign(category_group=folds.by_target(self.table, tree, self.profile.group_depth))
        categories = folds.make_category_folds(table, self.profile.fold_count, self.profile.seed)
        return table.merge(categories, on="category_group", how="left") if len(categories) else table

    def languages(self, count: int) -> tuple[int, ...]:
        """The folds of `leave-language` for so many held-out languages."""
        return folds.held_out_folds(self.table, count)

    def count(self, scheme: str, fold: int, validation_rows: int) -> FoldRows | None:
        """Rows of a fold of a scheme, at most `validation_rows` (0 = all) to validate on; None where there is no such fold."""
        table = self.by_category if scheme in ("report", "strict") else self.table
        if scheme == "query" or (scheme != "leave-language" and not table["category_group"].any()):
            return self._count_by_query(validation_rows)
        if fold not in folds.fold_numbers(table, scheme):
            return None
        train, validation = folds.split(table, scheme, fold, validation_rows, self.profile.seed)
        return FoldRows(len(train), train["query"].nunique(), len(validation), estimate=scheme != "report")

    def _count_by_query(self, validation_rows: int) -> FoldRows:
        """Rows of a fold by query groups, one of `fold_count` like ones."""
        total, count = len(self.table), self.profile.fold_count
        validation = total // count
        queries = round(self.table["query"].nunique() * (count - 1) / count)
        return FoldRows(total * (count - 1) // count, queries, min(validation, validation_rows or validation))
