"""Seconds of a training and of its answers: work, memory's bandwidth, the host's launches, and what several devices exchange.

The host's time is that of launching a network's operations, whatever their size: it is measured on a copy that is narrow and as deep.
"""

import time
from dataclasses import dataclass
from functools import cache
from statistics import median

import torch
from torch import nn
from transformers import AutoModel

from utils.core.recipe import Recipe
from utils.models import shapes
from utils.models.build import ENCODERS
from utils.models.decoders import decoder_class
from utils.models.encoders import EncoderClassifier
from utils.models.precision import autocast, weights_dtype
from utils.models.trained import make_trainable, plain
from utils.planning.cost import NF4_BYTES, Cost
from utils.planning.devices import CPU, Device
from utils.training import engines
from utils.training.packing import pad
from utils.training.tries import build_batch

ROWS = [(1, 2, 3), (1, 2, 4), (5, 6)]
REPEATS = 3


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


def training_seconds(load: Load, recipe: Recipe, host: Host, device: Device, speed: float) -> float:
    """Seconds of a training at `speed` FLOP/s, of all devices that share it."""
    size = weight_bytes(recipe, load.cost)
    passes = 3 if recipe.checkpointing else 2  # each reads all weights
    busy = _busy(load, host.micro_batch, passes * size, device, speed)
    # ZeRO-3 gathers the weights for each pass; other engines exchange gradients once a step.
    gathered = load.batches * passes * size if recipe.zero_stage == 3 else 0.0
    reduced = load.steps * 2 * 4 * load.cost.trained if recipe.zero_stage else 0.0
    return busy + load.steps * host.step + (gathered + reduced) / device.link


def scoring_seconds(load: Load, recipe: Recipe, host: Host, device: Device, speed: float) -> float:
    """Seconds of answering, at `speed` FLOP/s."""
    return _busy(load, host.scoring, weight_bytes(recipe, load.cost), device, speed)


def weight_bytes(recipe: Recipe, cost: Cost) -> float:
    """Bytes of a network's weights, whole."""
    if recipe.quantisation == "nf4":
        return cost.parameters * NF4_BYTES
    return cost.parameters * weights_dtype(recipe).itemsize


def _busy(load: Load, host: float, weights: float, device: Device, speed: float) -> float:
    """Seconds in which the slowest of three is busy: the host, the arithmetic, the memory. A core does them one after the other.

    The memory gives all weights for every batch, and what operations besides matrix products move; a core's peak has the
    weights in.
    """
    work, launches = load.flops / speed, load.batches * host
    devices = speed / (device.peak * device.utilisation)
    if device.name == CPU:
        return work + launches + load.moved / device.bandwidth / devices
    return max(work, launches, (load.batches * weights + load.moved / devices) / device.bandwidth)


def measure_host(recipe: Recipe, folder: str = "") -> Host:
    """The host's time of a recipe's network on this machine's CPU, on one thread; measured once for recipes that are alike in it.

    `folder` holds local weights (empty: none). Raises WeightsError for a model without a shape in the zoo and without weights.
    """
    names = ("family", "model", "architecture", "pooling", "tuning", "lora_rank", "checkpointing")
    return _measure(Recipe("", **{name: getattr(recipe, name) for name in names}), folder)


@cache
def _measure(recipe: Recipe, folder: str) -> Host:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = make_trainable(_network(recipe, folder), recipe)
        engine, seconds = engines.Plain(model.train(), recipe), []
        for _ in range(REPEATS):
            start = time.perf_counter()
            engine.backward(_forward(model, recipe).sum(), last=True)
            middle = time.perf_counter()
            engine.step()
            end = time.perf_counter()
            with torch.inference_mode():
                _forward(model, recipe)
            seconds.append((middle - start, end - middle, time.perf_counter() - end))
        return Host(*(median(part) for part in zip(*seconds, strict=True)))
    finally:
        torch.set_num_threads(threads)


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
            batch = pad(ROWS, 0)
            if not inner.bi_encoder:
                return model(**batch).logits.float()
            vectors = inner.embed(**batch)
            return inner.compare(vectors, vectors).float()
        return model(**build_batch(ROWS, False)).logits.float()
