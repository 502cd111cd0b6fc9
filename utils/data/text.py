"""Text functions: clean a query, split a category path, and format the fields of a pair with explicit markers."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

from utils.core.schema import TARGET_MARKER

TEXT_VERSION = 3  # of cleaning and formatting; raise it whenever the same raw text gives another query, target or field

# Zero-width, direction and byte-order characters are removed; other control characters separate words like a space.
_HIDDEN = "\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
_INVISIBLE = re.compile(f"[{_HIDDEN}]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ESCAPED_QUOTE = re.compile(
    r"(?<!\\)\\+([\"'])"
)  # from a run's first backslash on, else a long run takes its length squared
_WORD = re.compile(r"\w+")
# A comma separates two levels of a path unless white space follows; names such as `kitchen,dining & bar` hold bare commas too.
_SEPARATOR = re.compile(rf",(?![{_HIDDEN}]*[\s\x00-\x1f\x7f-\x9f])")

# Rights signs belong to no word: registered, copyright, trademark, service mark, and the first two as letters in a circle.
_RIGHTS = re.compile("(?:[®©℗™℠🄫🄬🅪🅫🅬]|(?<![Ⓐ-ⓩ])[ⒸⓇⓅⓒⓡⓟ](?![Ⓐ-ⓩ]))[\ufe0e\ufe0f]?")
# Letters that NFKC would take apart or turn into others: ordinals, SARA AM and the like, the letters of a Korean keyboard.
_KEPT = {*"ªº\u0e33\u0eb3\u0edc\u0edd\u0f77\u0f79", *map(chr, range(0x3131, 0x3164)), *map(chr, range(0x3165, 0x318F))}
# What a keyboard has for a character that NFKC leaves, or turns into a rarer one. U+3164 and U+FFA0 are blank.
_TYPED = {
    "´": "'", "′": "'", "″": '"', "‴": "'''", "⁄": "/", "∕": "/", "‐": "-", "‑": "-", "⁻": "-", "₋": "-", "￣": "¯",
    "\u3164": " ", "\uffa0": " ",
}  # fmt: skip
_KEYS = str.maketrans(_TYPED | {unicodedata.normalize("NFKC", letter): letter for letter in _KEPT if letter > "\u3130"})
_POWERS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
# Letters that were taken apart: Thai and Lao SARA AM, with tone marks between, and a kana with its voice mark.
_PARTS = (
    (re.compile("\u0e4d([\u0e48-\u0e4b]*)\u0e32"), "\\1\u0e33"),
    (re.compile("\u0ecd([\u0ec8-\u0ecb]*)\u0eb2"), "\\1\u0eb3"),
    (re.compile("(?<=[\u3041-\u30ff])\u309b"), "\u3099"),
    (re.compile("(?<=[\u3041-\u30ff])\u309c"), "\u309a"),
)


def _read_forms() -> tuple[dict[str, str], frozenset[str], frozenset[str]]:
    """Compatibility characters -> plain text; those that are forms of one character; those that are words of their own.

    NFKC gives the plain text, but for what `_KEPT` and `_TYPED` name and for accents that stand alone.
    """
    forms, same, apart = dict(_TYPED), set(), set("℀℁℅℆№℡℻")
    for character in map(chr, range(0xA0, 0x20000)):
        plain = unicodedata.normalize("NFKC", character)
        if character in _TYPED or character in _KEPT or plain == unicodedata.normalize("NFC", character):
            continue
        tag = unicodedata.decomposition(character).split(" ")[0]
        if plain[0] == " " and len(plain) > 1:  # an accent, on a space as there is no letter
            if tag not in ("<isolated>", "<medial>"):
                continue
            plain = plain[1:]
        forms[character] = plain.translate(_KEYS)
        if tag in ("<wide>", "<narrow>", "<font>"):
            same.add(character)
        elif tag == "<fraction>" or (character.isnumeric() and tag in ("<circle>", "<compat>")):
            apart.add(character)
    return forms, frozenset(same), frozenset(apart)


def _class(characters: Iterable[str]) -> str:
    """Some characters as the inside of a regular expression's class: ranges, with the gaps between letters of planes above the first."""
    ranges: list[list[int]] = []
    for code in sorted(map(ord, characters)):
        if ranges and code - ranges[-1][1] <= (1 if code < 0x10000 else 64):
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)


_FORMS, _SAME, _APART = _read_forms()
# Of a longer run of combining marks the rest is left out (UAX 15, stream-safe text): sorting it takes its length squared.
_MARKS = _class(filter(unicodedata.combining, map(chr, range(0x300, 0x20000))))
_STORM = re.compile(f"([{_MARKS}]{{30}})[{_MARKS}]+")
_RUN = re.compile(f"[{_class(_SAME)}]+|[⁺⁻]?[{_POWERS}]+|[₊₋]?[₀-₉]+|[Ⅰ-ⅿ]+|[{_class(_FORMS)}]")
# Most texts have nothing to replace: one search tells.
_ODD = re.compile(f"[{_HIDDEN}®©℗🅪-🅬🄫🄬\u0e4d\u0ecd\u309b\u309c{_class(_FORMS)}]")


def _is_word(character: str) -> bool:
    """Whether a character is part of a word: a letter, a digit or a mark."""
    return character != "" and unicodedata.category(character)[0] in "LNM"


def _neighbours(match: re.Match[str]) -> tuple[str, str]:
    """The plain characters before and after a match; empty at the text's ends."""
    start, end = match.span()
    before, after = match.string[max(0, start - 1) : start], match.string[end : end + 1]
    return _FORMS.get(before, before)[-1:], _FORMS.get(after, after)[:1]


def _space_out(match: re.Match[str]) -> str:
    """What stands for a sign that is left out: a space between two words."""
    return " " if all(map(_is_word, _neighbours(match))) else ""


def _plain(match: re.Match[str]) -> str:
    """Plain text of a run of compatibility characters; its digits never join the digits beside it (`10²`, `8½`, `②0`)."""
    run = match[0]
    text = "".join([_FORMS.get(character, character) for character in run])
    if run[0] in _SAME:
        return text
    before, after = _neighbours(match)
    # An exponent of 2 or 3 belongs to the unit before it (`m²`); other superscript digits are notes or powers.
    if run[0] in _APART or (run[-1] in _POWERS and run not in "²³"):
        left, right = _is_word(before), _is_word(after)
    else:
        left, right = before.isdigit() and text[0].isdigit(), after.isdigit() and text[-1].isdigit()
    return " " * left + text + " " * right


def _compose(text: str) -> str:
    """NFC of a text whose runs of combining marks are cut, before and after: NFC makes two of some."""
    return _STORM.sub(r"\1", unicodedata.normalize("NFC", _STORM.sub(r"\1", text)))


def _plain_characters(text: str) -> str:
    """A text in ordinary characters: NFC, and of NFKC what changes no meaning; no invisible characters or rights signs."""
    text = _compose(text)
    if _ODD.search(text) is None:
        return text
    text = _compose(_INVISIBLE.sub("", text))
    text = _compose(_RUN.sub(_plain, _RIGHTS.sub(_space_out, text)))
    for parts, letter in _PARTS:
        text = parts.sub(letter, text)
    return _compose(text)


def tidy(text: str | None) -> str:
    """Ordinary characters, plain quotes, single spaces; keeps the case. None gives the empty text.

    Forms of a character become the character: wide and narrow letters, ligatures, circled digits, units such as `㎝`.
    Where NFKC changes what a text says, it is not followed: `8½` is `8 1/2`, `10²` is `10 2`, `Zeltor™` is `Zeltor`.
    """
    if not isinstance(text, str):
        return ""
    if not text.isascii():
        text = _plain_characters(text)
    if not text.isprintable():
        text = _CONTROL.sub(" ", text)
    if "\\" in text:
        text = _ESCAPED_QUOTE.sub(r"\1", text)
    return " ".join(text.split())


def normalise_query(text: str | None) -> str:
    """The winning report's cleaning (arXiv 2510.25428, section 3.1) of tidy text: lower case, no redundant spaces.

    Idempotent: a normalised query normalises to itself. None gives the empty text.
    """
    query = tidy(text).lower()
    # Lower case may take a letter apart (`İ`), and its dot sorts among other marks.
    is_plain = query.isascii() or (unicodedata.is_normalized("NFC", query) and _STORM.search(query) is None)
    return query if is_plain else normalise_query(query)


def map_distinct(function: Callable[[Any], str], texts: Iterable[Any]) -> list[str]:
    """The function's value of each text, computed once per distinct text."""
    texts = list(texts)
    values = {text: function(text) for text in dict.fromkeys(texts)}
    return [values[text] for text in texts]


def words(text: str) -> list[str]:
    """Lower-case runs of letters, digits and underscores, in order."""
    return _WORD.findall(text.lower())


def strip_accents(text: str) -> str:
    """Latin letters without their accents (`thiết kế` -> `thiet ke`); other scripts stay as they are."""
    if text.isascii():
        return text
    letters, is_latin = [], False
    for character in unicodedata.normalize("NFD", text):
        if not unicodedata.combining(character):
            is_latin = character.isascii() or unicodedata.name(character, "").startswith("LATIN ")
        elif is_latin and letters:
            continue
        letters.append(character)
    return unicodedata.normalize("NFC", "".join(letters))


def split_path(path: str | None) -> list[str]:
    """The raw texts between a raw category path's separators: a comma that becomes one by cleaning separates nothing."""
    return _SEPARATOR.split(path.strip()) if isinstance(path, str) else [""]


def query_field(query: str, query_en: str, translation: bool = True) -> str:
    """The query's part of the input: the query and, where it differs, its English translation."""
    if not translation or not query_en or query_en == query:
        return f"query: {query}"
    return f"query: {query} | english: {query_en}"


def target_field(target: str | None, task: str) -> str:
    """The target's part of the input; a null title is an empty field, never the word `nan`."""
    return f"{TARGET_MARKER[task]}: {tidy(target)}"
