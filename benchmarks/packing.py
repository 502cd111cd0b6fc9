"""Our engine against what else one would use: the same weights, the same rows, ratios from interleaved runs.

    python benchmarks/packing.py [--quick] [--only CASE ...] [--against RIVAL ...] [--plot [FILE]]

Rivals. `seed`: rows tokenised one by one in the data set, random batches of 8, padded to the longest, `Trainer`. `sorted64`:
batches of 64 sorted by length, the best common practice (scoring). `crossencoder`: `CrossEncoder` of sentence-transformers, fit
and predict (`pip install sentence-transformers datasets`; left out, aloud, where it is missing).
Cases. `QC-K2`: category paths, 2 rows a query, query first. `QC-sample`: the embedded sample as it is, in the order that the recipe
has chosen. `encoder`: e5-small on the sample. Where a CUDA GPU of 70 GB is found, a network of Gemma-3-12B's shape
with random weights takes the place of Gemma-3-270M: in bf16, checkpointed, and in 4-bit, and the
memory that the plan foresees stands beside the measured peak.
Timed are rows of evenly spaced steps or packs of our layout of the whole case; the rivals get the same rows (`sorted64` evenly spaced
batches of its own, as few rows would not sort into full ones). Prints one JSON object a line; a ratio above 1 means ours is faster.
`--plot` draws `benchmarks/packing.png`, from this run or from the lines in FILE.
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

from utils import clean, data, models, packing, profiles, sample, shapes, tokens, translate, weights
from utils.cost import pack_cost
from utils.decoders import decoder_class
from utils.devices import measure_peak, wait
from utils.paths import TRANSLATIONS
from utils.recipe import Recipe
from utils.schema import TASKS
from utils.score import predict
from utils.text import query_field, target_field
from utils.train import fit

SEED_BATCH, STEP = 8, 32  # rows of one forward pass of the rival; rows of one optimizer step, for all
# Times as many rows: the sample is less even than the made cases.
SHARE = {"QC-sample": 2, "QI-sample": 2, "encoder": 4}
PATIENCE = 1e9  # seconds between checkpoints: none is written

DECODER = profiles.GEMMA_SMALL.with_(batch_rows=STEP)
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
# Dropout is the stock one, for the sake of rivals that load it so.
ENCODER = profiles.E5.with_(
    pooling="first", dropout=0.1, batch_rows=STEP, frozen_layers=0, pack_tokens=512, score_tokens=2048
)


@dataclass(frozen=True)
class Case:
    """Rows to train on or to score, and the recipe that reads them."""

    name: str
    task: str
    table: pd.DataFrame
    recipe: Recipe


Run = Callable[[], tuple[float, float]]  # () -> rows a second, tokens a row


@dataclass
class Timing:
    """What one engine did: rows a second of each repetition, and the tokens that it computed for a row."""

    tokens: float = 0.0
    memory: float = 0.0  # peak, GB, on a GPU
    rates: list[float] = field(default_factory=list)

    def take(self, run: Run, keep: bool) -> None:
        """Run once, and note what it did unless it was to warm up."""
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        rate, self.tokens = run()
        if torch.cuda.is_available():
            self.memory = max(self.memory, torch.cuda.max_memory_allocated() / 1e9)
        if keep:
            self.rates.append(rate)


# -- rows ------------------------------------------------------------------------------------------------------------------


def read_sample(splits: tuple[str, ...]) -> dict[tuple[str, str], pd.DataFrame]:
    """The embedded sample, cleaned and translated as the road does it, by split and task."""
    folder, _ = sample.open_folder("", profiles.LAPTOP.sample_rows)
    backend = translate.open_backend(profiles.LAPTOP.translation, "")
    found = {}
    raw = data.read_folder(folder).tables
    for split, task in itertools.product(splits, TASKS):
        table, _ = clean.clean_table(raw[split, task], train=split == "train")
        english, _ = translate.translate(table, backend, TRANSLATIONS, bar=False)
        found[split, task] = table.assign(query_en=english)
    return found


def rows_per_query(table: pd.DataFrame, count: int, rows: int, seed: int = 0) -> pd.DataFrame:
    """`rows` rows of distinct queries with `count` distinct targets each, drawn from the sample's own texts."""
    rng = np.random.default_rng(seed)
    queries = table.drop_duplicates("query").sample(rows // count, random_state=seed)
    targets = table["target"].drop_duplicates().to_numpy()
    parts = [
        queries.assign(target=[targets[number] for number in rng.permutation(len(targets))[: len(queries)]])
        for _ in range(count)
    ]
    return pd.concat(parts, ignore_index=True).assign(label=rng.integers(0, 2, len(queries) * count))


def evenly(batches: list[packing.Rows], rows: int) -> packing.Rows:
    """Row numbers of evenly spaced batches, about `rows` in all."""
    count = max(1, round(rows / np.mean([len(batch) for batch in batches])))
    places = np.unique(((np.arange(count) + 0.5) * len(batches) / count).astype(int))
    return np.concatenate([batches[place] for place in places])


def cases(rows: int, names: list[str], decoder: Recipe) -> list[Case]:
    """The cases that were asked for: 1, 2, 4, 8 rows a query, the sample as it is, and the encoder's."""
    tables = read_sample(("train",))
    found = []
    for task in TASKS:
        base = decoder.with_(max_length=profiles.MAX_LENGTH[task])
        for count in (1, 2, 4, 8):
            table = rows_per_query(tables["train", task], count, rows * 16)
            found.append(Case(f"{task}-K{count}", task, table, base.with_(query_first=True)))
        first = profiles.QUERY_FIRST[task]
        found.append(Case(f"{task}-sample", task, tables["train", task], base.with_(query_first=first)))
    if decoder is DECODER:
        found.append(Case("encoder", "QC", tables["train", "QC"], ENCODER.with_(max_length=profiles.MAX_LENGTH["QC"])))
    unknown = set(names) - {case.name for case in found}
    if unknown:
        sys.exit(f"unknown case {', '.join(sorted(unknown))}; there are {', '.join(case.name for case in found)}")
    return [case for case in found if not names or case.name in names]


# -- networks ----------------------------------------------------------------------------------------------------------------


def linear_weights(model: nn.Module) -> int:
    """Weights of the blocks' linear layers: what the work a token is made of."""
    return sum(
        m.in_features * m.out_features
        for name, m in model.named_modules()
        if isinstance(m, nn.Linear) and "layer" in name
    )


def stock_twin(ours: nn.Module, folder: Path) -> nn.Module:
    """The stock class with the same weights, as a rival would load it."""
    twin = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, dtype=torch.float32)
    weights_of = ours.encoder.state_dict() if hasattr(ours, "encoder") else ours.state_dict()
    (twin.base_model if hasattr(ours, "encoder") else twin).load_state_dict(weights_of, strict=False)
    twin.config.pad_token_id = models.load_tokenizer(folder).pad_token_id
    return twin.to(models.device())


@dataclass(frozen=True)
class Networks:
    """One network for ours and its twin for the rivals, with the recipe's part made trainable in both."""

    folder: Path
    ours: nn.Module
    theirs: nn.Module

    @property
    def pad_id(self) -> int:
        return models.load_tokenizer(self.folder).pad_token_id


def open_networks(recipe: Recipe, train: bool) -> Networks:
    """The recipe's network and its twin; a network of the large shape is its own twin, as the stock class is in it."""
    folder = weights.resolve(recipe.model)
    if recipe.name in LARGE:
        ours = theirs = large_network(LARGE[recipe.name], recipe, folder)
        if train:
            ours = theirs = models.make_trainable(ours, recipe)
        return Networks(folder, ours, theirs)
    ours = models.load_network(recipe, folder).to(models.device())
    theirs = stock_twin(ours, folder)
    if train:
        ours, theirs = (models.make_trainable(network, recipe) for network in (ours, theirs))
    return Networks(folder, ours, theirs)


def large_network(shape: dict[str, Any], recipe: Recipe, folder: Path) -> nn.Module:
    """A network of Gemma-3's class with random weights, made on the device in bf16; with `nf4` its blocks in 4-bit."""
    config = Gemma3TextConfig(**shape, num_labels=2, pad_token_id=models.load_tokenizer(folder).pad_token_id)
    config._attn_implementation = recipe.attention
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(models.device()):
            network = decoder_class(config)(config)
    finally:
        torch.set_default_dtype(before)
    if recipe.quantisation == "nf4":
        for layer in network.model.layers:
            quantise(layer)
    return network


def quantise(module: nn.Module) -> None:
    """Put 4-bit NF4 with double quantisation in the place of every linear layer below a module."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            small = Linear4bit(
                child.in_features,
                child.out_features,
                bias=False,
                compute_dtype=torch.bfloat16,
                quant_type="nf4",
                device="meta",
            )
            place = child.weight.device
            small.weight = Params4bit(
                child.weight.data.cpu(), requires_grad=False, quant_type="nf4", compress_statistics=True
            )
            setattr(module, name, small.to(place))
        else:
            quantise(child)


# -- engines -----------------------------------------------------------------------------------------------------------------


class Texts(Dataset):
    """The seed's data set: a row is tokenised whenever it is asked for."""

    def __init__(self, case: Case, table: pd.DataFrame, tokenizer: Any, labels: bool) -> None:
        self.case, self.rows, self.tokenizer, self.labels = case, table.to_dict("records"), tokenizer, labels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        row, recipe = self.rows[number], self.case.recipe
        parts = [query_field(row["query"], row["query_en"]), target_field(row["target"], self.case.task)]
        text = "\n".join(parts if recipe.query_first else parts[::-1]) + tokens.LINE
        found = self.tokenizer(text, truncation=True, max_length=recipe.max_length)
        return dict(found) | ({"labels": int(row["label"])} if self.labels else {})


@dataclass
class Collate:
    """Pads a batch to its longest row, as `DataCollatorWithPadding` does, and counts what was padded in."""

    tokenizer: Any
    computed: int = 0

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = self.tokenizer.pad(rows, return_tensors="pt")
        self.computed += batch["input_ids"].numel()
        return dict(batch)


def encode(case: Case, networks: Networks, table: pd.DataFrame) -> tokens.Encoded:
    folder = networks.folder
    return tokens.encode(table, case.task, models.load_tokenizer(folder), case.recipe, models.is_encoder(folder))


def take(case: Case, networks: Networks, name: str, rows: int) -> pd.DataFrame:
    """The rows that are timed: evenly spaced steps or packs of our layout of the whole case, so that they share as much as it does."""
    whole = encode(case, networks, case.table)
    if name == "train":
        parts = [np.concatenate(step) for step in packing.training_steps(whole, case.recipe)][:-1]
    else:
        parts = packing.batches(whole, np.arange(len(case.table)), case.recipe.score_tokens)
    return case.table.iloc[evenly(parts, rows)].sample(frac=1, random_state=0)


def our_training(case: Case, networks: Networks, table: pd.DataFrame) -> Run:
    def run() -> tuple[float, float]:
        start = time.perf_counter()
        encoded = encode(case, networks, table)
        spent = time.perf_counter() - start
        with tempfile.TemporaryDirectory() as folder:
            label, place = table["label"].to_numpy(), Path(folder)
            done = fit(networks.ours, encoded, label, case.recipe, networks.pad_id, place, "", "", "none", PATIENCE)
        wait(models.device())
        batches = [micro for step in packing.training_steps(encoded, case.recipe) for micro in step]
        computed = sum(packing.count_tokens(encoded, batch) for batch in batches)
        return len(table) / (spent + len(table) / done.rows_per_s), computed / len(table)

    return run


def seed_training(case: Case, networks: Networks, table: pd.DataFrame) -> Run:
    tokenizer = models.load_tokenizer(networks.folder)

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
            done = trainer.train()
        return len(table) / done.metrics["train_runtime"], collate.computed / len(table)

    return run


def our_scoring(case: Case, networks: Networks, table: pd.DataFrame) -> Run:
    def run() -> tuple[float, float]:
        start = time.perf_counter()
        encoded = encode(case, networks, table)
        predict(networks.ours.eval(), encoded, case.recipe.score_tokens, networks.pad_id, "", "none")
        wait(models.device())
        rate = len(table) / (time.perf_counter() - start)
        batches = packing.batches(encoded, np.arange(len(table)), case.recipe.score_tokens)
        return rate, sum(packing.count_tokens(encoded, batch) for batch in batches) / len(table)

    return run


def seed_scoring(case: Case, networks: Networks, table: pd.DataFrame) -> Run:
    tokenizer = models.load_tokenizer(networks.folder)

    def run() -> tuple[float, float]:
        collate = Collate(tokenizer)
        with tempfile.TemporaryDirectory() as folder:
            options = TrainingArguments(folder, per_device_eval_batch_size=SEED_BATCH, report_to=[], disable_tqdm=True)
            trainer = Trainer(networks.theirs, options, data_collator=collate)
            start = time.perf_counter()
            trainer.predict(Texts(case, table, tokenizer, labels=False))
        wait(models.device())
        return len(table) / (time.perf_counter() - start), collate.computed / len(table)

    return run


def sorted_scoring(case: Case, networks: Networks, table: pd.DataFrame) -> Run:
    """Batches of 64 sorted by length: evenly spaced ones of the whole case, as few rows would not sort into full batches."""
    whole = encode(case, networks, case.table)
    order = np.argsort(-whole.lengths, kind="stable")
    table = case.table.iloc[evenly([order[at : at + 64] for at in range(0, len(order) - 63, 64)], max(len(table), 64))]

    def run() -> tuple[float, float]:
        start, computed = time.perf_counter(), 0
        encoded = encode(case, networks, table)
        with torch.inference_mode():
            for at in range(0, len(table), 64):
                batch = packing.pad([row[0] for row in encoded.rows[at : at + 64]], networks.pad_id)
                computed += batch["input_ids"].numel()
                networks.theirs.eval()(
                    **{name: value.to(models.device()) for name, value in batch.items()}
                ).logits.cpu()
        return len(table) / (time.perf_counter() - start), computed / len(table)

    return run


def pairs_of(case: Case, table: pd.DataFrame) -> list[list[str]]:
    records = table.to_dict("records")
    return [[query_field(row["query"], row["query_en"]), target_field(row["target"], case.task)] for row in records]


def cross_encoder(networks: Networks) -> Any:
    """The rival's own class over the same weights, its embeddings frozen as ours are; None where it is not installed."""
    try:
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        print(f"no lines against crossencoder: {error}; pip install sentence-transformers datasets", file=sys.stderr)
        return None
    model = CrossEncoder(str(networks.folder), num_labels=1, device=str(models.device()))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".embeddings." not in name)
    return model


def cross_training(case: Case, networks: Networks, table: pd.DataFrame) -> Run | None:
    model = cross_encoder(networks)
    if model is None:
        return None
    from sentence_transformers import InputExample
    from torch.utils.data import DataLoader

    examples = [
        InputExample(texts=pair, label=float(label))
        for pair, label in zip(pairs_of(case, table), table["label"], strict=True)
    ]

    def run() -> tuple[float, float]:
        start = time.perf_counter()
        model.fit(DataLoader(examples, batch_size=STEP, shuffle=True), warmup_steps=0, show_progress_bar=False)
        return len(table) / (time.perf_counter() - start), float("nan")

    return run


def cross_scoring(case: Case, networks: Networks, table: pd.DataFrame) -> Run | None:
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
    """Ours, rival, ours, rival, ...; one line a rival. On a GPU both run once before, to warm up."""
    networks = open_networks(case.recipe, name == "train")
    work = linear_weights(networks.theirs) * (2 if name == "score" else 4 if case.recipe.tuning == "lora" else 6)
    table = take(case, networks, name, rows * SHARE.get(case.name, 1))
    ours = ENGINES[name](case, networks, table)
    for (kind, against), build in RIVALS.items():
        fitting = ("seed", "crossencoder" if case.name == "encoder" else "sorted64")
        if kind != name or against not in fitting or (rivals and against not in rivals):
            continue
        theirs = build(case, networks, table)
        if theirs is None:
            continue
        left, right = Timing(), Timing()
        for number in range(repetitions + torch.cuda.is_available()):
            for timing, run in ((left, ours), (right, theirs)):
                timing.take(run, keep=number >= torch.cuda.is_available())
        ratios = [one / other for one, other in zip(left.rates, right.rates, strict=True)]
        line = {
            "name": name, "case": case.name, "against": against, "ours": round(median(left.rates), 2),
            "theirs": round(median(right.rates), 2), "ratio": round(median(ratios), 3), "unit": "rows/s",
            "repetitions": repetitions, "ratio_min": round(min(ratios), 3), "ratio_max": round(max(ratios), 3),
            "tokens_ours": round(left.tokens, 1), "tokens_theirs": _number(right.tokens),
            "utilisation_ours": _number(median(left.rates) * left.tokens * work / peak, 3),
            "utilisation_theirs": _number(median(right.rates) * right.tokens * work / peak, 3),
            "network": case.recipe.name if case.recipe.name in LARGE else case.recipe.model,
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        }  # fmt: skip
        if torch.cuda.is_available():
            line |= {"memory_gb_ours": round(left.memory, 1), "memory_gb_theirs": round(right.memory, 1)}
            line["memory_gb_planned"] = round(planned_memory(case.recipe, name == "train", left.tokens) / 1e9, 1)
        yield line


def planned_memory(recipe: Recipe, train: bool, row: float) -> float:
    """Bytes that the plan foresees for full packs of rows of so many tokens."""
    shape = shapes.config("gemma-3-12b" if recipe.name in LARGE else recipe.model)
    return pack_cost(
        recipe, shape, recipe.pack_tokens if train else recipe.score_tokens, max(1, round(row)), train
    ).peak


def _number(value: float, digits: int = 1) -> float | None:
    return None if np.isnan(value) else round(value, digits)


def draw(lines: list[dict[str, Any]], path: Path) -> None:
    """Speed-up over the seed's way against rows a query; dashed, the ratio of tokens, which is the limit of equal work a token."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axis, name in zip(axes, ("train", "score"), strict=True):
        told = [line for line in lines if line["name"] == name and line["against"] == "seed"]
        for task, colour in (("QC", "#1f6fb4"), ("QI", "#d97706")):
            found = sorted(
                (line for line in told if line["case"].startswith(f"{task}-K")), key=lambda line: line["case"]
            )
            x = [int(line["case"][4:]) for line in found]
            axis.plot(
                x,
                [line["tokens_theirs"] / line["tokens_ours"] for line in found],
                "--",
                color=colour,
                lw=1,
                alpha=0.7,
            )
            axis.plot(x, [line["ratio"] for line in found], "o-", color=colour, label=f"{task}, query first")
            for line in told:
                if line["case"] == f"{task}-sample":
                    axis.plot([16], [line["ratio"]], "D", color=colour)
                    axis.plot([16], [line["tokens_theirs"] / line["tokens_ours"]], "_", color=colour, ms=14)
                    axis.annotate(
                        f"{task} sample",
                        (16, line["ratio"]),
                        xytext=(-8, 6),
                        textcoords="offset points",
                        ha="right",
                        fontsize=8,
                    )
        axis.axhline(1, color="grey", lw=0.8)
        axis.set_xscale("log", base=2)
        axis.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "as the\nsample is"])
        axis.set(title={"train": "training (LoRA)", "score": "scoring"}[name], xlabel="rows a query")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("times as fast as padded random batches of 8")
    axes[0].legend(frameon=False, loc="lower right")
    figure.suptitle("Each distinct prefix once: measured (solid), ratio of tokens (dashed)")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description="Packs against what else one would use; one JSON object a line.")
    parser.add_argument("--quick", action="store_true", help="few rows and two repetitions: a look, no measurement")
    parser.add_argument("--only", nargs="*", default=[], metavar="CASE", help="these cases only")
    parser.add_argument("--against", nargs="*", default=[], metavar="RIVAL", help="these rivals only")
    parser.add_argument(
        "--plot", nargs="?", const="", metavar="FILE", help="draw packing.png beside this script, from FILE if given"
    )
    asked = parser.parse_args()
    image = Path(__file__).with_suffix(".png")
    if asked.plot:
        draw([json.loads(line) for line in Path(asked.plot).read_text("utf-8").splitlines()], image)
        return
    gpu = torch.cuda.is_available() and torch.cuda.get_device_properties(0).total_memory > 70e9
    rows, repetitions = (32, 2) if asked.quick else (512, 5) if gpu else (32, 5)
    lines = []
    with contextlib.redirect_stdout(sys.stderr):  # libraries talk; only the lines are the answer
        peak = measure_peak(models.device(), torch.bfloat16 if gpu else torch.float32)
        print(f"{peak / 1e9:,.0f} GFLOP/s is the peak of plain matrix products")
        for decoder in LARGE_RECIPES if gpu else (DECODER,):
            for case, name in itertools.product(cases(rows, asked.only, decoder), ENGINES):
                for line in compare(case, name, rows, repetitions, peak, asked.against):
                    lines.append(line)
                    print(json.dumps(line), file=sys.__stdout__, flush=True)
    if asked.plot is not None:
        draw(lines, image)


if __name__ == "__main__":
    main()
