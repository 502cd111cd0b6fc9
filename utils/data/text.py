"""Text functions: clean a query, and format the fields of a pair with explicit markers."""

import re
import unicodedata

from utils.core.schema import TARGET_MARKER

# Zero-width and byte-order characters are removed; other control characters separate words like a space.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ESCAPED_QUOTE = re.compile(r"\\+([\"'])")
_SPACES = re.compile(r"\s+")
_WORD = re.compile(r"\w+")


def tidy(text: str | None) -> str:
    """NFKC, no invisible characters, plain quotes, single spaces; keeps the case. None gives the empty text."""
    if not isinstance(text, str):
        return ""
    # NFKC may create spaces (U+3000), and invisible characters may separate what it composes: it comes first and last.
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    text = _ESCAPED_QUOTE.sub(r"\1", _CONTROL.sub(" ", text))
    return _SPACES.sub(" ", unicodedata.normalize("NFKC", text)).strip()


def normalise_query(text: str | None) -> str:
    """The winning report's cleaning (arXiv 2510.25428, section 3.1) of tidy text: lower case, no redundant spaces.

    Idempotent: a normalised query normalises to itself. None gives the empty text.
    """
    once = tidy(text).lower()
    twice = tidy(once).lower()
    return twice if twice == once else normalise_query(twice)


def words(text: str) -> list[str]:
    """Lower-case runs of letters, digits and underscores, in order."""
    return _WORD.findall(text.lower())


def strip_accents(text: str) -> str:
    """Latin letters without their accents (`zapatería` -> `zapateria`); other scripts stay as they are."""
    parts = unicodedata.normalize("NFD", text)
    letters = [c for i, c in enumerate(parts) if not (unicodedata.combining(c) and i and parts[i - 1].isascii())]
    return unicodedata.normalize("NFC", "".join(letters))


def query_field(query: str, query_en: str, translation: bool = True) -> str:
    """The query's part of the input: the query and, where it differs, its English translation."""
    if not translation or not query_en or query_en == query:
        return f"query: {query}"
    return f"query: {query} | english: {query_en}"


def target_field(target: str | None, task: str) -> str:
    """The target's part of the input; a null title is an empty field, never the word `nan`."""
    return f"{TARGET_MARKER[task]}: {tidy(target)}"
