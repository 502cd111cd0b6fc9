"""A consistency pass over the paths of a query: a path is at least as relevant as the paths below it.

Isotonic regression on the trees that a query's paths form, by pooling from the leaves up (Pardalos and Xue 1999): the closest
answers, in the sum of squares of log-odds, that no child exceeds. Needs no label.
"""

import heapq

import numpy as np
from numpy.typing import NDArray

from utils.ensemble.second_stage import NONE, Index

Array = NDArray[np.float64]


def make_consistent(values: Array, parent: Index) -> Array:
    """The values `[rows]` closest to these of which none exceeds its parent's; `parent` is of `second_stage.Relations`.

    Rows without parent and without child stay as they are.
    """
    if not (parent != NONE).any():
        return values
    children: dict[int, list[int]] = {}
    for row in np.flatnonzero(parent != NONE).tolist():
        children.setdefault(int(parent[row]), []).append(row)
    result = values.astype(float).copy()
    for root in (row for row in children if parent[row] == NONE):
        for block in _pool(root, values, children):
            result[block] = np.mean(values[block])
    return result


def _pool(root: int, values: Array, children: dict[int, list[int]]) -> list[list[int]]:
    """The blocks of equal value of the tree below a root."""
    order, blocks, below = [root], {}, {}
    for row in order:  # parents first; it grows while it is read
        order += children.get(row, [])
    for row in reversed(order):
        block, total = [row], float(values[row])
        queue = [(-blocks[child][1] / len(blocks[child][0]), child) for child in children.get(row, [])]
        heapq.heapify(queue)
        while queue and -queue[0][0] > total / len(block):  # the highest block below joins this one
            child = heapq.heappop(queue)[1]
            rows, its_total = blocks.pop(child)
            block += rows
            total += its_total
            for pair in below.pop(child):
                heapq.heappush(queue, pair)
        blocks[row], below[row] = (block, total), queue
    return [block for block, _ in blocks.values()]
