"""The plan's seconds: launches and arithmetic, or the memory where it takes longer; a core does one after the other."""

from dataclasses import replace

import pytest
import torch

from utils.core.recipe import Recipe
from utils.models import shapes
from utils.planning import devices
from utils.planning.cost import Cost
from utils.planning.timing import (
    COMPILED,
    FUSED,
    Host,
    Load,
    launch_factor,
    measure_host,
    scale_host,
    scoring_seconds,
    training_seconds,
    weight_bytes,
)

RECIPE = Recipe("a", "qwen", "qwen3-0.6b", pooling="last", precision="bfloat16")
COST = Cost(1000, 10, 2000, 0, 0, 0, flops=1e9, moved=1e3)  # of a pack of 100 tokens
HOST = Host(micro_batch=0.1, step=0.5, scoring=0.02)
GPU = devices.Device("gpu", 1e9, 1e12, 4, 0.5, 0.25, bandwidth=1e6, link=1e4)
CORE = devices.Device(devices.CPU, 1e9, 1e12, 2, 0.5, 0.5, bandwidth=1e7)


def load(packs: float, steps: float = 0.0) -> Load:
    """Ten batches of so many packs in all."""
    return Load(10, 100 * packs, COST, 100, steps)


@pytest.mark.parametrize(
    ("packs", "bandwidth", "seconds"),
    [
        (1e3, 1e7, 3.0),  # arithmetic, 1e12 at half of the peak, after the launches of ten batches, .1 s each
        (1, 1e6, 1.002),  # hardly anything but launches
        (1, 1e4, 4.1),  # the memory: ten times two passes over 2,000 bytes, and what a pack moves
    ],
)
def test_a_gpu_launches_and_computes_or_waits_for_its_memory(packs: float, bandwidth: float, seconds: float) -> None:
    gpu = replace(GPU, bandwidth=bandwidth)
    assert training_seconds(load(packs), RECIPE, HOST, gpu) == pytest.approx(seconds)
    checkpointed = training_seconds(load(1), RECIPE.with_(checkpointing=True), HOST, gpu)
    assert checkpointed == pytest.approx(max(1.002, (10 * 3 * 2000 + 1e3) / bandwidth))


def test_answers_take_a_share_of_the_peak_of_their_own_and_compiled_layers_more_of_it() -> None:
    assert scoring_seconds(load(1e3), RECIPE, HOST, GPU) == pytest.approx(0.2 + 4.0)
    compiled = RECIPE.with_(compiled=True)
    assert scoring_seconds(load(1e3), compiled, HOST, GPU) == pytest.approx(0.2 + 4.0 / FUSED)
    assert scoring_seconds(load(1e3), compiled, HOST, CORE) == scoring_seconds(load(1e3), RECIPE, HOST, CORE)


def test_launches_are_scaled_for_a_gpu_and_fewer_of_compiled_layers() -> None:
    assert scale_host(HOST, RECIPE.with_(compiled=True), CORE) == HOST
    assert (
        scale_host(HOST, RECIPE, GPU).step == pytest.approx(launch_factor(GPU) * HOST.step) and launch_factor(GPU) > 1
    )
    assert scale_host(HOST, RECIPE.with_(compiled=True), GPU).scoring == pytest.approx(
        COMPILED * launch_factor(GPU) * HOST.scoring
    )


def test_a_core_does_one_after_the_other_and_steps_come_on_top() -> None:
    assert training_seconds(load(1e3, 2), RECIPE, HOST, CORE) == pytest.approx(2.0 + 1.0 + 0.1 + 2 * 0.5)
    assert scoring_seconds(load(1e3), RECIPE, HOST, CORE) == pytest.approx(2.0 + 0.2 + 0.1)
    assert scoring_seconds(load(1e3), RECIPE, HOST, CORE, 2) == pytest.approx(1.0 + 0.2 + 0.05)  # two cores


def test_sharded_weights_travel_for_every_pass() -> None:
    alone, second, third = (
        training_seconds(load(1, 2), RECIPE.with_(zero_stage=stage), HOST, GPU) for stage in (0, 2, 3)
    )
    assert second - alone == pytest.approx(2 * 2 * 4 * 10 / 1e4)
    assert third - second == pytest.approx(10 * 2 * 2000 / 1e4)


def test_weights_take_the_bytes_of_their_precision() -> None:
    assert weight_bytes(RECIPE, COST) == 2000 and weight_bytes(RECIPE.with_(precision="float32"), COST) == 4000
    assert (
        weight_bytes(RECIPE.with_(tuning="full"), COST) == 4000
    )  # 16 bits are for what is computed, not for what is kept
    assert 500 < weight_bytes(RECIPE.with_(quantisation="nf4"), COST) < 550


def test_the_host_is_measured_on_a_network_as_deep_and_leaves_the_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    assert shapes.narrow("qwen3-0.6b").num_hidden_layers == 28
    host = measure_host(RECIPE)
    assert host.micro_batch > host.scoring > 0 < host.step and torch.get_num_threads() == before
    assert measure_host(RECIPE.with_(name="b", rows=3)) is host
    kinds = shapes.narrow("gemma-3-12b").layer_types
    assert len(kinds) == 48 and kinds.count("full_attention") == 8
