"""The table that every model leaves: joined by id, never by position."""

import numpy as np
import pandas as pd
import pytest

from utils.data.predictions import average_folds, to_predictions


def answers(fold: int, ids: list[int], probability: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"id": ids, "language": "en", "probability": probability, "fold": fold})


def test_folds_are_averaged_by_id() -> None:
    mean = average_folds([answers(0, [1, 2, 3], [0.2, 0.4, 0.6]), answers(1, [3, 1, 2], [0.8, 0.0, 0.4])])
    assert mean["id"].tolist() == [1, 2, 3] and mean["fold"].tolist() == [-1] * 3
    assert mean["probability"].tolist() == pytest.approx([0.1, 0.4, 0.7])


def test_folds_with_different_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="different ids"):
        average_folds([answers(0, [1, 2], [0.1, 0.2]), answers(1, [1, 3], [0.1, 0.2])])


def test_a_table_keeps_its_label_where_it_has_one() -> None:
    table = pd.DataFrame({"id": [7, 5], "language": ["en", "es"], "query": ["a", "b"], "label": [1, 0]}, index=[3, 9])
    labelled = to_predictions(table, np.array([0.25, 0.5]), 2)
    assert labelled.to_dict("list") == {
        "id": [7, 5], "language": ["en", "es"], "label": [1, 0], "probability": [0.25, 0.5], "fold": [2, 2],
    }  # fmt: skip
    assert list(to_predictions(table.drop(columns="label"), np.array([0.25, 0.5]), 0)) == [
        "id", "language", "probability", "fold",
    ]  # fmt: skip
