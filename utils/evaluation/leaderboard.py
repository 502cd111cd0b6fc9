"""Tables of probabilities in; tables to compare out, with one row for each candidate or each language."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from utils.core.recipe import Recipe, read_facts, read_fold_facts
from utils.core.schema import SCORE_COLUMNS, ordered
from utils.data.leaks import check_parts
from utils.data.tables import read_table
from utils.evaluation.intervals import (
    choose_repeats,
    cross_fitted_f1,
    draw_weights,
    f1_interval,
    quantiles,
    weighted_auc,
    weighted_f1,
)
from utils.evaluation.metrics import auc, constant_f1, f1
from utils.evaluation.thresholds import Rule, best_threshold, cross_fit, cross_fitted_thresholds

POOLED = ("all", "seen", "unseen")


def read_oof(folder: Path, train: pd.DataFrame, seed: int) -> pd.DataFrame:
    """A recipe's out-of-fold rows with `query_group`, and `part, threshold, prediction` cross-fitted by query group.

    `train` holds `id, query_group`. Raises DataError where the table is missing.
    """
    oof = read_table(folder / "oof.parquet", SCORE_COLUMNS)
    groups = oof["id"].map(train.set_index("id")["query_group"])
    return cross_fit(oof.assign(query_group=groups), groups, seed)


def candidate_row(recipe: Recipe, task: str, train: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """One row of `leaderboard.csv`: F1 over all folds at thresholds fitted on other query groups; `f1_best` at the best one in sample.

    `train` maps ids to query groups. Raises DataError where the out-of-fold table is missing.
    """
    oof = read_oof(folder, train, recipe.seed)
    finished = sorted(set(oof["fold"]))  # one that these rows do not allow was skipped
    stats = pd.DataFrame([read_fold_facts(folder, int(fold)) for fold in finished])
    threshold, best = best_threshold(oof["label"], oof["probability"])
    low, high = cross_fitted_interval(oof, recipe.seed)
    return {
        "recipe": recipe.name, "family": recipe.family, "task": task, "scheme": recipe.scheme, "folds": len(finished),
        "rows": stats["train_rows"].iloc[0], "f1": f1(oof["label"], oof["prediction"]), "f1_best": best,
        "f1_sd": float(np.std([f1(rows["label"], rows["prediction"]) for _, rows in oof.groupby("fold")])), "f1_lo": low,
        "f1_hi": high, "auc": auc(oof["label"], oof["probability"]), "threshold": threshold,
        "train_rows_per_s": stats["train_rows_per_s"].mean(), "score_rows_per_s": stats["score_rows_per_s"].mean(),
        "parameters": stats["parameters"].iloc[0], "seconds": stats["seconds"].sum(),
    }  # fmt: skip


def cross_fitted_interval(table: pd.DataFrame, seed: int) -> tuple[float, float]:
    """95 % interval of the cross-fitted F1 of `read_oof`'s table: whole query groups are drawn, thresholds fitted again."""
    draws = draw_weights(table["query_group"], choose_repeats(len(table)), seed)
    return quantiles([cross_fitted_f1(table, drawn) for drawn in draws])


def build_leaderboard(recipes: Sequence[Recipe], task: str, train: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The rows of `leaderboard.csv` for one task, from the recipes' folders `folder/<recipe>`; those without results are left out."""
    finished = [recipe for recipe in recipes if (folder / recipe.name / "oof.parquet").exists()]
    return pd.DataFrame([candidate_row(recipe, task, train, folder / recipe.name) for recipe in finished])


def _row(language: str, seen: bool, rows: pd.DataFrame, interval: tuple[float, float]) -> dict[str, Any]:
    """The scores of one row of `by_language`; rows count by `weight` where there is one."""
    weight = rows["weight"].to_numpy() if "weight" in rows else np.ones(len(rows))
    label, prediction = rows["label"].to_numpy(dtype=float), rows["prediction"].to_numpy(dtype=float)
    share = float(weight @ label / weight.sum()) if len(rows) else float("nan")
    return {
        "language": language, "seen": seen, "rows": len(rows), "positives": int(rows["label"].sum()),
        "f1": weighted_f1(label, prediction, weight), "f1_lo": interval[0], "f1_hi": interval[1],
        "f1_best": best_threshold(label, rows["probability"], weight)[1],
        "auc": weighted_auc(label, rows["probability"].to_numpy(), weight), "constant_f1": 2 * share / (1 + share),
    }  # fmt: skip


def by_language(table: pd.DataFrame, trained_on: set[str], seed: int = 0, rule: Rule = best_threshold) -> pd.DataFrame:
    """F1, its 95 % interval by query group, `f1_best` (in sample, at the best threshold of these rows), AUC and the
    constant answer's F1.

    `table` holds `language, query_group, label, prediction, probability`, and `part` where the thresholds are
    cross-fitted, which the interval then fits again by `rule`. `trained_on` holds the languages of the training rows.
    The first row, `all`, pools every row (its `seen` is True if no language is unseen). `seen` and `unseen` pool these
    languages where both occur. Then follows one row for each language.
    """
    in_training = table["language"].isin(trained_on)
    masks = {"all": (bool(in_training.all()), pd.Series(True, index=table.index))}
    if not in_training.all() and in_training.any():
        masks |= {"seen": (True, in_training), "unseen": (False, ~in_training)}
    for code in ordered(set(table["language"])):
        masks[code] = (code in trained_on, table["language"] == code)
    intervals = language_intervals(table, [mask.to_numpy() for _, mask in masks.values()], seed, rule)
    pairs = zip(masks.items(), intervals, strict=True)
    return pd.DataFrame([_row(name, seen, table[mask], interval) for (name, (seen, mask)), interval in pairs])


def language_intervals(
    table: pd.DataFrame, masks: list[np.ndarray], seed: int, rule: Rule = best_threshold
) -> list[tuple[float, float]]:
    """The F1 interval of each mask's rows; thresholds are fitted on all rows again in each repeat where the table has a `part`."""
    label, prediction = table["label"], table["prediction"]
    if "part" not in table:
        return [f1_interval(label[mask], prediction[mask], table["query_group"][mask], seed=seed) for mask in masks]
    truth, probability = label.to_numpy(dtype=float), table["probability"].to_numpy()
    fixed = table["weight"].to_numpy() if "weight" in table else np.ones(len(table))
    kind = table["kind"].to_numpy() if "kind" in table else np.zeros(len(table), dtype=int)
    part = pd.factorize(pd.Series(table["part"].to_numpy()).astype(str) + "/" + pd.Series(kind).astype(str))[0]
    differ = (
        table.groupby([kind, part])["threshold"].nunique() > 1
    )  # within a part, thresholds per language alone differ
    per_language = set(differ[differ].index.get_level_values(0))
    # Rows of a kind, such as unseen languages, have thresholds of their own; in order of their probability they are sorted fast.
    own = {one: (rows := _descending(probability, kind == one), table.iloc[rows]) for one in np.unique(kind)}
    for one, (rows, part_of_table) in own.items():
        check_parts(part[rows], part_of_table["query_group"], f"thresholds of {one}")
    values = []
    for drawn in draw_weights(table["query_group"], choose_repeats(len(table)), seed):
        thresholds = np.empty(len(table))
        for one, (rows, part_of_table) in own.items():
            fitted = cross_fitted_thresholds(part_of_table, part[rows], drawn[rows], one in per_language, rule)
            thresholds[rows] = fitted
        answers, weight = (probability >= thresholds).astype(float), drawn * fixed
        values.append([weighted_f1(truth[mask], answers[mask], weight[mask]) for mask in masks])
    return [quantiles(column) for column in np.array(values).T]


def _descending(probability: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The row numbers of a mask, the most probable first."""
    rows = np.flatnonzero(mask)
    return rows[np.argsort(-probability[rows], kind="stable")]


def training_languages(folder: Path, oof: pd.DataFrame, train: pd.DataFrame) -> set[str]:
    """The languages that a recipe was trained on: those of `train` without what a `leave-language` recipe validates on."""
    held_out = read_facts(folder / "recipe.json").get("scheme") == "leave-language"
    return set(train["language"]) - (set(oof["language"]) if held_out else set())


def evaluate(folder: Path, train: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """A recipe's out-of-fold scores by language, with cross-fitted thresholds; `folder` is the recipe's.

    `train` holds `id, query_group, language` of the training rows. A language that a `leave-language` recipe validates on is one that it
    never saw. Raises DataError where the out-of-fold table is missing.
    """
    rows = read_oof(folder, train, seed)
    return by_language(rows, training_languages(folder, rows, train), seed)


def evaluate_all(
    recipes: Sequence[Recipe], folder: Path, train: pd.DataFrame, seed: int = 0
) -> dict[str, pd.DataFrame]:
    """Recipe -> its table of `evaluate`, from the folders `folder/<recipe>`; recipes without results are left out."""
    finished = [recipe for recipe in recipes if (folder / recipe.name / "oof.parquet").exists()]
    return {recipe.name: evaluate(folder / recipe.name, train, seed) for recipe in finished}


def compare_schemes(recipes: Sequence[Recipe], name: str, train: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """A candidate and its variants under other schemes, each on its own validation rows, beside the constant answer's F1 on these rows."""
    rows = {}
    for recipe in recipes:
        if name not in (recipe.name, recipe.variant_of) or not (folder / recipe.name / "oof.parquet").exists():
            continue
        if recipe.scheme in {row["scheme"] for row in rows.values()}:
            continue
        oof = read_oof(folder / recipe.name, train, recipe.seed)
        score, constant = f1(oof["label"], oof["prediction"]), constant_f1(oof["label"])
        rows[recipe.name] = {
            "scheme": recipe.scheme, "rows": len(oof), "f1": score, "constant_f1": constant, "above constant": score - constant,
            "auc": auc(oof["label"], oof["probability"]),
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index")


def best_lexical_baseline(board: pd.DataFrame, task: str) -> str:
    """The best of `tfidf`, `overlap` and `wordpairs` by F1, the learned baselines without a network; `constant`
    where neither could be fitted.
    """
    rows = board[(board["task"] == task) & board["recipe"].isin(["tfidf", "overlap", "wordpairs"])]
    return str(rows.sort_values("f1")["recipe"].iloc[-1]) if len(rows) else "constant"


def scored_split(scores: pd.DataFrame) -> str:
    """The split of the score table: `test` where there is a solution, else `oof`."""
    return "test" if "test" in set(scores["split"]) else "oof"


def headline(scores: pd.DataFrame, task: str) -> tuple[str, pd.DataFrame]:
    """The split of the score table and the task's rows in it for all languages, best first.

    Without a solution the ensemble's row is the estimate for the test file's languages. Recipes that answered a part of
    the rows only come last, as they are not comparable; `note` says on how many rows they were scored.
    """
    rows = scores[(scores["task"] == task) & (scores["language"] == "all")]
    split = scored_split(rows)
    estimated = (split == "oof") & (rows["recipe"] == "ensemble") & (rows["split"] == "estimate").any()
    total = rows.loc[(rows["recipe"] == "ensemble") & (rows["split"] == split), "rows"].max()
    wanted = np.where(estimated, "estimate", split)
    rows = rows[rows["split"] == wanted]
    note = ["" if count >= total or np.isnan(total) else f"on {count:,} of the rows" for count in rows["rows"]]
    note = [
        "weighted as the test's languages" if kind == "estimate" else text
        for text, kind in zip(note, rows["split"], strict=True)
    ]
    rows = rows.assign(note=note, part=[text.startswith("on ") for text in note])
    return split, rows.sort_values(["part", "f1"], ascending=[True, False], ignore_index=True)


def explain_final(recipe: Recipe, scores: pd.DataFrame, board: pd.DataFrame, task: str) -> str:
    """One sentence: F1 and AUC of a final training beside the same recipe's in the bake-off; `scores` is `evaluate`'s table."""
    final = scores.iloc[0]
    before = board[(board["task"] == task) & (board["recipe"] == recipe.name)]
    text = (
        f"{len(recipe.folds)} fold(s) of {recipe.name} reach F1 {final['f1']:.3f} [{final['f1_lo']:.3f}, {final['f1_hi']:.3f}] "
        f"and AUC {final['auc']:.3f} out of fold"
    )
    if before.empty:
        return text + "."
    return text + f" (bake-off, on fewer rows: {before['f1'].iloc[0]:.3f}, {before['auc'].iloc[0]:.3f})."
