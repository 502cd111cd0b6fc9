"""The rungs that need no training of a network: constant, tfidf, overlap and zeroshot."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_score

from utils.text import strip_accents, tidy, words

Probability = NDArray[np.float64]
STRENGTHS = (0.03, 0.3, 3.0)  # inverse regularisations that are tried


def _targets(table: pd.DataFrame) -> list[str]:
    return [tidy(target).lower() for target in table["target"]]


def _both(table: pd.DataFrame, translation: bool) -> list[str]:
    """Original and English query as one text."""
    if not translation:
        return table["query"].tolist()
    pairs = zip(table["query"], table["query_en"], strict=True)
    return [query if query == english else f"{query} {english}" for query, english in pairs]


def _tuned_regression(features: object, table: pd.DataFrame, seed: int) -> LogisticRegression:
    """Logistic regression whose strength has the best AUC over three query-grouped parts of the teachers."""
    label, queries = table["label"].to_numpy(), table["query"].to_numpy()
    models = [LogisticRegression(C=strength, max_iter=400, random_state=seed) for strength in STRENGTHS]
    parts = GroupKFold(min(3, len(np.unique(queries))))
    score = [cross_val_score(m, features, label, groups=queries, cv=parts, scoring="roc_auc").mean() for m in models]
    return models[int(np.nanargmax(score))].fit(features, label)


def tfidf(teachers: pd.DataFrame, asked: Sequence[pd.DataFrame], translation: bool, seed: int) -> list[Probability]:
    """Character and word n-grams of the query and of the target, each in its own space, and logistic regression."""
    words_of = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    letters_of = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), min_df=3, sublinear_tf=True, max_features=100_000
    )
    targets_of = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    parts = (
        (words_of, lambda t: _both(t, translation)),
        (letters_of, lambda t: _both(t, translation)),
        (targets_of, _targets),
    )
    features = hstack([vectorizer.fit_transform(text_of(teachers)) for vectorizer, text_of in parts]).tocsr()
    model = _tuned_regression(features, teachers, seed)
    return [model.predict_proba(hstack([v.transform(of(t)) for v, of in parts]).tocsr())[:, 1] for t in asked]


def _grams(text: str, size: int = 3) -> set[str]:
    joined = f" {' '.join(words(strip_accents(text)))} "
    return {joined[at : at + size] for at in range(max(1, len(joined) - size + 1))}


def _shares(query: str, target: str) -> list[float]:
    """Word and character overlap of two texts: Jaccard, share of the query that is covered, any word at all."""
    found = []
    for part in (lambda text: set(words(strip_accents(text))), _grams):
        left, right = part(query), part(target)
        common = len(left & right)
        found += [common / max(1, len(left | right)), common / max(1, len(left))]
    return [*found, float(found[0] > 0)]


def overlap_features(table: pd.DataFrame, translation: bool = True) -> csr_matrix:
    """Overlap of the query, and of its English, with the target: one row of 10 numbers (5 without translation) a pair."""
    columns = [table["query"].tolist()] + ([table["query_en"].tolist()] if translation else [])
    targets = _targets(table)
    return csr_matrix(
        [[x for query in pair[:-1] for x in _shares(query, pair[-1])] for pair in zip(*columns, targets, strict=True)]
    )


def overlap(teachers: pd.DataFrame, asked: Sequence[pd.DataFrame], translation: bool, seed: int) -> list[Probability]:
    """Logistic regression on word and character overlap."""
    model = _tuned_regression(overlap_features(teachers, translation), teachers, seed)
    return [model.predict_proba(overlap_features(table, translation))[:, 1] for table in asked]


def constant(teachers: pd.DataFrame, asked: Sequence[pd.DataFrame]) -> list[Probability]:
    """The share of positives, for every row: with a threshold for F1 this answers "relevant" to everything."""
    return [np.full(len(table), teachers["label"].mean()) for table in asked]


def from_cosines(teachers: pd.DataFrame, cosines: Sequence[NDArray[np.float64]], seed: int) -> list[Probability]:
    """Probabilities from cosines, `[rows, 2]` for original and English query; the first array is the teachers'.

    Tuned is only how much of the English is mixed in, and Platt's two numbers: no weight of the network moves.
    """
    label = teachers["label"].to_numpy()
    mixes = [np.array([1 - share, share]) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    best = max(mixes, key=lambda mix: roc_auc_score(label, cosines[0] @ mix))
    model = LogisticRegression(C=1e4, random_state=seed).fit(cosines[0] @ best[:, None] * 20, label)
    return [model.predict_proba(cosine @ best[:, None] * 20)[:, 1] for cosine in cosines[1:]]
