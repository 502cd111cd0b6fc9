"""Rows -> token ids -> batches of like length, and the order in which a training run sees them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from utils.recipe import Recipe
from utils.text import query_field, target_field

ANSWER = "relevant:"  # what a decoder reads last; its state at this cue goes into the head
POSITIONS = 512  # the longest input that every family takes (e5 and XLM-R end there)
MIN_TARGET = 8  # tokens of a target that stay whatever the query's length

Ids = tuple[int, ...]
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Encoded:
    """Token ids of each row, in the table's order: one sequence a row, or two (query, target) for `towers`."""

    rows: list[tuple[Ids, ...]]
    cut: int = 0  # rows whose target was cut to fit

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row."""
        return np.array([sum(map(len, row)) for row in self.rows])

    def head(self, count: int) -> "Encoded":
        return Encoded(self.rows[:count])


def _tokenise(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> list[Ids]:
    """Tokenise distinct texts once, without special tokens."""
    distinct = list(dict.fromkeys(texts))
    ids = tokenizer(distinct, add_special_tokens=False, return_attention_mask=False)["input_ids"] if distinct else []
    known = {text: tuple(found) for text, found in zip(distinct, ids, strict=True)}
    return [known[text] for text in texts]


def _frame(tokenizer: PreTrainedTokenizerFast, encoder: bool) -> tuple[Ids, Ids, Ids]:
    """What stands before, between and after the two fields: separators of an encoder, lines and a cue for a decoder."""
    if encoder:
        end = (tokenizer.sep_token_id,)
        return (tokenizer.cls_token_id,), end * 2, end
    start = () if tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)
    middle, end = _tokenise(["\n", "\n" + ANSWER], tokenizer)
    return start, middle, end


def encode(
    table: pd.DataFrame, task: str, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, encoder: bool
) -> Encoded:
    """Token ids of (query, English, target) rows behind explicit markers.

    Fields are tokenised apart, so that no tokenizer can glue them together: encoders get
    `<s> query </s></s> target </s>` (`towers` two sequences), decoders `<bos> query \\n target \\n relevant:`. The target is
    cut to fit `max_length`; the query never, but at the network's own end of positions.
    """
    pairs = zip(table["query"], table["query_en"], strict=True)
    queries = _tokenise([query_field(query, english, recipe.translation) for query, english in pairs], tokenizer)
    targets = _tokenise([target_field(target, task) for target in table["target"]], tokenizer)
    start, middle, end = _frame(tokenizer, encoder)
    fixed = len(start) + len(middle) + len(end)
    rows: list[tuple[Ids, ...]] = []
    cut = 0
    for query, target in zip(queries, targets, strict=True):
        query = query[: POSITIONS - fixed - MIN_TARGET]
        room = max(MIN_TARGET, recipe.max_length - fixed - len(query))
        cut += len(target) > room
        first, second = (query, target[:room]) if recipe.query_first else (target[:room], query)
        if recipe.pooling == "towers":
            rows.append((start + first + end, start + second + end))
        else:
            rows.append((start + first + middle + second + end,))
    return Encoded(rows, cut)


def pad(rows: list[Ids], pad_id: int) -> Batch:
    """`input_ids` and `attention_mask`, both `[rows, longest]`, padded on the right."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def like_length(lengths: np.ndarray, tokens: int) -> list[np.ndarray]:
    """Row numbers in batches of like length, at most `tokens` padded tokens each (one row at least), longest first."""
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        width = max(1, tokens // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + width])
        start += width
    return batches


def training_steps(lengths: np.ndarray, recipe: Recipe) -> list[list[np.ndarray]]:
    """The whole run laid out beforehand: optimizer steps, each a list of micro-batches of row numbers.

    Every epoch deals all rows anew from the recipe's seed, each once; the last may be a part of an epoch. Rows of
    one step are put together by length, so that little is padded. Laid out so, an interrupted run goes on
    at a step's number, and several processes share a step by taking its micro-batches in turn.
    """
    rng = np.random.default_rng(recipe.seed)
    steps: list[list[np.ndarray]] = []
    left = round(len(lengths) * recipe.epochs)
    while left > 0:
        deal = rng.permutation(len(lengths))[:left]
        left -= len(deal)
        for start in range(0, len(deal), recipe.batch_rows):
            rows = deal[start : start + recipe.batch_rows]
            rows = rows[np.argsort(lengths[rows], kind="stable")]
            steps.append([rows[at : at + recipe.micro_rows] for at in range(0, len(rows), recipe.micro_rows)])
    return steps
