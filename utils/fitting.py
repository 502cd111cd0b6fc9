"""One rung, once: teachers in, answers out, for a network in one or two stages and for the rungs without training."""

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn
from transformers import PreTrainedTokenizerFast

from utils import baselines, models, tokens, weights
from utils.data import write_table
from utils.files import write_json
from utils.progress import Style
from utils.recipe import Recipe, facts
from utils.schema import SISTER
from utils.score import cosines, predict
from utils.train import clear_checkpoint, fit

DONE = "trained.json"  # between the end of a training and its tables
PROBE = 64  # rows on which the continuation from stage 1 to stage 2 is proved
CONTINUES = 1e-3  # logits that differ by more are not a continuation

Tables = dict[str, pd.DataFrame]  # split -> rows; `oof` are the judges


@dataclass(frozen=True)
class Bench:
    """Where weights are looked for, and how progress is shown: nothing that changes a result."""

    models: Path | None = None
    offline: bool = True
    style: Style = "bar"

    def weights(self, recipe: Recipe) -> Path:
        return weights.resolve(recipe.model, self.models, self.offline)

    def identity(self, recipe: Recipe) -> str:
        """Which weights these are; empty for a rung without any."""
        return weights.identity(self.weights(recipe)) if recipe.model else ""


def open_bench(folder: str, offline: bool, style: Style) -> Bench:
    """The bench that a notebook's parameters describe; an empty folder is none."""
    return Bench(Path(folder) if folder else None, offline, style)


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

    def encode(self, table: pd.DataFrame, task: str) -> tokens.Encoded:
        return tokens.encode(table, task, self.tokenizer, self.recipe, models.is_encoder(self.base))

    def log_odds(self, model: nn.Module, rows: tokens.Encoded) -> list[float]:
        """Of the rows, with dropout off: what proves that one training begins where another ended."""
        probability = predict(model.eval(), rows, self.recipe.score_tokens, self.tokenizer.pad_token_id, "", "none")
        return (np.log(probability) - np.log1p(-probability)).tolist()

    def train(
        self, table: pd.DataFrame, task: str, folder: Path, title: str, probe: tokens.Encoded, previous: Path | None
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


def fit_network(
    recipe: Recipe, task: str, teachers: pd.DataFrame, sister: pd.DataFrame | None, tables: Tables, folder: Path, title: str, tag: str,
    bench: Bench,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:  # fmt: skip
    """Train one network, on the sister task's rows first where there are any, and let it answer each of the tables.

    Returns probabilities by split and what the training told: speeds, parameters, the proof of the continuation.
    """
    trainer = _Trainer(recipe, task, bench.weights(recipe), tag, bench.style)
    probe = trainer.encode(tables["oof"].head(PROBE), task)
    previous, told = None, {}
    if sister is not None:
        previous = folder / "stage1"
        first = trainer.train(sister, SISTER[task], previous, f"{title}, first on {SISTER[task]}", probe, None)
    second = trainer.train(teachers, task, folder, title, probe, previous)
    if previous is not None:
        told["max_logit_difference"] = difference(second["begin"], first["end"])
        told["base_logit_difference"] = difference(second["begin"], first["begin"])
        told["sister_rows"] = first["rows"]
    scorer, answers = models.load_scorer(recipe, trainer.base, folder), {}
    start = time.monotonic()
    for split, table in tables.items():
        rows = trainer.encode(table, task)
        pad_id = trainer.tokenizer.pad_token_id
        answers[split] = predict(scorer, rows, recipe.score_tokens, pad_id, f"{title}, {split}", bench.style)
    told["score_rows_per_s"] = sum(map(len, tables.values())) / (time.monotonic() - start)
    return answers, told | {key: second[key] for key in ("train_rows_per_s", "parameters", "targets_cut")}


def fit_baseline(
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
