"""Raw tables -> clean tables, with counts of every repair and every dropped row."""

import re
from functools import cache

import numpy as np
import pandas as pd

from utils.core.paths import Run
from utils.core.schema import CLEAN_COLUMNS, LANGUAGES
from utils.data.tables import write_table
from utils.data.text import map_distinct, normalise_query, tidy

Tables = dict[tuple[str, str], pd.DataFrame]  # (split, task) -> rows
ISO = {"vn": "vi"}  # the competition's code -> ISO 639-1, where they differ


def clean_table(raw: pd.DataFrame, train: bool) -> tuple[pd.DataFrame, dict[str, int]]:
    """Add the clean `query` to the rows of one split; query and target of the raw table are not changed.

    Rows whose clean query is empty are dropped from train only: every dev and test row needs a prediction.
    Returns the table (`CLEAN_COLUMNS` without `query_en`; `label` if the raw table has it) and row counts. The cleaning
    follows the winning report (arXiv 2510.25428, section 3.1).
    """
    table = raw.assign(query=map_distinct(normalise_query, raw["origin_query"]))
    empty = table["query"] == ""
    pair = ["query", "target"]
    counts = {
        "read": len(raw),
        "null": int(raw["origin_query"].isna().sum()),
        "empty": int(empty.sum()),
        "null_target": int(raw["target"].isna().sum()),
        "empty_target": map_distinct(tidy, raw["target"]).count(""),
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


# Letters of the scripts that prove a language; digits, currency signs, dots between names and other marks prove nothing.
_SCRIPTS = {
    "kana": re.compile("[\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fd-\u30ff\u31f0-\u31ff]"),
    "han": re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"),
    "hangul": re.compile("[\u1100-\u11ff\u3131-\u318e\ua960-\ua97f\uac00-\ud7ff]"),
    "thai": re.compile("[\u0e01-\u0e3a\u0e40-\u0e4e]"),
    "arabic": re.compile("[\u0620-\u064a\u066e-\u06d3\u06ee\u06ef\u06fa-\u06fc\u0750-\u077f]"),
    "cyrillic": re.compile("[\u0400-\u0481\u048a-\u052f]"),
}
_OWN_SCRIPTS = {"ja": ("kana", "han"), "ko": ("hangul", "han"), "th": ("thai",), "ar": ("arabic",)}
_LETTER = re.compile(r"[^\W\d_]")
_FOREIGN_LETTER = re.compile("[^\\W\\d_\u0000-\u02ff\u1d00-\u1dbf\u1e00-\u1eff\u2c60-\u2c7f\ua720-\ua7ff\uff21-\uff5a]")


def is_foreign_script(text: str) -> bool:
    """Whether a text has words in another script than Latin, so that it is no English, whatever its language tag says.

    One foreign letter among others is a unit, a symbol or a look-alike (`10 μm`), and no word.
    """
    if text.isascii():
        return False
    foreign = len(_FOREIGN_LETTER.findall(text))
    return foreign > 1 or (foreign == 1 and len(_LETTER.findall(text)) == 1)


def _contradicts(text: str, language: str) -> bool:
    """Whether the script alone proves that a text is not in a language: enough letters that its writers do not use.

    Chinese characters go with the kana or the Hangul beside them; alone they may be Japanese or Korean.
    """
    if text.isascii():
        return False
    counts = {script: len(letters.findall(text)) for script, letters in _SCRIPTS.items()}
    if bool(counts["kana"]) != bool(counts["hangul"]):
        counts["kana" if counts["kana"] else "hangul"] += counts.pop("han")
    own = sum(counts.get(script, 0) for script in _OWN_SCRIPTS.get(language, ()))
    others = sum(counts.values()) - own
    return others > own and (others > 1 or len(_LETTER.findall(text)) == 1)


def language_mismatches(table: pd.DataFrame) -> pd.DataFrame:
    """Distinct queries whose text contradicts their language tag: `language, query, identified, certain`.

    `identified` is the language that the text looks like. `certain` is true where the script alone proves the mismatch (Hangul under `fr`);
    the other rows are the identifier's estimate, which is often wrong for queries of one or two words. A Latin-only query
    under a non-Latin tag is ordinary code-mixing and is left out.
    """
    distinct = table.loc[table["query"] != "", ["language", "query"]].drop_duplicates(ignore_index=True)
    distinct = distinct.assign(identified=identify_languages(distinct["query"].tolist()))
    pairs = zip(distinct["query"], distinct["language"], strict=True)
    distinct["certain"] = np.fromiter((_contradicts(*pair) for pair in pairs), dtype=bool, count=len(distinct))
    own_script = distinct["language"].isin(list(_OWN_SCRIPTS))
    differs = (distinct["identified"] != distinct["language"]) & (distinct["identified"] != "") & ~own_script
    return distinct[distinct["certain"] | differs].reset_index(drop=True)


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
