"""Intervals by a bootstrap that draws whole queries, as rows of one query are not independent; thresholds are fitted again inside.

Cluster bootstrap after Field and Welsh (2007, JRSS-B 69); percentile intervals.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from utils.evaluation.thresholds import cross_fitted_thresholds

Array = NDArray[np.float64]
REPEATS = 1000
ROWS = 4_000_000  # rows drawn in all, at most, where thresholds are fitted again in each repeat
LEAST_REPEATS = 200
COVERAGE = 0.95


def draw_weights(cluster: ArrayLike, repeats: int, seed: int) -> Iterator[Array]:
    """How often each row is drawn, `[rows]`, once per repeat: whole clusters, as many as there are, with replacement."""
    distinct, index = np.unique(np.asarray(cluster).astype(str), return_inverse=True)
    rng = np.random.default_rng(seed)
    for _ in range(repeats):
        draw = rng.integers(len(distinct), size=len(distinct))
        yield np.bincount(draw, minlength=len(distinct))[index].astype(float)


def choose_repeats(rows: int) -> int:
    """The number of repeats that keeps the work of fitting thresholds within bounds."""
    return int(np.clip(ROWS // max(1, rows), LEAST_REPEATS, REPEATS))


def quantiles(values: ArrayLike, coverage: float = COVERAGE) -> tuple[float, float]:
    """The lower and the upper end of the interval that holds a share `coverage` of the values; NaN where there are none."""
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return float("nan"), float("nan")
    tail = (1 - coverage) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def weighted_f1(label: Array, prediction: Array, weight: Array) -> float:
    """F1 of the positive class where rows count by `weight`; 0 where nothing is positive."""
    positives = float(weight @ (label + prediction))
    return 2 * float(weight @ (label * prediction)) / positives if positives else 0.0


def weighted_auc(label: Array, probability: Array, weight: Array) -> float:
    """Area under the ROC curve where rows count by `weight`; NaN where all labels are the same.

    It is the share of pairs, one row of each label, in the right order; a tie is half a pair.
    """
    distinct, index = np.unique(probability, return_inverse=True)
    positives = np.bincount(index, weights=weight * label, minlength=len(distinct))
    negatives = np.bincount(index, weights=weight * (1 - label), minlength=len(distinct))
    pairs = positives.sum() * negatives.sum()
    below = np.cumsum(negatives) - negatives / 2
    return float(positives @ below / pairs) if pairs else float("nan")


def f1_interval(
    label: ArrayLike, prediction: ArrayLike, cluster: ArrayLike, repeats: int = REPEATS, seed: int = 0,
    coverage: float = COVERAGE,
) -> tuple[float, float]:  # fmt: skip
    """The interval of F1 of predictions whose threshold was fitted elsewhere; NaN for a table without rows."""
    label, prediction = np.asarray(label, dtype=bool), np.asarray(prediction, dtype=bool)
    if len(label) == 0:
        return float("nan"), float("nan")
    groups, index = np.unique(np.asarray(cluster).astype(str), return_inverse=True)
    hits = np.bincount(index, weights=label & prediction, minlength=len(groups))
    positives = np.bincount(index, weights=label.astype(float) + prediction, minlength=len(groups))  # of both
    rng = np.random.default_rng(seed)
    values = np.empty(repeats)
    for repeat in range(repeats):
        draw = rng.integers(len(groups), size=len(groups))
        values[repeat] = 2 * hits[draw].sum() / max(positives[draw].sum(), 1.0)
    return quantiles(values, coverage)


def cross_fitted_f1(table: pd.DataFrame, weight: Array) -> float:
    """F1 of `table` (`label, probability, part`) with rows counted by `weight`, at thresholds fitted on other parts."""
    thresholds = cross_fitted_thresholds(table, table["part"].to_numpy(), weight)
    prediction = (table["probability"].to_numpy() >= thresholds).astype(float)
    return weighted_f1(table["label"].to_numpy(dtype=float), prediction, weight)


def auc_of(table: pd.DataFrame, weight: Array) -> float:
    """AUC of `table` (`label, probability`) with rows counted by `weight`."""
    return weighted_auc(table["label"].to_numpy(dtype=float), table["probability"].to_numpy(dtype=float), weight)


def paired_differences(
    left: pd.DataFrame,
    right: pd.DataFrame,
    cluster: ArrayLike,
    measure: Callable[[pd.DataFrame, Array], float],
    repeats: int,
    seed: int,
) -> tuple[float, Array]:
    """`measure` of `left` less that of `right` on the rows as they are, and on each of the repeats, `[repeats]`.

    Both are tables of the same rows in the same order; every repeat draws the same queries for both. Raises ValueError
    where the ids differ.
    """
    if left["id"].tolist() != right["id"].tolist():
        raise ValueError("a paired difference needs the same rows on both sides, in the same order")
    ones = np.ones(len(left))
    values = [measure(left, drawn) - measure(right, drawn) for drawn in draw_weights(cluster, repeats, seed)]
    return measure(left, ones) - measure(right, ones), np.array(values)


def excludes_zero(interval: dict[str, float]) -> bool:
    """Whether a difference lies above zero with its whole interval: what is needed to adopt the left side."""
    return interval["lo"] > 0
