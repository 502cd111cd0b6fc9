"""New pairs answered by a run's final ensemble, by this process or by several that share the rows."""

import gc
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from utils import profiles
from utils.core import paths, settings
from utils.core.files import write_json
from utils.core.progress import Style
from utils.core.recipe import Recipe, load
from utils.data.pairs import Pairs, read_pairs
from utils.data.predictions import average_folds, to_predictions
from utils.data.tables import read_table, write_table
from utils.data.taxonomy import read_tree
from utils.ensemble import decide
from utils.experiment import devices
from utils.experiment.augmentation import mark_levels
from utils.experiment.fit import answer_baseline
from utils.experiment.runtime import run_ranks
from utils.models import build, precision, weights
from utils.training import engines, ranks
from utils.training.predict import predict
from utils.training.ranks import Topology
from utils.training.tokens import encode
from utils.translation import backends, cache

_SURROGATES = re.compile("[\ud800-\udfff]")
ROWS_EACH = 1000  # of a process of its own
MANY = 10_000  # rows; for fewer, compiled layers cost more than they save
ROWS, ANSWERS = "rows.parquet", "answers.parquet"  # of a job: what its processes read, and what they answer


def translate(table: pd.DataFrame, run: paths.Run, task: str) -> pd.DataFrame:
    """The table with `query_en`, by the run's translators as in notebook 02; they are opened only for what the cache lacks."""
    chosen = settings.load(run)
    profile = profiles.open_profile(chosen)
    name = decide.load_ensemble(run.ensemble_file, task)[1]
    english, _ = cache.translate_rows(
        table,
        lambda: backends.open_backend(name, chosen.models),
        lambda: backends.open_second(profile.retranslation, chosen.models),
        paths.translations(profile.cache),
        bar=False,
    )
    gc.collect()  # a translator must not take the members' memory
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return table.assign(query_en=english)


def score_member(
    table: pd.DataFrame, task: str, recipe: Recipe, folder: Path, models: str, style: Style
) -> pd.DataFrame:
    """One member's mean probability over its folds, `id, language, probability, fold`; several processes share the rows."""
    base = weights.resolve(recipe.model, models, offline=True) if recipe.model else None
    score = _score_network if recipe.kind == "classifier" else _score_baseline
    folds = []
    for fold in recipe.folds:
        probability = score(table, task, recipe, base, folder / f"fold{fold}", style)
        folds.append(to_predictions(table[["id", "language"]], probability, fold))
    return average_folds(folds)


def _score_network(
    table: pd.DataFrame, task: str, recipe: Recipe, base: Path, folder: Path, style: Style
) -> NDArray[np.float64]:
    """Probabilities `[rows]` of one fold of a network."""
    tokenizer = build.load_tokenizer(base)
    rows = encode(table, task, tokenizer, recipe, build.is_encoder(base))
    network, title = build.load_scorer(recipe, base, folder), f"{recipe.name} {folder.name}"
    alone = recipe.with_(
        zero_stage=recipe.zero_stage if ranks.world() > 1 else 0, compiled=recipe.compiled and len(table) > MANY
    )
    with engines.scoring(network, alone) as scorer, precision.autocast(recipe):
        return predict(scorer, rows, recipe.score_tokens, tokenizer.pad_token_id, title, style, share=ranks.world() > 1)


def _score_baseline(
    table: pd.DataFrame, task: str, recipe: Recipe, base: Path | None, folder: Path, style: Style
) -> NDArray[np.float64]:
    """Probabilities `[rows]` of one fold of a member without a trained network; each process answers an equal part."""
    probabilities = np.zeros(len(table))
    part = np.array_split(np.arange(len(table)), ranks.world())[ranks.rank()]
    if len(part):
        probabilities[part] = answer_baseline(recipe, base, folder, table.iloc[part])
    return ranks.all_reduce_sum(torch.from_numpy(probabilities)).numpy()


def answer(
    table: pd.DataFrame, run: paths.Run, task: str, style: Style = "none", quantisation: str = ""
) -> pd.DataFrame:
    """`id, probability, prediction` of translated rows: scored by the members that have a weight, combined, decided.

    `quantisation` holds the members' weights in fewer bits than they were trained in.
    """
    ensemble, _ = decide.load_ensemble(run.ensemble_file, task)
    models, members = settings.load(run).models, {}
    for name in ensemble.members:
        folder = run.final / task / name
        recipe = load(folder / "recipe.json")
        recipe = recipe.with_(quantisation=quantisation or recipe.quantisation)
        tree = read_tree(run, task) if recipe.level_markers else None
        members[name] = score_member(mark_levels(table, task, recipe, tree), task, recipe, folder, models, style)
    return decide.answer(members, ensemble, table)[["id", "probability", "prediction"]]


def answer_anywhere(content: bytes, name: str, run: paths.Run, task: str, quantisation: str, topology: Topology) -> str:
    """The answered lines, by this process or by several that share the rows. Raises DataError for lines that are no pairs."""
    pairs = read_pairs(content, task, name)
    if not pairs.lines:
        return ""
    table = translate(pairs.table, run, task)
    topology = share_out(topology, len(table))
    if topology.single:
        devices.bind(devices.list_devices()[0])
        return write_lines(pairs, answer(table, run, task, quantisation=quantisation))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_table(table, folder / ROWS)
        write_json(folder / "job.json", {"kind": "score", "run": run.name, "task": task, "quantisation": quantisation})
        run_ranks(folder / "job.json", topology, "none")
        return write_lines(pairs, read_table(folder / ANSWERS))


def share_out(topology: Topology, rows: int) -> Topology:
    """The topology of so many rows: where none was asked for and there is no GPU, one process per core, each with
    rows enough to pay for its start.

    Every process computes on one thread, as `devices.bind` says.
    """
    if topology.ranks or topology.hosts or torch.cuda.is_available():
        return topology
    return Topology(ranks=max(1, min(len(devices.list_devices()), rows // ROWS_EACH)))


def run_job(job: Path) -> None:
    """A job of `answer_anywhere`, in each of its processes; the first one writes the answers."""
    content = json.loads(job.read_text("utf-8"))
    table = read_table(job.parent / ROWS)
    answers = answer(table, paths.Run(content["run"]), content["task"], quantisation=content["quantisation"])
    if ranks.is_main():
        write_table(answers, job.parent / ANSWERS)


def write_lines(pairs: Pairs, answers: pd.DataFrame) -> str:
    """The pairs as JSON Lines, each with its `probability` and its `prediction`."""
    rows = answers.set_index("id").loc[pairs.table["id"]]
    columns = zip(pairs.lines, rows["probability"], rows["prediction"], strict=True)
    lines: list[dict[str, Any]] = [
        {**line, "probability": round(float(probability), 6), "prediction": int(label)}
        for line, probability, label in columns
    ]
    return "".join(map(_write_line, lines))


def _write_line(line: dict[str, Any]) -> str:
    """One line; what UTF-8 cannot hold, half of a surrogate pair in a key that nothing reads, stays the escape that it was."""
    text = json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"
    return text if text.isascii() or not _SURROGATES.search(text) else json.dumps(line, allow_nan=False) + "\n"
