"""One training: rows in, probabilities out, for a network in one or two stages and for the candidates without training."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file
from torch import nn
from transformers import PreTrainedTokenizerFast

from utils.core.files import write_json, write_with
from utils.core.progress import Style
from utils.core.recipe import Recipe, read_facts
from utils.core.schema import AUXILIARY
from utils.data.tables import write_table
from utils.experiment import baselines
from utils.experiment.runtime import Runtime
from utils.models import build, precision, trained
from utils.training import engines, ranks, tokens
from utils.training.loop import FitResult, clear_checkpoint, fit
from utils.training.predict import cosines, predict

DONE = "trained.json"  # between the end of a training and its tables
BASELINE = "baseline.safetensors"  # the arrays of a candidate without a trained network
ENGINE = "engine.json"  # which engine trained, and which process computed which rows
MEASURED = ("train_rows_per_s", "parameters", "targets_truncated", "queries_truncated", "english_truncated")
TRAINING_VERSION = 2  # changes whenever the same recipe on the same rows gives another network or other answers
PROBE = 64  # rows on which the continuation from stage 1 to stage 2 is proved
CONTINUES = 1e-3  # logits that differ by more are not a continuation

Tables = dict[str, pd.DataFrame]  # split -> rows; `oof` holds the validation rows
Probabilities = dict[str, np.ndarray]  # split -> one probability per row


@dataclass(frozen=True)
class Job:
    """One fold of one candidate: what it trains on, what it answers, the folder it fills, the fingerprint it trains for."""

    recipe: Recipe
    task: str
    fold: int
    train: pd.DataFrame
    auxiliary: pd.DataFrame | None  # rows of the auxiliary task for stage 1; None = one stage
    tables: Tables
    folder: Path
    title: str
    tag: str
    answer_tags: dict[str, str] = field(default_factory=dict)  # split -> fingerprint of its answers
    keep: bool = False  # the trained weights, after the answers


@dataclass(frozen=True)
class _Trainer:
    """The stages of one job: its recipe on its base weights."""

    recipe: Recipe
    base: Path
    tag: str
    style: Style
    save_seconds: float

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        return build.load_tokenizer(self.base)

    def encode(self, table: pd.DataFrame, task: str) -> tokens.Encoded:
        return tokens.encode(table, task, self.tokenizer, self.recipe, build.is_encoder(self.base))

    def log_odds(self, model: nn.Module, rows: tokens.Encoded) -> list[float]:
        """Of the rows, with dropout off: what proves that one training begins where another ended.

        Every process computes all of them, as ZeRO's third stage needs them all in each forward pass.
        """
        with precision.autocast(self.recipe):
            probability = predict(model.eval(), rows, self.recipe.score_tokens, self.tokenizer.pad_token_id, "", "none")
        return (np.log(probability) - np.log1p(-probability)).tolist()

    def train(
        self, table: pd.DataFrame, task: str, folder: Path, title: str, probe: tokens.Encoded, previous: Path | None
    ) -> dict[str, Any]:
        """Train from the base, or on from a `previous` stage, unless that was done and only the scoring was interrupted.

        Returns speeds and the log-odds of the probe before and after. Raises RuntimeError if a stage does not begin
        where the previous one ended.
        """
        done = read_facts(folder / DONE)
        if done.get("tag") == self.tag:
            return done
        model = build.load_network(self.recipe, self.base)
        model = trained.make_trainable(model, self.recipe, previous).to(precision.device())
        begin = self.log_odds(model, probe)
        if previous is not None and difference(begin, read_facts(previous / DONE)["end"]) > CONTINUES:
            raise RuntimeError(
                f"{title}: training does not begin where {previous.name} ended; the trained part was not continued"
            )
        rows, label = self.encode(table, task), table["label"].to_numpy()
        size = sum(p.numel() for p in model.parameters())
        pad_id = self.tokenizer.pad_token_id
        result = fit(model, rows, label, self.recipe, pad_id, folder, self.tag, title, self.style, self.save_seconds)
        stats = {"tag": self.tag, "begin": begin, "end": self.log_odds(model, probe), "rows": len(table)}
        stats |= {"train_rows_per_s": result.rows_per_s, "parameters": size, "targets_truncated": rows.truncated}
        stats |= {"queries_truncated": rows.queries_truncated, "english_truncated": rows.english_truncated}
        if ranks.is_main():
            trained.save_trained(model, folder, result.trained)
            write_table(result.log, folder / "log.parquet")
            write_json(folder / ENGINE, engine_facts(result, self.recipe, table["id"].to_numpy()))
            write_json(folder / DONE, stats)
            clear_checkpoint(folder)
        ranks.barrier()
        return stats


def engine_facts(result: FitResult, recipe: Recipe, ids: np.ndarray) -> dict[str, Any]:
    """What a training ran on, and the ids that each process computed in the first epoch: disjoint, and together all.

    A run that was resumed on fewer processes tells of the former ones too.
    """
    seen, once = result.seen.numpy(), (result.times == 1).numpy()
    processes = range(1, max(result.world, int(seen.max(initial=0))) + 1)
    epochs = [
        {"rows_by_rank": [int((epoch == process).sum()) for process in processes], "each_row_once": bool(single.all())}
        for epoch, single in zip(seen, once, strict=True)
    ]
    first = [ids[seen[0] == process].tolist() for process in processes]
    return {
        "engine": result.engine, "zero_stage": recipe.zero_stage, "world_size": result.world, "device": str(precision.device()),
        "config": engines.zero_config(recipe) if recipe.zero_stage else {}, "rows": len(ids), "epochs": epochs, "ids_by_rank": first,
    }  # fmt: skip


def difference(left: list[float], right: list[float]) -> float:
    """Largest absolute difference of two lists."""
    return float(np.abs(np.subtract(left, right)).max())


def fit_network(job: Job, runtime: Runtime) -> tuple[Probabilities, dict[str, Any]]:
    """Train one network, on the auxiliary task's rows first where there are any, and let it answer each of the tables.

    Returns probabilities by split and what was measured: speeds, parameters, the proof of the continuation.
    """
    style: Style = runtime.style if ranks.is_main() else "none"
    trainer = _Trainer(job.recipe, runtime.weights(job.recipe), job.tag, style, runtime.save_seconds)
    probe = trainer.encode(job.train.head(PROBE), job.task)
    previous, stats = None, {}
    if job.auxiliary is not None:
        previous, auxiliary = job.folder / "stage1", AUXILIARY[job.task]
        first = trainer.train(job.auxiliary, auxiliary, previous, f"{job.title}, first on {auxiliary}", probe, None)
    second = trainer.train(job.train, job.task, job.folder, job.title, probe, previous)
    if previous is not None:
        stats["max_logit_difference"] = difference(second["begin"], first["end"])
        stats["base_logit_difference"] = difference(second["begin"], first["begin"])
        stats["auxiliary_rows"] = first["rows"]
    gc.collect()  # what the training held, before the scorer comes
    scorer, probabilities = build.load_scorer(job.recipe, trainer.base, job.folder), {}
    start = time.monotonic()
    for split, table in job.tables.items():
        rows = trainer.encode(table, job.task)
        pad_id, label = trainer.tokenizer.pad_token_id, f"{job.title}, {split}"
        with precision.autocast(job.recipe):
            probabilities[split] = predict(scorer, rows, job.recipe.score_tokens, pad_id, label, style, share=True)
    stats["score_rows_per_s"] = sum(map(len, job.tables.values())) / (time.monotonic() - start)
    return probabilities, stats | {key: second[key] for key in MEASURED}


def fit_baseline(job: Job, runtime: Runtime) -> tuple[Probabilities, dict[str, Any]]:
    """The same for a candidate that trains no network; its arrays are saved as `BASELINE`, from which others are answered later."""
    start, parameters, recipe = time.monotonic(), 0, job.recipe
    if recipe.kind == "zeroshot":
        measure, parameters = open_cosines(recipe, runtime.weights(recipe))
        fitted = baselines.fit_cosines(measure(job.train), job.train["label"].to_numpy(), recipe.seed)
        probabilities = {
            split: baselines.predict_cosines(fitted, measure(table)) for split, table in job.tables.items()
        }
    else:
        fitted = baselines.fit(recipe, job.train)
        probabilities = {split: baselines.predict(recipe, fitted, table) for split, table in job.tables.items()}
    write_with(job.folder / BASELINE, lambda temporary: save_file(fitted, temporary))
    speed = (len(job.train) + sum(map(len, job.tables.values()))) / max(1e-3, time.monotonic() - start)
    return probabilities, {"train_rows_per_s": speed, "score_rows_per_s": speed, "parameters": parameters}


def open_cosines(recipe: Recipe, base: Path) -> tuple[Callable[[pd.DataFrame], np.ndarray], int]:
    """A function from a table to the cosines of query and English with the target, `[rows, 2]`, and the network's size."""
    model = build.load_network(recipe, base).to(precision.device()).eval()
    tokenizer = build.load_tokenizer(base)
    return lambda table: cosines(model, table, tokenizer), sum(p.numel() for p in model.parameters())


def answer_baseline(recipe: Recipe, base: Path | None, folder: Path, table: pd.DataFrame) -> np.ndarray:
    """Probabilities `[rows]` of a baseline that `fit_baseline` left in a folder; `base` holds a zeroshot's network."""
    fitted = load_file(folder / BASELINE)
    if recipe.kind == "zeroshot":
        return baselines.predict_cosines(fitted, open_cosines(recipe, base)[0](table))
    return baselines.predict(recipe, fitted, table)
