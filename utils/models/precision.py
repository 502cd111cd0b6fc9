"""The device and number formats of a recipe: dtype of the weights, autocast of the forward pass, quantisation."""

import contextlib

import torch
from transformers import BitsAndBytesConfig
from transformers.utils.quantization_config import QuantizationConfigMixin

from utils.core.recipe import Recipe


def device() -> torch.device:
    """The first accelerator, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def weights_dtype(recipe: Recipe) -> torch.dtype:
    """The dtype of the weights: 16 bits under LoRA or DeepSpeed (which keeps 32-bit copies), else float32."""
    half = recipe.precision in HALF and (recipe.tuning == "lora" or recipe.zero_stage > 0)
    return HALF[recipe.precision] if half else torch.float32


def autocast(recipe: Recipe) -> contextlib.AbstractContextManager:
    """The context of a forward pass: autocast to 16 bits on the device, or none for float32."""
    if recipe.precision in HALF:
        return torch.autocast(device().type, HALF[recipe.precision])
    return contextlib.nullcontext()


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
