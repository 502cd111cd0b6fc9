"""Task-adaptive pre-training on the auxiliary task: the arms that are compared, and what the comparison says.

After Gururangan et al. 2020 (arXiv 2004.10964), supervised as in the winning report (arXiv 2510.25428, section 3.3).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from utils.core.recipe import Recipe, read_fold_facts
from utils.core.schema import AUXILIARY
from utils.data import folds
from utils.data.tables import read_table, sample_queries
from utils.evaluation.metrics import auc, best_threshold
from utils.experiment.crossfit import TaskData, auxiliary_rows, fit_recipe
from utils.experiment.runtime import Runtime

PROOF = ["max_logit_difference", "base_logit_difference"]
COLUMNS = ["task", "arm", "match", "fold", "f1", "auc", "rows", "auxiliary_rows", *PROOF]
MATCHES = ("epochs", "steps")


@dataclass(frozen=True)
class Arm:
    """One side of the comparison: its folder's name, its recipe, and what it is matched on."""

    name: str
    recipe: Recipe
    matches: tuple[str, ...]


def leak_counts(data: TaskData, recipe: Recipe) -> dict[str, Any]:
    """How many rows of the auxiliary task have a validation query, and how many stage 1 sees of them: none."""
    _, validation = folds.split(data.train, recipe.scheme, recipe.folds[0])
    clean = folds.without_queries(data.auxiliary, validation)
    return {
        "task": data.task,
        "stage 1 on": AUXILIARY[data.task],
        "auxiliary rows": len(data.auxiliary),
        "left out": len(data.auxiliary) - len(clean),
        "validation queries in stage 1": int(clean["query"].isin(validation["query"]).sum()),
    }


def make_arms(direct: Recipe, rows: int, data: TaskData) -> list[Arm]:
    """Direct at equal target epochs, direct at equal total steps, and TAPT with at most `rows` auxiliary rows (0 = all)."""
    train, validation = folds.split(data.train, direct.scheme, direct.folds[0])
    target = len(sample_queries(train, direct.rows, direct.seed))
    auxiliary = len(auxiliary_rows(direct.with_(auxiliary_rows=rows), data, validation))
    longer = direct.with_(epochs=round(direct.epochs * (1 + auxiliary / target), 4))  # as stage 1 has as many epochs
    tapt = direct.with_(auxiliary_rows=rows or len(data.auxiliary))
    arms = [Arm("direct", direct, ("epochs",)), Arm("direct-longer", longer, ("steps",)), Arm("tapt", tapt, MATCHES)]
    return [replace(arm, recipe=arm.recipe.with_(name=f"{direct.name}, {arm.name}")) for arm in arms]


def fit_arms(direct: Recipe, rows: int, data: TaskData, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Train every arm in a folder of its name; the task's rows of `comparison.csv`."""
    parts = []
    for arm in make_arms(direct, rows, data):
        fit_recipe(arm.recipe, data, folder / arm.name, runtime)
        parts += compare(arm, folder / arm.name, data.task)
    return pd.DataFrame(parts, columns=COLUMNS)


def compare(arm: Arm, folder: Path, task: str) -> list[dict[str, Any]]:
    """The arm's rows of `comparison.csv`: one per fold and match, F1 at the fold's own best threshold."""
    rows = []
    for fold in arm.recipe.folds:
        oof, stats = read_table(folder / f"fold{fold}" / "oof.parquet"), read_fold_facts(folder, fold)
        row = {key: stats.get(key) for key in ("auxiliary_rows", *PROOF)}
        row |= {"task": task, "arm": "tapt" if arm.recipe.auxiliary_rows else "direct", "fold": fold}
        row |= {"f1": best_threshold(oof["label"], oof["probability"])[1], "auc": auc(oof["label"], oof["probability"])}
        rows += [row | {"match": match, "rows": stats["train_rows"]} for match in arm.matches]
    return rows


def gather(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """The tasks' rows as one table; an empty one where no task has an auxiliary task."""
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def prove_continuation(comparison: pd.DataFrame) -> pd.DataFrame:
    """How far the log-odds at step 0 of stage 2 lie from the end of stage 1, and from the base model.

    Raises ValueError where stage 2 did not begin where stage 1 ended, or stage 1 changed nothing.
    """
    proof = comparison.loc[comparison["arm"] == "tapt", ["task", "fold", *PROOF]].drop_duplicates()
    if not ((proof[PROOF[0]] <= 1e-5) & (proof[PROOF[1]] > 1e-3)).all():
        raise ValueError(
            f"stage 2 does not continue from stage 1: {proof.to_dict('records')}; remove 05_tapt and run again"
        )
    return proof


def gain(comparison: pd.DataFrame, task: str, measure: str) -> float:
    """What TAPT adds over direct training at equal total steps, mean over folds."""
    rows = comparison[(comparison["task"] == task) & (comparison["match"] == "steps")]
    means = rows.groupby("arm")[measure].mean()
    return float(means["tapt"] - means["direct"])


def wins(comparison: pd.DataFrame, task: str) -> bool:
    """TAPT is adopted for the final training if, at equal steps, it is ahead in both F1 and AUC."""
    return task in set(comparison["task"]) and gain(comparison, task, "f1") > 0 and gain(comparison, task, "auc") > 0


def explain(comparison: pd.DataFrame, task: str) -> str:
    """What the final training starts on, with the figures behind it."""
    if task not in set(comparison["task"]):
        return "the data holds no auxiliary task, so the final training goes straight to its task."
    f1, area = gain(comparison, task, "f1"), gain(comparison, task, "auc")
    count = comparison.loc[comparison["task"] == task, "fold"].nunique()
    choice = f"starts on {AUXILIARY[task]}" if wins(comparison, task) else "goes straight to its task"
    return (
        f"at equal steps the auxiliary task brings {f1:+.4f} F1 and {area:+.4f} AUC, on {count} fold(s). "
        f"So the final training {choice}."
    )
