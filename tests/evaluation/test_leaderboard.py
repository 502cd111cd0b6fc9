"""The leaderboard, the tables by language and the choice of finalists, against hand counts."""

import math
from pathlib import Path

import pandas as pd
import pytest

from utils.core.errors import DataError
from utils.core.files import write_json
from utils.core.recipe import Recipe
from utils.data.tables import write_table
from utils.evaluation import leaderboard
from utils.evaluation.leaderboard import choose_finalists

RECIPE = Recipe("e5", "xlm-r", folds=(0, 1), seed=3)
# The best threshold lies between 0.3 and 0.2. Above it are all rows of fold 1 (F1 2/3) and the two positives of fold 0 (F1 1).
OOF = pd.DataFrame(
    {
        "id": [1, 2, 3, 4, 5, 6, 7, 8],
        "language": ["en"] * 4 + ["ja"] * 4,
        "label": [1, 1, 0, 0, 1, 0, 1, 0],
        "probability": [0.9, 0.7, 0.2, 0.1, 0.8, 0.75, 0.3, 0.6],
        "fold": [0] * 4 + [1] * 4,
    }
)
TRAIN = pd.DataFrame(
    {
        "id": [8, 1, 6, 3, 5, 2, 7, 4],  # not in the order of the out-of-fold table
        "language": ["ja", "en", "ja", "en", "ja", "en", "ja", "en"],
        "query": ["y", "x", "y", "x", "y", "x", "y", "x"],
    }
)
FACTS = [
    {"train_rows": 100, "train_rows_per_s": 10.0, "score_rows_per_s": 40.0, "parameters": 1000, "seconds": 3.0},
    {"train_rows": 90, "train_rows_per_s": 20.0, "score_rows_per_s": 60.0, "parameters": 1000, "seconds": 5.0},
]


def write_candidate(folder: Path, oof: pd.DataFrame = OOF) -> Path:
    """A candidate's folder with the tables and facts of two folds."""
    write_table(oof, folder / "oof.parquet")
    for fold, facts in enumerate(FACTS):
        write_json(folder / f"fold{fold}" / "facts.json", facts)
    return folder


# -- rows of the leaderboard -----------------------------------------------------------------------------------------


def test_a_candidates_row_has_the_mean_f1_at_one_threshold(tmp_path: Path) -> None:
    row = leaderboard.candidate_row(RECIPE, "QC", TRAIN, write_candidate(tmp_path / "e5"))
    assert row == {
        "recipe": "e5", "family": "xlm-r", "task": "QC", "scheme": "strict", "folds": 2, "rows": 100,
        "f1": pytest.approx(5 / 6), "f1_sd": pytest.approx(1 / 6),
        "f1_lo": pytest.approx(2 / 3), "f1_hi": pytest.approx(1.0),  # draws of the queries x (F1 1) and y (F1 2/3)
        "auc": pytest.approx(13 / 16), "threshold": pytest.approx(0.25),
        "train_rows_per_s": 15.0, "score_rows_per_s": 50.0, "parameters": 1000, "seconds": 8.0,
    }  # fmt: skip


def test_the_interval_draws_whole_queries(tmp_path: Path) -> None:
    row = leaderboard.candidate_row(RECIPE, "QC", TRAIN.assign(query="same"), write_candidate(tmp_path / "e5"))
    assert (
        row["f1_lo"] == row["f1_hi"] == pytest.approx(0.8)
    )  # each draw is the whole table: 4 of 6 accepted rows, 4 positives


def test_the_leaderboard_has_one_row_a_candidate(tmp_path: Path) -> None:
    write_candidate(tmp_path / "e5")
    perfect = OOF.assign(probability=0.2 + 0.6 * OOF["label"])
    write_candidate(tmp_path / "gemma", perfect)
    recipes = [RECIPE, Recipe("gemma", "gemma", folds=(0, 1), scheme="report")]
    board = leaderboard.build_leaderboard(recipes, "QC", TRAIN, tmp_path)
    assert board["recipe"].tolist() == ["e5", "gemma"] and board["scheme"].tolist() == ["strict", "report"]
    assert board["f1"].tolist() == pytest.approx([5 / 6, 1.0]) and board["auc"].tolist() == pytest.approx(
        [13 / 16, 1.0]
    )
    assert board["threshold"].tolist() == pytest.approx([0.25, 0.5])


def test_a_candidate_that_was_not_fitted_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"oof\.parquet:1: missing"):
        leaderboard.build_leaderboard([RECIPE], "QC", TRAIN, tmp_path)


# -- finalists -------------------------------------------------------------------------------------------------------


def board(**scores: float) -> pd.DataFrame:
    """A leaderboard of QC on the strict split; F1 and AUC are the same number."""
    families = {"constant": "baseline", "zeroshot": "baseline", "e5": "xlm-r", "e5-other": "xlm-r", "gemma": "gemma"}
    rows = [(name, families[name], "QC", "strict", value, value) for name, value in scores.items()]
    return pd.DataFrame(rows, columns=["recipe", "family", "task", "scheme", "f1", "auc"])


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({"e5": 0.8, "gemma": 0.7, "zeroshot": 0.6}, ["e5", "gemma"]),
        ({"e5": 0.7, "gemma": 0.8, "zeroshot": 0.6}, ["gemma", "e5"]),
        ({"e5": 0.8, "e5-other": 0.9, "zeroshot": 0.6}, ["e5-other"]),  # one of a family
    ],
)
def test_the_finalists_are_the_best_of_each_family(scores: dict[str, float], expected: list[str]) -> None:
    assert choose_finalists(board(**scores), "QC", ("e5", "e5-other", "gemma"), 2) == expected


def test_a_candidate_that_is_not_eligible_is_left_out() -> None:
    assert choose_finalists(board(e5=0.8, gemma=0.9), "QC", ("e5",), 2) == ["e5"]
    assert choose_finalists(board(e5=0.8, gemma=0.9), "QC", ("e5", "gemma"), 1) == ["gemma"]
    with pytest.raises(ValueError, match="run notebook 04"):
        choose_finalists(board(e5=0.8), "QI", ("e5",), 2)


def test_auc_decides_between_candidates_of_equal_f1() -> None:
    rows = board(e5=0.8, gemma=0.8).assign(auc=[0.85, 0.9])
    assert choose_finalists(rows, "QC", ("e5", "gemma"), 2) == ["gemma", "e5"]


def test_scores_on_another_split_or_task_do_not_count() -> None:
    others = [board(e5=0.99).assign(scheme="report"), board(e5=0.99).assign(task="QI")]
    rows = pd.concat([board(e5=0.7, gemma=0.8), *others], ignore_index=True)
    assert choose_finalists(rows, "QC", ("e5", "gemma"), 2) == ["gemma", "e5"]
    with pytest.raises(ValueError, match="QC: none of e5 is on the leaderboard"):
        choose_finalists(others[0], "QC", ("e5",), 2)


def test_variants_are_compared_with_their_candidate() -> None:
    rows = pd.DataFrame(
        [
            ("e5-report", "QC", "report", 0.85, 0.92),
            ("e5-other", "QC", "strict", 0.6, 0.6),  # a candidate of its own, although its name begins alike
            ("e5", "QC", "strict", 0.8, 0.9),
            ("e5-no-translation", "QC", "strict", 0.75, 0.85),
            ("e5", "QI", "strict", 0.1, 0.1),
        ],
        columns=["recipe", "task", "scheme", "f1", "auc"],
    )
    names = ["e5", "e5-no-translation", "e5-query-first", "e5-report"]  # the third is no candidate of QC
    table = leaderboard.compare_variants(rows, "QC", names)
    assert table.index.tolist() == ["e5", "e5-no-translation", "e5-report"]
    assert list(table) == ["scheme", "f1", "auc", "f1_change", "auc_change"]
    assert table["scheme"].tolist() == ["strict", "strict", "report"] and table["f1"].tolist() == [0.8, 0.75, 0.85]
    assert table["f1_change"].tolist() == pytest.approx([0.0, -0.05, 0.05])
    assert table["auc_change"].tolist() == pytest.approx([0.0, -0.05, 0.02])


def test_the_best_cheap_candidate_is_tfidf_or_overlap() -> None:
    rows = board(constant=0.9).assign(recipe="constant")
    cheap = pd.DataFrame({"recipe": ["tfidf", "overlap"], "task": "QC", "f1": [0.7, 0.6]})
    assert leaderboard.best_lexical_baseline(pd.concat([rows, cheap]), "QC") == "tfidf"
    assert leaderboard.best_lexical_baseline(pd.concat([rows, cheap.assign(f1=[0.5, 0.6])]), "QC") == "overlap"


# -- scores by language ----------------------------------------------------------------------------------------------


def test_out_of_fold_scores_by_language_at_the_best_threshold(tmp_path: Path) -> None:
    table = leaderboard.evaluate(write_candidate(tmp_path / "e5"), TRAIN, seed=3).set_index("language")
    assert table.index.tolist() == ["all", "en", "ja"] and table["seen"].all()  # no language is unseen
    assert table["rows"].tolist() == [8, 4, 4] and table["positives"].tolist() == [4, 2, 2]
    assert table["f1"].tolist() == pytest.approx([0.8, 1.0, 2 / 3])
    assert table["auc"].tolist() == pytest.approx([13 / 16, 1.0, 0.5])
    assert table["constant_f1"].tolist() == pytest.approx([2 / 3] * 3)
    assert table["f1_lo"].tolist() == pytest.approx([2 / 3, 1.0, 2 / 3])
    assert table["f1_hi"].tolist() == pytest.approx([1.0, 1.0, 2 / 3])
    tables = leaderboard.evaluate_all([RECIPE], tmp_path, TRAIN, seed=3)
    assert list(tables) == ["e5"] and tables["e5"].set_index("language").equals(table)


def test_seen_and_unseen_languages_are_pooled_where_both_occur() -> None:
    rows = pd.DataFrame(
        {
            "language": ["pl", "en", "en", "ja", "pl"],
            "query": ["a", "b", "c", "d", "e"],
            "label": [1, 1, 0, 1, 1],
            "prediction": [0, 1, 1, 1, 1],
            "probability": [0.1, 0.9, 0.8, 0.7, 0.6],
        }
    )
    table = leaderboard.by_language(rows, {"en", "ja"})
    assert table["language"].tolist() == ["all", "seen", "unseen", "en", "ja", "pl"]
    assert table["seen"].tolist() == [False, True, False, True, True, False]
    assert table["rows"].tolist() == [5, 3, 2, 2, 1, 2]
    assert table["f1"].tolist() == pytest.approx([6 / 8, 4 / 5, 2 / 3, 2 / 3, 1.0, 2 / 3])
    assert math.isnan(table["auc"][2]) and table["auc"][3] == 1.0  # Polish has positives alone
    assert leaderboard.by_language(rows, {"de"})["language"].tolist() == ["all", "en", "ja", "pl"]


# -- the score table and its sentences -------------------------------------------------------------------------------

SCORES = pd.DataFrame(
    [
        ("e5", "QC", "test", "all", 2000, 0.85),
        ("zeroshot", "QC", "test", "all", 1500, 0.99),  # on a part of the rows
        ("ensemble", "QC", "test", "all", 2000, 0.9),
        ("ensemble", "QC", "test", "ja", 500, 0.95),
        ("gemma", "QC", "oof", "all", 9000, 0.97),
        ("ensemble", "QI", "oof", "all", 900, 0.7),
        ("e5", "QI", "oof", "all", 900, 0.6),
        ("gemma", "QI", "oof", "all", 400, 0.8),
    ],
    columns=["recipe", "task", "split", "language", "rows", "f1"],
)


def test_the_score_table_is_of_the_test_split_with_partial_answers_last() -> None:
    split, table = leaderboard.headline(SCORES, "QC")
    assert split == "test" and table["recipe"].tolist() == ["ensemble", "e5", "zeroshot"]
    assert table["f1"].tolist() == [0.9, 0.85, 0.99] and table["part"].tolist() == [False, False, True]
    assert table["note"].tolist() == ["", "", "on 1,500 of the rows"] and table.index.tolist() == [0, 1, 2]


def test_without_a_solution_the_score_table_is_out_of_fold() -> None:
    split, table = leaderboard.headline(SCORES, "QI")
    assert split == "oof" and table["recipe"].tolist() == ["ensemble", "e5", "gemma"]
    assert table["note"].tolist() == ["", "", "on 400 of the rows"]


def test_the_sentences_name_the_finalists_and_the_highest_f1() -> None:
    rows = pd.concat(
        [board(e5=0.8125, gemma=0.75, zeroshot=0.875), board(constant=0.99).assign(task="QI")], ignore_index=True
    )
    rows = rows.assign(auc=0.9, f1_lo=rows["f1"] - 0.01, f1_hi=rows["f1"] + 0.02)
    text = leaderboard.explain(rows, "QC", ["e5", "gemma"])
    assert text.startswith("e5, gemma ") and "e5 leads with F1 0.812 and AUC 0.900" in text
    assert "zeroshot with 0.875 [0.865, 0.895]" in text and "constant" not in text


def test_the_final_training_is_compared_with_the_bake_off() -> None:
    scores = pd.DataFrame([{"language": "all", "f1": 0.875, "f1_lo": 0.85, "f1_hi": 0.9, "auc": 0.95}])
    text = leaderboard.explain_final(RECIPE, scores, board(e5=0.75, gemma=0.99), "QC")
    assert text.startswith("2 fold(s) of e5 reach F1 0.875 [0.850, 0.900] and AUC 0.950")
    assert "0.750, 0.750" in text and "0.990" not in text
