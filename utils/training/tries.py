"""Rows of token ids as tries, and tries as packs: which rows share a trie, and which tries share a forward pass.

A pack is a batch of packed sequences. Each sequence is one trie of rows in depth-first order, each distinct prefix once.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from utils.training.tokens import Encoded, Ids

Batch = dict[str, Any]  # arguments of a forward pass
Rows = NDArray[np.int64]  # row numbers of a table

FILL = 15 / 16  # share of a trie's limit that new tokens are to fill; repeated prefixes take the rest
TOLERANCE = 0.85  # a trie may end between TOLERANCE and 1 / TOLERANCE of its intended size, where the split costs least


@dataclass(frozen=True)
class Trie:
    """Rows as one trie, depth first. Equal rows share a leaf; a row that is the prefix of another ends inside of it."""

    ids: NDArray[np.int64]  # [tokens]
    depth: NDArray[np.int64]  # [tokens] distance from the root: the position id
    end: NDArray[np.int64]  # [tokens] where the token's subtree ends
    leaves: NDArray[np.int64]  # [rows] position of each row's last token, in the order of the rows


def common_prefix(left: Ids, right: Ids) -> int:
    """Length of the common prefix of two rows, in tokens."""
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count


def build_trie(rows: Sequence[Ids]) -> Trie:
    """Rows as a trie: in sorted order, each adds the tokens that it does not share with the previous one.

    Raises ValueError for a row without tokens, which has no last token to read.
    """
    if not all(rows):
        raise ValueError("a row without tokens has no last token to read; encode it with markers")
    ids: list[int] = []
    depth: list[int] = []
    path: list[int] = []  # positions of the previous row's tokens
    leaves = np.empty(len(rows), dtype=np.int64)
    end = np.empty(sum(map(len, rows)), dtype=np.int64)
    previous: Ids = ()
    for number in sorted(range(len(rows)), key=rows.__getitem__):
        row = rows[number]
        common = common_prefix(previous, row)
        end[path[common:]] = len(ids)  # subtrees that this row leaves end here
        path[common:] = range(len(ids), len(ids) + len(row) - common)
        ids += row[common:]
        depth += range(common, len(row))
        leaves[number] = path[-1]
        previous = row
    end[path] = len(ids)
    return Trie(np.array(ids, dtype=np.int64), np.array(depth, dtype=np.int64), end[: len(ids)], leaves)


def build_batch(rows: Sequence[Ids], several_sequences: bool = False, device: torch.device | str = "cpu") -> Batch:
    """One pack of rows: the arguments of one forward pass of a decoder.

    By default all rows are one sequence, whatever their order. With `several_sequences` a row that sorts before the
    previous one begins a new sequence, as `trie_batches` orders them. `input_ids, position_ids, end` are
    `[sequences, width]`, padded with tokens that attend to themselves only; `leaves` `[rows]` holds the position of each
    row's last token, counted through all sequences, in the order of the rows; `longest` is the
    number of tokens of the longest row. Raises ValueError as `build_trie` does.
    """
    sequences = _find_sequences(rows) if several_sequences else [range(len(rows))]
    tries = [build_trie([rows[row] for row in sequence]) for sequence in sequences]
    width = max(len(trie.ids) for trie in tries)
    ids, depth = (np.zeros((len(tries), width), dtype=np.int64) for _ in range(2))
    end = np.tile(np.arange(1, width + 1), (len(tries), 1))
    leaves = np.empty(len(rows), dtype=np.int64)
    for number, (trie, sequence) in enumerate(zip(tries, sequences, strict=True)):
        size = len(trie.ids)
        ids[number, :size], depth[number, :size], end[number, :size] = trie.ids, trie.depth, trie.end
        leaves[sequence] = number * width + trie.leaves
    arrays = {"input_ids": ids, "position_ids": depth, "end": end, "leaves": leaves}
    batch = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
    return batch | {"longest": max(map(len, rows))}


def _find_sequences(rows: Sequence[Ids]) -> list[range]:
    """The sequences of a pack, as ranges of its rows: each is an ascending run."""
    starts = [0, *(row for row in range(1, len(rows)) if rows[row] < rows[row - 1])]
    return [range(start, stop) for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True)]


def _new_tokens(rows: Sequence[Ids]) -> list[int]:
    """Number of tokens that each row adds to the trie of the rows before it; the rows are in lexicographic order."""
    pairs = itertools.pairwise([(), *rows])
    return [len(row) - common_prefix(previous, row) for previous, row in pairs]


def _split_tries(rows: Sequence[Ids], tokens: int) -> list[tuple[range, int]]:
    """Split rows in lexicographic order into tries of at most `tokens` tokens and of similar size.

    Returns the range of rows and the number of tokens of each trie. Tokens that the rows on both sides of a split share
    are repeated, so a trie ends where these are fewest. A row of more than `tokens` tokens is a trie of its own.
    """
    additions = _new_tokens(rows)
    tries: list[tuple[range, int]] = []
    start, rest = 0, sum(additions)
    while start < len(rows):
        size = rest / max(1, math.ceil(rest / (tokens * FILL)))
        limit = min(tokens, size / TOLERANCE)
        used, stop, fewest, best = len(rows[start]), start + 1, math.inf, (start + 1, len(rows[start]))
        while stop < len(rows):
            repeated = len(rows[stop]) - additions[stop]
            if used >= size * TOLERANCE and repeated <= fewest:
                fewest, best = repeated, (stop, used)
            if used + additions[stop] > limit:
                break
            used, stop = used + additions[stop], stop + 1
        if stop == len(rows) or fewest == math.inf:
            best = (stop, used)
        tries.append((range(start, best[0]), best[1]))
        rest -= sum(additions[start : best[0]])
        start = best[0]
    return tries


def count_pack_tokens(encoded: Encoded, batch: Rows) -> int:
    """Tokens that a decoder computes for a pack: the number of its sequences times the width of the widest."""
    rows = [encoded.rows[number][0] for number in batch]
    sequences = (
        [[rows[row] for row in sequence] for sequence in _find_sequences(rows)]
        if encoded.sequence_tokens
        else [sorted(rows)]
    )
    return len(sequences) * max(sum(_new_tokens(sequence)) for sequence in sequences)


def trie_batches(encoded: Encoded, chosen: Rows, tokens: int) -> list[Rows]:
    """The chosen rows as packs of at most `tokens` tokens, repeated prefixes and padding included.

    Rows are sorted and split into tries of at most `encoded.sequence_tokens` tokens (0 = `tokens`); tries of similar size become
    the sequences of a pack. Within a pack the trie of the last rows comes first, so that a row which sorts before the
    previous one marks the start of a sequence. Raises ValueError for a row of more than `tokens` tokens.
    """
    longest = int(encoded.lengths[chosen].max(initial=0))
    if longest > tokens:
        raise ValueError(
            f"a row of {longest} tokens is longer than a pack of {tokens}; raise pack_tokens and score_tokens"
        )
    order = sorted(chosen.tolist(), key=encoded.rows.__getitem__)
    tries = _split_tries([encoded.rows[number][0] for number in order], min(encoded.sequence_tokens or tokens, tokens))
    sizes = np.array([size for _, size in tries], dtype=np.int64)
    packs = []
    for batch in batch_by_length(sizes, tokens):
        positions = [position for number in sorted(batch, reverse=True) for position in tries[number][0]]
        packs.append(np.array([order[position] for position in positions], dtype=np.int64))
    return packs


def batch_by_length(lengths: NDArray[np.int64], tokens: int) -> list[Rows]:
    """Row numbers in batches of similar length, longest first, from the lengths `[rows]` in tokens.

    A batch has at most `tokens` tokens, padding included, and at least one row.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        count = max(1, tokens // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + count])
        start += count
    return batches
