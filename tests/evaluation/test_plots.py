"""A figure shows the numbers of its table."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from utils.evaluation import data_plots, plots
from utils.evaluation.figure import GREY

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


@pytest.mark.parametrize("draw", [plots.candidates, plots.f1_against_speed])
def test_a_model_of_a_new_family_is_drawn_in_the_colour_of_all_unknown_ones(draw: Callable) -> None:
    board = pd.DataFrame(
        {
            "recipe": ["constant", "tfidf", "mine"],
            "family": ["baseline", "baseline", "llama"],
            "task": "QC",
            "scheme": "strict",
            "f1": [0.6, 0.7, 0.8],
            "f1_lo": [0.5, 0.6, 0.7],
            "f1_hi": [0.7, 0.8, 0.9],
            "auc": [0.5, 0.8, 0.9],
            "score_rows_per_s": [1e6, 1e4, 1e2],
        }
    )
    points = [c for c in draw(board, "QC").axes[0].collections if not hasattr(c, "get_segments")]
    assert to_hex(points[-1].get_facecolor()[-1]) == plots.family_colour("llama")
    assert plots.family_colour("llama") not in plots.FAMILY_COLOURS.values()


def test_arms_are_named_by_what_they_train_on() -> None:
    arms = [("direct", "epochs", 0.7), ("direct", "steps", 0.72), ("tapt", "epochs", 0.75), ("tapt", "steps", 0.75)]
    comparison = pd.DataFrame(arms, columns=["arm", "match", "f1"]).assign(task="QC", auc=0.9)
    axis = plots.paired_arms(comparison, "title").axes[0]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["target task alone", "auxiliary task first"]


def test_the_leaks_of_an_unknown_scheme_are_grey() -> None:
    leaks = pd.DataFrame(
        {"scheme": ["report", "mine"] * 2, "fold": [0, 0, 1, 1], "shared_query_rows": [0.4, 0.2, 0.5, 0.1]}
    )
    (axis,) = data_plots.leak_bars(leaks, "title").axes
    colours = {bars.get_label(): to_hex(bars.patches[0].get_facecolor()) for bars in axis.containers}
    assert colours == {"report": data_plots.SCHEME_COLOURS["report"], "mine": GREY}
