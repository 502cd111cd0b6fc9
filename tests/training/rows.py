"""Rows of token ids that the tests of this folder share, and how hypothesis draws more."""

import numpy as np
from hypothesis import strategies as st

from utils.training.tokens import Encoded, Ids


def encoded(rows: list[Ids], sequence: int = 0) -> Encoded:
    group = np.array([row[0] for row in rows], dtype=np.int64)
    return Encoded([(row,) for row in rows], group, packed=True, sequence_tokens=sequence)


tokens_of_a_row = st.lists(st.integers(1, 4), min_size=1, max_size=14).map(tuple)
"""Few kinds of tokens, so that rows share prefixes, are equal, and are prefixes of each other; pad (0) never stands in a row."""
rows_of_a_pack = st.lists(tokens_of_a_row, min_size=1, max_size=12)

SHARED = [(1, 2, 3, 1, 2, 3), (1, 2, 3, 1, 4), (1, 2, 3, 1, 2, 3), (1, 2), (2, 1), (3,), (1, 2, 3, 1, 2, 3, 3, 3)]
"""Equal rows, a row that another begins with, a row of one token, three roots, a path longer than the window."""
