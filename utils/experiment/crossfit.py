"""Candidates over their folds: fit or reuse each, and leave the tables that every later step reads."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from utils.core.errors import DataError, PartDone
from utils.core.files import write_json
from utils.core.recipe import Recipe, fingerprint, fold_folders, read_facts, read_fold_facts, save
from utils.core.schema import ordered
from utils.data.predictions import average_folds
from utils.data.tables import read_table, sample_queries, table_hash, write_table
from utils.data.text import TEXT_VERSION
from utils.experiment import baselines
from utils.experiment.augmentation import mark_levels
from utils.experiment.fit import ENGINE, TRAINING_VERSION, Job, is_trained
from utils.experiment.jobs import run_jobs, share_jobs
from utils.experiment.runtime import Runtime
from utils.experiment.task_data import TaskData, UnfitError, make_rows
from utils.profiles.base import HELD_OUT

TRAINED_ON = ("id", "query", "query_en", "target", "label")  # what a training reads of its rows
ANSWERED = ("id", "language", "query", "query_en", "target")  # what an answer reads
VERSIONS = (f"text {TEXT_VERSION}", f"training {TRAINING_VERSION}", f"baselines {baselines.VERSION}")


def make_job(recipe: Recipe, data: TaskData, fold: int, folder: Path, weights: str = "", keep: bool = False) -> Job:
    """One fold of a recipe as a job with its fingerprints; `weights` is the identity of what it starts from.

    Raises UnfitError where its training or validation rows have one label only.
    """
    train, auxiliary, validation, count = make_rows(recipe, data, fold)
    tables = {split: sample_queries(table, recipe.answer_rows, recipe.seed) for split, table in data.splits.items()}
    tables = {split: mark_levels(table, data.task, recipe, data.tree) for split, table in tables.items()}
    tables["oof"] = validation
    rows = [content_hash(table, TRAINED_ON) for table in (train, auxiliary) if table is not None]
    tag = fingerprint(recipe, data.task, weights, *VERSIONS, *rows)
    answers = {split: fingerprint(recipe, tag, content_hash(table, ANSWERED)) for split, table in tables.items()}
    held_out = recipe.scheme == "leave-language"
    name = recipe.variant_of if recipe.name == HELD_OUT else recipe.name
    title = f"{name} {data.task} " + (f"without {validation['language'].iloc[0]}" if held_out else f"fold {fold}")
    return Job(recipe, data.task, fold, train, auxiliary, tables, folder, title, tag, answers, keep, count)


def content_hash(table: pd.DataFrame, columns: Sequence[str]) -> str:
    """Hash of the values of some columns, and of `task` where the rows are of both."""
    return table_hash(table[[*columns, *(["task"] if "task" in table else [])]])


def missing_answers(job: Job) -> list[str]:
    """The splits whose tables do not stand in the job's folder with the job's fingerprints."""
    stated = read_facts(job.folder / "facts.json").get("answers", {})
    return [
        split for split, tag in job.answer_tags.items()
        if stated.get(split) != tag or not (job.folder / f"{split}.parquet").exists()
    ]  # fmt: skip


def list_jobs(
    recipes: Sequence[Recipe], data: TaskData, folder: Path, runtime: Runtime, keep: bool = False
) -> list[Job]:
    """The jobs of some recipes, finished or not, one per fold.

    A side comparison that these rows do not allow (a baseline, a variant, a held-out language) is left out with a
    notice; for any other candidate DataError is raised.
    """
    jobs = []
    for recipe in recipes:
        identity = runtime.identity(recipe)
        for fold in recipe.folds:
            try:
                jobs.append(make_job(recipe, data, fold, folder / recipe.name / f"fold{fold}", identity, keep))
            except UnfitError as reason:
                if recipe.kind == "classifier" and not recipe.variant_of and recipe.scheme != "leave-language":
                    raise DataError(f"train_{data.task}.txt:1: {reason}") from None
                print(f"notice: skipped: {reason}", flush=True)
                shutil.rmtree(folder / recipe.name / f"fold{fold}", ignore_errors=True)  # of former rows
    return jobs


def find_missing(jobs: Sequence[Job]) -> list[Job]:
    """The jobs without tables for the same recipe on the same rows, weights and code, each with the tables that it lacks.

    Where a fold's weights stand for the same training, the missing tables alone are answered.
    """
    found = []
    for job in jobs:
        missing = missing_answers(job)
        if not missing:
            print(f"  {job.title}: reused", flush=True)
            continue
        answers_only = job.keep and is_trained(job.folder, job.tag)
        found.append(replace(job, tables={split: job.tables[split] for split in missing}) if answers_only else job)
    return found


def gather(recipe: Recipe, data: TaskData, folder: Path, runtime: Runtime) -> None:
    """A recipe's folds together: `oof.parquet`, the folds' mean as `dev.parquet` and `test.parquet`, `recipe.json` and `engine.json`.

    A recipe without a finished fold leaves nothing.
    """
    finished = [fold for fold in recipe.folds if (folder / f"fold{fold}" / "oof.parquet").exists()]
    if not finished:
        shutil.rmtree(folder, ignore_errors=True)  # the tables of a former fold, whose rows are not there any more
        return
    facts = [read_fold_facts(folder, fold) for fold in finished]
    tag = fingerprint(recipe, *(json.dumps(fact["answers"], sort_keys=True) for fact in facts))
    save(recipe, folder / "recipe.json", task=data.task, fingerprint=tag, weights=runtime.identity(recipe))
    _gather_engines(folder)
    for path in folder.glob("*.parquet"):  # of a split that is not answered any more
        if path.stem not in ("oof", *data.splits):
            path.unlink()
    for name in ("oof", *data.splits):
        parts = [read_table(folder / f"fold{fold}" / f"{name}.parquet") for fold in finished]
        whole = pd.concat(parts, ignore_index=True) if name == "oof" else average_folds(parts)
        write_table(_label(whole, data.train if name == "oof" else data.splits[name]), folder / f"{name}.parquet")


def _label(answers: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Answers with the labels that the rows have now: no answer hangs on them, so answers stay where a label was corrected."""
    return answers.assign(label=answers["id"].map(rows.set_index("id")["label"])) if "label" in answers else answers


def _gather_engines(folder: Path) -> None:
    """`engine.json` beside the recipe: what each of its trainings ran on (the ids stand in the folds' own)."""
    trainings = {}
    for path in (path for own in fold_folders(folder) for path in sorted(own.glob(f"**/{ENGINE}"))):
        engine = read_facts(path)
        trainings[str(path.parent.relative_to(folder))] = {
            key: value for key, value in engine.items() if key not in ("ids_by_rank", "config")
        }
    if trainings:
        shared = {key: engine[key] for key in ("engine", "zero_stage", "world_size")}
        write_json(folder / ENGINE, shared | {"trainings": trainings})


def fit_recipes(
    recipes: Mapping[str, Sequence[Recipe]],
    data: Mapping[str, TaskData],
    folder: Path,
    runtime: Runtime,
    keep: bool = False,
) -> None:
    """Fit the recipes of every task, each in `folder/<task>/<recipe>`, as one list of jobs on this machine's devices.

    Writes `fold<k>/{oof,dev,test}.parquet` (weights too where `keep`) and what `gather` makes of them.
    """
    fit_plans([Plan(recipes[task], data[task], folder / task, keep) for task in recipes], runtime)


@dataclass(frozen=True)
class Plan:
    """Recipes of a task, and the folder that gets a folder for each."""

    recipes: Sequence[Recipe]
    data: TaskData
    folder: Path
    keep: bool = False


def fit_plans(plans: Sequence[Plan], runtime: Runtime) -> None:
    """All jobs of several plans as one list, then the tables of each recipe.

    Of a runtime that is one of several parts, its share of the jobs; then raises PartDone.
    """
    jobs = [job for plan in plans for job in list_jobs(plan.recipes, plan.data, plan.folder, runtime, plan.keep)]
    run_jobs(find_missing(share_jobs(jobs, runtime)), runtime)
    if runtime.part is not None:
        raise PartDone(runtime.part)
    for plan in plans:
        for recipe in plan.recipes:
            gather(recipe, plan.data, plan.folder / recipe.name, runtime)


def fit_finals(
    finals: Mapping[str, Sequence[Recipe]], held_out: Mapping[str, Mapping[str, Recipe]], data: Mapping[str, TaskData], folder: Path,
    validation_rows: int, runtime: Runtime,
) -> None:  # fmt: skip
    """Fit the finals of every task, and the recipes of `held_out` (final -> recipe), which answer at most
    `validation_rows` rows per language.

    Finals lie in `folder/<task>/<recipe>` with their weights, each held-out recipe in its final's folder.
    """
    plans = [Plan(finals[task], data[task], folder / task, keep=True) for task in finals]
    for task, recipes in held_out.items():
        # Former answers of a recipe that is not held out now are no member's any more.
        for name in {final.name for final in finals[task]} - set(recipes):
            shutil.rmtree(folder / task / name / HELD_OUT, ignore_errors=True)
        own = replace(data[task], splits={}, validation_rows=validation_rows)
        plans += [Plan([recipe], own, folder / task / name) for name, recipe in recipes.items()]
    fit_plans(plans, runtime)


def describe_folds(recipes: Sequence[Recipe], folder: Path) -> pd.DataFrame:
    """What was measured in each fold's training, one row per (recipe, fold)."""
    hidden = ("training", "answers")  # fingerprints
    rows = {}
    for recipe in recipes:
        for fold in recipe.folds:
            if (folder / recipe.name / f"fold{fold}" / "facts.json").exists():
                facts = read_fold_facts(folder / recipe.name, fold)
                rows[recipe.name, fold] = {name: value for name, value in facts.items() if name not in hidden}
    return pd.DataFrame(rows).T.rename_axis(["recipe", "fold"])


def read_logs(folder: Path, tasks: Sequence[str]) -> pd.DataFrame:
    """Training losses of every network below a folder: `run, step, loss`."""
    parts = []
    for task in tasks:
        folds = [own for path in sorted((folder / task).glob("*/recipe.json")) for own in fold_folders(path.parent)]
        for log in (own / "log.parquet" for own in folds if (own / "log.parquet").exists()):
            parts.append(read_table(log).assign(run=f"{task} {log.parents[1].name} {log.parent.name}"))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["run", "step", "loss"])


def mean_probabilities(recipes: Sequence[Recipe], folder: Path, split: str) -> pd.DataFrame:
    """Mean probability by language (rows) and recipe (columns) of a split's answers."""
    files = {recipe.name: folder / recipe.name / f"{split}.parquet" for recipe in recipes}
    tables = {name: read_table(path) for name, path in files.items() if path.exists()}
    means = pd.DataFrame({name: table.groupby("language")["probability"].mean() for name, table in tables.items()})
    return means.reindex(ordered(list(means.index)))
