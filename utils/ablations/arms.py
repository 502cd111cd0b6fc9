"""Arms: the same recipe with one change each, trained on the same rows, validated on the same validation rows.

Every arm is validated twice: on a fold of queries in training languages, and on a training language that it never saw, but as translations
where queries are expanded.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.model_selection import GroupKFold

from utils.core.recipe import PLAIN, Recipe, pick
from utils.core.schema import AUXILIARY
from utils.data import folds
from utils.data.tables import sample_queries
from utils.experiment.crossfit import Plan
from utils.experiment.task_data import TaskData, find_noise
from utils.profiles.base import Profile

SEARCHED = 20_000  # training rows at most among which noisy labels are searched, where all of them are not trained on
SHARE = 0.5  # of additional training rows, where an arm adds some
SEEN_ROWS, UNSEEN_ROWS = SCHEMES = ("query", "leave-language")  # of validation rows
OTHER = "other"  # the split of the other task's validation rows
BASE, LONGER, JOINT, TAPT, PART, FAMILY = "base", "longer", "joint", "tapt", "part", "other family"
EPOCHS = "epochs"  # of an arm's changes, this one is a factor
# Arm -> what it changes of the base recipe.
ARMS: dict[str, dict[str, Any]] = {
    BASE: {},
    LONGER: {EPOCHS: 1 + SHARE},  # as many steps as an arm with more rows has
    "no translation": {"translation": False},
    "expanded": {"expansion": SHARE},
    "misspelt": {"typos": SHARE},
    "dropped": {"noisy_labels": "drop"},
    "relabelled": {"noisy_labels": "relabel"},
}
PATH_ARMS: dict[str, dict[str, Any]] = {  # of QC alone
    "markers": {"level_markers": True},
    "level dropout": {"level_dropout": 0.3},
    "parents": {"parents": SHARE},
    "siblings": {"siblings": SHARE},
}
# Arms whose changes hang on the rows: one network for both tasks; stage 1 on the other task; the base without a part of the rows and
# with as many steps; a candidate of another family.
SPECIAL = (JOINT, TAPT, PART, FAMILY)


@dataclass(frozen=True)
class Split:
    """A task's rows under one scheme, the same for all arms: training rows up to the cap, and validation rows."""

    scheme: str
    fold: int  # of `data.train`, which validates
    data: TaskData  # `auxiliary` holds the other task's training rows under the scheme
    other: pd.DataFrame | None  # the other task's validation rows
    searched: pd.Series  # ids of the training rows before the cap, in which `data.suspects` were found

    @property
    def train(self) -> pd.DataFrame:
        """The training rows."""
        return folds.split(self.data.train, self.scheme, self.fold)[0]

    def without(self, part: int, parts: int) -> TaskData:
        """The data without one of so many parts of the training queries."""
        train = self.train
        splits = list(GroupKFold(parts).split(train, groups=train["query_group"]))
        left_out = train["id"].iloc[splits[part][1]]
        return replace(self.data, train=self.data.train[~self.data.train["id"].isin(left_out)])

    @property
    def answering(self) -> TaskData:
        """The data with the other task's validation rows to answer, too."""
        if self.other is None:
            return self.data
        return replace(self.data, splits={OTHER: self.other.assign(task=AUXILIARY[self.data.task])})


Splits = dict[str, dict[str, Split]]  # scheme -> task -> split


def make_splits(data: Mapping[str, TaskData], profile: Profile) -> Splits:
    """The rows of all arms. A scheme without a language to hold out is left out.

    A query that validates in one task trains in none, nor does a language that is held out in one.
    """
    pairs = {scheme: {task: _cut(own, scheme, profile) for task, own in data.items()} for scheme in SCHEMES}
    return {scheme: _join(data, scheme, own, profile) for scheme, own in pairs.items() if all(own.values())}


Rows = tuple[pd.DataFrame, pd.DataFrame]  # training rows, validation rows


def _cut(data: TaskData, scheme: str, profile: Profile) -> Rows | None:
    """Training and validation rows of the first fold, or of the first language that can be held out; None without one."""
    numbers = (0,) if scheme == SEEN_ROWS else folds.held_out_folds(data.train, 1)
    if not numbers:
        return None
    return folds.split(data.train, scheme, numbers[0], profile.ablation_validation_rows, profile.seed)


def _join(data: Mapping[str, TaskData], scheme: str, pairs: Mapping[str, Rows], profile: Profile) -> dict[str, Split]:
    """The tasks' splits, none of which trains on what validates in another."""
    validation = {task: rows for task, (_, rows) in pairs.items()}
    held_out = {code for rows in validation.values() for code in rows["language"]} if scheme == UNSEEN_ROWS else set()
    searched, train = {}, {}
    for task, (rows, _) in pairs.items():
        for validation_rows in validation.values():
            rows = folds.without_queries(rows, validation_rows)
        most = max(SEARCHED, profile.ablation_rows) if profile.ablation_rows else 0
        searched[task] = sample_queries(rows[~rows["language"].isin(held_out)], most, profile.seed)
        train[task] = sample_queries(searched[task], profile.ablation_rows, profile.seed)
    splits = {}
    for task, own in data.items():
        table, other = pd.concat([train[task], validation[task]], ignore_index=True), AUXILIARY[task]
        fold = 0 if scheme == SEEN_ROWS else folds.languages_of(table).index(validation[task]["language"].iloc[0])
        rows = replace(own, train=table, splits={}, auxiliary=train.get(other), suspects=find_noise(searched[task]))
        splits[task] = Split(scheme, fold, rows, validation.get(other), searched[task]["id"])
    return splits


def find_base(profile: Profile, task: str) -> Recipe:
    """The recipe that the arms change: the candidate whose variants the bake-off compares, without any of the ideas."""
    return pick(profile.recipes(task), [profile.comparison])[0].with_(rows=0, answer_rows=0, **PLAIN)


def find_other_family(profile: Profile, task: str) -> Recipe | None:
    """The first candidate of another family that may be trained to the end; None where there is none."""
    base = find_base(profile, task)
    names = profile.eligible(task)
    others = [recipe for recipe in profile.recipes(task) if recipe.name in names and recipe.family != base.family]
    return others[0].with_(rows=0, answer_rows=0) if others else None


def name_of(arm: str, seed: int, scheme: str) -> str:
    """The name of an arm's recipe for one seed and scheme."""
    return f"{arm} {scheme} {seed}".replace(" ", "-")


def make_plans(splits: Splits, profile: Profile, folder: Path) -> list[Plan]:
    """The trainings of all arms, tasks, schemes and seeds, in `folder/<task>/<arm>-<scheme>-<seed>`.

    The joint network is trained once for both tasks, in the first one's folder.
    """
    plans = []
    for by_task in splits.values():
        first = next(iter(by_task))
        for task, split in by_task.items():
            for seed in range(profile.ablation_seeds):
                for arm, recipe in _recipes(task, split, profile, task == first):
                    own = recipe.with_(
                        name=name_of(arm, seed, split.scheme), scheme=split.scheme, folds=(split.fold,),
                        seed=profile.seed + seed, variant_of="" if arm == BASE else find_base(profile, task).name,
                    )  # fmt: skip
                    plans.append(Plan([own], _rows_of(arm, seed, split, profile), folder / task))
    return plans


def _recipes(task: str, split: Split, profile: Profile, is_first: bool) -> Iterator[tuple[str, Recipe]]:
    """Each arm of a task and its recipe, before it gets the name and seed."""
    base = find_base(profile, task)
    for arm, changes in (ARMS | (PATH_ARMS if task == "QC" else {})).items():
        factor = changes.get(EPOCHS, 1.0)
        yield arm, base.with_(**changes | {EPOCHS: base.epochs * factor})
    yield PART, base.with_(epochs=base.epochs * count_parts(profile) / (count_parts(profile) - 1))
    if other := find_other_family(profile, task):
        yield FAMILY, other
    if split.data.auxiliary is not None:
        yield TAPT, base.with_(auxiliary_rows=len(split.data.auxiliary))
        if is_first:
            length = max(base.max_length, find_base(profile, AUXILIARY[task]).max_length)
            yield JOINT, base.with_(joint=1.0, max_length=length)


def count_parts(profile: Profile) -> int:
    """Parts of the training rows, of which each seed leaves out one."""
    return max(2, profile.ablation_seeds)


def _rows_of(arm: str, seed: int, split: Split, profile: Profile) -> TaskData:
    """What an arm trains on and answers: the base under `query` and the joint network answer the other task, too."""
    if arm == PART:
        return split.without(seed, count_parts(profile))
    if arm == JOINT or (arm == BASE and split.scheme == SEEN_ROWS):
        return split.answering
    return split.data


def count_rows(splits: Splits) -> pd.DataFrame:
    """Training and validation rows of each scheme and task, and the language that is held out."""
    rows = {}
    for scheme, by_task in splits.items():
        for task, split in by_task.items():
            validation = folds.split(split.data.train, scheme, split.fold)[1]
            rows[scheme, task] = {
                "training rows": len(split.train), "validation rows": len(validation),
                "validated on": ", ".join(folds.languages_of(validation)),
            }  # fmt: skip
    return pd.DataFrame(rows).T.rename_axis(["scheme", "task"])


def show_arms() -> pd.DataFrame:
    """What each arm changes of the base recipe."""
    fixed = {
        arm: ", ".join(f"{field} = {value}" for field, value in changes.items())
        for arm, changes in (ARMS | PATH_ARMS).items()
    }
    special = {
        JOINT: "rows of both tasks, one network", TAPT: "first on the other task", PART: "without a part of the rows, as many steps",
        FAMILY: "a candidate of another family",
    }  # fmt: skip
    changed = {BASE: "nothing", LONGER: f"{1 + SHARE} times the steps"}
    return pd.Series(fixed | special | changed, name="changes").to_frame()
