"""Colours, axes and the figure class that every plot of the project shares."""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, GREY, RED, GREEN, INK = "#2166ac", "#9aa0a6", "#c0392b", "#3a8f5c", "#202124"


class Picture(Figure):
    """A figure that a notebook displays where it is named, once, without pyplot's list of open figures."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def new_figure(width: float, height: float, columns: int = 1, **options: object) -> tuple[Figure, np.ndarray]:
    """A figure of `width` x `height` inches and its axes side by side, an array of shape `[columns]`.

    `options` go to `Figure.subplots`, for example `sharey=True`.
    """
    figure = Picture(figsize=(width, height), dpi=110, layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, **options)[0]
    for axis in axes:
        clean_axis(axis)
    return figure, axes


def clean_axis(axis: Axes) -> None:
    """Remove the upper and right spines of an axis and draw light vertical grid lines behind the data."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_axisbelow(True)
    axis.grid(axis="x", color="#e8eaed", linewidth=0.8)
