"""Random queries as people type them, with relevant and similar but irrelevant targets, from the lexicon; all seeded."""

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from utils.core.schema import LANGUAGES, UNSPACED
from utils.data.text import strip_accents
from utils.sample.lexicon import Attribute, Lexicon, Product

POSITIVE = {  # share of positive rows by language; "": all other languages
    "QC": {"en": 0.666, "es": 0.707, "fr": 0.697, "pt": 0.702, "ja": 0.787, "ko": 0.585, "": 0.6895},
    "QI": {"th": 0.547, "es": 0.682, "": 0.6243},
}
ROWS_A_QUERY = {
    "QC": ((1, 2, 3, 4, 5, 6, 7, 8), (26, 34, 19, 10, 6, 3, 1, 1)),
    "QI": ((1, 2, 3, 4, 5, 6, 8, 10), (9, 15, 18, 20, 16, 12, 7, 3)),
}
WRONG_LABELS = 0.05  # share of rows with the wrong label
AUDIENCE_WORDS = {
    "women": ("women", "ladies"), "men": ("men's", "menswear"), "baby": ("baby", "mother"), "kids": ("kids", "children"),
    "girls": ("girls", "kids", "children"), "boys": ("boys", "kids", "children"), "teenagers": (), "plus_size": (),
}  # fmt: skip
EMOJI = ("🔥", "❤️", "✨", "🎁", "👟")


@dataclass(frozen=True)
class Need:
    """What a shopper wants, before it becomes a query."""

    product: Product
    language: str
    wanted: dict[str, Attribute]  # by kind
    brand: str
    model: str


class Row(NamedTuple):
    """A query with a target: its label, and whether that was turned over on purpose."""

    query: str
    target: str | None
    label: int
    is_wrong: bool


@dataclass(frozen=True)
class Maker:
    """Samples queries and their targets from a lexicon. All randomness comes from `rng`."""

    lexicon: Lexicon
    rng: random.Random

    @cached_property
    def products(self) -> list[Product]:
        """All product types, in the order of the lexicon."""
        return list(self.lexicon.products.values())

    @cached_property
    def siblings(self) -> dict[str, list[Product]]:
        """Product key -> up to 12 products that share a category prefix with it, the longest prefixes first."""
        by_prefix: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for product in self.products:
            for path in product.paths:
                for depth in (1, 2, len(path) - 1):
                    by_prefix[path[:depth]].add(product.key)
        siblings = {}
        for product in self.products:
            prefixes = [path[:depth] for depth in (4, 3, 2, 1) for path in product.paths if path[:depth] in by_prefix]
            keys = dict.fromkeys(key for p in prefixes for key in sorted(by_prefix[p]) if key != product.key)
            siblings[product.key] = [self.lexicon.products[key] for key in list(keys)[:12]]
        return siblings

    def chance(self, share: float) -> bool:
        """True with this probability."""
        return self.rng.random() < share

    def need(self, language: str) -> Need:
        """A random product with up to three attributes and sometimes a brand and model."""
        product = self.rng.choice(self.products)
        kinds = [kind for kind in product.attributes if kind in self.lexicon.attributes]
        count = min(len(kinds), self.rng.choices((0, 1, 2, 3), (34, 40, 20, 6))[0])
        wanted = {kind: self.rng.choice(self.lexicon.attributes[kind]) for kind in self.rng.sample(kinds, count)}
        brands = self.lexicon.brands.get(product.paths[0][0], ())
        brand = self.rng.choice(brands) if brands and self.chance(0.16) else None
        model = self.rng.choice(brand.models) if brand and self.chance(0.5) else ""
        return Need(product, language, wanted, brand.name if brand else "", model)

    # -- queries ---------------------------------------------------------------------------------------------------

    def _word(self, terms: dict[str, tuple[str, ...]], language: str) -> str:
        """A name in the language, mostly the most common; sometimes in English (code-mixing)."""
        names = terms["en" if self.chance(0.07) else language]
        return names[0] if self.chance(0.5) else self.rng.choice(names)

    def query(self, need: Need) -> str:
        """The need as a person types it: words in any order, abbreviated, misspelt, without accents."""
        head = self._word(need.product.terms, need.language)
        parts = [self._word(value.terms, need.language) for value in need.wanted.values()]
        if self.chance(0.08):
            parts.append(self._word(self.rng.choice(self.lexicon.attributes["filler"]).terms, need.language))
        if self.chance(0.3):
            self.rng.shuffle(parts)
        parts.insert(self.rng.randint(0, len(parts)) if self.chance(0.3) else 0, head)
        if need.brand:
            parts = [
                need.brand.lower() if self.chance(0.6) else need.brand,
                *([need.model] if need.model else []),
                *parts,
            ]
        separator = "" if need.language in UNSPACED and self.chance(0.5) else " "
        return self._noise(self._spelling(separator.join(parts), need.language))

    def _spelling(self, text: str, language: str) -> str:
        """Short forms, missing accents, typos, truncation and other case."""
        if self.chance(0.12):
            for long, short in self.lexicon.spellings.get(language, ()):
                text = text.replace(long, short)
        if self.chance(0.3) and language not in UNSPACED:
            text = strip_accents(text)
        if self.chance(0.1):
            text = self._typo(text)
        if self.chance(0.04) and len(text) > 8:
            text = text[: -self.rng.randint(1, 3)].rstrip()
        if self.chance(0.12):
            text = self.rng.choice((str.title, str.upper, str.capitalize))(text)
        return text

    def _typo(self, text: str) -> str:
        """One character missing, doubled or swapped with the next."""
        i = self.rng.randrange(len(text))
        return (
            self.rng.choice(
                (
                    text[:i] + text[i + 1 :],
                    text[:i] + text[i] + text[i:],
                    text[:i] + text[i + 1 : i + 2] + text[i : i + 1] + text[i + 2 :],
                )
            ).strip()
            or text
        )

    def _noise(self, text: str) -> str:
        """Noise as in the real files: escaped quotes, wide and zero-width spaces, emoji, leading signs, double spaces."""
        if not self.chance(0.05):
            return text
        noises: tuple[Callable[[str], str], ...] = (
            lambda t: f'\\"{t}\\"',
            lambda t: t.replace(" ", "\u3000", 1),
            lambda t: t[: len(t) // 2] + "\u200b" + t[len(t) // 2 :],
            lambda t: f"{t} {self.rng.choice(EMOJI)}",
            lambda t: f"-{t}",
            lambda t: f"% {t}",
            lambda t: f"  {t.replace(' ', '  ')} ",
            lambda t: f'{t} {self.rng.randint(2, 27)}"',
        )
        return self.rng.choice(noises)(text)

    def stray(self, language: str) -> tuple[Need, str]:
        """A need and its query in another language than its tag: Russian, or another language of the competition."""
        if language == "en" and self.lexicon.strays and self.chance(0.5):
            key = self.rng.choice(list(self.lexicon.strays))
            return Need(self.lexicon.products[key], language, {}, "", ""), self.lexicon.strays[key]
        other = self.rng.choice([code for code in LANGUAGES if code != language])
        need = self.need(other)
        return Need(need.product, language, need.wanted, need.brand, need.model), self.query(need)

    # -- targets ---------------------------------------------------------------------------------------------------

    def _audience_mismatch(self, path: tuple[str, ...], need: Need) -> bool:
        """Whether a category is for another audience than the query's."""
        audience = need.wanted.get("audience")
        audiences = [key for key, words in AUDIENCE_WORDS.items() if any(w in name for name in path for w in words)]
        if audience is None or not audiences:
            return False
        return bool(AUDIENCE_WORDS.get(audience.key)) and audience.key not in audiences

    def other(self, product: Product) -> Product:
        """A random product for an irrelevant target, mostly a hard negative: related or a sibling."""
        draw = self.rng.random()
        if draw < 0.24 and product.related:
            return self.lexicon.products[self.rng.choice(product.related)]
        if draw < 0.52 and self.siblings[product.key]:
            return self.rng.choice(self.siblings[product.key])
        return self.rng.choice(self.products)

    def category(self, need: Need, relevant: bool) -> str:
        """A category path, relevant to the need or not."""
        right = need.product.right
        matches = [path for path in right if not self._audience_mismatch(path, need)] or right
        if relevant:
            leaves = [path for path in matches if path in need.product.paths]
            return ",".join(self.rng.choice(leaves if leaves and self.chance(0.8) else matches))
        mismatches = [path for path in right if path not in matches]
        if mismatches and self.chance(0.4):
            return ",".join(self.rng.choice(mismatches))
        while True:
            path = self.rng.choice(self.other(need.product).right)
            if path not in right:
                return ",".join(path)

    def title(self, need: Need, relevant: bool) -> str:
        """A seller's title of the product, or of a similar one: another attribute value, model or product."""
        product, attributes, brand, model = need.product, dict(need.wanted), need.brand, need.model
        compatibility = ""
        if not relevant:
            kinds = [kind for kind in attributes if kind in ("colour", "audience", "size", "material")]
            if kinds and self.chance(0.12):
                kind = self.rng.choice(kinds)
                values = [v for v in self.lexicon.attributes[kind] if v.key != attributes[kind].key]
                attributes[kind] = self.rng.choice(values)
            elif model and self.chance(0.25):
                brands = self.lexicon.brands[product.paths[0][0]]
                model = self.rng.choice([name for b in brands for name in b.models if name != model])
            else:
                product = self.other(need.product)
                compatibility = f"for {need.product.terms['en'][0]}" if self.chance(0.25) else ""
                attributes = {kind: value for kind, value in attributes.items() if kind in product.attributes}
        return self._title_text(product, attributes, brand, model, compatibility)

    def _title_text(
        self, product: Product, attributes: dict[str, Attribute], brand: str, model: str, compatibility: str
    ) -> str:
        """A title full of keywords, as sellers write them: mostly English and at most 128 characters."""
        language = "en" if self.chance(0.94) else self.rng.choice(list(LANGUAGES))
        names = list(product.terms[language])
        self.rng.shuffle(names)
        kinds = [kind for kind in ("colour", "material", "use", "audience") if kind in product.attributes]
        extra_kinds = [kind for kind in kinds if kind not in attributes and self.chance(0.3)]
        values = [value for value in attributes.values() if self.chance(0.8)]
        values += [self.rng.choice(self.lexicon.attributes[kind]) for kind in extra_kinds]
        traits = [value.terms[language][0] for value in values]
        features = self.rng.sample(product.features, min(len(product.features), self.rng.randint(2, 6)))
        if not brand and self.chance(0.4):
            sellers = self.lexicon.brands.get(product.paths[0][0], ())
            brand = self.rng.choice(sellers).name if sellers else ""
        year = "2024 New" if self.chance(0.15) else ""
        start = [brand, model, year, f"{self.rng.randint(2, 100)}PCS" if self.chance(0.12) else ""]
        middle = [*traits[:2], *features[:2], names[0], compatibility, *features[2:], *names[1:2], *traits[2:]]
        if self.chance(0.25):
            self.rng.shuffle(middle)
        text = " ".join(part for part in [*start, *middle] if part)
        if self.chance(0.7):
            text = " ".join(word[:1].upper() + word[1:] for word in text.split(" "))
        if self.chance(0.22):  # some sellers add keywords up to the length limit
            keywords = [name for name in (*product.features, *product.terms["en"]) if name.lower() not in text.lower()]
            text = " ".join([text, *self.rng.sample(keywords, len(keywords)), f"For {brand or 'Home'} Gift"])
        if self.chance(0.012):
            return (text + " " + ", ".join(product.features))[:309]
        return text if len(text) <= 128 else text[:128].rstrip()

    # -- rows ------------------------------------------------------------------------------------------------------

    def rows(self, task: str, language: str, count: int) -> list[Row]:
        """`count` rows of one language, whole queries, pairs distinct but for the nulls that are added."""
        sizes, weights = ROWS_A_QUERY[task]
        rates = POSITIVE[task]
        true_rate = (rates.get(language, rates[""]) - WRONG_LABELS) / (1 - 2 * WRONG_LABELS)
        pairs: list[Row] = []
        queries: set[str] = set()
        debt = 0.0  # relevant targets that earlier queries lack
        while len(pairs) < count:
            if self.chance(0.015):
                need, text = self.stray(language)
            else:
                need = self.need(language)
                text = self.query(need)
            if text in queries:
                continue
            queries.add(text)
            targets: dict[str | None, tuple[int, bool]] = {}
            for _ in range(min(self.rng.choices(sizes, weights)[0], count - len(pairs))):
                relevant = self.chance(true_rate)
                if not relevant and debt >= 1:
                    relevant, debt = True, debt - 1
                for _ in range(4):
                    target = (self.category if task == "QC" else self.title)(need, relevant)
                    if target not in targets:
                        wrong = self.chance(WRONG_LABELS)
                        targets[target] = int(relevant != wrong), wrong
                        break
                else:  # a query has few relevant categories: if none is left, a later query gets one more
                    debt += (1 - true_rate) * relevant
            pairs += [Row(text, target, *truth) for target, truth in targets.items()]
        return self._add_nulls(pairs, task)

    def _add_nulls(self, pairs: list[Row], task: str) -> list[Row]:
        """Null titles and empty queries, as rare as in the real files."""
        rows = []
        for query, target, label, wrong in pairs:
            if task == "QI" and self.chance(0.0015):
                target = None
            elif self.chance(0.0008):
                query = self.rng.choice(("", " ", "\u200b"))
            rows.append(Row(query, target, label, wrong))
        return rows
