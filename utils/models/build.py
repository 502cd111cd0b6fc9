"""A recipe and a folder of weights -> the tokenizer and the network with a 2-way head."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerFast

from utils.core.errors import WeightsError
from utils.core.recipe import Recipe
from utils.models.attention import choose_kernel
from utils.models.decoders import decoder_class, explain_no_tries
from utils.models.encoders import EncoderClassifier
from utils.models.precision import quantisation, weights_dtype
from utils.models.trained import load_trained
from utils.models.weights import check_size, count_parameters

ENCODERS = ("bert", "xlm-roberta", "roberta", "deberta-v2")
HEAD = "score.weight"  # of a decoder: new, so no checkpoint has it
# Names of a decoder's weights in a multimodal checkpoint, in the older and the newer layout -> names in the text model.
TEXT_WEIGHTS = {r"^language_model\.model\.": "model.", r"^model\.language_model\.": "model."}


def is_encoder(folder: Path) -> bool:
    """Whether a model folder holds an encoder (its states are pooled) or a decoder (read at its last token)."""
    return AutoConfig.from_pretrained(folder).model_type in ENCODERS


@cache
def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The fast tokenizer of a model folder; it pads on the right, with the end token where it has no padding token.

    Raises WeightsError where transformers reads none from the folder's data.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        if tokenizer.is_fast:
            return tokenizer
        reason = f"{type(tokenizer).__name__} is no fast one"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
    raise WeightsError(f"{folder}: no tokenizer can be read ({reason}); copy or download tokenizer.json")


def load_network(recipe: Recipe, folder: Path) -> nn.Module:
    """The pretrained network with a new head, initialised from the recipe's seed.

    Only the text model of a multimodal decoder is built and read: nothing else takes memory. Raises WeightsError,
    before any weight is read, for a model of more than 15 billion parameters or one that cannot be packed, and for a
    folder that lacks some of the network's weights.
    """
    check_size(recipe.model, count_parameters(folder))
    check_packing(recipe, folder)
    torch.manual_seed(recipe.seed)
    if is_encoder(folder):
        config = with_dropout(AutoConfig.from_pretrained(folder), recipe)
        encoder, found = AutoModel.from_pretrained(
            folder, config=config, dtype=weights_dtype(recipe), use_safetensors=True, add_pooling_layer=False, output_loading_info=True
        )  # fmt: skip
        _check_complete(folder, found)
        return EncoderClassifier(encoder, recipe.pooling, recipe.architecture == "bi-encoder")
    whole = AutoConfig.from_pretrained(folder)
    config = whole.get_text_config()
    mapping: dict[str, Any] = {} if config is whole else {"key_mapping": TEXT_WEIGHTS}
    config.num_labels = 2
    model, found = decoder_class(config).from_pretrained(
        folder, config=config, dtype=weights_dtype(recipe), use_safetensors=True, quantization_config=quantisation(recipe),
        attn_implementation=choose_kernel(recipe, config), output_loading_info=True, **mapping,
    )  # fmt: skip
    _check_complete(folder, found)
    model.config.pad_token_id = load_tokenizer(folder).pad_token_id
    model.config.use_cache = False
    return model


def check_packing(recipe: Recipe, folder: Path) -> None:
    """Raise WeightsError for a network whose rows cannot share prefixes, where the recipe packs them."""
    reason = explain_no_tries(AutoConfig.from_pretrained(folder)) if recipe.packing == "tries" else ""
    if reason and not is_encoder(folder):
        raise WeightsError(f"{recipe.name}: {reason}")


def _check_complete(folder: Path, found: dict[str, Any]) -> None:
    """Raise WeightsError where anything but the new head was not among the weights: it would be random numbers."""
    missing = sorted(name for name in found["missing_keys"] if name != HEAD)
    wrong = sorted(str(entry[0]) for entry in found["mismatched_keys"])
    if missing or wrong:
        names = ", ".join([*missing, *wrong][:3])
        raise WeightsError(
            f"{folder}: {len(missing)} tensors of the network are missing and {len(wrong)} have another shape ({names}, ...); "
            "download the weights again, or name a folder of the whole model"
        )


def with_dropout(config: PreTrainedConfig, recipe: Recipe) -> PreTrainedConfig:
    """An encoder's configuration, changed in place to the recipe's dropout."""
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = recipe.dropout
    return config


def load_scorer(recipe: Recipe, weights: Path, trained: Path) -> nn.Module:
    """The network of the `weights` folder with the `trained` folder's parameters, in the host's memory unless it is quantised."""
    return load_trained(load_network(recipe, weights), trained).eval()
