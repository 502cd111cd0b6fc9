"""What notebook 07 says: the ensemble beside its members, ways to decide, and how near the estimate came to the test."""

import numpy as np
import pandas as pd

from utils.core.paths import Run
from utils.core.recipe import fold_folders
from utils.data.tables import read_table
from utils.ensemble.tables import BASELINE_NAMES, Members, Tables, with_labels
from utils.evaluation.intervals import choose_repeats, draw_weights, quantiles, weighted_f1
from utils.evaluation.metrics import auc, f1
from utils.evaluation.thresholds import best_threshold, cross_fit


def compare_members(
    members: Members, honest: pd.DataFrame, answers: Tables, clusters: dict[str, pd.Series], solution: Tables, seed: int
) -> pd.DataFrame:
    """Each member's F1 and AUC, and the ensemble's lead over it, with its interval by query group: `split, member,
    f1, auc, lead, lead_lo, lead_hi`.

    Out of fold all thresholds are cross-fitted; on test a member's threshold is the best one out of fold. Thresholds stay as they
    are within the interval. Splits without labels are left out.
    """
    rows = []
    for name, tables in members.items():
        oof = cross_fit(tables["oof"], tables["oof"]["id"].map(clusters["train"]), seed)
        rows.append(_lead("oof", name, honest, oof, clusters["train"], seed))
        labelled = with_labels(answers["test"], solution.get("test"))
        if labelled is not None:
            threshold, _ = best_threshold(oof["label"], oof["probability"])
            table = tables["test"].assign(prediction=(tables["test"]["probability"] >= threshold).astype(int))
            rows.append(_lead("test", name, labelled, table, clusters["test"], seed))
    return pd.DataFrame(rows)


def _lead(split: str, name: str, ensemble: pd.DataFrame, member: pd.DataFrame, cluster: pd.Series, seed: int) -> dict:
    """The lead of the ensemble's predictions over a member's, on the rows that both answer."""
    both = ensemble.merge(
        member[["id", "probability", "prediction"]], on="id", suffixes=("", "_member"), validate="one_to_one"
    )
    label, own, other = (both[column].to_numpy(dtype=float) for column in ("label", "prediction", "prediction_member"))

    def lead(weight: np.ndarray) -> float:
        return weighted_f1(label, own, weight) - weighted_f1(label, other, weight)

    draws = draw_weights(both["id"].map(cluster), choose_repeats(len(both)), seed)
    low, high = quantiles([lead(drawn) for drawn in draws])
    measured = {"f1": f1(label, other), "auc": auc(label, both["probability_member"])}
    return {
        "split": split,
        "member": name,
        **measured,
        "lead": lead(np.ones(len(both))),
        "lead_lo": low,
        "lead_hi": high,
    }


def compare_decisions(
    run: Run, task: str, members: Members, honest: pd.DataFrame, answers: Tables, solution: Tables
) -> pd.DataFrame:
    """F1 of four ways to decide: `task, split, decision, f1`; splits without labels are left out.

    The champion's folds are taken as they answer: argmax at one half, and the hard vote, as in the winning system
    (arXiv 2510.25428). The vote is left out of fold, where each row is answered by one fold only.
    """
    champion, rows = next(iter(members)), []
    for split, table in {"oof": honest, **answers}.items():
        labelled = with_labels(table, solution.get(split))
        if labelled is None:
            continue
        raw = members[champion][split].set_index("id")["probability"].reindex(labelled["id"]).to_numpy()
        decisions = {"champion, argmax at 0.5": raw >= 0.5}
        if split != "oof":
            decisions["champion, hard vote of its folds"] = (
                hard_vote(run, task, champion, split).reindex(labelled["id"]).to_numpy()
            )
        decisions |= {
            "ensemble, argmax at 0.5": labelled["probability"] >= 0.5,
            "ensemble, as submitted": labelled["prediction"],
        }
        for name, prediction in decisions.items():
            rows.append({"task": task, "split": split, "decision": name, "f1": f1(labelled["label"], prediction)})
    return pd.DataFrame(rows)


def hard_vote(run: Run, task: str, recipe: str, split: str) -> pd.Series:
    """id -> the majority of a recipe's folds at threshold 0.5, ties to 1."""
    paths = [own / f"{split}.parquet" for own in fold_folders(run.final / task / recipe)]
    tables = [read_table(path) for path in paths if path.exists()]
    votes = [(table.set_index("id")["probability"] >= 0.5).astype(int) for table in tables]
    return (pd.concat(votes, axis=1).mean(axis=1) >= 0.5).astype(int)


def select(scores: pd.DataFrame, task: str, split: str, recipe: str) -> pd.DataFrame:
    """One recipe's rows of `scores.csv` for a task and a split, one for each language."""
    return scores[(scores["task"] == task) & (scores["split"] == split) & (scores["recipe"] == recipe)]


def best_baseline(scores: pd.DataFrame, task: str, split: str) -> str:
    """The candidate with the highest F1 among those without a trained network that answered as many rows as any of them;
    `constant` where no other could be fitted.
    """
    rows = scores[(scores["task"] == task) & (scores["split"] == split) & (scores["language"] == "all")]
    rows = rows[rows["recipe"].isin(BASELINE_NAMES)]
    rows = rows[rows["rows"] == rows["rows"].max()]
    return str(rows.sort_values("f1")["recipe"].iloc[-1]) if len(rows) else "constant"


def compare_with_test(scores: pd.DataFrame) -> pd.DataFrame:
    """How near the out-of-fold estimate came to the test: `task, language, estimate, lo, hi, test, distance`; empty without a solution."""
    own = scores[(scores["recipe"] == "ensemble") & scores["language"].isin(["all", "seen", "unseen"])]
    columns = ["task", "language", "f1", "f1_lo", "f1_hi"]
    estimate = own.loc[own["split"] == "estimate", columns]
    test = own.loc[own["split"] == "test", ["task", "language", "f1"]].rename(columns={"f1": "test"})
    both = estimate.rename(columns={"f1": "estimate", "f1_lo": "lo", "f1_hi": "hi"}).merge(
        test, on=["task", "language"]
    )
    return both.assign(distance=both["test"] - both["estimate"])


def explain(scores: pd.DataFrame, task: str, split: str) -> str:
    """The ensemble's F1 with its 95 % interval, the estimate of it out of fold, and what answering "relevant" to everything has."""
    rows = {kind: select(scores, task, kind, "ensemble").set_index("language") for kind in (split, "estimate")}
    estimate = rows["estimate"].loc["all"]
    own = rows[split].loc["all"] if split == "test" else estimate
    text = (
        f"the ensemble has F1 {own['f1']:.4f} [{own['f1_lo']:.3f}, {own['f1_hi']:.3f}] and AUC {own['auc']:.3f}; "
        f"answering *relevant* to everything has {own['constant_f1']:.4f}"
    )
    if split == "test":
        inside = estimate["f1_lo"] <= own["f1"] <= estimate["f1_hi"]
        place = "inside" if inside else "outside"
        return text + f". Out of fold {estimate['f1']:.4f} was expected; the test lies {place} the interval of that."
    return text + ". This is the estimate for the test file's languages, as there is no solution to score by."
