"""Speed of our engine against common alternatives: the same weights, the same rows, ratios from interleaved runs.

    python benchmarks/packing.py [--quick] [--only CASE ...] [--against RIVAL ...] [--plot [FILE]]

Rivals. `seed`: rows tokenised one by one in the data set, random batches of 8, padded to the longest, `Trainer`. `sorted64`:
batches of 64 sorted by length, the best common practice (scoring). `crossencoder`: `CrossEncoder` of sentence-transformers, fit
and predict (`pip install sentence-transformers datasets`; left out with a message where it is missing).
Cases. `QC-K2`: category paths, 2 rows for each query, query first. `QC-sample`: the embedded sample, in the recipe's order of
fields. `encoder`: e5-small on the sample. On a CUDA GPU of 70 GB or more, a network of Gemma-3-12B's shape with random weights
replaces Gemma-3-270M: in bf16, with checkpointing, and in 4-bit. Each line then has the planned memory beside the measured peak.
Timed are the rows of evenly spaced optimizer steps or packs of our layout of the whole case. The rivals get the same rows
(`sorted64`: evenly spaced batches of its own, as few rows would not sort into full batches). Prints one JSON object per line; a
ratio above 1 means ours is faster. `--plot` draws `benchmarks/packing.png`, from this run or from the lines in FILE.
"""

import argparse
import contextlib
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    Gemma3TextConfig,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from utils.core.paths import TRANSLATIONS
from utils.core.recipe import Recipe
from utils.core.schema import TASKS
from utils.data import clean
from utils.data.raw import read_folder
from utils.data.text import query_field, target_field
from utils.models import build, precision, shapes, trained, weights
from utils.models.decoders import decoder_class
from utils.planning.cost import pack_cost
from utils.planning.devices import measure_peak, wait
from utils.profiles.base import MAX_LENGTH, QUERY_FIRST
from utils.profiles.laptop import E5, GEMMA, LAPTOP
from utils.sample import dataset
from utils.training import packing, tokens, tries
from utils.training.loop import fit
from utils.training.predict import predict
from utils.translation import backends, cache

SEED_BATCH, STEP = 8, 32  # rows of one forward pass of the rival; rows of one optimizer step, for all
# Factor on the number of timed rows: lengths vary more in the sample than in the constructed cases.
SHARE = {"QC-sample": 2, "QI-sample": 2, "encoder": 4}
PATIENCE = 1e9  # seconds between checkpoints: so none is written

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


Run = Callable[[], tuple[float, float]]  # () -> rows per second, tokens per row


@dataclass
class Timing:
    """Measurements of one engine: rows per second of each repetition, tokens computed per row."""

    row_tokens: float = 0.0
    memory: float = 0.0  # peak, GB, on a GPU
    rates: list[float] = field(default_factory=list)

    def take(self, run: Run, keep: bool) -> None:
        """Run once; record the rate if `keep` (not for a warm-up)."""
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        rate, self.row_tokens = run()
        if torch.cuda.is_available():
            self.memory = max(self.memory, torch.cuda.max_memory_allocated() / 1e9)
        if keep:
            self.rates.append(rate)


# -- rows ------------------------------------------------------------------------------------------------------------------


def read_sample(splits: tuple[str, ...]) -> dict[tuple[str, str], pd.DataFrame]:
    """The embedded sample, cleaned and translated as in the pipeline: (split, task) -> rows."""
    folder, _ = dataset.open_folder("", LAPTOP.sample_rows)
    backend = backends.open_backend(LAPTOP.translation, "")
    tables = {}
    raw = read_folder(folder).tables
    for split, task in itertools.product(splits, TASKS):
        table, _ = clean.clean_table(raw[split, task], train=split == "train")
        english, _ = cache.translate(table, backend, TRANSLATIONS, bar=False)
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


def cases(rows: int, names: list[str], decoder: Recipe) -> list[Case]:
    """The cases called `names` (none = all): 1, 2, 4, 8 rows for each query, the sample, the encoder. Exits for an unknown name."""
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


# -- networks ----------------------------------------------------------------------------------------------------------------


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
    """The recipe's network and its twin. A large network is its own twin, as its class is a transformers class."""
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


def large_network(shape: dict[str, Any], recipe: Recipe, folder: Path) -> nn.Module:
    """A network of Gemma-3's class with random weights, created on the device in bf16; with `nf4` its blocks are in 4-bit."""
    config = Gemma3TextConfig(**shape, num_labels=2, pad_token_id=build.load_tokenizer(folder).pad_token_id)
    config._attn_implementation = recipe.attention
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(precision.device()):
            network = decoder_class(config)(config)
    finally:
        torch.set_default_dtype(dtype)
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


# -- engines -----------------------------------------------------------------------------------------------------------------


class Texts(Dataset):
    """The data set of the `seed` rival: a row is tokenised at each access."""

    def __init__(self, case: Case, table: pd.DataFrame, tokenizer: Any, labels: bool) -> None:
        self.case, self.rows, self.tokenizer, self.labels = case, table.to_dict("records"), tokenizer, labels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        row, recipe = self.rows[number], self.case.recipe
        parts = [query_field(row["query"], row["query_en"]), target_field(row["target"], self.case.task)]
        text = "\n".join(parts if recipe.query_first else parts[::-1]) + tokens.LINE
        encoding = self.tokenizer(text, truncation=True, max_length=recipe.max_length)
        return dict(encoding) | ({"labels": int(row["label"])} if self.labels else {})


@dataclass
class Collate:
    """Pads a batch to its longest row, as `DataCollatorWithPadding` does, and counts the tokens, padding included."""

    tokenizer: Any
    token_count: int = 0

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = self.tokenizer.pad(rows, return_tensors="pt")
        self.token_count += batch["input_ids"].numel()
        return dict(batch)


def encode(case: Case, networks: Networks, table: pd.DataFrame) -> tokens.Encoded:
    """The token ids of a table's rows, as the case's recipe reads them."""
    folder = networks.folder
    return tokens.encode(table, case.task, build.load_tokenizer(folder), case.recipe, build.is_encoder(folder))


def take(case: Case, networks: Networks, name: str, rows: int) -> pd.DataFrame:
    """The timed rows: evenly spaced steps or packs of our layout of the whole case, so that their prefixes overlap as much."""
    whole = encode(case, networks, case.table)
    if name == "train":
        batches = [np.concatenate(step) for step in packing.training_steps(whole, case.recipe)][:-1]
    else:
        batches = packing.batches(whole, np.arange(len(case.table)), case.recipe.score_tokens)
    return case.table.iloc[evenly(batches, rows)].sample(frac=1, random_state=0)


def our_training(case: Case, networks: Networks, table: pd.DataFrame) -> Run:
    """Training by our loop, tokenisation included."""

    def run() -> tuple[float, float]:
        start = time.perf_counter()
        encoding = encode(case, networks, table)
        seconds = time.perf_counter() - start
        with tempfile.TemporaryDirectory() as name:
            label, folder = table["label"].to_numpy(), Path(name)
            result = fit(networks.ours, encoding, label, case.recipe, networks.pad_id, folder, "", "", "none", PATIENCE)
        wait(precision.device())
        batches = [batch for step in packing.training_steps(encoding, case.recipe) for batch in step]
        token_count = sum(packing.count_tokens(encoding, batch) for batch in batches)
        return len(table) / (seconds + len(table) / result.rows_per_s), token_count / len(table)

    return run


def seed_training(case: Case, networks: Networks, table: pd.DataFrame) -> Run:
    """Training by `Trainer` on random batches of 8 rows, padded to the longest."""
    tokenizer = build.load_tokenizer(networks.folder)

    def run() -> tuple[float, float]:
        collate = Collate(tokenizer)
        with tempfile.TemporaryDirectory() as folder:
            options = TrainingArguments(
                folder, num_train_epochs=1, per_device_train_batch_size=SEED_BATCH, gradient_accumulation_steps=STEP // SEED_BATCH,
                learning_rate=case.recipe.learning_rate, weight_decay=case.recipe.weight_decay, max_grad_norm=case.recipe.clip,
                report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True, bf16=torch.cuda.is_available(),
                gradient_checkpointing=case.recipe.checkpointing, dataloader_num_workers=0,
            )  # fmt: skip
            data = Texts(case, table, tokenizer, labels=True)
            trainer = Trainer(networks.theirs, options, data_collator=collate, train_dataset=data)
            trainer.remove_callback(PrinterCallback)
            result = trainer.train()
        return len(table) / result.metrics["train_runtime"], collate.token_count / len(table)

    return run


def our_scoring(case: Case, networks: Networks, table: pd.DataFrame) -> Run:
    """Scoring by our loop, tokenisation included."""

    def run() -> tuple[float, float]:
        start = time.perf_counter()
        encoding = encode(case, networks, table)
        predict(networks.ours.eval(), encoding, case.recipe.score_tokens, networks.pad_id, "", "none")
        wait(precision.device())
        rate = len(table) / (time.perf_counter() - start)
        batches = packing.batches(encoding, np.arange(len(table)), case.recipe.score_tokens)
        return rate, sum(packing.count_tokens(encoding, batch) for batch in batches) / len(table)

    return run


def seed_scoring(case: Case, networks: Networks, table: pd.DataFrame) -> Run:
    """Scoring by `Trainer` on batches of 8 rows, padded to the longest."""
    tokenizer = build.load_tokenizer(networks.folder)

    def run() -> tuple[float, float]:
        collate = Collate(tokenizer)
        with tempfile.TemporaryDirectory() as folder:
            options = TrainingArguments(folder, per_device_eval_batch_size=SEED_BATCH, report_to=[], disable_tqdm=True)
            trainer = Trainer(networks.theirs, options, data_collator=collate)
            start = time.perf_counter()
            trainer.predict(Texts(case, table, tokenizer, labels=False))
        wait(precision.device())
        return len(table) / (time.perf_counter() - start), collate.token_count / len(table)

    return run


def sorted_scoring(case: Case, networks: Networks, table: pd.DataFrame) -> Run:
    """Scoring in batches of 64 sorted by length, evenly spaced ones of the whole case: few rows would not fill sorted batches."""
    whole = encode(case, networks, case.table)
    order = np.argsort(-whole.lengths, kind="stable")
    batches = [order[first : first + 64] for first in range(0, len(order) - 63, 64)]
    table = case.table.iloc[evenly(batches, max(len(table), 64))]

    def run() -> tuple[float, float]:
        start, token_count = time.perf_counter(), 0
        encoding = encode(case, networks, table)
        with torch.inference_mode():
            for first in range(0, len(table), 64):
                batch = packing.pad([row[0] for row in encoding.rows[first : first + 64]], networks.pad_id)
                token_count += batch["input_ids"].numel()
                batch = {name: value.to(precision.device()) for name, value in batch.items()}
                networks.theirs.eval()(**batch).logits.cpu()
        return len(table) / (time.perf_counter() - start), token_count / len(table)

    return run


def pairs_of(case: Case, table: pd.DataFrame) -> list[list[str]]:
    """The two texts of each row: the query's field and the target's."""
    records = table.to_dict("records")
    return [[query_field(row["query"], row["query_en"]), target_field(row["target"], case.task)] for row in records]


def cross_encoder(networks: Networks) -> Any:
    """The rival's own class with the same weights, its embeddings frozen like ours; None where it is not installed."""
    try:
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        print(f"no lines against crossencoder: {error}; pip install sentence-transformers datasets", file=sys.stderr)
        return None
    model = CrossEncoder(str(networks.folder), num_labels=1, device=str(precision.device()))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".embeddings." not in name)
    return model


def cross_training(case: Case, networks: Networks, table: pd.DataFrame) -> Run | None:
    """Training by `CrossEncoder.fit`; None where it is not installed. Its tokens are not counted (NaN)."""
    model = cross_encoder(networks)
    if model is None:
        return None
    from sentence_transformers import InputExample
    from torch.utils.data import DataLoader

    pairs = zip(pairs_of(case, table), table["label"], strict=True)
    examples = [InputExample(texts=pair, label=float(label)) for pair, label in pairs]

    def run() -> tuple[float, float]:
        start = time.perf_counter()
        model.fit(DataLoader(examples, batch_size=STEP, shuffle=True), warmup_steps=0, show_progress_bar=False)
        return len(table) / (time.perf_counter() - start), float("nan")

    return run


def cross_scoring(case: Case, networks: Networks, table: pd.DataFrame) -> Run | None:
    """Scoring by `CrossEncoder.predict`; None where it is not installed. Its tokens are not counted (NaN)."""
    model = cross_encoder(networks)
    if model is None:
        return None
    pairs = pairs_of(case, table)

    def run() -> tuple[float, float]:
        start = time.perf_counter()
        model.predict(pairs, show_progress_bar=False)
        return len(table) / (time.perf_counter() - start), float("nan")

    return run


ENGINES = {"train": our_training, "score": our_scoring}
RIVALS = {
    ("train", "seed"): seed_training,
    ("score", "seed"): seed_scoring,
    ("score", "sorted64"): sorted_scoring,
    ("train", "crossencoder"): cross_training,
    ("score", "crossencoder"): cross_scoring,
}


# -- pairs -------------------------------------------------------------------------------------------------------------------


def compare(
    case: Case, name: str, rows: int, repetitions: int, peak: float, rivals: list[str]
) -> Iterator[dict[str, Any]]:
    """One line for each rival, from runs in turn: ours, rival, ours, rival, ... On a GPU both run once before, to warm up.

    `rows` is the number of timed rows, `peak` the device's speed in FLOP/s, `rivals` their names (none = all).
    """
    networks = open_networks(case.recipe, name == "train")
    work = linear_weights(networks.theirs) * (2 if name == "score" else 4 if case.recipe.tuning == "lora" else 6)
    table = take(case, networks, name, rows * SHARE.get(case.name, 1))
    ours = ENGINES[name](case, networks, table)
    for (kind, against), rival in RIVALS.items():
        eligible = ("seed", "crossencoder" if case.name == "encoder" else "sorted64")
        if kind != name or against not in eligible or (rivals and against not in rivals):
            continue
        theirs = rival(case, networks, table)
        if theirs is None:
            continue
        left, right = Timing(), Timing()
        for number in range(repetitions + torch.cuda.is_available()):
            for timing, run in ((left, ours), (right, theirs)):
                timing.take(run, keep=number >= torch.cuda.is_available())
        ratios = [ours_rate / rate for ours_rate, rate in zip(left.rates, right.rates, strict=True)]
        line = {
            "name": name, "case": case.name, "against": against, "ours": round(median(left.rates), 2),
            "theirs": round(median(right.rates), 2), "ratio": round(median(ratios), 3), "unit": "rows/s",
            "repetitions": repetitions, "ratio_min": round(min(ratios), 3), "ratio_max": round(max(ratios), 3),
            "tokens_ours": round(left.row_tokens, 1), "tokens_theirs": _number(right.row_tokens),
            "utilisation_ours": _number(median(left.rates) * left.row_tokens * work / peak, 3),
            "utilisation_theirs": _number(median(right.rates) * right.row_tokens * work / peak, 3),
            "network": case.recipe.name if case.recipe.name in LARGE else case.recipe.model,
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        }  # fmt: skip
        if torch.cuda.is_available():
            line |= {"memory_gb_ours": round(left.memory, 1), "memory_gb_theirs": round(right.memory, 1)}
            line["memory_gb_planned"] = round(planned_memory(case.recipe, name == "train", left.row_tokens) / 1e9, 1)
        yield line


def planned_memory(recipe: Recipe, train: bool, row_tokens: float) -> float:
    """The plan's peak memory in bytes for full packs of rows with so many tokens each."""
    shape = shapes.config("gemma-3-12b" if recipe.name in LARGE else recipe.model)
    pack_tokens = recipe.pack_tokens if train else recipe.score_tokens
    return pack_cost(recipe, shape, pack_tokens, max(1, round(row_tokens)), train).peak


def _number(value: float, digits: int = 1) -> float | None:
    """A rounded number, None for NaN."""
    return None if np.isnan(value) else round(value, digits)


def draw(lines: list[dict[str, Any]], path: Path) -> None:
    """Speed-up over `seed` against rows per query; dashed, the ratio of tokens: the speed-up at equal work per token."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axis, name in zip(axes, ("train", "score"), strict=True):
        rows = [line for line in lines if line["name"] == name and line["against"] == "seed"]
        for task, colour in (("QC", "#1f6fb4"), ("QI", "#d97706")):
            curve = sorted((row for row in rows if row["case"].startswith(f"{task}-K")), key=lambda row: row["case"])
            x = [int(row["case"][4:]) for row in curve]
            limits = [row["tokens_theirs"] / row["tokens_ours"] for row in curve]
            axis.plot(x, limits, "--", color=colour, lw=1, alpha=0.7)
            axis.plot(x, [row["ratio"] for row in curve], "o-", color=colour, label=f"{task}, query first")
            for row in rows:
                if row["case"] == f"{task}-sample":
                    axis.plot([16], [row["ratio"]], "D", color=colour)
                    axis.plot([16], [row["tokens_theirs"] / row["tokens_ours"]], "_", color=colour, ms=14)
                    options = {"xytext": (-8, 6), "textcoords": "offset points", "ha": "right", "fontsize": 8}
                    axis.annotate(f"{task} sample", (16, row["ratio"]), **options)
        axis.axhline(1, color="grey", lw=0.8)
        axis.set_xscale("log", base=2)
        axis.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "sample"])
        axis.set(title={"train": "training (LoRA)", "score": "scoring"}[name], xlabel="rows per query")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("speed-up over padded random batches of 8")
    axes[0].legend(frameon=False, loc="lower right")
    figure.suptitle("Each distinct prefix computed once: measured (solid), ratio of tokens (dashed)")
    figure.savefig(path, dpi=150)


def main() -> None:
    """The command: time the cases and print their lines, or draw the figure from a file of lines."""
    parser = argparse.ArgumentParser(description="Packs against common alternatives; one JSON object per line.")
    parser.add_argument("--quick", action="store_true", help="few rows, two repetitions: no measurement")
    parser.add_argument("--only", nargs="*", default=[], metavar="CASE", help="these cases only")
    parser.add_argument("--against", nargs="*", default=[], metavar="RIVAL", help="these rivals only")
    parser.add_argument(
        "--plot", nargs="?", const="", metavar="FILE", help="draw packing.png, from this run or the lines in FILE"
    )
    arguments = parser.parse_args()
    image = Path(__file__).with_suffix(".png")
    if arguments.plot:
        draw([json.loads(line) for line in Path(arguments.plot).read_text("utf-8").splitlines()], image)
        return
    gpu = torch.cuda.is_available() and torch.cuda.get_device_properties(0).total_memory > 70e9
    rows, repetitions = (32, 2) if arguments.quick else (512, 5) if gpu else (32, 5)
    lines = []
    with contextlib.redirect_stdout(sys.stderr):  # what libraries print goes to stderr, only the lines to stdout
        peak = measure_peak(precision.device(), torch.bfloat16 if gpu else torch.float32)
        print(f"{peak / 1e9:,.0f} GFLOP/s is the peak of plain matrix products")
        for decoder in LARGE_RECIPES if gpu else (DECODER,):
            for case, name in itertools.product(cases(rows, arguments.only, decoder), ENGINES):
                for line in compare(case, name, rows, repetitions, peak, arguments.against):
                    lines.append(line)
                    print(json.dumps(line), file=sys.__stdout__, flush=True)
    if arguments.plot is not None:
        draw(lines, image)


if __name__ == "__main__":
    main()
