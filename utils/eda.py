"""Raw tables -> the small tables that notebook 01 shows and draws."""

import pandas as pd

from utils.data import Raw
from utils.schema import SPLITS
from utils.taxonomy import Taxonomy
from utils.text import normalise_query, tidy


def describe(raw: Raw) -> pd.DataFrame:
    """One row a file: rows, distinct queries, rows a query, nulls and empties, duplicate pairs, share of positives."""
    found = []
    for (split, task), table in raw.tables.items():
        query = table["origin_query"].map(normalise_query)
        target = table["target"].map(tidy)
        found.append(
            {
                "task": task,
                "split": split,
                "rows": len(table),
                "queries": query.nunique(),
                "rows a query": round(len(table) / query.nunique(), 2),
                "languages": table["language"].nunique(),
                "empty queries": int((query == "").sum()),
                "empty targets": int((target == "").sum()),
                "duplicate pairs": int(pd.DataFrame({"query": query, "target": target}).duplicated().sum()),
                "positive": round(float(table["label"].mean()), 4) if "label" in table else None,
            }
        )
    return pd.DataFrame(found)


def language_counts(raw: Raw, task: str) -> pd.DataFrame:
    """Rows by language and split: `language, split, rows`."""
    parts = [raw.tables[split, task].assign(split=split) for split in SPLITS if (split, task) in raw.tables]
    return pd.concat(parts).groupby(["language", "split"]).size().rename("rows").reset_index()


def unseen_languages(raw: Raw, task: str) -> list[str]:
    """Languages of the test file that the training file does not hold."""
    return sorted(set(raw.tables["test", task]["language"]) - set(raw.tables["train", task]["language"]))


def rows_a_query(table: pd.DataFrame) -> pd.Series:
    """How many rows each distinct query has."""
    return table.groupby(["language", "origin_query"]).size()


def describe_taxonomy(tree: Taxonomy, paths: pd.Series) -> pd.DataFrame:
    """One row a distinct category path: `path, depth, parts` (naive split at every comma), `siblings`."""
    distinct = paths.dropna().drop_duplicates()
    rows = [(path, len(tree.levels(path)), path.count(",") + 1, len(tree.siblings(path))) for path in distinct]
    return pd.DataFrame(rows, columns=["path", "depth", "parts", "siblings"])
