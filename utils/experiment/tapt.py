"""Task-adaptive pre-training on the auxiliary task: the arms that are compared, and what the comparison says.

After Gururangan et al. 2020 (arXiv 2004.10964), supervised as in the winning report (arXiv 2510.25428, section 3.3).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from utils.core.recipe import Recipe, read_fold_facts
from utils.core.schema import AUXILIARY
from utils.data import folds
from utils.data.groups import query_groups
from utils.evaluation.choices import DIFFERENCE, compare, is_adopted, show_change
from utils.evaluation.leaderboard import read_oof
from utils.evaluation.metrics import auc, f1
from utils.evaluation.thresholds import best_threshold
from utils.experiment.crossfit import Plan, fit_plans
from utils.experiment.runtime import Runtime
from utils.experiment.task_data import TaskData, auxiliary_rows, split_rows

PROOF = ["max_logit_difference", "base_logit_difference", "logit_limit"]
LEAST_CHANGE = 1e-3  # of log-odds; less, and stage 1 has learnt nothing
COLUMNS = ["task", "arm", "match", "fold", "f1", "f1_best", "auc", "rows", "auxiliary_rows", *PROOF]
MATCHES = ("epochs", "steps")
DIRECT, LONGER, TAPT = "direct", "direct-longer", "tapt"
RIVAL = {"epochs": DIRECT, "steps": LONGER}  # what TAPT is compared with


@dataclass(frozen=True)
class Arm:
    """One side of the comparison: its recipe, whose name is the arm's, and what it is matched on."""

    recipe: Recipe
    matches: tuple[str, ...]


def leak_counts(data: TaskData, recipe: Recipe, rows: int) -> dict[str, Any]:
    """How many rows of the auxiliary task have a validation query or its English, and how many groups of like
    queries stage 1 shares with validation.

    The groups are formed anew over both together, which is another computation than the one that leaves rows out.
    """
    _, validation = split_rows(recipe, data, recipe.folds[0])
    clean = folds.without_queries(data.auxiliary, validation)
    used = auxiliary_rows(recipe.with_(auxiliary_rows=rows), data, validation)
    columns = ["query", "query_en", "target"]
    both = query_groups(pd.concat([validation[columns], used[columns].assign(target=None)], ignore_index=True))
    shared = set(both.iloc[: len(validation)]) & set(both.iloc[len(validation) :])
    return {
        "task": data.task, "stage 1 on": AUXILIARY[data.task], "auxiliary rows": len(data.auxiliary), "left out":
        len(data.auxiliary) - len(clean),
        "rows of stage 1": len(used), "query groups of stage 1 that validate": len(shared),
    }  # fmt: skip


def make_arms(direct: Recipe, rows: int, data: TaskData) -> list[Arm]:
    """Direct at equal target epochs, direct at equal total steps, and TAPT with at most `rows` auxiliary rows (0 = all)."""
    train, validation = split_rows(direct, data, direct.folds[0])
    auxiliary = len(auxiliary_rows(direct.with_(auxiliary_rows=rows), data, validation))
    longer = direct.with_(
        epochs=round(direct.epochs * (1 + auxiliary / len(train)), 4)
    )  # as stage 1 has as many epochs
    tapt = direct.with_(auxiliary_rows=rows or len(data.auxiliary))
    arms = [Arm(direct.with_(name=DIRECT), ("epochs",)), Arm(longer.with_(name=LONGER), ("steps",))]
    return [*arms, Arm(tapt.with_(name=TAPT), MATCHES)]


def fit_arms(
    champions: Mapping[str, Recipe], rows: int, data: Mapping[str, TaskData], folder: Path, runtime: Runtime
) -> pd.DataFrame:
    """Train every task's arms, each in `folder/<task>/<arm>`; the rows of `comparison.csv`."""
    arms = {task: make_arms(direct, rows, data[task]) for task, direct in champions.items()}
    fit_plans([Plan([arm.recipe for arm in arms[task]], data[task], folder / task) for task in arms], runtime)
    rows_of = [
        row
        for task in arms
        for arm in arms[task]
        for row in compare_folds(arm, folder / task / arm.recipe.name, data[task])
    ]
    return pd.DataFrame(rows_of, columns=COLUMNS)


def compare_folds(arm: Arm, folder: Path, data: TaskData) -> list[dict[str, Any]]:
    """The arm's rows of `comparison.csv`, one per fold and match: F1 at thresholds fitted on other query groups, and in sample."""
    rows, oof = [], read_oof(folder, data.train, arm.recipe.seed)
    for fold, table in oof.groupby("fold"):
        stats = read_fold_facts(folder, int(fold))
        row = {key: stats.get(key) for key in ("auxiliary_rows", *PROOF)}
        row |= {"task": data.task, "arm": "tapt" if arm.recipe.auxiliary_rows else "direct", "fold": fold}
        row |= {"f1": f1(table["label"], table["prediction"]), "auc": auc(table["label"], table["probability"])}
        row["f1_best"] = best_threshold(table["label"], table["probability"])[1]
        rows += [row | {"match": match, "rows": stats["train_rows"]} for match in arm.matches]
    return rows


def measure_gains(tasks: list[str], data: Mapping[str, TaskData], folder: Path, seed: int) -> pd.DataFrame:
    """What TAPT adds over each direct arm, over all folds, with paired intervals by query group: `task, match` and `choices.DIFFERENCE`."""
    rows = []
    for task in tasks:
        tapt = read_oof(folder / task / TAPT, data[task].train, seed)
        for match, rival in RIVAL.items():
            other = read_oof(folder / task / rival, data[task].train, seed)
            rows.append({"task": task, "match": match, **compare(tapt, other, seed)})
    return pd.DataFrame(rows, columns=["task", "match", *DIFFERENCE])


def prove_continuation(comparison: pd.DataFrame) -> pd.DataFrame:
    """How far the log-odds at step 0 of stage 2 lie from the end of stage 1, and from the base model; and the limit
    of the first, which is rounding in the network's precision.

    Raises ValueError where stage 2 did not begin where stage 1 ended, or stage 1 changed nothing.
    """
    proof = comparison.loc[comparison["arm"] == "tapt", ["task", "fold", *PROOF]].drop_duplicates()
    if not ((proof[PROOF[0]] <= proof[PROOF[2]]) & (proof[PROOF[1]] > LEAST_CHANGE)).all():
        raise ValueError(
            f"stage 2 does not continue from stage 1: {proof.to_dict('records')}; remove 05_tapt and run again"
        )
    return proof


def _at_equal_steps(gains: pd.DataFrame, task: str) -> pd.Series | None:
    rows = gains[(gains["task"] == task) & (gains["match"] == "steps")]
    return None if rows.empty else rows.iloc[0]


def is_better(gains: pd.DataFrame, task: str) -> bool:
    """TAPT is adopted for the final training if, at equal steps, the paired 95 % interval of its gain excludes zero
    (`choices.is_adopted`).
    """
    gain = _at_equal_steps(gains, task)
    return gain is not None and is_adopted(gain)


def explain(gains: pd.DataFrame, task: str) -> str:
    """What the final training starts on, with the figures behind it."""
    gain = _at_equal_steps(gains, task)
    if gain is None:
        return "the data holds no auxiliary task, so the final training goes straight to its task."
    choice = f"starts on {AUXILIARY[task]}" if is_adopted(gain) else "goes straight to its task"
    return f"at equal steps the auxiliary task brings {show_change(gain)}. So the final training {choice}."
