"""Sampled steps and batches of a task's rows as token ids, from which the plan extrapolates its counts of tokens."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from utils.core.recipe import Recipe
from utils.data import clean
from utils.data.raw import Raw
from utils.data.text import query_field, target_field
from utils.models import build, weights
from utils.models.zoo import STAND_IN, TOKENIZERS, ZOO
from utils.training import packing
from utils.training.tokens import Encoded, encode

SAMPLE = 20_000  # distinct queries that are tokenised
ROUND = 256  # the largest pack is rounded up to a multiple of so many tokens
BLOCK = 400  # consecutive rows in the order of scoring that are sampled together


@dataclass(frozen=True)
class Texts:
    """A task's clean rows, with `query_en`: the training rows, and the dev and test rows where there are any."""

    train: pd.DataFrame
    splits: dict[str, pd.DataFrame]


def gather_texts(raw: Raw) -> dict[str, Texts]:
    """Task -> its rows. Each non-English query gets an English query of the same data as its translation."""
    texts = {}
    for task in raw.tasks:
        tables = {}
        for split in ("train", "dev", "test"):
            if (split, task) in raw.tables:
                table, _ = clean.clean_table(raw.tables[split, task], train=split == "train")
                tables[split] = table.assign(query_en=_stand_in_english(table))
        texts[task] = Texts(tables.pop("train"), tables)
    return texts


def _stand_in_english(table: pd.DataFrame) -> pd.Series:
    """A stand-in translation of each query: itself if English, else an English query, the same for equal queries.

    Without any English query it is the query itself with a few words before it.
    """
    pool = table.loc[table["language"] == "en", "query"].drop_duplicates().to_numpy()
    english = "in english " + table["query"]
    if len(pool):
        numbers = pd.factorize(table["query"])[0] * 7919 % len(pool)
        english = pd.Series(pool[numbers], index=table.index)
    return table["query"].where(table["language"] == "en", english)


def _groups(table: pd.DataFrame, recipe: Recipe) -> np.ndarray:
    """Numbers of each row's first field, as `encode` numbers them."""
    return pd.factorize(table["query"] if recipe.query_first else table["target"], use_na_sentinel=False)[0]


def _sample(parts: list[np.ndarray], queries: np.ndarray, count: int) -> list[np.ndarray]:
    """Evenly spaced parts, arrays of row numbers, with about `count` distinct queries in all."""
    mean = np.mean([len(np.unique(queries[part])) for part in parts[:: max(1, len(parts) // 50)]])
    size = min(len(parts), max(1, round(count / max(1.0, float(mean)))))
    return [parts[int((number + 0.5) * len(parts) / size)] for number in range(size)]


def sample_steps(table: pd.DataFrame, recipe: Recipe, task: str, count: int = SAMPLE) -> list[np.ndarray]:
    """Row numbers of evenly spaced optimizer steps of one epoch, with about `count` distinct queries in all.

    Steps are made as `packing.training_steps` makes them.
    """
    group, rng = _groups(table, recipe), np.random.default_rng(recipe.seed)
    order = packing.shuffle_groups(group, recipe.share_rows, rng)
    steps = packing.fill_steps(order, group, recipe.batch_rows, recipe.share_rows)
    return _sample(steps, pd.factorize(table["query"])[0], count)


def sample_neighbours(table: pd.DataFrame, recipe: Recipe, task: str, count: int = SAMPLE) -> list[np.ndarray]:
    """Row numbers of evenly spaced blocks of consecutive rows in the order of scoring, with about `count` distinct queries.

    They are one part, as a pack may hold tries of several blocks.
    """
    first = [target_field(text, task) for text in table["target"]]
    second = [query_field(*pair, recipe.translation) for pair in zip(table["query"], table["query_en"], strict=True)]
    if recipe.query_first:
        first, second = second, first
    order = np.array(sorted(range(len(table)), key=lambda row: (first[row], second[row])))
    blocks = [order[start : start + BLOCK] for start in range(0, len(order), BLOCK)]
    return [np.concatenate(_sample(blocks, pd.factorize(table["query"])[0], count))]


@dataclass(frozen=True)
class Counts:
    """What batches of a budget come to: tokens a row, padding included, tokens of the largest batch, batches a row."""

    tokens: float
    largest: int
    batches: float


@dataclass(frozen=True)
class Layout:
    """How rows are laid out in training and in scoring; `stand_in`: counted with another model's tokenizer."""

    train: Counts
    score: Counts
    stand_in: bool

    def sizes(self) -> tuple[int, int]:
        """Tokens of the largest training pack, rounded up, and of a row in scoring."""
        return -(-self.train.largest // ROUND) * ROUND, max(1, round(self.score.tokens))


@dataclass(frozen=True)
class Parts:
    """Sampled parts of a table as token ids, each packed separately: steps of an epoch, or rows to score."""

    encoded: Encoded
    ends: list[int]  # row number after each part's last row

    def count(self, budget: int) -> Counts:
        """The counts of batches of at most `budget` tokens."""
        sizes = [
            packing.count_tokens(self.encoded, pack)
            for start, end in zip([0, *self.ends], self.ends, strict=False)
            for pack in packing.batches(self.encoded, np.arange(start, end), budget)
        ]
        return Counts(sum(sizes) / self.ends[-1], max(sizes), len(sizes) / self.ends[-1])


def encode_parts(table: pd.DataFrame, recipe: Recipe, task: str, tokenizer: Any, parts: list[np.ndarray]) -> Parts:
    """Encode sampled parts of a table, as `sample_steps` and `sample_neighbours` return them."""
    rows = table.iloc[np.concatenate(parts)]
    encoded = encode(rows, task, tokenizer, recipe, ZOO[recipe.model].encoder)
    return Parts(encoded, np.cumsum([len(part) for part in parts]).tolist())


def open_tokenizer(name: str, folder: str) -> tuple[Any, bool]:
    """A model's tokenizer, and whether it is another model's in its place, as its own is not on this machine.

    Raises WeightsError where there is none of either.
    """
    try:
        return build.load_tokenizer(weights.resolve(name, folder, offline=True)), False
    except weights.WeightsError:
        family = ZOO[name].family
        stand_in = TOKENIZERS.get(family, STAND_IN)
        return build.load_tokenizer(weights.resolve(stand_in)), not (family == "gemma" and name.startswith("gemma-3"))
