"""Queries -> English, once per distinct query, through a persistent cache in SQLite."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from utils.core.schema import LANGUAGES
from utils.data.clean import Tables
from utils.translation.backends import Backend


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    cache = sqlite3.connect(path, timeout=60)
    cache.execute(
        "create table if not exists translations (backend text, version text, language text, text text, english text,"
        " primary key (backend, version, language, text)) without rowid"
    )
    return cache


def _cache_hits(
    cache: sqlite3.Connection, backend: Backend, pairs: list[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """(language, query) -> English, for the pairs that the backend has translated before."""
    query = "select english from translations where backend=? and version=? and language=? and text=?"
    hits = {}
    for language, text in pairs:
        row = cache.execute(query, (backend.name, backend.version, language, text)).fetchone()
        if row is not None:
            hits[language, text] = row[0]
    return hits


def _batches(items: list[tuple[str, str]], size: int) -> Iterator[list[tuple[str, str]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def translate(
    table: pd.DataFrame, backend: Backend, cache_path: Path, bar: bool = True
) -> tuple[pd.Series, dict[str, int]]:
    """Translate every row's `query`, once per distinct (language, query), and cache the results batch by batch.

    English and empty queries are copied. A repeated call continues after the last finished batch. Returns the English
    texts on the table's index and counts of distinct queries: all, copied, cache hits, newly translated.
    """
    pairs = list(dict.fromkeys(zip(table["language"], table["query"], strict=True)))
    english = {pair: pair[1] for pair in pairs if pair[0] == "en" or not pair[1]}
    foreign = [pair for pair in pairs if pair not in english]
    cache = _open(cache_path)
    try:
        hits = _cache_hits(cache, backend, foreign)
        misses = [pair for pair in foreign if pair not in hits]
        english |= hits
        with tqdm(
            total=len(misses), desc=f"translate ({backend.name})", unit="query", disable=not (bar and misses)
        ) as progress:
            for batch in _batches(misses, backend.batch):
                outputs = backend.translate([text for _, text in batch], [language for language, _ in batch])
                rows = [(backend.name, backend.version, *pair, text) for pair, text in zip(batch, outputs, strict=True)]
                with cache:
                    cache.executemany("insert or replace into translations values (?,?,?,?,?)", rows)
                english |= dict(zip(batch, outputs, strict=True))
                progress.update(len(batch))
    finally:
        cache.close()
    texts = [english[pair] for pair in zip(table["language"], table["query"], strict=True)]
    counts = {
        "distinct": len(pairs),
        "copied": len(pairs) - len(foreign),
        "cache_hits": len(hits),
        "translated": len(misses),
    }
    return pd.Series(texts, index=table.index, dtype=object), counts


def is_untranslated(query: pd.Series, english: pd.Series) -> pd.Series:
    """Per row, whether the translation is empty or equal to the query but for spaces.

    A query of digits and short Latin codes alone (`rtx 3060`) needs no translation and counts as translated.
    """
    same = query.str.replace(" ", "") == english.str.replace(" ", "")
    plain = ~query.str.contains(r"[^\W\d_]{4,}", regex=True) & query.str.isascii()
    return ((same & ~plain) | (english == "")) & (query != "")


def find_untranslated(table: pd.DataFrame) -> pd.DataFrame:
    """Distinct non-English queries whose translation is `is_untranslated`: `language, query, query_en`."""
    rows = table.loc[table["language"] != "en", ["language", "query", "query_en"]].drop_duplicates()
    return rows[is_untranslated(rows["query"], rows["query_en"])].reset_index(drop=True)


def retranslate(
    table: pd.DataFrame, english: pd.Series, second: Backend | None, cache_path: Path, bar: bool = True
) -> tuple[pd.Series, dict[str, int]]:
    """Translate with a second backend the foreign queries that the first did not translate.

    Without a second backend nothing changes. Returns the texts on the table's index, with the second translation where
    it is not `is_untranslated`, and counts of distinct queries: sent to the second backend, and translated by it.
    """
    retry = (table["language"] != "en") & is_untranslated(table["query"], english)
    if second is None or not retry.any():
        return english, {"retried": 0, "retranslated": 0}
    outputs, _ = translate(table[retry], second, cache_path, bar)
    success = ~is_untranslated(table.loc[retry, "query"], outputs)
    pairs = table.loc[retry, ["language", "query"]]
    counts = {"retried": len(pairs.drop_duplicates()), "retranslated": len(pairs[success].drop_duplicates())}
    return english.where(
        ~retry, outputs.reindex(english.index).where(success.reindex(english.index, fill_value=False), english)
    ), counts


def translate_tables(
    tables: Tables, first: Backend, second: Backend | None, path: Path, bar: bool = True
) -> tuple[Tables, pd.DataFrame]:
    """Every table with `query_en`, and the counts of `translate` and `retranslate`, one row per file (`train_QC`, ...)."""
    results, counts = {}, {}
    for (split, task), table in tables.items():
        english, first_counts = translate(table, first, path, bar)
        english, second_counts = retranslate(table, english, second, path, bar)
        results[split, task] = table.assign(query_en=english)
        remainder = {"untranslated": len(find_untranslated(results[split, task]))}
        counts[f"{split}_{task}"] = first_counts | second_counts | remainder
    return results, pd.DataFrame(counts).T


def untranslated_shares(everything: pd.DataFrame) -> pd.Series:
    """Language name -> % of its distinct queries that are untranslated, in the order of `LANGUAGES`."""
    foreign = distinct_foreign(everything)["language"].value_counts()
    share = find_untranslated(everything)["language"].value_counts() / foreign * 100
    return share.reindex([code for code in LANGUAGES if code in share.index]).fillna(0).rename(index=LANGUAGES)


def distinct_foreign(everything: pd.DataFrame) -> pd.DataFrame:
    """The first row of each distinct (language, query) that is not English."""
    return everything[everything["language"] != "en"].drop_duplicates(["language", "query"])
