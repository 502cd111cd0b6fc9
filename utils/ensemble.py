"""The tables of all members and rungs -> one answer a row, and the scores of everything on the same rows."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from utils import blend, leaderboard
from utils.data import read_table
from utils.metrics import best_threshold, f1
from utils.paths import Run
from utils.recipe import facts, load_all
from utils.schema import SCORE_COLUMNS

Mixed = dict[tuple[str, str], pd.DataFrame]  # (split, task) -> id, language, probability, prediction
Solution = dict[tuple[str, str], pd.DataFrame | None]


def open_members(files: Run, task: str) -> dict[str, dict[str, pd.DataFrame]]:
    """Recipe -> split -> table, of the recipes that went into the final training, the champion first."""
    members = {}
    for recipe in load_all(files.tapt / "final" / task):
        folder = files.final / task / recipe.name
        tables = {split: folder / f"{split}.parquet" for split in ("oof", "dev", "test")}
        members[recipe.name] = {
            split: read_table(path, SCORE_COLUMNS) for split, path in tables.items() if path.exists()
        }
    return members


def open_queries(files: Run, task: str) -> dict[str, pd.Series]:
    """Split -> id -> cleaned query: what rows are clustered by."""
    splits = [split for split in ("train", "dev", "test") if files.clean_table(split, task).exists()]
    return {split: read_table(files.clean_table(split, task)).set_index("id")["query"] for split in splits}


def open_recipes(files: Run, tasks: list[str]) -> dict[str, Any]:
    """The recipes behind a submission, as they were saved."""
    found = {}
    for task in tasks:
        names = [recipe.name for recipe in load_all(files.tapt / "final" / task)]
        found[task] = [facts(files.final / task / name / "recipe.json") for name in names]
    return found


def compare_decisions(files: Run, task: str, mixed: Mixed, chosen: blend.Blend, solution: Solution) -> pd.DataFrame:
    """F1 of the ways to decide: `task, split, decision, f1`. The hard vote of folds exists where all folds answer: not out of fold."""
    rows = []
    for split in ("oof", "dev", "test"):
        known = _labelled(mixed.get((split, task)), solution.get((split, task)))
        if known is None:
            continue
        ways = {
            "argmax at 0.5": (known["probability"] >= 0.5).astype(int),
            "mean, one threshold": blend.decide(known, chosen.threshold, {}),
            "mean, as submitted": known["prediction"],
        }
        if split != "oof":
            ways["hard vote of folds"] = _hard_vote(files, task, split).reindex(known["id"]).to_numpy()
        rows += [
            {"task": task, "split": split, "decision": name, "f1": f1(known["label"], way)}
            for name, way in ways.items()
        ]
    return pd.DataFrame(rows)


def _hard_vote(files: Run, task: str, split: str) -> pd.Series:
    """id -> the majority of all members' folds at one half, ties to 1, as the winning system voted."""
    folders = [files.final / task / recipe.name for recipe in load_all(files.tapt / "final" / task)]
    tables = [read_table(path) for folder in folders for path in sorted(folder.glob(f"fold*/{split}.parquet"))]
    votes = pd.concat([(table.set_index("id")["probability"] >= 0.5).astype(int) for table in tables], axis=1)
    return (votes.mean(axis=1) >= 0.5).astype(int)


def _labelled(table: pd.DataFrame | None, solution: pd.DataFrame | None) -> pd.DataFrame | None:
    """A table with its labels, by id; None where there are none."""
    if table is None or "label" in table:
        return table
    return None if solution is None else table.merge(solution, on="id", how="inner", validate="one_to_one")


@dataclass(frozen=True)
class _Scorer:
    """Scores tables of one task by language, in the columns of `scores.csv`."""

    task: str
    queries: dict[str, pd.Series]
    trained_on: set[str]
    solution: Solution
    seed: int

    def score(self, name: str, split: str, table: pd.DataFrame | None, threshold: float) -> pd.DataFrame:
        known = _labelled(table, self.solution.get((split, self.task)))
        if known is None or known.empty:
            return pd.DataFrame()
        known = known.assign(query=known["id"].map(self.queries["train" if split == "oof" else split]))
        if "prediction" not in known:
            known = known.assign(prediction=(known["probability"] >= threshold).astype(int))
        found = leaderboard.by_language(known, self.trained_on, self.seed)
        found.insert(0, "recipe", name)
        found.insert(1, "task", self.task)
        found.insert(2, "split", split)
        return found.assign(threshold=threshold)


def score_everything(
    files: Run,
    task: str,
    mixed: Mixed,
    chosen: blend.Blend,
    queries: dict[str, pd.Series],
    solution: Solution,
    seed: int,
) -> pd.DataFrame:
    """The rows of `scores.csv` for one task: the ensemble and each rung of notebook 04, by split and language.

    A rung is cut at its own out-of-fold threshold. A rung that answered a part of the test rows only is scored on these.
    """
    train = read_table(files.clean_table("train", task))
    scorer = _Scorer(task, queries, set(train["language"]), solution, seed)
    parts = [
        scorer.score("ensemble", split, mixed.get((split, task)), chosen.threshold) for split in ("oof", "dev", "test")
    ]
    board = pd.read_csv(files.bakeoff / "leaderboard.csv")
    for name in board.loc[board["task"] == task, "recipe"]:
        folder = files.bakeoff / task / name
        out_of_fold = read_table(folder / "oof.parquet")
        threshold, _ = best_threshold(out_of_fold["label"], out_of_fold["probability"])
        parts += [
            scorer.score(name, "oof", out_of_fold, threshold),
            scorer.score(name, "test", read_table(folder / "test.parquet"), threshold),
        ]
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def best_rung(scores: pd.DataFrame, task: str, split: str) -> str:
    """The best of the rungs without a trained network: the previous state that the ensemble is drawn beside."""
    rows = scores[(scores["task"] == task) & (scores["split"] == split) & (scores["language"] == "all")]
    rows = rows[rows["recipe"].isin(["tfidf", "overlap", "zeroshot"])]
    return str(rows.sort_values("f1")["recipe"].iloc[-1])
