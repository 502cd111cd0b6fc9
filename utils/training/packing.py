"""Rows of token ids -> optimizer steps and batches: packs of tries for decoders, rows of similar length for encoders.

A decoder's state at a token depends on the tokens before it only. So rows with a common prefix may share its tokens: they are
laid out as a trie, depth first, each distinct prefix once. A token's position id is its depth, and it attends to its ancestors
only (`utils.models.attention`). Every row's logit, read at its last token, and every gradient are those of the row alone. This
holds without dropout only: with dropout the rows of a trie share one draw for their common prefix.
Attention compares every token of a trie with every other, so a large pack is a batch of several sequences, one trie each.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from utils.core.recipe import Recipe
from utils.training.tokens import Encoded, Ids
from utils.training.tries import Batch, Rows, batch_by_length, count_pack_tokens, trie_batches


def batches(encoded: Encoded, chosen: Rows, tokens: int) -> list[Rows]:
    """The chosen rows in batches of at most `tokens` tokens, one forward pass each.

    Packs of tries for a decoder, else rows of similar length. Raises ValueError where a decoder's row alone is longer.
    """
    if encoded.packed:
        return trie_batches(encoded, chosen, tokens)
    return [chosen[batch] for batch in batch_by_length(encoded.lengths[chosen], tokens)]


def split_to_multiple(batches: list[Rows], parts: int) -> list[Rows]:
    """Split the largest batches in half until their number is a multiple of `parts`, so that every process has work.

    Half of a pack is a pack too. The number stays below a multiple when only single rows are left to split.
    """
    batches = list(batches)
    while len(batches) % parts:
        largest = max(range(len(batches)), key=lambda number: len(batches[number]))
        rows = batches[largest]
        if len(rows) < 2:
            break
        batches[largest : largest + 1] = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    return batches


def count_tokens(encoded: Encoded, batch: Rows) -> int:
    """Tokens that one forward pass over a batch computes, padding included."""
    if encoded.packed:
        return count_pack_tokens(encoded, batch)
    if encoded.apart:  # each distinct query or target is encoded once
        return sum(map(len, {ids for number in batch for ids in encoded.rows[number]}))
    return int(encoded.lengths[batch].max()) * len(batch)


def pad(rows: Sequence[Ids], pad_id: int) -> Batch:
    """`input_ids` and `attention_mask` of rows that are not packed, both `[rows, longest]`, padded on the right with `pad_id`."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def shuffle_groups(group: NDArray[np.int64], run: int, rng: np.random.Generator) -> Rows:
    """Row numbers in random order, where rows of one group stay together in runs of at most `run` rows.

    `group` `[rows]` holds each row's group. Every row occurs once; runs of all groups are shuffled.
    """
    shuffled = rng.permutation(len(group))
    together = shuffled[np.argsort(group[shuffled], kind="stable")]
    first = np.flatnonzero(np.diff(group[together], prepend=-1))
    position = np.arange(len(group)) - np.repeat(first, np.diff(np.append(first, len(group))))  # within the group
    runs = np.cumsum(position % run == 0) - 1
    return together[np.argsort(rng.permutation(len(group))[runs], kind="stable")]


def fill_steps(order: Rows, group: NDArray[np.int64], size: int, cap: int) -> list[Rows]:
    """Rows, in the order of `order`, as steps of `size` rows with at most `cap` rows of one group a step.

    A row over the cap waits for the next step. When only such rows are left, the cap is ignored: every step but the
    last is full.
    """
    queue, waiting = iter(order.tolist()), defaultdict[int, deque[int]](deque)
    steps: list[Rows] = []
    total = 0
    while total < len(order):
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
        total += len(step)
        steps.append(np.array(step, dtype=np.int64))
    return steps


def training_steps(encoded: Encoded, recipe: Recipe, parts: int = 1) -> list[list[Rows]]:
    """All optimizer steps of a training, each a list of micro-batches of row numbers.

    Every epoch shuffles all rows anew, from the recipe's seed, and uses each once; the last epoch may be incomplete. A step
    has at most `share_rows` rows of one group: they share tokens, and yet a step is not one query or one category only.
    Because all steps are known beforehand, an interrupted training continues at a step's number. `parts` processes take a
    step's micro-batches in turn; their number does not change which rows a step has. Raises ValueError as `batches` does.
    """
    rng = np.random.default_rng(recipe.seed)
    steps: list[list[Rows]] = []
    rest = round(len(encoded.rows) * recipe.epochs)  # rows that no step has yet
    while rest > 0:
        order = shuffle_groups(encoded.group, recipe.share_rows, rng)
        for rows in fill_steps(order, encoded.group, recipe.batch_rows, recipe.share_rows):
            if rest > 0:
                steps.append(split_to_multiple(batches(encoded, rows[:rest], recipe.pack_tokens), parts))
                rest -= len(rows)
    return steps
