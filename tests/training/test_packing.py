"""How rows are laid out: tries hold each prefix once, batches keep to their budget, steps to their cap."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import encoded, rows_of_a_pack, tokens_of_a_row

from utils.core.recipe import Recipe
from utils.training.packing import count_tokens, fill_steps, shuffle_groups, training_steps
from utils.training.tokens import Encoded, Ids
from utils.training.tries import build_batch, build_trie, common_prefix, trie_batches


@given(rows_of_a_pack, st.integers(14, 40))
def test_a_trie_holds_each_distinct_prefix_once(rows: list[Ids], budget: int) -> None:
    batches = trie_batches(encoded(rows), np.arange(len(rows)), budget)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(rows)))
    for batch in batches:
        inside = [rows[number] for number in batch]
        pack = build_trie(inside)
        assert len(pack.ids) == len({row[:size] for row in inside for size in range(1, len(row) + 1)}) <= budget
        positions = np.arange(len(pack.ids))
        for row, leaf in zip(inside, pack.leaves, strict=True):
            ancestors = positions[(positions <= leaf) & (leaf < pack.end)]
            assert tuple(pack.ids[ancestors]) == row
            assert pack.depth[ancestors].tolist() == list(range(len(row)))


@given(rows_of_a_pack, st.integers(14, 60), st.integers(1, 20))
def test_sequences_keep_to_their_width_and_the_batch_to_its_budget(rows: list[Ids], budget: int, sequence: int) -> None:
    kind = encoded(rows, sequence)
    batches = trie_batches(kind, np.arange(len(rows)), budget)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(rows)))
    for numbers in batches:
        batch = build_batch([rows[number] for number in numbers], several_sequences=True)
        count, width = batch["input_ids"].shape
        assert count * width == count_tokens(kind, numbers)
        assert width <= max(sequence, *(len(rows[number]) for number in numbers))
        assert len(numbers) == 1 or count * width <= budget
        ids, end, leaves = (batch[name].flatten().numpy() for name in ("input_ids", "end", "leaves"))
        for number, leaf in zip(numbers, leaves, strict=True):
            start, position = leaf // width * width, leaf % width
            ancestors = [start + i for i in range(position + 1) if position < end[start + i]]
            assert tuple(ids[ancestors]) == rows[number]


def test_packs_are_split_where_rows_share_least() -> None:
    """Groups of uneven size, three rows each: no group is split, so no token is computed twice."""
    sizes = [30, 20, 28, 22, 30, 26]
    rows = [(kind,) * (size - 9) + (9, row, 8) for kind, size in enumerate(sizes, start=1) for row in range(3)]
    kind = encoded(rows, 64)
    batches = trie_batches(kind, np.arange(len(rows)), 64)
    assert sum(count_tokens(kind, batch) for batch in batches) == sum(sizes) - 6 * 9 + 6 * (1 + 3 * 2)
    assert len(batches) == 3


def test_a_row_longer_than_a_pack_is_refused() -> None:
    with pytest.raises(ValueError, match="raise pack_tokens"):
        trie_batches(encoded([(1, 2, 3)]), np.arange(1), 2)
    with pytest.raises(ValueError, match="no last token"):
        build_trie([()])


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 9), st.integers(1, 16), st.integers(0, 99))
def test_steps_are_full_and_keep_the_cap_while_they_can(kinds: list[int], cap: int, size: int, seed: int) -> None:
    group = np.array(kinds)
    order = shuffle_groups(group, cap, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(len(group)))
    steps = fill_steps(order, group, size, cap)
    assert sorted(np.concatenate(steps).tolist()) == list(range(len(group)))
    assert all(len(step) == size for step in steps[:-1])
    for number, step in enumerate(steps):
        over = np.bincount(group[step]) > cap
        if over.any():  # then nothing else was left: every later row is of a group that is at its cap here
            later = np.concatenate([np.array([], dtype=np.int64), *steps[number + 1 :]])
            assert np.all(np.bincount(group[step], minlength=7)[group[later]] >= cap)


def test_rows_that_begin_alike_stand_together_in_runs() -> None:
    group = np.repeat(np.arange(20), 10)
    order = shuffle_groups(group, 5, np.random.default_rng(0))
    runs = group[order].reshape(40, 5)
    assert np.all(runs == runs[:, :1])
    assert np.any(runs[:-1, 0] > runs[1:, 0])


@given(rows_of_a_pack, st.integers(1, 8), st.integers(1, 4), st.floats(0.2, 3.0))
def test_every_row_is_trained_once_an_epoch(rows: list[Ids], size: int, cap: int, epochs: float) -> None:
    recipe = Recipe("tiny", "gemma", batch_rows=size, share_rows=cap, pack_tokens=20, epochs=epochs)
    for kind in (encoded(rows), Encoded([(row,) for row in rows], np.arange(len(rows)), packed=False)):
        steps = training_steps(kind, recipe)
        flat = np.concatenate([part for step in steps for part in step]) if steps else np.array([], dtype=np.int64)
        counts = np.bincount(flat, minlength=len(rows))
        assert len(flat) == round(len(rows) * epochs)
        assert counts.max() - counts.min() <= 1
        assert all(sum(map(len, step)) <= size for step in steps)


def test_steps_hang_on_the_seed_alone() -> None:
    rows = [(1 + number % 3, number % 5, 2) for number in range(40)]
    recipe = Recipe("tiny", "gemma", batch_rows=8, share_rows=3)

    def flat(seed: int) -> list[list[int]]:
        return [np.concatenate(step).tolist() for step in training_steps(encoded(rows), recipe.with_(seed=seed))]

    assert flat(1) == flat(1) != flat(2)


@given(st.lists(tokens_of_a_row, max_size=8))
def test_shared_counts_the_common_prefix(rows: list[Ids]) -> None:
    for left, right in itertools.pairwise(rows):
        count = common_prefix(left, right)
        assert left[:count] == right[:count]
        assert left[count : count + 1] != right[count : count + 1] or count in (len(left), len(right))
