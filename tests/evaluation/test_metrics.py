"""Scores of arrays against their definitions."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from utils.evaluation import metrics

CASES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10)), min_size=1, max_size=30)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30))
def test_f1_is_of_the_positive_class(rows: list[tuple[int, int]]) -> None:
    label, prediction = zip(*rows, strict=True)
    hits, positives = sum(a * b for a, b in rows), sum(label) + sum(prediction)
    assert metrics.f1(label, prediction) == pytest.approx(2 * hits / positives if positives else 0.0)


@given(CASES)
def test_auc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[int, int]]) -> None:
    pairs = [(a, b) for label, a in rows if label for other, b in rows if not other]
    found = metrics.auc([row[0] for row in rows], [row[1] for row in rows])
    if not pairs:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs))


def test_constant_f1_is_what_answering_yes_scores() -> None:
    label = np.array([1] * 69 + [0] * 31)
    assert metrics.constant_f1(label) == pytest.approx(f1_score(label, np.ones(100)))
    assert metrics.constant_f1([0, 0]) == 0.0 and metrics.constant_f1([1]) == 1.0


@given(st.floats(1e-6, 1 - 1e-6))
def test_log_odds_and_probabilities_are_inverse(probability: float) -> None:
    assert metrics.sigmoid(metrics.log_odds(probability)) == pytest.approx(probability)
    assert metrics.log_odds(probability) == pytest.approx(math.log(probability / (1 - probability)), abs=1e-9)


def test_certain_answers_stay_numbers() -> None:
    odds = metrics.log_odds([0.0, 1.0])
    assert odds.tolist() == pytest.approx([-math.log(1e6 - 1), math.log(1e6 - 1)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.sigmoid([-1000.0, 0.0, 1000.0]).tolist() == [0.0, 0.5, 1.0]
