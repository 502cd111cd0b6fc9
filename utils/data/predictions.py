"""The table of predictions that every model writes: `id, language, label, probability, fold` (`label` where known)."""

import numpy as np
import pandas as pd

from utils.core.schema import SCORE_COLUMNS


def to_predictions(table: pd.DataFrame, probability: np.ndarray, fold: int) -> pd.DataFrame:
    """The rows of a clean table with the `probability` (one per row, 0..1) that a fold's model predicts for each."""
    columns = [name for name in SCORE_COLUMNS if name in table and name not in ("probability", "fold")]
    return table[columns].assign(probability=probability, fold=fold).reset_index(drop=True)


def average_folds(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Mean probability of the folds for each id; `fold` becomes -1. Raises ValueError if their ids differ."""
    ids = [set(table["id"]) for table in tables]
    if any(other != ids[0] for other in ids):
        raise ValueError("the folds have different ids; delete the folds' tables and run notebook 06 again")
    columns = [table.set_index("id")["probability"].rename(str(k)) for k, table in enumerate(tables)]
    mean = pd.concat(columns, axis=1).mean(axis=1)
    first = tables[0].drop(columns=["probability", "fold"])
    return first.assign(probability=first["id"].map(mean), fold=-1)
