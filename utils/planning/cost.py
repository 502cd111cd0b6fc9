"""The cost of one pack: memory by part and floating-point operations, measured on a network of tensors without content.

The network has its true class and widths. All its layers are alike, so it is measured at two depths and extrapolated linearly.
"""

import json
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from utils.core.recipe import Recipe
from utils.models.attention import FULL, SLIDING
from utils.models.build import ENCODERS, with_dropout
from utils.models.decoders import decoder_class
from utils.models.encoders import EncoderClassifier
from utils.models.precision import autocast, weights_dtype
from utils.models.trained import make_trainable, plain
from utils.planning.counters import Live, Moved, Work
from utils.training.engines import BUCKET

ROW = 32  # tokens of a decoder's row; they only decide how many positions the head reads
DEPTHS = (2, 3)  # numbers of layers of the two networks that are measured
COMPILED = 0.75  # share of a training's activations that is left in compiled layers (measured: .52 to .69)
# A weight and its share of the doubly quantised scales (Dettmers et al. 2023, arXiv 2305.14314, section 3).
NF4_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8


@dataclass(frozen=True)
class Cost:
    """One process's memory in bytes, by part, and the work of one pack.

    `parameters` and `trained` are counts. `activations` is the peak of all tensors that live within a step only. `flops` are
    floating-point operations of matrix products, `moved` the bytes that all other operations read and write.
    """

    parameters: int
    trained: int
    weights: float
    gradients: float
    optimizer: float
    activations: float
    flops: float
    moved: float = 0.0

    @property
    def peak(self) -> float:
        """Peak memory in bytes."""
        return self.weights + self.gradients + self.optimizer + self.activations


def shallow(config: PreTrainedConfig, layers: int) -> PreTrainedConfig:
    """A configuration of the same widths with `layers` layers, of which the last has full attention where kinds differ."""
    text = config.get_text_config()
    fields = {key: value for key, value in text.to_dict().items() if key != "model_type"}
    fields["num_hidden_layers"] = layers
    if kinds := fields.get("layer_types"):
        mixed = SLIDING in kinds and FULL in kinds
        fields["layer_types"] = [*([SLIDING] * (layers - 1)), FULL] if mixed else kinds[:1] * layers
    if by_layer := fields.pop("per_layer_config", None):  # widths that layers of full attention have to themselves
        fields["per_layer_config"] = {layers - 1: next(iter(by_layer.values()))}
    small = AutoConfig.for_model(text.model_type, **fields)
    small.num_labels, small.use_cache, small.pad_token_id = 2, False, 0
    small._attn_implementation, small.attn_logit_softcapping = "eager", None
    return small


def _network(recipe: Recipe, config: PreTrainedConfig, train: bool) -> nn.Module:
    """The network of a recipe on tensors without content, ready to train or to score; call it under FakeTensorMode."""
    with torch.device("meta"):
        default = torch.get_default_dtype()
        torch.set_default_dtype(weights_dtype(recipe))
        try:
            if config.model_type in ENCODERS:
                model: nn.Module = EncoderClassifier(
                    AutoModel.from_config(with_dropout(config, recipe), add_pooling_layer=False),
                    recipe.pooling,
                    recipe.architecture == "bi-encoder",
                )
            else:
                model = decoder_class(config)(config)
            config._attn_implementation_internal = "sdpa"  # for every kernel that stores no square matrix of scores
        finally:
            torch.set_default_dtype(default)
        model = make_trainable(model, recipe) if train else model.requires_grad_(False)
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None:
                dtype = torch.float32 if value.requires_grad and recipe.zero_stage == 0 else value.dtype
                module._parameters[name] = nn.Parameter(torch.empty(value.shape, dtype=dtype), value.requires_grad)
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = torch.empty(value.shape, dtype=value.dtype)
    return model


def _inputs(recipe: Recipe, encoder: bool, tokens: int, row: int) -> dict[str, Tensor]:
    """The inputs of a full batch: sequences of a pack for a decoder, rows of `row` tokens for an encoder."""
    if encoder:
        ids = torch.empty(max(1, tokens // row), row, dtype=torch.long)
        return {"input_ids": ids, "attention_mask": torch.empty_like(ids)}
    sequences = -(-tokens // min(recipe.sequence_tokens or tokens, tokens))
    ids = torch.empty(sequences, -(-tokens // sequences), dtype=torch.long)
    leaves = torch.empty(max(1, tokens // row), dtype=torch.long)
    return {"input_ids": ids, "position_ids": torch.empty_like(ids), "end": torch.empty_like(ids), "leaves": leaves}


def _forward(model: nn.Module, inputs: dict[str, Tensor], recipe: Recipe) -> Tensor:
    """Logits in float32, as `training.forward.logits` computes them."""
    with autocast(recipe):
        if recipe.architecture == "bi-encoder":
            inner = plain(model)
            vectors = inner.embed(**inputs)
            half = len(vectors) // 2
            return inner.compare(vectors[:half], vectors[half : 2 * half]).float()
        return model(**inputs).logits.float()


@dataclass(frozen=True)
class _Measurement:
    """Counts and costs of a shallow network and one pack."""

    parameters: int
    trained: int
    weights: float  # bytes
    linear: int  # weights of the blocks' linear layers, which NF4 quantises
    extra: float  # peak bytes of all other tensors: activations, gradients and moments
    flops: float
    moved: float  # bytes


def _measure(recipe: Recipe, config: PreTrainedConfig, tokens: int, row: int, train: bool) -> _Measurement:
    """Run one pack through a network under FakeTensorMode, with a step of AdamW if `train`, and measure it."""
    encoder = config.model_type in ENCODERS
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = _network(recipe, config, train)
        values = list(model.parameters())
        trained = [value for value in values if value.requires_grad]
        optimizer = torch.optim.AdamW(trained, fused=False, foreach=False) if train else None
        inputs = _inputs(recipe, encoder, tokens, row)
        live, moved = Live([*values, *model.buffers(), *inputs.values()]), Moved()
        work = Work()
        with torch.set_grad_enabled(train):
            model.train(train)
            with live:
                # AdamW's moments are part of every step but the first: an empty step makes them.
                if optimizer is not None:
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
            with work, moved:  # separately, as the counter keeps tensors that checkpointing would free
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
    return _Measurement(*counts, size, linear, live.peak, work.get_total_flops(), moved.total)


def _cost_recipe(recipe: Recipe) -> Recipe:
    """The recipe with only those fields that decide the cost: recipes that agree in them are measured once."""
    names = (
        "family", "model", "architecture", "pooling", "tuning", "lora_rank", "lora_alpha", "lora_dropout", "dropout", "precision",
        "sequence_tokens", "checkpointing",
    )  # fmt: skip
    fields = {name: getattr(recipe, name) for name in names}
    return Recipe("plan", **fields, zero_stage=min(recipe.zero_stage, 2))


@cache
def _measurements(recipe: Recipe, config: str, tokens: int, row: int, train: bool) -> tuple[_Measurement, _Measurement]:
    """Measurements at the two depths; `config` is the network's configuration as JSON."""
    whole = AutoConfig.for_model(**json.loads(config))
    first, second = (_measure(recipe, shallow(whole, layers), tokens, row, train) for layers in DEPTHS)
    return first, second


def _extrapolate(measurements: tuple[_Measurement, _Measurement], field: str, layers: float) -> float:
    """A field of the measurements for so many layers, on the line through the two depths."""
    first, second = (getattr(measurement, field) for measurement in measurements)
    return first + (layers - DEPTHS[0]) / (DEPTHS[1] - DEPTHS[0]) * (second - first)


def largest_weight(recipe: Recipe, config: PreTrainedConfig) -> float:
    """Bytes of the largest tensor among a network's weights, its embeddings."""
    text = config.get_text_config()
    return text.vocab_size * text.hidden_size * weights_dtype(recipe).itemsize


def pack_cost(recipe: Recipe, config: PreTrainedConfig, tokens: int, row: int, train: bool, world: int = 1) -> Cost:
    """Memory of one of `world` processes, and the work of a pack of `tokens` tokens in rows of about `row` tokens.

    With `train` of an optimizer step, else of scoring. Raises KeyError for an unknown class of network.
    """
    text = config.get_text_config()
    content = json.dumps({**text.to_dict(), "model_type": text.model_type}, sort_keys=True, default=str)
    row = row if text.model_type in ENCODERS else ROW
    measurements = _measurements(_cost_recipe(recipe), content, tokens, row, train)
    layers, frozen = text.num_hidden_layers, recipe.frozen_layers if train and recipe.tuning == "full" else 0
    trained = _extrapolate(measurements, "trained", layers - frozen)
    # A frozen layer computes its forward pass only: a third of the work.
    flops, moved = (_extrapolate(measurements, field, layers - frozen * 2 / 3) for field in ("flops", "moved"))
    parameters, linear, weights = (
        _extrapolate(measurements, field, layers) for field in ("parameters", "linear", "weights")
    )
    size = 2 if recipe.precision == "bfloat16" and recipe.zero_stage else 4  # bytes of a trained parameter or gradient
    extra = _extrapolate(measurements, "extra", layers - frozen) - trained * 3 * size * train
    if recipe.compiled and train:
        extra *= COMPILED
    if recipe.quantisation == "nf4":
        weights -= linear * (2 - NF4_BYTES)
    gradients, moments = trained * size * train, trained * 8 * train
    if recipe.zero_stage:  # the moments and a copy in 32 bits, all sharded
        moments = 0 if recipe.offload else (moments + 4 * trained * train) / world
        gradients = (gradients / world + BUCKET * size) * train
    if recipe.zero_stage == 3:  # two layers are gathered at a time, or the embeddings
        gathered = max(2 * weights / max(1, layers), largest_weight(recipe, config))
        weights = gathered + (0 if recipe.offload else weights / world)
    return Cost(round(parameters), round(trained), weights, gradients, moments, max(0.0, extra), flops, moved)


def peak_memory(recipe: Recipe, config: PreTrainedConfig, largest: int, row: int, world: int = 1) -> float:
    """Bytes of one of `world` processes at its fullest: packs of `largest` tokens to train, `score_tokens` to score, rows of about
    `row` tokens. Raises KeyError for an unknown class of network.
    """
    train = pack_cost(recipe, config, largest, row, train=True, world=world)
    score = pack_cost(recipe, config, max(row, recipe.score_tokens), row, train=False, world=world)
    # One weight at a time goes to the device, to be quantised or dealt out there.
    load = train.weights + largest_weight(recipe, config)
    return max(load, train.peak, score.peak)
