"""Ensemble weights, calibration and thresholds against hand calculations; joins go by id, never by position."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from utils.evaluation import decide
from utils.evaluation.metrics import best_threshold

IDENTITY = (1.0, 0.0)  # a calibration that changes nothing
QUERIES = pd.Series([f"q{number // 3}" for number in range(900)], index=np.arange(900) * 7)


def table(label: list[int], probability: list[float], language: str = "en") -> pd.DataFrame:
    """A table of one language whose ids are 1, 2, ..."""
    ids = np.arange(1, len(label) + 1)
    return pd.DataFrame({"id": ids, "language": language, "label": label, "probability": probability})


def member(noise: float, seed: int, rows: int = 900, shuffle: bool = False) -> pd.DataFrame:
    """A member whose probabilities follow the labels, the less the more noise."""
    label = np.random.default_rng(0).integers(0, 2, rows)
    rng = np.random.default_rng(seed)
    probability = 1 / (1 + np.exp(-(label * 2 - 1 + rng.normal(0, noise, rows))))
    content = {"id": np.arange(rows) * 7, "language": np.array(["en", "ja", "es"])[np.arange(rows) % 3], "label": label}
    content = pd.DataFrame(content).assign(probability=probability, fold=0)
    return content.sample(frac=1.0, random_state=seed, ignore_index=True) if shuffle else content


def shifted_member() -> tuple[pd.DataFrame, pd.Series]:
    """A member that is too low in Japanese only, on 9,000 rows, and its queries."""
    rows = member(1.0, 1, rows=9000)
    low = np.where(rows["language"] == "ja", rows["probability"] / 6, rows["probability"])
    queries = pd.Series([f"q{number // 3}" for number in range(9000)], index=np.arange(9000) * 7)
    return rows.assign(probability=low), queries


# -- weights and combination -----------------------------------------------------------------------------------------


def test_weights_follow_the_gain_over_the_constant_answer() -> None:
    label = [1, 1, 0, 0]  # the constant answer's F1 is 2/3
    members = {
        "perfect": table(label, [0.9, 0.8, 0.2, 0.1]),  # F1 1, gain 1/3
        "fair": table(label, [0.9, 0.3, 0.5, 0.1]),  # F1 4/5 at 0.3, gain 2/15
        "flat": table(label, [0.5] * 4),  # gain 0
    }
    weights = decide.member_weights(members)
    assert weights == {"perfect": pytest.approx(5 / 7), "fair": pytest.approx(2 / 7), "flat": 0.0}


def test_weights_are_equal_where_no_member_beats_the_constant_answer() -> None:
    flat = table([1, 0], [0.5, 0.5])
    assert decide.member_weights({"a": flat, "b": flat}) == {"a": 0.5, "b": 0.5}


def test_members_are_joined_by_id_over_the_ids_that_all_have() -> None:
    left = pd.DataFrame({"id": [30, 10, 20], "language": ["en", "ja", "es"], "probability": [0.4, 0.8, 0.1]})
    right = pd.DataFrame({"id": [10, 40, 30], "language": ["ja", "fr", "en"], "probability": [0.2, 0.9, 0.6]})
    weights = {"left": 0.25, "right": 0.75}
    combined = decide.combine({"left": left, "right": right}, weights, {"left": IDENTITY, "right": IDENTITY})
    assert combined[["id", "language"]].to_numpy().tolist() == [[30, "en"], [10, "ja"]]  # the first member's order
    assert combined["probability"].tolist() == pytest.approx([0.25 * 0.4 + 0.75 * 0.6, 0.25 * 0.8 + 0.75 * 0.2])
    assert combined.index.tolist() == [0, 1]


def test_members_are_calibrated_before_they_are_averaged() -> None:
    rows = table([1, 0], [0.8, 0.5])
    combined = decide.combine({"a": rows, "b": rows}, {"a": 0.5, "b": 0.5}, {"a": (2.0, 0.0), "b": IDENTITY})
    assert combined["probability"].tolist() == pytest.approx([(16 / 17 + 0.8) / 2, 0.5])  # odds 4 squared are 16


# -- thresholds ------------------------------------------------------------------------------------------------------


def test_language_thresholds_are_shrunk_by_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    english = table([1, 1, 0, 0], [0.9, 0.7, 0.5, 0.1])  # the best threshold is 0.6
    one_class = table([1, 1], [0.9, 0.2], "ja")
    rows = pd.concat([english, one_class], ignore_index=True)
    assert decide.shrunk_thresholds(rows, 0.2) == {"en": pytest.approx((4 * 0.6 + 2000 * 0.2) / 2004)}
    monkeypatch.setattr(decide, "PULL", 4)
    assert decide.shrunk_thresholds(rows, 0.2) == {"en": pytest.approx(0.4)}


def test_a_language_without_a_threshold_takes_the_tasks() -> None:
    rows = pd.DataFrame({"language": ["en", "en", "ja", "pl", "pl"], "probability": [0.4, 0.39, 0.59, 0.6, 0.59]})
    assert decide.decide(rows, 0.6, {"en": 0.4, "ja": 0.5}).tolist() == [1, 0, 1, 1, 0]
    assert decide.decide(rows, 0.6, {}).tolist() == [0, 0, 0, 1, 0]


def test_cross_check_scores_each_half_with_the_other_halfs_threshold() -> None:
    rows = table([1, 0, 1, 0], [0.9, 0.7, 0.5, 0.3])
    queries = pd.Series(["a", "a", "b", "b"])
    # The threshold of `a` is 0.8, of `b` 0.4. Exchanged, they accept both rows of `a` and none of `b`: F1 1/2.
    # Fitted on all rows the threshold 0.4 would have an F1 of 4/5.
    assert decide.cross_check(rows, queries, seed=0)["one threshold"] == pytest.approx(0.5)


def test_cross_check_compares_both_kinds_of_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "PULL", 0)
    query = {"language": ["en", "en", "ja", "ja"], "label": [1, 0, 1, 0], "probability": [0.8, 0.6, 0.4, 0.2]}
    rows = pd.concat([pd.DataFrame(query)] * 10, ignore_index=True)
    queries = pd.Series(np.repeat([f"q{number}" for number in range(10)], 4))
    scores = decide.cross_check(rows, queries, seed=3)
    # One threshold: at best 0.4, which accepts one wrong row in three. A threshold for each language separates all rows.
    assert scores == {"one threshold": pytest.approx(0.8), "per language": pytest.approx(1.0)}


# -- the whole ensemble ----------------------------------------------------------------------------------------------


def test_the_better_member_weighs_more_and_a_useless_one_nothing() -> None:
    members = {"good": member(0.8, 1), "fair": member(2.5, 2), "none": member(1, 3).assign(probability=0.5)}
    weights = decide.fit_ensemble(members, QUERIES, seed=1).weights
    assert weights["good"] > weights["fair"] > weights["none"] == 0 and sum(weights.values()) == pytest.approx(1)


def test_an_ensemble_beats_its_members_and_does_not_depend_on_the_order_of_rows() -> None:
    members = {"a": member(1.5, 1), "b": member(1.5, 2)}
    shuffled = {"a": members["a"], "b": member(1.5, 2, shuffle=True)}
    ensemble, other = (decide.fit_ensemble(tables, QUERIES, seed=1) for tables in (members, shuffled))
    assert other.threshold == pytest.approx(ensemble.threshold)
    combined, again = decide.answer(members, ensemble), decide.answer(shuffled, other)
    assert again["probability"].to_numpy() == pytest.approx(combined["probability"].to_numpy())
    singles = [best_threshold(rows["label"], rows["probability"])[1] for rows in members.values()]
    threshold, score = best_threshold(combined["label"], combined["probability"])
    assert threshold == ensemble.threshold and score > max(singles)


def test_language_thresholds_are_used_only_if_they_gain() -> None:
    assert decide.fit_ensemble({"a": member(1.5, 1)}, QUERIES, seed=1).language_thresholds == {}
    rows, queries = shifted_member()
    ensemble = decide.fit_ensemble({"a": rows}, queries, seed=1)
    assert ensemble.checked_f1["per language"] >= ensemble.checked_f1["one threshold"] + decide.GAIN
    combined = decide.combine({"a": rows}, ensemble.weights, ensemble.calibration)
    assert ensemble.language_thresholds == decide.shrunk_thresholds(combined, ensemble.threshold)
    assert set(ensemble.language_thresholds) == {"en", "es", "ja"}
    assert ensemble.language_thresholds["ja"] < ensemble.threshold < ensemble.language_thresholds["en"]


def test_the_gain_that_language_thresholds_need_is_the_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, queries = shifted_member()
    monkeypatch.setattr(decide, "GAIN", 1.0)
    assert decide.fit_ensemble({"a": rows}, queries, seed=1).language_thresholds == {}


def test_an_answer_is_the_weighted_mean_at_the_languages_threshold() -> None:
    left = pd.DataFrame({"id": [1, 2, 3], "language": ["en", "ja", "pl"], "probability": [0.9, 0.5, 0.5]})
    right = left.iloc[::-1].assign(probability=[0.3, 0.5, 0.1])
    weights, calibration = {"left": 0.5, "right": 0.5}, {"left": IDENTITY, "right": IDENTITY}
    ensemble = decide.Ensemble(weights, calibration, 0.45, {"en": 0.55, "ja": 0.5}, {})
    answers = decide.answer({"left": left, "right": right}, ensemble)
    assert answers["id"].tolist() == [1, 2, 3]
    assert answers["probability"].tolist() == pytest.approx([0.5, 0.5, 0.4])
    assert answers["prediction"].tolist() == [0, 1, 0]


def test_an_ensemble_is_the_same_after_saving_and_loading(tmp_path: Path) -> None:
    rows, queries = shifted_member()
    ensembles = {"QC": decide.fit_ensemble({"a": member(1.5, 1), "b": member(2, 2)}, QUERIES, seed=1)}
    ensembles["QI"] = decide.fit_ensemble({"a": rows}, queries, seed=1)
    decide.save_ensembles(ensembles, "glossary", tmp_path / "ensemble.json")
    for task, ensemble in ensembles.items():
        assert decide.load_ensemble(tmp_path / "ensemble.json", task) == (ensemble, "glossary")
    with pytest.raises(KeyError):
        decide.load_ensemble(tmp_path / "ensemble.json", "QX")


def test_a_member_that_answers_with_no_number_is_named() -> None:
    broken = table([1, 0], [0.5, float("nan")])
    with pytest.raises(ValueError, match="e5: 1 probabilities are not numbers"):
        decide.combine({"e5": broken}, {"e5": 1.0}, {"e5": (1.0, 0.0)})
