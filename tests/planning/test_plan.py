"""The plan's arithmetic against what small networks really take, and its counts against full ones."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, Shell

from utils import pipeline, profiles
from utils.core import paths
from utils.core.errors import DeviceError
from utils.core.paths import Run
from utils.models import build, shapes, tiny, weights
from utils.planning import devices, plan, printout, sampling
from utils.planning.cost import pack_cost
from utils.profiles.a100 import A100, NETWORKS
from utils.training import packing, tokens

CANDIDATES = {recipe.name: recipe for recipe in A100.candidates}
NF4 = "--set gemma-3-12b.quantisation=nf4 --set gemma-3-12b.zero_stage=2"  # advice that can be pasted
LONG = pytest.mark.long


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("multilingual-e5-small", 256),
        pytest.param("multilingual-e5-small", 512, marks=LONG),
        pytest.param("multilingual-e5-small", 1024, marks=LONG),
        pytest.param("gemma-3-270m", 256, marks=LONG),
        ("gemma-3-270m", 512),
        pytest.param("gemma-3-270m", 1024, marks=LONG),
    ],
)
def test_planned_memory_is_near_the_measured(name: str, tokens: int) -> None:
    """Freed blocks go back to the system at once, so that what is resident is what is alive."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "benchmarks" / "plan.py"), "--memory", name, str(tokens)]
    process = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    memory = json.loads(process.stdout.splitlines()[-1])
    assert 0.85 < memory["planned"] / memory["measured"] < 1.15, memory


def test_more_of_anything_costs_more() -> None:
    recipe, config = CANDIDATES["qwen3-8b"], shapes.config("qwen3-8b")
    base = pack_cost(recipe, config, 2048, 60, train=True)
    assert 7.5e9 < base.parameters < 8.2e9
    assert 5.5 < base.flops / 2048 / 7.0e9 < 7  # LoRA with checkpointing: three passes of two operations a weight
    assert pack_cost(recipe.with_(checkpointing=False), config, 2048, 60, True).activations > 5 * base.activations
    assert pack_cost(recipe, config, 4096, 60, True).activations > 1.5 * base.activations
    assert pack_cost(recipe.with_(quantisation="nf4"), config, 2048, 60, True).weights < 0.45 * base.weights
    sharded = pack_cost(recipe.with_(zero_stage=3), config, 2048, 60, True, world=4)
    assert sharded.weights < 0.4 * base.weights and sharded.optimizer < base.optimizer


def test_a_misfit_names_the_settings_to_change(small: Path) -> None:
    texts = sampling.read_texts(small)
    device = devices.Device("t4-16gb", 16e9, 65e12)
    large = next(recipe for recipe in A100.recipes("QC") if recipe.name == "gemma-3-12b")
    planner = plan._Planner(A100, texts, device, "")
    assert f": {NF4} --set gemma-3-12b.pack_tokens=2048 (then " in planner.misfit(large, 4096, 60)
    assert planner.misfit(large.with_(quantisation="nf4"), 512, 60) == ""


def test_devices_are_opened_by_name() -> None:
    device, why = devices.open_device("4xa100-80gb")
    assert (device.count, device.memory, why) == (4, 80e9, "named with --gpu")
    with pytest.raises(DeviceError, match="use one of a100-80gb"):
        devices.open_device("a100")


@pytest.mark.parametrize("task", ["QC", "QI"])
def test_sampled_tokens_are_those_of_a_full_count(task: str, sample_folder: Path) -> None:
    table = sampling.read_texts(sample_folder)[task].train
    recipe = next(recipe for recipe in A100.recipes(task) if recipe.name == "gemma-3-12b")
    tokenizer = build.load_tokenizer(weights.resolve("gemma-3-270m"))
    steps, blocks = (
        sampling.sample_steps(table, recipe, task, 1600),
        sampling.sample_neighbours(table, recipe, task, 1600),
    )
    each, _ = sampling.encode_parts(table, recipe, task, tokenizer, steps).tokens(recipe.pack_tokens)
    scored, _ = sampling.encode_parts(table, recipe, task, tokenizer, blocks).tokens(recipe.score_tokens)
    encoded = tokens.encode(table, task, tokenizer, recipe, encoder=False)
    steps = packing.training_steps(encoded, recipe.with_(epochs=1.0))
    full = sum(packing.count_tokens(encoded, pack) for step in steps for pack in step) / len(table)
    packs = packing.batches(encoded, np.arange(len(table)), recipe.score_tokens)
    read = sum(packing.count_tokens(encoded, pack) for pack in packs) / len(table)
    assert abs(each / full - 1) < 0.05 and abs(scored / read - 1) < 0.05


def test_the_plan_of_the_a100_run_names_every_step(small: Path) -> None:
    device, why = devices.open_device("4xa100-80gb")
    steps = plan.make_plan(A100, sampling.read_texts(small), device, "")
    text = printout.write_plan(steps, device, why, 1e9)
    assert {step.name for step in steps} >= {recipe.name for recipe in NETWORKS}
    assert "gemma-3-12b, final" in text and "total:" in text and "fits:    everything" in text
    assert all(step.hours > 0 and step.cost.peak > 0 for step in steps)
    assert pd.Series([step.notebook for step in steps]).is_monotonic_increasing and len(steps) > 20


@pytest.fixture
def arguments(small: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments of an a100 run whose data and weights are all there."""
    monkeypatch.setattr(paths, "ROOT", project)
    monkeypatch.setattr(tiny, "REHEARSAL", project / "data" / "generated" / "rehearsal")
    models = tiny.make_models(profiles.load("a100", "profile.candidates=gemma-3-12b").models)
    chosen = ["--profile", "a100", "--candidates", "gemma-3-12b", "--run", "test-refused"]
    return [*chosen, "--data", str(small), "--models", str(models)]


def test_a_gpu_too_small_is_refused_before_anything_runs(arguments: list[str], shell: Shell) -> None:
    process = shell("python", "-m", "utils.pipeline", *arguments, "--gpu", "t4-16gb")
    assert process.returncode == 2 and "01_eda" not in process.stdout
    assert "does not fit:" in process.stdout and NF4 in process.stdout
    assert not Run("test-refused").root.exists()


def test_a_full_disk_is_refused_before_anything_runs(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(pipeline.shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    assert pipeline.main([*arguments, "--gpu", "4xa100-80gb"]) == pipeline.REFUSED
    text = capsys.readouterr().out
    assert "1.0 GB free; make room" in text and "01_eda" not in text and not Run("test-refused").root.exists()


def test_networks_that_cannot_be_had_are_refused_with_the_command_that_gets_them(small: Path, shell: Shell) -> None:
    process = shell(
        "python", "-m", "utils.pipeline", "--profile", "a100", "--candidates", "gemma-3-12b", "--data", small
    )
    assert process.returncode == 2 and "run: hf auth login && hf download google/gemma-3-12b-pt" in process.stderr
    assert "01_eda" not in process.stdout
