"""Rivals of the packing benchmark: `Trainer` on padded random batches, batches sorted by length, and `CrossEncoder`."""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from cases import STEP, Case, Networks, encode, evenly
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainingArguments

from utils.data.text import query_field, target_field
from utils.models import build, precision
from utils.planning.devices import wait
from utils.training import packing, tokens

SEED_BATCH = 8  # rows of one forward pass of `seed`

Run = Callable[[], tuple[float, float]]  # () -> rows per second, tokens per row


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
    """Training by `CrossEncoder.fit`; None where it is not installed, NaN for its tokens."""
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
    """Scoring by `CrossEncoder.predict`; None where it is not installed, NaN for its tokens."""
    model = cross_encoder(networks)
    if model is None:
        return None
    pairs = pairs_of(case, table)

    def run() -> tuple[float, float]:
        start = time.perf_counter()
        model.predict(pairs, show_progress_bar=False)
        return len(table) / (time.perf_counter() - start), float("nan")

    return run


RIVALS = {
    ("train", "seed"): seed_training,
    ("score", "seed"): seed_scoring,
    ("score", "sorted64"): sorted_scoring,
    ("train", "crossencoder"): cross_training,
    ("score", "crossencoder"): cross_scoring,
}
