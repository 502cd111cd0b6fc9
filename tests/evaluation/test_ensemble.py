"""Members of a small run, the ways to decide, and the sentences about them, against hand counts."""

import pandas as pd
import pytest

from utils.core import paths, recipe
from utils.core.errors import DataError
from utils.core.recipe import Recipe
from utils.data.tables import write_table
from utils.evaluation import ensemble
from utils.evaluation.decide import Ensemble

IDENTITY = (1.0, 0.0)
DECISION = Ensemble({"a": 0.5, "b": 0.5}, {"a": IDENTITY, "b": IDENTITY}, 0.4, {"ja": 0.6}, {})
FOLDS = {  # recipe and fold -> the probabilities of the test ids 1 to 4
    ("a", 0): [0.9, 0.5, 0.8, 0.1],
    ("a", 1): [0.6, 0.4, 0.7, 0.2],
    ("b", 0): [0.2, 0.1, 0.5, 0.3],
    ("b", 1): [0.49, 0.0, 0.3, 0.4],
}


def rows(probability: list[float], label: list[int] | None = None) -> pd.DataFrame:
    """A table of the ids 1 to 4 in two languages."""
    table = pd.DataFrame(
        {"id": [1, 2, 3, 4], "language": ["en", "en", "ja", "ja"], "probability": probability, "fold": -1}
    )
    return table if label is None else table.assign(label=label)


@pytest.fixture
def run(tmp_path, monkeypatch: pytest.MonkeyPatch) -> paths.Run:
    """A run with two finally trained recipes, `b` the champion, and the tables of their folds."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    run = paths.Run("small")
    recipe.save_all([Recipe("b", "gemma"), Recipe("a", "xlm-r")], run.tapt / "final" / "QC")
    for number, ((name, fold), probability) in enumerate(FOLDS.items()):
        table = rows(probability).sample(frac=1.0, random_state=number)  # each fold in an order of its own
        write_table(table, run.final / "QC" / name / f"fold{fold}" / "test.parquet")
    return run


def test_members_are_read_champion_first_with_the_splits_that_exist(run: paths.Run) -> None:
    for name, splits in (("a", ("oof", "test")), ("b", ("oof", "dev", "test"))):
        for split in splits:
            write_table(rows([0.1, 0.2, 0.3, 0.4]), run.final / "QC" / name / f"{split}.parquet")
    members = ensemble.load_members(run, "QC")
    assert [(name, list(tables)) for name, tables in members.items()] == [
        ("b", ["oof", "dev", "test"]),
        ("a", ["oof", "test"]),
    ]
    assert list(ensemble.of_split(members, "dev")) == ["b"] and list(ensemble.of_split(members, "oof")) == ["b", "a"]
    assert ensemble.of_split(members, "train") == {}
    assert ensemble.count_rows(members)["b"].to_dict() == {"oof": 4, "dev": 4, "test": 4}
    assert ensemble.count_rows(members)["a"].isna().to_dict() == {"oof": False, "dev": True, "test": False}
    write_table(rows([0.1, 0.2, 0.3, 0.4]).drop(columns="fold"), run.final / "QC" / "a" / "oof.parquet")
    with pytest.raises(DataError, match="column fold is missing"):
        ensemble.load_members(run, "QC")


def test_every_split_is_answered_with_the_same_ensemble() -> None:
    left, right = rows([0.5, 0.2, 0.6, 0.5]), rows([0.3, 0.2, 0.8, 0.5]).iloc[::-1]
    members = {"a": {"oof": left, "test": left}, "b": {"oof": right, "test": right}}
    answers = ensemble.answer(members, DECISION)
    assert list(answers) == ["oof", "test"]
    for table in answers.values():
        assert table["probability"].tolist() == pytest.approx([0.4, 0.2, 0.7, 0.5])
        assert table["prediction"].tolist() == [1, 0, 1, 0]  # 0.4 for English, 0.6 for Japanese


def test_decisions_are_scored_by_id_and_folds_vote_by_majority(run: paths.Run) -> None:
    test = rows([0.55, 0.3, 0.45, 0.2]).assign(prediction=[1, 0, 0, 0])
    oof = rows([0.55, 0.3, 0.45, 0.2], [1, 0, 1, 0]).assign(prediction=[1, 0, 0, 0])
    solution = pd.DataFrame({"id": [4, 3, 2, 1], "label": [0, 0, 1, 1]})
    answers = {"oof": oof, "dev": test, "test": test}
    table = ensemble.compare_decisions(run, "QC", answers, DECISION, {"test": solution})
    assert set(table["task"]) == {"QC"}
    scores = {(row.split, row.decision): row.f1 for row in table.itertuples()}
    assert scores == {  # dev has no labels; out of fold no row has the votes of all folds
        ("oof", "argmax at 0.5"): pytest.approx(2 / 3),  # predicts 1; relevant are 1 and 3
        ("oof", "mean, one threshold"): pytest.approx(1.0),  # predicts 1 and 3
        ("oof", "mean, as submitted"): pytest.approx(2 / 3),
        ("test", "argmax at 0.5"): pytest.approx(2 / 3),  # predicts 1; relevant are 1 and 2
        ("test", "mean, one threshold"): pytest.approx(0.5),  # predicts 1 and 3
        ("test", "mean, as submitted"): pytest.approx(2 / 3),
        # Votes: id 1 two of four (a tie counts as 1), id 2 one, id 3 three, id 4 none. Predicts 1 and 3.
        ("test", "hard vote of folds"): pytest.approx(0.5),
    }


def test_a_tie_of_the_folds_counts_as_relevant(run: paths.Run) -> None:
    solution = pd.DataFrame({"id": [1, 2, 3, 4], "label": [1, 0, 1, 0]})
    answers = {"test": rows([0.1] * 4).assign(prediction=0)}
    table = ensemble.compare_decisions(run, "QC", answers, DECISION, {"test": solution}).set_index("decision")
    assert table["f1"]["hard vote of folds"] == 1.0 and table["f1"]["argmax at 0.5"] == 0.0


SCORES = pd.DataFrame(
    [
        ("ensemble", "QC", "test", "all", 0.9, 0.88, 0.92, 0.8),
        ("ensemble", "QC", "test", "ja", 0.7, 0.6, 0.8, 0.75),
        ("constant", "QC", "test", "all", 0.8, 0.79, 0.81, 0.8),
        ("e5-small", "QC", "test", "all", 0.85, 0.8, 0.9, 0.8),
        ("tfidf", "QC", "test", "all", 0.79, 0.7, 0.8, 0.8),
        ("overlap", "QC", "test", "all", 0.78, 0.7, 0.8, 0.8),
        ("overlap", "QC", "test", "ja", 0.99, 0.9, 1.0, 0.8),
        ("zeroshot", "QC", "oof", "all", 0.95, 0.9, 1.0, 0.8),
        ("overlap", "QI", "test", "all", 0.97, 0.9, 1.0, 0.8),
    ],
    columns=["recipe", "task", "split", "language", "f1", "f1_lo", "f1_hi", "constant_f1"],
)


def test_the_best_baseline_is_of_the_same_task_and_split_over_all_languages() -> None:
    assert ensemble.best_baseline(SCORES, "QC", "test") == "tfidf"  # `constant` and trained networks do not count
    assert ensemble.best_baseline(SCORES, "QC", "oof") == "zeroshot"
    assert ensemble.best_baseline(SCORES, "QI", "test") == "overlap"
    with pytest.raises(IndexError):
        ensemble.best_baseline(SCORES, "QI", "oof")


def test_one_recipes_rows_are_selected() -> None:
    table = ensemble.select(SCORES, "QC", "test", "overlap")
    assert table[["language", "f1"]].to_numpy().tolist() == [["all", 0.78], ["ja", 0.99]]
    assert ensemble.select(SCORES, "QI", "test", "ensemble").empty


def test_the_sentence_gives_the_ensemble_the_constant_answer_and_the_best_baseline() -> None:
    assert ensemble.explain(SCORES, "QC", "test") == (
        "the ensemble has F1 0.9000 [0.880, 0.920]; answering *relevant* to everything has 0.8000, "
        "the best candidate without a trained network (tfidf) 0.7900."
    )


def test_candidates_are_scored_on_test_at_their_out_of_fold_threshold(run: paths.Run) -> None:
    train = rows([0.0] * 4, [1, 1, 0, 0]).assign(query=["x", "x", "y", "z"])[["id", "language", "query", "label"]]
    write_table(train[train["language"] == "en"], run.clean_table("train", "QC"))
    folder = run.bakeoff / "QC" / "tfidf"
    write_table(rows([0.4, 0.3, 0.1, 0.05], [1, 1, 0, 0]), folder / "oof.parquet")  # the best threshold is 0.2
    write_table(rows([0.25, 0.1, 0.3, 0.1]).head(3), folder / "test.parquet")
    pd.DataFrame({"task": ["QC", "QI"], "recipe": ["tfidf", "other"]}).to_csv(run.bakeoff / "leaderboard.csv")
    queries = {split: train.set_index("id")["query"] for split in ("train", "test")}
    answers = {"test": rows([0.9, 0.9, 0.9, 0.1]).assign(prediction=[1, 1, 1, 0])}
    solution = {"test": pd.DataFrame({"id": [1, 2, 3, 4], "label": [1, 1, 1, 0]})}
    scores = ensemble.score_everything(run, "QC", answers, DECISION, queries, solution, seed=0)
    whole = scores[scores["language"] == "all"].set_index(["recipe", "split"])
    assert whole["f1"].to_dict() == {
        ("ensemble", "test"): 1.0,
        ("tfidf", "oof"): 1.0,
        ("tfidf", "test"): pytest.approx(0.8),
    }
    assert whole["threshold"].tolist() == pytest.approx([0.4, 0.2, 0.2])
    assert whole["rows"].tolist() == [4, 4, 3]
    seen = scores[scores["recipe"] == "ensemble"].set_index("language")["seen"].to_dict()
    assert seen == {"all": False, "seen": True, "unseen": False, "en": True, "ja": False}
