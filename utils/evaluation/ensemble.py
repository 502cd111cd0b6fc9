"""The tables of all members and candidates in, one answer for each row and the scores of all of them out."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from utils.core.paths import Run
from utils.core.recipe import load_all, read_facts
from utils.core.schema import SCORE_COLUMNS
from utils.data.tables import read_table
from utils.evaluation import decide, leaderboard
from utils.evaluation.decide import Ensemble
from utils.evaluation.metrics import best_threshold, f1

Tables = dict[str, pd.DataFrame]  # split -> table
Members = dict[str, Tables]  # recipe -> its tables
BASELINE_NAMES = ("tfidf", "overlap", "zeroshot")


def load_members(run: Run, task: str) -> Members:
    """The tables `id, language, label, probability, fold` of the finally trained recipes, the champion first.

    Raises DataError for a table without one of these columns.
    """
    members = {}
    for recipe in load_all(run.tapt / "final" / task):
        folder = run.final / task / recipe.name
        files = [folder / f"{split}.parquet" for split in ("oof", "dev", "test")]
        members[recipe.name] = {path.stem: read_table(path, SCORE_COLUMNS) for path in files if path.exists()}
    return members


def of_split(members: Members, split: str) -> Tables:
    """Recipe -> its table of one split; recipes without the split are left out."""
    return {name: tables[split] for name, tables in members.items() if split in tables}


def answer(members: Members, ensemble: Ensemble) -> Tables:
    """Split -> the ensemble's table with `probability` and `prediction`, for every split that a member answers."""
    splits = [split for split in ("oof", "dev", "test") if of_split(members, split)]
    return {split: decide.answer(of_split(members, split), ensemble) for split in splits}


def count_rows(members: Members) -> pd.DataFrame:
    """Number of rows by split (index) and member (column)."""
    counts = {name: {split: len(table) for split, table in tables.items()} for name, tables in members.items()}
    return pd.DataFrame({name: pd.Series(count) for name, count in counts.items()})


def load_queries(run: Run, task: str) -> dict[str, pd.Series]:
    """Split -> series id -> cleaned query, the clusters of the bootstrap."""
    splits = [split for split in ("train", "dev", "test") if run.clean_table(split, task).exists()]
    return {split: read_table(run.clean_table(split, task)).set_index("id")["query"] for split in splits}


def load_recipes(run: Run, tasks: list[str]) -> dict[str, Any]:
    """Task -> the saved recipes of its final trainings with the facts beside them, for `recipe.json` of a submission."""
    recipes = {}
    for task in tasks:
        names = [recipe.name for recipe in load_all(run.tapt / "final" / task)]
        recipes[task] = [read_facts(run.final / task / name / "recipe.json") for name in names]
    return recipes


def compare_decisions(run: Run, task: str, answers: Tables, ensemble: Ensemble, solution: Tables) -> pd.DataFrame:
    """F1 of four ways to decide: `task, split, decision, f1`; splits without labels are left out.

    The hard vote of folds is left out of fold, where each row is answered by one fold only.
    """
    rows = []
    for split, predictions in answers.items():
        table = _with_labels(predictions, solution.get(split))
        if table is None:
            continue
        decisions = {
            "argmax at 0.5": (table["probability"] >= 0.5).astype(int),
            "mean, one threshold": decide.decide(table, ensemble.threshold, {}),
            "mean, as submitted": table["prediction"],
        }
        if split != "oof":
            decisions["hard vote of folds"] = _hard_vote(run, task, split).reindex(table["id"]).to_numpy()
        for name, prediction in decisions.items():
            rows.append({"task": task, "split": split, "decision": name, "f1": f1(table["label"], prediction)})
    return pd.DataFrame(rows)


def _hard_vote(run: Run, task: str, split: str) -> pd.Series:
    """id -> the majority of all members' folds at threshold 0.5, ties to 1, as in the winning system (arXiv 2510.25428)."""
    folders = [run.final / task / recipe.name for recipe in load_all(run.tapt / "final" / task)]
    tables = [read_table(path) for folder in folders for path in sorted(folder.glob(f"fold*/{split}.parquet"))]
    votes = pd.concat([(table.set_index("id")["probability"] >= 0.5).astype(int) for table in tables], axis=1)
    return (votes.mean(axis=1) >= 0.5).astype(int)


def _with_labels(table: pd.DataFrame, solution: pd.DataFrame | None) -> pd.DataFrame | None:
    """A table with its labels, joined by id; None where there are none."""
    if "label" in table:
        return table
    return None if solution is None else table.merge(solution, on="id", how="inner", validate="one_to_one")


@dataclass(frozen=True)
class _Scorer:
    """Scores tables of one task by language, in the columns of `scores.csv`."""

    task: str
    queries: dict[str, pd.Series]
    train_languages: set[str]
    solution: Tables
    seed: int

    def score(self, name: str, split: str, table: pd.DataFrame, threshold: float) -> pd.DataFrame:
        """One recipe's rows of one split; an empty table where there are no labels."""
        rows = _with_labels(table, self.solution.get(split))
        if rows is None or rows.empty:
            return pd.DataFrame()
        rows = rows.assign(query=rows["id"].map(self.queries["train" if split == "oof" else split]))
        if "prediction" not in rows:
            rows = rows.assign(prediction=(rows["probability"] >= threshold).astype(int))
        scores = leaderboard.by_language(rows, self.train_languages, self.seed)
        scores.insert(0, "recipe", name)
        scores.insert(1, "task", self.task)
        scores.insert(2, "split", split)
        return scores.assign(threshold=threshold)


def score_everything(
    run: Run, task: str, answers: Tables, ensemble: Ensemble, queries: dict[str, pd.Series], solution: Tables, seed: int
) -> pd.DataFrame:
    """The rows of `scores.csv` for one task: the ensemble and each candidate of notebook 04, by split and language.

    A candidate's threshold is the best out-of-fold one. A candidate that answered only a part of the test rows is scored on it.
    `solution` maps split -> `id, label`. Raises DataError where a table of a candidate is missing.
    """
    train = read_table(run.clean_table("train", task))
    scorer = _Scorer(task, queries, set(train["language"]), solution, seed)
    parts = [scorer.score("ensemble", split, table, ensemble.threshold) for split, table in answers.items()]
    board = pd.read_csv(run.bakeoff / "leaderboard.csv")
    for name in board.loc[board["task"] == task, "recipe"]:
        folder = run.bakeoff / task / name
        oof = read_table(folder / "oof.parquet")
        threshold, _ = best_threshold(oof["label"], oof["probability"])
        parts.append(scorer.score(name, "oof", oof, threshold))
        parts.append(scorer.score(name, "test", read_table(folder / "test.parquet"), threshold))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def select(scores: pd.DataFrame, task: str, split: str, recipe: str) -> pd.DataFrame:
    """One recipe's rows of `scores.csv` for a task and a split, one for each language."""
    return scores[(scores["task"] == task) & (scores["split"] == split) & (scores["recipe"] == recipe)]


def best_baseline(scores: pd.DataFrame, task: str, split: str) -> str:
    """The candidate with the highest F1 among those without a trained network.

    Raises IndexError where the table holds none of them.
    """
    rows = scores[(scores["task"] == task) & (scores["split"] == split) & (scores["language"] == "all")]
    rows = rows[rows["recipe"].isin(BASELINE_NAMES)]
    return str(rows.sort_values("f1")["recipe"].iloc[-1])


def explain(scores: pd.DataFrame, task: str, split: str) -> str:
    """One sentence: the ensemble's F1 with its 95 % interval, the constant answer's and the best baseline's."""
    name = best_baseline(scores, task, split)
    own, baseline = (select(scores, task, split, each).set_index("language").loc["all"] for each in ("ensemble", name))
    return (
        f"the ensemble has F1 {own['f1']:.4f} [{own['f1_lo']:.3f}, {own['f1_hi']:.3f}]; answering *relevant* to everything has "
        f"{own['constant_f1']:.4f}, the best candidate without a trained network ({name}) {baseline['f1']:.4f}."
    )
