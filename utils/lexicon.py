"""The hand-made sources of the embedded data: product types, attributes, brands and spellings, read from plain CSV."""

import csv
from dataclasses import dataclass
from pathlib import Path

from utils.schema import LANGUAGES

Terms = dict[str, tuple[str, ...]]  # language -> names as people type them, the commonest first


@dataclass(frozen=True)
class Product:
    """A product type: where it rightly stands, what is confused with it, and what people call it."""

    key: str
    paths: tuple[tuple[str, ...], ...]  # right categories, as levels
    related: tuple[str, ...]  # product types that are wrong answers but look alike
    attributes: tuple[str, ...]  # kinds of attribute a shopper adds
    features: tuple[str, ...]  # English phrases that sellers stuff titles with
    terms: Terms

    @property
    def right(self) -> tuple[tuple[str, ...], ...]:
        """All right answers: the paths, and their parents of two levels or more."""
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
    """Everything that the sample is made of."""

    products: dict[str, Product]
    attributes: dict[str, tuple[Attribute, ...]]  # by kind
    brands: dict[str, tuple[Brand, ...]]  # by top level
    spellings: dict[str, tuple[tuple[str, str], ...]]  # language -> (long, short) forms
    strays: dict[str, str]  # product -> its name in Russian, a language that the competition does not have


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
    """Read `products.csv`, `attributes.csv`, `brands.csv`, `spellings.csv` and `strays.csv` of a folder."""
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
