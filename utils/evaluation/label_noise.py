"""Training rows whose label out-of-fold probabilities contradict: confident learning (Northcutt et al. 2021, arXiv 1911.00068).

The probabilities must come from models that saw neither the row nor any row that validates what is trained on the result.
"""

from typing import Literal

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues
from numpy.typing import ArrayLike, NDArray

VERSION = 1  # changes whenever the same probabilities give other suspects
Remedy = Literal["keep", "drop", "relabel"]


def find_suspects(label: ArrayLike, probability: ArrayLike) -> NDArray[np.bool_]:
    """Which rows `[rows]` have a label that their out-of-fold `probability` of relevance contradicts, with confidence.

    A label is suspect where the other class is likelier than it is on average for rows of that class. None where all labels are equal.
    """
    label, probability = np.asarray(label), np.asarray(probability, dtype=float)
    if len(np.unique(label)) < 2:
        return np.zeros(len(label), dtype=bool)
    return find_label_issues(
        label, np.column_stack([1 - probability, probability]), filter_by="confident_learning", n_jobs=1
    )


def remedy(train: pd.DataFrame, suspect: NDArray[np.bool_], how: Remedy) -> pd.DataFrame:
    """The training rows with the suspects dropped, or with the other label."""
    if how == "drop":
        return train[~suspect]
    return train.assign(label=np.where(suspect, 1 - train["label"], train["label"])) if how == "relabel" else train


def measure_finding(suspect: NDArray[np.bool_], planted: NDArray[np.bool_]) -> dict[str, float]:
    """How well suspects `[rows]` are the rows whose label was turned over on purpose: rows, suspects, precision, recall."""
    hits = int((suspect & planted).sum())
    return {
        "rows": len(suspect), "wrong labels": int(planted.sum()), "suspects": int(suspect.sum()),
        "precision": hits / max(1, int(suspect.sum())), "recall": hits / max(1, int(planted.sum())),
        "suspects if drawn blindly would hit": float(planted.mean()),
    }  # fmt: skip
