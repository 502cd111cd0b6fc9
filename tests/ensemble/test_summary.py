"""What is said of an ensemble beside its members and other ways to decide, against hand counts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from utils.core import paths
from utils.core.recipe import Recipe, save
from utils.data.tables import write_table
from utils.ensemble import summary
from utils.evaluation.thresholds import best_threshold, cross_fit

FOLDS = {  # recipe and fold -> the probabilities of the test ids 1 to 4
    ("a", 0): [0.9, 0.5, 0.8, 0.1],
    ("a", 1): [0.6, 0.4, 0.2, 0.2],
    ("b", 0): [0.9, 0.9, 0.9, 0.9],
}


def rows(probability: list[float], label: list[int] | None = None) -> pd.DataFrame:
    """A table of the ids 1 to 4."""
    table = pd.DataFrame({"id": [1, 2, 3, 4], "language": "en", "probability": probability, "fold": -1})
    return table if label is None else table.assign(label=label)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> paths.Run:
    """A run with the test tables of the folds, each in an order of its own."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    run = paths.Run("small")
    for name, folds in (("a", (0, 1)), ("b", (0,))):
        save(Recipe(name, "baseline", folds=folds), run.final / "QC" / name / "recipe.json")
    write_table(rows([0.0] * 4), run.final / "QC" / "a" / "fold2" / "test.parquet")  # of a fold that is none any more
    for number, ((name, fold), probability) in enumerate(FOLDS.items()):
        write_table(
            rows(probability).sample(frac=1.0, random_state=number),
            run.final / "QC" / name / f"fold{fold}" / "test.parquet",
        )
    return run


# -- ways to decide --------------------------------------------------------------------------------------------------


def test_folds_vote_by_majority_and_a_tie_counts_as_relevant(run: paths.Run) -> None:
    assert summary.hard_vote(run, "QC", "a", "test").sort_index().to_dict() == {1: 1, 2: 1, 3: 1, 4: 0}


def test_ways_to_decide_are_scored_by_id(run: paths.Run) -> None:
    members = {"a": {"oof": rows([0.6, 0.4, 0.4, 0.9]), "test": rows([0.75, 0.45, 0.4, 0.15]).iloc[::-1]}, "b": {}}
    honest = rows([0.7, 0.55, 0.2, 0.1], [1, 1, 0, 0]).assign(prediction=[1, 0, 0, 0])
    answers = {
        "dev": rows([0.5] * 4).assign(prediction=1),
        "test": rows([0.6, 0.3, 0.6, 0.1]).assign(prediction=[1, 1, 0, 0]),
    }
    solution = {"test": pd.DataFrame({"id": [4, 3, 2, 1], "label": [0, 0, 1, 1]})}
    table = summary.compare_decisions(run, "QC", members, honest, answers, solution)
    assert set(table["task"]) == {"QC"}
    assert {
        (row.split, row.decision): row.f1 for row in table.itertuples()
    } == {  # dev has no labels; relevant are 1 and 2
        ("oof", "champion, argmax at 0.5"): pytest.approx(0.5),  # takes 1 and 4
        ("oof", "ensemble, argmax at 0.5"): pytest.approx(1.0),  # takes 1 and 2
        ("oof", "ensemble, as submitted"): pytest.approx(2 / 3),  # takes 1
        ("test", "champion, argmax at 0.5"): pytest.approx(2 / 3),  # takes 1
        ("test", "champion, hard vote of its folds"): pytest.approx(0.8),  # takes 1, 2 and 3
        ("test", "ensemble, argmax at 0.5"): pytest.approx(0.5),  # takes 1 and 3
        ("test", "ensemble, as submitted"): pytest.approx(1.0),
    }


# -- beside the members ----------------------------------------------------------------------------------------------


def test_the_ensembles_lead_over_a_member_is_paired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "choose_repeats", lambda rows: 100)
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 200)
    clusters = {
        split: pd.Series([f"q{number // 4}" for number in range(200)], index=range(200)) for split in ("train", "test")
    }

    def table(noise: float) -> pd.DataFrame:
        probability = 1 / (1 + np.exp(-(2 * label - 1 + rng.normal(0, noise, 200))))
        return pd.DataFrame({"id": range(200), "language": "en", "label": label, "probability": probability})

    good, bad = table(0.4), table(3.0)
    honest = cross_fit(good, good["id"].map(clusters["train"]), 1)
    test = {"good": good.drop(columns="label"), "bad": bad.drop(columns="label").iloc[::-1]}
    answers = {"test": test["good"].assign(prediction=honest["prediction"])}
    members = {"good": {"oof": good, "test": test["good"]}, "bad": {"oof": bad.iloc[::-1], "test": test["bad"]}}
    solution = {"test": good[["id", "label"]].iloc[::-1]}
    found = summary.compare_members(members, honest, answers, clusters, solution, 1).set_index(["split", "member"])
    assert found.index.tolist() == [("oof", "good"), ("test", "good"), ("oof", "bad"), ("test", "bad")]
    assert found.loc[("oof", "good"), ["lead", "lead_lo", "lead_hi"]].tolist() == [
        0.0,
        0.0,
        0.0,
    ]  # it is the ensemble itself
    own = cross_fit(bad, bad["id"].map(clusters["train"]), 1)
    lead = f1_score(label, honest["prediction"]) - f1_score(label, own["prediction"])
    assert (
        found["lead"]["oof", "bad"] == pytest.approx(lead)
        and 0 < found["lead_lo"]["oof", "bad"] < lead < found["lead_hi"]["oof", "bad"]
    )
    threshold, _ = best_threshold(label, bad["probability"])
    assert found["f1"]["test", "bad"] == pytest.approx(f1_score(label, bad["probability"] >= threshold))
    assert found["auc"]["test", "bad"] == pytest.approx(roc_auc_score(label, bad["probability"]))
    alone = summary.compare_members(members, honest, answers, clusters, {}, 1)
    assert alone["split"].tolist() == ["oof", "oof"]  # no labels, no comparison


# -- the score table -------------------------------------------------------------------------------------------------

SCORES = pd.DataFrame(
    [
        ("ensemble", "QC", "test", "all", 0.9, 0.88, 0.92, 0.95, 0.8), ("ensemble", "QC", "test", "ja", 0.7, 0.6, 0.8, 0.75, 0.8),
        ("ensemble", "QC", "estimate", "all", 0.875, 0.86, 0.89, 0.94, 0.81),
        ("ensemble", "QC", "estimate", "unseen", 0.7, 0.6, 0.8, 0.8, 0.8),
        ("ensemble", "QC", "test", "unseen", 0.65, 0.6, 0.8, 0.8, 0.8), ("ensemble", "QC", "oof", "all", 0.99, 0.9, 1.0, 0.9, 0.8),
        ("ensemble", "QI", "estimate", "all", 0.75, 0.7, 0.8, 0.85, 0.65),
        ("constant", "QC", "test", "all", 0.8, 0.79, 0.81, 0.5, 0.8), ("e5-small", "QC", "test", "all", 0.85, 0.8, 0.9, 0.8, 0.8),
        ("tfidf", "QC", "test", "all", 0.79, 0.7, 0.8, 0.8, 0.8), ("overlap", "QC", "test", "all", 0.78, 0.7, 0.8, 0.8, 0.8),
        ("overlap", "QC", "test", "ja", 0.99, 0.9, 1.0, 0.8, 0.8), ("zeroshot", "QC", "oof", "all", 0.95, 0.9, 1.0, 0.8, 0.8),
        ("wordpairs", "QI", "test", "all", 0.97, 0.9, 1.0, 0.8, 0.8),
    ],
    columns=["recipe", "task", "split", "language", "f1", "f1_lo", "f1_hi", "auc", "constant_f1"],
).assign(rows=100)  # fmt: skip


def test_the_best_baseline_is_of_the_same_task_and_split_over_all_languages() -> None:
    assert summary.best_baseline(SCORES, "QC", "test") == "tfidf"  # `constant` and trained networks do not count
    assert summary.best_baseline(SCORES, "QC", "oof") == "zeroshot"
    assert summary.best_baseline(SCORES, "QI", "test") == "wordpairs"
    assert summary.best_baseline(SCORES, "QI", "oof") == "constant"


def test_a_baseline_that_answered_a_part_of_the_rows_is_not_the_best() -> None:
    part = SCORES.assign(rows=SCORES["rows"].where(SCORES["recipe"] != "tfidf", 10))
    best = summary.best_baseline(part, "QC", "test")
    assert best not in ("tfidf", "constant") and best in summary.BASELINE_NAMES


def test_one_recipes_rows_are_selected() -> None:
    table = summary.select(SCORES, "QC", "test", "overlap")
    assert table[["language", "f1"]].to_numpy().tolist() == [["all", 0.78], ["ja", 0.99]]
    assert summary.select(SCORES, "QI", "test", "ensemble").empty


def test_the_estimate_stands_beside_the_test() -> None:
    table = summary.compare_with_test(SCORES)
    assert table["language"].tolist() == ["all", "unseen"] and table["task"].tolist() == ["QC", "QC"]
    assert table["estimate"].tolist() == [0.875, 0.7] and table["test"].tolist() == [0.9, 0.65]
    assert table["distance"].tolist() == pytest.approx([0.025, -0.05]) and table["lo"].tolist() == [0.86, 0.6]
    assert summary.compare_with_test(SCORES[SCORES["split"] != "test"]).empty


def test_the_sentence_says_whether_the_test_lies_where_it_was_expected() -> None:
    assert summary.explain(SCORES, "QC", "test") == (
        "the ensemble has F1 0.9000 [0.880, 0.920] and AUC 0.950; answering *relevant* to everything has 0.8000. "
        "Out of fold 0.8750 was expected; the test lies outside the interval of that."
    )
    near = SCORES.assign(f1=SCORES["f1"].replace(0.9, 0.88))
    assert summary.explain(near, "QC", "test").endswith("the test lies inside the interval of that.")


def test_without_a_solution_the_sentence_gives_the_estimate() -> None:
    assert summary.explain(SCORES, "QI", "oof") == (
        "the ensemble has F1 0.7500 [0.700, 0.800] and AUC 0.850; answering *relevant* to everything has 0.6500. "
        "This is the estimate for the test file's languages, as there is no solution to score by."
    )
