"""Arrays in, numbers out: positive-class F1, its best threshold, calibration, query-clustered intervals."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score

Array = NDArray[np.float64]


def f1(label: ArrayLike, prediction: ArrayLike) -> float:
    """F1 of the positive class, the competition's measure of a task; 0 where nothing is positive."""
    return float(f1_score(label, prediction, zero_division=0.0))


def auc(label: ArrayLike, probability: ArrayLike) -> float:
    """Area under the ROC curve; NaN where all labels are the same."""
    label = np.asarray(label)
    return float(roc_auc_score(label, probability)) if 0 < label.sum() < len(label) else float("nan")


def constant_f1(label: ArrayLike) -> float:
    """F1 of answering "relevant" to every row: 2p / (1 + p) for a share p of positives."""
    share = float(np.mean(label))
    return 2 * share / (1 + share)


def best_threshold(label: ArrayLike, probability: ArrayLike) -> tuple[float, float]:
    """The threshold with the highest F1 of `probability >= threshold`, and that F1.

    Among thresholds of equal F1 the lowest is taken. It lies half-way between two neighbouring probabilities, so that it
    does not depend on the last bits of one of them.
    """
    label, probability = np.asarray(label, dtype=float), np.asarray(probability, dtype=float)
    order = np.argsort(-probability, kind="stable")
    descending = probability[order]
    hits = np.cumsum(label[order])
    scores = 2 * hits / (np.arange(1, len(label) + 1) + label.sum())
    ends = np.append(descending[1:] < descending[:-1], True)  # no threshold separates equal probabilities
    scores[~ends] = -1.0
    best = len(scores) - 1 - int(np.argmax(scores[::-1]))
    below = descending[best + 1] if best + 1 < len(descending) else min(0.0, descending[best])
    return float((descending[best] + below) / 2), float(scores[best])


def _logit(probability: ArrayLike) -> Array:
    """Log-odds of probabilities, clipped to 1e-6 .. 1 - 1e-6."""
    share = np.clip(np.asarray(probability, dtype=float), 1e-6, 1 - 1e-6)
    return np.log(share / (1 - share))


def fit_calibration(label: ArrayLike, probability: ArrayLike) -> tuple[float, float]:
    """Platt scaling (1999): slope and intercept on the log-odds, so that probabilities match frequencies.

    The identity `(1, 0)` where all labels are the same or the fitted slope is not positive.
    """
    label = np.asarray(label)
    if len(np.unique(label)) < 2:
        return 1.0, 0.0
    model = LogisticRegression(C=1e4).fit(_logit(probability)[:, None], label)
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    return (slope, intercept) if slope > 0 else (1.0, 0.0)  # never reverse the ranking


def calibrate(probability: ArrayLike, calibration: tuple[float, float]) -> Array:
    """Probabilities after applying the slope and intercept of `fit_calibration`."""
    slope, intercept = calibration
    return 1 / (1 + np.exp(-(slope * _logit(probability) + intercept)))


def f1_interval(
    label: ArrayLike, prediction: ArrayLike, cluster: ArrayLike, repeats: int = 1000, seed: int = 0, share: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of F1 that draws whole clusters (queries), as rows of one query are not independent.

    Cluster bootstrap after Field and Welsh (2007, JRSS-B 69). `share` is the coverage. Returns the lower and the upper end,
    NaN for a table without rows.
    """
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
    tail = (1 - share) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
