"""What several test files share: small data folders, the packaged weights, tiny networks, and a copy of the project to run in.

Tests write under temporary folders alone: whatever lies in `data/raw`, `data/cache` or `runs` is neither read nor changed.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import configuration, settings
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from utils.core import paths
from utils.models import build, tiny, weights
from utils.sample import dataset

ROOT = paths.ROOT
Shell = Callable[..., subprocess.CompletedProcess]
# Generated cases are the same in every run; `--hypothesis-profile=all` draws fresh ones and prints how to repeat a failure.
settings.register_profile("default", derandomize=True, database=None, deadline=None)
settings.register_profile("all", print_blob=True, database=None, deadline=None)
# `tests/run.sh --long` draws more than ten thousand hostile files, and kills more runs.
settings.register_profile("long", print_blob=True, database=None, deadline=None)
settings.load_profile("default")
# The longest files come first, so that no worker is left with one at the end.
FIRST = (
    "test_rehearsal", "test_pipeline", "test_kills", "test_launch", "test_benchmarks", "test_house", "test_notebooks", "test_tries",
    "test_loop",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first."""
    order = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session", autouse=True)
def nothing_beside(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What hypothesis keeps goes to a temporary folder too."""
    configuration.set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))


def is_long_run() -> bool:
    """Whether these are the tests of `tests/run.sh --long`; known once pytest has read its arguments."""
    return settings.get_current_profile_name() == "long"


def copy_project(copy: Path) -> Path:
    """The project without data, runs or caches, sharing environment and packaged weights."""
    for name in ("utils", "notebooks", "data/sample", "submissions/figures"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for name in ("run_all.sh", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, copy / name)
    (copy / ".venv").symlink_to(Path(sys.prefix))
    (copy / "data" / "weights").symlink_to(paths.WEIGHTS)
    return copy


def open_environment(project: Path) -> dict[str, str]:
    """Of a process that is to import a copy's package, its kernels too."""
    return os.environ | {"PYTHONPATH": str(project), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def open_shell(project: Path) -> Shell:
    """Runs a command of the project from a copy's root and gives the finished process."""

    def run(*command: object, **options: object) -> subprocess.CompletedProcess:
        arguments = [sys.executable if command[0] == "python" else command[0], *command[1:]]
        options = {"env": open_environment(project), "input": ""} | options
        return subprocess.run(
            list(map(str, arguments)), cwd=project, capture_output=True, text=True, check=False, **options
        )

    return run


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def environment(project: Path) -> dict[str, str]:
    return open_environment(project)


@pytest.fixture(scope="session")
def shell(project: Path) -> Shell:
    return open_shell(project)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of both tasks with 400 training rows each and a solution."""
    folder = tmp_path_factory.mktemp("small")
    dataset.make_sample(folder, rows=400, seed=5)
    return folder


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded data set at half of its usual size."""
    folder = tmp_path_factory.mktemp("sample")
    dataset.make_sample(folder, rows=4000)
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
    build.load_tokenizer(gemma).save_pretrained(base)
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=262_144, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=64,
        intermediate_size=64, layer_types=["sliding_attention", "full_attention"], sliding_window=6,
    )  # fmt: skip
    Gemma3ForCausalLM(config).save_pretrained(base)
    return base.parent


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which both packaged models are tiny random networks of their classes, with their true tokenizers."""
    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "REHEARSAL", folder)
        return tiny.make_models(["multilingual-e5-small", "gemma-3-270m"])
