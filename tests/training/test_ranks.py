"""Packs under the engines of several processes: two ranks that share a step's packs end where one process ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from utils.core.paths import ROOT

SCRIPT = str(ROOT / "tests" / "training" / "ranks.py")
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
        [*launch, SCRIPT, mode, alone], capture_output=True, text=True, env=ENVIRONMENT, timeout=600, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
    expected, tensors = load_file(alone / "alone.safetensors"), load_file(alone / f"{mode}.safetensors")
    assert tensors.keys() == expected.keys() and len(tensors) > 10
    for name, value in expected.items():
        assert (tensors[name] - value).abs().max() < 1e-5, name
