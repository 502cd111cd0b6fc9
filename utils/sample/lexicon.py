"""The hand-made sources of the embedded data: product types, attributes, brands and spellings, read from CSV files."""

import csv
from dataclasses import dataclass
from pathlib import Path

from utils.core.schema import LANGUAGES

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


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _terms(row: dict[str, str]) -> Terms:
    return {code: _cells(row[code]) for code in LANGUAGES}


def _product(row: dict[str, str]) -> Product:
    paths = tuple(_cells(path, ">") for path in _cells(row["paths"]))
    lists = (_cells(row[key]) for key in ("related", "attributes", "features"))
    return Product(row["type"], paths, *lists, terms=_terms(row))


def load(folder: Path) -> Lexicon:
    """Read `products.csv`, `attributes.csv`, `brands.csv`, `spellings.csv` and `strays.csv` of a folder.

    Raises OSError for a missing file and KeyError for a missing column.
    """
    products = {product.key: product for product in map(_product, _rows(folder / "products.csv"))}
    attributes: dict[str, tuple[Attribute, ...]] = {}
    for row in _rows(folder / "attributes.csv"):
        attributes[row["kind"]] = (*attributes.get(row["kind"], ()), Attribute(row["key"], _terms(row)))
    brands: dict[str, tuple[Brand, ...]] = {}
    for row in _rows(folder / "brands.csv"):
        for top in _cells(row["tops"]):
            brands[top] = (*brands.get(top, ()), Brand(row["brand"], _cells(row["models"])))
    spellings: dict[str, tuple[tuple[str, str], ...]] = {}
    for row in _rows(folder / "spellings.csv"):
        spellings[row["language"]] = (*spellings.get(row["language"], ()), (row["long"], row["short"]))
    strays = {row["type"]: row["text"] for row in _rows(folder / "strays.csv")}
    return Lexicon(products, attributes, brands, spellings, strays)
