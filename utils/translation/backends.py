"""Translation backends behind one function: copy, word list, or a neural translator of the zoo."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from utils.core.errors import DataError, WeightsError
from utils.core.paths import SOURCES
from utils.core.schema import UNSPACED
from utils.data.text import TEXT_VERSION
from utils.models.weights import check_code, identity, is_converted, resolve
from utils.models.zoo import ZOO
from utils.translation.glossary import look_up, read_terms, turn_round

GLOSSARY = "glossary"  # the name of the word list among the translators
VERSION = 2  # of how texts are prepared for a network and read from it; raise it whenever a translation may change


@dataclass(frozen=True)
class Backend:
    """A translator: its name, a version that changes whenever its output may, and the function itself.

    The texts come back in English or, from a translator that was opened for another language, in that one.
    """

    name: str
    version: str
    translate: Callable[[list[str], list[str]], list[str]]  # texts, languages -> texts
    batch: int = 4096  # texts per write to the cache: what an interruption loses at most


def copy_backend() -> Backend:
    """`none`: every query is its own translation."""
    return Backend("none", "1", lambda texts, languages: texts)


def glossary_backend(path: Path, target: str = "en") -> Backend:
    """`glossary`: longest match in a word list (CSV with `language, term, english`), without network or model.

    For another `target` than English the list is turned round: English in, that language out. Raises DataError with file and line
    if it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}:1: cannot be read ({error.strerror}); restore the file or its permissions") from None
    terms = read_terms(content, path)
    if target != "en":
        terms = {"en": turn_round(terms).get(target, {})}
    longest = {language: max(map(len, entries), default=0) for language, entries in terms.items()}

    def translate(texts: list[str], languages: list[str]) -> list[str]:
        pairs = zip(texts, languages, strict=True)
        return [look_up(t, terms.get(c, {}), longest.get(c, 0), c in UNSPACED) for t, c in pairs]

    version = f"{hashlib.sha256(content).hexdigest()[:12]}.{TEXT_VERSION}"
    return Backend(GLOSSARY, version + _into(target), translate)


def _into(target: str) -> str:
    """What a version adds for another language than English."""
    return "" if target == "en" else f", into {target}"


def neural_backend(folder: Path, name: str, target: str = "en") -> Backend:
    """A translator of the zoo from a local folder, loaded when it is first asked, into the language `target`. Its version tells
    whatever may change an answer: kind, weights, decoding.

    Raises WeightsError if the model is not a translator.
    """
    from utils.translation import seq2seq  # torch is not needed for a word list

    family = ZOO[name].family
    if not ZOO[name].translates:
        raise WeightsError(f"{folder}: {family} does not translate; use a MADLAD-400 or NLLB-200 model")
    check_code(folder)
    kind = "ctranslate2" if is_converted(folder) else "transformers"
    decoding = f"beams {seq2seq.BEAMS}, at most {seq2seq.MAX_NEW} tokens"
    version = f"{name}, {kind}, {identity(folder)}, {decoding}, {VERSION}.{TEXT_VERSION}{_into(target)}"
    load = cache(lambda: seq2seq.open_translator(folder, family, target))
    return Backend(family, version, lambda texts, languages: load()(texts, languages), batch=16_384)


def open_backend(name: str, models: str = "", offline: bool = True, target: str = "en") -> Backend:
    """The backend of a profile's setting, `none`, `glossary`, or the name of a translator of the zoo, into the language `target`.

    `models` is the folder of local models; a subfolder with the model's name that was converted for CTranslate2 is used
    first. Raises WeightsError if the weights are missing, changed or too large.
    """
    if name == "none":
        return copy_backend()
    if name == GLOSSARY:
        return glossary_backend(SOURCES / "glossary.csv", target)
    if models and is_converted(Path(models) / name):
        return neural_backend(Path(models) / name, name, target)
    return neural_backend(resolve(name, models, offline), name, target)


def opener(name: str, models: str = "", offline: bool = True) -> Callable[[str], Backend]:
    """What opens the backend of a profile's setting from English into a language."""
    return lambda target: open_backend(name, models, offline, target)


def open_second(name: str, models: str = "", offline: bool = True) -> Backend | None:
    """The second backend, for queries that the first one did not translate; None for an empty name."""
    return open_backend(name, models, offline) if name else None
