"""Jobs on the machine's devices: side by side in processes of their own, or one over several ranks that read it from disk."""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from utils.core.files import write_json
from utils.core.recipe import load, read_facts, save
from utils.data.predictions import to_predictions
from utils.data.tables import read_table, write_table
from utils.experiment import pool
from utils.experiment.fit import DONE, Job, Probabilities, fit_baseline, fit_network
from utils.experiment.runtime import Runtime, run_ranks
from utils.training import engines, ranks

JOB = "job"  # a folder beside the training: what the processes read, and what they answer
RESULT = "result.json"


def run_jobs(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Fit and answer all jobs: side by side where the runtime has workers, else one after the other in this process.

    A job that several ranks share is started from here, alone. Raises WorkerError or LaunchError with the first
    error; what is finished stays.
    """
    shared = [job for job in jobs if _on_ranks(job, runtime)]
    alone = [job for job in jobs if not _on_ranks(job, runtime)]
    if runtime.workers:
        own = replace(runtime, style="none" if runtime.style == "none" else "lines", workers=0)
        pool.run(
            [pool.Task(job.title, fit_fold, (job, own), _cost(job, runtime)) for job in alone],
            runtime.workers,
            runtime.style,
        )
        alone = []
    for job in [*alone, *shared]:
        fit_fold(job, runtime)


def _on_ranks(job: Job, runtime: Runtime) -> bool:
    """Whether a job has processes of its own: a network under DeepSpeed or on several ranks."""
    return job.recipe.kind == "classifier" and not (runtime.topology.single and job.recipe.zero_stage == 0)


def _cost(job: Job, runtime: Runtime) -> float:
    """What a job costs beside others, roughly: rows trained (three times as dear) and answered, times the size of the weights."""
    size = (
        sum(path.stat().st_size for path in runtime.weights(job.recipe).glob("*.safetensors"))
        if job.recipe.model
        else 1
    )
    trained = len(job.train) * job.recipe.epochs if job.recipe.kind == "classifier" else 0.0
    return (3 * trained + sum(map(len, job.tables.values()))) * size


def fit_fold(job: Job, runtime: Runtime) -> None:
    """Fit one job and write its tables and `facts.json`; the weights stay where the job says so."""
    start = time.monotonic()
    fit = fit_anywhere if job.recipe.kind == "classifier" else fit_baseline
    probabilities, stats = fit(job, runtime)
    for split, table in job.tables.items():
        write_table(to_predictions(table, probabilities[split], job.fold), job.folder / f"{split}.parquet")
    before = read_facts(job.folder / "facts.json")
    known = before.get("answers", {}) if before.get("training") == job.tag else {}
    answers = known | {split: job.answer_tags[split] for split in job.tables}
    rows = {"train_rows": len(job.train), "training": job.tag, "answers": answers, "seconds": time.monotonic() - start}
    rows["validation_rows"] = len(job.tables["oof"]) if "oof" in job.tables else before["validation_rows"]
    write_json(job.folder / "facts.json", stats | rows)
    spent = [*job.folder.glob(f"*/{DONE}"), *job.folder.glob("stage1/*.safetensors")]
    if not job.keep:
        spent += [*job.folder.glob(DONE), *job.folder.glob("*.safetensors")]
    for file in spent:
        file.unlink()  # the tables stand for the fold now


def fit_anywhere(job: Job, runtime: Runtime) -> tuple[Probabilities, dict[str, Any]]:
    """`fit_network`, here, or in the processes that the runtime's topology and the recipe's engine ask for.

    Raises ValueError for a recipe that no engine can train, LaunchError with the first error of a process.
    """
    engines.check(job.recipe)
    if not _on_ranks(job, runtime):
        return fit_network(job, runtime)
    folder = job.folder / JOB
    run_ranks(write_job(job, runtime, folder), runtime.topology, runtime.style)
    probabilities = {}
    for split, table in job.tables.items():
        by_id = read_table(folder / f"{split}.answers.parquet").set_index("id")["probability"]
        probabilities[split] = by_id.loc[table["id"]].to_numpy()
    stats = json.loads((folder / RESULT).read_text("utf-8"))
    shutil.rmtree(folder)
    return probabilities, stats


def write_job(job: Job, runtime: Runtime, folder: Path) -> Path:
    """A job's tables, recipe and settings as files; returns the one that names the rest."""
    tables = {"train": job.train, "auxiliary": job.auxiliary, **job.tables}
    for name, table in tables.items():
        if table is not None:
            write_table(table, folder / f"{name}.parquet")
    save(job.recipe, folder / "recipe.json")
    content = {
        "kind": "fit", "task": job.task, "splits": list(job.tables), "auxiliary": job.auxiliary is not None, "title": job.title,
        "tag": job.tag, "fold": job.fold, "models": str(runtime.models or ""), "offline": runtime.offline,
        "save_seconds": runtime.save_seconds,
    }  # fmt: skip
    write_json(folder / "job.json", content)
    return folder / "job.json"


def read_job(path: Path) -> tuple[Job, Runtime]:
    """What `write_job` wrote."""
    folder, content = path.parent, json.loads(path.read_text("utf-8"))
    local = Path(content["models"]) if content["models"] else None
    runtime = Runtime(local, content["offline"], "lines", save_seconds=content["save_seconds"])
    tables = {name: read_table(folder / f"{name}.parquet") for name in content["splits"]}
    auxiliary = read_table(folder / "auxiliary.parquet") if content["auxiliary"] else None
    train, recipe = read_table(folder / "train.parquet"), load(folder / "recipe.json")
    job = Job(
        recipe,
        content["task"],
        content["fold"],
        train,
        auxiliary,
        tables,
        folder.parent,
        content["title"],
        content["tag"],
    )
    return job, runtime


def run_job(path: Path) -> None:
    """A job of `fit_anywhere`, in each of its processes; the first one writes the answers."""
    job, runtime = read_job(path)
    probabilities, stats = fit_network(job, runtime)
    if ranks.is_main():
        for split, probability in probabilities.items():
            answers = job.tables[split][["id"]].assign(probability=probability)
            write_table(answers, path.parent / f"{split}.answers.parquet")
        write_json(path.parent / RESULT, stats)
