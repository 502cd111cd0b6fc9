"""Training rows beside the given ones: queries in more languages, queries with typing errors. Validation rows stay as they are."""

import unicodedata

import numpy as np
import pandas as pd

from utils.core.recipe import Recipe
from utils.data import folds

TYPED = -(10**12)  # ids of misspelt rows lie below this
COLUMNS = [
    "id",
    "language",
    "query",
    "query_en",
    "target",
    "label",
]  # of training rows where there are more than the given ones
LEAST = 4  # characters of a word that is misspelt


def augment(
    train: pd.DataFrame, validation: pd.DataFrame, recipe: Recipe, expanded: pd.DataFrame | None
) -> pd.DataFrame:
    """The training rows of a fold, and after them as many more as the recipe's shares say.

    `expanded` is of `translation.expansion.expand`: of it come rows whose source is among the training rows, in languages without
    any, and none whose query or English stands among the validation rows. Raises ValueError where it is needed and not there.
    """
    parts = [train]
    if recipe.expansion:
        if expanded is None:
            raise ValueError(f"{recipe.name}: expansion is set, but no expanded rows are there; run notebook 02 again")
        own = expanded[expanded["source"].isin(train["id"]) & ~expanded["language"].isin(train["language"].unique())]
        parts.append(_take(folds.without_queries(own, validation), recipe.expansion, len(train), recipe.seed))
    if recipe.typos:
        chosen = _take(train, recipe.typos, len(train), recipe.seed)
        wrong = misspell(chosen["query"].tolist(), recipe.seed)
        parts.append(chosen.assign(query=wrong, id=TYPED - chosen["id"]))
    return pd.concat([part[COLUMNS] for part in parts], ignore_index=True) if len(parts) > 1 else train


def _take(table: pd.DataFrame, share: float, size: int, seed: int) -> pd.DataFrame:
    """Of a table so many rows as are a share of `size`, drawn with a seed; all where there are fewer."""
    return table.sample(min(len(table), round(share * size)), random_state=seed)


def misspell(texts: list[str], seed: int) -> list[str]:
    """Each text with one typing error: two letters swapped, one left out, one doubled, or its accents lost; in its longest words.

    A text without a word of `LEAST` letters stays as it is.
    """
    rng = np.random.default_rng(seed)
    return [_misspell(text, rng) for text in texts]


def _misspell(text: str, rng: np.random.Generator) -> str:
    words = text.split(" ")
    long = [place for place, word in enumerate(words) if len(word) >= LEAST and word.isalpha()]
    if not long:
        return text
    place = int(rng.choice(long))
    words[place] = _spoil(words[place], int(rng.integers(4)), int(rng.integers(1, len(words[place]) - 2)))
    return " ".join(words)


def _spoil(word: str, kind: int, at: int) -> str:
    """A word with an error at a letter, with which the next one is swapped; neither is the first or the last."""
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    plain = "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))
    if kind == 2 and plain != word:
        return unicodedata.normalize("NFC", plain)
    return word[:at] + word[at] + word[at:]
