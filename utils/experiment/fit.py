"""The steps of one job: a training in one stage or two and the answers of a network, or all of a candidate without training.

What a step leaves for the next one lies in the job's folder, so each may run in a process of its own.
"""

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
from utils.core.schema import AUXILIARY, TASKS
from utils.data.tables import write_table
from utils.experiment import baselines
from utils.experiment.runtime import Runtime
from utils.models import build, precision, trained
from utils.training import engines, ranks, tokens
from utils.training.loop import FitResult, clear_checkpoint, fit
from utils.training.predict import cosines, predict, predict_log_odds

DONE = "trained.json"  # between the end of a training and its tables
BASELINE = "baseline.safetensors"  # the arrays of a candidate without a trained network
ENGINE = "engine.json"  # which engine trained, and which process computed which rows
FIRST = "stage1"  # the folder of a training on the auxiliary task, beside the training that goes on from it
MEASURED = ("train_rows_per_s", "parameters", "targets_truncated", "queries_truncated", "english_truncated")
PROOF = ("max_logit_difference", "base_logit_difference", "logit_limit", "auxiliary_rows")  # of the continuation
TRAINING_VERSION = 3  # changes whenever the same recipe on the same rows gives another network or other answers
PROBE = 64  # rows on which the continuation from stage 1 to stage 2 is proved
# Log-odds that differ by more are not a continuation: rounding of one step in the network's precision, and some more.
CONTINUES = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}

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
    rows: int = 0  # training rows of the fold, before any was dropped or added; 0 = those of `train`


@dataclass(frozen=True)
class _Network:
    """What every step of a job needs of its network: the recipe, the base weights and their tokenizer."""

    recipe: Recipe
    base: Path

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        return build.load_tokenizer(self.base)

    def encode(self, table: pd.DataFrame, task: str) -> tokens.Encoded:
        """The rows as tokens, each in the form of its own task where they are of both (column `task`)."""
        own = np.asarray(table["task"] if "task" in table else [task] * len(table))
        names = [name for name in TASKS if (own == name).any()] or [task]
        places = [np.flatnonzero(own == name) for name in names]
        pairs = [(table.iloc[rows], name) for rows, name in zip(places, names, strict=True)]
        encoder = build.is_encoder(self.base)
        parts = [tokens.encode(rows, name, self.tokenizer, self.recipe, encoder) for rows, name in pairs]
        return parts[0] if len(parts) == 1 else tokens.interleave(parts, places)

    def log_odds(self, model: nn.Module, rows: tokens.Encoded) -> list[float]:
        """Of the rows, with dropout off: what proves that one training begins where another ended.

        Every process computes all of them, as ZeRO's third stage needs them all in each forward pass.
        """
        pad_id = self.tokenizer.pad_token_id
        with precision.autocast(self.recipe):
            return predict_log_odds(model.eval(), rows, self.recipe.score_tokens, pad_id, "", "none").tolist()


def is_trained(folder: Path, tag: str) -> bool:
    """Whether the weights in a folder are those of a finished training with this fingerprint."""
    return read_facts(folder / DONE).get("tag") == tag


def train_first(job: Job, runtime: Runtime) -> None:
    """Stage 1: train on the rows of the auxiliary task, in a folder beside the job's own training."""
    auxiliary = AUXILIARY[job.task]
    _train(job, runtime, job.auxiliary, auxiliary, job.folder / FIRST, f"{job.title}, first on {auxiliary}", None)


def train(job: Job, runtime: Runtime) -> None:
    """Train on the job's own rows, on from stage 1 where there is one.

    Raises RuntimeError if this stage does not begin where stage 1 ended.
    """
    previous = job.folder / FIRST if job.auxiliary is not None else None
    _train(job, runtime, job.train, job.task, job.folder, job.title, previous)


def _train(
    job: Job, runtime: Runtime, table: pd.DataFrame, task: str, folder: Path, title: str, previous: Path | None
) -> None:
    """Train from the base, or on from a `previous` stage, unless that was done and only what follows was interrupted.

    Leaves the trained parameters, and in `DONE` speeds and the log-odds of the probe before and after.
    """
    if is_trained(folder, job.tag):
        return
    start, recipe = time.monotonic(), job.recipe
    network, style = _Network(recipe, runtime.weights(recipe)), _style(runtime)
    probe = network.encode(job.train.head(PROBE), job.task)
    model = build.load_network(recipe, network.base)
    model = trained.make_trainable(model, recipe, previous)
    size = sum(p.numel() for p in model.parameters())
    engine = engines.start(model, recipe)
    begin, before = network.log_odds(model, probe), read_facts(previous / DONE) if previous else {}
    limit = CONTINUES[recipe.precision]
    if before and difference(begin, before["end"]) > limit:
        raise RuntimeError(
            f"{title}: training does not begin where {previous.name} ended; the trained part was not continued"
        )
    rows, label = network.encode(table, task), table["label"].to_numpy()
    pad_id = network.tokenizer.pad_token_id
    result = fit(engine, rows, label, recipe, pad_id, folder, job.tag, title, style, runtime.save_seconds)
    stats = {"tag": job.tag, "begin": begin, "end": network.log_odds(model, probe), "rows": len(table)}
    stats |= {"train_rows_per_s": result.rows_per_s, "parameters": size, "targets_truncated": rows.truncated}
    stats |= {"queries_truncated": rows.queries_truncated, "english_truncated": rows.english_truncated}
    if before:
        stats["max_logit_difference"] = difference(begin, before["end"])
        stats["base_logit_difference"] = difference(begin, before["begin"])
        stats |= {"auxiliary_rows": before["rows"], "logit_limit": limit}
    stats["seconds"] = time.monotonic() - start + before.get("seconds", 0.0)
    if ranks.is_main():
        (folder / DONE).unlink(missing_ok=True)  # of a former training, whose files are written over now
        trained.save_trained(model, folder, result.trained)
        write_table(result.log, folder / "log.parquet")
        write_json(folder / ENGINE, engine_facts(result, recipe, table["id"].to_numpy()))
        write_json(folder / DONE, stats)
        clear_checkpoint(folder)
    ranks.barrier()


def _style(runtime: Runtime) -> Style:
    """How this process shows progress: the first one alone does."""
    return runtime.style if ranks.is_main() else "none"


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


def answer(job: Job, runtime: Runtime) -> tuple[Probabilities, dict[str, Any]]:
    """Let the trained network answer each of the job's tables.

    Returns probabilities by split and what was measured: speeds, parameters, seconds, those of scoring apart, the proof of the
    continuation. Without tables no network is opened.
    """
    start, recipe = time.monotonic(), job.recipe
    network, probabilities = _Network(recipe, runtime.weights(recipe)), {}
    begin = time.monotonic()
    if job.tables:
        model = build.load_scorer(recipe, network.base, job.folder)
        begin = time.monotonic()
        with engines.scoring(model, recipe) as scorer, precision.autocast(recipe):
            for split, table in job.tables.items():
                rows = network.encode(table, job.task)
                pad_id, label = network.tokenizer.pad_token_id, f"{job.title}, {split}"
                probabilities[split] = predict(
                    scorer, rows, recipe.score_tokens, pad_id, label, _style(runtime), share=True
                )
    end, done = time.monotonic(), read_facts(job.folder / DONE)
    stats = {key: done[key] for key in (*MEASURED, *PROOF) if key in done}
    return probabilities, stats | {"score_seconds": end - begin, "seconds": done["seconds"] + end - start}


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
    seconds = max(1e-3, time.monotonic() - start)
    speed = (len(job.train) + sum(map(len, job.tables.values()))) / seconds
    return probabilities, {
        "train_rows_per_s": speed, "score_rows_per_s": speed, "parameters": parameters, "seconds": seconds,
    }  # fmt: skip


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
