"""Token ids -> what goes through a network at once: tries of rows for decoders, batches of like length for encoders.

A decoder's state at a token hangs on the tokens before it alone. So rows that begin alike may share these tokens: they are laid out
as a trie, depth first, each distinct prefix once. A token's position id is its depth, and it sees its ancestors only
(`utils.attention`). Every row's logit, read at its last token, and every gradient are those of the row alone. This holds
without dropout only: under dropout the rows of a trie would share one draw for their common prefix.
Attention compares every token of a trie with every other, so a large batch is several narrow tries side by side: its lanes.
"""

import itertools
import math
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from utils.recipe import Recipe
from utils.tokens import Encoded, Ids

Batch = dict[str, Tensor]
Rows = NDArray[np.int64]  # row numbers of a table


@dataclass(frozen=True)
class Pack:
    """Rows as one trie, depth first. Identical rows share a leaf; a row that another begins with ends inside of it."""

    ids: NDArray[np.int64]  # [tokens]
    depth: NDArray[np.int64]  # [tokens] distance from the root: the position id
    end: NDArray[np.int64]  # [tokens] where the token's subtree ends
    leaves: NDArray[np.int64]  # [rows] where each row's last token stands, in the order the rows were given


def shared(left: Ids, right: Ids) -> int:
    """Length of the common prefix of two sequences."""
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count


def build_pack(rows: Sequence[Ids]) -> Pack:
    """Lay rows out as a trie: sorted, each adds the tokens that it does not share with the one before.

    Raises ValueError for a row without tokens, which has no last token to read.
    """
    if not all(rows):
        raise ValueError("a row without tokens has no last token to read; encode it with markers")
    ids: list[int] = []
    depth: list[int] = []
    path: list[int] = []  # where the tokens of the row before stand
    leaves = np.empty(len(rows), dtype=np.int64)
    end = np.empty(sum(map(len, rows)), dtype=np.int64)
    before: Ids = ()
    for number in sorted(range(len(rows)), key=rows.__getitem__):
        row = rows[number]
        common = shared(before, row)
        end[path[common:]] = len(ids)  # what is left behind ends here
        path[common:] = range(len(ids), len(ids) + len(row) - common)
        ids += row[common:]
        depth += range(common, len(row))
        leaves[number] = path[-1]
        before = row
    end[path] = len(ids)
    return Pack(np.array(ids, dtype=np.int64), np.array(depth, dtype=np.int64), end[: len(ids)], leaves)


def build_batch(rows: Sequence[Ids], lanes: bool = False, device: torch.device | str = "cpu") -> Batch:
    """Rows as one trie, or as several side by side: the arguments of one packed forward pass.

    With `lanes` a row that sorts before the one ahead of it begins a new trie, as `trie_batches` orders them.
    `input_ids, position_ids, end` `[lanes, width]`, padded with tokens that see themselves alone; `leaves` `[rows]` says
    where, counted through all lanes, each row's last token stands, in the order the rows were given.
    """
    places = _lanes(rows) if lanes else [range(len(rows))]
    packs = [build_pack([rows[place] for place in lane]) for lane in places]
    width = max(len(pack.ids) for pack in packs)
    ids, depth = (np.zeros((len(packs), width), dtype=np.int64) for _ in range(2))
    end = np.tile(np.arange(1, width + 1), (len(packs), 1))
    leaves = np.empty(len(rows), dtype=np.int64)
    for number, (pack, lane) in enumerate(zip(packs, places, strict=True)):
        size = len(pack.ids)
        ids[number, :size], depth[number, :size], end[number, :size] = pack.ids, pack.depth, pack.end
        leaves[lane] = number * width + pack.leaves
    arrays = {"input_ids": ids, "position_ids": depth, "end": end, "leaves": leaves}
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def _lanes(rows: Sequence[Ids]) -> list[range]:
    """The ascending runs of rows: where each trie of a batch begins and ends."""
    begins = [0, *(place for place in range(1, len(rows)) if rows[place] < rows[place - 1])]
    return [range(start, stop) for start, stop in zip(begins, [*begins[1:], len(rows)], strict=True)]


def _costs(rows: Sequence[Ids]) -> list[int]:
    """Of rows in lexicographic order: the tokens that each adds to those before it."""
    pairs = itertools.pairwise([(), *rows])
    return [len(row) - shared(before, row) for before, row in pairs]


FILLED = 15 / 16  # of a trie's size that is dealt out beforehand; repeated ancestors take the rest
SWAY = 0.85  # of that size from which on a trie may end, where its last row and the next share least


def _cut(rows: Sequence[Ids], tokens: int) -> list[tuple[range, int]]:
    """Cut rows in lexicographic order into tries of at most `tokens` tokens and of about one size: places, and tokens.

    A cut repeats what the rows on its two sides share, so it is made where that is least. A row that is longer stands alone.
    """
    costs = _costs(rows)
    found: list[tuple[range, int]] = []
    start, left = 0, sum(costs)
    while start < len(rows):
        size = left / max(1, math.ceil(left / (tokens * FILLED)))
        most = min(tokens, size / SWAY)
        used, stop, least, best = len(rows[start]), start + 1, math.inf, (start + 1, len(rows[start]))
        while stop < len(rows):
            repeated = len(rows[stop]) - costs[stop]
            if used >= size * SWAY and repeated <= least:
                least, best = repeated, (stop, used)
            if used + costs[stop] > most:
                break
            used, stop = used + costs[stop], stop + 1
        if stop == len(rows) or least == math.inf:
            best = (stop, used)
        found.append((range(start, best[0]), best[1]))
        left -= sum(costs[start : best[0]])
        start = best[0]
    return found


def _area(encoded: Encoded, batch: Rows) -> int:
    """Tokens that a batch of tries computes: its lanes times the widest of them."""
    rows = [encoded.rows[number][0] for number in batch]
    lanes = [[rows[place] for place in lane] for lane in _lanes(rows)] if encoded.lane else [sorted(rows)]
    return len(lanes) * max(sum(_costs(lane)) for lane in lanes)


def trie_batches(encoded: Encoded, chosen: Rows, tokens: int) -> list[Rows]:
    """Cut the chosen rows, in lexicographic order, into batches of at most `tokens` tokens, repeated ancestors and all.

    Tries of at most `encoded.lane` tokens and of like size stand side by side in a batch, that of the last rows first, so that a
    row which sorts before the one ahead of it tells where a lane begins. Raises ValueError where one row alone is longer.
    """
    longest = int(encoded.lengths[chosen].max(initial=0))
    if longest > tokens:
        raise ValueError(
            f"a row of {longest} tokens is longer than a pack of {tokens}; raise pack_tokens and score_tokens"
        )
    order = sorted(chosen.tolist(), key=encoded.rows.__getitem__)
    tries = _cut([encoded.rows[number][0] for number in order], min(encoded.lane or tokens, tokens))
    sizes = np.array([size for _, size in tries], dtype=np.int64)
    found = []
    for batch in like_length(sizes, tokens):
        places = [place for number in sorted(batch, reverse=True) for place in tries[number][0]]
        found.append(np.array([order[place] for place in places], dtype=np.int64))
    return found


def like_length(lengths: NDArray[np.int64], tokens: int) -> list[Rows]:
    """Row numbers in batches of like length, at most `tokens` padded tokens each (one row at least), longest first."""
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        width = max(1, tokens // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + width])
        start += width
    return batches


def batches(encoded: Encoded, chosen: Rows, tokens: int) -> list[Rows]:
    """The chosen rows in batches for one forward pass each: tries where a decoder reads them, else rows of like length."""
    if encoded.causal:
        return trie_batches(encoded, chosen, tokens)
    return [chosen[batch] for batch in like_length(encoded.lengths[chosen], tokens)]


def spread(batches: list[Rows], parts: int) -> list[Rows]:
    """Halve the largest batches until their number is a multiple of `parts`, so that so many processes all have work.

    A part of a trie is a trie; where too few rows are left to halve, the number is smaller.
    """
    batches = list(batches)
    while len(batches) % parts:
        largest = max(range(len(batches)), key=lambda place: len(batches[place]))
        rows = batches[largest]
        if len(rows) < 2:
            break
        batches[largest : largest + 1] = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    return batches


def count_tokens(encoded: Encoded, batch: Rows) -> int:
    """Tokens that one forward pass over a batch computes: of its lanes, or padded to the longest row."""
    if encoded.causal:
        return _area(encoded, batch)
    if len(encoded.rows[0]) == 2:  # of towers each distinct part is computed once
        return sum(map(len, {ids for number in batch for ids in encoded.rows[number]}))
    return int(encoded.lengths[batch].max()) * len(batch)


def pad(rows: Sequence[Ids], pad_id: int) -> Batch:
    """`input_ids` and `attention_mask`, both `[rows, longest]`, padded on the right."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def deal(group: NDArray[np.int64], run: int, rng: np.random.Generator) -> Rows:
    """All rows once, in random order but for this: rows of a group stand together in runs of at most `run`."""
    shuffled = rng.permutation(len(group))
    together = shuffled[np.argsort(group[shuffled], kind="stable")]
    first = np.flatnonzero(np.diff(group[together], prepend=-1))
    place = np.arange(len(group)) - np.repeat(first, np.diff(np.append(first, len(group))))
    runs = np.cumsum(place % run == 0) - 1
    return together[np.argsort(rng.permutation(len(group))[runs], kind="stable")]


def fill_steps(order: Rows, group: NDArray[np.int64], size: int, cap: int) -> list[Rows]:
    """Rows in their order into steps of `size`, at most `cap` rows of one group in a step.

    A row over the cap waits for the next step. When only such rows are left, the cap gives way: every step but
    the last is full.
    """
    queue, waiting = iter(order.tolist()), defaultdict[int, deque[int]](deque)
    steps: list[Rows] = []
    placed = 0
    while placed < len(order):
        step: list[int] = []
        counts: Counter[int] = Counter()
        for kind, rows in list(waiting.items()):
            while rows and counts[kind] < cap and len(step) < size:
                step.append(rows.popleft())
                counts[kind] += 1
            if not rows:
                del waiting[kind]
        while len(step) < size and (row := next(queue, None)) is not None:
            kind = int(group[row])
            if counts[kind] < cap:
                step.append(row)
                counts[kind] += 1
            else:
                waiting[kind].append(row)
        while len(step) < size and waiting:
            kind = max(waiting, key=lambda kind: len(waiting[kind]))
            step.append(waiting[kind].popleft())
            if not waiting[kind]:
                del waiting[kind]
        placed += len(step)
        steps.append(np.array(step, dtype=np.int64))
    return steps


def training_steps(encoded: Encoded, recipe: Recipe, parts: int = 1) -> list[list[Rows]]:
    """The whole run laid out beforehand: optimizer steps, each a list of micro-batches of row numbers.

    Every epoch deals all rows anew from the recipe's seed, each once; the last may be a part of an epoch. At most
    `share_rows` rows that begin alike come into one step: fewer tokens than rows dealt singly, and yet a step is not one
    query or one category only. Laid out so, an interrupted run goes on at a step's number, and `parts` processes share a
    step by taking its micro-batches in turn; how many they are changes no step's rows.
    """
    rng = np.random.default_rng(recipe.seed)
    steps: list[list[Rows]] = []
    left = round(len(encoded.rows) * recipe.epochs)
    while left > 0:
        order = deal(encoded.group, recipe.share_rows, rng)
        for rows in fill_steps(order, encoded.group, recipe.batch_rows, recipe.share_rows):
            if left > 0:
                steps.append(spread(batches(encoded, rows[:left], recipe.pack_tokens), parts))
                left -= len(rows)
    return steps
