"""Weights, calibration and thresholds; joins go by id, never by position."""

import numpy as np
import pandas as pd
import pytest

from utils.data import predictions
from utils.evaluation import decide


def member(noise: float, seed: int, rows: int = 900, shuffle: bool = False) -> pd.DataFrame:
    """A member whose probabilities follow the labels more or less."""
    label = np.random.default_rng(0).integers(0, 2, rows)
    rng = np.random.default_rng(seed)
    score = 1 / (1 + np.exp(-(label * 2 - 1 + rng.normal(0, noise, rows))))
    language = np.array(["en", "ja", "es"])[np.arange(rows) % 3]
    table = pd.DataFrame(
        {"id": np.arange(rows) * 7, "language": language, "label": label, "probability": score, "fold": 0}
    )
    return table.sample(frac=1.0, random_state=seed, ignore_index=True) if shuffle else table


QUERIES = pd.Series([f"q{number // 3}" for number in range(900)], index=np.arange(900) * 7)


def test_folds_are_averaged_by_id() -> None:
    left, right = member(1, 1), member(1, 2)
    straight = predictions.average_folds([left, right]).set_index("id")["probability"]
    shuffled = predictions.average_folds([left, right.sample(frac=1.0, random_state=3)]).set_index("id")["probability"]
    assert straight.equals(shuffled)
    assert straight[70] == pytest.approx((left["probability"][10] + right["probability"][10]) / 2)


def test_folds_that_answer_other_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="different ids"):
        predictions.average_folds([member(1, 1), member(1, 2).head(10)])


def test_the_better_member_weighs_more_and_a_useless_one_nothing() -> None:
    weights = decide.member_weights(
        {"good": member(0.8, 1), "fair": member(2.5, 2), "none": member(1, 3).assign(probability=0.5)}
    )
    assert weights["good"] > weights["fair"] > weights["none"] == 0 and sum(weights.values()) == pytest.approx(1)


def test_a_blend_is_at_least_as_good_as_its_members_and_does_not_hang_on_order() -> None:
    tables = {"a": member(1.5, 1), "b": member(1.5, 2)}
    chosen, combined, _ = decide.fit(tables, QUERIES, seed=1)
    again, other, _ = decide.fit({"a": tables["a"], "b": member(1.5, 2, shuffle=True)}, QUERIES, seed=1)
    assert again.threshold == pytest.approx(chosen.threshold)
    assert other.set_index("id")["probability"].sort_index().to_numpy() == pytest.approx(
        combined.set_index("id")["probability"].sort_index().to_numpy()
    )
    assert decide.best_threshold(combined["label"], combined["probability"])[1] > max(
        decide.best_threshold(table["label"], table["probability"])[1] for table in tables.values()
    )


def test_language_thresholds_are_used_only_where_they_gain() -> None:
    assert decide.fit({"a": member(1.5, 1)}, QUERIES, seed=1)[0].language_thresholds == {}
    table = member(1.0, 1, rows=9000)
    shifted = table.assign(
        probability=np.where(table["language"] == "ja", table["probability"] / 6, table["probability"])
    )
    queries = pd.Series([f"q{number // 3}" for number in range(9000)], index=np.arange(9000) * 7)
    chosen, combined, checked = decide.fit({"a": shifted}, queries, seed=1)
    assert checked["per language"] > checked["one threshold"] + decide.GAIN
    assert chosen.language_thresholds["ja"] < chosen.threshold < 1
    unseen = combined.head(3).assign(language="pl", probability=chosen.threshold)
    assert decide.decide(unseen, chosen.threshold, chosen.language_thresholds).tolist() == [1, 1, 1]


def test_a_blend_comes_back_from_disk(tmp_path) -> None:
    chosen, _, _ = decide.fit({"a": member(1.5, 1)}, QUERIES, seed=1)
    decide.save_ensembles({"QC": chosen}, "glossary", tmp_path / "ensemble.json")
    assert decide.load_ensemble(tmp_path / "ensemble.json", "QC") == (chosen, "glossary")
