"""The hand-made sources of the embedded data: product types, attributes, brands and spellings, read from CSV files."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.core.schema import LANGUAGES
from utils.core.sheets import Row, read_sheet

Terms = dict[str, tuple[str, ...]]  # language -> names as people type them, the most common first


@dataclass(frozen=True)
class Product:
    """A product type: its categories, similar product types, attributes and names."""

    key: str
    paths: tuple[tuple[str, ...], ...]  # relevant categories, as levels
    related: tuple[str, ...]  # similar product types that are not relevant
    attributes: tuple[str, ...]  # kinds of attribute that shoppers add to a query
    features: tuple[str, ...]  # English phrases that sellers add to titles
    terms: Terms

    @property
    def right(self) -> tuple[tuple[str, ...], ...]:
        """All relevant categories: the paths, and their parents of at least two levels."""
        return tuple(dict.fromkeys((*self.paths, *(path[:-1] for path in self.paths if len(path) > 2))))


@dataclass(frozen=True)
class Attribute:
    """One value of an attribute kind (`colour`, `material`, `audience`, `size`, `use`, `filler`)."""

    key: str
    terms: Terms


@dataclass(frozen=True)
class Brand:
    """An invented brand and its model names."""

    name: str
    models: tuple[str, ...]


@dataclass(frozen=True)
class Lexicon:
    """All sources of the sample."""

    products: dict[str, Product]
    attributes: dict[str, tuple[Attribute, ...]]  # by kind
    brands: dict[str, tuple[Brand, ...]]  # by top level
    spellings: dict[str, tuple[tuple[str, str], ...]]  # language -> (long, short) forms
    strays: dict[str, str]  # product -> its name in Russian, which is not a language of the competition


def _cells(text: str, separator: str = "|") -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(separator) if part.strip())


def _rows(path: Path, columns: Sequence[str], check: Callable[[Row], str] = lambda row: "") -> list[Row]:
    return read_sheet(path.read_bytes(), path, columns, lambda row, line: check(row))


def _terms(row: Row) -> Terms:
    return {code: _cells(row[code]) for code in LANGUAGES}


def _product(row: Row) -> Product:
    paths = tuple(_cells(path, ">") for path in _cells(row["paths"]))
    lists = (_cells(row[key]) for key in ("related", "attributes", "features"))
    return Product(row["type"], paths, *lists, terms=_terms(row))


def _unknown(names: tuple[str, ...], known: Iterable[str], kind: str, file: str) -> str:
    """What is wrong where a name is not known, and what to do, or the empty text."""
    known = set(known)
    if unknown := [name for name in names if name not in known]:
        return f"{kind} {', '.join(unknown)} is unknown; add it to {file} or fix the spelling"
    return ""


def load(folder: Path) -> Lexicon:
    """Read `products.csv`, `attributes.csv`, `brands.csv`, `spellings.csv` and `strays.csv` of a folder.

    Raises OSError for a missing file and DataError, with file and line, for a row that the others do not go with.
    """
    attributes: dict[str, tuple[Attribute, ...]] = {}
    for row in _rows(folder / "attributes.csv", ("kind", "key", *LANGUAGES)):
        attributes[row["kind"]] = (*attributes.get(row["kind"], ()), Attribute(row["key"], _terms(row)))
    products = _products(folder / "products.csv", attributes)
    brands: dict[str, tuple[Brand, ...]] = {}
    for row in _rows(folder / "brands.csv", ("brand", "tops", "models")):
        for top in _cells(row["tops"]):
            brands[top] = (*brands.get(top, ()), Brand(row["brand"], _cells(row["models"])))
    spellings: dict[str, tuple[tuple[str, str], ...]] = {}
    for row in _rows(folder / "spellings.csv", ("language", "long", "short"), _unknown_language):
        spellings[row["language"]] = (*spellings.get(row["language"], ()), (row["long"], row["short"]))
    strays = _rows(
        folder / "strays.csv", ("type", "text"), lambda row: _unknown((row["type"],), products, "product type")
    )
    return Lexicon(products, attributes, brands, spellings, {row["type"]: row["text"] for row in strays})


def _products(path: Path, attributes: Iterable[str]) -> dict[str, Product]:
    """The product types by name; each goes with others of the file and with known kinds of attribute."""
    columns = ("type", "paths", "related", "attributes", "features", *LANGUAGES)
    types = {row["type"] for row in _rows(path, columns)}

    def check(row: Row) -> str:
        related = _unknown(_cells(row["related"]), types, "product type")
        return related or _unknown(_cells(row["attributes"]), attributes, "kind of attribute")

    return {product.key: product for product in map(_product, _rows(path, columns, check))}


def _unknown_language(row: Row) -> str:
    return _unknown((row["language"],), LANGUAGES, "language")


def _unknown(names: tuple[str, ...], known: Iterable[str], kind: str) -> str:
    """What is wrong where a name is not known, and what to do, or the empty text."""
    if unknown := [name for name in names if name not in set(known)]:
        return f"{kind} {', '.join(unknown)} is unknown; fix the spelling, or add it to its file first"
    return ""
