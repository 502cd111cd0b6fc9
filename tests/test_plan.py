"""The plan's arithmetic against what small networks really take, and its counts against full ones."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import memory
import numpy as np
import pandas as pd
import pytest
import torch

from utils import devices, models, packing, plan, profiles, rehearsal, road, shapes, tokens, weights
from utils.cost import pack_cost
from utils.paths import ROOT, Run
from utils.zoo import ZOO

RUNGS = {recipe.name: recipe for recipe in (*profiles.LAPTOP.ladder, *profiles.A100.ladder)}


@pytest.mark.parametrize("name", [name for name, model in ZOO.items() if name in shapes.SHAPES])
def test_shapes_have_the_parameters_that_the_hub_tells(name: str) -> None:
    from transformers import AutoModel, AutoModelForCausalLM

    config = shapes.config(name)
    with torch.device("meta"):
        kind = AutoModel if ZOO[name].family == "xlm-r" else AutoModelForCausalLM
        found = sum(p.numel() for p in kind.from_config(config).parameters())
    seen = 0.42e9 if name in shapes.MULTIMODAL else 0  # the tower that the road leaves out
    assert abs(found + seen - ZOO[name].parameters) / ZOO[name].parameters < 0.01


@pytest.mark.parametrize("name", [name for name in ZOO if name in shapes.SHAPES])
def test_a_tiny_network_keeps_class_and_ratios(name: str) -> None:
    true, small = shapes.config(name), shapes.tiny(name)
    assert type(small) is type(true) and small.num_hidden_layers == 2
    if hasattr(true, "num_key_value_heads") and ZOO[name].family != "xlm-r":
        assert (
            small.num_attention_heads / small.num_key_value_heads == true.num_attention_heads / true.num_key_value_heads
        )
    assert small.vocab_size == true.vocab_size


@pytest.mark.parametrize("tokens", [256, 512, 1024])
@pytest.mark.parametrize("name", ["multilingual-e5-small", "gemma-3-270m"])
def test_planned_memory_is_near_the_measured(name: str, tokens: int) -> None:
    """Freed blocks go back to the system at once, so that what is resident is what is alive."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests" / "memory.py"), name, str(tokens)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert 0.85 < told["planned"] / told["measured"] < 1.15, told


@pytest.mark.parametrize("name", ["multilingual-e5-small", "gemma-3-270m"])
def test_planned_time_is_near_the_measured(name: str) -> None:
    """At the utilisation that the plan states for a CPU; the better of two runs, as a machine is seldom alone."""
    packs = memory.open_packs(name, 512)
    network = packs.network()
    measured = packs.recipe.batch_rows / max(packs.train(network).rows_per_s for _ in range(2))
    planned = packs.cost().flops / (devices.ON_CPU * devices.measure_peak(torch.device("cpu"), torch.float32))
    assert 0.5 < planned / measured < 2, (planned, measured)


def test_more_of_anything_costs_more() -> None:
    recipe, config = RUNGS["qwen3-8b"], shapes.config("qwen3-8b")
    base = pack_cost(recipe, config, 2048, 60, train=True)
    assert 7.5e9 < base.parameters < 8.2e9
    assert 5.5 < base.flops / 2048 / 7.0e9 < 7  # LoRA with checkpointing: three passes of two operations a weight
    assert pack_cost(recipe.with_(checkpointing=False), config, 2048, 60, True).activations > 5 * base.activations
    assert pack_cost(recipe, config, 4096, 60, True).activations > 1.5 * base.activations
    assert pack_cost(recipe.with_(quantisation="nf4"), config, 2048, 60, True).weights < 0.45 * base.weights
    dealt = pack_cost(recipe.with_(zero_stage=3), config, 2048, 60, True, world=4)
    assert dealt.weights < 0.4 * base.weights and dealt.optimizer < base.optimizer


def test_what_does_not_fit_names_the_knob(small: Path) -> None:
    texts = plan.read_texts(small)
    device = devices.Device("t4-16gb", 16e9, 65e12)
    large = next(recipe for recipe in profiles.A100.recipes("QC") if recipe.name == "gemma-3-12b")
    planner = plan._Planner(profiles.A100, texts, device, "")
    assert "set quantisation='nf4', zero_stage=2" in planner.misfit(large, 4096, 60)
    assert planner.misfit(large.with_(quantisation="nf4"), 512, 60) == ""


def test_devices_are_found_by_name() -> None:
    found, why = devices.open_device("4xa100-80gb")
    assert (found.count, found.memory, why) == (4, 80e9, "named with --gpu")
    with pytest.raises(devices.DeviceError, match="use one of a100-80gb"):
        devices.open_device("a100")


@pytest.mark.parametrize("task", ["QC", "QI"])
def test_sampled_tokens_are_those_of_a_full_count(task: str, sample_folder: Path) -> None:
    table = plan.read_texts(sample_folder)[task].train
    recipe = next(recipe for recipe in profiles.A100.recipes(task) if recipe.name == "gemma-3-12b")
    tokenizer = models.load_tokenizer(weights.resolve("gemma-3-270m"))
    steps, blocks = plan.some_steps(table, recipe, task, 1600), plan.some_neighbours(table, recipe, task, 1600)
    each, _ = plan.encode_parts(table, recipe, task, tokenizer, steps).tokens(recipe.pack_tokens)
    scored, _ = plan.encode_parts(table, recipe, task, tokenizer, blocks).tokens(recipe.score_tokens)
    encoded = tokens.encode(table, task, tokenizer, recipe, encoder=False)
    steps = packing.training_steps(encoded, recipe.with_(epochs=1.0))
    full = sum(packing.count_tokens(encoded, pack) for step in steps for pack in step) / len(table)
    packs = packing.batches(encoded, np.arange(len(table)), recipe.score_tokens)
    read = sum(packing.count_tokens(encoded, pack) for pack in packs) / len(table)
    assert abs(each / full - 1) < 0.05 and abs(scored / read - 1) < 0.05


def test_the_plan_of_the_large_road_names_every_step(small: Path) -> None:
    device, why = devices.open_device("4xa100-80gb")
    steps = plan.make_plan(profiles.A100, plan.read_texts(small), device, "")
    told = plan.write_plan(steps, device, why, 1e9)
    assert {step.name for step in steps} >= {recipe.name for recipe in profiles.RUNGS}
    assert "gemma-3-12b, final" in told and "in all:" in told and "fits:    everything" in told
    assert all(step.hours > 0 and step.cost.peak > 0 for step in steps)
    assert pd.Series([step.notebook for step in steps]).is_monotonic_increasing and len(steps) > 20


@pytest.fixture(scope="module")
def large_road(small: Path) -> list[str]:
    """Arguments of the large road with everything in place but what a test takes away."""
    models = rehearsal.make_models(profiles.load("a100", rungs="gemma-3-12b").models)
    return [
        "--profile",
        "a100",
        "--rungs",
        "gemma-3-12b",
        "--data",
        str(small),
        "--models",
        str(models),
        "--run",
        "test-refused",
    ]


def test_a_gpu_too_small_is_refused_before_anything_runs(large_road: list[str], shell) -> None:
    done = shell("python", "-m", "utils.road", *large_road, "--gpu", "t4-16gb")
    assert done.returncode == 2 and "01_eda" not in done.stdout
    assert "does not fit:" in done.stdout and "set quantisation='nf4', zero_stage=2" in done.stdout
    assert not Run("test-refused").root.exists()


def test_a_full_disk_is_refused_before_anything_runs(
    large_road: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(road.shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    assert road.main([*large_road, "--gpu", "4xa100-80gb"]) == road.REFUSED
    told = capsys.readouterr().out
    assert "1.0 GB free; make room" in told and "01_eda" not in told and not Run("test-refused").root.exists()


def test_networks_that_cannot_be_had_are_refused_with_the_command_that_gets_them(small: Path, shell) -> None:
    done = shell("python", "-m", "utils.road", "--profile", "a100", "--rungs", "gemma-3-12b", "--data", str(small))
    assert done.returncode == 2 and "run: hf auth login && hf download google/gemma-3-12b-pt" in done.stderr
    assert "01_eda" not in done.stdout
