"""Queries -> English, once per distinct query, through a persistent cache in SQLite."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from utils.core.schema import LANGUAGES
from utils.data.clean import Tables
from utils.translation.backends import GLOSSARY, Backend, copy_backend, open_backend
from utils.translation.quality import is_foreign, is_runaway, is_untranslated, source_language
from utils.translation.store import Pair, open_store

COUNTS = ("distinct", "copied", "cache_hits", "translated", "empty_translations", "runaway")
Open = Callable[[], Backend]  # opens a backend where it is needed: its weights may be large, or elsewhere
OpenSecond = Callable[[], Backend | None]


def _batches(items: list[Pair], size: int) -> Iterator[list[Pair]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _distinct(table: pd.DataFrame) -> list[Pair]:
    """The table's distinct (language, query), in order."""
    return list(dict.fromkeys(zip(table["language"], table["query"], strict=True)))


def check(translators: Iterable[str], path: Path) -> None:
    """See, before anything long begins, that the cache can be used and, where it is among the translators, the word list.

    Raises DataError naming file, line and what to do.
    """
    if GLOSSARY in translators:
        open_backend(GLOSSARY)
    with open_store(path):
        pass


def translate(
    table: pd.DataFrame, backend: Backend, cache_path: Path, bar: bool = True
) -> tuple[pd.Series, dict[str, int]]:
    """Translate every row's `query`, once per distinct (language, query), and cache the results batch by batch.

    English and empty queries are copied; a query tagged as English in another script is translated from that script's language.
    A repeated call continues after the last finished batch. Returns the English texts on the table's index, empty where the answer
    ran away, and counts of distinct queries: all, copied, cache hits, newly translated, and of the answers those that are empty
    and those that ran away. Raises DataError for a cache that cannot be used.
    """
    foreign = _distinct(table[is_foreign(table["language"], table["query"])])
    answers, hits = answer(foreign, backend, cache_path, bar) if foreign else ({}, 0)
    runaway = [pair for pair, text in answers.items() if is_runaway(pair[1], text)]
    english = answers | dict.fromkeys(runaway, "")
    pairs = _distinct(table)
    texts = [english.get(pair, pair[1]) for pair in zip(table["language"], table["query"], strict=True)]
    empty = sum(not text for text in answers.values())
    numbers = (len(pairs), len(pairs) - len(foreign), hits, len(foreign) - hits, empty, len(runaway))
    return pd.Series(texts, index=table.index, dtype=object), dict(zip(COUNTS, numbers, strict=True))


def answer(pairs: list[Pair], backend: Backend, path: Path, bar: bool) -> tuple[dict[Pair, str], int]:
    """The backend's answers to pairs, from the cache or made now, and how many the cache had."""
    with open_store(path) as store:
        hits = store.read(backend.name, backend.version, pairs)
        misses = [pair for pair in pairs if pair not in hits]
        title, hidden = f"translate ({backend.name})", not (bar and misses)
        answers = dict(hits)
        with tqdm(total=len(misses), desc=title, unit="query", disable=hidden) as progress:
            for batch in _batches(misses, backend.batch):
                sources = [source_language(*pair) for pair in batch]
                made = dict(zip(batch, backend.translate([text for _, text in batch], sources), strict=True))
                store.write(backend.name, backend.version, made)
                answers |= made
                progress.update(len(batch))
    return answers, len(hits)


def find_untranslated(table: pd.DataFrame) -> pd.DataFrame:
    """Distinct foreign queries whose translation is `is_untranslated`: `language, query, query_en`."""
    rows = table.loc[is_foreign(table["language"], table["query"]), ["language", "query", "query_en"]].drop_duplicates()
    return rows[is_untranslated(rows["query"], rows["query_en"])].reset_index(drop=True)


def retranslate(
    table: pd.DataFrame, english: pd.Series, second: Backend | None, cache_path: Path, bar: bool = True
) -> tuple[pd.Series, dict[str, int]]:
    """Translate with a second backend the foreign queries that the first did not translate.

    Without a second backend nothing changes. Returns the texts on the table's index, with the second translation where
    it is not `is_untranslated`, and counts of distinct queries: sent to the second backend, and translated by it; of its answers,
    those that are empty or ran away.
    """
    retry = is_foreign(table["language"], table["query"]) & is_untranslated(table["query"], english)
    if second is None or not retry.any():
        return english, {"retried": 0, "retranslated": 0, "empty_translations": 0, "runaway": 0}
    outputs, counts = translate(table[retry], second, cache_path, bar)
    success = ~is_untranslated(table.loc[retry, "query"], outputs)
    pairs = table.loc[retry, ["language", "query"]]
    retried, retranslated = (len(rows.drop_duplicates()) for rows in (pairs, pairs[success]))
    return english.where(
        ~retry, outputs.reindex(english.index).where(success.reindex(english.index, fill_value=False), english)
    ), {
        "retried": retried,
        "retranslated": retranslated,
        "empty_translations": counts["empty_translations"],
        "runaway": counts["runaway"],
    }


def translate_rows(
    table: pd.DataFrame, open_first: Open, open_second: OpenSecond, path: Path, bar: bool = True
) -> tuple[pd.Series, dict[str, int]]:
    """Every row's query in English, by the first backend or else the second, and the counts of both.

    A backend is opened only for a table that has queries for it: English rows need no translator. Where both give nothing that is
    accepted, the query stays as it is and counts as untranslated. Every step that translates calls this, so that a row gets the
    same English wherever it comes up.
    """
    foreign = is_foreign(table["language"], table["query"])
    first = open_first() if foreign.any() else copy_backend()
    english, counts = translate(table, first, path, bar)
    missing = foreign & is_untranslated(table["query"], english)
    english, more = retranslate(table, english, open_second() if missing.any() else None, path, bar)
    counts |= {name: count + counts.get(name, 0) for name, count in more.items()}
    counts["untranslated"] = len(_distinct(table[foreign & is_untranslated(table["query"], english)]))
    return english.where(english != "", table["query"]), counts


def translate_tables(
    tables: Tables, first: Backend, second: Backend | None, path: Path, bar: bool = True
) -> tuple[Tables, pd.DataFrame]:
    """Every table with `query_en`, and the counts of `translate_rows`, one row per file (`train_QC`, ...)."""
    results, counts = {}, {}
    for (split, task), table in tables.items():
        english, counts[f"{split}_{task}"] = translate_rows(table, lambda: first, lambda: second, path, bar)
        results[split, task] = table.assign(query_en=english)
    return results, pd.DataFrame(counts).T


def untranslated_shares(everything: pd.DataFrame) -> pd.Series:
    """Language name -> % of its distinct queries that are untranslated, in the order of `LANGUAGES`; English is left out."""
    foreign = distinct_foreign(everything)["language"].value_counts()
    share = find_untranslated(everything)["language"].value_counts() / foreign * 100
    codes = [code for code in LANGUAGES if code in foreign.index and code != "en"]
    return share.reindex(codes).fillna(0).rename(index=LANGUAGES)


def distinct_foreign(everything: pd.DataFrame) -> pd.DataFrame:
    """The first row of each distinct (language, query) that is to be translated."""
    rows = everything[is_foreign(everything["language"], everything["query"])]
    return rows.drop_duplicates(["language", "query"])
