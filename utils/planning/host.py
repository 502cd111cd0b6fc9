"""The host's time: launching a network's operations, whatever their size, measured on a copy of it that is narrow and as deep."""

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
from utils.models.precision import autocast
from utils.models.trained import make_trainable, plain
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
