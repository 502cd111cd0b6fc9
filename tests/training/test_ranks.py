"""Packs under the engines of several processes: two ranks that share a step's packs end where one process ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import ranks
import shards
from safetensors.torch import load_file

from utils.core.paths import ROOT
from utils.training.predict import predict_log_odds

SCRIPT, SHARDS = (str(ROOT / "tests" / "training" / name) for name in ("ranks.py", "shards.py"))
ENVIRONMENT = os.environ | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    process = subprocess.run(
        [sys.executable, SCRIPT, "alone", folder], capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert process.returncode == 0, process.stderr
    return folder


@pytest.mark.parametrize("mode", ["ddp", "zero2", "zero3"])
def test_two_ranks_end_where_one_process_ends(alone: Path, mode: str) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    process = subprocess.run(
        [*launch, SCRIPT, mode, alone], capture_output=True, text=True, env=ENVIRONMENT, timeout=150, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
    expected, tensors = load_file(alone / "alone.safetensors"), load_file(alone / f"{mode}.safetensors")
    assert tensors.keys() == expected.keys() and len(tensors) > 10
    for name, value in expected.items():
        assert (tensors[name] - value).abs().max() < 1e-5, name


def test_a_sharded_network_is_never_whole_on_a_device(tmp_path: Path) -> None:
    """Neither when it is loaded, nor when it scores, where one rank has fewer batches than the other."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    process = subprocess.run(
        [*launch, SHARDS, tmp_path], capture_output=True, text=True, env=ENVIRONMENT, timeout=150, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
    found = json.loads((tmp_path / "shards.json").read_text())
    for held in (found["train"], found["score"]):
        assert held["all"] / 2 <= held["shards"] < 0.51 * held["all"]
    model = ranks.network().eval()
    encoded = shards.ENCODED
    odds = predict_log_odds(model, encoded, 24, 0, "", "none")
    assert np.abs(odds - found["odds"]).max() < 1e-5 and np.abs(odds - found["shared"]).max() < 1e-5
