"""Cases of the packing benchmark: the rows, their recipe, and the networks that ours and the rivals run."""

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, Gemma3TextConfig, PreTrainedConfig

from utils.core.paths import translations
from utils.core.recipe import Recipe
from utils.core.schema import TASKS
from utils.data import clean
from utils.data.raw import read_folder
from utils.models import build, precision, trained, weights
from utils.models.attention import choose_kernel
from utils.models.decoders import decoder_class
from utils.profiles.base import MAX_LENGTH, QUERY_FIRST
from utils.profiles.laptop import E5, GEMMA, LAPTOP
from utils.sample import dataset
from utils.training import tokens, tries
from utils.translation import backends, cache

STEP = 32  # rows of one optimizer step, for ours and for the rivals
# Factor on the number of timed rows: lengths vary more in the sample than in the constructed cases.
SHARE = {"QC-sample": 2, "QI-sample": 2, "encoder": 4}

DECODER = GEMMA.with_(batch_rows=STEP)
GEMMA_12B = {
    "vocab_size": 262_208, "hidden_size": 3840, "intermediate_size": 15_360, "num_hidden_layers": 48, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": 1024,
}  # fmt: skip
LARGE_RECIPES = tuple(
    DECODER.with_(
        name=f"gemma-3-12b-shape{suffix}", precision="bfloat16", pack_tokens=2048, score_tokens=4096, **changes
    )
    for suffix, changes in (("", {}), ("-checkpointed", {"checkpointing": True}), ("-nf4", {"quantisation": "nf4"}))
)
LARGE = {recipe.name: GEMMA_12B for recipe in LARGE_RECIPES}
# Dropout is the transformers default, as the rivals load the network with it.
ENCODER = E5.with_(pooling="first", dropout=0.1, batch_rows=STEP, frozen_layers=0, pack_tokens=512, score_tokens=2048)


@dataclass(frozen=True)
class Case:
    """Rows to train on or to score, and the recipe that reads them."""

    name: str
    task: str
    table: pd.DataFrame
    recipe: Recipe


# -- rows ----------------------------------------------------------------------------------------------------------------


def read_sample(splits: tuple[str, ...]) -> dict[tuple[str, str], pd.DataFrame]:
    """The embedded sample, cleaned and translated as in the pipeline: (split, task) -> rows."""
    folder, _ = dataset.open_folder("", LAPTOP.sample_rows)
    backend = backends.open_backend(LAPTOP.translation, "")
    tables = {}
    raw = read_folder(folder).tables
    for split, task in itertools.product(splits, TASKS):
        table, _ = clean.clean_table(raw[split, task], train=split == "train")
        english, _ = cache.translate(table, backend, translations(LAPTOP.cache), bar=False)
        tables[split, task] = table.assign(query_en=english)
    return tables


def rows_per_query(table: pd.DataFrame, count: int, rows: int, seed: int = 0) -> pd.DataFrame:
    """`rows` rows in all: distinct queries with `count` distinct targets each, sampled from the texts of `table`; random labels."""
    rng = np.random.default_rng(seed)
    queries = table.drop_duplicates("query").sample(rows // count, random_state=seed)
    targets = table["target"].drop_duplicates().to_numpy()
    parts = [
        queries.assign(target=[targets[number] for number in rng.permutation(len(targets))[: len(queries)]])
        for _ in range(count)
    ]
    return pd.concat(parts, ignore_index=True).assign(label=rng.integers(0, 2, len(queries) * count))


def evenly(batches: list[tries.Rows], rows: int) -> tries.Rows:
    """Row numbers of evenly spaced batches, about `rows` in all."""
    count = max(1, round(rows / np.mean([len(batch) for batch in batches])))
    positions = np.unique(((np.arange(count) + 0.5) * len(batches) / count).astype(int))
    return np.concatenate([batches[position] for position in positions])


def select_cases(rows: int, names: list[str], decoder: Recipe) -> list[Case]:
    """The cases called `names` (none = all): 1, 2, 4, 8 rows for each query, the sample, the encoder; exits for an unknown name."""
    tables = read_sample(("train",))
    choices = []
    for task in TASKS:
        base = decoder.with_(max_length=MAX_LENGTH[task])
        for count in (1, 2, 4, 8):
            table = rows_per_query(tables["train", task], count, rows * 16)
            choices.append(Case(f"{task}-K{count}", task, table, base.with_(query_first=True)))
        first = QUERY_FIRST[task]
        choices.append(Case(f"{task}-sample", task, tables["train", task], base.with_(query_first=first)))
    if decoder is DECODER:
        choices.append(Case("encoder", "QC", tables["train", "QC"], ENCODER.with_(max_length=MAX_LENGTH["QC"])))
    unknown = set(names) - {case.name for case in choices}
    if unknown:
        sys.exit(f"unknown case {', '.join(sorted(unknown))}; there are {', '.join(case.name for case in choices)}")
    return [case for case in choices if not names or case.name in names]


# -- networks ------------------------------------------------------------------------------------------------------------


def linear_weights(model: nn.Module) -> int:
    """Number of weights in the blocks' linear layers, which determine the work per token."""
    layers = [module for name, module in model.named_modules() if isinstance(module, nn.Linear) and "layer" in name]
    return sum(layer.in_features * layer.out_features for layer in layers)


def stock_twin(ours: nn.Module, folder: Path) -> nn.Module:
    """The transformers class with the same weights, as a rival loads it."""
    twin = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, dtype=torch.float32)
    state = ours.encoder.state_dict() if hasattr(ours, "encoder") else ours.state_dict()
    (twin.base_model if hasattr(ours, "encoder") else twin).load_state_dict(state, strict=False)
    twin.config.pad_token_id = build.load_tokenizer(folder).pad_token_id
    return twin.to(precision.device())


@dataclass(frozen=True)
class Networks:
    """Our network and its twin for the rivals; for training, the recipe's part is trainable in both."""

    folder: Path
    ours: nn.Module
    theirs: nn.Module

    @property
    def pad_id(self) -> int:
        """The tokenizer's padding token."""
        return build.load_tokenizer(self.folder).pad_token_id


def open_networks(recipe: Recipe, train: bool) -> Networks:
    """The recipe's network and its twin; a large network is its own twin, as its class is a transformers class."""
    folder = weights.resolve(recipe.model)
    if recipe.name in LARGE:
        ours = theirs = large_network(LARGE[recipe.name], recipe, folder)
        if train:
            ours = theirs = trained.make_trainable(ours, recipe)
        return Networks(folder, ours, theirs)
    ours = build.load_network(recipe, folder).to(precision.device())
    theirs = stock_twin(ours, folder)
    if train:
        ours, theirs = (trained.make_trainable(network, recipe) for network in (ours, theirs))
    return Networks(folder, ours, theirs)


def random_network(config: PreTrainedConfig, dtype: torch.dtype) -> nn.Module:
    """A decoder of a config with random weights of a dtype, created on the device."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(precision.device()):
            return decoder_class(config)(config)
    finally:
        torch.set_default_dtype(default)


def large_network(shape: dict[str, Any], recipe: Recipe, folder: Path) -> nn.Module:
    """A network of Gemma-3's class with random weights, created on the device in bf16; with `nf4` its blocks are in 4-bit."""
    config = Gemma3TextConfig(**shape, num_labels=2, pad_token_id=build.load_tokenizer(folder).pad_token_id)
    config._attn_implementation = choose_kernel(recipe, config)
    network = random_network(config, torch.bfloat16)
    if recipe.quantisation == "nf4":
        for layer in network.model.layers:
            quantise(layer)
    return network


def quantise(module: nn.Module) -> None:
    """Replace every linear layer below a module by one in 4-bit NF4 with double quantisation (Dettmers et al. 2023, QLoRA)."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            device = child.weight.device
            layer = Linear4bit(child.in_features, child.out_features, bias=False, compute_dtype=torch.bfloat16,
                               quant_type="nf4", device="meta")  # fmt: skip
            layer.weight = Params4bit(child.weight.data.cpu(), requires_grad=False, quant_type="nf4",
                                      compress_statistics=True)  # fmt: skip
            setattr(module, name, layer.to(device))
        else:
            quantise(child)


def encode(case: Case, networks: Networks, table: pd.DataFrame) -> tokens.Encoded:
    """The token ids of a table's rows, as the case's recipe reads them."""
    folder = networks.folder
    return tokens.encode(table, case.task, build.load_tokenizer(folder), case.recipe, build.is_encoder(folder))
