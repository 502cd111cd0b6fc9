"""Several processes on one training, through torchrun's agent and DeepSpeed: the same result, the right error, exact resumption."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from utils.core.errors import LaunchError
from utils.core.paths import ROOT
from utils.core.recipe import Recipe
from utils.data.tables import read_table
from utils.experiment import fit, jobs
from utils.experiment.fit import Job
from utils.experiment.runtime import Runtime
from utils.training import launch
from utils.training.ranks import Topology, parse_topology

RECIPE = Recipe(
    "tiny", "gemma", "gemma-3-270m", pooling="last", max_length=48, lora_rank=4, batch_rows=8, share_rows=3, pack_tokens=48,
    sequence_tokens=48, score_tokens=96, learning_rate=1e-3, epochs=2.0, checkpointing=True,
)  # fmt: skip
LONG_RUN = settings.get_current_profile_name() == "long"
TWO = Topology(ranks=2)
PATIENCE = 300  # seconds that anything may take on a busy machine


def rows(count: int, first: int) -> pd.DataFrame:
    numbers = range(first, first + count)
    query = [f"red shoe {number % 7}" for number in numbers]
    target = [("shoes,red " if number % 2 else "tools,drill ") * (1 + number % 4) for number in numbers]
    columns = {"id": numbers, "language": "en", "query": query, "query_en": query, "target": target}
    return pd.DataFrame(columns).assign(label=[number % 2 for number in numbers])


TRAIN, VALIDATION = (
    rows(61, 100),
    rows(21, 900),
)  # no multiples of two: a rank has a turn without work, and a batch less to score


def train(recipe: Recipe, folder: Path, models: Path, topology: Topology, seconds: float = 120.0) -> np.ndarray:
    runtime = Runtime(models, True, "none", topology, seconds)
    job = Job(recipe, "QC", 0, TRAIN, None, {"oof": VALIDATION}, folder, "tiny", "tag", {"oof": "tag"})
    jobs.fit_fold(job, runtime)
    assert json.loads((folder / "facts.json").read_text())["train_rows_per_s"] > 0
    answers = read_table(folder / "oof.parquet").set_index("id")["probability"]
    return answers.loc[VALIDATION["id"]].to_numpy()


@pytest.fixture(scope="module")
def alone(tiny_gemma: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("alone")
    return train(RECIPE, folder, tiny_gemma, Topology()), read_table(folder / "log.parquet")


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_two_processes_end_where_one_does(
    stage: int, alone: tuple[np.ndarray, pd.DataFrame], tiny_gemma: Path, tmp_path: Path
) -> None:
    probabilities = train(RECIPE.with_(zero_stage=stage), tmp_path, tiny_gemma, TWO)
    expected, log = alone
    assert np.abs(probabilities - expected).max() < 1e-3
    assert np.abs(read_table(tmp_path / "log.parquet")["loss"] - log["loss"]).max() < 1e-3
    engine = json.loads((tmp_path / fit.ENGINE).read_text())
    assert engine["engine"] == ("DeepSpeedEngine" if stage else "plain")
    assert (engine["zero_stage"], engine["world_size"], len(engine["epochs"])) == (stage, 2, 2)
    one, other = map(set, engine["ids_by_rank"])
    assert one and other and not one & other and one | other == set(TRAIN["id"])
    assert all(epoch["each_row_once"] for epoch in engine["epochs"])
    assert not (tmp_path / jobs.JOB).exists()


def test_half_precision_with_sharded_weights(tiny_gemma: Path, tmp_path: Path) -> None:
    recipe = RECIPE.with_(zero_stage=3, precision="bfloat16")
    probabilities = train(recipe, tmp_path, tiny_gemma, TWO)
    assert np.isfinite(probabilities).all()
    assert json.loads((tmp_path / fit.ENGINE).read_text())["config"]["bf16"]["enabled"]


@pytest.mark.long
@pytest.mark.parametrize("stage", [2, 3] if LONG_RUN else [3])
def test_a_killed_rank_is_named_and_the_next_call_ends_as_an_undisturbed_one(
    stage: int, tiny_gemma: Path, tmp_path: Path
) -> None:
    recipe = RECIPE.with_(zero_stage=stage, epochs=8.0, checkpointing=False)
    whole = train(recipe, tmp_path / "whole", tiny_gemma, TWO)
    folder, failures = tmp_path / "broken", []

    def start() -> None:
        try:
            train(recipe, folder, tiny_gemma, TWO, 0.0)
        except LaunchError as error:
            failures.append(str(error))

    running = threading.Thread(target=start)
    running.start()
    while not (folder / "checkpoint.safetensors").exists() and running.is_alive():
        time.sleep(0.05)
    workers = subprocess.run(
        ["pgrep", "-f", f"utils.experiment.worker {folder}"], capture_output=True, text=True
    ).stdout.split()
    assert len(workers) == 2, failures
    os.kill(int(workers[1]), signal.SIGKILL)
    running.join(PATIENCE)
    assert not running.is_alive()
    assert failures and "was killed (SIGKILL)" in failures[0] and "rank " in failures[0]
    assert not (folder / "oof.parquet").exists() and (folder / "checkpoint.safetensors").exists()
    shutil.copytree(folder, tmp_path / "one")
    assert np.array_equal(train(recipe, folder, tiny_gemma, TWO), whole)
    assert np.abs(train(recipe, tmp_path / "one", tiny_gemma, Topology(ranks=1)) - whole).max() < 1e-3
    engine = json.loads((tmp_path / "one" / fit.ENGINE).read_text())
    assert engine["world_size"] == 1 and all(epoch["each_row_once"] for epoch in engine["epochs"])
    assert sum(map(len, engine["ids_by_rank"])) == len(TRAIN)


def test_the_error_of_the_failed_rank_is_reported(tiny_gemma: Path, tmp_path: Path) -> None:
    recipe = RECIPE.with_(zero_stage=2, learning_rate=float("inf"), clip=1e9)
    with pytest.raises(
        LaunchError, match=r"rank \d on .*: ValueError: tiny: the loss is nan in step 2; lower learning_rate"
    ):
        train(recipe, tmp_path, tiny_gemma, TWO)


def test_what_no_engine_can_train_is_refused_before_it_starts(tiny_gemma: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be sharded over processes; set zero_stage to 2"):
        train(RECIPE.with_(zero_stage=3, quantisation="nf4"), tmp_path, tiny_gemma, TWO)
    assert not list(tmp_path.iterdir())


def test_topologies_are_read_from_parameters() -> None:
    assert parse_topology(1, "", "ssh").single and not parse_topology(2, "", "ssh").single
    assert parse_topology(1, "a, b", "ssh").hosts == ("a", "b") and not parse_topology(1, "a,b", "ssh").single


@pytest.fixture
def machines() -> Iterator[tuple[str, str]]:
    """Two network namespaces that see each other alone, as two machines on a wire."""
    one, other = (f"relevance-{os.getpid()}-{side}" for side in "ab")

    def ip(*command: str) -> None:
        subprocess.run(["ip", *command], check=True, capture_output=True)

    try:
        for name in (one, other):
            ip("netns", "add", name)
        ip("link", "add", "eth0", "netns", one, "type", "veth", "peer", "name", "eth0", "netns", other)
        for number, name in enumerate((one, other), start=1):
            ip("-n", name, "addr", "add", f"{SUBNET}.{number}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", name, "link", "set", device, "up")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces can be created here: {getattr(error, 'stderr', error)}")
    else:
        yield one, other
    finally:
        for name in (one, other):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


SUBNET = "10.213.77"


@pytest.mark.long
def test_two_machines_train_together(
    machines: tuple[str, str], alone: tuple[np.ndarray, pd.DataFrame], tiny_gemma: Path, tmp_path: Path
) -> None:
    """The multi-node start for real: a shell that runs a command on the other machine, and gloo over the wire."""
    shell = tmp_path / "shell"
    shell.write_text(f'#!/bin/sh\nshift\nexec ip netns exec {machines[1]} env GLOO_SOCKET_IFNAME=eth0 sh -c "$*"\n')
    shell.chmod(0o755)
    script = [
        sys.executable,
        str(ROOT / "tests" / "training" / "hosts.py"),
        tiny_gemma,
        tmp_path,
        shell,
        f"{SUBNET}.1",
        f"{SUBNET}.2",
    ]
    inside = ["ip", "netns", "exec", machines[0], "env", "GLOO_SOCKET_IFNAME=eth0"]
    process = subprocess.run(
        [*inside, *script], cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
    engine = json.loads((tmp_path / fit.ENGINE).read_text())
    assert (engine["world_size"], engine["zero_stage"]) == (2, 2) and all(engine["ids_by_rank"])
    assert np.abs(np.loadtxt(tmp_path / "probabilities.txt") - alone[0]).max() < 1e-3


def test_a_port_that_was_taken_meanwhile_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = ["rank 0 on here: DistNetworkError: EADDRINUSE, port 5", "Address already in use", ""]
    monkeypatch.setattr(launch, "_run_once", lambda *_: errors.pop(0))
    launch.run(tmp_path / "job.json", TWO, "worker", "none")
    errors[:] = ["EADDRINUSE"] * 9
    with pytest.raises(LaunchError, match="EADDRINUSE"):
        launch.run(tmp_path / "job.json", TWO, "worker", "none")
    assert len(errors) == 9 - launch.ATTEMPTS
    errors[:] = ["rank 1 on here: ValueError: loss is nan", ""]
    with pytest.raises(LaunchError, match="loss is nan"):
        launch.run(tmp_path / "job.json", TWO, "worker", "none")
