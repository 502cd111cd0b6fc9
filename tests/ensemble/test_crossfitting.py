"""No row is answered by what was fitted on its own query; a choice is made where its gain is sure, and only there."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from utils.data.leaks import LeakError
from utils.ensemble import crossfitting, decide, tables
from utils.ensemble.crossfitting import cross_fit_decision, fit_ensemble
from utils.ensemble.decide import Members
from utils.evaluation import choices, leaderboard, thresholds
from utils.evaluation.metrics import sigmoid
from utils.evaluation.thresholds import best_threshold, shrunk_thresholds, split_queries

LANGUAGES = ("en", "es", "ja")
ROWS = 900
CLUSTER = pd.Series([f"q{number // 3}" for number in range(ROWS)], index=np.arange(ROWS) * 7)
# A query of three rows each, one after the other, as in `CLUSTER`.
TEXTS = pd.DataFrame(
    {"id": CLUSTER.index, "query": CLUSTER.to_numpy(), "query_en": "", "target": np.arange(ROWS).astype(str)}
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few repeats, and thresholds of languages that follow some hundred rows."""
    monkeypatch.setattr(crossfitting, "choose_repeats", lambda rows: 80)
    monkeypatch.setattr(thresholds, "PULL", 30)


def make_members(shift: float = 0.0, seed: int = 0, names: str = "ab") -> Members:
    """Members of equal noise; Japanese log-odds lie `shift` too low, in all of them."""
    rng = np.random.default_rng(seed)
    label, language = rng.integers(0, 2, ROWS), np.array(LANGUAGES)[np.arange(ROWS) // 3 % 3]
    members = {}
    for name in names:
        odds = label * 2.4 - 1.2 + rng.normal(size=ROWS) - shift * (language == "ja")
        content = {"id": CLUSTER.index, "language": language, "label": label, "probability": sigmoid(odds), "fold": 0}
        members[name] = pd.DataFrame(content).sample(frac=1.0, random_state=len(members))  # each in an order of its own
    return members


def flip(members: Members, ids: set[int]) -> Members:
    """The members with the labels of some rows turned over."""
    return {
        name: table.assign(label=np.where(table["id"].isin(ids), 1 - table["label"], table["label"]))
        for name, table in members.items()
    }


@pytest.mark.parametrize("steps", [decide.NO_STEPS, decide.Steps(True, True)], ids=["plain", "all steps"])
@pytest.mark.parametrize("per_language", [False, True])
def test_nothing_is_fitted_on_the_rows_that_it_answers(per_language: bool, steps: decide.Steps) -> None:
    members = make_members(shift=2.0)
    before = cross_fit_decision(members, CLUSTER, 1, per_language, TEXTS, steps)
    assert before["part"].tolist() == split_queries(before["id"].map(CLUSTER), 1).tolist()
    columns = ["probability", "threshold"]
    for number in range(thresholds.PARTS):
        own = before["part"] == number
        after = cross_fit_decision(flip(members, set(before.loc[own, "id"])), CLUSTER, 1, per_language, TEXTS, steps)
        assert after["id"].equals(before["id"])
        assert after.loc[own, columns].equals(before.loc[own, columns])
        assert (after.loc[~own, columns] != before.loc[~own, columns]).to_numpy().any()


def test_each_part_has_the_decision_of_the_others() -> None:
    members = make_members(shift=2.0)
    common, own = (cross_fit_decision(members, CLUSTER, 2, per_language) for per_language in (False, True))
    table, values = decide.align(members)
    assert common["id"].tolist() == table["id"].tolist() and common["language"].tolist() == table["language"].tolist()
    for number in range(thresholds.PARTS):
        rows = (common["part"] == number).to_numpy()
        others = {name: member[~member["id"].isin(table["id"][rows])] for name, member in members.items()}
        decision = decide.fit_decision(others, CLUSTER)
        assert (
            common["probability"][rows].tolist()
            == decision.probability({name: odds[rows] for name, odds in values.items()}).tolist()
        )
        assert (common["threshold"][rows] == decision.threshold).all()
        rest, odds = decide.align(others)
        expected = shrunk_thresholds(rest.assign(probability=decision.probability(odds)), decision.threshold)
        assert own["threshold"][rows].tolist() == table["language"][rows].map(expected).tolist()
    for answers in (common, own):
        assert answers["prediction"].tolist() == (answers["probability"] >= answers["threshold"]).astype(int).tolist()
    assert own["probability"].equals(common["probability"])


def test_the_honest_f1_is_below_the_one_in_sample() -> None:
    """Out of ten members of noise and one label in two, what is fitted looks better on its own rows than on others."""
    rng = np.random.default_rng(0)
    members = {
        name: table.assign(probability=rng.random(ROWS)) for name, table in make_members(names="abcdefghij").items()
    }
    table = cross_fit_decision(members, CLUSTER, 0)
    aligned, values = decide.align(members)
    decision = decide.fit_decision(members, CLUSTER)
    _, in_sample = best_threshold(aligned["label"], decision.probability(values))
    assert f1_score(table["label"], table["prediction"]) < in_sample


# -- thresholds per language -----------------------------------------------------------------------------------------


def test_thresholds_per_language_are_adopted_where_they_gain() -> None:
    members = make_members(shift=2.0)
    ensemble, honest = fit_ensemble(members, {}, CLUSTER, LANGUAGES, 1)
    evidence = ensemble.choices[crossfitting.PER_LANGUAGE]
    assert 0 < evidence["lo"] <= evidence["difference"] <= evidence["hi"]
    own = ensemble.language_thresholds
    assert set(own) == set(LANGUAGES) and own["ja"] < ensemble.decisions["seen"].threshold < min(own["en"], own["es"])
    assert honest["seen"].equals(cross_fit_decision(members, CLUSTER, 1, per_language=True))
    table, values = decide.align(members)
    probability = ensemble.decisions["seen"].probability(values)
    assert own == shrunk_thresholds(table.assign(probability=probability), ensemble.decisions["seen"].threshold)
    gain = [
        f1_score(honest["seen"]["label"], rows["prediction"])
        for rows in (honest["seen"], cross_fit_decision(members, CLUSTER, 1))
    ]
    assert evidence["difference"] == pytest.approx(gain[0] - gain[1], abs=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_thresholds_per_language_are_not_adopted_on_noise(seed: int) -> None:
    members = make_members(seed=seed)
    ensemble, honest = fit_ensemble(members, {}, CLUSTER, LANGUAGES, seed)
    assert ensemble.language_thresholds == {} and ensemble.choices[crossfitting.PER_LANGUAGE]["lo"] <= 0
    assert honest["seen"].equals(cross_fit_decision(members, CLUSTER, seed))


# -- unseen languages ------------------------------------------------------------------------------------------------


def test_unseen_languages_are_decided_by_held_out_rows() -> None:
    members = make_members()
    held_out = {name: table[table["language"] == "ja"] for name, table in make_members(shift=3.0, seed=5).items()}
    ensemble, honest = fit_ensemble(members, held_out, CLUSTER, LANGUAGES, 1)
    assert ensemble.decisions == {
        "seen": decide.fit_decision(members, CLUSTER),
        "unseen": decide.fit_decision(held_out, CLUSTER),
    }
    assert ensemble.languages == LANGUAGES and list(honest) == ["seen", "unseen"]
    assert honest["unseen"].equals(cross_fit_decision(held_out, CLUSTER, 1))
    assert (
        f1_score(honest["unseen"]["label"], honest["unseen"]["prediction"]) > 0.75
    )  # as good as seen languages, in spite of the shift
    asked = {name: table.assign(language="pl") for name, table in held_out.items()}
    assert decide.answer(asked, ensemble)["prediction"].mean() == pytest.approx(0.5, abs=0.1)


def test_without_held_out_rows_unseen_languages_are_decided_as_the_others() -> None:
    ensemble, honest = fit_ensemble(make_members(), {}, CLUSTER, LANGUAGES, 1)
    assert ensemble.decisions["unseen"] == ensemble.decisions["seen"] and list(honest) == ["seen"]


def test_held_out_rows_of_few_queries_are_answered() -> None:
    members = make_members()
    for count in (1, 2, 3):
        ids = CLUSTER.index[CLUSTER.isin([f"q{number}" for number in range(count)])]
        held_out = {name: table[table["id"].isin(ids)] for name, table in members.items()}
        _, honest = fit_ensemble(members, held_out, CLUSTER, LANGUAGES, 1)
        assert len(honest["unseen"]) == 3 * count and honest["unseen"][["probability", "threshold"]].notna().all(
            axis=None
        )


# -- second stage ----------------------------------------------------------------------------------------------------


STAGED = decide.Steps(second_stage=True)


def make_ranked(seed: int = 0) -> Members:
    """Members whose highest row of a query is the relevant one, however high it is."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(size=ROWS) + np.repeat(2 * rng.normal(size=ROWS // 3), 3)
    label = (odds == pd.Series(odds).groupby(np.arange(ROWS) // 3).transform("max")).astype(int).to_numpy()
    language = np.array(LANGUAGES)[np.arange(ROWS) // 3 % 3]
    content = {"id": CLUSTER.index, "language": language, "label": label, "probability": sigmoid(odds), "fold": 0}
    return {"a": pd.DataFrame(content)}


def test_a_second_stage_is_adopted_where_it_gains_and_answers_with_the_texts_of_the_rows() -> None:
    members = make_ranked()
    ensemble, honest = fit_ensemble(members, {}, CLUSTER, LANGUAGES, 1, TEXTS, STAGED)
    evidence = ensemble.choices[crossfitting.STEPS["second_stage"].format("seen")]
    assert 0.05 < evidence["lo"] <= evidence["difference"] <= evidence["hi"]
    assert honest["seen"].equals(cross_fit_decision(members, CLUSTER, 1, texts=TEXTS, steps=STAGED))
    assert ensemble.decisions["unseen"] is ensemble.decisions["seen"]
    answers = decide.answer(members, ensemble, TEXTS)
    assert f1_score(answers["label"], answers["prediction"]) > 0.95
    with pytest.raises(ValueError, match="needs the texts"):
        decide.answer(members, ensemble)


@pytest.mark.parametrize("seed", range(3))
def test_a_second_stage_is_not_adopted_on_noise(seed: int) -> None:
    members = make_members(seed=seed)
    ensemble, honest = fit_ensemble(members, {}, CLUSTER, LANGUAGES, seed, TEXTS, STAGED)
    assert ensemble.choices[crossfitting.STEPS["second_stage"].format("seen")]["lo"] <= 0
    assert ensemble.decisions["seen"].second_stage is None
    assert honest["seen"]["probability"].equals(cross_fit_decision(members, CLUSTER, seed)["probability"])


def test_seen_and_unseen_languages_have_a_second_stage_each() -> None:
    """One is sure for the languages that were held out, and not for the others."""
    ensemble, _ = fit_ensemble(make_members(), make_ranked(), CLUSTER, LANGUAGES, 1, TEXTS, STAGED)
    assert ensemble.decisions["seen"].second_stage is None and ensemble.decisions["unseen"].second_stage is not None


# -- consistent paths -------------------------------------------------------------------------------------------------


def make_paths(seed: int = 0) -> tuple[Members, pd.DataFrame]:
    """Queries of three paths one below the other, relevant down to some depth; a member that errs on each row alone."""
    rng = np.random.default_rng(seed)
    depth = np.arange(ROWS) % 3
    label = (depth <= np.repeat(rng.integers(-1, 3, ROWS // 3), 3)).astype(int)
    language = np.array(LANGUAGES)[np.arange(ROWS) // 3 % 3]
    odds = 2 * (label - 0.5) + 1.5 * rng.normal(size=ROWS)
    content = {"id": CLUSTER.index, "language": language, "label": label, "probability": sigmoid(odds), "fold": 0}
    texts = TEXTS.assign(target=np.array(["a", "a,b", "a,b,c"])[depth])
    return {"a": pd.DataFrame(content)}, texts


def test_consistent_paths_are_adopted_where_they_gain_and_no_child_is_above_its_parent() -> None:
    members, texts = make_paths()
    ensemble, honest = fit_ensemble(members, {}, CLUSTER, LANGUAGES, 1, texts, decide.Steps(consistent=True))
    evidence = ensemble.choices[crossfitting.STEPS["consistent"].format("seen")]
    assert evidence["lo"] > 0 and ensemble.decisions["seen"].consistent
    assert honest["seen"].equals(cross_fit_decision(members, CLUSTER, 1, texts=texts, steps=decide.Steps(True)))
    answers = decide.answer(members, ensemble, texts)["probability"].to_numpy().reshape(-1, 3)
    assert (np.diff(answers, axis=1) <= 1e-12).all()
    with pytest.raises(ValueError, match="needs the texts"):
        decide.answer(members, ensemble)


def test_consistent_paths_are_not_adopted_where_nothing_lies_above_anything() -> None:
    ensemble, _ = fit_ensemble(make_members(), {}, CLUSTER, LANGUAGES, 1, TEXTS, decide.Steps(consistent=True))
    assert not ensemble.decisions["seen"].consistent
    assert ensemble.choices[crossfitting.STEPS["consistent"].format("seen")]["difference"] == 0


# -- the alarm: nothing is evaluated on a query of its own -------------------------------------------------------------


def deal_out(cluster: pd.Series, seed: int, parts: int = thresholds.PARTS) -> np.ndarray:
    """A broken `split_queries`: rows of a query lie in several parts."""
    return np.arange(len(cluster)) % parts


def test_no_decision_and_no_threshold_is_fitted_on_a_query_that_it_is_evaluated_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    members = make_members()
    rows = members["a"].assign(query_group=lambda table: table["id"].map(CLUSTER))
    monkeypatch.setattr(crossfitting, "split_queries", deal_out)
    monkeypatch.setattr(thresholds, "split_queries", deal_out)
    with pytest.raises(
        LeakError, match=r"the decision over a: fitted on the query groups of .* rows that it is evaluated on"
    ):
        fit_ensemble(members, {}, CLUSTER, LANGUAGES, 1)
    with pytest.raises(LeakError, match="thresholds: fitted on"):
        thresholds.cross_fit(rows, rows["query_group"], 1)


def test_no_choice_is_made_by_queries_that_it_was_fitted_on() -> None:
    good = cross_fit_decision(make_members(), CLUSTER, 1).assign(query_group=lambda table: table["id"].map(CLUSTER))
    bad = good.assign(part=deal_out(good["id"], 1))
    chosen = {
        "the choice of a step": lambda: crossfitting.compare_stages(bad, good, CLUSTER, 1),
        "the choice of thresholds": lambda: crossfitting.compare_thresholds(bad, CLUSTER, 1),
        "the choice between candidates": lambda: choices.compare(good, bad, 1),
        "the choice between candidates: ": lambda: choices.compare_seeds([(bad, good)], 1),
        "thresholds of 0": lambda: leaderboard.by_language(bad, set(LANGUAGES)),
    }
    for name, choose in chosen.items():
        with pytest.raises(LeakError, match=f"{name.removesuffix(': ')}: fitted on the query groups of"):
            choose()


def test_withheld_rows_are_judged_by_an_ensemble_that_saw_none_of_their_queries() -> None:
    honest = cross_fit_decision(make_members(), CLUSTER, 1)
    own, related = honest[honest["part"] > 0], honest[honest["part"] == 0].head(90)
    answers = {"seen": own, "related": related}
    test = pd.DataFrame({"language": ["en", "ja"]})
    assert len(tables.estimate(answers, test, CLUSTER, 0.5))
    with pytest.raises(LeakError, match="the ensemble: fitted on the query groups of 90 rows"):
        tables.estimate(answers | {"seen": honest}, test, CLUSTER, 0.5)
