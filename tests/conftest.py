"""What several test files share: a small data folder, and the packaged weights."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from utils import models, sample, weights
from utils.paths import ROOT


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of both tasks with 400 training rows each and a solution."""
    folder = tmp_path_factory.mktemp("small")
    sample.make_sample(folder, rows=400, seed=5)
    return folder


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded data set at half of its usual size."""
    folder = tmp_path_factory.mktemp("sample")
    sample.make_sample(folder, rows=4000)
    return folder


@pytest.fixture(scope="session")
def e5() -> Path:
    return weights.resolve("multilingual-e5-small")


@pytest.fixture(scope="session")
def gemma() -> Path:
    return weights.resolve("gemma-3-270m")


@pytest.fixture(scope="session")
def tiny_gemma(gemma: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights in which `gemma-3-270m` is a tiny random network of its class, wide enough for 4 bits."""
    base = tmp_path_factory.mktemp("models") / "gemma-3-270m"
    models.load_tokenizer(gemma).save_pretrained(base)
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=262_144, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=64,
        intermediate_size=64, layer_types=["sliding_attention", "full_attention"], sliding_window=6,
    )  # fmt: skip
    Gemma3ForCausalLM(config).save_pretrained(base)
    return base.parent


@pytest.fixture(scope="session")
def shell():
    """Runs a command of the project from its root and gives the finished process."""

    def run(*command: str, **options: object) -> subprocess.CompletedProcess:
        command = (sys.executable, *command[1:]) if command[0] == "python" else command
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **options)

    return run
