"""The training rows of a fold, changed as a recipe asks, and more rows beside them. Validation rows stay as they are.

Every added row is made of training rows, and of the tree of all paths, which are inputs and no labels.
"""

import unicodedata
from dataclasses import dataclass

import numpy as np
import pandas as pd

from utils.core.recipe import Recipe
from utils.core.schema import AUXILIARY
from utils.data import folds
from utils.data.tables import sample_queries
from utils.data.taxonomy import Taxonomy

# Ids of added rows lie below these, far from each other: rows of the other task have ids of their own kind.
TYPED, JOINED, ABOVE, BESIDE = (-(place * 10**12) for place in (1, 2, 3, 4))
COLUMNS = [
    "id",
    "language",
    "query",
    "query_en",
    "target",
    "label",
]  # of training rows where there are more than the given ones
LEAST = 4  # characters of a word that is misspelt


@dataclass(frozen=True)
class Sources:
    """What a task's training rows are added to from."""

    task: str
    expanded: pd.DataFrame | None = None  # of `translation.expansion.expand`
    other: pd.DataFrame | None = None  # the other task's rows, none of which has anything of a validation row
    tree: Taxonomy | None = None  # of the paths of QC


def augment(train: pd.DataFrame, validation: pd.DataFrame, recipe: Recipe, sources: Sources) -> pd.DataFrame:
    """The training rows of a fold, and after them as many more as the recipe's shares say; with rows of the other task
    a column `task` tells whose each is.

    Of `expanded` come rows whose source is among the training rows, in languages without any, and none whose query or English stands
    among the validation rows; of other paths none that a scheme keeps for validation. Raises ValueError where a source is needed and
    not there.
    """
    if recipe.level_dropout and sources.task == "QC":
        train = drop_levels(train, _tree(recipe, sources.tree), recipe.level_dropout, recipe.seed)
    parts = [train]
    if recipe.expansion:
        expanded = _need(sources.expanded, recipe, "expansion", "no expanded rows are there; run notebook 02 again")
        own = expanded[expanded["source"].isin(train["id"]) & ~expanded["language"].isin(train["language"].unique())]
        parts.append(_take(folds.without_queries(own, validation), recipe.expansion, len(train), recipe.seed))
    if recipe.typos:
        chosen = _take(train, recipe.typos, len(train), recipe.seed)
        wrong = misspell(chosen["query"].tolist(), recipe.seed)
        parts.append(chosen.assign(query=wrong, id=TYPED - chosen["id"]))
    if sources.task == "QC":
        makers = ((recipe.parents, go_up), (recipe.siblings, go_aside))
        more = [(share, make(train, _tree(recipe, sources.tree), recipe.seed)) for share, make in makers if share]
        parts += [_take(rows, share, len(train), recipe.seed) for share, rows in more]
    # A typing error may make a validation row's query, a change of levels a path that a scheme keeps for validation.
    parts[1:] = [part[~part["query"].isin(validation["query"])] for part in parts[1:]]
    if sources.task == "QC" and recipe.scheme in folds.BY_CATEGORY:
        parts[1:] = [part[~folds.lies_in(part["target"], validation["category_group"])] for part in parts[1:]]
    train = pd.concat([part[COLUMNS] for part in parts], ignore_index=True) if len(parts) > 1 else train
    return join(train, recipe, sources) if recipe.joint else train


def _need(table: pd.DataFrame | None, recipe: Recipe, field: str, missing: str) -> pd.DataFrame:
    """A source that a recipe's field asks for. Raises ValueError where it is not there."""
    if table is None:
        raise ValueError(f"{recipe.name}: {field} is set, but {missing}")
    return table


def _tree(recipe: Recipe, tree: Taxonomy | None) -> Taxonomy:
    """The tree that a recipe's changes of paths ask for. Raises ValueError where it is not there."""
    if tree is None:
        raise ValueError(f"{recipe.name}: paths are to be changed, but no tree of them is there; run notebook 02 again")
    return tree


def join(train: pd.DataFrame, recipe: Recipe, sources: Sources) -> pd.DataFrame:
    """The rows of one task and as many of the other as the recipe's share says, whole queries, each with its `task`."""
    other = _need(sources.other, recipe, "joint", "the data holds no other task; set it to 0")
    chosen = sample_queries(other, max(1, round(recipe.joint * len(train))), recipe.seed)  # 0 would be all
    own, others = train[COLUMNS].assign(task=sources.task), chosen[COLUMNS].assign(task=AUXILIARY[sources.task])
    return pd.concat([own, others.assign(id=JOINED - others["id"])], ignore_index=True)


def drop_levels(train: pd.DataFrame, tree: Taxonomy, share: float, seed: int) -> pd.DataFrame:
    """The rows, of which a share has a path without one of the levels above its last."""
    rng = np.random.default_rng(seed)
    chosen, places = rng.random(len(train)) < share, rng.integers(0, 60, len(train))  # 60 divides by 1, 2, ... 6 levels
    rows = zip(train["target"], chosen, places.tolist(), strict=True)
    return train.assign(target=[tree.drop_level(path, place) if drop else path for path, drop, place in rows])


def go_up(train: pd.DataFrame, tree: Taxonomy, seed: int) -> pd.DataFrame:
    """Each relevant row with the path above its own: what is right below is right above. One row for a query and a path; none that
    the query has already.
    """
    relevant = train[train["label"] == 1]
    above = relevant.assign(target=[tree.parent(path) for path in relevant["target"]])
    return _new_pairs(above[above["target"] != ""].assign(id=ABOVE - above["id"]), train, tree)


def go_aside(train: pd.DataFrame, tree: Taxonomy, seed: int) -> pd.DataFrame:
    """Each relevant row with a sibling of its path, drawn with a seed, as not relevant; none that the query has already.

    Some are wrong: a query may be right in two siblings of which one was never asked about.
    """
    rng, relevant = np.random.default_rng(seed), train[train["label"] == 1]
    siblings = {path: sorted(tree.siblings(path)) for path in relevant["target"].unique()}
    draws = rng.random(len(relevant)).tolist()
    pairs = zip(relevant["target"], draws, strict=True)
    drawn = [siblings[path][int(draw * len(siblings[path]))] if siblings[path] else "" for path, draw in pairs]
    aside = relevant.assign(target=drawn, label=0, id=BESIDE - relevant["id"])
    return _new_pairs(aside[aside["target"] != ""], train, tree)


def _new_pairs(rows: pd.DataFrame, train: pd.DataFrame, tree: Taxonomy) -> pd.DataFrame:
    """The first row of each query and path, of those whose query has not this path among the training rows."""
    clean = [",".join(tree.levels(path)) for path in train["target"]]
    known = set(zip(train["query"], clean, strict=True))
    rows = rows.drop_duplicates(["query", "target"])
    return rows[[pair not in known for pair in zip(rows["query"], rows["target"], strict=True)]]


def mark_levels(table: pd.DataFrame, task: str, recipe: Recipe, tree: Taxonomy | None) -> pd.DataFrame:
    """The rows with marked levels in the paths of QC, where the recipe asks for it; titles stay as they are."""
    if not recipe.level_markers or (task != "QC" and "task" not in table):
        return table
    tree = _tree(recipe, tree)
    tasks = table["task"] if "task" in table else [task] * len(table)
    marks = [tree.mark(path) if own == "QC" else path for path, own in zip(table["target"], tasks, strict=True)]
    return table.assign(target=marks)


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
    if kind == 0 and word[at] != word[at + 1]:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    letters = (letter for letter in unicodedata.normalize("NFD", word) if not unicodedata.combining(letter))
    plain = unicodedata.normalize("NFC", "".join(letters))  # Korean syllables come together again
    if kind == 2 and plain != word:
        return plain
    return word[:at] + word[at] + word[at:]
