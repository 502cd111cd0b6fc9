"""Weights of an ensemble's members: a logistic regression on their log-odds, in which a member that adds nothing gets none.

Stacked generalisation (Wolpert 1992) with a logistic second level.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

Array = NDArray[np.float64]
Z = 1.959963984540054  # of a 95 % interval
STRENGTH = 1e4  # inverse regularisation: next to none, as a handful of weights is fitted on hundreds of rows


@dataclass(frozen=True)
class Stack:
    """One weight per member on its log-odds, and an intercept: log-odds of the ensemble.

    `intervals` holds the 95 % interval of every member's weight; for one that was left out, of when it was.
    """

    weights: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    intercept: float


@threadpool_limits.wrap(limits=1)  # with more the weights would hang on their number
def fit_stack(members: dict[str, Array], label: ArrayLike, cluster: ArrayLike) -> Stack:
    """Fit weights and intercept on the members' log-odds `[rows]`.

    Members whose weight is not above zero with its whole interval are left out, the one with the lowest end first, and
    the others fitted again. The last one stays; alone it is calibrated by Platt's scaling (1999). Where it does not
    rank at all (all labels alike, or a slope that is not positive), it passes as it is.
    """
    label = np.asarray(label)
    names = [name for name, values in members.items() if len(np.unique(values)) > 1] or list(members)[:1]
    if len(np.unique(label)) < 2:  # or no rows at all
        return Stack({names[0]: 1.0}, {names[0]: (np.nan, np.nan)}, 0.0)
    left_out: dict[str, tuple[float, float]] = {}
    while True:
        stack = _fit({name: members[name] for name in names}, label, cluster)
        weakest = min(names, key=lambda name: stack.intervals[name][0])
        if len(names) == 1 or stack.intervals[weakest][0] > 0:
            break
        names.remove(weakest)
        left_out[weakest] = stack.intervals[weakest]
    only = names[0]
    if len(names) == 1 and stack.weights[only] <= 0:  # never reverse a ranking
        return Stack({only: 1.0}, stack.intervals | left_out, 0.0)
    return Stack(stack.weights, stack.intervals | left_out, stack.intercept)


def _fit(members: dict[str, Array], label: NDArray[np.int64], cluster: ArrayLike) -> Stack:
    """Weights and intervals of all members; the standard errors are robust to rows of one query being alike (Liang and Zeger 1986)."""
    columns = np.stack(list(members.values()), axis=1)
    model = LogisticRegression(C=STRENGTH, max_iter=1000).fit(columns, label)
    design = np.column_stack([columns, np.ones(len(label))])
    probability = model.predict_proba(columns)[:, 1]
    bread = np.linalg.pinv(design.T @ (design * (probability * (1 - probability))[:, None]))
    _, index = np.unique(np.asarray(cluster).astype(str), return_inverse=True)
    scores = np.zeros((index.max() + 1, design.shape[1]))
    np.add.at(scores, index, design * (label - probability)[:, None])
    groups = len(scores)
    meat = scores.T @ scores * groups / max(1, groups - 1)
    errors = Z * np.sqrt(np.maximum(0.0, np.diag(bread @ meat @ bread)))
    weights = model.coef_[0]
    intervals = {name: (float(w - e), float(w + e)) for name, w, e in zip(members, weights, errors[:-1], strict=True)}
    return Stack(dict(zip(members, map(float, weights), strict=True)), intervals, float(model.intercept_[0]))
