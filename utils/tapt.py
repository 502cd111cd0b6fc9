"""Task-adaptive pre-training on the sister task: the arms that are compared, and what the comparison says.

After Gururangan et al. 2020 (arXiv 2004.10964), supervised as in the winning report (arXiv 2510.25428, section 3.3).
"""

from pathlib import Path
from typing import Any

import pandas as pd

from utils import folds
from utils.crossfit import Question
from utils.data import cap_queries, read_table
from utils.metrics import auc, best_threshold
from utils.recipe import Recipe, fold_facts
from utils.schema import SISTER

COLUMNS = [
    "task",
    "arm",
    "match",
    "fold",
    "f1",
    "auc",
    "rows",
    "sister_rows",
    "max_logit_difference",
    "base_logit_difference",
]
MATCHES = ("epochs", "steps")


def leak_counts(question: Question, recipe: Recipe) -> dict[str, Any]:
    """How many rows of the sister task have a query that is judged, and how many stage 1 sees of them: none."""
    _, judges = folds.split(question.train, recipe.scheme, recipe.folds[0])
    clean = folds.without_queries(question.sister, judges)
    return {
        "task": question.task,
        "stage 1 on": SISTER[question.task],
        "sister rows": len(question.sister),
        "left out": len(question.sister) - len(clean),
        "judged queries in stage 1": int(clean["query"].isin(judges["query"]).sum()),
    }


def arms(direct: Recipe, sister_rows: int, question: Question) -> list[tuple[str, Recipe, tuple[str, ...]]]:
    """Name, recipe and what it is matched on: direct at equal target epochs, direct at equal total steps, TAPT."""
    teachers, judges = folds.split(question.train, direct.scheme, direct.folds[0])
    target = len(cap_queries(teachers, direct.rows, direct.seed))
    sister = len(cap_queries(folds.without_queries(question.sister, judges), sister_rows, direct.seed))
    longer = direct.with_(epochs=round(direct.epochs + sister / target, 4))
    tapt = direct.with_(sister_rows=sister_rows or len(question.sister))
    found = [("direct", direct, ("epochs",)), ("direct-longer", longer, ("steps",)), ("tapt", tapt, MATCHES)]
    return [(name, arm.with_(name=f"{direct.name}, {name}"), matches) for name, arm, matches in found]


def compare(arm: Recipe, matches: tuple[str, ...], folder: Path, task: str) -> list[dict[str, Any]]:
    """The arm's rows of `comparison.csv`: one a fold and a match, F1 at the fold's own best threshold."""
    rows = []
    for fold in arm.folds:
        oof, told = read_table(folder / f"fold{fold}" / "oof.parquet"), fold_facts(folder, fold)
        facts = {key: told.get(key) for key in ("sister_rows", "max_logit_difference", "base_logit_difference")}
        score = {
            "f1": best_threshold(oof["label"], oof["probability"])[1],
            "auc": auc(oof["label"], oof["probability"]),
        }
        name = "tapt" if arm.sister_rows else "direct"
        rows += [
            {"task": task, "arm": name, "match": m, "fold": fold, **score, "rows": told["teachers"], **facts}
            for m in matches
        ]
    return rows


def gain(comparison: pd.DataFrame, task: str, measure: str) -> float:
    """What TAPT adds over direct training at equal total steps, mean over folds."""
    rows = comparison[(comparison["task"] == task) & (comparison["match"] == "steps")]
    means = rows.groupby("arm")[measure].mean()
    return float(means["tapt"] - means["direct"])


def wins(comparison: pd.DataFrame, task: str) -> bool:
    """TAPT goes into the final training if, for the same steps, it is ahead in both F1 and AUC."""
    return task in set(comparison["task"]) and gain(comparison, task, "f1") > 0 and gain(comparison, task, "auc") > 0


def explain(comparison: pd.DataFrame, task: str) -> str:
    """One sentence with the figures behind the decision."""
    if task not in set(comparison["task"]):
        return "the data holds no sister task."
    f1, area = gain(comparison, task, "f1"), gain(comparison, task, "auc")
    folds_seen = comparison.loc[comparison["task"] == task, "fold"].nunique()
    return f"at equal steps the sister task brings {f1:+.4f} F1 and {area:+.4f} AUC, on {folds_seen} fold(s)."


def read_logs(folder: Path, tasks: list[str]) -> pd.DataFrame:
    """Training losses of every arm: `run, step, loss`."""
    parts = []
    for task in tasks:
        for log in sorted((folder / task).glob("*/fold*/log.parquet")):
            parts.append(read_table(log).assign(run=f"{task} {log.parents[1].name}"))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["run", "step", "loss"])
