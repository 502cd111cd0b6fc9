"""Arrays in, numbers out: positive-class F1, AUC, the constant answer, log-odds."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
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


def log_odds(probability: ArrayLike) -> Array:
    """Log-odds of probabilities, clipped to 1e-6 .. 1 - 1e-6."""
    share = np.clip(np.asarray(probability, dtype=float), 1e-6, 1 - 1e-6)
    return np.log(share / (1 - share))


def sigmoid(values: ArrayLike) -> Array:
    """Probabilities of log-odds."""
    return expit(np.asarray(values, dtype=float))
