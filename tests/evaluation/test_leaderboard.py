"""The leaderboard, the tables by language and the score table, against hand counts."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from utils.core.errors import DataError
from utils.core.files import write_json
from utils.core.recipe import Recipe
from utils.data.tables import write_table
from utils.evaluation import leaderboard, thresholds
from utils.evaluation.intervals import f1_interval
from utils.evaluation.thresholds import best_threshold, cross_fit, split_queries

RECIPE = Recipe("e5", "xlm-r", folds=(0, 1), seed=3)
ROWS = 240
LANGUAGES = np.array(["en", "ja"])[np.arange(ROWS) // 4 % 2]
TRAIN = pd.DataFrame(
    {"id": np.arange(ROWS) * 5, "language": LANGUAGES, "query_group": [f"q{number // 4}" for number in range(ROWS)]}
).sample(frac=1.0, random_state=0)  # not in the order of the out-of-fold table
FACTS = [
    {"train_rows": 100, "train_rows_per_s": 10.0, "score_rows_per_s": 40.0, "parameters": 1000, "seconds": 3.0},
    {"train_rows": 90, "train_rows_per_s": 20.0, "score_rows_per_s": 60.0, "parameters": 1000, "seconds": 5.0},
]


@pytest.fixture(autouse=True)
def few_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaderboard, "choose_repeats", lambda rows: 60)


def make_oof(noise: float = 1.0, seed: int = 1) -> pd.DataFrame:
    """Out-of-fold rows of two folds; probabilities follow the labels, the less the more noise."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, ROWS)
    odds = label * 2 - 1 + np.random.default_rng(seed).normal(0, noise, ROWS)
    content = {"id": np.arange(ROWS) * 5, "language": LANGUAGES, "label": label, "probability": 1 / (1 + np.exp(-odds))}
    return pd.DataFrame(content).assign(fold=np.arange(ROWS) // 4 % 2)


def write_candidate(folder: Path, oof: pd.DataFrame, scheme: str = "query") -> Path:
    """A candidate's folder with the tables and facts of its folds."""
    write_table(oof, folder / "oof.parquet")
    write_json(folder / "recipe.json", {"scheme": scheme})
    for fold in oof["fold"].unique():
        write_json(folder / f"fold{fold}" / "facts.json", FACTS[fold])
    return folder


def by_query(oof: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The rows with what cross-fitting by query gives them."""
    groups = oof["id"].map(TRAIN.set_index("id")["query_group"])
    return cross_fit(oof.assign(query_group=groups), groups, seed)


# -- rows of the leaderboard -----------------------------------------------------------------------------------------


def test_a_candidates_f1_is_at_thresholds_fitted_on_other_queries(tmp_path: Path) -> None:
    oof = make_oof()
    row = leaderboard.candidate_row(RECIPE, "QC", TRAIN, write_candidate(tmp_path / "e5", oof))
    table = by_query(oof, RECIPE.seed)
    threshold, best = best_threshold(oof["label"], oof["probability"])
    f1 = f1_score(table["label"], table["prediction"])
    folds = [f1_score(rows["label"], rows["prediction"]) for _, rows in table.groupby("fold")]
    assert (row["f1"], row["f1_best"], row["threshold"]) == (pytest.approx(f1), pytest.approx(best), threshold)
    assert row["f1"] < row["f1_best"] and row["f1_sd"] == pytest.approx(abs(folds[0] - folds[1]) / 2)
    assert row["f1_lo"] < f1 < row["f1_hi"]
    assert row["auc"] == pytest.approx(roc_auc_score(oof["label"], oof["probability"]))
    facts = {
        "rows": 100,
        "train_rows_per_s": 15.0,
        "score_rows_per_s": 50.0,
        "parameters": 1000,
        "seconds": 8.0,
        "folds": 2,
    }
    assert {name: row[name] for name in facts} == facts
    assert list(row) == [
        "recipe", "family", "task", "scheme", "folds", "rows", "f1", "f1_best", "f1_sd", "f1_lo", "f1_hi", "auc", "threshold",
        "train_rows_per_s", "score_rows_per_s", "parameters", "seconds",
    ]  # fmt: skip


def test_a_fold_that_was_skipped_is_not_asked_for(tmp_path: Path) -> None:
    oof = make_oof()
    row = leaderboard.candidate_row(RECIPE, "QC", TRAIN, write_candidate(tmp_path / "e5", oof[oof["fold"] == 1]))
    assert (row["folds"], row["rows"], row["seconds"], row["f1_sd"]) == (1, 90, 5.0, 0.0)


def test_the_interval_draws_whole_queries(tmp_path: Path) -> None:
    folder = write_candidate(tmp_path / "e5", make_oof())
    trains = [TRAIN.assign(query_group=group) for group in ("same", TRAIN["id"])]
    one, rows = (leaderboard.candidate_row(RECIPE, "QC", train, folder) for train in trains)
    assert one["f1_lo"] == one["f1_hi"]  # each draw is the whole table
    assert rows["f1_lo"] < rows["f1_hi"]


def test_the_leaderboard_has_one_row_per_finished_candidate(tmp_path: Path) -> None:
    write_candidate(tmp_path / "e5", make_oof())
    write_candidate(tmp_path / "gemma", make_oof(0.2))
    recipes = [RECIPE, Recipe("gemma", "gemma", folds=(0, 1), scheme="report"), Recipe("skipped", "gemma")]
    board = leaderboard.build_leaderboard(recipes, "QC", TRAIN, tmp_path)
    assert board["recipe"].tolist() == ["e5", "gemma"] and board["scheme"].tolist() == ["query", "report"]
    assert board["f1"][1] == 1.0 > board["f1"][0]


def test_a_candidate_that_was_not_fitted_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"oof\.parquet:1: missing"):
        leaderboard.evaluate(tmp_path / "e5", TRAIN)


def test_the_best_lexical_baseline_is_of_the_task() -> None:
    rows = pd.DataFrame(
        {
            "recipe": ["constant", "tfidf", "overlap", "wordpairs", "zeroshot"],
            "task": "QC",
            "f1": [0.9, 0.7, 0.6, 0.65, 0.8],
        }
    )
    assert leaderboard.best_lexical_baseline(rows, "QC") == "tfidf"
    assert leaderboard.best_lexical_baseline(rows.assign(f1=[0.9, 0.5, 0.6, 0.65, 0.8]), "QC") == "wordpairs"
    assert leaderboard.best_lexical_baseline(rows, "QI") == "constant"


# -- scores by language ----------------------------------------------------------------------------------------------


def test_scores_by_language_are_those_of_its_rows(tmp_path: Path) -> None:
    oof = make_oof(2.0)
    scores = leaderboard.evaluate(write_candidate(tmp_path / "e5", oof), TRAIN, seed=3).set_index("language")
    table = by_query(oof, 3)
    assert scores.index.tolist() == ["all", "en", "ja"] and scores["seen"].all()  # no language is unseen
    for name, rows in (
        ("all", table),
        ("en", table[table["language"] == "en"]),
        ("ja", table[table["language"] == "ja"]),
    ):
        positives, share = rows["label"].sum(), rows["label"].mean()
        expected = {
            "rows": len(rows), "positives": positives, "f1": f1_score(rows["label"], rows["prediction"]),
            "f1_best": best_threshold(rows["label"], rows["probability"])[1], "auc": roc_auc_score(rows["label"], rows["probability"]),
            "constant_f1": 2 * share / (1 + share),
        }  # fmt: skip
        assert scores.loc[name, list(expected)].to_dict() == pytest.approx(expected)
        assert scores["f1_lo"][name] < scores["f1"][name] < scores["f1_hi"][name]
    tables = leaderboard.evaluate_all([RECIPE, Recipe("skipped", "x")], tmp_path, TRAIN, seed=3)
    assert list(tables) == ["e5"] and tables["e5"].set_index("language").equals(scores)


def test_a_language_that_a_recipe_never_saw_is_unseen(tmp_path: Path) -> None:
    japanese = make_oof()[LANGUAGES == "ja"]
    held_out = leaderboard.evaluate(write_candidate(tmp_path / "held-out", japanese, "leave-language"), TRAIN)
    assert held_out[["language", "seen"]].to_numpy().tolist() == [["all", False], ["ja", False]]
    plain = leaderboard.evaluate(write_candidate(tmp_path / "plain", japanese), TRAIN)
    assert plain[["language", "seen"]].to_numpy().tolist() == [["all", True], ["ja", True]]


def test_seen_and_unseen_languages_are_pooled_where_both_occur() -> None:
    rows = pd.DataFrame(
        {
            "language": ["pl", "en", "en", "ja", "pl"],
            "query_group": ["a", "b", "c", "d", "e"],
            "label": [1, 1, 0, 1, 1],
            "prediction": [0, 1, 1, 1, 1],
            "probability": [0.1, 0.9, 0.8, 0.7, 0.6],
        }
    )
    table = leaderboard.by_language(rows, {"en", "ja"}, seed=2)
    assert table["language"].tolist() == ["all", "seen", "unseen", "en", "ja", "pl"]
    assert table["seen"].tolist() == [False, True, False, True, True, False]
    assert table["rows"].tolist() == [5, 3, 2, 2, 1, 2] and table["positives"].tolist() == [4, 2, 2, 1, 1, 2]
    assert table["f1"].tolist() == pytest.approx([6 / 8, 4 / 5, 2 / 3, 2 / 3, 1.0, 2 / 3])
    assert math.isnan(table["auc"][2]) and table["auc"][3] == 1.0  # Polish has positives alone
    low, high = f1_interval(rows["label"], rows["prediction"], rows["query_group"], seed=2)
    assert table.loc[0, ["f1_lo", "f1_hi"]].tolist() == [
        low,
        high,
    ]  # thresholds that were fitted elsewhere stay as they are
    assert leaderboard.by_language(rows, {"de"})["language"].tolist() == ["all", "en", "ja", "pl"]


def test_weights_count_as_rows() -> None:
    table = by_query(make_oof(2.0), 1)
    weight = np.random.default_rng(0).integers(1, 4, ROWS)
    weighted = leaderboard.by_language(table.drop(columns="part").assign(weight=weight), {"en"}).set_index("language")
    repeated = leaderboard.by_language(table.drop(columns="part").loc[table.index.repeat(weight)], {"en"}).set_index(
        "language"
    )
    for column in ("f1", "f1_best", "auc", "constant_f1"):
        assert weighted[column].tolist() == pytest.approx(repeated[column].tolist()), column
    assert weighted["rows"].tolist()[0] == ROWS


def test_a_weighted_interval_surrounds_the_weighted_f1() -> None:
    """Japanese rows weigh nearly everything, and their F1 is far from the others'."""
    table = by_query(make_oof(1.0), 1)
    table["probability"] = np.where(LANGUAGES == "ja", np.random.default_rng(0).random(ROWS), table["probability"])
    table = cross_fit(table, table["query_group"], 1)
    row = leaderboard.by_language(table.assign(weight=np.where(LANGUAGES == "ja", 1.0, 0.001)), {"en", "ja"}).iloc[0]
    other = leaderboard.by_language(table, {"en", "ja"}).iloc[0]
    assert row["f1_lo"] < row["f1"] < row["f1_hi"] and row["f1"] < other["f1_lo"]


def test_the_interval_fits_thresholds_again_as_they_were_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thresholds per language, and those of a kind of rows, are fitted per language and kind in each repeat, too."""
    monkeypatch.setattr(thresholds, "PULL", 1)
    table = by_query(make_oof(0.5), 1)
    # Japanese probabilities lie so low that one threshold for both languages loses many rows, while its own one separates them.
    table["probability"] = np.where(LANGUAGES == "ja", 0.3 * table["probability"], table["probability"])
    own = table["language"].map({"en": 0.5, "ja": 0.15})
    separate = table.assign(threshold=own, prediction=(table["probability"] >= own).astype(int))
    row = leaderboard.by_language(separate, {"en", "ja"}).iloc[0]
    common = leaderboard.by_language(
        by_query(table.drop(columns=["part", "threshold", "prediction"]), 1), {"en", "ja"}
    ).iloc[0]
    assert row["f1"] > common["f1_hi"] and common["f1_lo"] < common["f1"] < common["f1_hi"]
    assert row["f1_lo"] <= row["f1"] <= row["f1_hi"]
    kinds = []
    for kind, rows in table.groupby("language"):
        kinds.append(
            cross_fit(rows.drop(columns=["part", "threshold", "prediction"]), rows["query_group"], 1).assign(kind=kind)
        )
    row = leaderboard.by_language(pd.concat(kinds, ignore_index=True), {"en", "ja"}).iloc[0]
    assert row["f1"] > common["f1_hi"] and row["f1_lo"] < row["f1"] <= row["f1_hi"]


def test_rows_are_read_with_their_query_groups_and_parts(tmp_path: Path) -> None:
    table = leaderboard.read_oof(write_candidate(tmp_path / "e5", make_oof()), TRAIN, 3)
    assert table["query_group"].tolist() == [f"q{number // 4}" for number in range(ROWS)]
    assert table["part"].tolist() == split_queries(table["query_group"], 3).tolist()


def test_schemes_are_compared_each_on_its_own_rows(tmp_path: Path) -> None:
    oof = make_oof()
    write_candidate(tmp_path / "e5", oof)
    write_candidate(tmp_path / "e5-left", oof[LANGUAGES == "ja"], "leave-language")
    variants = [
        RECIPE, RECIPE.with_(name="e5-plain", variant_of="e5", translation=False),  # of the same scheme
        RECIPE.with_(name="e5-left", variant_of="e5", scheme="leave-language"),
        RECIPE.with_(name="e5-lost", variant_of="e5", scheme="report"),
        Recipe("gemma", "gemma"),
    ]  # fmt: skip
    table = leaderboard.compare_schemes(variants, "e5", TRAIN, tmp_path)
    assert table.index.tolist() == ["e5", "e5-left"] and table["scheme"].tolist() == ["query", "leave-language"]
    assert table["rows"].tolist() == [ROWS, ROWS // 2]
    share = oof["label"][LANGUAGES == "ja"].mean()
    assert table["constant_f1"].tolist()[1] == pytest.approx(2 * share / (1 + share))
    assert table["above constant"].tolist() == pytest.approx((table["f1"] - table["constant_f1"]).tolist())


# -- the score table and its sentences -------------------------------------------------------------------------------

SCORES = pd.DataFrame(
    [
        ("e5", "QC", "test", "all", 2000, 0.85), ("zeroshot", "QC", "test", "all", 1500, 0.99),  # on a part of the rows
        ("ensemble", "QC", "test", "all", 2000, 0.9), ("ensemble", "QC", "test", "ja", 500, 0.95),
        ("ensemble", "QC", "estimate", "all", 3000, 0.88), ("gemma", "QC", "oof", "all", 9000, 0.97),
        ("ensemble", "QI", "oof", "all", 900, 0.7), ("ensemble", "QI", "estimate", "all", 1200, 0.65),
        ("e5", "QI", "oof", "all", 900, 0.6), ("gemma", "QI", "oof", "all", 400, 0.8),
    ],
    columns=["recipe", "task", "split", "language", "rows", "f1"],
)  # fmt: skip


def test_with_a_solution_the_score_table_is_of_the_test_with_partial_answers_last() -> None:
    split, table = leaderboard.headline(SCORES, "QC")
    assert split == "test" and table["recipe"].tolist() == ["ensemble", "e5", "zeroshot"]
    assert table["f1"].tolist() == [0.9, 0.85, 0.99] and table["part"].tolist() == [False, False, True]
    assert table["note"].tolist() == ["", "", "on 1,500 of the rows"] and table.index.tolist() == [0, 1, 2]


def test_without_a_solution_the_ensemble_is_estimated_for_the_tests_languages() -> None:
    split, table = leaderboard.headline(SCORES, "QI")
    assert split == "oof" and table["recipe"].tolist() == ["ensemble", "e5", "gemma"]
    # The estimate has rows of held-out languages besides; e5 answered all of the others.
    assert table["note"].tolist() == ["weighted as the test's languages", "", "on 400 of the rows"]
    assert table["f1"].tolist() == [0.65, 0.6, 0.8] and table["part"].tolist() == [False, False, True]


def test_without_an_estimate_the_ensembles_row_is_out_of_fold() -> None:
    split, table = leaderboard.headline(SCORES[SCORES["split"] != "estimate"], "QI")
    assert (
        split == "oof"
        and table["f1"].tolist() == [0.7, 0.6, 0.8]
        and table["note"].tolist() == ["", "", "on 400 of the rows"]
    )


def test_the_final_training_is_compared_with_the_bake_off() -> None:
    scores = pd.DataFrame([{"language": "all", "f1": 0.875, "f1_lo": 0.85, "f1_hi": 0.9, "auc": 0.95}])
    board = pd.DataFrame(
        {"recipe": ["e5", "e5", "gemma"], "task": ["QC", "QI", "QC"], "f1": [0.75, 0.1, 0.99], "auc": [0.8, 0.1, 0.99]}
    )
    text = leaderboard.explain_final(RECIPE, scores, board, "QC")
    assert text == (
        "2 fold(s) of e5 reach F1 0.875 [0.850, 0.900] and AUC 0.950 out of fold (bake-off, on fewer rows: 0.750, 0.800)."
    )
    assert leaderboard.explain_final(RECIPE, scores, board.iloc[2:], "QC").endswith("out of fold.")
