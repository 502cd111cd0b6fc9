"""Raw tables -> clean tables, with every repair and every dropped row counted."""

from functools import cache

import numpy as np
import pandas as pd

from utils.schema import CLEAN_COLUMNS, LANGUAGES
from utils.text import normalise_query, tidy

ISO = {"vn": "vi"}  # the competition's code -> ISO 639-1, where they differ


def clean_table(raw: pd.DataFrame, train: bool) -> tuple[pd.DataFrame, dict[str, int]]:
    """Clean the queries of one split beside the raw text; the target stays as it is.

    Rows whose query is empty once cleaned are dropped from train only: every dev and test row is answered.
    Returns the table (`query_en` still to come) and the counts of the report.
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


@cache
def _detector():
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    codes = [getattr(IsoCode639_1, ISO.get(code, code).upper()) for code in LANGUAGES]
    # Russian is no language of the competition, but its files hold some (tagged `en`).
    builder = LanguageDetectorBuilder.from_iso_codes_639_1(*codes, IsoCode639_1.RU)
    return builder.with_low_accuracy_mode().with_preloaded_language_models().build()


def identify_languages(texts: list[str]) -> list[str]:
    """The likeliest language code of each text by lingua, offline; "" where it cannot tell."""
    back = {iso: code for code, iso in ISO.items()}
    found = _detector().detect_languages_in_parallel_of(texts)
    codes = ["" if language is None else language.iso_code_639_1.name.lower() for language in found]
    return [back.get(code, code) for code in codes]


_SCRIPTS = {
    "ja": "[\u3040-\u30ff\u4e00-\u9fff]",
    "ko": "[\uac00-\ud7af]",
    "th": "[\u0e00-\u0e7f]",
    "ar": "[\u0600-\u06ff]",
}


def language_mismatches(table: pd.DataFrame) -> pd.DataFrame:
    """Distinct queries whose text speaks against their tag: `language, query, found, certain`.

    `certain` says that the script alone proves it (Hangul under `fr`); the rest is the identifier's opinion, and on
    queries of one or two words it is often wrong. A Latin-only query under a non-Latin tag is ordinary code-mixing, so
    it is left out.
    """
    distinct = table.loc[table["query"] != "", ["language", "query"]].drop_duplicates(ignore_index=True)
    distinct = distinct.assign(found=identify_languages(distinct["query"].tolist()))
    certain = np.zeros(len(distinct), dtype=bool)
    for code, letters in _SCRIPTS.items():
        certain |= distinct["query"].str.contains(letters, regex=True) & (distinct["language"] != code)
    certain |= distinct["query"].str.contains("[\u0400-\u04ff]", regex=True)
    own_script = distinct["language"].isin(list(_SCRIPTS))
    differs = (distinct["found"] != distinct["language"]) & (distinct["found"] != "") & ~own_script
    return distinct.assign(certain=certain)[certain | differs].reset_index(drop=True)
