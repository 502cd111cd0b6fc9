"""Table in, Figure out; opens no file. One colour means one thing everywhere: blue is ours, grey is what came before."""

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from utils.schema import LANGUAGES, TASK_NAMES

BLUE, GREY, RED, GREEN, INK = "#2166ac", "#9aa0a6", "#c0392b", "#3a8f5c", "#202124"
F1_RANGE = (0.45, 1.0)  # the same in every figure of F1 by language, so that they can be compared by eye
FAMILY_COLOURS = {"baseline": GREY, "xlm-r": BLUE, "qwen": "#8e44ad", "gemma": GREEN}


class Picture(Figure):
    """A figure that shows itself in a notebook where it is named, once, without pyplot's list of open figures."""

    def _repr_png_(self) -> bytes:
        drawn = io.BytesIO()
        self.savefig(drawn, format="png")
        return drawn.getvalue()


def _figure(width: float, height: float, columns: int = 1, **options: object) -> tuple[Figure, np.ndarray]:
    figure = Picture(figsize=(width, height), dpi=110, layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, **options)[0]
    for axis in axes:
        _clean(axis)
    return figure, axes


def _clean(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_axisbelow(True)
    axis.grid(axis="x", color="#e8eaed", linewidth=0.8)


def f1_by_language(
    scores: pd.DataFrame, title: str, before: pd.DataFrame | None = None, before_name: str = ""
) -> Figure:
    """F1 by language with query-clustered 95 % whiskers: `language, seen, rows, f1, f1_lo, f1_hi, constant_f1`.

    Filled dots are languages of the training data, hollow ones were never trained on; grey is `before`; the dashed
    line is what answering "relevant" to every row scores.
    """
    table = scores[scores["language"].isin(LANGUAGES)].set_index("language")
    codes = [code for code in LANGUAGES if code in table.index]
    table = table.loc[codes]
    figure, (axis,) = _figure(7.6, 1.6 + 0.34 * len(codes))
    rows = np.arange(len(codes))[::-1]
    constant = table["constant_f1"]
    axis.vlines(
        constant,
        rows - 0.5,
        rows + 0.5,
        color=INK,
        linestyle="--",
        linewidth=1,
        label='answering "relevant" to everything',
    )
    if before is not None:
        old = before[before["language"].isin(LANGUAGES)].set_index("language").reindex(codes)
        axis.scatter(old["f1"], rows, s=34, color=GREY, marker="D", label=before_name, zorder=2)
    axis.hlines(rows, table["f1_lo"], table["f1_hi"], color=BLUE, linewidth=1.6, alpha=0.6, zorder=3)
    seen = table["seen"].to_numpy(dtype=bool)
    axis.scatter(table["f1"][seen], rows[seen], s=58, color=BLUE, zorder=4, label="language of the training data")
    if not seen.all():
        axis.scatter(table["f1"][~seen], rows[~seen], s=58, facecolor="white", edgecolor=BLUE, linewidth=1.8, zorder=4,
                     label="language never trained on")  # fmt: skip
    names = [f"{LANGUAGES[code]} ({code})  n={table['rows'][code]:,}" for code in codes]
    axis.set(
        yticks=rows, yticklabels=names, xlim=F1_RANGE, ylim=(-0.7, len(codes) - 0.3), xlabel="F1 of the positive class"
    )
    axis.set_title(title, loc="left", fontsize=11)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def ladder(board: pd.DataFrame, task: str) -> Figure:
    """Out-of-fold F1 and AUC of every rung, best on top: `recipe, family, task, f1, f1_lo, f1_hi, auc`."""
    table = board[board["task"] == task].sort_values("f1", ignore_index=True)
    figure, (left, right) = _figure(10, 1.3 + 0.33 * len(table), 2, sharey=True)
    colours = [FAMILY_COLOURS[family] for family in table["family"]]
    rows = np.arange(len(table))
    left.hlines(rows, table["f1_lo"], table["f1_hi"], color=colours, alpha=0.6, linewidth=1.6)
    left.scatter(table["f1"], rows, color=colours, s=52, zorder=3)
    constant = board[(board["task"] == task) & (board["recipe"] == "constant")]["f1"]
    if len(constant):
        left.axvline(constant.iloc[0], color=INK, linestyle="--", linewidth=1)
        left.text(constant.iloc[0], len(table) - 0.45, 'all "relevant"', fontsize=8, ha="center", va="bottom")
    right.barh(rows, table["auc"] - 0.5, left=0.5, color=colours, height=0.55)
    left.set(yticks=rows, yticklabels=table["recipe"], xlabel="F1 (best threshold)", ylim=(-0.6, len(table) - 0.4))
    left.set_title(f"{TASK_NAMES[task]}: out-of-fold, 95 % by query\n", loc="left", fontsize=11)
    right.set(xlabel="AUC (0.5 = chance)", xlim=(0.5, 1.0))
    return figure


def f1_against_speed(board: pd.DataFrame, task: str) -> Figure:
    """F1 against scored rows a second (log scale); the upper right is where one wants to be."""
    table = board[(board["task"] == task) & (board["scheme"] == "strict") & (board["recipe"] != "constant")]
    figure, (axis,) = _figure(6.8, 3.8)
    axis.set_xscale("log")
    for family, rows in table.groupby("family"):
        axis.scatter(
            rows["score_rows_per_s"], rows["f1"], color=FAMILY_COLOURS[str(family)], s=60, label=family, zorder=3
        )
    for row in table.itertuples():
        axis.annotate(row.recipe, (row.score_rows_per_s, row.f1), xytext=(6, 5), textcoords="offset points", fontsize=8)
    axis.grid(axis="y", color="#e8eaed", linewidth=0.8)
    axis.margins(x=0.22, y=0.15)
    axis.set(xlabel="scored rows a second on this machine", ylabel="out-of-fold F1")
    axis.set_title(f"{TASK_NAMES[task]}: what a point of F1 costs", loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=8)
    return figure


def shares_by_language(counts: pd.DataFrame, title: str) -> Figure:
    """Rows of each split by language, `language, split, rows`, as shares of the split: what training never sees."""
    table = counts.pivot_table(index="language", columns="split", values="rows", fill_value=0)
    table = table.reindex([code for code in LANGUAGES if code in table.index])
    table = table / table.sum()
    figure, (axis,) = _figure(7.2, 1.2 + 0.36 * len(table))
    splits = [name for name in ("train", "dev", "test") if name in table]
    height = 0.8 / len(splits)
    for number, (split, colour) in enumerate(zip(splits, (GREY, GREEN, BLUE), strict=False)):
        axis.barh(np.arange(len(table))[::-1] + (1 - number) * height, table[split], height, label=split, color=colour)
    axis.set(
        yticks=np.arange(len(table))[::-1],
        yticklabels=[f"{LANGUAGES[c]} ({c})" for c in table.index],
        xlabel="share of the split's rows",
    )
    axis.set_title(title, loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=8)
    return figure


def positives_by_language(table: pd.DataFrame, title: str) -> Figure:
    """Share of positive labels by language with the mean as a line: `language, label`."""
    rate = table.groupby("language")["label"].agg(["mean", "size"])
    rate = rate.loc[[code for code in LANGUAGES if code in rate.index]]
    figure, (axis,) = _figure(6.4, 1.2 + 0.34 * len(rate))
    rows = np.arange(len(rate))[::-1]
    error = 1.96 * np.sqrt(rate["mean"] * (1 - rate["mean"]) / rate["size"])
    axis.errorbar(rate["mean"], rows, xerr=error, fmt="o", color=BLUE, ecolor=BLUE, elinewidth=1.4)
    axis.axvline(table["label"].mean(), color=INK, linestyle="--", linewidth=1)
    axis.set(
        yticks=rows,
        yticklabels=[f"{LANGUAGES[c]} ({c})  n={n:,}" for c, n in rate["size"].items()],
        xlabel="share of relevant rows (dashed: all rows)",
    )
    axis.set_title(title, loc="left", fontsize=11)
    return figure


def histograms(columns: dict[str, pd.Series], title: str, label: str, bins: int | Sequence[float] = 40) -> Figure:
    """One histogram a name, side by side, with the median as a line."""
    figure, axes = _figure(3.4 * len(columns), 2.8, len(columns))
    for axis, (name, values) in zip(axes, columns.items(), strict=True):
        values = values.dropna()
        axis.hist(values, bins=bins, color=BLUE, alpha=0.85)
        axis.axvline(values.median(), color=INK, linestyle="--", linewidth=1)
        axis.set_title(f"{name} (median {values.median():g})", loc="left", fontsize=9)
        axis.set_xlabel(label)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def bars(values: pd.Series, title: str, label: str) -> Figure:
    """Horizontal bars in the series' order, each with its value."""
    figure, (axis,) = _figure(7, 1.1 + 0.3 * len(values))
    rows = np.arange(len(values))[::-1]
    drawn = axis.barh(rows, values, color=BLUE, height=0.65)
    axis.bar_label(drawn, labels=[f"{v:,.3g}" if v < 1000 else f"{v:,.0f}" for v in values], padding=3, fontsize=8)
    axis.margins(x=0.12)
    axis.set(yticks=rows, yticklabels=list(values.index), xlabel=label)
    axis.set_title(title, loc="left", fontsize=11)
    return figure


def confusion(table: pd.DataFrame, title: str) -> Figure:
    """How often a tag (row) meets an identified language (column): counts of distinct queries, `language, found`."""
    counts = pd.crosstab(table["language"], table["found"])
    figure, (axis,) = _figure(1.6 + 0.42 * counts.shape[1], 1.6 + 0.34 * counts.shape[0])
    axis.imshow(np.log1p(counts), cmap="Blues", aspect="auto")
    axis.grid(visible=False)
    for (row, column), count in np.ndenumerate(counts.to_numpy()):
        if count:
            dark = count > counts.to_numpy().max() ** 0.6
            axis.text(column, row, count, ha="center", va="center", fontsize=8, color="white" if dark else INK)
    axis.set(
        xticks=range(counts.shape[1]),
        xticklabels=counts.columns,
        yticks=range(counts.shape[0]),
        yticklabels=counts.index,
    )
    axis.set(xlabel="identified language", ylabel="tag in the file")
    axis.set_title(title, loc="left", fontsize=11)
    return figure


def fold_balance(parts: pd.DataFrame, title: str) -> Figure:
    """Rows and positives of each fold, and its mix of languages: `fold, language, label`."""
    figure, (left, right) = _figure(10, 2.8, 2)
    by_label = pd.crosstab(parts["fold"], parts["label"])
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


def leak_table(leaks: pd.DataFrame, title: str) -> Figure:
    """Share of judged rows whose query also teaches, by scheme and fold: `scheme, fold, shared_query_rows`."""
    table = leaks.pivot_table(index="fold", columns="scheme", values="shared_query_rows")
    figure, (axis,) = _figure(6.4, 2.6)
    width = 0.8 / len(table.columns)
    for number, scheme in enumerate(table.columns):
        place = table.index + (number - (len(table.columns) - 1) / 2) * width
        colour = {"report": RED, "strict": BLUE, "leave-language": GREEN}[scheme]
        shown = axis.bar(place, table[scheme] * 100, width, color=colour, label=scheme)
        axis.bar_label(shown, labels=[f"{v * 100:.0f}" if v > 0 else "0" for v in table[scheme].fillna(0)], fontsize=7)
    axis.grid(visible=False)
    axis.set(xlabel="fold", ylabel="% of judged rows", xticks=table.index, ylim=(0, max(5.0, table.max().max() * 115)))
    axis.set_title(title, loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=8)
    return figure


def paired_arms(comparison: pd.DataFrame, title: str) -> Figure:
    """TAPT beside direct fine-tuning: `task, arm, match, f1, auc`, one line a comparison."""
    figure, axes = _figure(9, 2.9, 2, sharey=True)
    table = comparison.groupby(["task", "match", "arm"], sort=False)[["f1", "auc"]].mean().reset_index()
    lines = list(dict.fromkeys(zip(table["task"], table["match"], strict=True)))
    for axis, measure in zip(axes, ("f1", "auc"), strict=True):
        for number, (task, match) in enumerate(lines):
            pair = table[(table["task"] == task) & (table["match"] == match)].set_index("arm")[measure]
            axis.plot([pair["direct"], pair["tapt"]], [number, number], color="#dadce0", linewidth=3, zorder=1)
            for arm, colour in (("direct", GREY), ("tapt", BLUE)):
                axis.scatter(pair[arm], number, color=colour, s=60, zorder=2, label=arm if number == 0 else None)
        axis.set(xlabel={"f1": "F1", "auc": "AUC"}[measure], ylim=(-0.6, len(lines) - 0.4))
        axis.margins(x=0.2)
    axes[0].set(yticks=range(len(lines)), yticklabels=[f"{task}, equal {match}" for task, match in lines])
    axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def reliability(tables: dict[str, tuple[np.ndarray, np.ndarray]], title: str, bins: int = 10) -> Figure:
    """Observed share of positives against the stated probability, in equally filled bins: name -> (label, probability)."""
    figure, (axis,) = _figure(4.6, 3.8)
    axis.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1)
    for (name, (label, probability)), colour in zip(tables.items(), (GREY, BLUE, GREEN), strict=False):
        order = np.array_split(np.argsort(probability, kind="stable"), bins)
        points = [(np.mean(probability[part]), np.mean(label[part])) for part in order if len(part)]
        axis.plot(*zip(*points, strict=True), marker="o", markersize=4, color=colour, label=name)
    axis.grid(axis="y", color="#e8eaed", linewidth=0.8)
    axis.set(xlabel="stated probability", ylabel="observed share of relevant rows", xlim=(0, 1), ylim=(0, 1))
    axis.set_title(title, loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=8)
    return figure


def learning_curves(logs: pd.DataFrame, title: str) -> Figure:
    """Training loss against step, one line a run: `run, step, loss` (loss is the mean over a step block)."""
    figure, (axis,) = _figure(6.8, 3)
    for number, (name, rows) in enumerate(logs.groupby("run", sort=False)):
        axis.plot(rows["step"], rows["loss"], label=name, color=colormaps["tab10"](number), linewidth=1.5)
    axis.grid(axis="y", color="#e8eaed", linewidth=0.8)
    axis.set(xlabel="optimizer step", ylabel="cross-entropy")
    axis.set_title(title, loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=8)
    return figure
