"""A figure of results shows the numbers of its table, and draws whatever small table it is given."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

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
BOARD = pd.DataFrame(
    {
        "recipe": ["constant", "tfidf", "mine"], "family": ["baseline", "baseline", "llama"], "task": "QC", "scheme": "query",
        "f1": [0.6, 0.7, 0.8], "f1_lo": [0.5, 0.6, 0.7], "f1_hi": [0.7, 0.8, 0.9], "auc": [0.5, 0.8, 0.9],
        "score_rows_per_s": [1e6, 1e4, 1e2],
    }
)  # fmt: skip


def draws(figure: Figure) -> bool:
    """Whether a figure can be shown in a notebook."""
    return figure._repr_png_().startswith(b"\x89PNG")


def title_of(figure: Figure) -> str:
    return figure.get_suptitle()


# -- by language -----------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    "table", [SCORES, SCORES.head(1), SCORES.iloc[1:2], SCORES.iloc[3:], SCORES.assign(f1_lo=np.nan, f1_hi=np.nan)]
)
def test_any_languages_are_drawn(table: pd.DataFrame) -> None:
    assert draws(plots.f1_by_language(table, "title", SCORES.iloc[:2], "before"))


# -- the leaderboard -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", [plots.candidates, plots.f1_against_speed])
def test_a_model_of_a_new_family_is_drawn_in_the_colour_of_all_unknown_ones(draw: Callable) -> None:
    points = [c for c in draw(BOARD, "QC").axes[0].collections if not hasattr(c, "get_segments")]
    assert to_hex(points[-1].get_facecolor()[-1]) == plots.family_colour("llama")
    assert plots.family_colour("llama") not in plots.FAMILY_COLOURS.values()


def test_candidates_stand_by_f1_with_their_intervals_and_auc() -> None:
    left, right = plots.candidates(pd.concat([BOARD.iloc[::-1], BOARD.assign(task="QI")]), "QC").axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["constant", "tfidf", "mine"]
    whiskers, points = left.collections
    assert [tuple(segment[:, 0]) for segment in whiskers.get_segments()] == [(0.5, 0.7), (0.6, 0.8), (0.7, 0.9)]
    assert np.asarray(points.get_offsets()).tolist() == [[0.6, 0.0], [0.7, 1.0], [0.8, 2.0]]
    assert [bar.get_width() + 0.5 for bar in right.patches] == pytest.approx([0.5, 0.8, 0.9])


@pytest.mark.filterwarnings("error")  # what is drawn warns of nothing in the notebook
def test_speed_is_of_candidates_validated_alike() -> None:
    board = pd.concat([BOARD, BOARD.assign(scheme="report", recipe="other")])
    (axis,) = plots.f1_against_speed(board, "QC").axes
    assert [text.get_text() for text in axis.texts] == ["tfidf", "mine"]


@pytest.mark.parametrize(
    ("ends", "noise"),
    [((0.72, 0.9), ": all inside the noise"), ((0.75, 0.9), ""), ((0.74, 0.74), ": all inside the noise")],
)
def test_the_title_says_where_every_candidate_reaches_the_best_one(ends: tuple[float, float], noise: str) -> None:
    board = BOARD.assign(
        f1=[0.6, 0.7, 0.8], f1_lo=[0.5, 0.66, ends[0]], f1_hi=[0.61, 0.74, ends[1]]
    )  # the constant one is not drawn
    assert plots.f1_against_speed(board, "QC").axes[0].get_title("left") == f"query-category: F1 vs throughput{noise}"
    alone = plots.f1_against_speed(board.tail(1), "QC").axes[0].get_title("left")
    assert alone == "query-category: F1 vs throughput"


@pytest.mark.parametrize("table", [BOARD, BOARD.head(1), BOARD.tail(1), BOARD.assign(f1_lo=np.nan, auc=np.nan)])
@pytest.mark.parametrize("draw", [plots.candidates, plots.f1_against_speed])
def test_any_candidates_are_drawn(draw: Callable, table: pd.DataFrame) -> None:
    assert draws(draw(table, "QC"))


# -- differences -----------------------------------------------------------------------------------------------------


def changes(*intervals: tuple[float, float], column: str = "f1_change") -> pd.DataFrame:
    """Differences in the middle of their intervals."""
    ends = np.array(intervals).reshape(-1, 2)
    return pd.DataFrame(
        {column: ends.mean(axis=1), f"{column}_lo": ends[:, 0], f"{column}_hi": ends[:, 1]},
        index=[f"v{n}" for n in range(len(ends))],
    )


@pytest.mark.parametrize(
    ("intervals", "is_noise"),
    [
        ([(-0.1, 0.2)], True), ([(-0.1, 0.2), (-0.3, 0.01)], True), ([(0.0, 0.2)], True), ([(0.01, 0.2)], False),
        ([(-0.2, -0.01)], False), ([(-0.1, 0.2), (0.01, 0.2)], False), ([], False),
    ],
)  # fmt: skip
def test_the_title_says_where_all_differences_are_inside_the_noise(
    intervals: list[tuple[float, float]], is_noise: bool
) -> None:
    figure = plots.differences(changes(*intervals), "what it brings", {"f1_change": "change in F1"})
    assert title_of(figure) == "what it brings" + (": all inside the noise" if is_noise else "") and draws(figure)


def test_a_measure_outside_the_noise_is_enough() -> None:
    both = pd.concat([changes((-0.1, 0.1)), changes((0.1, 0.2), column="auc_change")], axis=1)
    assert title_of(plots.differences(both, "title")) == "title"
    both["auc_change_lo"] = -0.1
    assert title_of(plots.differences(both, "title")) == "title: all inside the noise"


def test_differences_stand_in_the_tables_order_hollow_where_they_include_zero() -> None:
    table = changes((0.1, 0.3), (-0.1, 0.2)).set_index(pd.MultiIndex.from_tuples([("QC", "a"), ("QI", "b")]))
    (axis,) = plots.differences(table, "title", {"f1_change": "change in F1"}).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        "QC a",
        "QI b",
    ] and axis.get_xlabel() == "change in F1"
    whiskers, points = axis.collections
    assert [tuple(segment[:, 0]) for segment in whiskers.get_segments()] == [(0.1, 0.3), (-0.1, 0.2)]
    assert np.asarray(points.get_offsets()).tolist() == [[pytest.approx(0.2), 1.0], [pytest.approx(0.05), 0.0]]
    assert [to_hex(colour) for colour in points.get_facecolor()] == [plots.BLUE, "#ffffff"]


# -- calibration and training ----------------------------------------------------------------------------------------


def test_calibration_is_the_share_of_positives_in_bins_of_equal_size() -> None:
    before = pd.DataFrame({"probability": [0.9, 0.1, 0.2, 0.8], "label": [1, 0, 1, 1]})
    (axis,) = plots.calibration(before, before.assign(probability=0.5), "title", bins=2).axes
    _, grey, blue = axis.lines
    assert grey.get_xydata().tolist() == [[pytest.approx(0.15), 0.5], [pytest.approx(0.85), 1.0]]
    assert blue.get_xydata().tolist() == [[0.5, 0.5], [0.5, 1.0]]


@pytest.mark.parametrize("rows", [1, 3, 25])
def test_few_rows_are_drawn(rows: int) -> None:
    table = pd.DataFrame({"probability": np.linspace(0, 1, rows), "label": np.arange(rows) % 2})
    assert draws(plots.calibration(table, table, "title"))


def test_each_run_has_a_learning_curve() -> None:
    logs = pd.DataFrame({"run": ["b", "a", "b"], "step": [1, 1, 2], "loss": [0.7, 0.6, 0.5]})
    (axis,) = plots.learning_curves(logs, "title").axes
    assert [(line.get_label(), line.get_xydata().tolist()) for line in axis.lines] == [
        ("b", [[1, 0.7], [2, 0.5]]),
        ("a", [[1, 0.6]]),
    ]
    assert draws(plots.learning_curves(logs.iloc[:0], "title"))
