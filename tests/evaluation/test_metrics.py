"""Thresholds, calibration and intervals against slow references."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from utils.evaluation import metrics

CASES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20)), min_size=1, max_size=40)


@given(CASES)
def test_no_other_threshold_beats_the_best_one(rows: list[tuple[int, int]]) -> None:
    label = np.array([row[0] for row in rows])
    probability = np.array([row[1] for row in rows]) / 20
    threshold, best = metrics.best_threshold(label, probability)
    assert best == pytest.approx(f1_score(label, probability >= threshold, zero_division=0.0))
    for other in [*probability, -1, 2]:
        assert best >= f1_score(label, probability >= other, zero_division=0.0) - 1e-12


@given(CASES)
def test_calibration_keeps_the_order(rows: list[tuple[int, int]]) -> None:
    label = np.array([row[0] for row in rows])
    probability = np.array([row[1] for row in rows]) / 20
    calibrated = metrics.calibrate(probability, metrics.fit_calibration(label, probability))
    order = np.argsort(probability, kind="stable")
    assert (np.diff(calibrated[order]) >= -1e-12).all() and ((calibrated >= 0) & (calibrated <= 1)).all()


def test_calibration_repairs_overconfidence() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.05, 0.95, 4000)
    label = rng.random(4000) < truth
    overconfident = metrics.calibrate(truth, (3.0, 0.0))
    repaired = metrics.calibrate(overconfident, metrics.fit_calibration(label, overconfident))
    assert np.abs(repaired - truth).mean() < 0.02 < np.abs(overconfident - truth).mean()


def test_constant_f1_is_what_answering_yes_scores() -> None:
    label = np.array([1] * 69 + [0] * 31)
    assert metrics.constant_f1(label) == pytest.approx(f1_score(label, np.ones(100)))


def test_clustered_interval_is_wider_where_rows_repeat() -> None:
    rng = np.random.default_rng(1)
    label, prediction = rng.integers(0, 2, 60), rng.integers(0, 2, 60)
    alone = metrics.f1_interval(np.repeat(label, 8), np.repeat(prediction, 8), np.arange(480))
    together = metrics.f1_interval(np.repeat(label, 8), np.repeat(prediction, 8), np.repeat(np.arange(60), 8))
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])
    assert together[0] <= metrics.f1(label, prediction) <= together[1]


def test_bootstrap_matches_a_row_by_row_reference() -> None:
    rng = np.random.default_rng(2)
    label, prediction, cluster = rng.integers(0, 2, 200), rng.integers(0, 2, 200), rng.integers(0, 40, 200)
    low, high = metrics.f1_interval(label, prediction, cluster, repeats=400, seed=3)
    draws = np.random.default_rng(3)
    groups = np.unique(cluster.astype(str))
    slow = []
    for _ in range(400):
        chosen = groups[draws.integers(len(groups), size=len(groups))]
        rows = np.concatenate([np.flatnonzero(cluster.astype(str) == group) for group in chosen])
        slow.append(f1_score(label[rows], prediction[rows]))
    assert (low, high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))
