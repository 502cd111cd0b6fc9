"""New pairs answered by a run's final ensemble, by this process or by several that share the rows."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from utils import profiles
from utils.core import paths, settings
from utils.core.files import write_json, write_text
from utils.core.progress import Style
from utils.core.recipe import Recipe, load
from utils.data.pairs import Pairs, read_pairs
from utils.data.predictions import average_folds, to_predictions
from utils.evaluation import decide
from utils.experiment.runtime import run_ranks
from utils.models import build, precision, weights
from utils.training import ranks
from utils.training.predict import predict
from utils.training.ranks import Topology
from utils.training.tokens import encode
from utils.translation import backends, cache


def score_member(
    table: pd.DataFrame, task: str, recipe: Recipe, folder: Path, models: str, style: Style
) -> pd.DataFrame:
    """One member's mean probability over its folds, `id, language, probability, fold`; several processes share the rows."""
    base = weights.resolve(recipe.model, models, offline=True)
    tokenizer = build.load_tokenizer(base)
    rows = encode(table, task, tokenizer, recipe, build.is_encoder(base))
    folds = []
    for fold in recipe.folds:
        network = build.load_scorer(recipe, base, folder / f"fold{fold}")
        title, pad_id = f"{recipe.name} fold {fold}", tokenizer.pad_token_id
        with precision.autocast(recipe):
            probability = predict(network, rows, recipe.score_tokens, pad_id, title, style, share=ranks.world() > 1)
        folds.append(to_predictions(table[["id", "language"]], probability, fold))
    return average_folds(folds)


def answer(
    pairs: Pairs, run: paths.Run, task: str, style: Style = "none", quantisation: str = ""
) -> list[dict[str, Any]]:
    """The pairs with `probability` and `prediction`, by the run's final ensemble: translated, scored, combined, decided.

    `quantisation` holds the members' weights in fewer bits than they were trained in.
    """
    ensemble, translation = decide.load_ensemble(run.ensemble_file, task)
    chosen = settings.load(run)
    models, cache_file = chosen.models, paths.translations(profiles.load(chosen.profile, chosen.overrides).cache)
    backend = backends.open_backend(translation, models)
    english, _ = cache.translate(pairs.table, backend, cache_file, bar=False)
    table, members = pairs.table.assign(query_en=english), {}
    for name in ensemble.weights:
        folder = run.final / task / name
        recipe = load(folder / "recipe.json")
        recipe = recipe.with_(quantisation=quantisation or recipe.quantisation)
        members[name] = score_member(table, task, recipe, folder, models, style)
    answers = decide.answer(members, ensemble)
    columns = zip(pairs.lines, answers["probability"], answers["prediction"], strict=True)
    return [{**line, "probability": round(float(p), 6), "prediction": int(label)} for line, p, label in columns]


def answer_anywhere(content: bytes, name: str, run: paths.Run, task: str, quantisation: str, topology: Topology) -> str:
    """The answered lines, by this process or by several that share the rows. Raises DataError for lines that are no pairs."""
    pairs = read_pairs(content, task, name)
    if not pairs.lines:
        return ""
    if topology.single:
        return write_lines(answer(pairs, run, task, quantisation=quantisation))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "pairs.jsonl").write_bytes(content)
        write_json(folder / "job.json", {"kind": "score", "run": run.name, "task": task, "quantisation": quantisation})
        run_ranks(folder / "job.json", topology, "none")
        return (folder / "answers.jsonl").read_text("utf-8")


def run_job(job: Path) -> None:
    """A job of `answer_anywhere`, in each of its processes; the first one writes the answers."""
    content = json.loads(job.read_text("utf-8"))
    pairs = read_pairs((job.parent / "pairs.jsonl").read_bytes(), content["task"], "pairs.jsonl")
    answers = answer(pairs, paths.Run(content["run"]), content["task"], quantisation=content["quantisation"])
    if ranks.is_main():
        write_text(job.parent / "answers.jsonl", write_lines(answers))


def write_lines(answers: list[dict[str, Any]]) -> str:
    """The answers as JSON Lines."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in answers)
