"""The word list: a CSV file of terms and their English, checked line by line, and the longest match in it."""

import csv
import io
from pathlib import Path

from utils.core.errors import DataError
from utils.core.schema import LANGUAGES
from utils.data.rows import raise_problems
from utils.data.text import normalise_query

COLUMNS = ("language", "term", "english")
Terms = dict[str, dict[str, str]]  # language -> term -> English


def read_terms(content: bytes, path: Path) -> Terms:
    """The terms of a CSV file with the columns `language, term, english`; `path` names it in messages.

    Raises DataError with file and line of the first 20 problems and the number of the others.
    """
    reader = csv.reader(io.StringIO(_decode(content, path), newline=""), strict=True)
    terms: Terms = {}
    first_line: dict[tuple[str, str], int] = {}
    problems: list[str] = []
    header, line = None, 1
    try:
        for row in reader:
            start, line = line, reader.line_num + 1
            if header is None:
                header = _check_header(row, path)
            elif problem := _row_problem(row, header, terms, first_line, start):
                problems.append(f"{path}:{start}: {problem}")
    except csv.Error as error:
        problems.append(f"{path}:{line}: not valid CSV ({error}); write each quotation mark of a quoted text twice")
    if header is None:
        raise DataError(f"{path}:1: no header; the first line must be {','.join(COLUMNS)}")
    raise_problems(problems)
    return terms


def _decode(content: bytes, path: Path) -> str:
    """The file's text without a byte-order mark. Raises DataError naming the line that is not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from None


def _check_header(row: list[str], path: Path) -> list[str]:
    """The header's column names. Raises DataError where one that is needed is missing, or one stands twice."""
    header = [name.strip() for name in row]
    if missing := [name for name in COLUMNS if name not in header]:
        columns = ", ".join(missing)
        raise DataError(f"{path}:1: column {columns} is missing; the first line must be {','.join(COLUMNS)}")
    if len(set(header)) < len(header):
        raise DataError(f"{path}:1: a column stands twice; the first line must be {','.join(COLUMNS)}")
    return header


def _row_problem(
    row: list[str], header: list[str], terms: Terms, first_line: dict[tuple[str, str], int], line: int
) -> str:
    """What is wrong with a row and what to do, or the empty text; a good row's term is added to `terms`. Blank lines are skipped."""
    if not row:
        return ""
    if len(row) != len(header):
        return f"{len(row)} fields instead of {len(header)}; separate them by commas, and put a text with a comma in quotes"
    fields = dict(zip(header, row, strict=True))
    language, term, english = fields["language"].strip(), normalise_query(fields["term"]), fields["english"].strip()
    if language not in LANGUAGES:
        return f"language {language!r} is unknown; use one of {' '.join(LANGUAGES)}"
    if not term or not english:
        return f"{'term' if not term else 'english'} is empty; fill it in or remove the line"
    if first_line.setdefault((language, term), line) != line:
        return f"{language} {term!r} stands in line {first_line[language, term]} already; keep one of the two"
    terms.setdefault(language, {})[term] = english
    return ""


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
    parts, start, rest = [], 0, ""
    while start < len(text):
        end = _match(text, start, terms, longest, unspaced) if _boundary(text, start, unspaced) else start
        if end > start:
            parts += [rest, terms[text[start:end]]]
            start, rest = end, ""
        else:
            rest, start = rest + text[start], start + 1
    return normalise_query(" ".join([*parts, rest]))
