"""What the arms say of each switch: differences over seeds with their intervals, the noise, the hardest rows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from utils.ablations.arms import (
    ARMS,
    BASE,
    FAMILY,
    JOINT,
    LONGER,
    OTHER,
    PART,
    PATH_ARMS,
    SEEN_ROWS,
    SPECIAL,
    TAPT,
    UNSEEN_ROWS,
    name_of,
)  # fmt: skip
from utils.core.recipe import read_fold_facts
from utils.core.schema import AUXILIARY, ordered
from utils.data.tables import read_table
from utils.ensemble.crossfitting import cross_fit_decision
from utils.ensemble.decide import NO_STEPS, Steps
from utils.ensemble.second_stage import TEXTS
from utils.evaluation.choices import DIFFERENCE, Pair, compare_seeds
from utils.evaluation.metrics import f1, log_odds, sigmoid
from utils.evaluation.thresholds import cross_fit

COLUMNS = ["switch", "task", "seeds", "delta_f1", "lo", "hi", "delta_auc", "delta_f1_unseen", "cost_seconds"]
UNSEEN = ["unseen_lo", "unseen_hi"]


SYNTHETIC = (
    "Worth it at scale? These rows are synthetic and few: they show that a switch works, and what it costs; whether it brings anything "
    "on real rows they do not say."
)
REAL = "Worth it at scale? These are few rows: what gains here is worth a try on all of them; noise here may still be a gain there."


@dataclass(frozen=True)
class Switch:
    """What is compared with what (names of arms), and what is known of it beyond these rows."""

    on: str
    off: str
    elsewhere: str


# Arms that are made of the answers of others.
SECOND_STAGE, CONSISTENT, SEED_MEAN, FOLD_MEAN, FAMILIES, TWO_FOLDS = (
    "second stage", "consistent", "mean of seeds", "mean of folds", "two families", "two folds",
)  # fmt: skip
SWITCHES = {
    "translation": Switch(
        BASE, "no translation", "the winning system keeps query and English; it helps where a network reads English best"
    ),
    "language expansion": Switch(
        "expanded", LONGER, "the third team's largest gain, .7 pt, with a neural translator; a word list knows its own words too well"
    ),
    "typing errors": Switch("misspelt", LONGER, "no team reports it; worth it where queries are typed badly"),
    "one joint model": Switch(
        JOINT, BASE, "the winning report wished for it, no team has measured it; it halves what is served"
    ),
    "joint model instead of TAPT": Switch(JOINT, TAPT, "the report's TAPT brought .02 to .14 pt, and was lost in its code"),
    "level markers": Switch("markers", BASE, "two teams of the competition mark levels, none says what it brings"),
    "level dropout": Switch("level dropout", BASE, "nothing is known of it"),
    "parent paths": Switch("parents", LONGER, "nothing is known of it"),
    "sibling negatives": Switch("siblings", LONGER, "the third team gained .5 pt with hard negatives in QC, another lost"),
    "consistent paths": Switch(CONSISTENT, BASE, "nothing is known of it; a second stage reads the same relations"),
    "noisy labels dropped": Switch("dropped", BASE, "one team cleaned labels, and does not say what it brought"),
    "noisy labels turned over": Switch("relabelled", BASE, "no team reports it; it needs a finder that is right more often than not"),
    "half as many steps again": Switch(LONGER, BASE, "what switches with more rows are compared with"),
    "second stage": Switch(SECOND_STAGE, BASE, ".7 pt in KDD Cup 2022; it grows with the rows that a query has"),
    "mean of seeds": Switch(SEED_MEAN, BASE, "a tenth of a point in a contest of 2025, at the price of as many trainings"),
    "seeds instead of folds": Switch(
        SEED_MEAN, FOLD_MEAN, "a contest of 2025 was won with seeds on all rows; the winner's network on all rows lost to its best fold"
    ),
    "two families instead of two folds": Switch(
        FAMILIES, TWO_FOLDS, "members of unlike kinds brought .1 to 1.3 pt in contests of 2025; both must be good by themselves"
    ),
}  # fmt: skip

OF_PATHS = {
    name for name, switch in SWITCHES.items() if {switch.on, switch.off} & {CONSISTENT, *PATH_ARMS}
}  # for QC alone
OF_SEEDS = {
    name for name, switch in SWITCHES.items() if {switch.on, switch.off} & {SEED_MEAN, FOLD_MEAN, TWO_FOLDS}
}  # of several


@dataclass(frozen=True)
class Source:
    """Where a task's arms lie, and what they are read with: its rows with `query_group` and texts, the number of seeds."""

    task: str
    train: pd.DataFrame
    folder: Path
    seeds: int
    seed: int  # of parts of queries and of draws

    def find(self, arm: str, scheme: str) -> list[Path]:
        """The tables of an arm, one for each seed; none where one lacks. A joint network's lie with the task that it was trained in."""
        names = [name_of(arm, number, scheme) for number in range(self.seeds)]
        own = [self.folder / self.task / name / "oof.parquet" for name in names]
        other = [self.folder / AUXILIARY[self.task] / name / f"{OTHER}.parquet" for name in names]
        places = [own, other] if arm == JOINT else [own]
        return next((files for files in places if all(file.exists() for file in files)), [])

    def read(self, file: Path) -> pd.DataFrame:
        """A table of answers by id, with `query_group`, and thresholds that were fitted on other queries."""
        table = read_table(file).sort_values("id", ignore_index=True)
        groups = table["id"].map(self.train.set_index("id")["query_group"])
        return cross_fit(table.assign(query_group=groups), groups, self.seed)


@dataclass(frozen=True)
class _Arms:
    """The answers of a task's arms under one scheme, one table for each seed, and what each cost."""

    tables: dict[str, list[pd.DataFrame]]
    seconds: dict[str, float]  # of a seed's training, on average, without its answers: not all answer the same rows


def _read_arms(source: Source, scheme: str) -> _Arms:
    """The arms as they were trained. One joint network answers both tasks, and each pays half of it."""
    arms = _Arms({}, {})
    for arm in [*ARMS, *PATH_ARMS, *SPECIAL]:
        if files := source.find(arm, scheme):
            arms.tables[arm] = [source.read(file) for file in files]
            facts = [read_fold_facts(file.parent, int(next(file.parent.glob("fold*")).name[4:])) for file in files]
            halves = 2 if arm == JOINT else 1
            arms.seconds[arm] = float(np.mean([fact["seconds"] - fact["score_seconds"] for fact in facts])) / halves
    return arms


def _add_made(arms: _Arms, source: Source) -> _Arms:
    """The arms with those that are made of others' answers: steps over a query's rows, means of seeds and of folds, pairs of networks."""
    if BASE not in arms.tables:
        return arms
    base, cost = arms.tables[BASE], arms.seconds[BASE]
    groups, count = base[0]["query_group"].to_numpy(), len(base)
    cluster, texts, seed = source.train.set_index("id")["query_group"], source.train[TEXTS], source.seed

    def together(members: dict[str, pd.DataFrame], steps: Steps = NO_STEPS) -> pd.DataFrame:
        return cross_fit_decision(members, cluster, seed, texts=texts, steps=steps).assign(query_group=groups)

    def add(name: str, make: Callable[[int], pd.DataFrame], seconds: float) -> None:
        arms.tables[name], arms.seconds[name] = [make(number) for number in range(count)], seconds

    add(SECOND_STAGE, lambda number: together({BASE: base[number]}, Steps(second_stage=True)), cost)
    add(CONSISTENT, lambda number: together({BASE: base[number]}, Steps(consistent=True)), cost)
    if count < 2:  # nothing to average, nothing to pair
        return arms
    mean = _average(base, groups, seed)
    add(SEED_MEAN, lambda _: mean, cost * count)
    if PART in arms.tables:
        parts = _average(arms.tables[PART], groups, seed)
        add(FOLD_MEAN, lambda _: parts, arms.seconds[PART] * count)
    if {FAMILY, PART} <= arms.tables.keys():
        others, folds = arms.tables[FAMILY], arms.tables[PART]
        add(
            FAMILIES, lambda number: together({BASE: base[number], FAMILY: others[number]}), cost + arms.seconds[FAMILY]
        )
        add(
            TWO_FOLDS,
            lambda number: together({"one": folds[number], "next": folds[(number + 1) % count]}),
            2 * arms.seconds[PART],
        )
    return arms


def _average(tables: list[pd.DataFrame], groups: np.ndarray, seed: int) -> pd.DataFrame:
    """The mean of several networks' log-odds, with thresholds that were fitted on other queries."""
    mean = sigmoid(np.mean([log_odds(table["probability"]) for table in tables], axis=0))
    return cross_fit(tables[0].assign(probability=mean), groups, seed)


def measure(source: Source) -> pd.DataFrame:
    """The rows of `ablations.csv` of one task, the largest gain first, and the interval of `delta_f1_unseen` (`UNSEEN`).

    A switch without its arms is left out. A mean of seeds or of folds is one answer: its interval draws queries, and the seeds of what
    it is compared with alone.
    """
    seen, unseen = (_add_made(_read_arms(source, scheme), source) for scheme in (SEEN_ROWS, UNSEEN_ROWS))
    task, seed, rows = source.task, source.seed, []
    for name, switch in SWITCHES.items():
        if {switch.on, switch.off} <= seen.tables.keys() and not (task == "QI" and name in OF_PATHS):
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


def measure_noise(source: Source) -> dict[str, float]:
    """How far F1 of the base moves with the seed alone, for each column that `show` names: two standard errors of a difference of
    such means.
    """
    return {
        column: _measure_noise(source, scheme)
        for column, scheme in (("f1_change", SEEN_ROWS), ("unseen_change", UNSEEN_ROWS))
    }


def _measure_noise(source: Source, scheme: str) -> float:
    tables = [source.read(file) for file in source.find(BASE, scheme)]
    scores = [f1(table["label"], table["prediction"]) for table in tables]
    return 2 * float(np.std(scores, ddof=1)) * np.sqrt(2 / len(scores)) if len(scores) > 1 else 0.0


def find_hardest(source: Source) -> pd.DataFrame:
    """The validation rows with their texts, and the `loss` of the base in the mean over seeds, the highest first."""
    tables = [source.read(file) for file in source.find(BASE, SEEN_ROWS)]
    probability = np.mean([table["probability"] for table in tables], axis=0)
    rows = tables[0][["id", "language", "label"]].assign(probability=probability)
    right = np.where(rows["label"] == 1, probability, 1 - probability)
    rows = rows.assign(loss=-np.log(np.maximum(right, 1e-9))).merge(
        source.train[TEXTS], on="id", how="left", validate="one_to_one"
    )
    rows["kind"] = rows["label"].map({1: "relevant, missed", 0: "not relevant, taken"})
    return rows.sort_values("loss", ascending=False, ignore_index=True)


def count_hardest(rows: pd.DataFrame, share: float = 0.1) -> pd.DataFrame:
    """Of each language's rows the share that is among the hardest tenth, by kind."""
    hardest = rows.head(round(share * len(rows)))
    counts = pd.crosstab(hardest["language"], hardest["kind"]).reindex(ordered(rows["language"].unique()), fill_value=0)
    return counts.div(rows["language"].value_counts(), axis=0).loc[counts.index]


def show(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `measure` of one task as `plots.differences` takes them, named by switch."""
    names = {"delta_f1": "f1_change", "lo": "f1_change_lo", "hi": "f1_change_hi", "delta_f1_unseen": "unseen_change"}
    names |= dict(zip(UNSEEN, ("unseen_change_lo", "unseen_change_hi"), strict=True))
    return table.rename(columns=names).set_index("switch")[list(names.values())]


def explain(table: pd.DataFrame, synthetic: bool) -> list[str]:
    """Of each task what gains, what loses and what lies inside the noise; then a sentence for each row of `measure`, with what is
    known from elsewhere.
    """
    verdict = np.select([table["lo"] > 0, table["hi"] < 0], ["gains", "losses"], "inside the noise")
    lines = []
    for task, rows in table.groupby("task", sort=False):
        names = {kind: rows["switch"][verdict[rows.index] == kind] for kind in ("gains", "losses", "inside the noise")}
        lines.append(
            f"**{task}**: " + "; ".join(f"{kind}: {', '.join(own) or 'none'}" for kind, own in names.items()) + "."
        )
    lines.append(SYNTHETIC if synthetic else REAL)
    for row in table.itertuples():
        text = f"- **{row.switch}**, {row.task}: {row.delta_f1:+.4f} F1 [{row.lo:+.4f}, {row.hi:+.4f}], {row.delta_auc:+.4f} AUC; "
        if pd.notna(row.delta_f1_unseen):  # there was a language to hold out
            text += f"on an unseen language {row.delta_f1_unseen:+.4f} [{row.unseen_lo:+.4f}, {row.unseen_hi:+.4f}]; "
        lines.append(text + f"{row.cost_seconds:+.0f} s a training. Elsewhere: {SWITCHES[row.switch].elsewhere}.")
    return lines
