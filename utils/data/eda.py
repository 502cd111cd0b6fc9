"""Raw tables -> the small tables that notebook 01 shows and plots."""

import pandas as pd

from utils.core.schema import SPLITS
from utils.data.clean import clean_table, language_mismatches
from utils.data.raw import Raw
from utils.data.taxonomy import Taxonomy
from utils.data.text import map_distinct, normalise_query, tidy


def describe(raw: Raw) -> pd.DataFrame:
    """One row per file: rows, distinct queries, languages, empty texts, duplicate pairs, share of positives."""
    rows = []
    for (split, task), table in raw.tables.items():
        query = pd.Series(map_distinct(normalise_query, table["origin_query"]), index=table.index, dtype=object)
        target = pd.Series(map_distinct(tidy, table["target"]), index=table.index, dtype=object)
        rows.append(
            {
                "task": task,
                "split": split,
                "rows": len(table),
                "queries": query.nunique(),
                "rows per query": round(len(table) / query.nunique(), 2),
                "languages": table["language"].nunique(),
                "empty queries": int((query == "").sum()),
                "empty targets": int((target == "").sum()),
                "duplicate pairs": int(pd.DataFrame({"query": query, "target": target}).duplicated().sum()),
                "positive": round(float(table["label"].mean()), 4) if "label" in table else None,
            }
        )
    return pd.DataFrame(rows)


def language_counts(raw: Raw, task: str) -> pd.DataFrame:
    """Number of rows by language and split: `language, split, rows`."""
    parts = [raw.tables[split, task].assign(split=split) for split in SPLITS if (split, task) in raw.tables]
    return pd.concat(parts).groupby(["language", "split"]).size().rename("rows").reset_index()


def unseen_languages(raw: Raw, task: str) -> list[str]:
    """Languages of the test file that are not in the training file."""
    return sorted(set(raw.tables["test", task]["language"]) - set(raw.tables["train", task]["language"]))


def query_sizes(table: pd.DataFrame) -> pd.Series:
    """Number of rows of each distinct (language, query)."""
    return table.groupby(["language", "origin_query"]).size()


def describe_taxonomy(tree: Taxonomy, paths: pd.Series) -> pd.DataFrame:
    """One row per distinct category path: `path, depth, parts` (naive split at every comma), `siblings` (count)."""
    distinct = paths.dropna().drop_duplicates()
    rows = [(path, len(tree.levels(path)), path.count(",") + 1, tree.sibling_count(path)) for path in distinct]
    return pd.DataFrame(rows, columns=["path", "depth", "parts", "siblings"])


def odd_queries(table: pd.DataFrame) -> pd.DataFrame:
    """Queries with backslashes, wide or zero-width spaces, or leading or double spaces."""
    queries = table["origin_query"].dropna()
    return queries[queries.str.contains(r"[\\\u3000\u200b]|^\s|  ", regex=True)].to_frame()


def lengths(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Lengths in characters of each query and of each target."""
    return {"query": table["origin_query"].str.len(), "target": table["target"].str.len()}


def mean_rows_per_query(table: pd.DataFrame) -> float:
    """Mean number of rows of a distinct query; null counts as one."""
    return len(table) / table["origin_query"].nunique(dropna=False)


def all_paths(raw: Raw) -> pd.Series:
    """The category texts of all splits, concatenated."""
    return pd.concat([raw.tables[split, "QC"]["target"] for split in raw.splits("QC")])


def wrong_tags(table: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """`language_mismatches` of at most `rows` training rows, sampled with a seed."""
    table, _ = clean_table(table, train=True)
    return language_mismatches(table.sample(min(len(table), rows), random_state=seed))


def count_depths(shape: pd.DataFrame) -> pd.Series:
    """Number of distinct paths of each depth, from `describe_taxonomy`."""
    return shape["depth"].value_counts().sort_index().rename(index="depth {}".format)


def explain(raw: Raw, task: str) -> str:
    """What a task's data implies for notebooks 02 and 03, in two sentences."""
    unseen, count = unseen_languages(raw, task), mean_rows_per_query(raw.tables["test", task])
    return (
        f"{len(unseen)} test languages have no training rows ({', '.join(unseen) or 'none'}); a query has {count:.1f} rows. "
        "So queries are translated to English (02), and no query is in both training and validation rows of a fold (03)."
    )
