"""The candidates without a trained network, against hand counts and on tables that they can separate."""

import numpy as np
import pandas as pd
import pytest

from utils.evaluation.metrics import auc
from utils.experiment import baselines

WORDS = ("red", "blue", "green", "shoe", "shirt", "sock", "lamp", "chair", "table", "phone")


def pair(query: str, target: str, english: str = "") -> pd.DataFrame:
    """A table of one row."""
    return pd.DataFrame({"query": [query], "query_en": [english or query], "target": [target], "label": [1]})


def toy(rows: int, seed: int) -> pd.DataFrame:
    """Rows whose label says whether the query's word stands in the target; `query_en` is the word, `query` its code."""
    rng = np.random.default_rng(seed)
    numbers, label = rng.integers(0, len(WORDS), rows), rng.integers(0, 2, rows)
    others = (numbers + rng.integers(1, len(WORDS), rows)) % len(WORDS)
    english = [WORDS[number] for number in numbers]
    target = [f"home > {WORDS[number]}" for number in np.where(label, numbers, others)]
    query = [f"x{number}" for number in numbers]
    return pd.DataFrame({"query": query, "query_en": english, "target": target, "label": label})


def test_the_constant_is_the_training_rows_share_of_positives() -> None:
    train = pd.DataFrame({"label": [1, 0, 1, 1]})
    left, right = baselines.constant(train, [train.head(2), train.head(0)])
    assert left.tolist() == [0.75, 0.75] and right.shape == (0,)


def test_overlaps_are_what_one_counts_by_hand() -> None:
    # Words: one of {red, shoe} and {red, shoes} is common. Trigrams of " red shoe " and " red shoes ": 8 and 9, 7 common.
    expected = [1 / 3, 1 / 2, 7 / 10, 7 / 8, 1, 0, 0, 0, 0, 0]
    features = baselines.overlap_features(pair("red shoe", "Red > Shoes", english="hat"))
    assert features.shape == (1, 10) and features.toarray()[0].tolist() == pytest.approx(expected)
    features = baselines.overlap_features(pair("red shoe", "Red > Shoes", english="hat"), translation=False)
    assert features.toarray()[0].tolist() == pytest.approx(expected[:5])


def test_overlaps_ignore_case_and_accents_and_allow_empty_texts() -> None:
    alike = baselines.overlap_features(pair("zapatería", "ZAPATERIA"), translation=False)
    assert alike.toarray()[0].tolist() == [1, 1, 1, 1, 1]
    for query, target in (("", "shoe"), ("shoe", "")):
        empty = baselines.overlap_features(pair(query, target), translation=False)
        assert empty.toarray()[0].tolist() == [0, 0, 0, 0, 0]


def test_overlap_learns_that_common_words_are_relevant_through_the_translation() -> None:
    train, test = toy(200, 1), toy(60, 2)
    with_english, again = baselines.overlap(train, [test, test.iloc[::-1]], translation=True, seed=3)
    (without,) = baselines.overlap(train, [test], translation=False, seed=3)
    assert auc(test["label"], with_english) == 1.0
    assert again[::-1].tolist() == with_english.tolist()  # a row's probability does not depend on its position
    assert np.ptp(without) == pytest.approx(0)  # the codes have no letter in common with any target


def test_tfidf_separates_rows_by_the_words_of_the_target() -> None:
    train, test = toy(200, 1), toy(200, 2)
    for table in (train, test):
        table["label"] = table["target"].str.contains("sh").astype(int)  # shoes and shirts
    (probability,) = baselines.tfidf(train, [test], translation=False, seed=3)
    assert probability.shape == (200,) and ((probability > 0) & (probability < 1)).all()
    assert auc(test["label"], probability) > 0.99


def test_tfidf_reads_the_english_query_only_with_translation() -> None:
    train, test = toy(200, 1), toy(200, 2)
    for number, table in enumerate((train, test)):
        table["label"] = (table["query_en"].str.len() > 4).astype(int)  # only the English query determines it
        table["query"], table["target"] = [f"code {number}x{row}" for row in range(200)], "home"
    (with_english,) = baselines.tfidf(train, [test], translation=True, seed=3)
    (without,) = baselines.tfidf(train, [test], translation=False, seed=3)
    assert auc(test["label"], with_english) > 0.99
    assert 0.3 < auc(test["label"], without) < 0.7


def test_the_share_of_the_english_cosine_is_fitted() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 400)
    train = pd.DataFrame({"label": label})
    english = 0.5 + 0.1 * label + rng.normal(0, 0.1, 400)
    similarities = np.column_stack([rng.uniform(0, 1, 400), english])  # the original's cosine is noise
    steps = np.linspace(0.2, 0.9, 8)
    rising, flat = np.column_stack([np.zeros(8), steps]), np.column_stack([steps, np.full(8, 0.55)])
    own, by_english, by_query = baselines.from_cosines(train, [similarities, similarities, rising, flat], seed=1)
    assert (np.diff(by_english) > 0).all() and np.ptp(by_query) == pytest.approx(0)  # the English alone counts
    assert own.mean() == pytest.approx(label.mean(), abs=1e-3)  # Platt's scaling keeps the mean
    assert auc(label, own) == pytest.approx(auc(label, english))


def test_cosines_of_the_query_count_where_the_english_says_nothing() -> None:
    train = pd.DataFrame({"label": [1, 0, 1, 0, 1, 0, 0, 1]})
    query = np.array([0.9, 0.2, 0.8, 0.3, 0.4, 0.5, 0.1, 0.7])
    similarities = np.column_stack([query, 1 - query])
    probability = baselines.from_cosines(train, [similarities, similarities], seed=1)[0]
    assert (np.argsort(probability) == np.argsort(query)).all()
