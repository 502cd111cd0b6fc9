"""Translation backends behind one function: copy, word list, or a neural translator of the zoo."""

import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from utils.core.paths import SOURCES
from utils.core.schema import UNSPACED
from utils.data.text import normalise_query
from utils.models.weights import identity, is_converted, resolve
from utils.models.zoo import ZOO

VERSION = 1  # of how texts are prepared for a network and read from it; raise it whenever a translation may change


@dataclass(frozen=True)
class Backend:
    """A translator: its name, a version that changes whenever its output may, and the function itself."""

    name: str
    version: str
    translate: Callable[[list[str], list[str]], list[str]]  # texts, languages -> English texts
    batch: int = 4096  # texts per write to the cache: what an interruption loses at most


def copy_backend() -> Backend:
    """`none`: every query is its own translation."""
    return Backend("none", "1", lambda texts, languages: texts)


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


def glossary_backend(path: Path) -> Backend:
    """`glossary`: longest match in a word list (CSV with `language, term, english`), without network or model.

    Raises OSError if the file cannot be read.
    """
    content = path.read_bytes()
    terms: dict[str, dict[str, str]] = {}
    for row in csv.DictReader(content.decode("utf-8").splitlines()):
        terms.setdefault(row["language"], {})[normalise_query(row["term"])] = row["english"]
    longest = {language: max(map(len, entries)) for language, entries in terms.items()}

    def translate(texts: list[str], languages: list[str]) -> list[str]:
        pairs = zip(texts, languages, strict=True)
        return [look_up(t, terms.get(c, {}), longest.get(c, 0), c in UNSPACED) for t, c in pairs]

    return Backend("glossary", hashlib.sha256(content).hexdigest()[:12], translate)


def neural_backend(folder: Path, name: str) -> Backend:
    """A translator of the zoo from a local folder. Its version tells whatever may change an answer: kind, weights, decoding.

    Raises WeightsError if the model is not a translator.
    """
    from utils.translation import seq2seq  # torch is not needed for a word list

    kind = "ctranslate2" if is_converted(folder) else "transformers"
    decoding = f"beams {seq2seq.BEAMS}, at most {seq2seq.MAX_NEW} tokens"
    version = f"{name}, {kind}, {identity(folder)}, {decoding}, {VERSION}"
    return Backend(ZOO[name].family, version, seq2seq.open_translator(folder, ZOO[name].family), batch=16_384)


def open_backend(name: str, models: str = "", offline: bool = True) -> Backend:
    """The backend of a profile's setting: `none`, `glossary`, or the name of a translator of the zoo.

    `models` is the folder of local models; a subfolder with the model's name that was converted for CTranslate2 is used
    first. Raises WeightsError if the weights are missing, changed or too large.
    """
    if name == "none":
        return copy_backend()
    if name == "glossary":
        return glossary_backend(SOURCES / "glossary.csv")
    if models and is_converted(Path(models) / name):
        return neural_backend(Path(models) / name, name)
    return neural_backend(resolve(name, models, offline), name)


def open_second(name: str, models: str = "", offline: bool = True) -> Backend | None:
    """The second backend, for queries that the first one did not translate; None for an empty name."""
    return open_backend(name, models, offline) if name else None
