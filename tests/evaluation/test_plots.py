"""A figure shows the numbers of its table."""

import numpy as np
import pandas as pd

from utils.evaluation import plots

SCORES = pd.DataFrame(
    {
        "language": ["all", "ja", "en", "pl"],
        "seen": [False, True, True, False],
        "rows": [60, 20, 20, 20],
        "f1": [0.8, 0.9, 0.8, 0.7],
        "f1_lo": [0.7, 0.85, 0.75, 0.6],
        "f1_hi": [0.9, 0.95, 0.85, 0.8],
        "constant_f1": [0.75, 0.8, 0.76, 0.7],
    }
)


def test_languages_stand_in_the_fixed_order_with_their_own_numbers() -> None:
    figure = plots.f1_by_language(SCORES, "title", SCORES.assign(f1=0.5), "before")
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        "English (en)  n=20",
        "Japanese (ja)  n=20",
        "Polish (pl)  n=20",
    ]
    assert axis.get_xlim() == plots.F1_RANGE
    dashed, whiskers = (c for c in axis.collections if hasattr(c, "get_segments"))
    assert [segment[0][0] for segment in dashed.get_segments()] == [0.76, 0.8, 0.7]
    assert [tuple(segment[:, 0]) for segment in whiskers.get_segments()] == [(0.75, 0.85), (0.85, 0.95), (0.6, 0.8)]
    points = [np.asarray(c.get_offsets()).tolist() for c in axis.collections if not hasattr(c, "get_segments")]
    assert points == [[[0.5, 2.0], [0.5, 1.0], [0.5, 0.0]], [[0.8, 2.0], [0.9, 1.0]], [[0.7, 0.0]]]


def test_a_figure_shows_itself_in_a_notebook() -> None:
    assert plots.f1_by_language(SCORES, "title")._repr_png_().startswith(b"\x89PNG")
