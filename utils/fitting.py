"""One rung, once: teachers in, answers out, for a network in one or two stages and for the rungs without training."""

import gc
import json
import shutil
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn
from transformers import PreTrainedTokenizerFast

from utils import baselines, engines, launch, models, ranks, tokens, weights
from utils.data import read_table, write_table
from utils.files import write_json
from utils.profiles import Profile
from utils.progress import Style
from utils.ranks import HERE, Places, open_places
from utils.recipe import Recipe, facts, load, save
from utils.schema import SISTER
from utils.score import cosines, predict
from utils.settings import Settings
from utils.train import Fit, clear_checkpoint, fit

DONE = "trained.json"  # between the end of a training and its tables
ENGINE = "engine.json"  # which engine trained, and which process computed which rows
PROBE = 64  # rows on which the continuation from stage 1 to stage 2 is proved
CONTINUES = 1e-3  # logits that differ by more are not a continuation

Tables = dict[str, pd.DataFrame]  # split -> rows; `oof` are the judges


@dataclass(frozen=True)
class Bench:
    """Where weights are looked for, and how progress is shown: nothing that changes a result."""

    models: Path | None = None
    offline: bool = True
    style: Style = "bar"
    places: Places = HERE
    save_seconds: float = 120.0  # between checkpoints

    def weights(self, recipe: Recipe) -> Path:
        return weights.resolve(recipe.model, self.models, self.offline)

    def identity(self, recipe: Recipe) -> str:
        """Which weights these are; empty for a rung without any."""
        return weights.identity(self.weights(recipe)) if recipe.model else ""


def open_bench(chosen: Settings, road: Profile, style: Style) -> Bench:
    """The bench of a run's settings and its profile; an empty folder of weights is none."""
    places = open_places(road.ranks, chosen.hosts, chosen.shell)
    return Bench(Path(chosen.models) if chosen.models else None, road.offline, style, places)


@dataclass(frozen=True)
class _Trainer:
    """One fold's training: the recipe, its base weights, the folder it fills, the fingerprint it trains for."""

    recipe: Recipe
    task: str
    base: Path
    tag: str
    style: Style
    save_seconds: float

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        return models.load_tokenizer(self.base)

    def encode(self, table: pd.DataFrame, task: str) -> tokens.Encoded:
        return tokens.encode(table, task, self.tokenizer, self.recipe, models.is_encoder(self.base))

    def log_odds(self, model: nn.Module, rows: tokens.Encoded) -> list[float]:
        """Of the rows, with dropout off: what proves that one training begins where another ended.

        Every process computes all of them, as ZeRO's third stage needs them all in each forward pass.
        """
        with models.autocast(self.recipe):
            found = predict(model.eval(), rows, self.recipe.score_tokens, self.tokenizer.pad_token_id, "", "none")
        return (np.log(found) - np.log1p(-found)).tolist()

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
        size = sum(p.numel() for p in model.parameters())
        pad_id = self.tokenizer.pad_token_id
        found = fit(model, rows, label, self.recipe, pad_id, folder, self.tag, title, self.style, self.save_seconds)
        told |= {"end": self.log_odds(model, probe), "rows": len(table), "train_rows_per_s": found.rows_per_s}
        told |= {"parameters": size, "targets_cut": rows.cut}
        if ranks.first():
            models.save_trained(model, folder, found.trained)
            write_table(found.log, folder / "log.parquet")
            write_json(folder / ENGINE, engine_facts(found, self.recipe, table["id"].to_numpy()))
            write_json(folder / DONE, told)
            clear_checkpoint(folder)
        ranks.wait()
        return told


def engine_facts(found: Fit, recipe: Recipe, ids: np.ndarray) -> dict[str, Any]:
    """What a training ran on, and the ids that each process computed in the first epoch: disjoint, and together all.

    A run that was resumed on fewer processes tells of the former ones too.
    """
    seen, once = found.seen.numpy(), (found.times == 1).numpy()
    places = range(1, max(found.world, int(seen.max(initial=0))) + 1)
    epochs = [
        {
            "rows_by_rank": [int((row == place).sum()) for place in places],
            "each_row_once": bool(one.all()),
        }
        for row, one in zip(seen, once, strict=True)
    ]
    first = [ids[seen[0] == place].tolist() for place in places]
    return {
        "engine": found.engine, "zero_stage": recipe.zero_stage, "world_size": found.world, "device": str(models.device()),
        "config": engines.zero_config(recipe) if recipe.zero_stage else {}, "rows": len(ids), "epochs": epochs, "ids_by_rank": first,
    }  # fmt: skip


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
    shown: Style = bench.style if ranks.first() else "none"
    trainer = _Trainer(recipe, task, bench.weights(recipe), tag, shown, bench.save_seconds)
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
    gc.collect()  # what the training held, before the scorer comes
    scorer, answers = models.load_scorer(recipe, trainer.base, folder), {}
    start = time.monotonic()
    for split, table in tables.items():
        rows = trainer.encode(table, task)
        pad_id, label = trainer.tokenizer.pad_token_id, f"{title}, {split}"
        with models.autocast(recipe):
            answers[split] = predict(scorer, rows, recipe.score_tokens, pad_id, label, shown, share=True)
    told["score_rows_per_s"] = sum(map(len, tables.values())) / (time.monotonic() - start)
    return answers, told | {key: second[key] for key in ("train_rows_per_s", "parameters", "targets_cut")}


# -- the same in other processes --------------------------------------------------------------------------------------------

JOB = "job"  # a folder beside the training: what the processes read, and what they answer


def fit_anywhere(
    recipe: Recipe, task: str, teachers: pd.DataFrame, sister: pd.DataFrame | None, tables: Tables, folder: Path, title: str, tag: str,
    bench: Bench,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:  # fmt: skip
    """`fit_network`, here, or in the processes that the bench's places and the recipe's engine ask for.

    Raises ValueError for a recipe that no engine can train, LaunchError with the first error of a process.
    """
    engines.check(recipe)
    if bench.places.single and recipe.zero_stage == 0:
        return fit_network(recipe, task, teachers, sister, tables, folder, title, tag, bench)
    place = folder / JOB
    given = {"teachers": teachers, "sister": sister, **tables}
    for name, table in given.items():
        if table is not None:
            write_table(table, place / f"{name}.parquet")
    told = {
        "kind": "fit",
        "task": task,
        "splits": list(tables),
        "sister": sister is not None,
        "title": title,
        "tag": tag,
    }
    told |= {"models": str(bench.models or ""), "offline": bench.offline, "save_seconds": bench.save_seconds}
    write_json(place / "job.json", told)
    save(recipe, place / "recipe.json")
    launch.run(place / "job.json", bench.places, bench.style)
    told_by_id = {name: read_table(place / f"{name}.answers.parquet").set_index("id")["probability"] for name in tables}
    answers = {name: told_by_id[name].loc[table["id"]].to_numpy() for name, table in tables.items()}
    found = json.loads((place / "told.json").read_text("utf-8"))
    shutil.rmtree(place)
    return answers, found


def work_on(job: Path) -> None:
    """A job of `fit_anywhere`, in each of its processes; the first one writes the answers."""
    place, told = job.parent, json.loads(job.read_text("utf-8"))
    local = Path(told["models"]) if told["models"] else None
    bench = Bench(local, told["offline"], "lines", save_seconds=told["save_seconds"])
    given = {name: read_table(place / f"{name}.parquet") for name in ("teachers", *told["splits"])}
    sister = read_table(place / "sister.parquet") if told["sister"] else None
    tables = {name: given[name] for name in told["splits"]}
    recipe, folder = load(place / "recipe.json"), place.parent
    answers, found = fit_network(
        recipe, told["task"], given["teachers"], sister, tables, folder, told["title"], told["tag"], bench
    )
    if ranks.first():
        for name, probability in answers.items():
            write_table(tables[name][["id"]].assign(probability=probability), place / f"{name}.answers.parquet")
        write_json(place / "told.json", found)


# -- rungs without training ---------------------------------------------------------------------------------------------------


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
