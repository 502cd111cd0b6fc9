"""A training in this process or in others: a job is written to disk, every rank reads it, the first writes the answers."""

import json
import shutil
from pathlib import Path
from typing import Any

from utils.core.files import write_json
from utils.core.recipe import load, save
from utils.data.tables import read_table, write_table
from utils.experiment.fit import Job, Probabilities, fit_network
from utils.experiment.runtime import Runtime, run_ranks
from utils.training import engines, ranks

JOB = "job"  # a folder beside the training: what the processes read, and what they answer
RESULT = "result.json"


def fit_anywhere(job: Job, runtime: Runtime) -> tuple[Probabilities, dict[str, Any]]:
    """`fit_network`, here, or in the processes that the runtime's topology and the recipe's engine ask for.

    Raises ValueError for a recipe that no engine can train, LaunchError with the first error of a process.
    """
    engines.check(job.recipe)
    if runtime.topology.single and job.recipe.zero_stage == 0:
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
        "tag": job.tag, "models": str(runtime.models or ""), "offline": runtime.offline, "save_seconds": runtime.save_seconds,
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
    job = Job(recipe, content["task"], train, auxiliary, tables, folder.parent, content["title"], content["tag"])
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
