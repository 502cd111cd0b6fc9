"""Seconds of a training and of its answers: work, memory's bandwidth, the host's launches, and what several devices exchange."""

from dataclasses import dataclass

from utils.core.recipe import Recipe
from utils.models.precision import weights_dtype
from utils.planning.cost import NF4_BYTES, Cost
from utils.planning.devices import CPU, Device
from utils.planning.host import Host


@dataclass(frozen=True)
class Load:
    """What is computed: batches, their floating-point operations in all, and optimizer steps."""

    batches: float
    flops: float
    steps: float = 0.0


def training_seconds(load: Load, recipe: Recipe, cost: Cost, host: Host, device: Device, speed: float) -> float:
    """Seconds of a training at `speed` FLOP/s, of all devices that share it."""
    size = weight_bytes(recipe, cost)
    passes = 3 if recipe.checkpointing else 2  # each reads all weights
    busy = _busy(load, host.micro_batch, passes * size, device, speed)
    # ZeRO-3 gathers the weights for each pass; other engines exchange gradients once a step.
    gathered = load.batches * passes * size if recipe.zero_stage == 3 else 0.0
    reduced = load.steps * 2 * 4 * cost.trained if recipe.zero_stage else 0.0
    return busy + load.steps * host.step + (gathered + reduced) / device.link


def scoring_seconds(load: Load, recipe: Recipe, cost: Cost, host: Host, device: Device, speed: float) -> float:
    """Seconds of answering, at `speed` FLOP/s."""
    return _busy(load, host.scoring, weight_bytes(recipe, cost), device, speed)


def weight_bytes(recipe: Recipe, cost: Cost) -> float:
    """Bytes of a network's weights, whole."""
    if recipe.quantisation == "nf4":
        return cost.parameters * NF4_BYTES
    return cost.parameters * weights_dtype(recipe).itemsize


def _busy(load: Load, host: float, moved: float, device: Device, speed: float) -> float:
    """Seconds in which the slowest of three is busy: the host, the arithmetic, the memory. A core does them one after the other."""
    work, launches = load.flops / speed, load.batches * host
    if device.name == CPU:
        return work + launches
    return max(work, launches, load.batches * moved / device.bandwidth)
