"""Ablations: the same candidate with one switch on and off, over several seeds, on the same validation rows.

A switch is judged twice: on a fold of queries in training languages, and on a training language that it never saw.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from utils.core.recipe import Recipe, read_fold_facts
from utils.core.schema import ordered
from utils.data.folds import held_out_folds
from utils.ensemble.crossfitting import cross_fit_decision
from utils.ensemble.second_stage import TEXTS
from utils.evaluation.choices import DIFFERENCE, Pair, compare_seeds
from utils.evaluation.leaderboard import read_oof
from utils.evaluation.metrics import f1, log_odds, sigmoid
from utils.evaluation.thresholds import cross_fit
from utils.experiment.crossfit import Plan, TaskData, fit_plans
from utils.experiment.runtime import Runtime

SHARE = 0.5  # of additional training rows, where a switch adds some
BASE, LONGER = "base", "longer"
COLUMNS = ["switch", "task", "seeds", "delta_f1", "lo", "hi", "delta_auc", "delta_f1_unseen", "cost_seconds"]
UNSEEN = ["unseen_lo", "unseen_hi"]
SEEN_ROWS, UNSEEN_ROWS = "query", "leave-language"  # the schemes that judge


@dataclass(frozen=True)
class Switch:
    """What is compared with what (names of arms), and what is known of it beyond these rows."""

    on: str
    off: str
    elsewhere: str


# Arm -> what it changes of the base recipe.
ARMS = {
    BASE: {},
    LONGER: {"epochs": 1 + SHARE},  # a factor: as many steps as an arm with more rows has
    "no translation": {"translation": False},
    "expanded": {"expansion": SHARE},
    "misspelt": {"typos": SHARE},
}
SECOND_STAGE, SEED_MEAN = "second stage", "mean of seeds"  # arms that are made of the base's answers
SWITCHES = {
    "translation": Switch(
        BASE,
        "no translation",
        "the winning system keeps query and English; it helps where a network reads English best",
    ),
    "language expansion": Switch(
        "expanded",
        LONGER,
        "the third team's largest gain, .7 pt, with a neural translator; a word list knows its own words too well",
    ),
    "typing errors": Switch("misspelt", LONGER, "no team reports it; worth it where queries are typed badly"),
    "half as many steps again": Switch(LONGER, BASE, "what the two switches with more rows are compared with"),
    "second stage": Switch(SECOND_STAGE, BASE, ".7 pt in KDD Cup 2022; it grows with the rows that a query has"),
    "mean of seeds": Switch(
        SEED_MEAN, BASE, "a tenth of a point in a contest of 2025, at the price of as many trainings"
    ),
}


def make_recipes(base: Recipe, train: pd.DataFrame, rows: int, seeds: int = 3) -> list[Recipe]:
    """The recipes of all arms: for each seed on a fold of queries and, where one can be held out, on a language."""
    languages, recipes = held_out_folds(train, 1), []
    for arm, changes in ARMS.items():
        changes = dict(changes)
        if "epochs" in changes:
            changes["epochs"] *= base.epochs
        for seed in range(seeds):
            own = base.with_(**changes, rows=rows, folds=(0,), seed=base.seed + seed, variant_of=base.name)
            recipes.append(own.with_(name=name_of(arm, seed, SEEN_ROWS), scheme=SEEN_ROWS))
            if languages:
                held_out = {"name": name_of(arm, seed, UNSEEN_ROWS), "scheme": UNSEEN_ROWS, "folds": languages}
                recipes.append(own.with_(**held_out))
    return recipes


def name_of(arm: str, seed: int | str, scheme: str) -> str:
    """The name of an arm's recipe for one seed (`*` = any) and scheme."""
    return f"{arm} {scheme} {seed}".replace(" ", "-")


def fit_arms(
    recipes: Mapping[str, Sequence[Recipe]], data: Mapping[str, TaskData], folder: Path, runtime: Runtime
) -> None:
    """Train all tasks' arms, in `folder/<task>/<recipe>`."""
    fit_plans([Plan(recipes[task], data[task], folder / task) for task in recipes], runtime)


@dataclass(frozen=True)
class _Arms:
    """The answers of a task's arms under one scheme, one table for each seed, and what each cost."""

    tables: dict[str, list[pd.DataFrame]]
    seconds: dict[str, float]  # a seed's, on average


def _read_arms(task: str, data: TaskData, folder: Path, scheme: str, seed: int) -> _Arms:
    """The arms as they were trained."""
    arms = _Arms({}, {})
    for arm in ARMS:
        folders = [path.parent for path in sorted((folder / task).glob(f"{name_of(arm, '*', scheme)}/oof.parquet"))]
        if folders:
            arms.tables[arm] = [read_oof(own, data.train, seed).sort_values("id", ignore_index=True) for own in folders]
            facts = [read_fold_facts(own, int(next(own.glob("fold*")).name[4:])) for own in folders]
            arms.seconds[arm] = float(np.mean([fact["seconds"] for fact in facts]))
    return arms


def _add_made(arms: _Arms, train: pd.DataFrame, seed: int) -> _Arms:
    """The arms with those that are made of the base's answers: a second stage over each seed's, and the mean of all seeds' log-odds."""
    if BASE not in arms.tables:
        return arms
    base, cost = arms.tables[BASE], arms.seconds[BASE]
    cluster, begin = train.set_index("id")["query_group"], time.monotonic()
    staged = [cross_fit_decision({BASE: table}, cluster, seed, texts=train[TEXTS]) for table in base]
    groups = base[0]["query_group"].to_numpy()
    arms.tables[SECOND_STAGE] = [table.assign(query_group=groups) for table in staged]
    arms.seconds[SECOND_STAGE] = cost + (time.monotonic() - begin) / len(base)
    mean = sigmoid(np.mean([log_odds(table["probability"]) for table in base], axis=0))
    together = cross_fit(base[0].assign(probability=mean), groups, seed)
    arms.tables[SEED_MEAN] = [together] * len(base)
    arms.seconds[SEED_MEAN] = cost * len(base)
    return arms


def measure(task: str, data: TaskData, folder: Path, seed: int) -> pd.DataFrame:
    """The rows of `ablations.csv` of one task, the largest gain first, and the interval of `delta_f1_unseen` (`UNSEEN`)."""
    schemes = {scheme: _read_arms(task, data, folder, scheme, seed) for scheme in (SEEN_ROWS, UNSEEN_ROWS)}
    seen, unseen = (_add_made(arms, data.train, seed) for arms in schemes.values())
    rows = []
    for name, switch in SWITCHES.items():
        if {switch.on, switch.off} <= seen.tables.keys():
            change = compare_seeds(_pairs(seen, switch), seed)
            row = {
                "switch": name, "task": task, "seeds": len(seen.tables[BASE]), "delta_f1": change["f1_change"],
                "lo": change["f1_change_lo"], "hi": change["f1_change_hi"], "delta_auc": change["auc_change"],
                "cost_seconds": seen.seconds[switch.on] - seen.seconds[switch.off],
            }  # fmt: skip
            if {switch.on, switch.off} <= unseen.tables.keys():
                held_out = compare_seeds(_pairs(unseen, switch), seed)
                names = ("delta_f1_unseen", *UNSEEN)
                row |= {name: held_out[key] for name, key in zip(names, DIFFERENCE, strict=False)}
            rows.append(row)
    return pd.DataFrame(rows, columns=[*COLUMNS, *UNSEEN]).sort_values("delta_f1", ascending=False, ignore_index=True)


def _pairs(arms: _Arms, switch: Switch) -> list[Pair]:
    """With and without a switch, for each seed."""
    return list(zip(arms.tables[switch.on], arms.tables[switch.off], strict=True))


def measure_noise(task: str, data: TaskData, folder: Path, seed: int) -> float:
    """How far F1 of the base moves with the seed alone: two standard errors of a difference of such means."""
    tables = _read_arms(task, data, folder, SEEN_ROWS, seed).tables.get(BASE, [])
    scores = [f1(table["label"], table["prediction"]) for table in tables]
    return 2 * float(np.std(scores, ddof=1)) * np.sqrt(2 / len(scores)) if len(scores) > 1 else 0.0


def find_hardest(task: str, data: TaskData, folder: Path, seed: int) -> pd.DataFrame:
    """The validation rows with their texts, and the `loss` of the base in the mean over seeds, the highest first."""
    tables = _read_arms(task, data, folder, SEEN_ROWS, seed).tables[BASE]
    probability = np.mean([table["probability"] for table in tables], axis=0)
    rows = tables[0][["id", "language", "label"]].assign(probability=probability)
    right = np.where(rows["label"] == 1, probability, 1 - probability)
    texts = data.train[["id", "query", "query_en", "target"]]
    rows = rows.assign(loss=-np.log(np.maximum(right, 1e-9))).merge(texts, on="id", how="left", validate="one_to_one")
    rows["kind"] = rows["label"].map({1: "relevant, missed", 0: "not relevant, taken"})
    return rows.sort_values("loss", ascending=False, ignore_index=True)


def count_hardest(rows: pd.DataFrame, share: float = 0.1) -> pd.DataFrame:
    """Of each language's rows the share that is among the hardest tenth, by kind."""
    hardest = rows.head(round(share * len(rows)))
    counts = pd.crosstab(hardest["language"], hardest["kind"]).reindex(ordered(rows["language"].unique()), fill_value=0)
    return counts.div(rows["language"].value_counts(), axis=0).loc[counts.index]


def show(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `measure` as `plots.differences` takes them, named by switch and task."""
    names = {"delta_f1": "f1_change", "lo": "f1_change_lo", "hi": "f1_change_hi", "delta_f1_unseen": "unseen_change"}
    names |= dict(zip(UNSEEN, ("unseen_change_lo", "unseen_change_hi"), strict=True))
    return table.rename(columns=names).set_index(["switch", "task"])[list(names.values())]


def explain(table: pd.DataFrame, synthetic: bool) -> list[str]:
    """A sentence for each row of `measure`: what was found, and whether it is worth it at scale."""
    sample = (
        " These rows are synthetic: they show that it works, and not how much it brings elsewhere." if synthetic else ""
    )
    lines = []
    for row in table.itertuples():
        verdict = "a gain" if row.lo > 0 else "a loss" if row.hi < 0 else "inside the noise"
        text = f"**{row.switch}**, {row.task}: {row.delta_f1:+.4f} F1 [{row.lo:+.4f}, {row.hi:+.4f}], {verdict}; "
        if pd.notna(row.delta_f1_unseen):  # there was a language to hold out
            text += f"on an unseen language {row.delta_f1_unseen:+.4f} [{row.unseen_lo:+.4f}, {row.unseen_hi:+.4f}]; "
        text += f"{row.cost_seconds:+.0f} s a training. Elsewhere: {SWITCHES[row.switch].elsewhere}."
        lines.append(text + sample)
    return lines
