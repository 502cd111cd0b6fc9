"""The candidates without a trained network: constant, tfidf, overlap and zeroshot. Tables in, probabilities out."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_score

from utils.data.text import strip_accents, tidy, words

Probability = NDArray[np.float64]
STRENGTHS = (0.03, 0.3, 3.0)  # candidate values of C, the inverse regularisation strength


def _targets(table: pd.DataFrame) -> list[str]:
    """The tidied targets in lower case."""
    return [tidy(target).lower() for target in table["target"]]


def _queries(table: pd.DataFrame, translation: bool) -> list[str]:
    """The query and, with translation, its English where it differs, as one text."""
    if not translation:
        return table["query"].tolist()
    pairs = zip(table["query"], table["query_en"], strict=True)
    return [query if query == english else f"{query} {english}" for query, english in pairs]


def _tuned_regression(features: object, table: pd.DataFrame, seed: int) -> LogisticRegression:
    """Logistic regression with the C of the best mean AUC in three-fold cross-validation grouped by query."""
    label, queries = table["label"].to_numpy(), table["query"].to_numpy()
    models = [LogisticRegression(C=strength, max_iter=400, random_state=seed) for strength in STRENGTHS]
    parts = GroupKFold(min(3, len(np.unique(queries))))
    scores = [cross_val_score(m, features, label, groups=queries, cv=parts, scoring="roc_auc").mean() for m in models]
    return models[int(np.nanargmax(scores))].fit(features, label)


def tfidf(train: pd.DataFrame, tables: Sequence[pd.DataFrame], translation: bool, seed: int) -> list[Probability]:
    """Logistic regression on TF-IDF weights: n-grams of the query's words and characters and of the target's words.

    `train` holds `query, query_en, target, label`. Returns one array of shape `[rows]` for each of `tables`.
    """
    query_words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    query_characters = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), min_df=3, sublinear_tf=True, max_features=100_000
    )
    target_words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    parts = (
        (query_words, lambda table: _queries(table, translation)),
        (query_characters, lambda table: _queries(table, translation)),
        (target_words, _targets),
    )
    features = hstack([vectorizer.fit_transform(texts(train)) for vectorizer, texts in parts]).tocsr()
    model = _tuned_regression(features, train, seed)
    matrices = [hstack([vectorizer.transform(texts(table)) for vectorizer, texts in parts]).tocsr() for table in tables]
    return [model.predict_proba(matrix)[:, 1] for matrix in matrices]


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


def overlap(train: pd.DataFrame, tables: Sequence[pd.DataFrame], translation: bool, seed: int) -> list[Probability]:
    """Logistic regression on `overlap_features`. Returns one array of shape `[rows]` for each of `tables`."""
    model = _tuned_regression(overlap_features(train, translation), train, seed)
    return [model.predict_proba(overlap_features(table, translation))[:, 1] for table in tables]


def constant(train: pd.DataFrame, tables: Sequence[pd.DataFrame]) -> list[Probability]:
    """The training rows' share of positives, for every row: at the best threshold this answers "relevant" to everything."""
    return [np.full(len(table), train["label"].mean()) for table in tables]


def from_cosines(train: pd.DataFrame, cosines: Sequence[NDArray[np.float64]], seed: int) -> list[Probability]:
    """Probabilities from cosines of shape `[rows, 2]`, for the original and the English query; `cosines[0]` is of `train`.

    Only the share of the English cosine and Platt's two numbers are fitted; the network stays as it is. Returns one array
    of shape `[rows]` for each of `cosines[1:]`.
    """
    label = train["label"].to_numpy()
    mixtures = [np.array([1 - share, share]) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    best = max(mixtures, key=lambda mixture: roc_auc_score(label, cosines[0] @ mixture))
    model = LogisticRegression(C=1e4, random_state=seed).fit(cosines[0] @ best[:, None] * 20, label)
    return [model.predict_proba(cosine @ best[:, None] * 20)[:, 1] for cosine in cosines[1:]]
