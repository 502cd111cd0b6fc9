"""Figures of the data: languages, labels, lengths, folds. Table in, Figure out; opens no file."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

from utils.core.schema import LANGUAGES
from utils.evaluation.figure import BLUE, GREEN, GREY, INK, RED, new_figure


def shares_by_language(counts: pd.DataFrame, title: str) -> Figure:
    """Share of each split's rows by language: `language, split, rows`. Languages that training lacks stand out."""
    table = counts.pivot_table(index="language", columns="split", values="rows", fill_value=0)
    table = table.reindex([code for code in LANGUAGES if code in table.index])
    table = table / table.sum()
    figure, (axis,) = new_figure(7.2, 1.2 + 0.36 * len(table))
    splits = [name for name in ("train", "dev", "test") if name in table]
    height = 0.8 / len(splits)
    for number, (split, colour) in enumerate(zip(splits, (GREY, GREEN, BLUE), strict=False)):
        axis.barh(np.arange(len(table))[::-1] + (1 - number) * height, table[split], height, label=split, color=colour)
    names = [f"{LANGUAGES[code]} ({code})" for code in table.index]
    axis.set(yticks=np.arange(len(table))[::-1], yticklabels=names, xlabel="share of the split's rows")
    axis.set_title(title, loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=8)
    return figure


def positives_by_language(table: pd.DataFrame, title: str) -> Figure:
    """Share of positive labels by language with 95 % whiskers, the mean of all rows as a line: `language, label`.

    The whiskers are the normal approximation, 1.96 standard errors of a share.
    """
    rate = table.groupby("language")["label"].agg(["mean", "size"])
    rate = rate.loc[[code for code in LANGUAGES if code in rate.index]]
    figure, (axis,) = new_figure(6.4, 1.2 + 0.34 * len(rate))
    rows = np.arange(len(rate))[::-1]
    error = 1.96 * np.sqrt(rate["mean"] * (1 - rate["mean"]) / rate["size"])
    axis.errorbar(rate["mean"], rows, xerr=error, fmt="o", color=BLUE, ecolor=BLUE, elinewidth=1.4)
    axis.axvline(table["label"].mean(), color=INK, linestyle="--", linewidth=1)
    names = [f"{LANGUAGES[code]} ({code})  n={count:,}" for code, count in rate["size"].items()]
    axis.set(yticks=rows, yticklabels=names, xlabel="share of relevant rows (dashed: all rows)")
    axis.set_title(title, loc="left", fontsize=11)
    return figure


def histograms(columns: dict[str, pd.Series], title: str, label: str, bins: int | Sequence[float] = 40) -> Figure:
    """One histogram for each name, side by side, with the median as a line; `label` names the x-axis."""
    figure, axes = new_figure(3.4 * len(columns), 2.8, len(columns))
    for axis, (name, values) in zip(axes, columns.items(), strict=True):
        values = values.dropna()
        axis.hist(values, bins=bins, color=BLUE, alpha=0.85)
        axis.axvline(values.median(), color=INK, linestyle="--", linewidth=1)
        axis.set_title(f"{name} (median {values.median():g})", loc="left", fontsize=9)
        axis.set_xlabel(label)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def bars(values: pd.Series, title: str, label: str) -> Figure:
    """Horizontal bars in the series' order, each with its value; `label` names the x-axis."""
    figure, (axis,) = new_figure(7, 1.1 + 0.3 * len(values))
    rows = np.arange(len(values))[::-1]
    rectangles = axis.barh(rows, values, color=BLUE, height=0.65)
    texts = [f"{value:,.3g}" if value < 1000 else f"{value:,.0f}" for value in values]
    axis.bar_label(rectangles, labels=texts, padding=3, fontsize=8)
    axis.margins(x=0.12)
    axis.set(yticks=rows, yticklabels=list(values.index), xlabel=label)
    axis.set_title(title, loc="left", fontsize=11)
    return figure


def stacked_bars(table: pd.DataFrame, title: str, label: str) -> Figure:
    """Horizontal bars, a row of `table` each, of one part for each column; `label` names the x-axis."""
    figure, (axis,) = new_figure(7, 1.3 + 0.3 * len(table))
    rows, left = np.arange(len(table))[::-1], np.zeros(len(table))
    for name, colour in zip(table, (BLUE, GREY), strict=False):
        axis.barh(rows, table[name], left=left, color=colour, height=0.65, label=name)
        left = left + table[name].to_numpy()
    axis.set(yticks=rows, yticklabels=list(table.index), xlabel=label)
    axis.legend(frameon=False, fontsize=8)
    axis.set_title(title, loc="left", fontsize=11)
    return figure


def confusion(table: pd.DataFrame, title: str) -> Figure:
    """Distinct queries by language tag (row) and identified language (column): `language, identified`, on a log colour scale."""
    counts = pd.crosstab(table["language"], table["identified"])
    figure, (axis,) = new_figure(1.6 + 0.42 * counts.shape[1], 1.6 + 0.34 * counts.shape[0])
    axis.imshow(np.log1p(counts), cmap="Blues", aspect="auto")
    axis.grid(visible=False)
    for (row, column), count in np.ndenumerate(counts.to_numpy()):
        if count:
            dark = count > counts.to_numpy().max() ** 0.6
            axis.text(column, row, count, ha="center", va="center", fontsize=8, color="white" if dark else INK)
    axis.set(xticks=range(counts.shape[1]), xticklabels=counts.columns)
    axis.set(yticks=range(counts.shape[0]), yticklabels=counts.index)
    axis.set(xlabel="identified language", ylabel="tag in the file")
    axis.set_title(title, loc="left", fontsize=11)
    return figure


def fold_balance(parts: pd.DataFrame, title: str) -> Figure:
    """Rows and positives of each fold, and its share of each language: `fold, language, label`."""
    figure, (left, right) = new_figure(10, 2.8, 2)
    by_label = pd.crosstab(parts["fold"], parts["label"]).reindex(columns=[0, 1], fill_value=0)
    by_language = pd.crosstab(parts["fold"], parts["language"], normalize="index")
    left.bar(by_label.index, by_label[0], color=GREY, label="not relevant")
    left.bar(by_label.index, by_label[1], bottom=by_label[0], color=BLUE, label="relevant")
    for fold, row in by_label.iterrows():
        left.text(fold, row.sum(), f"{row[1] / row.sum():.1%}", ha="center", va="bottom", fontsize=8)
    bottom = np.zeros(len(by_language))
    shades = colormaps["tab20"]
    for number, code in enumerate(c for c in LANGUAGES if c in by_language):
        right.bar(by_language.index, by_language[code], bottom=bottom, label=code, color=shades(number))
        bottom += by_language[code].to_numpy()
    for axis, name in ((left, "rows"), (right, "share of the fold's rows")):
        axis.set(xlabel="fold", ylabel=name, xticks=by_label.index)
        axis.grid(visible=False)
    left.margins(y=0.3)
    left.legend(frameon=False, fontsize=8, loc="upper left", ncols=2)
    right.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def schemes(table: pd.DataFrame, title: str) -> Figure:
    """Each scheme's validation beside the test: `leaks.compare_with_test`. Left, shares of validation rows that training does not know;
    right, the training rows that the scheme leaves."""
    shares = [name for name in table if name.startswith("unseen")]
    figure, (left, right) = new_figure(10, 1.6 + 0.36 * len(table), 2, sharey=True)
    rows = np.arange(len(table))[::-1]
    height = 0.8 / len(shares)
    for number, (name, colour) in enumerate(zip(shares, (BLUE, RED, GREEN), strict=True)):
        left.barh(rows + (1 - number) * height, table[name], height, color=colour, label=name)
    left.set(yticks=rows, yticklabels=table.index, xlim=(0, 1.02), xlabel="share of the rows")
    bars = right.barh(rows, table["train_rows"], color=GREY, height=0.6)
    right.bar_label(bars, labels=[f"{count:,}" for count in table["train_rows"]], padding=3, fontsize=8)
    right.margins(x=0.15)
    right.set(xlabel="training rows")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure
