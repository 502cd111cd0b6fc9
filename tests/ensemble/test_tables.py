"""Members of a small run, the estimate for the test's languages, and the rows of `scores.csv`, against hand counts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from utils.core import paths, recipe
from utils.core.errors import DataError
from utils.core.files import write_json
from utils.core.recipe import Recipe
from utils.data.tables import write_table
from utils.ensemble import tables
from utils.ensemble.crossfitting import cross_fit_decision
from utils.ensemble.decide import Decision, Ensemble, widen
from utils.evaluation import leaderboard

HALF = Decision({"a": 0.5, "b": 0.5}, {"a": (0.3, 0.7), "b": (0.2, 0.8), "c": (-0.1, 0.1)}, (1.0, 0.0), 0.4)
DECISION = Ensemble(("en", "ja"), {"seen": HALF, "unseen": HALF}, {"ja": 0.6})


def rows(probability: list[float], label: list[int] | None = None) -> pd.DataFrame:
    """A table of the ids 1 to 4 in two languages."""
    table = pd.DataFrame(
        {"id": [1, 2, 3, 4], "language": ["en", "en", "ja", "ja"], "probability": probability, "fold": -1}
    )
    return table if label is None else table.assign(label=label)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> paths.Run:
    """A run with two finally trained recipes, `b` the champion."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(leaderboard, "choose_repeats", lambda rows: 20)
    run = paths.Run("small")
    recipe.save_all(
        [Recipe("b", "gemma"), Recipe("a", "xlm-r"), Recipe("unfit", "baseline")], run.tapt / "final" / "QC"
    )
    return run


# -- members ---------------------------------------------------------------------------------------------------------


def test_members_are_read_champion_first_with_the_splits_that_exist(run: paths.Run) -> None:
    for name, splits in (("a", ("oof", "test")), ("b", ("oof", "dev", "test"))):
        for split in splits:
            write_table(rows([0.1, 0.2, 0.3, 0.4]), run.final / "QC" / name / f"{split}.parquet")
    write_table(rows([0.1, 0.2, 0.3, 0.4]).head(3), run.held_out("QC", "b") / "oof.parquet")
    members = tables.load_members(run, "QC")
    assert [
        (name, list(tables)) for name, tables in members.items()
    ] == [  # a baseline that could not be fitted is none
        ("b", ["oof", "dev", "test", "held-out"]),
        ("a", ["oof", "test"]),
    ]
    assert list(tables.of_split(members, "dev")) == ["b"] and list(tables.of_split(members, "oof")) == ["b", "a"]
    assert tables.of_split(members, "train") == {}
    counts = tables.count_rows(members)
    assert counts.index.tolist() == ["oof", "held-out", "dev", "test"] and counts["b"].tolist() == [4, 3, 4, 4]
    assert counts["a"].isna().tolist() == [False, True, True, False]
    write_table(rows([0.1, 0.2, 0.3, 0.4]).drop(columns="fold"), run.final / "QC" / "a" / "oof.parquet")
    with pytest.raises(DataError, match="column fold is missing"):
        tables.load_members(run, "QC")


def test_scales_are_measured_on_the_folds_test_rows(run: paths.Run) -> None:
    folds = [rows([0.9, 0.5, 0.8, 0.1]), rows([0.6, 0.4, 0.9, 0.2]), rows([0.7, 0.3, 0.6, 0.3])]
    for number, table in enumerate(folds):
        write_table(table, run.final / "QC" / "a" / f"fold{number}" / "test.parquet")
    write_table(folds[0], run.final / "QC" / "b" / "fold0" / "test.parquet")
    write_table(folds[1], run.final / "QC" / "b" / "fold1" / "test.parquet")  # of a fold that is none any more
    for name, own in (("a", (0, 1, 2)), ("b", (0,))):
        recipe.save(Recipe(name, "baseline", folds=own), run.final / "QC" / name / "recipe.json")
    mean = rows(np.mean([table["probability"] for table in folds], axis=0).tolist())
    scales = tables.measure_scales(run, "QC", {"a": {"test": mean}, "b": {"test": folds[0]}})
    assert scales == {"a": widen(folds, mean), "b": (1.0, 0.0)} and scales["a"][0] > 1


def test_dev_and_test_are_answered_with_the_same_ensemble() -> None:
    left, right = rows([0.5, 0.2, 0.6, 0.5]), rows([0.8, 0.2, 0.5, 0.2]).iloc[::-1]  # from the id 4 down
    members = {"a": {"oof": left, "test": left, "dev": left}, "b": {"oof": right, "test": right, "dev": right}}
    texts = pd.DataFrame({"id": left["id"], "query": "q", "query_en": "q", "target": "t"})
    answers = tables.answer(members, DECISION, {"test": texts, "dev": texts})
    assert list(answers) == ["dev", "test"]
    for table in answers.values():
        odds = np.sqrt([1 * 4, 0.25 * 0.25, 1.5 * 1, 1 * 0.25])  # the mean of log-odds
        assert table["probability"].tolist() == pytest.approx((odds / (1 + odds)).tolist())
        assert table["prediction"].tolist() == [1, 0, 0, 0]  # 0.4 for English, 0.6 for Japanese


def test_every_member_stands_in_the_table_of_weights() -> None:
    alone = Decision({"b": 1.0}, {"b": (0.5, 1.5)}, (1.0, 0.0), 0.5)
    table = tables.show_weights(Ensemble(("en",), {"seen": HALF, "unseen": alone}), {"a": {}, "b": {}, "c": {}})
    assert table.index.tolist() == [("seen", "a"), ("seen", "b"), ("seen", "c"), ("unseen", "b")]
    assert table["weight"].tolist() == [0.5, 0.5, 0.0, 1.0] and table["lo"].tolist() == [0.3, 0.2, -0.1, 0.5]


def test_clusters_are_the_query_groups_of_each_split(run: paths.Run) -> None:
    clean = pd.DataFrame(
        {
            "id": [7, 8, 9],
            "query": ["red", "rojo", "blau"],
            "query_en": ["red", "red", ""],
            "language": ["en", "es", "de"],
        }
    )
    clean = clean.assign(origin_query="", target=None)
    write_table(clean, run.clean_table("test", "QC"))
    write_table(clean, run.clean_table("train", "QC"))
    folds = pd.DataFrame({"id": [8, 7], "fold": 0, "query_group": ["other", "other"], "category_group": ""})
    write_table(folds, run.fold_table("QC"))
    clusters = tables.load_clusters(run, "QC")
    assert {split: column.to_dict() for split, column in clusters.items()} == {
        "train": {8: "other", 7: "other"},
        "test": {7: "red", 8: "red", 9: "blau"},
    }
    assert tables.training_languages(run, "QC") == ("en", "es")  # German is over the cap


def test_the_saved_recipes_come_with_the_facts_beside_them(run: paths.Run) -> None:
    write_json(run.final / "QC" / "b" / "recipe.json", {"name": "b", "fingerprint": "f"})
    assert tables.load_recipes(run, ["QC"]) == {"QC": [{"name": "b", "fingerprint": "f"}, {}, {}]}


# -- the estimate ----------------------------------------------------------------------------------------------------


def answers_of(languages: str, start: int = 0) -> pd.DataFrame:
    """Cross-fitted answers, one row per language code."""
    codes = languages.split()
    content = {
        "id": range(start, start + len(codes)),
        "language": codes,
        "label": 1,
        "probability": 0.5,
        "threshold": 0.4,
        "part": 0,
    }
    return pd.DataFrame(content).assign(prediction=1)


HONEST = {"seen": answers_of("en en en es es ja"), "unseen": answers_of("es es es ja", 3)}
CLUSTERS = pd.Series([f"g{number // 2}" for number in range(10)])


def test_weights_reproduce_the_tests_language_shares() -> None:
    test = pd.DataFrame({"language": ["en"] * 6 + ["es"] * 2 + ["ja"] + ["pl"] * 5 + ["de"]})
    table = tables.estimate(HONEST, test, CLUSTERS)
    weights = table.groupby(["kind", "language"])["weight"].sum()
    assert weights.to_dict() == pytest.approx({
        ("seen", "en"): 6, ("seen", "es"): 2, ("seen", "ja"): 1,
        ("unseen", "es*"): 3, ("unseen", "ja*"): 3,  # six rows of unseen languages, shared equally
    })  # fmt: skip
    assert table["weight"].sum() == pytest.approx(len(test))
    assert (table.groupby(["kind", "language"])["weight"].nunique() == 1).all()
    assert table["query_group"].tolist() == [f"g{number // 2}" for number in [0, 1, 2, 3, 4, 5, 3, 4, 5, 6]]


def test_withheld_rows_stand_for_the_tests_rows_with_like_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LEAST_RELATED", 2)
    test = pd.DataFrame({"language": ["en"] * 6 + ["es"] * 2 + ["ja"] + ["pl"] * 5})
    related = answers_of("en es", 20)
    clusters = pd.concat([CLUSTERS, pd.Series(["h", "i"], index=[20, 21])])
    table = tables.estimate(HONEST | {"related": related}, test, clusters, 0.25)
    weights = table[table["kind"] == "seen"].groupby([table["id"] >= 20, "language"])["weight"].sum()
    assert weights.to_dict() == pytest.approx({
        (False, "en"): 4.5, (False, "es"): 1.5, (True, "en"): 1.5, (True, "es"): 0.5,
        (False, "ja"): 1,  # none was withheld of it
    })  # fmt: skip
    assert table["weight"].sum() == pytest.approx(len(test))
    monkeypatch.setattr(tables, "LEAST_RELATED", 3)  # too few to say anything
    few = tables.estimate(HONEST | {"related": related}, test, clusters, 0.25)
    assert few.equals(tables.estimate(HONEST, test, clusters))


def test_related_rows_of_the_test_are_counted_in_training_languages(run: paths.Run) -> None:
    columns = ["id", "language", "query", "query_en", "target"]
    train = [[1, "en", "red shoe", "red shoe", "a"], [2, "es", "gorra", "cap", "b"], [3, "es", "taza", "", "c"]]
    test = [
        [7, "es", "zapato rojo", "red shoe", "x"], [8, "en", "cap", "cap", "y"], [9, "en", "mug", "mug", "z"],
        [10, "es", "taza", "", "z"], [11, "de", "cap", "cap", "z"],
    ]  # fmt: skip
    for split, rows_of in (("train", train), ("test", test)):
        write_table(pd.DataFrame(rows_of, columns=columns), run.clean_table(split, "QC"))
    folds = {"id": [1, 2, 3], "fold": 0, "query_group": "g", "category_group": ""}
    write_table(pd.DataFrame(folds), run.fold_table("QC"))
    assert tables.share_related(run, "QC") == 0.75
    write_table(pd.DataFrame(folds).head(1), run.fold_table("QC"))  # what is over the cap trains nothing
    assert tables.share_related(run, "QC") == 0.0  # English is all that is left, and neither of its queries is there


def test_a_test_without_unseen_languages_has_one_kind() -> None:
    table = tables.estimate(HONEST, pd.DataFrame({"language": ["en", "es", "es"]}), CLUSTERS)
    assert table["kind"].unique().tolist() == ["seen"] and len(table) == 6
    assert table.groupby("language")["weight"].sum().to_dict() == pytest.approx({"en": 1, "es": 2, "ja": 0})


def test_a_run_without_held_out_languages_estimates_from_what_it_has() -> None:
    table = tables.estimate({"seen": HONEST["seen"]}, pd.DataFrame({"language": ["en", "es", "pl", "pl"]}), CLUSTERS)
    assert table["kind"].unique().tolist() == ["seen"]
    assert table.groupby("language")["weight"].sum().to_dict() == pytest.approx({"en": 1, "es": 1, "ja": 0})


def test_a_test_of_unseen_languages_alone_counts_held_out_rows_alone() -> None:
    test = pd.DataFrame({"language": ["pl", "de"]})
    table = tables.estimate(HONEST, test, CLUSTERS)
    assert table["kind"].unique().tolist() == ["unseen"] and table["weight"].sum() == pytest.approx(2)
    alone = tables.estimate({"seen": HONEST["seen"]}, test, CLUSTERS)
    assert alone["weight"].tolist() == [1.0] * 6  # nothing is known of them: all rows count alike


# -- scores.csv ------------------------------------------------------------------------------------------------------

COLUMNS = [
    "recipe", "task", "split", "language", "seen", "rows", "positives", "f1", "f1_lo", "f1_hi", "f1_best", "auc", "constant_f1",
    "threshold",
]  # fmt: skip


def member_tables(count: int = 160) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """The clean training rows of four languages, and the out-of-fold tables of two members."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, count)
    language = np.array(["en", "es", "ja", "fr"])[np.arange(count) // 4 % 4]
    queries = [f"q{n // 4}" for n in range(count)]
    train = pd.DataFrame({"id": np.arange(count) * 3, "language": language, "query": queries, "label": label})
    tables = {}
    for name in "ba":
        probability = 1 / (1 + np.exp(-(2 * label - 1 + rng.normal(size=count))))
        tables[name] = train[["id", "language", "label"]].assign(probability=probability, fold=0)
    return train, tables


@pytest.fixture
def scored(run: paths.Run) -> tuple[pd.DataFrame, dict[str, pd.DataFrame], pd.DataFrame]:
    """`scores.csv` of a run with an ensemble, a plain candidate and one that never saw French; the honest tables; the test rows."""
    train, members = member_tables()
    write_table(train.drop(columns="label"), run.clean_table("train", "QC"))
    groups = train["query"].to_numpy()
    write_table(
        pd.DataFrame({"id": train["id"], "fold": 0, "query_group": groups, "category_group": ""}), run.fold_table("QC")
    )
    folder = run.bakeoff / "QC"
    languages = ["en"] * 6 + ["es"] * 2 + ["fr", "ja"] + ["pl"] * 2
    test = pd.DataFrame(
        {"id": range(1000, 1012), "language": languages, "fold": -1, "probability": np.linspace(0.05, 0.95, 12)}
    )
    for name, scheme in (("tfidf", "query"), ("tfidf-unseen", "leave-language")):
        oof = members["a"] if scheme == "query" else members["a"][members["a"]["language"] == "fr"]
        write_table(oof, folder / name / "oof.parquet")
        write_table(test.head(9 if scheme == "query" else 12), folder / name / "test.parquet")
        write_json(folder / name / "recipe.json", {"scheme": scheme})
    board = pd.DataFrame(
        {"task": ["QC", "QC", "QI"], "recipe": ["tfidf", "tfidf-unseen", "other"], "threshold": [0.5, 0.3, 0.1]}
    )
    board.to_csv(folder.parent / "leaderboard.csv", index=False)
    clusters = {
        "train": pd.Series(groups, index=train["id"]),
        "test": pd.Series([f"t{n // 2}" for n in range(12)], index=test["id"]),
    }
    held_out = {name: table[table["language"].isin(["es", "fr"])] for name, table in members.items()}
    honest = {
        kind: cross_fit_decision(tables, clusters["train"], 1)
        for kind, tables in (("seen", members), ("unseen", held_out))
    }
    answers = {"dev": test, "test": test.assign(threshold=0.5, prediction=[0, 1] * 6)}
    solution = {"test": pd.DataFrame({"id": test["id"][::-1], "label": [1, 0, 0] * 4})}
    scores = tables.score_everything(run, "QC", answers, honest, clusters, solution, seed=1)
    return scores, honest, answers["test"].merge(solution["test"])


def test_the_columns_of_the_scores_are_those_of_the_contract(scored: tuple) -> None:
    assert scored[0].columns.tolist() == COLUMNS


def test_the_ensemble_and_each_candidate_are_scored_where_there_are_labels(scored: tuple) -> None:
    scores, honest, test = scored
    found = {key: rows["language"].tolist() for key, rows in scores.groupby(["recipe", "split"], sort=False)}
    trained = ["en", "es", "fr", "ja"]
    assert found == {
        ("ensemble", "oof"): ["all", *trained],
        ("ensemble", "estimate"): ["all", "seen", "unseen"],
        ("ensemble", "test"): ["all", "seen", "unseen", *trained, "pl"],
        ("tfidf", "oof"): ["all", *trained],
        ("tfidf", "test"): ["all", "en", "es", "fr"],
        ("tfidf-unseen", "oof"): ["all", "fr"],
        ("tfidf-unseen", "test"): ["all", "seen", "unseen", *trained, "pl"],
    }
    whole = scores[scores["language"] == "all"].set_index(["recipe", "split"])
    assert whole["rows"].tolist() == [160, 240, 12, 160, 9, 40, 12]
    assert whole["f1"]["ensemble", "oof"] == pytest.approx(
        f1_score(honest["seen"]["label"], honest["seen"]["prediction"])
    )
    assert whole["f1"]["ensemble", "test"] == pytest.approx(f1_score(test["label"], test["prediction"]))
    part = test.head(9)
    assert whole["f1"]["tfidf", "test"] == pytest.approx(f1_score(part["label"], part["probability"] >= 0.5))
    assert whole["threshold"]["tfidf", "test"] == 0.5 and whole["threshold"]["tfidf-unseen", "test"] == pytest.approx(
        0.3
    )
    assert whole["threshold"]["ensemble", "oof"] == pytest.approx(honest["seen"]["threshold"].mean())


def test_the_estimate_is_weighted_and_its_unseen_rows_are_those_held_out(scored: tuple) -> None:
    scores, honest, _ = scored
    rows = scores[scores["split"] == "estimate"].set_index("language")
    held_out = honest["unseen"]
    # Spanish and French stand for unseen languages equally, and have as many rows.
    assert rows["f1"]["unseen"] == pytest.approx(f1_score(held_out["label"], held_out["prediction"]))
    weight = honest["seen"]["language"].map({"en": 6, "es": 2, "fr": 1, "ja": 1})
    seen = f1_score(honest["seen"]["label"], honest["seen"]["prediction"], sample_weight=weight)
    assert rows["f1"]["seen"] == pytest.approx(seen) and rows["seen"].tolist() == [False, True, False]
    both = pd.concat([honest["seen"].assign(weight=weight / 40), held_out.assign(weight=1 / 40)])
    assert rows["f1"]["all"] == pytest.approx(f1_score(both["label"], both["prediction"], sample_weight=both["weight"]))
    assert rows["threshold"]["unseen"] == pytest.approx(held_out["threshold"].mean())
    assert (rows["f1_lo"] <= rows["f1"]).all() and (rows["f1"] <= rows["f1_hi"]).all()


def test_a_language_that_a_candidate_never_saw_is_unseen_in_every_split(scored: tuple) -> None:
    scores = scored[0].set_index(["recipe", "split", "language"])["seen"]
    assert not scores["tfidf-unseen", "oof", "fr"] and not scores["tfidf-unseen", "test", "fr"]
    assert scores["tfidf-unseen", "test", "en"] and scores["tfidf", "test", "fr"] and scores["ensemble", "oof", "fr"]
    assert not scores["ensemble", "test", "pl"] and not scores["ensemble", "test", "all"]


def test_labels_are_joined_by_id() -> None:
    table = rows([0.1, 0.2, 0.3, 0.4])
    solution = pd.DataFrame({"id": [4, 3, 2, 1], "label": [0, 1, 1, 0]})
    assert (
        tables.with_labels(table, solution)["label"].tolist() == [0, 1, 1, 0]
        and tables.with_labels(table, None) is None
    )
    labelled = table.assign(label=1)
    assert tables.with_labels(labelled, solution) is labelled


def test_answers_get_the_texts_that_were_answered_by_id(run: paths.Run) -> None:
    clean = pd.DataFrame(
        {
            "id": [3, 1],
            "language": "en",
            "origin_query": ["Sofa", None],
            "query": "",
            "query_en": "",
            "target": [None, "A"],
        }
    )
    write_table(clean, run.clean_table("test", "QC"))
    answered = tables.with_texts(run, "QC", pd.DataFrame({"id": [1, 3], "prediction": [0, 1]}))
    assert (
        answered["id"].tolist() == [1, 3] and answered["target"].tolist()[0] == "A" and pd.isna(answered["target"][1])
    )
    assert answered["origin_query"].tolist()[1] == "Sofa" and answered["prediction"].tolist() == [0, 1]
