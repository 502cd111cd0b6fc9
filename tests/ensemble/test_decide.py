"""The ensemble's answers: joined by id, decided by language, calibrated for the mean of several folds, and the same from its file."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from utils.core.errors import DataError
from utils.data.predictions import average_folds
from utils.ensemble import decide
from utils.ensemble.decide import Decision, Ensemble
from utils.evaluation.metrics import log_odds, sigmoid
from utils.evaluation.thresholds import best_threshold, fit_threshold

PLAIN = Decision({"a": 1.0}, {"a": (0.5, 1.5)}, (1.0, 0.0), 0.5)
QUERIES = pd.Series([f"q{number // 3}" for number in range(900)], index=np.arange(900) * 7)


def member(noise: float, seed: int, rows: int = 900) -> pd.DataFrame:
    """A member whose probabilities follow the labels, the less the more noise; ids are far from positions."""
    label = np.random.default_rng(0).integers(0, 2, rows)
    odds = label * 2 - 1 + np.random.default_rng(seed).normal(0, noise, rows)
    language = np.array(["en", "ja", "es"])[np.arange(rows) % 3]
    return pd.DataFrame(
        {"id": np.arange(rows) * 7, "language": language, "label": label, "probability": sigmoid(odds), "fold": 0}
    )


# -- joining ---------------------------------------------------------------------------------------------------------


@given(st.randoms(use_true_random=False))
def test_members_are_joined_by_id_whatever_the_order(random: object) -> None:
    left = pd.DataFrame(
        {"id": [30, 10, 20, 50], "language": ["en", "ja", "es", "en"], "probability": [0.4, 0.8, 0.1, 0.5]}
    )
    right = pd.DataFrame(
        {"id": [10, 40, 30, 50], "language": ["ja", "fr", "en", "en"], "probability": [0.2, 0.9, 0.6, 0.7]}
    )
    order = list(range(4))
    random.shuffle(order)
    table, values = decide.align({"left": left, "right": right.iloc[order]})
    assert table[["id", "language"]].to_numpy().tolist() == [
        [30, "en"],
        [10, "ja"],
        [50, "en"],
    ]  # the first member's order
    assert table.index.tolist() == [0, 1, 2]
    assert values["left"] == pytest.approx(log_odds([0.4, 0.8, 0.5])) and values["right"] == pytest.approx(
        log_odds([0.6, 0.2, 0.7])
    )


@pytest.mark.parametrize("lost", [float("nan"), None])
def test_a_member_that_answers_with_no_number_is_named(lost: float | None) -> None:
    good = pd.DataFrame({"id": [1, 2], "language": "en", "probability": [0.5, 0.5]})
    broken = good.assign(probability=[0.5, lost])
    with pytest.raises(ValueError, match="e5: 1 probabilities are not numbers; remove its folder in 06_final"):
        decide.align({"a": good, "e5": broken})


def test_the_ensemble_does_not_depend_on_the_order_of_rows() -> None:
    members = {"a": member(1.5, 1), "b": member(1.5, 2)}
    shuffled = {"a": members["a"], "b": members["b"].sample(frac=1.0, random_state=3)}
    one, other = (decide.fit_decision(tables, QUERIES) for tables in (members, shuffled))
    assert other == one


# -- fitting ---------------------------------------------------------------------------------------------------------


def test_weights_sum_to_one_and_the_better_member_weighs_more() -> None:
    members = {"good": member(0.8, 1), "fair": member(2.5, 2), "none": member(1, 3).assign(probability=0.5)}
    decision = decide.fit_decision(members, QUERIES)
    assert set(decision.weights) == {"good", "fair"} and sum(decision.weights.values()) == pytest.approx(1)
    assert decision.weights["good"] > decision.weights["fair"] > 0
    for name, weight in decision.weights.items():
        assert sum(decision.intervals[name]) / 2 == pytest.approx(weight)


def test_an_ensemble_beats_its_members_at_the_threshold_of_its_own_probabilities() -> None:
    members = {"a": member(1.5, 1), "b": member(1.5, 2)}
    decision = decide.fit_decision(members, QUERIES)
    table, values = decide.align(members)
    threshold, score = fit_threshold(table["label"], decision.probability(values))
    singles = [best_threshold(rows["label"], rows["probability"])[1] for rows in members.values()]
    assert threshold == decision.threshold and score > max(singles)


def test_probabilities_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.05, 0.95, 6000)
    rows = pd.DataFrame({"id": range(6000), "language": "en", "label": (rng.random(6000) < truth).astype(int)})
    overconfident = rows.assign(probability=sigmoid(3 * log_odds(truth) + 1))
    decision = decide.fit_decision({"a": overconfident}, pd.Series(range(6000)))
    repaired = decision.probability({"a": log_odds(overconfident["probability"])})
    assert np.abs(repaired - truth).mean() < 0.02 < 0.1 < np.abs(overconfident["probability"] - truth).mean()


def test_a_decision_is_the_calibrated_mean_of_log_odds() -> None:
    decision = Decision({"a": 0.25, "b": 0.75}, {}, (2.0, -0.5), 0.5)
    values = {"a": np.array([1.0, -2.0]), "b": np.array([3.0, 0.0]), "unread": np.array([np.nan, np.nan])}
    assert decision.probability(values).tolist() == pytest.approx([1 / (1 + np.exp(-4.5)), 1 / (1 + np.exp(1.5))])


# -- one label, one member -------------------------------------------------------------------------------------------


def test_rows_of_one_label_are_answered_as_the_first_member_does() -> None:
    decision = decide.fit_decision({"a": member(1, 1).assign(label=1), "b": member(1, 2).assign(label=1)}, QUERIES)
    assert decision.weights == {"a": 1.0} and decision.calibration == (1.0, 0.0) and 0 <= decision.threshold < 0.5


# -- seen and unseen languages ---------------------------------------------------------------------------------------


def test_languages_take_their_own_decision_and_threshold() -> None:
    decisions = {"seen": PLAIN, "unseen": Decision({"b": 1.0}, {}, (2.0, 0.0), 0.6)}
    ensemble = Ensemble(("en", "ja"), decisions, {"ja": 0.3})
    left = pd.DataFrame({"id": [1, 2, 3, 4], "language": ["en", "pl", "ja", "pl"], "probability": [0.5, 0.9, 0.3, 0.1]})
    right = pd.DataFrame(
        {"id": [4, 3, 2, 1], "language": ["pl", "ja", "pl", "en"], "probability": [0.6, 0.9, 0.5, 0.1]}
    )
    table = decide.answer({"a": left, "b": right}, ensemble)
    # English and Japanese by `a`; Polish by `b`, whose odds of 1.5 are squared.
    assert table["probability"].tolist() == pytest.approx([0.5, 0.5, 0.3, 2.25 / 3.25])
    assert table["threshold"].tolist() == [0.5, 0.6, 0.3, 0.6] and table["prediction"].tolist() == [1, 0, 1, 1]
    assert table["id"].tolist() == [1, 2, 3, 4]


def test_thresholds_go_with_their_rows_whatever_the_index() -> None:
    rows = pd.DataFrame({"language": ["pl", "en", "ja"], "probability": [0.55, 0.55, 0.2]}, index=[7, 3, 9])
    ensemble = Ensemble(("en", "ja"), {"seen": PLAIN, "unseen": Decision({"a": 1.0}, {}, (1.0, 0.0), 0.6)}, {"ja": 0.2})
    table = decide.decide(rows, ensemble)
    assert table["threshold"].tolist() == [0.6, 0.5, 0.2] and table["prediction"].tolist() == [0, 1, 1]
    assert table.index.tolist() == [7, 3, 9]


# -- the mean of several folds ---------------------------------------------------------------------------------------


def simulate_folds(
    noise: float, count: int = 5, rows: int = 8000
) -> tuple[pd.DataFrame, list[pd.DataFrame], pd.Series]:
    """Out-of-fold rows that one network each answers, the test answers of `count` networks, and the test labels.

    A network's log-odds are the true ones plus noise of its own.
    """
    rng = np.random.default_rng(1)

    def answers(truth: np.ndarray) -> pd.DataFrame:
        odds = truth + noise * rng.normal(size=rows)
        return pd.DataFrame({"id": range(rows), "language": "en", "probability": sigmoid(odds), "fold": 0})

    seen, asked = (rng.normal(size=rows) for _ in range(2))
    labels = [(rng.random(rows) < sigmoid(truth)).astype(int) for truth in (seen, asked)]
    return answers(seen).assign(label=labels[0]), [answers(asked) for _ in range(count)], pd.Series(labels[1])


def calibration_slope(label: pd.Series, probability: pd.Series) -> float:
    """1 where probabilities are calibrated, above 1 where they are not decided enough."""
    return float(LogisticRegression(C=1e6).fit(log_odds(probability)[:, None], label).coef_[0, 0])


def test_the_mean_of_folds_is_calibrated_with_its_scale_and_not_without() -> None:
    oof, networks, label = simulate_folds(noise=1.0)
    mean = average_folds(networks)
    decision = decide.fit_decision({"a": oof}, pd.Series(range(len(oof))))
    ensemble = Ensemble(("en",), {"seen": decision, "unseen": decision})
    scales = {"a": decide.widen(networks, mean), "unused": (9.0, 0.0)}
    with_it = decide.answer({"a": mean}, decide.with_scales(ensemble, scales))
    without = decide.answer({"a": mean}, ensemble)
    assert decide.with_scales(ensemble, scales).scales == {"a": scales["a"]}
    assert calibration_slope(label, with_it["probability"]) == pytest.approx(1.0, abs=0.15)
    assert calibration_slope(label, without["probability"]) > 1.4
    assert with_it["probability"].mean() == pytest.approx(label.mean(), abs=0.03)
    single = decide.answer({"a": networks[0]}, ensemble)
    assert calibration_slope(label, single["probability"]) == pytest.approx(1.0, abs=0.15)


def test_folds_that_differ_more_are_widened_more_and_folds_that_agree_are_not() -> None:
    factors = []
    for noise in (0.3, 1.0, 1.5):
        _, networks, _ = simulate_folds(noise, rows=4000)
        factor, shift = decide.widen(networks, average_folds(networks))
        factors.append(factor)
    assert factors == sorted(factors) and factors[0] == pytest.approx(
        (1 + 0.09) / (1 + 0.09 / 5), rel=0.05
    )  # variances 1 and .09
    centre = log_odds(average_folds(networks)["probability"]).mean()
    assert factor * centre + shift == pytest.approx(centre)
    same = [networks[0]] * 3
    assert decide.widen(same, average_folds(same))[0] == pytest.approx(1.0)
    assert decide.widen(networks[:1], networks[0]) == (1.0, 0.0)
    constant = [network.assign(probability=0.7) for network in networks]
    assert decide.widen(constant, average_folds(constant)) == (1.0, 0.0)


def test_a_scale_multiplies_and_moves_log_odds() -> None:
    values = {"a": np.array([1.0, 3.0]), "b": np.array([1.0, 3.0])}
    scaled = decide.rescale(values, {"a": (1.5, -1.0)})
    assert scaled["a"].tolist() == [0.5, 3.5] and scaled["b"].tolist() == [1.0, 3.0]


# -- the file --------------------------------------------------------------------------------------------------------


def test_an_ensemble_is_the_same_after_saving_and_loading(tmp_path: Path) -> None:
    members = {"a": member(1.5, 1), "b": member(2, 2), "c": member(30, 3)}
    ids = members["a"]["id"]
    texts = pd.DataFrame({"id": ids, "query": ids.map(QUERIES), "query_en": "", "target": ids.astype(str)})
    fitted = {
        "seen": decide.fit_decision(members, QUERIES, texts, decide.Steps(True, True)),
        "unseen": decide.fit_decision({"b": members["b"]}, QUERIES),
    }
    full = Ensemble(
        ("en", "ja"),
        fitted,
        {"ja": 0.4},
        {"a": (0.25, 1.5)},
        {"b": (0.1, 0.5)},
        {"thresholds per language": {"difference": 0.1, "lo": 0.0, "hi": 0.2}},
    )
    ensembles = {"QC": full, "QI": Ensemble(("en",), {"seen": PLAIN, "unseen": PLAIN})}
    decide.save_ensembles(ensembles, "glossary", tmp_path / "ensemble.json")
    for task, ensemble in ensembles.items():
        assert decide.load_ensemble(tmp_path / "ensemble.json", task) == (ensemble, "glossary")
    again, _ = decide.load_ensemble(tmp_path / "ensemble.json", "QC")
    for split in (members, {name: table.assign(language="pl") for name, table in members.items()}):
        assert decide.answer(split, again, texts).equals(decide.answer(split, full, texts))
    with pytest.raises(KeyError):
        decide.load_ensemble(tmp_path / "ensemble.json", "QX")


def test_the_file_has_the_parts_that_others_read(tmp_path: Path) -> None:
    decide.save_ensembles(
        {"QC": Ensemble(("en",), {"seen": PLAIN, "unseen": PLAIN})}, "none", tmp_path / "ensemble.json"
    )
    content = json.loads((tmp_path / "ensemble.json").read_text("utf-8"))["QC"]
    assert content["members"] == ["a"] and content["weights"] == {"seen": {"a": 1.0}, "unseen": {"a": 1.0}}
    assert content["calibration"]["seen"] == [1.0, 0.0] and content["thresholds"] == {"seen": 0.5, "unseen": 0.5}
    assert (
        content["intervals"]["seen"] == {"a": [0.5, 1.5]}
        and content["languages"] == ["en"]
        and content["translation"] == "none"
    )


def test_a_decision_without_intervals_is_strict_json(tmp_path: Path) -> None:
    """One label gives no interval: no reader but Python's takes `NaN`."""
    decision = decide.fit_decision({"a": member(1, 1).assign(label=1)}, QUERIES)
    ensemble = Ensemble(("en",), {"seen": decision, "unseen": decision}, choices={"x": {"lo": float("nan")}})
    decide.save_ensembles({"QC": ensemble}, "none", tmp_path / "ensemble.json")

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    json.loads((tmp_path / "ensemble.json").read_text("utf-8"), parse_constant=refuse)
    again, _ = decide.load_ensemble(tmp_path / "ensemble.json", "QC")
    assert again.decisions["seen"].weights == {"a": 1.0} and again.decisions["seen"].threshold == decision.threshold
    assert np.isnan(again.decisions["seen"].intervals["a"]).all()


@pytest.mark.parametrize("name", ["../a", "/a", "", "a/b"])
def test_a_member_of_another_folder_is_refused(name: str, tmp_path: Path) -> None:
    decision = Decision({name: 1.0}, {name: (0.5, 1.5)}, (1.0, 0.0), 0.5)
    decide.save_ensembles({"QC": Ensemble(("en",), {"seen": decision})}, "none", tmp_path / "ensemble.json")
    with pytest.raises(DataError, match=r"ensemble\.json:1: member .*use letters.*; run notebook 07 again"):
        decide.load_ensemble(tmp_path / "ensemble.json", "QC")


def test_the_members_are_those_with_a_weight_in_a_decision() -> None:
    other = Decision({"b": 0.5, "a": 0.5}, {"c": (-1.0, 0.1)}, (1.0, 0.0), 0.5)
    assert Ensemble(("en",), {"seen": PLAIN, "unseen": other}).members == ("a", "b")


def test_unseen_languages_are_answered_on_the_scale_that_they_were_calibrated_on() -> None:
    """A final that is more decided than its held-out recipe and leans another way answers unseen languages as that would."""
    rng = np.random.default_rng(0)
    odds = rng.normal(0.5, 1.0, 400)
    held_out = pd.DataFrame({"id": range(400), "language": "es", "probability": 1 / (1 + np.exp(-odds))})
    final = held_out.assign(language="de", probability=1 / (1 + np.exp(-(2 * odds - 0.7))))
    scale = decide.match(held_out, final)
    assert scale == pytest.approx((0.5, 0.35))
    decision = decide.Decision({"a": 1.0}, {}, (1.0, 0.0), 0.5)
    ensemble = decide.Ensemble(("en",), {decide.SEEN: decision, decide.UNSEEN: decision})
    ensemble = decide.with_scales(ensemble, {"a": (1.0, 0.0)}, {"a": scale, "unused": (3.0, 0.0)})
    assert ensemble.unseen_scales == {"a": scale}
    unseen = decide.answer({"a": final}, ensemble)["probability"]
    assert unseen.tolist() == pytest.approx(held_out["probability"].tolist())
    seen = decide.answer({"a": final.assign(language="en")}, ensemble)["probability"]
    assert seen.tolist() == pytest.approx(final["probability"].tolist())
    assert decide.match(held_out, final.head(0)) == (1.0, 0.0)
