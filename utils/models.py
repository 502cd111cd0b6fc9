"""A recipe -> its tokenizer and its network with a 2-way head; what was trained of it -> safetensors and back."""

import logging
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, BitsAndBytesConfig, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging
from transformers.utils.quantization_config import QuantizationConfigMixin

from utils.decoders import decoder_class
from utils.encoders import EncoderClassifier
from utils.recipe import Recipe
from utils.weights import check_size, count_parameters

# A missing 4-bit kernel of the CPU and a bar for every loaded tensor are no news to anybody.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()

from peft import LoraConfig, PeftModel, TaskType, get_peft_model  # noqa: E402 - imports bitsandbytes, which speaks at once

ENCODERS = ("bert", "xlm-roberta", "roberta", "deberta-v2")
LORA_TARGETS = {  # every linear layer of a block, by the names that the family gives them
    "encoder": ["query", "key", "value", "dense"],
    "decoder": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
}
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


def _dtype(recipe: Recipe) -> torch.dtype:
    return torch.bfloat16 if recipe.precision == "bfloat16" and torch.cuda.is_available() else torch.float32


def load_network(recipe: Recipe, folder: Path) -> nn.Module:
    """The pretrained network with a fresh head, drawn from the recipe's seed; the 15-billion rule is checked first."""
    check_size(recipe.model, count_parameters(folder))
    torch.manual_seed(recipe.seed)
    if is_encoder(folder):
        encoder = AutoModel.from_pretrained(folder, dtype=_dtype(recipe), use_safetensors=True, add_pooling_layer=False)
        return EncoderClassifier(encoder, recipe.pooling)
    model = decoder_class(AutoConfig.from_pretrained(folder)).from_pretrained(
        folder, num_labels=2, dtype=_dtype(recipe), use_safetensors=True, quantization_config=quantisation(recipe),
        attn_implementation=recipe.attention,
    )  # fmt: skip
    model.config.pad_token_id = load_tokenizer(folder).pad_token_id
    model.config.use_cache = False
    return model


def quantisation(recipe: Recipe) -> QuantizationConfigMixin | None:
    """4-bit NF4 with double quantisation (Dettmers et al. 2023, arXiv 2305.14314, section 3), or None."""
    if recipe.quantisation == "none":
        return None
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=_dtype(recipe),
    )


def make_trainable(model: nn.Module, recipe: Recipe, start: Path | None = None) -> nn.Module:
    """Choose what is trained: LoRA on all linear layers and the head, or all but the embeddings and the frozen layers.

    `start` is a folder written by `save_trained`: training goes on from there, with the same adapter rather than a
    new one of the same name (which would begin at the base model again).
    """
    if recipe.checkpointing:
        base = model.encoder if isinstance(model, EncoderClassifier) else model
        base.gradient_checkpointing_enable({"use_reentrant": False})
    if recipe.tuning == "lora":
        if start is not None:
            return PeftModel.from_pretrained(model, start, is_trainable=True)
        kind = "encoder" if isinstance(model, EncoderClassifier) else "decoder"
        task = None if kind == "encoder" else TaskType.SEQ_CLS
        config = LoraConfig(
            r=recipe.lora_rank, lora_alpha=recipe.lora_alpha, lora_dropout=recipe.lora_dropout,
            target_modules=LORA_TARGETS[kind], modules_to_save=["score"], task_type=task,
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


def save_trained(model: nn.Module, folder: Path) -> None:
    """Write the trained part as safetensors: a plain peft adapter (head included), or the trained tensors alone."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model, PeftModel):
        model.save_pretrained(folder)
    else:
        save_file(
            {n: p.detach().contiguous() for n, p in model.named_parameters() if p.requires_grad}, folder / TRAINED
        )


def load_trained(model: nn.Module, folder: Path) -> nn.Module:
    """Put what `save_trained` wrote into a network fresh from `load_network`; an adapter is merged, for speed."""
    if (folder / ADAPTER).exists():
        return PeftModel.from_pretrained(model, folder).merge_and_unload()
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
