"""One recipe over its folds: fit or reuse each, and leave the tables that every later step reads."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn
from transformers import PreTrainedTokenizerFast

from utils import baselines, folds, models, packing, weights
from utils.blend import average_folds
from utils.data import cap_queries, read_table, table_hash, tasks_of, write_table
from utils.files import write_json
from utils.paths import Run
from utils.progress import Style
from utils.recipe import Recipe, facts, fingerprint, save
from utils.schema import CLEAN_COLUMNS, FOLD_COLUMNS, SCORE_COLUMNS, SISTER
from utils.score import cosines, predict
from utils.train import clear_checkpoint, fit

DONE = "trained.json"  # between the end of a training and its tables
PROBE = 64  # rows on which the continuation from stage 1 to stage 2 is proved
CONTINUES = 1e-3  # logits that differ by more are not a continuation


Tables = dict[str, pd.DataFrame]  # split -> rows; `oof` are the judges


@dataclass(frozen=True)
class Question:
    """What a recipe is asked for one task: who teaches and judges, and which rows it answers besides."""

    task: str
    train: pd.DataFrame  # a clean table joined with its folds
    asked: Tables = field(default_factory=dict)  # split -> clean table
    sister: pd.DataFrame | None = None  # the sister task's training rows, for stage 1 of TAPT
    judge_rows: int = 0  # at most so many judged rows a fold (whole queries); 0 = all
    network_rows: int = 0  # at most so many asked rows a split where a network answers; 0 = all

    def hash(self, sister: bool) -> str:
        """Fingerprint of everything that a recipe's result hangs on; the sister task only where the recipe reads it."""
        tables = [self.train, *self.asked.values(), *([self.sister] if sister and self.sister is not None else [])]
        return "-".join([self.task, str(self.judge_rows), str(self.network_rows), *map(table_hash, tables)])


@dataclass(frozen=True)
class Bench:
    """Where weights are looked for, and how progress is shown: nothing that changes a result."""

    models: Path | None = None
    offline: bool = True
    style: Style = "bar"

    def weights(self, recipe: Recipe) -> Path:
        return weights.resolve(recipe.model, self.models, self.offline)


def open_bench(folder: str, offline: bool, style: Style) -> Bench:
    """The bench that a notebook's parameters describe; an empty folder is none."""
    return Bench(Path(folder) if folder else None, offline, style)


def join_folds(clean: pd.DataFrame, dealt: pd.DataFrame) -> pd.DataFrame:
    """A clean training table with its folds, joined by id; rows outside the folds (over the cap) are left out."""
    return clean.merge(dealt, on="id", how="inner", validate="one_to_one")


def open_question(
    run: Run, task: str, splits: Sequence[str] = ("test",), judge_rows: int = 0, network_rows: int = 0
) -> Question:
    """The question of a task as notebooks 02 and 03 left it; the sister task's training rows come with it where they exist.

    A split without a file is left out.
    """
    train = {
        name: read_table(run.clean_table("train", name), CLEAN_COLUMNS) for name in tasks_of(run.clean, "train_{}")
    }
    joined = join_folds(train[task], read_table(run.fold_table(task), FOLD_COLUMNS))
    there = [split for split in splits if run.clean_table(split, task).exists()]
    asked = {split: read_table(run.clean_table(split, task), CLEAN_COLUMNS) for split in there}
    return Question(task, joined, asked, train.get(SISTER[task]), judge_rows, network_rows)


def _answers(table: pd.DataFrame, probability: np.ndarray, fold: int) -> pd.DataFrame:
    columns = [c for c in SCORE_COLUMNS if c in table and c not in ("probability", "fold")]
    return table[columns].assign(probability=probability, fold=fold).reset_index(drop=True)


@dataclass(frozen=True)
class _Trainer:
    """One fold's training: the recipe, its base weights, the folder it fills, the fingerprint it trains for."""

    recipe: Recipe
    task: str
    base: Path
    tag: str
    style: Style

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        return models.load_tokenizer(self.base)

    def encode(self, table: pd.DataFrame, task: str) -> packing.Encoded:
        return packing.encode(table, task, self.tokenizer, self.recipe, models.is_encoder(self.base))

    def log_odds(self, model: nn.Module, rows: packing.Encoded) -> list[float]:
        """Of the rows, with dropout off: what proves that one training begins where another ended."""
        probability = predict(model.eval(), rows, self.recipe.score_tokens, self.tokenizer.pad_token_id, "", "none")
        return (np.log(probability) - np.log1p(-probability)).tolist()

    def train(
        self, table: pd.DataFrame, task: str, folder: Path, title: str, probe: packing.Encoded, previous: Path | None
    ) -> dict[str, Any]:
        """Train from the base, or on from a `previous` stage, unless that was done and only the scoring was interrupted.

        Returns speeds and the log-odds of the probe before and after. Raises RuntimeError if a stage does not begin
        where the previous one ended.
        """
        done = facts(folder / DONE)
        if done.get("tag") == self.tag:
            return done
        model = models.make_trainable(models.load_network(self.recipe, self.base), self.recipe, previous).to(
            models.device()
        )
        told: dict[str, Any] = {"tag": self.tag, "begin": self.log_odds(model, probe)}
        if previous is not None and difference(told["begin"], facts(previous / DONE)["end"]) > CONTINUES:
            raise RuntimeError(
                f"{title}: training does not begin where {previous.name} ended; the trained part was not continued"
            )
        rows, label = self.encode(table, task), table["label"].to_numpy()
        found = fit(model, rows, label, self.recipe, self.tokenizer.pad_token_id, folder, self.tag, title, self.style)
        told |= {"end": self.log_odds(model, probe), "rows": len(table), "train_rows_per_s": found.rows_per_s}
        told |= {"parameters": sum(p.numel() for p in model.parameters()), "targets_cut": rows.cut}
        models.save_trained(model, folder)
        write_table(found.log, folder / "log.parquet")
        write_json(folder / DONE, told)
        clear_checkpoint(folder)
        return told


def difference(left: list[float], right: list[float]) -> float:
    """Largest absolute difference of two lists."""
    return float(np.abs(np.subtract(left, right)).max())


def _sister_rows(recipe: Recipe, question: Question, judges: pd.DataFrame) -> pd.DataFrame:
    """The sister task's rows that stage 1 may see: none whose query stands among the judges."""
    if question.sister is None:
        raise ValueError(f"{recipe.name}: the sister task of {question.task} is not in the data; set sister_rows to 0")
    return cap_queries(folds.without_queries(question.sister, judges), recipe.sister_rows, recipe.seed)


def _fit_network(
    recipe: Recipe,
    question: Question,
    teachers: pd.DataFrame,
    tables: Tables,
    fold: int,
    folder: Path,
    tag: str,
    bench: Bench,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Train one network and let it answer each of the tables; returns the answers and what the training told."""
    trainer = _Trainer(recipe, question.task, bench.weights(recipe), tag, bench.style)
    title = f"{recipe.name} {question.task} fold {fold}"
    probe = trainer.encode(tables["oof"].head(PROBE), question.task)
    previous, told = None, {}
    if recipe.sister_rows:
        sister = _sister_rows(recipe, question, tables["oof"])
        previous = folder / "stage1"
        first = trainer.train(
            sister, SISTER[question.task], previous, f"{title}, first on {SISTER[question.task]}", probe, None
        )
    second = trainer.train(teachers, question.task, folder, title, probe, previous)
    if previous is not None:
        told["max_logit_difference"] = difference(second["begin"], first["end"])
        told["base_logit_difference"] = difference(second["begin"], first["begin"])
        told["sister_rows"] = first["rows"]
    scorer, answers = models.load_scorer(recipe, trainer.base, folder), {}
    start = time.monotonic()
    for split, table in tables.items():
        rows = trainer.encode(table, question.task)
        pad_id = trainer.tokenizer.pad_token_id
        answers[split] = predict(scorer, rows, recipe.score_tokens, pad_id, f"{title}, {split}", bench.style)
    told["score_rows_per_s"] = sum(map(len, tables.values())) / (time.monotonic() - start)
    return answers, told | {key: second[key] for key in ("train_rows_per_s", "parameters", "targets_cut")}


def _fit_baseline(
    recipe: Recipe, teachers: pd.DataFrame, tables: Tables, bench: Bench
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The same for a rung that trains no network."""
    start, parameters = time.monotonic(), 0
    asked = list(tables.values())
    if recipe.kind == "constant":
        found = baselines.constant(teachers, asked)
    elif recipe.kind == "zeroshot":
        base = bench.weights(recipe)
        model = models.load_network(recipe, base).to(models.device()).eval()
        parameters = sum(p.numel() for p in model.parameters())
        tokenizer = models.load_tokenizer(base)
        found = baselines.from_cosines(
            teachers, [cosines(model, t, tokenizer) for t in (teachers, *asked)], recipe.seed
        )
    else:
        method = {"tfidf": baselines.tfidf, "overlap": baselines.overlap}[recipe.kind]
        found = method(teachers, asked, recipe.translation, recipe.seed)
    speed = (len(teachers) + sum(map(len, asked))) / max(1e-3, time.monotonic() - start)
    told = {"train_rows_per_s": speed, "score_rows_per_s": speed, "parameters": parameters}
    return dict(zip(tables, found, strict=True)), told


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
    network = recipe.kind == "classifier"
    asked = {
        name: cap_queries(table, question.network_rows if network else 0, recipe.seed)
        for name, table in question.asked.items()
    }
    tables = {**asked, "oof": judges}
    if network:
        answers, told = _fit_network(recipe, question, teachers, tables, fold, folder, tag, bench)
    else:
        answers, told = _fit_baseline(recipe, teachers, tables, bench)
    told |= {"seconds": time.monotonic() - start, "teachers": len(teachers), "judges": len(judges)}
    write_json(folder / "facts.json", told)
    for split, table in tables.items():
        write_table(_answers(table, answers[split], fold), folder / f"{split}.parquet")
    for spent in (*folder.glob(f"**/{DONE}"), *(() if keep else folder.glob("**/*.safetensors"))):
        spent.unlink()  # the tables stand for the fold now


def fit_recipe(recipe: Recipe, question: Question, folder: Path, bench: Bench, keep: bool = False) -> pd.DataFrame:
    """Fit a recipe on its folds; a fold whose tables stand beside a `recipe.json` of the same fingerprint is reused.

    Writes `fold<k>/{oof,dev,test}.parquet` (weights too where `keep`), the folds together as `oof.parquet`, their mean as
    `dev.parquet` and `test.parquet`, and `recipe.json`. Returns the out-of-fold table.
    """
    tag = fingerprint(recipe, question.hash(sister=recipe.sister_rows > 0))
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
    found = {name: [read_table(folder / f"fold{fold}" / f"{name}.parquet") for fold in recipe.folds] for name in tables}
    for name, parts in found.items():
        whole = pd.concat(parts, ignore_index=True) if name == "oof" else average_folds(parts)
        write_table(whole, folder / f"{name}.parquet")
    return pd.concat(found["oof"], ignore_index=True)


def fold_facts(folder: Path, fold: int) -> dict[str, Any]:
    """What a fold's training told: speeds, seconds, parameters, rows, and the proof of a continuation."""
    return json.loads((folder / f"fold{fold}" / "facts.json").read_text("utf-8"))
