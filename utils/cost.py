"""What one pack costs before it is paid: memory by part, and floating-point work, read off a network of tensors without content.

The network has its true class and widths. All its layers are alike, so two depths are tried and the rest is drawn through them.
"""

import json
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from utils.attention import FULL, SLIDING
from utils.decoders import decoder_class
from utils.encoders import EncoderClassifier
from utils.models import ENCODERS, autocast, make_trainable, plain, weights_dtype, with_dropout
from utils.recipe import Recipe

ROW = 32  # tokens of a decoder's row, which say only how many positions are read
DEPTHS = (2, 3)  # layers of the two networks that are tried
NF4_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8  # a weight and its part of the doubly quantised scales


@dataclass(frozen=True)
class Cost:
    """One process's memory in bytes, by part, and the work of one pack in floating-point operations.

    `activations` are all that comes and goes within a step, at its fullest.
    """

    parameters: int
    trained: int
    weights: float
    gradients: float
    optimizer: float
    activations: float
    flops: float

    @property
    def peak(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.activations


class _Live(TorchDispatchMode):
    """Counts the bytes of tensors that are alive, and their most at any time; what is known beforehand is not counted."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.sizes = {tensor.untyped_storage()._cdata: 0 for tensor in known}

    def _gone(self, key: int) -> None:
        self.now -= self.sizes.pop(key)

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage())._cdata not in self.sizes:
                self.sizes[storage._cdata] = storage.nbytes()
                self.now += storage.nbytes()
                weakref.finalize(storage, self._gone, storage._cdata)
                self.peak = max(self.peak, self.now)
        return made


def shallow(config: PreTrainedConfig, layers: int) -> PreTrainedConfig:
    """The same widths with fewer layers, of each kind of attention that there is."""
    text = config.get_text_config()
    cut = AutoConfig.for_model(text.model_type, **{k: v for k, v in text.to_dict().items() if k != "model_type"})
    cut.num_hidden_layers = layers
    if getattr(cut, "layer_types", None):
        kinds = [SLIDING, FULL] if SLIDING in text.layer_types and FULL in text.layer_types else text.layer_types[:1]
        cut.layer_types = (kinds * layers)[:layers]
    cut.num_labels, cut.use_cache, cut.pad_token_id = 2, False, 0
    cut._attn_implementation, cut.attn_logit_softcapping = "eager", None
    return cut


def _network(recipe: Recipe, config: PreTrainedConfig, train: bool) -> nn.Module:
    """The network on tensors without content; call it under FakeTensorMode."""
    with torch.device("meta"):
        before = torch.get_default_dtype()
        torch.set_default_dtype(weights_dtype(recipe))
        try:
            if config.model_type in ENCODERS:
                model: nn.Module = EncoderClassifier(
                    AutoModel.from_config(with_dropout(config, recipe), add_pooling_layer=False), recipe.pooling
                )
            else:
                model = decoder_class(config)(config)
            config._attn_implementation_internal = "sdpa"  # stands for every kernel that keeps no square of scores
        finally:
            torch.set_default_dtype(before)
        model = make_trainable(model, recipe) if train else model.requires_grad_(False)
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None:
                kept = torch.float32 if value.requires_grad and recipe.zero_stage == 0 else value.dtype
                module._parameters[name] = nn.Parameter(torch.empty(value.shape, dtype=kept), value.requires_grad)
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = torch.empty(value.shape, dtype=value.dtype)
    return model


def _inputs(recipe: Recipe, encoder: bool, tokens: int, row: int) -> dict[str, Tensor]:
    """A full pack: lanes of tries for a decoder, rows of `row` tokens for an encoder."""
    if encoder:
        ids = torch.empty(max(1, tokens // row), row, dtype=torch.long)
        return {"input_ids": ids, "attention_mask": torch.empty_like(ids)}
    lanes = -(-tokens // min(recipe.lane_tokens or tokens, tokens))
    ids = torch.empty(lanes, -(-tokens // lanes), dtype=torch.long)
    leaves = torch.empty(max(1, tokens // row), dtype=torch.long)
    return {"input_ids": ids, "position_ids": torch.empty_like(ids), "end": torch.empty_like(ids), "leaves": leaves}


def _forward(model: nn.Module, inputs: dict[str, Tensor], recipe: Recipe) -> Tensor:
    with autocast(recipe):
        if recipe.pooling == "towers":
            inner = plain(model)
            vectors = inner.embed(**inputs)
            half = len(vectors) // 2
            return inner.compare(vectors[:half], vectors[half : 2 * half]).float()
        return model(**inputs).logits.float()


@dataclass(frozen=True)
class _Look:
    """What a shallow network told: its parameters, and the fullest moment and work of its pack."""

    parameters: int
    trained: int
    weights: float
    linear: int  # weights of the blocks' linear layers, which 4 bits hold
    extra: float
    flops: float


def _look(recipe: Recipe, config: PreTrainedConfig, tokens: int, row: int, train: bool) -> _Look:
    encoder = config.model_type in ENCODERS
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = _network(recipe, config, train)
        values = list(model.parameters())
        trained = [value for value in values if value.requires_grad]
        optimizer = torch.optim.AdamW(trained, fused=False, foreach=False) if train else None
        inputs = _inputs(recipe, encoder, tokens, row)
        live, work = _Live([*values, *model.buffers(), *inputs.values()]), FlopCounterMode(display=False)
        with torch.set_grad_enabled(train):
            model.train(train)
            with live:
                if optimizer is not None:  # from the second step on AdamW's moments are there
                    for value in trained:
                        value.grad = torch.empty_like(value)
                    optimizer.step()
                    optimizer.zero_grad()
                logits = _forward(model, inputs, recipe)
                if optimizer is not None:
                    logits.sum().backward()
                    optimizer.step()
                    optimizer.zero_grad()
                del logits
            with work:  # apart, as it keeps what a checkpointed layer would let go
                logits = _forward(model, inputs, recipe)
                if train:
                    logits.sum().backward()
    linear = sum(
        m.weight.numel()
        for n, m in model.named_modules()
        if isinstance(m, nn.Linear) and "layer" in n and "lora" not in n
    )
    size = sum(value.numel() * value.element_size() for value in values)
    counts = [sum(value.numel() for value in part) for part in (values, trained)]
    return _Look(*counts, size, linear, live.peak, work.get_total_flops())


def _essence(recipe: Recipe) -> Recipe:
    """Of a recipe what a network's size and work hang on: recipes that differ in all else are looked at once."""
    kept = (
        "family", "model", "pooling", "tuning", "lora_rank", "lora_alpha", "lora_dropout", "dropout", "precision", "lane_tokens",
        "checkpointing",
    )  # fmt: skip
    fields = {name: getattr(recipe, name) for name in kept}
    return Recipe("", **fields, zero_stage=min(recipe.zero_stage, 2))


@cache
def _looks(recipe: Recipe, config: str, tokens: int, row: int, train: bool) -> tuple[_Look, _Look]:
    whole = AutoConfig.for_model(**json.loads(config))
    few, more = (_look(recipe, shallow(whole, layers), tokens, row, train) for layers in DEPTHS)
    return few, more


def _line(looks: tuple[_Look, _Look], read: Callable[[_Look], float], layers: float) -> float:
    """What a network of so many layers would tell: two depths, and a line through them."""
    few, more = read(looks[0]), read(looks[1])
    return few + (layers - DEPTHS[0]) / (DEPTHS[1] - DEPTHS[0]) * (more - few)


def pack_cost(recipe: Recipe, config: PreTrainedConfig, tokens: int, row: int, train: bool, world: int = 1) -> Cost:
    """Memory of one of `world` processes, and the work of a pack of `tokens` tokens in rows of about `row`.

    Raises KeyError for an unknown class of network.
    """
    text = config.get_text_config()
    told = json.dumps({**text.to_dict(), "model_type": text.model_type}, sort_keys=True, default=str)
    looks = _looks(_essence(recipe), told, tokens, row if text.model_type in ENCODERS else ROW, train)
    layers, frozen = text.num_hidden_layers, recipe.frozen_layers if train and recipe.tuning == "full" else 0
    trained = _line(looks, lambda look: look.trained, layers - frozen)
    # Of a frozen layer the forward pass alone is computed: a third of the work.
    flops = _line(looks, lambda look: look.flops, layers - frozen * 2 / 3)
    parameters, linear = (
        _line(looks, read, layers) for read in (lambda look: look.parameters, lambda look: look.linear)
    )
    weights = _line(looks, lambda look: look.weights, layers)
    kept = (
        2 if recipe.precision == "bfloat16" and recipe.zero_stage else 4
    )  # bytes of a trained number, of its gradient
    extra = _line(looks, lambda look: look.extra, layers - frozen) - trained * 3 * kept * train
    if recipe.quantisation == "nf4":
        weights -= linear * (2 - NF4_BYTES)
    gradients, moments = trained * kept * train, trained * 8 * train
    if recipe.zero_stage:  # and a copy in 32 bits; all dealt out
        moments = 0 if recipe.offload else (moments + 4 * trained * train) / world
        gradients /= world
    if recipe.zero_stage == 3 and train:  # two layers are gathered at a time
        gathered = 2 * weights / max(1, layers)
        weights = gathered + (0 if recipe.offload else weights / world)
    return Cost(round(parameters), round(trained), weights, gradients, moments, max(0.0, extra), flops)
