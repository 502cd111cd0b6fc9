"""A figure of the data shows the numbers of its table, and draws whatever small table it is given."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from utils.evaluation import data_plots


def draws(figure: Figure) -> bool:
    """Whether a figure can be shown in a notebook."""
    return figure._repr_png_().startswith(b"\x89PNG")


def names_of(axis: Axes) -> list[str]:
    return [label.get_text() for label in axis.get_yticklabels()]


def widths(axis: Axes) -> dict[str, list[float]]:
    """Label of each group of bars -> their lengths."""
    return {bars.get_label(): [bar.get_width() for bar in bars.patches] for bars in axis.containers}


def test_shares_are_of_each_splits_rows() -> None:
    counts = pd.DataFrame(
        {"language": ["ja", "en", "en", "pl"], "split": ["train", "train", "test", "test"], "rows": [30, 10, 5, 15]}
    )
    (axis,) = data_plots.shares_by_language(counts, "title").axes
    assert names_of(axis) == ["English (en)", "Japanese (ja)", "Polish (pl)"]
    assert widths(axis) == {"train": [0.25, 0.75, 0.0], "test": [0.25, 0.0, 0.75]}
    assert draws(data_plots.shares_by_language(counts.head(1), "title"))


def test_positives_have_the_normal_approximations_whiskers() -> None:
    table = pd.DataFrame({"language": ["ja"] * 4 + ["en"] * 2, "label": [1, 1, 1, 0, 1, 1]})
    (axis,) = data_plots.positives_by_language(table, "title").axes
    assert names_of(axis) == ["English (en)  n=2", "Japanese (ja)  n=4"]
    (whiskers,) = axis.collections
    error = 1.96 * np.sqrt(0.75 * 0.25 / 4)
    assert [segment[:, 0].tolist() for segment in whiskers.get_segments()] == [
        [1.0, 1.0],
        pytest.approx([0.75 - error, 0.75 + error]),
    ]
    assert axis.lines[-1].get_xdata()[0] == pytest.approx(5 / 6)


def test_a_histogram_tells_its_median_and_leaves_missing_values_out() -> None:
    left, right = data_plots.histograms(
        {"a": pd.Series([1, 2, 9, np.nan]), "b": pd.Series([4.5])}, "title", "words"
    ).axes
    assert left.get_title("left") == "a (median 2)" and right.get_title("left") == "b (median 4.5)"
    assert sum(bar.get_height() for bar in left.patches) == 3 and left.get_xlabel() == "words"


def test_bars_carry_their_values() -> None:
    (axis,) = data_plots.bars(pd.Series({"x": 0.12345, "y": 1234.5}), "title", "share").axes
    assert names_of(axis) == ["x", "y"] and [text.get_text() for text in axis.texts] == ["0.123", "1,234"]
    assert draws(data_plots.bars(pd.Series(dtype=float), "title", "share"))


def test_confusion_counts_pairs() -> None:
    table = pd.DataFrame({"language": ["en", "en", "es"], "identified": ["en", "fr", "es"]})
    (axis,) = data_plots.confusion(table, "title").axes
    assert {(*text.get_position(), text.get_text()) for text in axis.texts} == {(0, 0, "1"), (2, 0, "1"), (1, 1, "1")}


@pytest.mark.parametrize("label", [[1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
def test_folds_stand_with_their_labels_and_languages(label: list[int]) -> None:
    parts = pd.DataFrame({"fold": [0, 0, 1, 1], "language": ["en", "ja", "en", "en"], "label": label})
    figure = data_plots.fold_balance(parts, "title")
    left, right = figure.axes
    heights = {
        bars.get_label(): [bar.get_height() for bar in bars.patches]
        for axis in (left, right)
        for bars in axis.containers
    }
    positives = [sum(label[:2]), sum(label[2:])]
    assert heights["relevant"] == positives and heights["not relevant"] == [2 - count for count in positives]
    assert heights["en"] == [0.5, 1.0] and heights["ja"] == [0.5, 0.0]
    assert [text.get_text() for text in left.texts] == [f"{count / 2:.1%}" for count in positives] and draws(figure)


def test_schemes_stand_beside_the_test() -> None:
    table = pd.DataFrame(
        {
            "train_rows": [1200, 40, 1600], "validation_rows": [300, 300, 500], "unseen queries": [1.0, 1.0, 0.9],
            "unseen category groups": [0.1, 1.0, 0.05], "unseen languages": [0.0, 0.0, 0.4],
        },
        index=["query", "strict", "the test"],
    )  # fmt: skip
    figure = data_plots.schemes(table, "title")
    left, right = figure.axes
    assert names_of(left) == ["query", "strict", "the test"]
    assert widths(left) == {name: table[name].tolist() for name in table if name.startswith("unseen")}
    assert [bar.get_width() for bar in right.patches] == [1200, 40, 1600] and [
        text.get_text() for text in right.texts
    ] == ["1,200", "40", "1,600"]
    assert draws(figure) and draws(data_plots.schemes(table.tail(1), "title"))
