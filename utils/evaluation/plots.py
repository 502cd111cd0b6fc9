"""Figures of results. Table in, Figure out; opens no file. Blue is the model of a figure, grey what it is compared with."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

from utils.core.schema import LANGUAGES, TASK_NAMES
from utils.evaluation.figure import BLUE, GREEN, GREY, INK, RED, new_figure

F1_RANGE = (0.45, 1.0)  # the same in every figure of F1 by language, so that they can be compared by eye
FAMILY_COLOURS = {"baseline": GREY, "xlm-r": BLUE, "qwen": "#8e44ad", "gemma": GREEN}


def family_colour(family: str) -> str:
    """The colour of a family of models; families without one of their own share a colour."""
    return FAMILY_COLOURS.get(family, RED)


def f1_by_language(
    scores: pd.DataFrame, title: str, before: pd.DataFrame | None = None, before_name: str = ""
) -> Figure:
    """F1 by language with query-clustered 95 % whiskers: `language, seen, rows, f1, f1_lo, f1_hi, constant_f1`.

    Filled dots are languages of the training data, hollow ones do not occur there. Grey is `before`, a table of the same
    columns with the name `before_name`. The dashed line is the F1 of answering "relevant" to every row.
    """
    table = scores[scores["language"].isin(LANGUAGES)].set_index("language")
    codes = [code for code in LANGUAGES if code in table.index]
    table = table.loc[codes]
    figure, (axis,) = new_figure(7.6, 1.6 + 0.34 * len(codes))
    rows = np.arange(len(codes))[::-1]
    constant = table["constant_f1"]
    axis.vlines(constant, rows - 0.5, rows + 0.5, color=INK, linestyle="--", linewidth=1,
                label='answering "relevant" to everything')  # fmt: skip
    if before is not None:
        reference = before[before["language"].isin(LANGUAGES)].set_index("language").reindex(codes)
        axis.scatter(reference["f1"], rows, s=34, color=GREY, marker="D", label=before_name, zorder=2)
    axis.hlines(rows, table["f1_lo"], table["f1_hi"], color=BLUE, linewidth=1.6, alpha=0.6, zorder=3)
    in_training = table["seen"].to_numpy(dtype=bool)
    axis.scatter(table["f1"][in_training], rows[in_training], s=58, color=BLUE, zorder=4,
                 label="language of the training data")  # fmt: skip
    if not in_training.all():
        axis.scatter(table["f1"][~in_training], rows[~in_training], s=58, facecolor="white", edgecolor=BLUE, linewidth=1.8,
                     zorder=4, label="language not in the training data")  # fmt: skip
    names = [f"{LANGUAGES[code]} ({code})  n={table['rows'][code]:,}" for code in codes]
    axis.set(yticks=rows, yticklabels=names, xlabel="F1 of the positive class")
    axis.set(xlim=F1_RANGE, ylim=(-0.7, len(codes) - 0.3))
    axis.set_title(title, loc="left", fontsize=11)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def candidates(board: pd.DataFrame, task: str) -> Figure:
    """Out-of-fold F1 and AUC of every candidate, the best on top: `recipe, family, task, f1, f1_lo, f1_hi, auc`."""
    table = board[board["task"] == task].sort_values("f1", ignore_index=True)
    figure, (left, right) = new_figure(10, 1.3 + 0.33 * len(table), 2, sharey=True)
    colours = [family_colour(family) for family in table["family"]]
    rows = np.arange(len(table))
    left.hlines(rows, table["f1_lo"], table["f1_hi"], color=colours, alpha=0.6, linewidth=1.6)
    left.scatter(table["f1"], rows, color=colours, s=52, zorder=3)
    constant = board[(board["task"] == task) & (board["recipe"] == "constant")]["f1"]
    if len(constant):
        left.axvline(constant.iloc[0], color=INK, linestyle="--", linewidth=1)
        left.text(constant.iloc[0], len(table) - 0.45, 'always "relevant"', fontsize=8, ha="center", va="bottom")
    right.barh(rows, table["auc"] - 0.5, left=0.5, color=colours, height=0.55)
    left.set(
        yticks=rows, yticklabels=table["recipe"], xlabel="F1 (cross-fitted thresholds)", ylim=(-0.6, len(table) - 0.4)
    )
    left.set_title(f"{TASK_NAMES[task]}: out-of-fold, 95 % CI, query bootstrap\n", loc="left", fontsize=11)
    right.set(xlabel="AUC (0.5 = chance)", xlim=(0.5, 1.0))
    return figure


def f1_against_speed(board: pd.DataFrame, task: str) -> Figure:
    """F1 vs throughput, in rows scored per second (log scale), scheme query only; the upper right is best.

    Columns: `recipe, family, task, scheme, f1, f1_lo, f1_hi, score_rows_per_s`. Where every interval reaches the
    best one's, the title says so.
    """
    table = board[(board["task"] == task) & (board["scheme"] == "query") & (board["recipe"] != "constant")]
    figure, (axis,) = new_figure(6.8, 3.8)
    axis.set_xscale("log")
    for family, rows in table.groupby("family"):
        colour = family_colour(str(family))
        axis.scatter(rows["score_rows_per_s"], rows["f1"], color=colour, s=60, label=family, zorder=3)
    colours = [family_colour(family) for family in table["family"]]
    axis.vlines(table["score_rows_per_s"], table["f1_lo"], table["f1_hi"], color=colours, alpha=0.5, linewidth=1.6)
    for row in table.itertuples():
        axis.annotate(row.recipe, (row.score_rows_per_s, row.f1), xytext=(6, 5), textcoords="offset points", fontsize=8)
    axis.grid(axis="y", color="#e8eaed", linewidth=0.8)
    axis.margins(x=0.22, y=0.15)
    axis.set(xlabel="rows scored per second on this machine", ylabel="out-of-fold F1")
    least = table.loc[table["f1"] == table["f1"].max(), "f1_lo"].min()  # the lower end of the best one
    noise = ": all inside the noise" if len(table) > 1 and (table["f1_hi"] >= least).all() else ""
    axis.set_title(f"{TASK_NAMES[task]}: F1 vs throughput{noise}", loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=8)
    return figure


def differences(
    changes: pd.DataFrame, title: str, panels: dict[str, str] | None = None, noise_bands: dict[str, float] | None = None
) -> Figure:
    """Differences with their 95 % intervals, one line per row of `changes` (its index names them), one panel per
    measure.

    `panels` maps a column, which stands beside `<column>_lo` and `<column>_hi`, to the name of its axis. Hollow dots
    are intervals that include zero; where all of them do, the title says so. `noise_bands` is how far a difference of nothing may
    lie from zero, by column: grey.
    """
    panels = panels or {"f1_change": "change in F1", "auc_change": "change in AUC"}
    figure, axes = new_figure(9, 1.5 + 0.36 * len(changes), len(panels), sharey=True)
    rows, noise = np.arange(len(changes))[::-1], []
    for axis, (column, label) in zip(axes, panels.items(), strict=True):
        low, high = changes[f"{column}_lo"].to_numpy(dtype=float), changes[f"{column}_hi"].to_numpy(dtype=float)
        inside = (low <= 0) & (high >= 0)
        noise.append(inside.all())
        axis.axvline(0, color=INK, linestyle="--", linewidth=1)
        if noise_band := (noise_bands or {}).get(column):
            axis.axvspan(-noise_band, noise_band, color=GREY, alpha=0.18, linewidth=0)
        axis.hlines(rows, low, high, color=BLUE, linewidth=1.6, alpha=0.6)
        face = ["white" if hollow else BLUE for hollow in inside]
        axis.scatter(changes[column], rows, s=58, color=face, edgecolor=BLUE, linewidth=1.8, zorder=3)
        axis.set(xlabel=label, ylim=(-0.6, len(rows) - 0.4))
        axis.margins(x=0.1)
    axes[0].set(
        yticks=rows,
        yticklabels=[" ".join(map(str, name)) if isinstance(name, tuple) else name for name in changes.index],
    )
    figure.suptitle(
        title + (": all inside the noise" if len(changes) and all(noise) else ""), x=0.01, ha="left", fontsize=11
    )
    return figure


def calibration(before: pd.DataFrame, after: pd.DataFrame, title: str, bins: int = 10) -> Figure:
    """Reliability diagram, before and after calibration, over `bins` bins of equal size: `label, probability`."""
    figure, (axis,) = new_figure(4.6, 3.8)
    axis.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1)
    for name, table, colour in (("champion, as it answers", before, GREY), ("ensemble, calibrated", after, BLUE)):
        ranking = table.sort_values("probability", kind="stable")
        bin_numbers = np.arange(len(table)) * bins // len(table)
        points = ranking.groupby(bin_numbers)[["probability", "label"]].mean()
        axis.plot(points["probability"], points["label"], marker="o", markersize=4, color=colour, label=name)
    axis.grid(axis="y", color="#e8eaed", linewidth=0.8)
    axis.set(xlabel="predicted probability", ylabel="observed share of relevant rows", xlim=(0, 1), ylim=(0, 1))
    axis.set_title(title, loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=8)
    return figure


def learning_curves(logs: pd.DataFrame, title: str) -> Figure:
    """Training loss against optimizer step, one line for each run: `run, step, loss` (mean over a block of steps)."""
    figure, (axis,) = new_figure(6.8, 3)
    for number, (name, rows) in enumerate(logs.groupby("run", sort=False)):
        axis.plot(rows["step"], rows["loss"], label=name, color=colormaps["tab10"](number), linewidth=1.5)
    axis.grid(axis="y", color="#e8eaed", linewidth=0.8)
    axis.set(xlabel="optimizer step", ylabel="cross-entropy")
    axis.set_title(title, loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=8)
    return figure


def matrix(table: pd.DataFrame, title: str, label: str) -> Figure:
    """A number in each cell, darker where it is higher within its column: columns are not compared with each other."""
    figure, (axis,) = new_figure(1.6 + 1.2 * table.shape[1], 1.3 + 0.42 * table.shape[0])
    spread = (table.max() - table.min()).replace(0.0, 1.0)
    shades = ((table - table.min()) / spread).to_numpy()
    axis.imshow(shades, cmap="Blues", aspect="auto", vmin=0, vmax=1.6)
    axis.grid(visible=False)
    for (row, column), value in np.ndenumerate(table.to_numpy()):
        axis.text(column, row, f"{value:.3f}", ha="center", va="center", fontsize=10, color=INK)
    axis.set(xticks=range(table.shape[1]), xticklabels=table.columns, xlabel=str(table.columns.name))
    axis.set(yticks=range(table.shape[0]), yticklabels=table.index, ylabel=str(table.index.name))
    axis.set_title(f"{title}\n{label}", loc="left", fontsize=11)
    return figure
