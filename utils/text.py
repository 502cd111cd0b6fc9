"""Pure text: clean a query, and lay the fields of a pair out behind explicit markers."""

import re
import unicodedata

from utils.schema import TARGET_MARKER

# Zero-width and byte-order characters vanish; other control characters part words like a space does.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ESCAPED_QUOTE = re.compile(r"\\+([\"'])")
_SPACES = re.compile(r"\s+")
_WORD = re.compile(r"\w+")


def tidy(text: str | None) -> str:
    """NFKC, no invisible characters, plain quotes, single spaces; keeps the case. None gives the empty text."""
    if not isinstance(text, str):
        return ""
    # NFKC may make new spaces (U+3000) and new invisible characters may part what it composes: so, it comes first and last.
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    text = _ESCAPED_QUOTE.sub(r"\1", _CONTROL.sub(" ", text))
    return _SPACES.sub(" ", unicodedata.normalize("NFKC", text)).strip()


def normalise_query(text: str | None) -> str:
    """The winning report's cleaning (arXiv 2510.25428, section 3.1) on tidied text: lower case, redundant spaces out.

    Idempotent: a normalised query normalises to itself.
    """
    lowered = tidy(text).lower()
    again = tidy(lowered).lower()
    return again if again == lowered else normalise_query(again)


def words(text: str) -> list[str]:
    """Lower-case runs of letters and digits, in order."""
    return _WORD.findall(text.lower())


def strip_accents(text: str) -> str:
    """Latin letters without their accents (`zapatería` -> `zapateria`); other scripts stay as they are."""
    parts = unicodedata.normalize("NFD", text)
    kept = [c for i, c in enumerate(parts) if not (unicodedata.combining(c) and i and parts[i - 1].isascii())]
    return unicodedata.normalize("NFC", "".join(kept))


def query_field(query: str, query_en: str, translation: bool = True) -> str:
    """The query's part of the input: the original and, where it says more, its English translation."""
    if not translation or not query_en or query_en == query:
        return f"query: {query}"
    return f"query: {query} | english: {query_en}"


def target_field(target: str | None, task: str) -> str:
    """The target's part of the input; a null title is an empty field, never the word `nan`."""
    return f"{TARGET_MARKER[task]}: {tidy(target)}"
