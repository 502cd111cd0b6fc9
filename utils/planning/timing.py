"""Seconds of a training and of its answers: work, memory's bandwidth, the host's launches, and what several devices exchange.

The host's time is that of launching a network's operations, whatever their size: it is measured on a copy that is narrow and as deep.
"""

import time
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import nn
from transformers import AutoModel

from utils.core.recipe import Recipe
from utils.models import shapes
from utils.models.build import ENCODERS
from utils.models.decoders import decoder_class
from utils.models.encoders import EncoderClassifier
from utils.models.precision import autocast, device, weights_dtype
from utils.models.trained import make_trainable, plain
from utils.planning.cost import NF4_BYTES, Cost
from utils.planning.devices import CPU, Device, wait
from utils.training import engines
from utils.training.packing import pad
from utils.training.tries import build_batch

ROWS = [(1, 2, 3), (1, 2, 4), (5, 6)]
WARM, REPEATS = 1, 3
# A GPU's launches of a network in its full width, against those of the narrow one on the same GPU, and against what the narrow
# one takes on a core; and the share of them that is left in compiled layers (Gemma-3-12B on an H200: benchmarks/gpu.py).
ON_GPU, FROM_CORE, COMPILED = 1.15, 2.5, 0.35
FUSED = 1.45  # compiled layers score so much faster


@dataclass(frozen=True)
class Host:
    """Seconds of the host: for the forward and backward pass of a micro-batch, for an optimizer step, for a scored batch."""

    micro_batch: float
    step: float
    scoring: float


@dataclass(frozen=True)
class Load:
    """What is computed: batches, tokens in all, optimizer steps, and the cost of a pack of so many tokens."""

    batches: float
    tokens: float
    cost: Cost
    pack: float
    steps: float = 0.0

    @property
    def flops(self) -> float:
        """Floating-point operations in all."""
        return self.cost.flops * self.tokens / self.pack

    @property
    def moved(self) -> float:
        """Bytes in all that operations read and write, matrix products apart."""
        return self.cost.moved * self.tokens / self.pack


def training_seconds(load: Load, recipe: Recipe, host: Host, device: Device, devices: float = 1.0) -> float:
    """Seconds of a training on so many devices of a kind, all of which share it."""
    size = weight_bytes(recipe, load.cost)
    passes = 3 if recipe.checkpointing else 2  # each reads all weights
    busy = _busy(load, load.batches * host.micro_batch, passes * size, device, devices * device.training, devices)
    # ZeRO-3 gathers the weights for each pass; other engines exchange gradients once a step.
    gathered = load.batches * passes * size if recipe.zero_stage == 3 else 0.0
    reduced = load.steps * 2 * 4 * load.cost.trained if recipe.zero_stage else 0.0
    return busy + load.steps * host.step + (gathered + reduced) / device.link


def scoring_seconds(load: Load, recipe: Recipe, host: Host, device: Device, devices: float = 1.0) -> float:
    """Seconds of answering on so many devices of a kind."""
    share = device.scoring * (FUSED if recipe.compiled and device.name != CPU else 1.0)
    size = weight_bytes(recipe, load.cost)
    return _busy(load, load.batches * host.scoring, size, device, devices * share, devices)


def weight_bytes(recipe: Recipe, cost: Cost) -> float:
    """Bytes of a network's weights, whole."""
    if recipe.quantisation == "nf4":
        return cost.parameters * NF4_BYTES
    return cost.parameters * weights_dtype(recipe).itemsize


def _busy(load: Load, launches: float, weights: float, device: Device, peaks: float, devices: float) -> float:
    """Seconds of `launches` and of the work at so many `peaks`, or those of the memory where they are more.

    Short operations take as long as their launch, long ones come on top: that is what was measured on a GPU, where a step's
    seconds grow with its tokens from those of the launches. The memory gives all weights for every batch, and what operations besides
    matrix products move, meanwhile; a core does that too one after the other, and its peak has the weights in.
    """
    busy = load.flops / (device.peak * peaks) + launches
    moved = load.moved / devices
    if device.name == CPU:
        return busy + moved / device.bandwidth
    return max(busy, (load.batches * weights + moved) / device.bandwidth)


def scale_host(host: Host, recipe: Recipe, device: Device) -> Host:
    """The host's time for a device to plan for, from the one that was measured on this machine."""
    factor = launch_factor(device) * (COMPILED if recipe.compiled and device.name != CPU else 1.0)
    return Host(*(factor * seconds for seconds in (host.micro_batch, host.step, host.scoring)))


def launch_factor(device: Device) -> float:
    """What the measured time of launches is multiplied with."""
    if device.name == CPU:
        return 1.0
    return ON_GPU if torch.cuda.is_available() else FROM_CORE


def measure_host(recipe: Recipe, folder: str = "") -> Host:
    """The host's time of a recipe's network on this machine's GPU, else a core; measured once for recipes that are alike in it.

    `folder` holds local weights (empty: none). Raises WeightsError for a model without a shape in the zoo and without weights.
    """
    names = ["family", "model", "architecture", "pooling", "tuning", "lora_rank", "checkpointing"]
    gpu = torch.cuda.is_available()
    if gpu:
        names.append("precision")
    host = _measure(Recipe("plan", **{name: getattr(recipe, name) for name in names}), folder)
    if gpu:
        torch.cuda.empty_cache()  # the run's own networks want this memory
    return host


@cache
def _measure(recipe: Recipe, folder: str) -> Host:
    threads, seconds = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        model = make_trainable(_network(recipe, folder), recipe)
        engine = engines.start(model.train(), recipe)
        for _ in range(WARM + REPEATS):
            times = [_clock()]
            engine.backward(_forward(model, recipe).sum(), last=True)
            times.append(_clock())
            engine.step()
            times.append(_clock())
            with torch.inference_mode():
                _forward(model, recipe)
            times.append(_clock())
            seconds.append(np.diff(times))
        return Host(*np.median(seconds[WARM:], axis=0).tolist())
    finally:
        torch.set_num_threads(threads)


def _clock() -> float:
    """The time when a GPU has done its work."""
    wait(device())
    return time.perf_counter()


def _network(recipe: Recipe, folder: str) -> nn.Module:
    """The narrow network with random weights."""
    config = shapes.narrow(recipe.model, folder)
    config.num_labels, config.use_cache, config.pad_token_id = 2, False, 0
    if config.model_type in ENCODERS:
        encoder = AutoModel.from_config(config, add_pooling_layer=False)
        return EncoderClassifier(encoder, recipe.pooling, recipe.architecture == "bi-encoder")
    config._attn_implementation = "eager"
    return decoder_class(config)(config)


def _forward(model: nn.Module, recipe: Recipe) -> torch.Tensor:
    """Logits of a few short rows."""
    with autocast(recipe):
        inner = plain(model)
        if isinstance(inner, EncoderClassifier):
            batch = {name: value.to(device()) for name, value in pad(ROWS, 0).items()}
            if not inner.bi_encoder:
                return model(**batch).logits.float()
            vectors = inner.embed(**batch)
            return inner.compare(vectors, vectors).float()
        return model(**build_batch(ROWS, False, device())).logits.float()
