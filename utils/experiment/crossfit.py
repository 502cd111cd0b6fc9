"""One candidate over its folds: fit or reuse each, and leave the tables that every later step reads."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from utils.core.files import write_json
from utils.core.paths import Run
from utils.core.recipe import Recipe, fingerprint, read_facts, read_fold_facts, save
from utils.core.schema import AUXILIARY, CLEAN_COLUMNS, FOLD_COLUMNS, ordered
from utils.data import folds
from utils.data.predictions import average_folds, to_predictions
from utils.data.tables import read_table, sample_queries, table_hash, tasks_of, write_table
from utils.experiment.fit import DONE, ENGINE, Job, Tables, fit_baseline
from utils.experiment.jobs import fit_anywhere
from utils.experiment.runtime import Runtime


@dataclass(frozen=True)
class TaskData:
    """The rows of one task: what is split into training and validation rows, and the splits that are answered besides."""

    task: str
    train: pd.DataFrame  # a clean table joined with its folds
    splits: Tables = field(default_factory=dict)  # split -> clean table
    auxiliary: pd.DataFrame | None = None  # the auxiliary task's training rows, for stage 1 of TAPT
    validation_rows: int = 0  # at most so many validation rows per fold (whole queries); 0 = all

    def count_rows(self) -> pd.Series:
        """Rows of each split that is answered."""
        return pd.Series({split: len(table) for split, table in self.splits.items()})

    def hash(self, auxiliary: bool) -> str:
        """Fingerprint of everything that a recipe's result hangs on; the auxiliary task only where the recipe reads it."""
        tables = [self.train, *self.splits.values()]
        if auxiliary and self.auxiliary is not None:
            tables.append(self.auxiliary)
        return "-".join([self.task, str(self.validation_rows), *map(table_hash, tables)])


def load_task_data(run: Run, task: str, splits: Sequence[str] = ("test",), validation_rows: int = 0) -> TaskData:
    """A task's rows as notebooks 02 and 03 left them, with the auxiliary task's training rows where they exist.

    A split without a file is left out.
    """
    train = {
        name: read_table(run.clean_table("train", name), CLEAN_COLUMNS) for name in tasks_of(run.clean, "train_{}")
    }
    joined = folds.join_folds(train[task], read_table(run.fold_table(task), FOLD_COLUMNS))
    there = [split for split in splits if run.clean_table(split, task).exists()]
    tables = {split: read_table(run.clean_table(split, task), CLEAN_COLUMNS) for split in there}
    return TaskData(task, joined, tables, train.get(AUXILIARY[task]), validation_rows)


def auxiliary_rows(recipe: Recipe, data: TaskData, validation: pd.DataFrame) -> pd.DataFrame:
    """The auxiliary task's rows that stage 1 may see: none whose query stands among the validation rows.

    Raises ValueError where the data holds no auxiliary task.
    """
    if data.auxiliary is None:
        raise ValueError(
            f"{recipe.name}: the auxiliary task of {data.task} is not in the data; set auxiliary_rows to 0"
        )
    return sample_queries(folds.without_queries(data.auxiliary, validation), recipe.auxiliary_rows, recipe.seed)


def make_job(recipe: Recipe, data: TaskData, fold: int, folder: Path, tag: str) -> Job:
    """One fold of a recipe as a job: its rows capped as the recipe says. Raises ValueError where all have one label."""
    train, validation = folds.split(data.train, recipe.scheme, fold)
    train = sample_queries(train, recipe.rows, recipe.seed)
    validation = sample_queries(validation, data.validation_rows, recipe.seed)
    for name, table in (("training", train), ("validation", validation)):
        if table["label"].nunique() < 2:
            raise ValueError(
                f"{data.task} fold {fold}: {len(table)} {name} rows of one label only; use more rows or fewer folds"
            )
    tables = {split: sample_queries(table, recipe.answer_rows, recipe.seed) for split, table in data.splits.items()}
    auxiliary = auxiliary_rows(recipe, data, validation) if recipe.auxiliary_rows else None
    title = f"{recipe.name} {data.task} fold {fold}"
    return Job(recipe, data.task, train, auxiliary, {**tables, "oof": validation}, folder, title, tag)


def _fit_fold(job: Job, fold: int, runtime: Runtime, keep: bool) -> None:
    start = time.monotonic()
    fit_any = fit_anywhere if job.recipe.kind == "classifier" else fit_baseline
    probabilities, stats = fit_any(job, runtime)
    rows = {"train_rows": len(job.train), "validation_rows": len(job.tables["oof"])}
    write_json(job.folder / "facts.json", stats | rows | {"seconds": time.monotonic() - start})
    for split, table in job.tables.items():
        write_table(to_predictions(table, probabilities[split], fold), job.folder / f"{split}.parquet")
    spent = [*job.folder.glob(f"**/{DONE}"), *job.folder.glob("stage1/*.safetensors")]
    if not keep:
        spent += job.folder.glob("*.safetensors")
    for file in spent:
        file.unlink()  # the tables stand for the fold now


def _gather_engines(folder: Path) -> None:
    """`engine.json` beside the recipe: what each of its trainings ran on (the ids stand in the folds' own)."""
    trainings = {}
    for path in sorted(folder.glob(f"fold*/**/{ENGINE}")):
        engine = read_facts(path)
        trainings[str(path.parent.relative_to(folder))] = {
            key: value for key, value in engine.items() if key not in ("ids_by_rank", "config")
        }
    if trainings:
        shared = {key: engine[key] for key in ("engine", "zero_stage", "world_size")}
        write_json(folder / ENGINE, shared | {"trainings": trainings})


def fit_recipe(recipe: Recipe, data: TaskData, folder: Path, runtime: Runtime, keep: bool = False) -> None:
    """Fit a recipe on its folds; a fold whose tables stand beside a `recipe.json` of the same fingerprint is reused.

    Writes `fold<k>/{oof,dev,test}.parquet` (weights too where `keep`), the folds together as `oof.parquet`, their mean as
    `dev.parquet` and `test.parquet`, and `recipe.json`.
    """
    tag = fingerprint(recipe, data.hash(auxiliary=recipe.auxiliary_rows > 0), runtime.identity(recipe))
    names = ["oof", *data.splits]
    if read_facts(folder / "recipe.json").get("fingerprint") != tag:
        for stale in sorted(folder.glob("fold*/*.parquet")):
            stale.unlink()
        save(recipe, folder / "recipe.json", task=data.task, fingerprint=tag)
    for fold in recipe.folds:
        place = folder / f"fold{fold}"
        if all((place / f"{name}.parquet").exists() for name in names):
            print(f"  {recipe.name} {data.task} fold {fold}: reused", flush=True)
        else:
            _fit_fold(make_job(recipe, data, fold, place, tag), fold, runtime, keep)
    save(recipe, folder / "recipe.json", task=data.task, fingerprint=tag)
    _gather_engines(folder)
    for name in names:
        parts = [read_table(folder / f"fold{fold}" / f"{name}.parquet") for fold in recipe.folds]
        whole = pd.concat(parts, ignore_index=True) if name == "oof" else average_folds(parts)
        write_table(whole, folder / f"{name}.parquet")


def fit_recipes(recipes: Sequence[Recipe], data: TaskData, folder: Path, runtime: Runtime, keep: bool = False) -> None:
    """`fit_recipe` for each, in a folder of its name."""
    for recipe in recipes:
        fit_recipe(recipe, data, folder / recipe.name, runtime, keep)


def describe_folds(recipes: Sequence[Recipe], folder: Path) -> pd.DataFrame:
    """What was measured in each fold's training, one row per (recipe, fold)."""
    rows = {(r.name, fold): read_fold_facts(folder / r.name, fold) for r in recipes for fold in r.folds}
    return pd.DataFrame(rows).T.rename_axis(["recipe", "fold"])


def read_logs(folder: Path, tasks: Sequence[str]) -> pd.DataFrame:
    """Training losses of every network below a folder: `run, step, loss`."""
    parts = []
    for task in tasks:
        for log in sorted((folder / task).glob("*/fold*/log.parquet")):
            parts.append(read_table(log).assign(run=f"{task} {log.parents[1].name} {log.parent.name}"))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["run", "step", "loss"])


def mean_probabilities(recipes: Sequence[Recipe], folder: Path, split: str) -> pd.DataFrame:
    """Mean probability by language (rows) and recipe (columns) of a split's answers."""
    tables = {recipe.name: read_table(folder / recipe.name / f"{split}.parquet") for recipe in recipes}
    means = pd.DataFrame({name: table.groupby("language")["probability"].mean() for name, table in tables.items()})
    return means.reindex(ordered(list(means.index)))
