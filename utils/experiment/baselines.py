"""The candidates without a trained network: constant, tfidf, overlap, word pairs and zeroshot.

Each is a logistic regression on features of its own, or less: `fit` gives its numbers as arrays by name, which a
file holds and `predict` applies.
Each is fitted on one thread: several add up in an order of their own, of which the last steps to a solution make more than rounding.
Words are hashed to columns (Weinberger et al. 2009), so that there is no vocabulary to keep, and none that could be empty.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from utils.core.recipe import Recipe
from utils.data.leaks import check_unseen
from utils.data.tables import sample_queries
from utils.data.text import split_path, strip_accents, tidy, words
from utils.evaluation.metrics import log_odds

Array = NDArray[np.float64]
Fitted = dict[str, Array]  # arrays by name, as a file holds them
VERSION = 4  # changes whenever the same rows give other probabilities
FINDERS = ("tfidf", "overlap", "wordpairs")  # whose answers tell which labels are suspect
STRENGTHS = {"tfidf": (0.03, 0.3, 3.0), "overlap": (0.03, 0.3, 3.0), "wordpairs": (1.0, 10.0)}  # candidates of C
TUNING_ROWS = 20_000  # on which C, the inverse regularisation strength, is chosen
LEAST_FREQUENCY = 2  # training rows that a hashed column needs
COLUMNS = 2**17  # of a block of hashed words
PAIR_COLUMNS = 2**20  # of hashed word pairs
LONGEST = 2000  # characters of a text that are read: a pair of longer ones has millions of word pairs
START = 5  # letters of a word's start
LONGEST_TARGET = 24  # words of a target that make pairs


def _hashing(**options: object) -> HashingVectorizer:
    return HashingVectorizer(n_features=COLUMNS, alternate_sign=False, norm=None, lowercase=False, **options)


BLOCKS = (
    ("query", _hashing(ngram_range=(1, 2))),
    ("query", _hashing(analyzer="char_wb", ngram_range=(2, 4))),
    ("target", _hashing(ngram_range=(1, 2))),
)


def _shorten(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the first `LONGEST` characters of each text."""
    texts = table[["query", "query_en", "target"]]
    return table.assign(**{name: texts[name].map(lambda text: text[:LONGEST], na_action="ignore") for name in texts})


def _queries(table: pd.DataFrame, translation: bool) -> list[str]:
    """The query and, with translation, its English where it differs, as one text."""
    if not translation:
        return table["query"].tolist()
    pairs = zip(table["query"], table["query_en"], strict=True)
    return [query if query == english else f"{query} {english}" for query, english in pairs]


def _targets(table: pd.DataFrame) -> list[str]:
    """The tidied targets in lower case."""
    return [tidy(target).lower() for target in table["target"]]


def count_words(table: pd.DataFrame, translation: bool) -> list[csr_matrix]:
    """Counts of hashed n-grams, one block each, `[rows, COLUMNS]`: words and characters of the query, words of the target."""
    texts = {"query": _queries(table, translation), "target": _targets(table)}
    return [vectorizer.transform(texts[side]) for side, vectorizer in BLOCKS]


def _weigh(blocks: list[csr_matrix], idf: Array) -> csr_matrix:
    """TF-IDF of counts: 1 + log of the count times the inverse document frequency, each block's rows of length 1."""
    weighted = []
    for block, weights in zip(blocks, np.split(idf, len(blocks)), strict=True):
        block = block.astype(np.float64).copy()
        block.data = (1 + np.log(block.data)) * weights[block.indices]
        weighted.append(normalize(block))
    return hstack(weighted).tocsr()


def _document_frequencies(blocks: list[csr_matrix]) -> Array:
    """Smoothed inverse document frequencies of all blocks, one after the other."""
    return np.concatenate(
        [np.log((1 + b.shape[0]) / (1 + np.bincount(b.indices, minlength=COLUMNS))) + 1 for b in blocks]
    )


def pair_words(table: pd.DataFrame, translation: bool) -> csr_matrix:
    """The start of every word of the query, and of its English, beside the start of every word of the target and every level: hashed pairs.

    `[rows, PAIR_COLUMNS]`, rows of length 1. Cross-product features as in Cheng et al. 2016 (Wide & Deep); starts instead of words, so that
    forms of a word meet.
    """
    queries = _queries(table, translation)
    sides = {text: sorted(_starts(text)) for text in dict.fromkeys(queries)}
    targets = {text: _parts(text) for text in table["target"].unique()}
    hasher = FeatureHasher(PAIR_COLUMNS, input_type="string", alternate_sign=False)
    rows = zip(queries, table["target"], strict=True)
    return normalize(
        hasher.transform([f"{a}|{b}" for a in sides[query] for b in targets[target]] for query, target in rows)
    )


def _starts(text: str) -> set[str]:
    """The first letters of each distinct word, without accents."""
    return {word[:START] for word in words(strip_accents(text))}


def _parts(target: str | None) -> list[str]:
    """The starts of a target's first words and, of a category path, its levels."""
    text = tidy(target).lower()
    levels = [f"level {level}" for level in split_path(text)] if "," in text else []
    return [*sorted(_starts(" ".join(words(text)[:LONGEST_TARGET]))), *levels]


def _words(text: str) -> set[str]:
    """The distinct words without accents."""
    return set(words(strip_accents(text)))


def _trigrams(text: str) -> set[str]:
    """The distinct character trigrams of the words without accents, with a space at both ends of the text."""
    line = f" {' '.join(words(strip_accents(text)))} "
    return {line[start : start + 3] for start in range(max(1, len(line) - 2))}


def _overlaps(query: str, target: str) -> list[float]:
    """Jaccard index and covered share of the query for words, the same for trigrams, 1 if any word is common."""
    values = []
    for units in (_words, _trigrams):
        left, right = units(query), units(target)
        common = len(left & right)
        values += [common / max(1, len(left | right)), common / max(1, len(left))]
    return [*values, float(values[0] > 0)]


def overlap_features(table: pd.DataFrame, translation: bool = True) -> csr_matrix:
    """Overlap of the query, and of its English, with the target, shape `[rows, 10]`, or `[rows, 5]` without translation."""
    columns = [table["query"].tolist()] + ([table["query_en"].tolist()] if translation else [])
    pairs = zip(*columns, _targets(table), strict=True)
    return csr_matrix([[value for query in pair[:-1] for value in _overlaps(query, pair[-1])] for pair in pairs])


def _features(recipe: Recipe, table: pd.DataFrame, fitted: Fitted) -> csr_matrix:
    """The features of a recipe's kind, `[rows, columns]`; of hashed ones those that the training rows have (`columns`).

    Word pairs say what goes together, overlap what is the same: the pairs' features hold both.
    """
    if recipe.kind == "overlap":
        return overlap_features(table, recipe.translation)
    if recipe.kind == "tfidf":
        features = _weigh(count_words(table, recipe.translation), fitted["idf"])
    else:
        features = pair_words(table, recipe.translation)
    features = features[:, fitted["columns"]] if "columns" in fitted else features
    if recipe.kind == "wordpairs" and "columns" in fitted:
        return hstack([features, overlap_features(table, recipe.translation)]).tocsr()
    return features


@threadpool_limits.wrap(limits=1)
def fit(recipe: Recipe, train: pd.DataFrame) -> Fitted:
    """The arrays of a baseline that reads texts alone, from `query, query_en, target, label`; C is chosen by query-grouped AUC."""
    if recipe.kind == "constant":
        return {"share": np.array([train["label"].mean()])}
    train, fitted = _shorten(train), {}
    if recipe.kind == "tfidf":
        fitted["idf"] = _document_frequencies(count_words(train, recipe.translation))
    features, label = _features(recipe, train, fitted), train["label"].to_numpy()
    if recipe.kind != "overlap":
        frequency = np.bincount(features.indices, minlength=features.shape[1])
        fitted["columns"] = np.flatnonzero(frequency >= LEAST_FREQUENCY)
        features = _features(recipe, train, fitted)
    few = train["query"].isin(sample_queries(train, TUNING_ROWS, recipe.seed)["query"]).to_numpy()
    strength = _choose_strength(features[few], train[few], STRENGTHS[recipe.kind], recipe.seed)
    model = LogisticRegression(C=strength, max_iter=400, random_state=recipe.seed).fit(features, label)
    return fitted | {"coefficients": model.coef_[0], "intercept": model.intercept_, "strength": np.array([strength])}


def _choose_strength(features: csr_matrix, table: pd.DataFrame, strengths: tuple[float, ...], seed: int) -> float:
    """The C of the best mean AUC in three-fold cross-validation grouped by query; the middle one where no fold has both labels."""
    label, queries = table["label"].to_numpy(), table["query"].to_numpy()
    parts = min(3, len(np.unique(queries)))
    if parts < 2 or len(np.unique(label)) < 2:
        return strengths[len(strengths) // 2]
    splits = [
        (a, b) for a, b in GroupKFold(parts).split(features, label, queries) if _both(label[a]) and _both(label[b])
    ]
    if not splits:
        return strengths[len(strengths) // 2]
    for rest, part in splits:
        check_unseen(queries[rest], queries[part], "the choice of a strength")
    models = [LogisticRegression(C=strength, max_iter=400, random_state=seed) for strength in strengths]
    scores = [cross_val_score(model, features, label, cv=splits, scoring="roc_auc").mean() for model in models]
    return strengths[int(np.argmax(scores))]


def _both(label: NDArray[np.int64]) -> bool:
    return len(np.unique(label)) == 2


def predict(recipe: Recipe, fitted: Fitted, table: pd.DataFrame) -> Array:
    """Probabilities `[rows]` of a baseline that reads texts alone, from the arrays of `fit`."""
    if recipe.kind == "constant":
        return np.full(len(table), fitted["share"][0])
    values = _features(recipe, _shorten(table), fitted) @ fitted["coefficients"] + fitted["intercept"][0]
    return 1 / (1 + np.exp(-values))


@threadpool_limits.wrap(limits=1)
def cross_fit(train: pd.DataFrame, seed: int, parts: int = 3) -> Array | None:
    """Out-of-fold probabilities `[rows]` of the training rows themselves, by query group: `FINDERS`, weighed by a logistic regression.

    No baseline answers a row that it was fitted on, nor do the weights. `train` needs `query_group` besides what `fit` needs.
    None where a part's other rows have one label only.
    """
    recipes = [Recipe(kind, "baseline", kind=kind, seed=seed) for kind in FINDERS]
    groups, label = train["query_group"].to_numpy(), train["label"].to_numpy()
    if len(np.unique(groups)) < 2:
        return None
    splits = list(
        GroupKFold(min(parts, len(np.unique(groups))), shuffle=True, random_state=seed).split(groups, label, groups)
    )
    if not all(_both(label[rest]) for rest, _ in splits):
        return None
    odds = np.zeros((len(train), len(recipes)))
    for rest, part in splits:
        check_unseen(groups[rest], groups[part], "the search for noisy labels")
        for column, recipe in enumerate(recipes):
            odds[part, column] = log_odds(predict(recipe, fit(recipe, train.iloc[rest]), train.iloc[part]))
    probability = np.zeros(len(train))
    for rest, part in splits:
        probability[part] = LogisticRegression().fit(odds[rest], label[rest]).predict_proba(odds[part])[:, 1]
    return probability


@threadpool_limits.wrap(limits=1)
def fit_cosines(cosines: Array, label: NDArray[np.int64], seed: int) -> Fitted:
    """The share of the English cosine, and Platt's two numbers, from cosines `[rows, 2]` for the original and the English query."""
    best = max(_mixtures(), key=lambda mixture: roc_auc_score(label, cosines @ mixture))
    model = LogisticRegression(C=1e4, random_state=seed).fit(cosines @ best[:, None] * 20, label)
    return {"mixture": best, "slope": model.coef_[0], "intercept": model.intercept_}


def _mixtures() -> Iterator[Array]:
    return (np.array([1 - share, share]) for share in (0.0, 0.25, 0.5, 0.75, 1.0))


def predict_cosines(fitted: Fitted, cosines: Array) -> Array:
    """Probabilities `[rows]` from the arrays of `fit_cosines`."""
    values = cosines @ fitted["mixture"] * 20 * fitted["slope"][0] + fitted["intercept"][0]
    return 1 / (1 + np.exp(-values))
