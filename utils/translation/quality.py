"""Which queries are translated, from which language, and which answers are accepted as translations."""

import re
from collections import Counter

import pandas as pd

from utils.data.clean import is_foreign_script

# Letters of which one is a word or a syllable: Han, kana, Hangul.
_DENSE = re.compile(
    "[\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff]"
)
# The language that a script tells, in this order: kana before Han, which Japanese has too. Russian is in the files, tagged `en`.
_SCRIPTS = {
    "ja": re.compile("[\u3041-\u3096\u30a1-\u30fa]"),
    "ko": re.compile("[\uac00-\ud7a3]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
    "ar": re.compile("[\u0600-\u06ff]"),
    "ru": re.compile("[\u0400-\u04ff]"),
    "han": _DENSE,
}
_LETTERS = re.compile(r"[^\W\d_]")
_LOOP = re.compile(r"(?<!\w)(\w.{0,40}?)(?:\W+\1(?!\w)){3,}")  # the same words four times in a row
_OWN_LOOP = re.compile(r"(.+?)(?:\s*\1){3,}")
READ = 2000  # characters of a query that are searched for a loop, which takes their number squared
MARGIN, SHARE, DENSE_SHARE = (
    40,
    3,
    9,
)  # characters of a translation: always; for each of the query's; more for each dense one
MANY_WORDS, FEW_DISTINCT = 10, 3  # of so many words, more than one in three must be new


def is_foreign(language: pd.Series, query: pd.Series) -> pd.Series:
    """Per row, whether the query is to be translated: it has text, and another tag than English or another script than Latin."""
    english = language == "en"
    other_script = {text for text in query[english].unique() if is_foreign_script(text)}
    return (query != "") & (~english | query.isin(other_script))


def source_language(language: str, query: str) -> str:
    """The language to translate from: the tag's, but the script's for a query that is tagged as English and written otherwise."""
    if language != "en":
        return language
    script = next((code for code, letters in _SCRIPTS.items() if letters.search(query)), language)
    return (
        "ja" if script == "han" else script
    )  # of the competition's languages, the one that may be written in Han alone


def is_untranslated(query: pd.Series, english: pd.Series) -> pd.Series:
    """Per row, whether the translation is empty or equal to the query but for spaces.

    A query of digits and short Latin codes alone (`rtx 3060`) needs no translation and counts as translated.
    """
    same = query.str.replace(" ", "") == english.str.replace(" ", "")
    plain = ~query.str.contains(r"[^\W\d_]{4,}", regex=True) & query.str.isascii()
    return ((same & ~plain) | (english == "")) & (query != "")


def is_runaway(query: str, english: str) -> bool:
    """Whether a translator wrote on and on: far more than the query can mean, or the same words again and again.

    What the query itself repeats may be repeated; its copy is never a runaway.
    """
    if query == english:
        return False
    if len(english) > MARGIN + SHARE * len(query) + DENSE_SHARE * len(_DENSE.findall(query)):
        return True
    words = english.split()
    often = max(Counter(words).values(), default=0)
    if often < 4:
        return False
    loops = any(_LETTERS.search(loop[1]) for loop in _LOOP.finditer(english))
    few = len(words) >= MANY_WORDS and len(set(words)) * FEW_DISTINCT <= len(words)
    return (loops or few) and not _OWN_LOOP.search(query, 0, READ)
