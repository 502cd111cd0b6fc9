"""Arms differ from the base in one thing, share their rows, and train on nothing that validates in any task."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from utils import profiles
from utils.ablations import arms, noise
from utils.core import paths, recipe
from utils.core.paths import Run
from utils.data.tables import write_table
from utils.data.taxonomy import parse
from utils.experiment.task_data import TaskData, make_rows
from utils.profiles.laptop import LAPTOP

PATHS = [f"{top},{middle},{leaf}" for top in "ab" for middle in "cd" for leaf in "efg"]
PROFILE = replace(LAPTOP, ablation_rows=60, ablation_validation_rows=30, ablation_seeds=3)


def make_task(task: str, count: int = 360) -> TaskData:
    """Rows of three languages in three folds; half of the queries stand in both tasks."""
    rng = np.random.default_rng(TASKS.index(task))
    number = np.arange(count) // 3
    language = np.array(["en", "es", "fr"])[number % 3]
    name = [f"both{n}" if n % 2 else f"{task}{n}" for n in number]
    query = [f"{code} {text}" for code, text in zip(language, name, strict=True)]
    columns = {"id": np.arange(count) + 5, "language": language, "query": query, "query_en": name, "query_group": name}
    targets = rng.choice(PATHS, count) if task == "QC" else [f"title {n}" for n in range(count)]
    table = pd.DataFrame(columns).assign(
        target=targets, label=rng.integers(0, 2, count), fold=number % 5, category_group=""
    )
    return TaskData(task, table, tree=parse(PATHS))


TASKS = ("QC", "QI")


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> dict[str, TaskData]:
    monkeypatch.setattr(arms, "find_noise", lambda train: frozenset(train["id"].iloc[:20]))
    tasks = {task: make_task(task) for task in TASKS}
    return {task: replace(own, expanded=in_polish(own.train)) for task, own in tasks.items()}


def in_polish(train: pd.DataFrame) -> pd.DataFrame:
    return train.assign(source=train["id"], language="pl", id=-1 - train["id"], query="pl " + train["query_en"])


def test_nothing_that_validates_in_a_task_trains_in_any_arm(data: dict[str, TaskData], tmp_path: Path) -> None:
    splits = arms.make_splits(data, PROFILE)
    judged = {scheme: pd.concat([split.other for split in by_task.values()]) for scheme, by_task in splits.items()}
    validation_ids: dict[tuple[str, str], list] = {}
    for plan in arms.make_plans(splits, PROFILE, tmp_path):
        (own,) = plan.recipes
        rows = make_rows(own, plan.data, own.folds[0])
        for table in (rows.train, rows.auxiliary):
            if table is not None:
                assert not set(table["query_en"]) & set(judged[own.scheme]["query_en"]), own.name
                assert own.scheme == "query" or "es" not in set(table["language"]), own.name
        languages = {"es"} if own.scheme == "leave-language" else {"en", "es", "fr"}
        assert 0 < len(rows.validation) <= 30 and set(rows.validation["language"]) == languages
        validation_ids.setdefault((plan.data.task, own.scheme), []).append(rows.validation["id"].tolist())
    assert all(ids == same[0] for same in validation_ids.values() for ids in same)
    assert set(validation_ids) == {(task, scheme) for task in TASKS for scheme in arms.SCHEMES}


def test_every_arm_differs_from_the_base_in_its_switch_alone(data: dict[str, TaskData], tmp_path: Path) -> None:
    splits = arms.make_splits(data, PROFILE)
    plans = arms.make_plans(splits, PROFILE, tmp_path)
    names = [(plan.folder.name, plan.recipes[0].name) for plan in plans]
    assert len(set(names)) == len(names)
    found = dict(zip(names, plans, strict=True))
    for task in TASKS:
        base = arms.find_base(PROFILE, task)
        for scheme, seed in (("query", 0), ("leave-language", 2)):
            split = splits[scheme][task]
            plain = base.with_(scheme=scheme, folds=(split.fold,), seed=PROFILE.seed + seed)
            for arm, changes in (arms.ARMS | (arms.PATH_ARMS if task == "QC" else {})).items():
                plan = found[task, arms.name_of(arm, seed, scheme)]
                expected = {"epochs": 1.5 * base.epochs} if arm == arms.LONGER else changes
                of = "" if arm == arms.BASE else "e5-small"  # an unfit base is an error, any other arm a notice
                assert plan.recipes[0] == plain.with_(name=plan.recipes[0].name, variant_of=of, **expected)
                assert plan.data.train is split.data.train
            tapt = found[task, arms.name_of(arms.TAPT, seed, scheme)].recipes[0]
            assert tapt.auxiliary_rows == len(split.data.auxiliary) > 0
    assert ("QC", "joint-query-0") in found and ("QI", "joint-query-0") not in found
    assert found["QC", "joint-query-0"].recipes[0].max_length == max(
        arms.find_base(PROFILE, task).max_length for task in TASKS
    )
    assert ("QC", "other-family-query-0") in found and ("QI", "other-family-query-0") not in found


def test_the_base_has_none_of_the_ideas_that_a_profile_may_have() -> None:
    changed = profiles.load(
        "laptop", "e5-small.joint=1 e5-small.noisy_labels=drop e5-small.level_markers=true e5-small.typos=0.5"
    )
    assert arms.find_base(changed, "QI") == arms.find_base(LAPTOP, "QI")


def test_parts_are_left_out_once_each_and_cost_as_many_steps(data: dict[str, TaskData], tmp_path: Path) -> None:
    split = arms.make_splits(data, PROFILE)["query"]["QC"]
    left_out = [set(split.train["id"]) - set(split.without(part, 3).train["id"]) for part in range(3)]
    assert set.union(*left_out) == set(split.train["id"]) and sum(map(len, left_out)) == len(split.train)
    validation = set(split.data.train["id"]) - set(split.train["id"])
    assert all(validation <= set(split.without(part, 3).train["id"]) for part in range(3))
    groups = split.train.set_index("id")["query_group"]
    assert all(not set(groups[list(own)]) & set(groups.drop(list(own))) for own in left_out)
    parts = [
        p for p in arms.make_plans({"query": {"QC": split}}, PROFILE, tmp_path) if p.recipes[0].name.startswith("part")
    ]
    rows = [len(make_rows(p.recipes[0], p.data, 0).train) * p.recipes[0].epochs for p in parts]
    assert sum(rows) == pytest.approx(3 * len(split.train) * arms.find_base(PROFILE, "QC").epochs)


def test_base_and_joint_network_answer_the_other_task(data: dict[str, TaskData], tmp_path: Path) -> None:
    splits = arms.make_splits(data, PROFILE)
    answering = {}
    for plan in arms.make_plans(splits, PROFILE, tmp_path):
        own = plan.recipes[0]
        if plan.data.splits:
            (table,) = plan.data.splits.values()
            answering[plan.data.task, own.name] = set(table["task"])
    expected = {("QC", f"joint-{scheme}-{seed}"): {"QI"} for scheme in arms.SCHEMES for seed in range(3)}
    expected |= {(task, f"base-query-{seed}"): {other} for task, other in (TASKS, TASKS[::-1]) for seed in range(3)}
    assert answering == expected


def test_one_task_or_one_language_alone_has_fewer_arms(data: dict[str, TaskData], tmp_path: Path) -> None:
    alone = {"QI": replace(data["QI"], train=data["QI"].train.assign(language="en"))}
    splits = arms.make_splits(alone, PROFILE)
    assert list(splits) == ["query"] and splits["query"]["QI"].other is None
    names = {plan.recipes[0].name.rsplit("-", 2)[0] for plan in arms.make_plans(splits, PROFILE, tmp_path)}
    assert names == {arm.replace(" ", "-") for arm in (*arms.ARMS, arms.PART)}
    assert arms.count_rows(splits)["validated on"].tolist() == ["en"]
    assert set(arms.show_arms().index) == {*arms.ARMS, *arms.PATH_ARMS, *arms.SPECIAL}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


def test_finders_are_measured_against_the_planted_labels(data: dict[str, TaskData], root: Path) -> None:
    run, splits = Run("a"), arms.make_splits(data, PROFILE)
    suspects = sorted(splits["query"]["QC"].data.suspects)
    wrong = {"QC": {*suspects[:5], 10**6}, "QI": None}
    table = noise.measure_finders(splits, run, wrong)
    assert table.index.tolist() == [(task, noise.BASELINES) for task in TASKS]
    assert (
        table.loc[("QC", noise.BASELINES), "precision"] == 5 / 20 and table.loc[("QC", noise.BASELINES), "recall"] == 1
    )
    assert table.loc[("QI", noise.BASELINES)].drop(["rows", "suspects"]).isna().all()
    champion = arms.find_base(PROFILE, "QC")
    recipe.save_all([champion], run.tapt / "final" / "QC")
    label = np.tile([0, 1], 50)
    probability = np.where(np.arange(100) < 4, 1 - label, label) * 0.8 + 0.1
    oof = pd.DataFrame({"id": range(100), "language": "en", "label": label, "probability": probability, "fold": 0})
    write_table(oof, run.final / "QC" / champion.name / "oof.parquet")
    found = noise.measure_finders(splits, run, {"QC": {0, 1, 2, 50}}).loc[("QC", noise.CHAMPION)]
    assert found["suspects"] == 4 and found["precision"] == found["recall"] == 0.75
