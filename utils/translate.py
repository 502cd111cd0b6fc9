"""Queries -> English, once per distinct query, through a persistent cache; backends stand behind one function."""

import csv
import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from utils.paths import SOURCES
from utils.schema import UNSPACED
from utils.text import normalise_query
from utils.weights import is_converted, resolve
from utils.zoo import ZOO


@dataclass(frozen=True)
class Backend:
    """A translator: its name, a version that changes whenever its answers may, and the function itself."""

    name: str
    version: str
    translate: Callable[[list[str], list[str]], list[str]]  # texts, languages -> English texts
    batch: int = 4096  # texts kept in the cache at once: what an interruption may cost


def copy_backend() -> Backend:
    """`none`: every query is its own translation."""
    return Backend("none", "1", lambda texts, languages: texts)


def _boundary(text: str, at: int, unspaced: bool) -> bool:
    """Whether a word may start or end at this position; anywhere in Japanese and Thai."""
    return unspaced or at in (0, len(text)) or not (text[at - 1].isalnum() and text[at].isalnum())


def _match(text: str, start: int, terms: dict[str, str], longest: int, unspaced: bool) -> int:
    """End of the longest term that starts here; `start` where there is none."""
    for end in range(min(len(text), start + longest), start, -1):
        if text[start:end] in terms and _boundary(text, end, unspaced):
            return end
    return start


def look_up(text: str, terms: dict[str, str], longest: int, unspaced: bool) -> str:
    """Replace, left to right, the longest known terms by their English; what is unknown is copied."""
    out, at, copied = [], 0, ""
    while at < len(text):
        end = _match(text, at, terms, longest, unspaced) if _boundary(text, at, unspaced) else at
        if end > at:
            out += [copied, terms[text[at:end]]]
            at, copied = end, ""
        else:
            copied, at = copied + text[at], at + 1
    return normalise_query(" ".join([*out, copied]))


def glossary_backend(path: Path) -> Backend:
    """`glossary`: longest match over a bilingual word list (`language, term, english`), with no network and no model."""
    content = path.read_bytes()
    terms: dict[str, dict[str, str]] = {}
    for row in csv.DictReader(content.decode("utf-8").splitlines()):
        terms.setdefault(row["language"], {})[normalise_query(row["term"])] = row["english"]
    longest = {language: max(map(len, known)) for language, known in terms.items()}

    def translate(texts: list[str], languages: list[str]) -> list[str]:
        pairs = zip(texts, languages, strict=True)
        return [look_up(t, terms.get(c, {}), longest.get(c, 0), c in UNSPACED) for t, c in pairs]

    return Backend("glossary", hashlib.sha256(content).hexdigest()[:12], translate)


def neural_backend(folder: Path, name: str) -> Backend:
    """A translator of the zoo from a local folder; its name is the cache's version, as CTranslate2 rounds otherwise, its kind too."""
    from utils import seq2seq  # torch is not needed for a word list

    kind = "ctranslate2" if is_converted(folder) else "transformers"
    return Backend(ZOO[name].family, f"{name}, {kind}", seq2seq.open_translator(folder, ZOO[name].family), batch=16_384)


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    cache = sqlite3.connect(path, timeout=60)
    cache.execute(
        "create table if not exists translations (backend text, version text, language text, text text, english text,"
        " primary key (backend, version, language, text)) without rowid"
    )
    return cache


def _cached(cache: sqlite3.Connection, backend: Backend, pairs: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    query = "select english from translations where backend=? and version=? and language=? and text=?"
    found = {}
    for language, text in pairs:
        row = cache.execute(query, (backend.name, backend.version, language, text)).fetchone()
        if row is not None:
            found[language, text] = row[0]
    return found


def _batches(items: list[tuple[str, str]], size: int) -> Iterator[list[tuple[str, str]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def translate(
    table: pd.DataFrame, backend: Backend, cache_path: Path, bar: bool = True
) -> tuple[pd.Series, dict[str, int]]:
    """English for every row's `query`, asked once per distinct (language, query) and kept in the cache batch by batch.

    English is copied through. An interrupted call goes on where it stopped. Returns the texts on the table's index and
    counts: distinct queries, cache hits, newly translated.
    """
    pairs = list(dict.fromkeys(zip(table["language"], table["query"], strict=True)))
    english = {pair: pair[1] for pair in pairs if pair[0] == "en" or not pair[1]}
    asked = [pair for pair in pairs if pair not in english]
    cache = _open(cache_path)
    try:
        known = _cached(cache, backend, asked)
        todo = [pair for pair in asked if pair not in known]
        english |= known
        with tqdm(
            total=len(todo), desc=f"translate ({backend.name})", unit="query", disable=not (bar and todo)
        ) as progress:
            for batch in _batches(todo, backend.batch):
                answers = backend.translate([text for _, text in batch], [language for language, _ in batch])
                rows = [(backend.name, backend.version, *pair, made) for pair, made in zip(batch, answers, strict=True)]
                with cache:
                    cache.executemany("insert or replace into translations values (?,?,?,?,?)", rows)
                english |= dict(zip(batch, answers, strict=True))
                progress.update(len(batch))
    finally:
        cache.close()
    texts = [english[pair] for pair in zip(table["language"], table["query"], strict=True)]
    counts = {
        "distinct": len(pairs),
        "copied": len(pairs) - len(asked),
        "cache_hits": len(known),
        "translated": len(todo),
    }
    return pd.Series(texts, index=table.index, dtype=object), counts


def copied_through(query: pd.Series, english: pd.Series) -> pd.Series:
    """Whether a translation came back empty or as it went in.

    A query of digits and Latin code alone (`rtx 3060`) has nothing to translate and is not counted.
    """
    same = query.str.replace(" ", "") == english.str.replace(" ", "")
    plain = ~query.str.contains(r"[^\W\d_]{4,}", regex=True) & query.str.isascii()
    return ((same & ~plain) | (english == "")) & (query != "")


def find_untranslated(table: pd.DataFrame) -> pd.DataFrame:
    """Distinct non-English queries that came back empty or as they went in: `language, query, query_en`."""
    rows = table.loc[table["language"] != "en", ["language", "query", "query_en"]].drop_duplicates()
    return rows[copied_through(rows["query"], rows["query_en"])].reset_index(drop=True)


def mend(
    table: pd.DataFrame, english: pd.Series, second: Backend | None, cache_path: Path, bar: bool = True
) -> tuple[pd.Series, dict[str, int]]:
    """Ask a second backend for the foreign queries that the first one left as they were, and take what it has translated.

    Without a second one nothing changes. Returns the texts on the table's index and counts: distinct queries asked again, and mended.
    """
    left = (table["language"] != "en") & copied_through(table["query"], english)
    if second is None or not left.any():
        return english, {"retried": 0, "mended": 0}
    again, _ = translate(table[left], second, cache_path, bar)
    better = ~copied_through(table.loc[left, "query"], again)
    pairs = table.loc[left, ["language", "query"]]
    counts = {"retried": len(pairs.drop_duplicates()), "mended": len(pairs[better].drop_duplicates())}
    return english.where(
        ~left, again.reindex(english.index).where(better.reindex(english.index, fill_value=False), english)
    ), counts


def open_backend(name: str, models: str = "", offline: bool = True) -> Backend:
    """The backend of a profile's literal: `none`, `glossary`, or the name of a translator of the zoo.

    A converted folder for CTranslate2 is found by the model's name in the folder of local models.
    """
    if name == "none":
        return copy_backend()
    if name == "glossary":
        return glossary_backend(SOURCES / "glossary.csv")
    if models and is_converted(Path(models) / name):
        return neural_backend(Path(models) / name, name)
    return neural_backend(resolve(name, models, offline), name)
