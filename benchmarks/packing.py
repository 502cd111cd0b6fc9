"""Speed of our engine against common alternatives: the same weights, the same rows, ratios from interleaved runs.

    python benchmarks/packing.py [--quick] [--only CASE ...] [--against RIVAL ...] [--plot [FILE]]

Rivals. `seed`: rows tokenised one by one in the data set, random batches of 8, padded to the longest, `Trainer`. `sorted64`:
batches of 64 sorted by length, the best common practice (scoring). `crossencoder`: `CrossEncoder` of sentence-transformers, fit
and predict (`pip install sentence-transformers datasets`; left out with a message where it is missing).
Cases. `QC-K2`: category paths, 2 rows for each query, query first. `QC-sample`: the embedded sample, in the recipe's order of
fields. `encoder`: e5-small on the sample. On a CUDA GPU of 70 GB or more, a network of Gemma-3-12B's shape with random weights
replaces Gemma-3-270M: in bf16, with checkpointing, and in 4-bit. Each line then has the planned memory beside the measured peak.
Timed are the rows of evenly spaced optimizer steps or packs of our layout of the whole case. The rivals get the same rows
(`sorted64`: evenly spaced batches of its own, as few rows would not sort into full batches). Prints one JSON object per line; a
ratio above 1 means ours is faster. `--plot` draws `benchmarks/packing.png`, from this run or from the lines in FILE.
"""

import argparse
import contextlib
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from cases import (
    DECODER,
    LARGE,
    LARGE_RECIPES,
    SHARE,
    Case,
    Networks,
    encode,
    evenly,
    linear_weights,
    open_networks,
    select_cases,
)
from rivals import RIVALS, Run

from utils.core.recipe import Recipe
from utils.models import precision, shapes
from utils.planning.cost import pack_cost
from utils.planning.devices import measure_peak, wait
from utils.training import engines, packing
from utils.training.loop import fit
from utils.training.predict import predict

PATIENCE = 1e9  # seconds between checkpoints: so none is written


@dataclass
class Timing:
    """Measurements of one engine: rows per second of each repetition, tokens computed per row."""

    row_tokens: float = 0.0
    memory: float = 0.0  # peak, GB, on a GPU
    rates: list[float] = field(default_factory=list)

    def take(self, run: Run, keep: bool) -> None:
        """Run once; record the rate if `keep` (not for a warm-up)."""
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        rate, self.row_tokens = run()
        if torch.cuda.is_available():
            self.memory = max(self.memory, torch.cuda.max_memory_allocated() / 1e9)
        if keep:
            self.rates.append(rate)


def timed_rows(case: Case, networks: Networks, name: str, rows: int) -> pd.DataFrame:
    """The timed rows: evenly spaced steps or packs of our layout of the whole case, so that their prefixes overlap as much."""
    whole = encode(case, networks, case.table)
    if name == "train":
        batches = [np.concatenate(step) for step in packing.training_steps(whole, case.recipe)][:-1]
    else:
        batches = packing.batches(whole, np.arange(len(case.table)), case.recipe.score_tokens)
    return case.table.iloc[evenly(batches, rows)].sample(frac=1, random_state=0)


def our_training(case: Case, networks: Networks, table: pd.DataFrame) -> Run:
    """Training by our loop, tokenisation included."""

    def run() -> tuple[float, float]:
        start = time.perf_counter()
        encoding = encode(case, networks, table)
        seconds = time.perf_counter() - start
        with tempfile.TemporaryDirectory() as name:
            label, folder = table["label"].to_numpy(), Path(name)
            result = fit(
                engines.start(networks.ours, case.recipe),
                encoding,
                label,
                case.recipe,
                networks.pad_id,
                folder,
                "",
                "",
                "none",
                PATIENCE,
            )
        wait(precision.device())
        batches = [batch for step in packing.training_steps(encoding, case.recipe) for batch in step]
        token_count = sum(packing.count_tokens(encoding, batch) for batch in batches)
        return len(table) / (seconds + len(table) / result.rows_per_s), token_count / len(table)

    return run


def our_scoring(case: Case, networks: Networks, table: pd.DataFrame) -> Run:
    """Scoring by our loop, tokenisation included."""

    def run() -> tuple[float, float]:
        start = time.perf_counter()
        encoding = encode(case, networks, table)
        predict(networks.ours.eval(), encoding, case.recipe.score_tokens, networks.pad_id, "", "none")
        wait(precision.device())
        rate = len(table) / (time.perf_counter() - start)
        batches = packing.batches(encoding, np.arange(len(table)), case.recipe.score_tokens)
        return rate, sum(packing.count_tokens(encoding, batch) for batch in batches) / len(table)

    return run


ENGINES = {"train": our_training, "score": our_scoring}


def compare(
    case: Case, name: str, rows: int, repetitions: int, peak: float, rivals: list[str]
) -> Iterator[dict[str, Any]]:
    """One line for each of `rivals` (none = all) on about `rows` rows; `peak` is the device's speed in FLOP/s."""
    networks = open_networks(case.recipe, name == "train")
    work = linear_weights(networks.theirs) * (2 if name == "score" else 4 if case.recipe.tuning == "lora" else 6)
    table = timed_rows(case, networks, name, rows * SHARE.get(case.name, 1))
    ours = ENGINES[name](case, networks, table)
    for (kind, against), rival in RIVALS.items():
        eligible = ("seed", "crossencoder" if case.name == "encoder" else "sorted64")
        if kind != name or against not in eligible or (rivals and against not in rivals):
            continue
        theirs = rival(case, networks, table)
        if theirs is None:
            continue
        left, right = Timing(), Timing()
        # In turn: ours, rival, ours, rival, ... On a GPU both run once before, to warm up.
        for number in range(repetitions + torch.cuda.is_available()):
            for timing, run in ((left, ours), (right, theirs)):
                timing.take(run, keep=number >= torch.cuda.is_available())
        ratios = [ours_rate / rate for ours_rate, rate in zip(left.rates, right.rates, strict=True)]
        line = {
            "name": name, "case": case.name, "against": against, "ours": round(median(left.rates), 2),
            "theirs": round(median(right.rates), 2), "ratio": round(median(ratios), 3), "unit": "rows/s",
            "repetitions": repetitions, "ratio_min": round(min(ratios), 3), "ratio_max": round(max(ratios), 3),
            "tokens_ours": round(left.row_tokens, 1), "tokens_theirs": _number(right.row_tokens),
            "utilisation_ours": _number(median(left.rates) * left.row_tokens * work / peak, 3),
            "utilisation_theirs": _number(median(right.rates) * right.row_tokens * work / peak, 3),
            "network": case.recipe.name if case.recipe.name in LARGE else case.recipe.model,
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        }  # fmt: skip
        if torch.cuda.is_available():
            line |= {"memory_gb_ours": round(left.memory, 1), "memory_gb_theirs": round(right.memory, 1)}
            line["memory_gb_planned"] = round(planned_memory(case.recipe, name == "train", left.row_tokens) / 1e9, 1)
        yield line


def planned_memory(recipe: Recipe, train: bool, row_tokens: float) -> float:
    """The plan's peak memory in bytes for full packs of rows with so many tokens each."""
    shape = shapes.config("gemma-3-12b" if recipe.name in LARGE else recipe.model)
    pack_tokens = recipe.pack_tokens if train else recipe.score_tokens
    return pack_cost(recipe, shape, pack_tokens, max(1, round(row_tokens)), train).peak


def _number(value: float, digits: int = 1) -> float | None:
    """A rounded number, None for NaN."""
    return None if np.isnan(value) else round(value, digits)


def draw(lines: list[dict[str, Any]], path: Path) -> None:
    """Speed-up over `seed` against rows per query; dashed, the ratio of tokens: the speed-up at equal work per token."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axis, name in zip(axes, ("train", "score"), strict=True):
        rows = [line for line in lines if line["name"] == name and line["against"] == "seed"]
        for task, colour in (("QC", "#1f6fb4"), ("QI", "#d97706")):
            curve = sorted((row for row in rows if row["case"].startswith(f"{task}-K")), key=lambda row: row["case"])
            x = [int(row["case"][4:]) for row in curve]
            limits = [row["tokens_theirs"] / row["tokens_ours"] for row in curve]
            axis.plot(x, limits, "--", color=colour, lw=1, alpha=0.7)
            axis.plot(x, [row["ratio"] for row in curve], "o-", color=colour, label=f"{task}, query first")
            for row in rows:
                if row["case"] == f"{task}-sample":
                    axis.plot([16], [row["ratio"]], "D", color=colour)
                    axis.plot([16], [row["tokens_theirs"] / row["tokens_ours"]], "_", color=colour, ms=14)
                    options = {"xytext": (-12, 6), "textcoords": "offset points", "ha": "right", "fontsize": 8}
                    axis.annotate(f"{task} sample", (16, row["ratio"]), **options)
        axis.axhline(1, color="grey", lw=0.8)
        axis.set_xscale("log", base=2)
        axis.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "sample"])
        axis.set(title={"train": "training (LoRA)", "score": "scoring"}[name], xlabel="rows per query")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("speed-up over padded random batches of 8")
    axes[0].legend(frameon=False, loc="lower right")
    figure.suptitle("Each distinct prefix computed once: measured (solid), ratio of tokens (dashed)")
    figure.savefig(path, dpi=150)


def main() -> None:
    """The command: time the cases and print their lines, or draw the figure from a file of lines."""
    parser = argparse.ArgumentParser(description="Packs against common alternatives; one JSON object per line.")
    parser.add_argument("--quick", action="store_true", help="few rows, two repetitions: no measurement")
    parser.add_argument("--only", nargs="*", default=[], metavar="CASE", help="these cases only")
    parser.add_argument("--against", nargs="*", default=[], metavar="RIVAL", help="these rivals only")
    parser.add_argument(
        "--plot", nargs="?", const="", metavar="FILE", help="draw packing.png, from this run or the lines in FILE"
    )
    arguments = parser.parse_args()
    image = Path(__file__).with_suffix(".png")
    if arguments.plot:
        draw([json.loads(line) for line in Path(arguments.plot).read_text("utf-8").splitlines()], image)
        return
    gpu = torch.cuda.is_available() and torch.cuda.get_device_properties(0).total_memory > 70e9
    rows, repetitions = (32, 2) if arguments.quick else (512, 5) if gpu else (32, 5)
    lines = []
    with contextlib.redirect_stdout(sys.stderr):  # what libraries print goes to stderr, only the lines to stdout
        peak = measure_peak(precision.device(), torch.bfloat16 if gpu else torch.float32)
        print(f"{peak / 1e9:,.0f} GFLOP/s is the peak of plain matrix products")
        for decoder in LARGE_RECIPES if gpu else (DECODER,):
            for case, name in itertools.product(select_cases(rows, arguments.only, decoder), ENGINES):
                for line in compare(case, name, rows, repetitions, peak, arguments.against):
                    lines.append(line)
                    print(json.dumps(line), file=sys.__stdout__, flush=True)
    if arguments.plot is not None:
        draw(lines, image)


if __name__ == "__main__":
    main()
