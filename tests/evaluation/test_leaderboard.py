"""Who goes on to the final training."""

import pandas as pd
import pytest

from utils.evaluation.leaderboard import choose_finalists


def board(**auc: float) -> pd.DataFrame:
    families = {"constant": "baseline", "zeroshot": "baseline", "e5": "xlm-r", "e5-other": "xlm-r", "gemma": "gemma"}
    rows = [(name, families[name], "QC", "strict", value, value) for name, value in auc.items()]
    return pd.DataFrame(rows, columns=["recipe", "family", "task", "scheme", "f1", "auc"])


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({"e5": 0.8, "gemma": 0.7, "zeroshot": 0.6}, ["e5", "gemma"]),
        ({"e5": 0.7, "gemma": 0.8, "zeroshot": 0.6}, ["gemma", "e5"]),
        ({"e5": 0.8, "e5-other": 0.9, "zeroshot": 0.6}, ["e5-other"]),  # one of a family
    ],
)
def test_the_best_of_each_family_go_on(scores: dict[str, float], expected: list[str]) -> None:
    assert choose_finalists(board(**scores), "QC", ("e5", "e5-other", "gemma"), 2) == expected


def test_a_rung_that_may_not_go_on_is_passed_over() -> None:
    assert choose_finalists(board(e5=0.8, gemma=0.9), "QC", ("e5",), 2) == ["e5"]
    assert choose_finalists(board(e5=0.8, gemma=0.9), "QC", ("e5", "gemma"), 1) == ["gemma"]
    with pytest.raises(ValueError, match="run notebook 04"):
        choose_finalists(board(e5=0.8), "QI", ("e5",), 2)
