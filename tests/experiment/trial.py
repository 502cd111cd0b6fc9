"""A few jobs on a tiny network, for tests that interrupt them.

python tests/experiment/trial.py MODELS FOLDER BYTES      in a mount namespace: FOLDER is a disk of so many bytes, then of more
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from utils.core.recipe import Recipe
from utils.data.tables import read_table
from utils.experiment import jobs
from utils.experiment.fit import Job
from utils.experiment.pool import WorkerError
from utils.experiment.runtime import Runtime

RECIPE = Recipe(
    "tiny", "gemma", "gemma-3-270m", pooling="last", max_length=48, lora_rank=4, batch_rows=8, share_rows=3, pack_tokens=48,
    sequence_tokens=48, learning_rate=1e-3, epochs=6.0,
)  # fmt: skip


def rows(count: int, first: int) -> pd.DataFrame:
    """So many rows, half of them relevant."""
    numbers = range(first, first + count)
    query = [f"red shoe {number % 7}" for number in numbers]
    target = [("shoes,red " if number % 2 else "tools,drill ") * (1 + number % 4) for number in numbers]
    columns = {"id": numbers, "language": "en", "query": query, "query_en": query, "target": target}
    return pd.DataFrame(columns).assign(label=[number % 2 for number in numbers])


TRAIN, VALIDATION = rows(60, 100), rows(20, 900)


def run(folder: Path, models: Path, devices: int, seconds: float = 0.0) -> np.ndarray:
    """Two folds and a stage on the auxiliary task as jobs; their answers. A checkpoint is written every `seconds`."""
    runtime = Runtime(models, True, "none", save_seconds=seconds, devices=("cpu",) * devices)
    todo = []
    for fold in (0, 1):
        recipe, own = RECIPE.with_(seed=fold, folds=(fold,)), folder / f"fold{fold}"
        auxiliary = TRAIN.assign(id=TRAIN["id"] + 5000) if fold else None
        if not (own / "oof.parquet").exists():
            todo.append(
                Job(recipe, "QC", fold, TRAIN, auxiliary, {"oof": VALIDATION}, own, f"fold {fold}", "t", {"oof": "t"})
            )
    jobs.run_jobs(todo, runtime)
    return np.concatenate([read_table(folder / f"fold{fold}" / "oof.parquet")["probability"] for fold in (0, 1)])


def main(models: Path, folder: Path, size: int) -> None:
    """Fill a small disk, give it room, and go on."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=True)
    try:
        run(disk, models, 1)
        problem = "the disk was not full"
    except WorkerError as error:
        problem = str(error)
    (folder / "problem.txt").write_text(problem)
    (folder / "left.txt").write_text("\n".join(str(path) for path in disk.rglob("*") if path.name.startswith(".")))
    subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
    np.savetxt(folder / "answers.txt", run(disk, models, 1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
