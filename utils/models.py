"""A recipe -> its tokenizer and its network with a 2-way head; what was trained of it -> safetensors and back."""

import contextlib
import logging
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging
from transformers.utils.quantization_config import QuantizationConfigMixin

from utils import engines
from utils.decoders import decoder_class
from utils.encoders import EncoderClassifier
from utils.recipe import Recipe
from utils.weights import check_size, count_parameters
from utils.zoo import OTHER_TOWERS, ZOO

# A missing 4-bit kernel of the CPU, a bar for every loaded tensor and an older name that peft asks for are no news to anybody.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()

from peft import LoraConfig, PeftModel, TaskType, get_peft_model  # noqa: E402 - imports bitsandbytes, which speaks at once

ENCODERS = ("bert", "xlm-roberta", "roberta", "deberta-v2")
# A decoder's weights inside of a multimodal checkpoint, in its older and its newer layout -> those of the text model alone.
TEXT_WEIGHTS = {r"^language_model\.model\.": "model.", r"^model\.language_model\.": "model."}
TRAINED = "trained.safetensors"
ADAPTER = "adapter_model.safetensors"


def is_encoder(folder: Path) -> bool:
    """Whether a model folder holds an encoder (pooled) or a decoder (read at its last token)."""
    return AutoConfig.from_pretrained(folder).model_type in ENCODERS


@cache
def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The fast tokenizer of a model folder; it pads on the right."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def device() -> torch.device:
    """The first accelerator, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def weights_dtype(recipe: Recipe) -> torch.dtype:
    """What the weights are kept in. Those that are all trained stay in 32 bits, unless DeepSpeed keeps a copy of them so."""
    half = recipe.precision == "bfloat16" and (recipe.tuning == "lora" or recipe.zero_stage > 0)
    return torch.bfloat16 if half else torch.float32


def autocast(recipe: Recipe) -> contextlib.AbstractContextManager:
    """What a forward pass is computed in."""
    if recipe.precision == "bfloat16":
        return torch.autocast(device().type, torch.bfloat16)
    return contextlib.nullcontext()


def load_network(recipe: Recipe, folder: Path) -> nn.Module:
    """The pretrained network with a fresh head, drawn from the recipe's seed; the 15-billion rule is checked first.

    Of a multimodal decoder the text model alone is built and read: no other tower takes memory.
    """
    check_size(recipe.model, count_parameters(folder))
    torch.manual_seed(recipe.seed)
    if is_encoder(folder):
        config = with_dropout(AutoConfig.from_pretrained(folder), recipe)
        encoder = AutoModel.from_pretrained(
            folder, config=config, dtype=weights_dtype(recipe), use_safetensors=True, add_pooling_layer=False
        )
        return EncoderClassifier(encoder, recipe.pooling)
    whole = AutoConfig.from_pretrained(folder)
    config = whole.get_text_config()
    renamed: dict[str, Any] = {} if config is whole else {"key_mapping": TEXT_WEIGHTS}
    config.num_labels = 2
    model = decoder_class(config).from_pretrained(
        folder, config=config, dtype=weights_dtype(recipe), use_safetensors=True, quantization_config=quantisation(recipe),
        attn_implementation=recipe.attention, **renamed,
    )  # fmt: skip
    model.config.pad_token_id = load_tokenizer(folder).pad_token_id
    model.config.use_cache = False
    return model


def with_dropout(config: PreTrainedConfig, recipe: Recipe) -> PreTrainedConfig:
    """An encoder's configuration with the recipe's dropout in place of its own."""
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = recipe.dropout
    return config


def quantisation(recipe: Recipe) -> QuantizationConfigMixin | None:
    """4-bit NF4 with double quantisation (Dettmers et al. 2023, arXiv 2305.14314, section 3), 8 bits, or None."""
    if recipe.quantisation == "none":
        return None
    if recipe.quantisation == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=weights_dtype(recipe),
    )


def make_trainable(model: nn.Module, recipe: Recipe, start: Path | None = None) -> nn.Module:
    """Choose what is trained: LoRA on all linear layers and the head, or all but the embeddings and the frozen layers.

    `start` is a folder written by `save_trained`: training goes on from there, with the same adapter rather than a
    new one of the same name (which would begin at the base model again).
    """
    if recipe.checkpointing:
        base = model.encoder if isinstance(model, EncoderClassifier) else model
        base.activation_checkpointing_enable({"use_reentrant": False})
    if recipe.tuning == "lora":
        if start is not None:
            return PeftModel.from_pretrained(model, start, is_trainable=True)
        task = None if isinstance(model, EncoderClassifier) else TaskType.SEQ_CLS
        config = LoraConfig(
            r=recipe.lora_rank, lora_alpha=recipe.lora_alpha, lora_dropout=recipe.lora_dropout, modules_to_save=["score"],
            target_modules=list(ZOO[recipe.model].targets), exclude_modules=OTHER_TOWERS, task_type=task,
        )  # fmt: skip
        torch.manual_seed(recipe.seed)
        return get_peft_model(model, config)
    frozen = tuple(f".layer.{number}." for number in range(recipe.frozen_layers))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".embeddings." not in name and not any(layer in name for layer in frozen))
    if start is not None:
        load_trained(model, start)
    return model


def plain(model: nn.Module) -> nn.Module:
    """The network inside a peft wrapper, adapter included; any other network is itself."""
    return model.base_model.model if isinstance(model, PeftModel) else model


def save_trained(model: nn.Module, folder: Path, values: dict[str, Tensor] | None = None) -> None:
    """Write what was trained as safetensors: a plain peft adapter (head included), or the trained tensors alone.

    `values` are what the engine tells of the model's trained parameters, where the model itself holds parts of them only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values = engines.values(model) if values is None else values
    if isinstance(model, PeftModel):
        model.save_pretrained(folder, state_dict=values, save_embedding_layers=False)
    else:
        save_file(values, folder / TRAINED)


def load_trained(model: nn.Module, folder: Path) -> nn.Module:
    """Put what `save_trained` wrote into a network fresh from `load_network`.

    An adapter is merged, for speed, but into weights of few bits, which would round it away.
    """
    if (folder / ADAPTER).exists():
        adapted = PeftModel.from_pretrained(model, folder)
        return adapted if getattr(model, "is_quantized", False) else adapted.merge_and_unload()
    tensors = load_file(folder / TRAINED)
    unknown = model.load_state_dict(tensors, strict=False).unexpected_keys
    if unknown:
        raise ValueError(
            f"{folder / TRAINED}: tensors {unknown[:3]} belong to another network; delete the folder and train again"
        )
    return model


def load_scorer(recipe: Recipe, weights: Path, trained: Path) -> nn.Module:
    """The trained network, ready to score."""
    return load_trained(load_network(recipe, weights), trained).to(device()).eval()
