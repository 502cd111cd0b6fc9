"""Draws queries as people type them, and targets that fit them or only look like it, from the lexicon. All chance is seeded."""

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from utils.lexicon import Attribute, Lexicon, Product
from utils.schema import LANGUAGES, UNSPACED
from utils.text import strip_accents

POSITIVE = {  # share of positive rows by language; elsewhere the task's mean
    "QC": {"en": 0.666, "es": 0.707, "fr": 0.697, "pt": 0.702, "ja": 0.787, "ko": 0.585, "": 0.6895},
    "QI": {"th": 0.547, "es": 0.682, "": 0.6243},
}
ROWS_A_QUERY = {
    "QC": ((1, 2, 3, 4, 5, 6, 7, 8), (26, 34, 19, 10, 6, 3, 1, 1)),
    "QI": ((1, 2, 3, 4, 5, 6, 8, 10), (9, 15, 18, 20, 16, 12, 7, 3)),
}
WRONG_LABELS = 0.05
AUDIENCE_WORDS = {
    "women": ("women", "ladies"), "men": ("men's", "menswear"), "baby": ("baby", "mother"), "kids": ("kids", "children"),
    "girls": ("girls", "kids", "children"), "boys": ("boys", "kids", "children"), "teenagers": (), "plus_size": (),
}  # fmt: skip
EMOJI = ("🔥", "❤️", "✨", "🎁", "👟")


@dataclass(frozen=True)
class Need:
    """What a shopper wants, before it is typed."""

    product: Product
    language: str
    wanted: dict[str, Attribute]  # by kind
    brand: str
    model: str


@dataclass(frozen=True)
class Maker:
    """Draws queries and their targets from a lexicon. All chance comes from `rng`."""

    lexicon: Lexicon
    rng: random.Random

    @cached_property
    def products(self) -> list[Product]:
        return list(self.lexicon.products.values())

    @cached_property
    def siblings(self) -> dict[str, list[Product]]:
        """Product -> those that share a parent category, else a second level or a top, with it."""
        near: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for product in self.products:
            for path in product.paths:
                for depth in (1, 2, len(path) - 1):
                    near[path[:depth]].add(product.key)
        found = {}
        for product in self.products:
            ranked = [near[path[:depth]] for depth in (4, 3, 2, 1) for path in product.paths if path[:depth] in near]
            close = dict.fromkeys(key for keys in ranked for key in sorted(keys) if key != product.key)
            found[product.key] = [self.lexicon.products[key] for key in list(close)[:12]]
        return found

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def need(self, language: str) -> Need:
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
        """A name in the language, the commonest most often; now and then in English (code-mixing)."""
        names = terms["en" if self.chance(0.07) else language]
        return names[0] if self.chance(0.5) else self.rng.choice(names)

    def query(self, need: Need) -> str:
        """The need as a person types it: in any order, partial, misspelt, without accents."""
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
        joint = "" if need.language in UNSPACED and self.chance(0.5) else " "
        return self._noise(self._typed(joint.join(parts), need.language))

    def _typed(self, text: str, language: str) -> str:
        if self.chance(0.12):
            for long, short in self.lexicon.spellings.get(language, ()):
                text = text.replace(long, short)
        if self.chance(0.3) and language not in UNSPACED:
            text = strip_accents(text)
        if self.chance(0.1):
            text = self._misspelt(text)
        if self.chance(0.04) and len(text) > 8:
            text = text[: -self.rng.randint(1, 3)].rstrip()
        if self.chance(0.12):
            text = self.rng.choice((str.title, str.upper, str.capitalize))(text)
        return text

    def _misspelt(self, text: str) -> str:
        at = self.rng.randrange(len(text))
        return (
            self.rng.choice(
                (
                    text[:at] + text[at + 1 :],
                    text[:at] + text[at] + text[at:],
                    text[:at] + text[at + 1 : at + 2] + text[at : at + 1] + text[at + 2 :],
                )
            ).strip()
            or text
        )

    def _noise(self, text: str) -> str:
        """The dirt of the real files: escaped quotes, wide and zero-width spaces, emoji, leading signs, doubled spaces."""
        if not self.chance(0.05):
            return text
        dirt: tuple[Callable[[str], str], ...] = (
            lambda t: f'\\"{t}\\"',
            lambda t: t.replace(" ", "\u3000", 1),
            lambda t: t[: len(t) // 2] + "\u200b" + t[len(t) // 2 :],
            lambda t: f"{t} {self.rng.choice(EMOJI)}",
            lambda t: f"-{t}",
            lambda t: f"% {t}",
            lambda t: f"  {t.replace(' ', '  ')} ",
            lambda t: f'{t} {self.rng.randint(2, 27)}"',
        )
        return self.rng.choice(dirt)(text)

    def stray(self, language: str) -> tuple[Need, str]:
        """A query whose tag is wrong: Russian, or another language of the competition."""
        if language == "en" and self.lexicon.strays and self.chance(0.5):
            key = self.rng.choice(list(self.lexicon.strays))
            return Need(self.lexicon.products[key], language, {}, "", ""), self.lexicon.strays[key]
        other = self.rng.choice([code for code in LANGUAGES if code != language])
        need = self.need(other)
        return Need(need.product, language, need.wanted, need.brand, need.model), self.query(need)

    # -- targets ---------------------------------------------------------------------------------------------------

    def _clashes(self, path: tuple[str, ...], need: Need) -> bool:
        """Whether a category is for other people than the query asks for."""
        asked = need.wanted.get("audience")
        said = [who for who, marks in AUDIENCE_WORDS.items() if any(mark in name for name in path for mark in marks)]
        return bool(
            asked and said and asked.key in AUDIENCE_WORDS and AUDIENCE_WORDS[asked.key] and asked.key not in said
        )

    def other(self, product: Product) -> Product:
        """A product that is a wrong answer: mostly a hard one."""
        draw = self.rng.random()
        if draw < 0.24 and product.related:
            return self.lexicon.products[self.rng.choice(product.related)]
        if draw < 0.52 and self.siblings[product.key]:
            return self.rng.choice(self.siblings[product.key])
        return self.rng.choice(self.products)

    def category(self, need: Need, relevant: bool) -> str:
        right = need.product.right
        fitting = [path for path in right if not self._clashes(path, need)] or right
        if relevant:
            leaves = [path for path in fitting if path in need.product.paths]
            return ",".join(self.rng.choice(leaves if leaves and self.chance(0.8) else fitting))
        clashing = [path for path in right if path not in fitting]
        if clashing and self.chance(0.4):
            return ",".join(self.rng.choice(clashing))
        while True:
            path = self.rng.choice(self.other(need.product).right)
            if path not in right:
                return ",".join(path)

    def title(self, need: Need, relevant: bool) -> str:
        """A seller's title: the thing, or something that only looks like it."""
        product, wanted, brand, model = need.product, dict(need.wanted), need.brand, need.model
        compatible = ""
        if not relevant:
            kinds = [kind for kind in wanted if kind in ("colour", "audience", "size", "material")]
            if kinds and self.chance(0.12):
                kind = self.rng.choice(kinds)
                wanted[kind] = self.rng.choice([v for v in self.lexicon.attributes[kind] if v.key != wanted[kind].key])
            elif model and self.chance(0.25):
                model = self.rng.choice(
                    [m for b in self.lexicon.brands[product.paths[0][0]] for m in b.models if m != model]
                )
            else:
                product = self.other(need.product)
                compatible = f"for {need.product.terms['en'][0]}" if self.chance(0.25) else ""
                wanted = {kind: value for kind, value in wanted.items() if kind in product.attributes}
        return self._stuffed(product, wanted, brand, model, compatible)

    def _stuffed(self, product: Product, wanted: dict[str, Attribute], brand: str, model: str, compatible: str) -> str:
        language = "en" if self.chance(0.94) else self.rng.choice(list(LANGUAGES))
        names = list(product.terms[language])
        self.rng.shuffle(names)
        extra = [
            k
            for k in ("colour", "material", "use", "audience")
            if k in product.attributes and k not in wanted and self.chance(0.3)
        ]
        shown = [value for kind, value in wanted.items() if self.chance(0.8)]
        shown += [self.rng.choice(self.lexicon.attributes[kind]) for kind in extra]
        traits = [value.terms[language][0] for value in shown]
        features = self.rng.sample(product.features, min(len(product.features), self.rng.randint(2, 6)))
        if not brand and self.chance(0.4):
            sellers = self.lexicon.brands.get(product.paths[0][0], ())
            brand = self.rng.choice(sellers).name if sellers else ""
        start = [
            brand,
            model,
            "2024 New" if self.chance(0.15) else "",
            f"{self.rng.randint(2, 100)}PCS" if self.chance(0.12) else "",
        ]
        middle = [*traits[:2], *features[:2], names[0], compatible, *features[2:], *names[1:2], *traits[2:]]
        if self.chance(0.25):
            self.rng.shuffle(middle)
        text = " ".join(part for part in [*start, *middle] if part)
        if self.chance(0.7):
            text = " ".join(word[:1].upper() + word[1:] for word in text.split(" "))
        if self.chance(0.22):  # the keen stuff keywords until the form cuts them off
            spare = [name for name in (*product.features, *product.terms["en"]) if name.lower() not in text.lower()]
            text = " ".join([text, *self.rng.sample(spare, len(spare)), f"For {brand or 'Home'} Gift"])
        if self.chance(0.012):
            return (text + " " + ", ".join(product.features))[:309]
        return text if len(text) <= 128 else text[:128].rstrip()

    # -- rows ------------------------------------------------------------------------------------------------------

    def rows(self, task: str, language: str, count: int, marked: bool) -> list[tuple[str, str | None, int]]:
        """About `count` rows (query, target, label) of one language, whole queries, all pairs distinct."""
        sizes, weights = ROWS_A_QUERY[task]
        rates = POSITIVE[task]
        truly = (rates.get(language, rates[""]) - WRONG_LABELS) / (1 - 2 * WRONG_LABELS)
        made: list[tuple[str, str | None, int]] = []
        seen: set[str] = set()
        owed = 0.0
        while len(made) < count:
            if self.chance(0.015):
                need, text = self.stray(language)
            else:
                need = self.need(language)
                text = self.query(need)
            if text in seen:
                continue
            seen.add(text)
            targets: dict[str | None, int] = {}
            for _ in range(min(self.rng.choices(sizes, weights)[0], count - len(made))):
                relevant = self.chance(truly)
                if not relevant and owed >= 1:
                    relevant, owed = True, owed - 1
                for _ in range(4):
                    target = (self.category if task == "QC" else self.title)(need, relevant)
                    if target not in targets:
                        targets[target] = int(relevant != self.chance(WRONG_LABELS))
                        break
                else:  # a query has few right categories: when they are used up, another query makes up for it
                    owed += (1 - truly) * relevant
            made += [(text, target, label) for target, label in targets.items()]
        return made if marked else self._damaged(made, task)

    def _damaged(self, made: list[tuple[str, str | None, int]], task: str) -> list[tuple[str, str | None, int]]:
        """Null titles and empty queries, as rare as in the real files."""
        out = []
        for query, target, label in made:
            if task == "QI" and self.chance(0.0015):
                target = None
            elif self.chance(0.0008):
                query = self.rng.choice(("", " ", "\u200b"))
            out.append((query, target, label))
        return out
