"""Tables of answers -> the tables that people compare: one row a rung, one row a language."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from utils.metrics import auc, best_threshold, constant_f1, f1, f1_interval
from utils.recipe import Recipe, fold_facts
from utils.schema import ordered


def rung(recipe: Recipe, task: str, train: pd.DataFrame, oof: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """One row of `leaderboard.csv`: F1 is the mean over folds at the one threshold that is best over all of them."""
    told = [fold_facts(folder, fold) for fold in recipe.folds]
    threshold, _ = best_threshold(oof["label"], oof["probability"])
    answer = (oof["probability"] >= threshold).astype(int)
    per_fold = [f1(part["label"], answer[part.index]) for _, part in oof.groupby("fold")]
    queries = oof["id"].map(train.set_index("id")["query"])
    low, high = f1_interval(oof["label"], answer, queries, seed=recipe.seed)
    return {
        "recipe": recipe.name,
        "family": recipe.family,
        "task": task,
        "scheme": recipe.scheme,
        "folds": len(recipe.folds),
        "rows": told[0]["teachers"],
        "f1": float(np.mean(per_fold)),
        "f1_sd": float(np.std(per_fold)),
        "f1_lo": low,
        "f1_hi": high,
        "auc": auc(oof["label"], oof["probability"]),
        "threshold": threshold,
        "train_rows_per_s": float(np.mean([fold["train_rows_per_s"] for fold in told])),
        "score_rows_per_s": float(np.mean([fold["score_rows_per_s"] for fold in told])),
        "parameters": told[0]["parameters"],
        "seconds": float(np.sum([fold["seconds"] for fold in told])),
    }


def choose_finalists(board: pd.DataFrame, task: str, names: Sequence[str], count: int) -> list[str]:
    """The rungs that are trained to the end, at most `count`, the champion first: the best of each family.

    Best is by mean F1 over folds, then AUC, among the rungs in `names`. Raises ValueError if none of them ran.
    """
    able = board[(board["task"] == task) & (board["scheme"] == "strict") & board["recipe"].isin(names)]
    if able.empty:
        raise ValueError(f"{task}: none of {', '.join(names)} is on the leaderboard; run notebook 04 with one of them")
    return able.sort_values(["f1", "auc"], ascending=False).drop_duplicates("family")["recipe"].head(count).tolist()


def _row(language: str, seen: bool, rows: pd.DataFrame, seed: int) -> dict[str, Any]:
    low, high = f1_interval(rows["label"], rows["prediction"], rows["query"], seed=seed)
    return {
        "language": language,
        "seen": seen,
        "rows": len(rows),
        "positives": int(rows["label"].sum()),
        "f1": f1(rows["label"], rows["prediction"]),
        "f1_lo": low,
        "f1_hi": high,
        "auc": auc(rows["label"], rows["probability"]),
        "constant_f1": constant_f1(rows["label"]),
    }


def by_language(table: pd.DataFrame, trained_on: set[str], seed: int = 0) -> pd.DataFrame:
    """F1, interval, AUC and the constant answer's F1 by language; the mean is made by the same call as its parts.

    `table` holds `language, query, label, prediction, probability`. The first row, `all`, is every row (its `seen` says that
    no unseen language is in it), then `seen` and `unseen` pool these languages, then each language stands alone.
    """
    known = table["language"].isin(trained_on)
    rows = [_row("all", bool(known.all()), table, seed)]
    if not known.all() and known.any():
        rows += [_row("seen", True, table[known], seed), _row("unseen", False, table[~known], seed)]
    for code in ordered(set(table["language"])):
        rows.append(_row(code, code in trained_on, table[table["language"] == code], seed))
    return pd.DataFrame(rows)


def judge(oof: pd.DataFrame, train: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """An out-of-fold table, cut at its best threshold, by language; `train` gives the queries and what was trained on."""
    threshold, _ = best_threshold(oof["label"], oof["probability"])
    known = oof.merge(train[["id", "query"]], on="id", validate="one_to_one")
    return by_language(
        known.assign(prediction=(known["probability"] >= threshold).astype(int)), set(train["language"]), seed
    )


def headline(scores: pd.DataFrame, task: str) -> tuple[str, pd.DataFrame]:
    """The rows that a task is judged by, from `scores.csv`: test where there is a solution, else out of fold.

    Rungs that answered every row come first, by F1; those that answered a part of them follow, not to be compared by eye.
    `note` says on how many rows these were scored.
    """
    rows = scores[(scores["task"] == task) & (scores["language"] == "all")]
    split = "test" if "test" in set(rows["split"]) else "oof"
    rows = rows[rows["split"] == split]
    whole = rows.loc[rows["recipe"] == "ensemble", "rows"].max() if split == "test" else rows["rows"].max()
    note = ["" if count >= whole else f"on {count:,} of the rows" for count in rows["rows"]]
    rows = rows.assign(note=note, part=[bool(text) for text in note])
    return split, rows.sort_values(["part", "f1"], ascending=[True, False], ignore_index=True)
