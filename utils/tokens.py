"""Rows -> token ids: each distinct text once, in bulk, kept on disk for the next time."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from transformers import PreTrainedTokenizerFast

from utils.files import write_with
from utils.paths import TOKENS
from utils.recipe import Recipe
from utils.text import query_field, target_field

LINE = "\n"  # ends each field of a decoder's row; the state at the last one goes into the head
POSITIONS = 512  # the longest input that every family takes (e5 and XLM-R end there)
MIN_TARGET = 8  # tokens of a target that stay whatever the query's length
FEW = 5000  # so many texts are tokenised in less time than their file is read

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Encoded:
    """Token ids of each row, in the table's order: one sequence a row, or two (query, target) for `towers`.

    `group` numbers the field that stands first: rows of one group begin alike. `causal` says that a decoder reads them, which
    may therefore share what they begin with, in tries of at most `lane` tokens (0 = any size).
    """

    rows: list[tuple[Ids, ...]]
    group: NDArray[np.int64]
    causal: bool
    cut: int = 0  # rows whose target was cut to fit
    lane: int = 0

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row."""
        return np.array([sum(map(len, row)) for row in self.rows], dtype=np.int64)


def _fingerprint(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> str:
    found = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode())
    found.update("\x1e".join(texts).encode("utf-8", "surrogatepass"))
    return found.hexdigest()[:32]


def _bulk(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> list[Ids]:
    encodings = tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [tuple(encoding.ids) for encoding in encodings]


def _read(path: Path) -> list[Ids]:
    found = load_file(path)
    ids, ends = found["ids"].tolist(), found["ends"].tolist()
    return [tuple(ids[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def tokenise(texts: list[str], tokenizer: PreTrainedTokenizerFast, cache: Path = TOKENS) -> list[Ids]:
    """Token ids of each text, without special tokens; many texts are tokenised once and kept in `cache`.

    The file's name is the hash of the tokenizer and of the distinct texts, so no other's is ever read.
    """
    distinct = list(dict.fromkeys(texts))
    if len(distinct) < FEW:
        found = _bulk(distinct, tokenizer)
    else:
        path = cache / f"{_fingerprint(distinct, tokenizer)}.safetensors"
        if not path.exists():
            fresh = _bulk(distinct, tokenizer)
            ends = np.cumsum([len(ids) for ids in fresh], dtype=np.int64)
            flat = np.fromiter((one for ids in fresh for one in ids), dtype=np.int32, count=int(ends[-1]))
            write_with(path, lambda temporary: save_file({"ids": flat, "ends": ends}, temporary))
        found = _read(path)
    known = dict(zip(distinct, found, strict=True))
    return [known[text] for text in texts]


def _frame(tokenizer: PreTrainedTokenizerFast, encoder: bool) -> tuple[Ids, Ids, Ids]:
    """What stands before, between and after the two fields: separators of an encoder, line ends for a decoder."""
    if encoder:
        end = (tokenizer.sep_token_id,)
        return (tokenizer.cls_token_id,), end * 2, end
    start = () if tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)
    line = tokenise([LINE], tokenizer)[0]
    return start, line, line


def encode(
    table: pd.DataFrame, task: str, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, encoder: bool
) -> Encoded:
    """Token ids of (query, English, target) rows behind explicit markers.

    Fields are tokenised apart, so that no tokenizer can glue them together: encoders get
    `<s> query </s></s> target </s>` (`towers` two sequences), decoders `<bos> query \\n target \\n`, or the target first, as
    the recipe has it. The target is cut to fit `max_length`; the query never, but at the network's own end of positions.
    """
    pairs = zip(table["query"], table["query_en"], strict=True)
    queries = tokenise([query_field(query, english, recipe.translation) for query, english in pairs], tokenizer)
    targets = tokenise([target_field(target, task) for target in table["target"]], tokenizer)
    start, middle, end = _frame(tokenizer, encoder)
    fixed = len(start) + len(middle) + len(end)
    rows: list[tuple[Ids, ...]] = []
    leaders: list[Ids] = []
    cut = 0
    for query, target in zip(queries, targets, strict=True):
        query = query[: POSITIONS - fixed - MIN_TARGET]
        room = max(MIN_TARGET, recipe.max_length - fixed - len(query))
        cut += len(target) > room
        first, second = (query, target[:room]) if recipe.query_first else (target[:room], query)
        leaders.append(first)
        if recipe.pooling == "towers":
            rows.append((start + first + end, start + second + end))
        else:
            rows.append((start + first + middle + second + end,))
    return Encoded(
        rows,
        pd.factorize(np.fromiter(leaders, dtype=object, count=len(leaders)))[0],
        not encoder,
        cut,
        recipe.lane_tokens,
    )
