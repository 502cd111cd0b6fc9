"""Consistent paths: the closest answers of which no child exceeds its parent, against a general solver."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, minimize

from utils.ensemble.consistency import make_consistent
from utils.ensemble.second_stage import NONE


@st.composite
def forests(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Values of rows and the parent of each, in any order."""
    count = draw(st.integers(1, 9))
    parent = [draw(st.integers(NONE, row - 1)) for row in range(count)]
    values = draw(st.lists(st.integers(-6, 6), min_size=count, max_size=count))
    order = draw(st.permutations(range(count)))
    place = {row: order.index(row) for row in range(count)}
    moved = [place[parent[row]] if parent[row] != NONE else NONE for row in order]
    return np.array([values[row] for row in order], dtype=float), np.array(moved)


@settings(max_examples=150, deadline=None)
@given(forests())
def test_it_is_the_closest_consistent_answer(forest: tuple[np.ndarray, np.ndarray]) -> None:
    values, parent = forest
    found = make_consistent(values, parent)
    children = np.flatnonzero(parent != NONE)
    assert (found[children] <= found[parent[children]] + 1e-9).all()
    if len(children):
        difference = np.zeros((len(children), len(values)))
        difference[np.arange(len(children)), parent[children]] += 1
        difference[np.arange(len(children)), children] -= 1
        bounds = LinearConstraint(difference, 0, np.inf)
        slow = minimize(lambda x: ((x - values) ** 2).sum(), found * 0 + values.mean(), jac=lambda x: 2 * (x - values),
                        constraints=[bounds], method="SLSQP", options={"ftol": 1e-14, "maxiter": 500})  # fmt: skip
        np.testing.assert_allclose(found, slow.x, atol=1e-4)
    else:
        assert found.tolist() == values.tolist()
    np.testing.assert_allclose(make_consistent(found, parent), found)
