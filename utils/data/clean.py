"""Raw tables -> clean tables, with counts of every repair and every dropped row."""

from functools import cache

import numpy as np
import pandas as pd

from utils.core.paths import Run
from utils.core.schema import CLEAN_COLUMNS, LANGUAGES
from utils.data.tables import write_table
from utils.data.text import normalise_query, tidy

Tables = dict[tuple[str, str], pd.DataFrame]  # (split, task) -> rows
ISO = {"vn": "vi"}  # the competition's code -> ISO 639-1, where they differ


def clean_table(raw: pd.DataFrame, train: bool) -> tuple[pd.DataFrame, dict[str, int]]:
    """Add the clean `query` to the rows of one split; query and target of the raw table are not changed.

    Rows whose clean query is empty are dropped from train only: every dev and test row needs a prediction.
    Returns the table (`CLEAN_COLUMNS` without `query_en`; `label` if the raw table has it) and row counts. The cleaning
    follows the winning report (arXiv 2510.25428, section 3.1).
    """
    table = raw.assign(query=[normalise_query(query) for query in raw["origin_query"]])
    empty = table["query"] == ""
    pair = ["query", "target"]
    counts = {
        "read": len(raw),
        "null": int(raw["origin_query"].isna().sum()),
        "empty": int(empty.sum()),
        "null_target": int(raw["target"].isna().sum()),
        "empty_target": int(sum(tidy(target) == "" for target in raw["target"])),
        "changed_query": int((table["query"] != raw["origin_query"].fillna("")).sum()),
        "duplicate": int(table.duplicated(pair).sum()),
        "dropped": int(empty.sum()) if train else 0,
    }
    if train:
        table = table[~empty].reset_index(drop=True)
        labels = table.groupby(pair, dropna=False)["label"].transform("nunique")
        counts["contradicting_label"] = int((labels > 1).sum())
    columns = [c for c in CLEAN_COLUMNS if c in table]
    return table[columns], counts


def clean_tables(tables: Tables) -> tuple[Tables, pd.DataFrame]:
    """Clean every split of every task; returns the tables and the counts of `clean_table`, one row per file (`train_QC`, ...)."""
    clean, counts = {}, {}
    for (split, task), raw in tables.items():
        clean[split, task], counts[f"{split}_{task}"] = clean_table(raw, train=split == "train")
    return clean, pd.DataFrame(counts).T.fillna(0).astype(int)


def changed_queries(table: pd.DataFrame) -> pd.DataFrame:
    """Rows whose query changed in more than its case: `language, origin_query, query`."""
    mask = table["query"] != table["origin_query"].str.lower()
    return table.loc[mask, ["language", "origin_query", "query"]]


@cache
def _detector():
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    codes = [getattr(IsoCode639_1, ISO.get(code, code).upper()) for code in LANGUAGES]
    # Russian is not a language of the competition, but its files contain some (tagged `en`).
    builder = LanguageDetectorBuilder.from_iso_codes_639_1(*codes, IsoCode639_1.RU)
    return builder.with_low_accuracy_mode().with_preloaded_language_models().build()


def identify_languages(texts: list[str]) -> list[str]:
    """The most likely language code of each text, by lingua (offline); "" where it is undecided."""
    competition_codes = {iso: code for code, iso in ISO.items()}
    languages = _detector().detect_languages_in_parallel_of(texts)
    codes = ["" if language is None else language.iso_code_639_1.name.lower() for language in languages]
    return [competition_codes.get(code, code) for code in codes]


_SCRIPTS = {
    "ja": "[\u3040-\u30ff\u4e00-\u9fff]",
    "ko": "[\uac00-\ud7af]",
    "th": "[\u0e00-\u0e7f]",
    "ar": "[\u0600-\u06ff]",
}


def language_mismatches(table: pd.DataFrame) -> pd.DataFrame:
    """Distinct queries whose text contradicts their language tag: `language, query, identified, certain`.

    `identified` is the language that the text looks like. `certain` is true where the script alone proves the mismatch (Hangul under `fr`);
    the other rows are the identifier's estimate, which is often wrong for queries of one or two words. A Latin-only query
    under a non-Latin tag is ordinary code-mixing and is left out.
    """
    distinct = table.loc[table["query"] != "", ["language", "query"]].drop_duplicates(ignore_index=True)
    distinct = distinct.assign(identified=identify_languages(distinct["query"].tolist()))
    certain = np.zeros(len(distinct), dtype=bool)
    for code, letters in _SCRIPTS.items():
        certain |= distinct["query"].str.contains(letters, regex=True) & (distinct["language"] != code)
    certain |= distinct["query"].str.contains("[\u0400-\u04ff]", regex=True)
    own_script = distinct["language"].isin(list(_SCRIPTS))
    differs = (distinct["identified"] != distinct["language"]) & (distinct["identified"] != "") & ~own_script
    return distinct.assign(certain=certain)[certain | differs].reset_index(drop=True)


def count_mismatches(tables: Tables) -> pd.DataFrame:
    """Number of `language_mismatches`, one row per file, and how many of them are certain."""
    counts = {}
    for (split, task), table in tables.items():
        mismatches = language_mismatches(table)
        certain = int(mismatches["certain"].sum())
        counts[f"{split}_{task}"] = {"language_mismatches": len(mismatches), "language_mismatches_certain": certain}
    return pd.DataFrame(counts).T


def save_tables(tables: Tables, run: Run) -> None:
    """Write the `CLEAN_COLUMNS` of every table to the run's folder."""
    for (split, task), table in tables.items():
        columns = [name for name in CLEAN_COLUMNS if name in table]
        write_table(table[columns], run.clean_table(split, task))
