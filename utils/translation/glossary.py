"""The word list: a CSV file of terms and their English, checked line by line, and the longest match in it."""

from pathlib import Path

from utils.core.schema import LANGUAGES
from utils.core.sheets import Row, read_sheet
from utils.data.text import normalise_query

COLUMNS = ("language", "term", "english")
Terms = dict[str, dict[str, str]]  # language -> term -> English


def read_terms(content: bytes, path: Path) -> Terms:
    """The terms of a CSV file with the columns `language, term, english`; `path` names it in messages.

    Raises DataError with file and line of the first 20 problems and the number of the others.
    """
    terms: Terms = {}
    first_line: dict[tuple[str, str], int] = {}
    read_sheet(content, path, COLUMNS, lambda row, line: _add_term(row, terms, first_line, line))
    return terms


def _add_term(row: Row, terms: Terms, first_line: dict[tuple[str, str], int], line: int) -> str:
    """Add a good row's term to `terms`; what is wrong with the row and what to do, or the empty text."""
    language, term, english = row["language"].strip(), normalise_query(row["term"]), row["english"].strip()
    if language not in LANGUAGES:
        return f"language {language!r} is unknown; use one of {' '.join(LANGUAGES)}"
    if not term or not english:
        return f"{'term' if not term else 'english'} is empty; fill it in or remove the line"
    if first_line.setdefault((language, term), line) != line:
        return f"{language} {term!r} stands in line {first_line[language, term]} already; keep one of the two"
    terms.setdefault(language, {})[term] = english
    return ""


def turn_round(terms: Terms) -> Terms:
    """Language -> English -> term: the first term of a language for each English one, as the file's order has it."""
    turned: Terms = {}
    for language, entries in terms.items():
        own = turned.setdefault(language, {})
        for term, english in entries.items():
            own.setdefault(normalise_query(english), term)
    return turned


def _boundary(text: str, i: int, unspaced: bool) -> bool:
    """Whether a word may start or end at this position; anywhere in Japanese and Thai."""
    return unspaced or i in (0, len(text)) or not (text[i - 1].isalnum() and text[i].isalnum())


def _match(text: str, start: int, terms: dict[str, str], longest: int, unspaced: bool) -> int:
    """End of the longest term that starts at `start`; `start` if there is none."""
    for end in range(min(len(text), start + longest), start, -1):
        if text[start:end] in terms and _boundary(text, end, unspaced):
            return end
    return start


def look_up(text: str, terms: dict[str, str], longest: int, unspaced: bool) -> str:
    """Replace, left to right, the longest terms by their English and copy all other characters.

    `terms`: term -> English; `longest`: characters of the longest term; `unspaced`: a term may start and end anywhere.
    """
    parts, start, copied = [], 0, 0
    while start < len(text):
        end = _match(text, start, terms, longest, unspaced) if _boundary(text, start, unspaced) else start
        if end > start:
            parts += [text[copied:start], terms[text[start:end]]]
            copied = end
        start = max(end, start + 1)
    return normalise_query(" ".join([*parts, text[copied:]]))
