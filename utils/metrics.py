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
    """Area under the ROC curve; NaN where only one class stands."""
    label = np.asarray(label)
    return float(roc_auc_score(label, probability)) if 0 < label.sum() < len(label) else float("nan")


def constant_f1(label: ArrayLike) -> float:
    """F1 of answering "relevant" to every row: 2p / (1 + p) for a share p of positives."""
    share = float(np.mean(label))
    return 2 * share / (1 + share)


def best_threshold(label: ArrayLike, probability: ArrayLike) -> tuple[float, float]:
    """The cut `probability >= threshold` with the highest F1, and that F1.

    Among equal cuts the lowest is taken; it lies half-way between two seen values, so that it
    does not hang on the last bits of one probability.
    """
    label, probability = np.asarray(label, dtype=float), np.asarray(probability, dtype=float)
    order = np.argsort(-probability, kind="stable")
    ranked = probability[order]
    hits = np.cumsum(label[order])
    scores = 2 * hits / (np.arange(1, len(label) + 1) + label.sum())
    ends = np.append(ranked[1:] < ranked[:-1], True)  # a cut cannot part equal probabilities
    scores[~ends] = -1.0
    best = len(scores) - 1 - int(np.argmax(scores[::-1]))
    below = ranked[best + 1] if best + 1 < len(ranked) else min(0.0, ranked[best])
    return float((ranked[best] + below) / 2), float(scores[best])


def _logit(probability: ArrayLike) -> Array:
    clipped = np.clip(np.asarray(probability, dtype=float), 1e-6, 1 - 1e-6)
    return np.log(clipped / (1 - clipped))


def fit_calibration(label: ArrayLike, probability: ArrayLike) -> tuple[float, float]:
    """Platt scaling (1999): slope and intercept on the log-odds, so that probabilities mean frequencies."""
    label = np.asarray(label)
    if len(np.unique(label)) < 2:
        return 1.0, 0.0
    model = LogisticRegression(C=1e4).fit(_logit(probability)[:, None], label)
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    return (slope, intercept) if slope > 0 else (1.0, 0.0)  # never turn a ranking round


def calibrate(probability: ArrayLike, calibration: tuple[float, float]) -> Array:
    """Apply `fit_calibration`'s slope and intercept."""
    slope, intercept = calibration
    return 1 / (1 + np.exp(-(slope * _logit(probability) + intercept)))


def f1_interval(
    label: ArrayLike, prediction: ArrayLike, cluster: ArrayLike, repeats: int = 1000, seed: int = 0, share: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of F1 that draws whole clusters (queries), as rows of one query are not independent.

    Cluster bootstrap after Field and Welsh (2007, JRSS-B 69). Returns the lower and the upper end.
    """
    label, prediction = np.asarray(label, dtype=bool), np.asarray(prediction, dtype=bool)
    if len(label) == 0:
        return float("nan"), float("nan")
    groups, index = np.unique(np.asarray(cluster).astype(str), return_inverse=True)
    hit = np.bincount(index, weights=label & prediction, minlength=len(groups))
    both = np.bincount(index, weights=label.astype(float) + prediction, minlength=len(groups))
    rng = np.random.default_rng(seed)
    values = np.empty(repeats)
    for repeat in range(repeats):
        draw = rng.integers(len(groups), size=len(groups))
        values[repeat] = 2 * hit[draw].sum() / max(both[draw].sum(), 1.0)
    tail = (1 - share) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
