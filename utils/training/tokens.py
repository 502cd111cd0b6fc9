"""Rows of a table -> token ids: each distinct text is tokenised once, and many texts are cached on disk."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from transformers import PreTrainedTokenizerFast

from utils.core.files import write_with
from utils.core.paths import TOKENS
from utils.core.recipe import Recipe
from utils.data.text import query_field, target_field

LINE = "\n"  # ends each field of a decoder's row; the head reads the state at the last one
POSITIONS = 512  # tokens of the longest input that every family takes (e5 and XLM-R take no more)
MIN_TARGET = 8  # tokens of a target that are kept whatever the query's length
FEW = 5000  # fewer distinct texts are not cached: tokenising them is faster than reading a file

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Encoded:
    """Token ids of each row, in the table's order: one sequence per row, or two (query, target) for a bi-encoder.

    `group` `[rows]` numbers the row's first field: rows of one group have a common prefix. `causal` marks rows of a decoder,
    which may share prefixes, in tries of at most `sequence_tokens`.
    """

    rows: list[tuple[Ids, ...]]
    group: NDArray[np.int64]
    causal: bool
    truncated: int = 0  # number of rows whose target was truncated
    sequence_tokens: int = 0  # of a packed sequence, at most; 0 = as large as the pack

    @property
    def apart(self) -> bool:
        """Whether query and target are separate sequences, for a bi-encoder."""
        return len(self.rows) > 0 and len(self.rows[0]) == 2

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, `[rows]`."""
        return np.array([sum(map(len, row)) for row in self.rows], dtype=np.int64)


def _fingerprint(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> str:
    """Hash of a tokenizer and of texts; 32 hex digits."""
    digest = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode())
    digest.update("\x1e".join(texts).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]


def _bulk(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> list[Ids]:
    """Token ids of each text, without a cache."""
    encodings = tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [tuple(encoding.ids) for encoding in encodings]


def _read(path: Path) -> list[Ids]:
    """Token ids of each text of a cache file, in its order."""
    arrays = load_file(path)
    ids, ends = arrays["ids"].tolist(), arrays["ends"].tolist()
    return [tuple(ids[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def tokenise(texts: list[str], tokenizer: PreTrainedTokenizerFast, cache: Path = TOKENS) -> list[Ids]:
    """Token ids of each text, without special tokens; those of many texts are cached in the folder `cache`.

    The file's name is the hash of the tokenizer and of the distinct texts.
    """
    distinct = list(dict.fromkeys(texts))
    if len(distinct) < FEW:
        sequences = _bulk(distinct, tokenizer)
    else:
        path = cache / f"{_fingerprint(distinct, tokenizer)}.safetensors"
        if not path.exists():
            sequences = _bulk(distinct, tokenizer)
            ends = np.cumsum([len(ids) for ids in sequences], dtype=np.int64)
            flat = np.fromiter((token for ids in sequences for token in ids), dtype=np.int32, count=int(ends[-1]))
            write_with(path, lambda temporary: save_file({"ids": flat, "ends": ends}, temporary))
        sequences = _read(path)
    ids_of = dict(zip(distinct, sequences, strict=True))
    return [ids_of[text] for text in texts]


def _frame(tokenizer: PreTrainedTokenizerFast, encoder: bool) -> tuple[Ids, Ids, Ids]:
    """Markers before, between and after the two fields: special tokens of an encoder, line ends for a decoder."""
    if encoder:
        end = (tokenizer.sep_token_id,)
        return (tokenizer.cls_token_id,), end * 2, end
    start = () if tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)
    line = tokenise([LINE], tokenizer)[0]
    return start, line, line


def encode(
    table: pd.DataFrame, task: str, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, encoder: bool
) -> Encoded:
    """Token ids of a table's rows, from `query`, `query_en` and `target`, with markers around the fields.

    Fields are tokenised separately, so that no token spans two of them. Encoders get `<s> query </s></s> target </s>` (a
    bi-encoder two sequences), decoders `<bos> query \\n target \\n`, or the target first, as the recipe says. The target is
    truncated to fit the recipe's `max_length`; the query only where the network has no more positions.
    """
    pairs = zip(table["query"], table["query_en"], strict=True)
    queries = tokenise([query_field(query, english, recipe.translation) for query, english in pairs], tokenizer)
    targets = tokenise([target_field(target, task) for target in table["target"]], tokenizer)
    start, middle, end = _frame(tokenizer, encoder)
    fixed = len(start) + len(middle) + len(end)
    rows: list[tuple[Ids, ...]] = []
    first_fields: list[Ids] = []
    truncated = 0
    for query, target in zip(queries, targets, strict=True):
        query = query[: POSITIONS - fixed - MIN_TARGET]
        room = max(MIN_TARGET, recipe.max_length - fixed - len(query))
        truncated += len(target) > room
        first, second = (query, target[:room]) if recipe.query_first else (target[:room], query)
        first_fields.append(first)
        if recipe.architecture == "bi-encoder":
            rows.append((start + first + end, start + second + end))
        else:
            rows.append((start + first + middle + second + end,))
    return Encoded(
        rows,
        pd.factorize(np.fromiter(first_fields, dtype=object, count=len(first_fields)))[0],
        not encoder,
        truncated,
        recipe.sequence_tokens,
    )
