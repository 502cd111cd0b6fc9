"""Thresholds: the best one of given rows, and for each row one that was fitted on other queries."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from utils.data.leaks import check_parts

Array = NDArray[np.float64]
Rule = Callable[
    [ArrayLike, ArrayLike, ArrayLike | None], tuple[float, float]
]  # labels, probabilities, weights -> threshold, its F1
PARTS = 5  # of the queries, in cross-fitting
PRIOR = 500  # rows that the expected threshold weighs beside the best one
PULL = 2000  # weight, in rows, of the task's threshold when a language's threshold is shrunk towards it


def best_threshold(label: ArrayLike, probability: ArrayLike, weight: ArrayLike | None = None) -> tuple[float, float]:
    """The threshold with the highest F1 of `probability >= threshold`, and that F1; rows count by `weight` (default 1 each).

    Among thresholds of equal F1 the lowest is taken. It lies half-way between two neighbouring probabilities, so that it
    does not depend on the last bits of one of them. Without any row of positive weight it is 0.5, with F1 0.
    """
    label, probability = np.asarray(label, dtype=float), np.asarray(probability, dtype=float)
    weight = np.ones(len(label)) if weight is None else np.asarray(weight, dtype=float)
    order = np.argsort(-probability, kind="stable")
    order = order[weight[order] > 0]
    if len(order) == 0:
        return 0.5, 0.0
    descending, counts = probability[order], weight[order]
    hits = np.cumsum(label[order] * counts)
    scores = 2 * hits / (np.cumsum(counts) + hits[-1])
    ends = np.append(descending[1:] < descending[:-1], True)  # no threshold separates equal probabilities
    scores[~ends] = -1.0
    best = len(scores) - 1 - int(np.argmax(scores[::-1]))
    below = descending[best + 1] if best + 1 < len(descending) else min(0.0, descending[best])
    middle = (descending[best] + below) / 2
    return float(middle if middle > below else descending[best]), float(
        scores[best]
    )  # neighbouring numbers have none between


def expected_threshold(probability: ArrayLike, weight: ArrayLike | None = None) -> float:
    """The threshold with the highest F1 to be expected where calibrated probabilities are all that is known.

    Positives among the rows from the top down are expected to be the sum of their probabilities; the optimum lies at half the F1 that it
    reaches (Lipton et al. 2014). It needs no label, so it hardly varies from sample to sample.
    """
    probability = np.asarray(probability, dtype=float)
    weight = np.ones(len(probability)) if weight is None else np.asarray(weight, dtype=float)
    order = np.argsort(-probability, kind="stable")
    counts, expected = np.cumsum(weight[order]), np.cumsum(weight[order] * probability[order])
    if len(order) == 0 or expected[-1] == 0:
        return 0.5
    return float(np.max(2 * expected / (counts + expected[-1])) / 2)


def fit_threshold(label: ArrayLike, probability: ArrayLike, weight: ArrayLike | None = None) -> tuple[float, float]:
    """The threshold of calibrated probabilities, and the F1 there: the best one, pulled to the expected one as by `PRIOR` rows.

    On a few hundred rows the best threshold is mostly noise; on many thousands it is nearly all that counts.
    """
    label, probability = np.asarray(label, dtype=float), np.asarray(probability, dtype=float)
    weight = np.ones(len(label)) if weight is None else np.asarray(weight, dtype=float)
    best, rows = best_threshold(label, probability, weight)[0], weight.sum()
    threshold = (rows * best + PRIOR * expected_threshold(probability, weight)) / (rows + PRIOR)
    prediction = probability >= threshold
    positives = weight @ (label + prediction)
    return float(threshold), float(2 * (weight @ (label * prediction)) / positives) if positives else 0.0


def shrunk_thresholds(table: pd.DataFrame, threshold: float, weight: ArrayLike | None = None) -> dict[str, float]:
    """Each language's best threshold, shrunk linearly towards the task's: the mean of both, weighted by its rows and `PULL`.

    `table` holds `language, label, probability`. A language whose labels are all the same gets none.
    """
    weight = np.ones(len(table)) if weight is None else np.asarray(weight, dtype=float)
    languages, label, probability = (table[name].to_numpy() for name in ("language", "label", "probability"))
    thresholds = {}
    for language in sorted(set(languages)):
        rows = (languages == language) & (weight > 0)
        if len(np.unique(label[rows])) == 2:
            best, size = best_threshold(label[rows], probability[rows], weight[rows])[0], weight[rows].sum()
            thresholds[str(language)] = float((size * best + PULL * threshold) / (size + PULL))
    return thresholds


def split_queries(cluster: ArrayLike, seed: int, parts: int = PARTS) -> NDArray[np.int64]:
    """The part, from 0, of each row: all rows of a cluster (a query group) lie in one, and the parts hold as many clusters.

    The split hangs on the set of clusters and the seed alone, so two tables of the same rows are split alike.
    """
    distinct, index = np.unique(np.asarray(cluster).astype(str), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(distinct))
    part = np.empty(len(distinct), dtype=np.int64)
    part[order] = np.arange(len(distinct)) * parts // max(1, len(distinct))
    return part[index]


def cross_fitted_thresholds(
    table: pd.DataFrame, part: NDArray[np.int64], weight: ArrayLike | None = None, per_language: bool = False,
    rule: Rule = best_threshold,
) -> Array:  # fmt: skip
    """For each row the threshold that a rule gives for the rows of the other parts, `[rows]`: fitted on other queries than it decides.

    `table` holds `label, probability` and, for thresholds `per_language`, `language`.
    """
    weight = np.ones(len(table)) if weight is None else np.asarray(weight, dtype=float)
    label, probability = table["label"].to_numpy(dtype=float), table["probability"].to_numpy(dtype=float)
    thresholds = np.empty(len(table))
    for number in np.unique(part):
        others = weight * (part != number)
        common, _ = rule(label, probability, others)
        rows = part == number
        thresholds[rows] = common
        if per_language:
            own = shrunk_thresholds(table, common, others)
            thresholds[rows] = table["language"][rows].map(own).astype(float).fillna(common).to_numpy()
    return thresholds


def cross_fit(table: pd.DataFrame, cluster: ArrayLike, seed: int) -> pd.DataFrame:
    """The rows of `table` (`label, probability`) with `part`, `threshold` and `prediction`, cross-fitted by cluster.

    Raises LeakError where a cluster lies in several parts.
    """
    part = split_queries(cluster, seed)
    check_parts(part, cluster, "thresholds")
    thresholds = cross_fitted_thresholds(table, part)
    prediction = (table["probability"].to_numpy() >= thresholds).astype(int)
    return table.assign(part=part, threshold=thresholds, prediction=prediction)
