"""Jobs on the machine's devices: side by side in processes of their own, or one over several ranks that read it from disk."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from utils.core.files import write_json
from utils.core.recipe import load, read_facts, save
from utils.data.leaks import seal_solution
from utils.data.predictions import to_predictions
from utils.data.tables import read_table, write_table
from utils.experiment import fit, pool
from utils.experiment.fit import DONE, FIRST, Job, Probabilities
from utils.experiment.runtime import Runtime, run_ranks
from utils.training import engines, ranks
from utils.training.ranks import SINGLE_PROCESS

JOB = "job"  # a folder beside the training: what the processes read, and what they answer
RESULT = "result.json"
TRAIN_FIRST, TRAIN, ANSWER = "train first", "train", "answer"  # the steps of a job, each a process of its own


def run_jobs(jobs: Sequence[Job], runtime: Runtime) -> None:
    """Fit and answer all jobs: side by side where the runtime has devices for it, else one after the other in this process.

    A job that several ranks share is started from here, alone. Raises WorkerError or LaunchError with the first
    error; what is finished stays.
    """
    shared = [job for job in jobs if _on_ranks(job, runtime)]
    alone = [job for job in jobs if not _on_ranks(job, runtime)]
    if runtime.devices:
        own = replace(
            runtime, style="none" if runtime.style == "none" else "lines", devices=(), topology=SINGLE_PROCESS
        )
        tasks = []
        for job in alone:
            calls = tuple(pool.Call(run_step, (job, own, step)) for step in steps(job))
            splits = sorted(job.tables, key=lambda split, job=job: -len(job.tables[split]))
            shares = [pool.Call(answer_split, (job, own, split)) for split in splits if job.recipe.kind == "classifier"]
            tasks.append(pool.Task(job.title, calls, _cost(job, runtime), tuple(shares)))
        pool.run(tasks, runtime.devices, runtime.style)
        alone = []
    for job in [*alone, *shared]:
        fit_fold(job, runtime)


def share_jobs(jobs: Sequence[Job], runtime: Runtime) -> Sequence[Job]:
    """The jobs of a runtime's part: the dearest first, each to the part that has least to do so far; without a part, all.

    The share hangs on the jobs alone, finished or not, so all parts agree. A training that several devices share is left
    to the call that gathers.
    """
    if runtime.part is None:
        return jobs
    number, count = runtime.part
    loads, own = [0.0] * count, []
    alone = [(_cost(job, runtime), job) for job in jobs if not _on_ranks(job, runtime)]
    for cost, job in sorted(alone, key=lambda pair: (-pair[0], pair[1].title)):
        least = loads.index(min(loads))
        loads[least] += cost
        own += [job] if least + 1 == number else []
    return own


def _on_ranks(job: Job, runtime: Runtime) -> bool:
    """Whether a job takes several devices: a network under DeepSpeed, or any one where ranks are all there is."""
    sharded = job.recipe.zero_stage > 0 or not (runtime.devices or runtime.topology.single)
    return job.recipe.kind == "classifier" and sharded


def _cost(job: Job, runtime: Runtime) -> float:
    """What a job costs beside others, roughly: rows trained (three times as dear) and answered, times the size of the weights."""
    size = (
        sum(path.stat().st_size for path in runtime.weights(job.recipe).glob("*.safetensors"))
        if job.recipe.model
        else 1
    )
    trained = len(job.train) * job.recipe.epochs if job.recipe.kind == "classifier" else 0.0
    return (3 * trained + sum(map(len, job.tables.values()))) * size


def steps(job: Job) -> tuple[str, ...]:
    """The steps of a job that are left, the last of which leaves its tables."""
    if job.recipe.kind != "classifier" or fit.is_trained(job.folder, job.tag):
        return (ANSWER,)
    return (TRAIN, ANSWER) if job.auxiliary is None else (TRAIN_FIRST, TRAIN, ANSWER)


def fit_fold(job: Job, runtime: Runtime) -> None:
    """All steps of a job, one after the other: in this process, or each in the processes that it asks for.

    Raises ValueError for a recipe that no engine can train, LaunchError with the first error of a process.
    """
    for step in steps(job):
        run_step(job, runtime, step)


def run_step(job: Job, runtime: Runtime, step: str) -> None:
    """One step of a job; the last one writes its tables and `facts.json`. Weights stay where the job says so."""
    _seal(runtime)
    engines.check(job.recipe)
    if _on_ranks(job, runtime):
        result = _run_on_ranks(job, runtime, step)
    elif step == ANSWER and job.recipe.kind == "classifier":
        result = _answer_rest(job, runtime)
    else:
        result = STEPS[step](job, runtime)
    if step == ANSWER:
        _finish(job, *result)


def _seal(runtime: Runtime) -> None:
    """Every process of a job begins here."""
    if runtime.data is not None:
        seal_solution(runtime.data)


def _fit_or_answer(job: Job, runtime: Runtime) -> tuple[Probabilities, dict[str, Any]]:
    """The last step: a network answers, any other candidate is fitted and answers."""
    return fit.answer(job, runtime) if job.recipe.kind == "classifier" else fit.fit_baseline(job, runtime)


STEPS = {TRAIN_FIRST: fit.train_first, TRAIN: fit.train, ANSWER: _fit_or_answer}


def answer_split(job: Job, runtime: Runtime, split: str) -> None:
    """A part of the last step, made beforehand where a device has nothing else to do: the answers of one table."""
    _seal(runtime)
    if not (path := _answers(job, split)).exists():
        table = job.tables[split]
        probabilities, stats = fit.answer(replace(job, tables={split: table}), runtime)
        answers = table[["id"]].assign(probability=probabilities[split], seconds=stats["score_seconds"])
        write_table(answers, path)


def _answer_rest(job: Job, runtime: Runtime) -> tuple[Probabilities, dict[str, Any]]:
    """The last step of a network in this process: its answers to those tables that no `answer_split` has answered, and all together."""
    there = {split: read_table(path) for split in job.tables if (path := _answers(job, split)).exists()}
    rest = {split: table for split, table in job.tables.items() if split not in there}
    probabilities, stats = fit.answer(replace(job, tables=rest), runtime)
    for split, answers in there.items():
        probabilities[split] = answers.set_index("id")["probability"].loc[job.tables[split]["id"]].to_numpy()
        spent = float(answers["seconds"].max()) if len(answers) else 0.0
        stats |= {name: stats[name] + spent for name in ("score_seconds", "seconds")}
    return probabilities, stats


def _answers(job: Job, split: str) -> Path:
    """Where the answers of one table wait for those of the others."""
    return job.folder / JOB / f"{split}.{job.answer_tags[split]}.parquet"


def _finish(job: Job, probabilities: Probabilities, stats: dict[str, Any]) -> None:
    """Write a job's tables and facts, and remove what stands for them no more."""
    before = read_facts(job.folder / "facts.json")
    known = before.get("answers", {}) if before.get("training") == job.tag else {}
    kept = {split: tag for split, tag in known.items() if split not in job.tables}
    if before:  # until the new tables are there, no fingerprint is theirs
        write_json(job.folder / "facts.json", before | {"answers": kept})
    for split, table in job.tables.items():
        write_table(to_predictions(table, probabilities[split], job.fold), job.folder / f"{split}.parquet")
    if "score_seconds" in stats:
        answered = sum(map(len, job.tables.values()))
        stats = stats | {"score_rows_per_s": answered / max(1e-3, stats["score_seconds"])}
    shutil.rmtree(job.folder / JOB, ignore_errors=True)
    answers = kept | {split: job.answer_tags[split] for split in job.tables}
    rows = {"train_rows": job.rows or len(job.train), "training": job.tag, "answers": answers}
    rows["validation_rows"] = len(job.tables["oof"]) if "oof" in job.tables else before["validation_rows"]
    write_json(job.folder / "facts.json", stats | rows)
    spent = [*job.folder.glob(f"*/{DONE}"), *job.folder.glob(f"{FIRST}/*.safetensors")]
    if not job.keep:
        spent += [*job.folder.glob(DONE), *job.folder.glob("*.safetensors")]
    for file in spent:
        file.unlink()  # the tables stand for the fold now


def _run_on_ranks(job: Job, runtime: Runtime, step: str) -> tuple[Probabilities, dict[str, Any]] | None:
    """One step in the processes that the runtime's topology and the recipe's engine ask for; the last one's result."""
    folder = job.folder / JOB
    run_ranks(write_job(job, runtime, folder, step), runtime.topology, runtime.style)
    result = None
    if step == ANSWER:
        probabilities = {}
        for split, table in job.tables.items():
            by_id = read_table(folder / f"{split}.answers.parquet").set_index("id")["probability"]
            probabilities[split] = by_id.loc[table["id"]].to_numpy()
        result = probabilities, json.loads((folder / RESULT).read_text("utf-8"))
    shutil.rmtree(folder)
    return result


def write_job(job: Job, runtime: Runtime, folder: Path, step: str) -> Path:
    """A job's tables, recipe and settings as files, for one of its steps; returns the one that names the rest."""
    tables = {"train": job.train, "auxiliary": job.auxiliary, **job.tables}
    for name, table in tables.items():
        if table is not None:
            write_table(table, folder / f"{name}.parquet")
    save(job.recipe, folder / "recipe.json")
    content = {
        "kind": "fit", "step": step,
        "task": job.task, "splits": list(job.tables), "auxiliary": job.auxiliary is not None, "title": job.title,
        "tag": job.tag, "fold": job.fold, "models": str(runtime.models or ""), "offline": runtime.offline,
        "save_seconds": runtime.save_seconds, "data": str(runtime.data or ""),
    }  # fmt: skip
    write_json(folder / "job.json", content)
    return folder / "job.json"


def read_job(path: Path) -> tuple[Job, Runtime]:
    """What `write_job` wrote."""
    folder, content = path.parent, json.loads(path.read_text("utf-8"))
    local = Path(content["models"]) if content["models"] else None
    data = Path(content["data"]) if content["data"] else None
    runtime = Runtime(local, content["offline"], "lines", save_seconds=content["save_seconds"], data=data)
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
    """A step of a job, in each of its processes; the first one writes the answers."""
    job, runtime = read_job(path)
    _seal(runtime)
    step = json.loads(path.read_text("utf-8"))["step"]
    result = STEPS[step](job, runtime)
    if step == ANSWER and ranks.is_main():
        probabilities, stats = result
        for split, probability in probabilities.items():
            answers = job.tables[split][["id"]].assign(probability=probability)
            write_table(answers, path.parent / f"{split}.answers.parquet")
        write_json(path.parent / RESULT, stats)
