"""Tables of probabilities in; tables to compare out, with one row for each candidate or each language."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from utils.core.recipe import Recipe, read_fold_facts
from utils.core.schema import SCORE_COLUMNS, ordered
from utils.data.tables import read_table
from utils.evaluation.metrics import auc, best_threshold, constant_f1, f1, f1_interval


def candidate_row(recipe: Recipe, task: str, train: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """One row of `leaderboard.csv`; F1 is the mean over folds at the threshold that is best over all of them together.

    `train` maps ids to queries, for the clustered interval. Raises DataError where the out-of-fold table is missing.
    """
    oof = read_table(folder / "oof.parquet", SCORE_COLUMNS)
    stats = pd.DataFrame([read_fold_facts(folder, fold) for fold in recipe.folds])
    threshold, _ = best_threshold(oof["label"], oof["probability"])
    prediction = (oof["probability"] >= threshold).astype(int)
    fold_f1 = [f1(rows["label"], prediction[rows.index]) for _, rows in oof.groupby("fold")]
    queries = oof["id"].map(train.set_index("id")["query"])
    low, high = f1_interval(oof["label"], prediction, queries, seed=recipe.seed)
    return {
        "recipe": recipe.name, "family": recipe.family, "task": task, "scheme": recipe.scheme, "folds": len(recipe.folds),
        "rows": stats["train_rows"].iloc[0], "f1": float(np.mean(fold_f1)), "f1_sd": float(np.std(fold_f1)), "f1_lo": low,
        "f1_hi": high, "auc": auc(oof["label"], oof["probability"]), "threshold": threshold,
        "train_rows_per_s": stats["train_rows_per_s"].mean(), "score_rows_per_s": stats["score_rows_per_s"].mean(),
        "parameters": stats["parameters"].iloc[0], "seconds": stats["seconds"].sum(),
    }  # fmt: skip


def build_leaderboard(recipes: Sequence[Recipe], task: str, train: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The rows of `leaderboard.csv` for one task, from the recipes' folders `folder/<recipe>`."""
    return pd.DataFrame([candidate_row(recipe, task, train, folder / recipe.name) for recipe in recipes])


def choose_finalists(board: pd.DataFrame, task: str, names: Sequence[str], count: int) -> list[str]:
    """The candidates for the final training: the best of each family, at most `count`, the champion first.

    Ranked by mean F1 over folds, then AUC, among the candidates in `names` on the strict split. Raises ValueError if none of
    them is on the leaderboard.
    """
    rows = board[(board["task"] == task) & (board["scheme"] == "strict") & board["recipe"].isin(names)]
    if rows.empty:
        raise ValueError(f"{task}: none of {', '.join(names)} is on the leaderboard; run notebook 04 with one of them")
    return rows.sort_values(["f1", "auc"], ascending=False).drop_duplicates("family")["recipe"].head(count).tolist()


def _row(language: str, seen: bool, rows: pd.DataFrame, seed: int) -> dict[str, Any]:
    """The scores of one row of `by_language`."""
    low, high = f1_interval(rows["label"], rows["prediction"], rows["query"], seed=seed)
    return {
        "language": language, "seen": seen, "rows": len(rows), "positives": int(rows["label"].sum()),
        "f1": f1(rows["label"], rows["prediction"]), "f1_lo": low, "f1_hi": high,
        "auc": auc(rows["label"], rows["probability"]), "constant_f1": constant_f1(rows["label"]),
    }  # fmt: skip


def by_language(table: pd.DataFrame, trained_on: set[str], seed: int = 0) -> pd.DataFrame:
    """F1, 95 % interval by query, AUC and the constant answer's F1 by language.

    `table` holds `language, query, label, prediction, probability`; `trained_on` holds the languages of the training rows.
    The first row, `all`, pools every row (its `seen` is True if no language is unseen). `seen` and `unseen` pool these
    languages where both occur. Then follows one row for each language, in the fixed order.
    """
    in_training = table["language"].isin(trained_on)
    rows = [_row("all", bool(in_training.all()), table, seed)]
    if not in_training.all() and in_training.any():
        rows += [_row("seen", True, table[in_training], seed), _row("unseen", False, table[~in_training], seed)]
    for code in ordered(set(table["language"])):
        rows.append(_row(code, code in trained_on, table[table["language"] == code], seed))
    return pd.DataFrame(rows)


def evaluate(folder: Path, train: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """A recipe's out-of-fold scores by language, at its best threshold; `folder` is the recipe's.

    `train` holds `id, query, language` of the training rows. Raises DataError where the out-of-fold table is missing.
    """
    oof = read_table(folder / "oof.parquet", SCORE_COLUMNS)
    threshold, _ = best_threshold(oof["label"], oof["probability"])
    rows = oof.merge(train[["id", "query"]], on="id", validate="one_to_one")
    rows = rows.assign(prediction=(rows["probability"] >= threshold).astype(int))
    return by_language(rows, set(train["language"]), seed)


def evaluate_all(
    recipes: Sequence[Recipe], folder: Path, train: pd.DataFrame, seed: int = 0
) -> dict[str, pd.DataFrame]:
    """Recipe -> its table of `evaluate`, from the folders `folder/<recipe>`."""
    return {recipe.name: evaluate(folder / recipe.name, train, seed) for recipe in recipes}


def compare_variants(board: pd.DataFrame, task: str, names: list[str]) -> pd.DataFrame:
    """A candidate and its variants, of those that the task has, with the change in F1 and AUC from the first."""
    rows = board[board["task"] == task].set_index("recipe")
    rows = rows.loc[[name for name in names if name in rows.index], ["scheme", "f1", "auc"]]
    return rows.assign(f1_change=rows["f1"] - rows["f1"].iloc[0], auc_change=rows["auc"] - rows["auc"].iloc[0])


def best_lexical_baseline(board: pd.DataFrame, task: str) -> str:
    """The better of `tfidf` and `overlap` by F1, the two learned baselines without a network."""
    rows = board[(board["task"] == task) & board["recipe"].isin(["tfidf", "overlap"])]
    return str(rows.sort_values("f1")["recipe"].iloc[-1])


def scored_split(scores: pd.DataFrame) -> str:
    """The split of the score table: `test` where there is a solution, else `oof`."""
    return "test" if "test" in set(scores["split"]) else "oof"


def headline(scores: pd.DataFrame, task: str) -> tuple[str, pd.DataFrame]:
    """A task's split and score table from `scores.csv`: test where there is a solution, else out of fold.

    Candidates that answered every row come first, by F1. Those that answered only a part follow (`part` is True), as their
    scores are not comparable; `note` says on how many rows they were scored.
    """
    rows = scores[(scores["task"] == task) & (scores["language"] == "all")]
    split = scored_split(rows)
    rows = rows[rows["split"] == split]
    total = rows.loc[rows["recipe"] == "ensemble", "rows"].max() if split == "test" else rows["rows"].max()
    note = ["" if count >= total else f"on {count:,} of the rows" for count in rows["rows"]]
    rows = rows.assign(note=note, part=[bool(text) for text in note])
    return split, rows.sort_values(["part", "f1"], ascending=[True, False], ignore_index=True)


def explain(board: pd.DataFrame, task: str, finalists: list[str]) -> str:
    """Two sentences: the finalists, and the scores behind the choice."""
    rows = board[board["task"] == task].set_index("recipe")
    champion, best = rows.loc[finalists[0]], rows.sort_values("f1").iloc[-1]
    return (
        f"{', '.join(finalists)} into the final training. {finalists[0]} leads with F1 {champion['f1']:.3f} and AUC "
        f"{champion['auc']:.3f}; the highest F1 of all candidates is {best.name} with {best['f1']:.3f} "
        f"[{best['f1_lo']:.3f}, {best['f1_hi']:.3f}]."
    )


def explain_final(recipe: Recipe, scores: pd.DataFrame, board: pd.DataFrame, task: str) -> str:
    """One sentence: F1 and AUC of a final training beside the same recipe's in the bake-off; `scores` is `evaluate`'s table."""
    final = scores.iloc[0]
    before = board[(board["task"] == task) & (board["recipe"] == recipe.name)].iloc[0]
    return (
        f"{len(recipe.folds)} fold(s) of {recipe.name} reach F1 {final['f1']:.3f} [{final['f1_lo']:.3f}, {final['f1_hi']:.3f}] "
        f"and AUC {final['auc']:.3f} out of fold (bake-off: {before['f1']:.3f}, {before['auc']:.3f})."
    )
