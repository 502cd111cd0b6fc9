"""What a changed field of a recipe fits again: each field has its declared reach, and a new one must be declared here."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from utils.core.recipe import LAYOUT, Recipe
from utils.data import folds, taxonomy
from utils.experiment.crossfit import make_job
from utils.experiment.fit import Job
from utils.experiment.task_data import TaskData

RECIPE = Recipe("a", "gemma", "gemma-3-270m", pooling="last", seed=3)
NOTHING, ANSWERS, ROWS, TRAINING = "nothing", "answers alone", "where rows change", "everything"
# Field -> what a change fits again, another value, and for `ROWS` one that changes no row of some task.
REACH: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("name", "variant_of"), (NOTHING, "b")),
    "folds": (NOTHING, (0, 1)),
    **dict(zip(LAYOUT, [(NOTHING, value) for value in ("rows", 64, 64, 64, "eager", True, True, 2, True)], strict=True)),
    "answer_rows": (ANSWERS, 6),
    "scheme": (ROWS, "strict", "QI", "strict"),
    "rows": (ROWS, 40, "QC", 10_000),
    "auxiliary_rows": (ROWS, 20, "QC", 0),
    "expansion": (ROWS, 0.5, "QC", 1e-6),
    "typos": (ROWS, 0.5, "QC", 1e-6),
    "joint": (ROWS, 0.5, "QC", 0.0),
    "parents": (ROWS, 0.5, "QI", 0.5),
    "siblings": (ROWS, 0.5, "QI", 0.5),
    "level_dropout": (ROWS, 0.5, "QI", 0.5),
    "level_markers": (ROWS, True, "QI", True),
    "noisy_labels": (ROWS, "drop", "QI", "drop"),
    "family": (TRAINING, "qwen"), "model": (TRAINING, "multilingual-e5-small"), "kind": (TRAINING, "overlap"),
    "translation": (TRAINING, False), "query_first": (TRAINING, False), "max_length": (TRAINING, 48),
    "architecture": (TRAINING, "bi-encoder"), "pooling": (TRAINING, "mean"), "tuning": (TRAINING, "full"),
    "frozen_layers": (TRAINING, 1), "lora_rank": (TRAINING, 4), "lora_alpha": (TRAINING, 4), "lora_dropout": (TRAINING, 0.1),
    "dropout": (TRAINING, 0.1), "learning_rate": (TRAINING, 1e-3), "head_rate": (TRAINING, 2.0), "schedule": (TRAINING, "constant"),
    "warmup": (TRAINING, 0.2), "weight_decay": (TRAINING, 0.1), "clip": (TRAINING, 2.0), "epochs": (TRAINING, 2.0),
    "batch_rows": (TRAINING, 8), "share_rows": (TRAINING, 4), "precision": (TRAINING, "bfloat16"), "quantisation": (TRAINING, "nf4"),
    "seed": (TRAINING, 4),
}  # fmt: skip


def make_rows(task: str, count: int = 120) -> pd.DataFrame:
    """Labelled rows, two for each query, in folds and category folds."""
    number = np.arange(count)
    query = [f"lovely shoe {place // 2}" for place in number]
    path = [f"top {place % 3},middle {place % 6},low {place % 24}" for place in number]
    table = pd.DataFrame(
        {"id": number, "language": np.array(["en", "es"])[number // 2 % 2], "query": query, "query_en": query}
    )
    table = table.assign(
        label=number % 2, fold=number // 2 % 3, query_group=table["query"], origin_query=table["query"]
    )
    if task == "QI":
        return table.assign(target=[f"title {place}" for place in number], category_group="")
    return table.assign(
        target=path, category_group=[text.rpartition(",")[0] for text in path], category_fold=number % 3
    )


def make_data(task: str) -> TaskData:
    train, other = make_rows(task), make_rows("QI" if task == "QC" else "QC", 80)
    other = other.assign(**{name: "other " + other[name] for name in ("query", "query_en")})
    expanded = train.assign(source=train["id"], id=-1 - train["id"], language="pl", query="pl " + train["query"])
    suspects = frozenset(train["id"][:9]) if task == "QC" else frozenset()
    tree = taxonomy.parse(make_rows("QC")["target"])
    return TaskData(task, train, {"test": train.tail(20), "dev": train.head(30)}, other, 0, expanded, tree, suspects)


DATA = {task: make_data(task) for task in ("QC", "QI")}


def job(task: str = "QC", **changes: object) -> Job:
    return make_job(RECIPE.with_(**changes), DATA[task], 0, None, "weights")


def test_every_field_of_a_recipe_is_declared() -> None:
    assert set(REACH) == {field.name for field in fields(Recipe)}
    assert all(getattr(RECIPE, name) != value for name, (_, value, *_) in REACH.items())


@pytest.mark.parametrize("field", REACH)
def test_a_changed_field_fits_again_what_hangs_on_it(field: str) -> None:
    reach, value, *idle = REACH[field]
    before, after = job(), job(**{field: value})
    answered = {split for split, tag in after.answer_tags.items() if before.answer_tags[split] != tag}
    assert (after.tag != before.tag) == (reach in (ROWS, TRAINING))
    assert answered == {NOTHING: set(), ANSWERS: {"test", "dev"}}.get(reach, {"oof", "test", "dev"})
    if reach == ROWS:
        task, value = idle
        before, after = job(task), job(task, **{field: value})
        assert (after.tag, after.answer_tags) == (before.tag, before.answer_tags)


def test_a_share_of_no_rows_of_the_other_task_is_not_all_of_them() -> None:
    assert len(job(joint=1e-3).train) - len(job().train) <= 1 < len(job(joint=0.5).train) - len(job().train)


def test_a_number_of_auxiliary_rows_that_changes_none_fits_nothing_again() -> None:
    few, many = job(auxiliary_rows=10_000), job(auxiliary_rows=20_000)
    assert few.auxiliary is not None and few.tag == many.tag != job().tag


def test_folds_of_another_profile_fit_again_where_their_rows_change() -> None:
    """A fold's tag is that of its rows: what a profile's seed, depth or number of folds makes of them, and no more."""
    moved = DATA["QC"].train.assign(fold=lambda table: (table["fold"] + (table["id"] >= 100)) % 3)
    deeper = DATA["QC"].train.assign(category_group=DATA["QC"].train["target"])
    jobs = [make_job(RECIPE, replace(DATA["QC"], train=train), 0, None, "weights") for train in (moved, deeper)]
    assert jobs[0].tag != job().tag and jobs[1].tag == job().tag
    assert folds.keeps_english(moved)
