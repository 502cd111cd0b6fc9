"""One recipe over its folds: fit or reuse each, and leave the tables that every later step reads."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from utils import folds
from utils.blend import average_folds
from utils.data import cap_queries, read_table, table_hash, tasks_of, write_table
from utils.files import write_json
from utils.fitting import DONE, ENGINE, Bench, Tables, fit_anywhere, fit_baseline
from utils.paths import Run
from utils.recipe import Recipe, facts, fingerprint, save
from utils.schema import CLEAN_COLUMNS, FOLD_COLUMNS, SCORE_COLUMNS, SISTER


@dataclass(frozen=True)
class Question:
    """What a recipe is asked for one task: who teaches and judges, and which rows it answers besides."""

    task: str
    train: pd.DataFrame  # a clean table joined with its folds
    asked: Tables = field(default_factory=dict)  # split -> clean table
    sister: pd.DataFrame | None = None  # the sister task's training rows, for stage 1 of TAPT
    judge_rows: int = 0  # at most so many judged rows a fold (whole queries); 0 = all

    def hash(self, sister: bool) -> str:
        """Fingerprint of everything that a recipe's result hangs on; the sister task only where the recipe reads it."""
        tables = [self.train, *self.asked.values(), *([self.sister] if sister and self.sister is not None else [])]
        return "-".join([self.task, str(self.judge_rows), *map(table_hash, tables)])


def open_question(run: Run, task: str, splits: Sequence[str] = ("test",), judge_rows: int = 0) -> Question:
    """The question of a task as notebooks 02 and 03 left it; the sister task's training rows come with it where they exist.

    A split without a file is left out.
    """
    train = {
        name: read_table(run.clean_table("train", name), CLEAN_COLUMNS) for name in tasks_of(run.clean, "train_{}")
    }
    joined = folds.join_folds(train[task], read_table(run.fold_table(task), FOLD_COLUMNS))
    there = [split for split in splits if run.clean_table(split, task).exists()]
    asked = {split: read_table(run.clean_table(split, task), CLEAN_COLUMNS) for split in there}
    return Question(task, joined, asked, train.get(SISTER[task]), judge_rows)


def _answers(table: pd.DataFrame, probability: np.ndarray, fold: int) -> pd.DataFrame:
    columns = [c for c in SCORE_COLUMNS if c in table and c not in ("probability", "fold")]
    return table[columns].assign(probability=probability, fold=fold).reset_index(drop=True)


def _sister_rows(recipe: Recipe, question: Question, judges: pd.DataFrame) -> pd.DataFrame:
    """The sister task's rows that stage 1 may see: none whose query stands among the judges."""
    if question.sister is None:
        raise ValueError(f"{recipe.name}: the sister task of {question.task} is not in the data; set sister_rows to 0")
    return cap_queries(folds.without_queries(question.sister, judges), recipe.sister_rows, recipe.seed)


def _fit_fold(recipe: Recipe, question: Question, fold: int, folder: Path, tag: str, bench: Bench, keep: bool) -> None:
    start = time.monotonic()
    teachers, judges = folds.split(question.train, recipe.scheme, fold)
    teachers = cap_queries(teachers, recipe.rows, recipe.seed)
    judges = cap_queries(judges, question.judge_rows, recipe.seed)
    for name, table in (("teachers", teachers), ("judges", judges)):
        if table["label"].nunique() < 2:
            raise ValueError(
                f"{question.task} fold {fold}: {len(table)} {name} of one label only; use more rows or fewer folds"
            )
    asked = {name: cap_queries(table, recipe.answer_rows, recipe.seed) for name, table in question.asked.items()}
    tables = {**asked, "oof": judges}
    if recipe.kind == "classifier":
        sister = _sister_rows(recipe, question, judges) if recipe.sister_rows else None
        title = f"{recipe.name} {question.task} fold {fold}"
        answers, told = fit_anywhere(recipe, question.task, teachers, sister, tables, folder, title, tag, bench)
    else:
        answers, told = fit_baseline(recipe, teachers, tables, bench)
    told |= {"seconds": time.monotonic() - start, "teachers": len(teachers), "judges": len(judges)}
    write_json(folder / "facts.json", told)
    for split, table in tables.items():
        write_table(_answers(table, answers[split], fold), folder / f"{split}.parquet")
    spent = [
        *folder.glob(f"**/{DONE}"),
        *folder.glob("stage1/*.safetensors"),
        *(() if keep else folder.glob("*.safetensors")),
    ]
    for file in spent:
        file.unlink()  # the tables stand for the fold now


def _gather_engines(folder: Path) -> None:
    """`engine.json` beside the recipe: what each of its trainings ran on (the ids stand in the folds' own)."""
    told = {str(path.parent.relative_to(folder)): facts(path) for path in sorted(folder.glob(f"fold*/**/{ENGINE}"))}
    if told:
        last = next(reversed(told.values()))
        trainings = {
            name: {k: v for k, v in one.items() if k not in ("ids_by_rank", "config")} for name, one in told.items()
        }
        write_json(
            folder / ENGINE, {k: last[k] for k in ("engine", "zero_stage", "world_size")} | {"trainings": trainings}
        )


def fit_recipe(recipe: Recipe, question: Question, folder: Path, bench: Bench, keep: bool = False) -> pd.DataFrame:
    """Fit a recipe on its folds; a fold whose tables stand beside a `recipe.json` of the same fingerprint is reused.

    Writes `fold<k>/{oof,dev,test}.parquet` (weights too where `keep`), the folds together as `oof.parquet`, their mean as
    `dev.parquet` and `test.parquet`, and `recipe.json`. Returns the out-of-fold table.
    """
    tag = fingerprint(recipe, question.hash(sister=recipe.sister_rows > 0), bench.identity(recipe))
    same = facts(folder / "recipe.json").get("fingerprint") == tag
    tables = ["oof", *question.asked]
    if not same:
        for stale in sorted(folder.glob("fold*/*.parquet")):
            stale.unlink()
        save(recipe, folder / "recipe.json", task=question.task, fingerprint=tag)
    for fold in recipe.folds:
        place = folder / f"fold{fold}"
        if all((place / f"{name}.parquet").exists() for name in tables):
            print(f"  {recipe.name} {question.task} fold {fold}: reused", flush=True)
        else:
            _fit_fold(recipe, question, fold, place, tag, bench, keep)
    save(recipe, folder / "recipe.json", task=question.task, fingerprint=tag)
    _gather_engines(folder)
    found = {name: [read_table(folder / f"fold{fold}" / f"{name}.parquet") for fold in recipe.folds] for name in tables}
    for name, parts in found.items():
        whole = pd.concat(parts, ignore_index=True) if name == "oof" else average_folds(parts)
        write_table(whole, folder / f"{name}.parquet")
    return pd.concat(found["oof"], ignore_index=True)
