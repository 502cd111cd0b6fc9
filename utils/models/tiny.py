"""Tiny random networks of the zoo's classes, for a dry run of the a100 pipeline on real engines (rehearsal profile)."""

import json
from pathlib import Path

import torch
from tokenizers import AddedToken
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    PreTrainedConfig,
    PreTrainedModel,
    SiglipVisionConfig,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.utils import logging

from utils.core.files import write_text
from utils.core.paths import REHEARSAL
from utils.models import shapes, weights
from utils.models.zoo import STAND_IN, TOKENIZERS, ZOO

VERSION = "2"  # raise it whenever the networks change
SEED = 2025
# The vision tower of a multimodal checkpoint, as small as it can be.
EYE = SiglipVisionConfig(
    hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, image_size=28, patch_size=14
)


def make_models(names: list[str]) -> Path:
    """The folder with one tiny network per name, each written on its first use.

    Prints a notice for models whose tokenizer is replaced by another family's. Raises WeightsError where the weights that
    carry a tokenizer are missing.
    """
    torch.manual_seed(SEED)
    logging.disable_progress_bar()
    for name in names:
        if not (REHEARSAL / name / f"complete-{VERSION}.json").exists():
            _make(name, REHEARSAL / name)
    others = [name for name in names if ZOO[name].family not in TOKENIZERS]
    if others:
        print(f"notice:  no package has the tokenizers of {', '.join(others)}; {STAND_IN}'s is used instead")
    return REHEARSAL


def _make(name: str, folder: Path) -> None:
    """Write one tiny network and its tokenizer; the file `complete-VERSION.json` comes last."""
    tokenizer = AutoTokenizer.from_pretrained(weights.resolve(TOKENIZERS.get(ZOO[name].family, STAND_IN)))
    if ZOO[name].family == "madlad":
        tokenizer.add_tokens([AddedToken("<2en>", special=True)])
        tokenizer.eos_token = tokenizer.eos_token or "</s>"
    network = _network(name, len(tokenizer))
    folder.mkdir(parents=True, exist_ok=True)
    network.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    facts = {"class": type(network).__name__, "parameters": sum(p.numel() for p in network.parameters())}
    write_text(folder / f"complete-{VERSION}.json", json.dumps(facts))


def _network(name: str, vocabulary: int) -> PreTrainedModel:
    """A network with random weights, of the class of the hub's checkpoint of this name."""
    if ZOO[name].family == "madlad":
        return T5ForConditionalGeneration(_translator(vocabulary))
    config: PreTrainedConfig = shapes.tiny(name)
    config.vocab_size = max(config.vocab_size, vocabulary)
    if ZOO[name].multimodal:
        whole = Gemma3Config(text_config=config.to_dict(), vision_config=EYE.to_dict(), mm_tokens_per_image=4)
        return Gemma3ForConditionalGeneration(whole)
    if ZOO[name].encoder:
        return AutoModel.from_config(config)
    return AutoModelForCausalLM.from_config(config)


def _translator(vocabulary: int) -> T5Config:
    """The configuration of a tiny translator of MADLAD-400's class."""
    return T5Config(
        vocab_size=vocabulary, d_model=64, d_kv=16, d_ff=96, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu",
        tie_word_embeddings=False, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
    )  # fmt: skip
