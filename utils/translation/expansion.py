"""Language expansion: training queries in languages that have no training rows, from their English, for more languages to be seen.

After the third team of the competition (arXiv 2510.21671), whose largest single gain it was.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from utils.core.paths import Run
from utils.core.schema import ordered
from utils.data.clean import Tables
from utils.data.tables import write_table
from utils.translation.backends import Backend
from utils.translation.cache import answer
from utils.translation.quality import is_runaway

COLUMNS = ["id", "source", "language", "query", "query_en", "target", "label"]


def expand(
    train: pd.DataFrame, languages: Sequence[str], open_into: Callable[[str], Backend], path: Path, bar: bool = True
) -> pd.DataFrame:
    """Every training row's query in those of the languages that are not its own: `COLUMNS`, ids below zero; `source` is the row's id.

    `train` holds clean rows; `open_into` opens a translator from English into a language; `path` is the translation cache. A query
    that comes back as it went in, empty or ran away is left out: no word of it is known there.
    """
    rows = train.loc[train["query_en"] != "", ["id", "language", "query_en", "target", "label"]]
    english = rows["query_en"].drop_duplicates().tolist()
    parts = [rows.head(0).assign(query="")]
    for code in languages:
        answers, _ = answer([("en", text) for text in english], open_into(code), path, bar)
        made = {text: query for (_, text), query in answers.items() if _is_other(text, query)}
        own = rows[(rows["language"] != code) & rows["query_en"].isin(made)]
        parts.append(own.assign(language=code, query=own["query_en"].map(made)))
    table = pd.concat(parts, ignore_index=True).rename(columns={"id": "source"})
    return table.assign(id=-1 - table.index)[COLUMNS]


def _is_other(text: str, query: str) -> bool:
    """Whether a translation says anything in another way."""
    return bool(query) and query != text.lower() and not is_runaway(text, query)


def languages_of(tables: Iterable[pd.DataFrame]) -> list[str]:
    """The languages of a task's tables without English, in the fixed order."""
    return [code for code in ordered([code for table in tables for code in table["language"].unique()]) if code != "en"]


def save(tables: Tables, open_into: Callable[[str], Backend], path: Path, run: Run) -> None:
    """`expand` the training rows of every task, and write them to the run's folder of clean tables."""
    for task in {task: None for _, task in tables}:
        languages = languages_of(table for (_, other), table in tables.items() if other == task)
        write_table(expand(tables["train", task], languages, open_into, path), run.expanded_table(task))


def count(table: pd.DataFrame) -> pd.DataFrame:
    """Rows and distinct queries that each language was given."""
    return table.groupby("language", sort=False)["query"].agg(rows="size", queries="nunique")
