"""One GPU measured for this project within ten minutes: attention kernels, widths, compiled layers, the host, packs, scoring, the plan.

    python benchmarks/gpu.py [--minutes 10] [--write] [--out gpu.jsonl]

Prints a JSON object a line, and one table at the end. On a GPU of 70 GB or more the network has the shape of Gemma-3-12B, with
random weights; on any other machine one of its class and depth that is narrow, and the first line says so. Rows are the embedded
sample's, in steps of 32. `--write` puts the widths from which on FlexAttention is the faster kernel into `utils/models/kernels.json`.
"""

import argparse
import contextlib
import functools
import gc
import itertools
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch
from cases import random_network, read_sample
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedConfig

from utils.core.recipe import Recipe
from utils.core.schema import TASKS
from utils.experiment import pool
from utils.experiment.devices import list_devices
from utils.models import attention, build, precision, shapes, trained, weights
from utils.planning import devices
from utils.planning.cost import pack_cost, peak_memory
from utils.planning.timing import Load, measure_host, scale_host, scoring_seconds, training_seconds
from utils.profiles.a100 import LARGE
from utils.profiles.base import MAX_LENGTH, QUERY_FIRST
from utils.training import engines, packing, predict, tokens
from utils.training.forward import compare_packs, compile_layers, logits

MODEL, TOKENIZER = "gemma-3-12b", "gemma-3-270m"
WIDTHS = (512, 1024, 2048)  # tokens of a sequence, at most
STEPS, WARM = 6, 2  # timed steps, and steps before them
SCORED, FEW = 1024, 256  # rows to score, on a GPU and on a CPU
ROOM = 70e9  # bytes of a GPU that holds the true shape
Line = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """One way to lay out and compute the same steps."""

    task: str
    kernel: str = "sdpa"
    width: int = WIDTHS[0]
    packing: str = "tries"
    compiled: bool = False

    def recipe(self, large: bool) -> Recipe:
        """The recipe of the a100 profile's networks, laid out in this way."""
        return LARGE.with_(
            name=MODEL, model=MODEL, max_length=MAX_LENGTH[self.task], query_first=QUERY_FIRST[self.task], attention=self.kernel,
            sequence_tokens=self.width, packing=self.packing, pack_tokens=4096, score_tokens=16384 if large else 2048,
            precision="bfloat16" if large else "float32", compiled=self.compiled,
        )  # fmt: skip


@dataclass
class Bench:
    """The network under test, its rows, and the clock that ends the measuring."""

    large: bool
    config: PreTrainedConfig
    tables: dict[str, pd.DataFrame]
    device: devices.Device
    until: float

    @functools.cached_property
    def model(self) -> nn.Module:
        """The network with random weights and LoRA, on the device."""
        torch.manual_seed(0)
        network = random_network(self.config, torch.bfloat16 if self.large else torch.float32)
        return trained.make_trainable(network, Setting("QC").recipe(self.large))

    @functools.cached_property
    def engine(self) -> engines.Engine:
        """What turns its gradients into steps."""
        return engines.start(self.model, Setting("QC").recipe(self.large))

    def encode(self, recipe: Recipe, task: str) -> tokens.Encoded:
        """The sample's rows as token ids; a narrow network's vocabulary is smaller, so ids wrap around."""
        tokenizer = build.load_tokenizer(weights.resolve(TOKENIZER))
        encoded = tokens.encode(self.tables[task], task, tokenizer, recipe, encoder=False)
        words = self.config.get_text_config().vocab_size
        rows = [tuple(tuple(1 + token % (words - 1) for token in part) for part in row) for row in encoded.rows]
        return replace(encoded, rows=rows)

    def prepare(self, setting: Setting) -> tuple[Recipe, tokens.Encoded]:
        """Set the network to a way of computing; returns the recipe and its rows."""
        recipe = setting.recipe(self.large)
        network = trained.plain(self.model)
        network.config._attn_implementation = setting.kernel
        for layer in network.model.layers:
            layer._compiled_call_impl = None
        if setting.compiled:
            compile_layers(network)
        return recipe, self.encode(recipe, setting.task)


# -- what is measured ------------------------------------------------------------------------------------------------------


def train(bench: Bench, setting: Setting) -> Line:
    """Seconds of an optimizer step, the share of them in which the host launches, tokens, memory, and what the plan says."""
    recipe, rows = bench.prepare(setting)
    steps = packing.training_steps(rows, recipe)[: STEPS + WARM]
    labels, pad_id = torch.arange(len(rows.rows)) % 2, 0
    bench.engine.model.train()
    seconds, launches, computed, begun = [], [], [], time.perf_counter()
    for number, step in enumerate(steps):
        _reset_peak()
        devices.wait(precision.device())
        start = time.perf_counter()
        for micro in step:
            with precision.autocast(recipe):
                scores = logits(bench.engine.model, rows, micro, pad_id)
            bench.engine.backward(cross_entropy(scores, labels[micro].to(scores.device)), last=True)
        bench.engine.step()
        launched = time.perf_counter()
        devices.wait(precision.device())
        if number < WARM:
            first = time.perf_counter() - begun
        else:
            seconds.append(time.perf_counter() - start)
            launches.append(launched - start)
            computed.append(sum(packing.count_tokens(rows, micro) for micro in step))
    step_seconds, size = median(seconds), float(np.mean(computed))
    planned = _plan_step(bench, recipe, size, len(steps[0]))
    return {
        "first_seconds": first, "step_seconds": step_seconds, "host_seconds": measure_host(recipe).micro_batch,
        "planned_seconds": planned, "host_share": sum(launches) / sum(seconds),
        "tokens_per_step": size, "rows_per_s": recipe.batch_rows / step_seconds, "peak_gb": _peak() / 1e9,
        "planned_gb": peak_memory(recipe.with_(score_tokens=1), bench.config, max(computed), 40) / 1e9,
    }  # fmt: skip


def score(bench: Bench, setting: Setting) -> Line:
    """Rows scored a second, and what the plan says."""
    recipe, rows = bench.prepare(setting)
    chosen = np.argsort(rows.group, kind="stable")[: SCORED if bench.large else FEW]
    part = replace(rows, rows=[rows.rows[row] for row in chosen], group=rows.group[chosen])
    batches, seconds = packing.batches(part, np.arange(len(chosen)), recipe.score_tokens), []
    for _ in range(3):  # the first warms up
        devices.wait(precision.device())
        start = time.perf_counter()
        with precision.autocast(recipe):
            predict.predict_log_odds(bench.model.eval(), part, recipe.score_tokens, 0, "", "none")
        seconds.append(time.perf_counter() - start)
    size = sum(packing.count_tokens(part, batch) for batch in batches)
    cost = pack_cost(recipe, bench.config, recipe.score_tokens, 40, train=False)
    load = Load(len(batches), size, cost, recipe.score_tokens)
    host = scale_host(measure_host(recipe), recipe, bench.device)
    planned = scoring_seconds(load, recipe, host, bench.device)
    return {
        "first_seconds": seconds[0], "rows_per_s": len(chosen) / min(seconds[1:]), "planned_rows_per_s": len(chosen) / planned,
        "tokens_per_row": size / len(chosen),
    }  # fmt: skip


def differ(bench: Bench, setting: Setting) -> Line:
    """How far packs and padding move the logits of rows from those of each alone."""
    recipe, rows = bench.prepare(setting)
    with precision.autocast(recipe):
        packed, padded = compare_packs(bench.model.eval(), rows, 0)
    return {"packs_against_alone": packed, "padding_against_alone": padded}


def memory_after(bench: Bench, setting: Setting) -> Line:
    """Bytes of the device that a job keeps after its end, beside those that it took."""
    before = _used()
    call = pool.Call(work, (bench.large,))
    pool.run([pool.Task("job", (call,))], list_devices()[:1], "none")
    return {"kept_gb": (_used() - before) / 1e9}


def work(large: bool) -> None:
    """What a job does: a network is built, and one pack goes through it."""
    bench = Bench(large, _config(large), {}, devices.GPUS["a100-80gb"], 0.0)
    rows = [(number, 2, 3) for number in range(1, 33)]
    encoded = tokens.Encoded([(row,) for row in rows], np.arange(32), packed=True)
    with precision.autocast(Setting("QC").recipe(large)):
        logits(bench.engine.model, encoded, np.arange(32), 0).sum().backward()


MEASURES = {"train": train, "score": score, "packs": differ, "memory": memory_after}


def settings(gpu: bool) -> Iterator[tuple[str, Setting]]:
    """What is measured, the most telling first."""
    kernels = ("sdpa", "flex_attention") if gpu else ("sdpa", "eager")  # a CPU has no backward pass of FlexAttention
    compiled = (False, True) if gpu else (False,)  # nor a compiler that pays
    for measure, task, code in itertools.product(("train", "score"), TASKS, compiled):
        yield measure, Setting(task, compiled=code)
    for task in TASKS:
        yield "train", Setting(task, packing="rows", compiled=gpu)
    yield "memory", Setting("QC")
    for measure, kernel, width, task in itertools.product(("score", "train"), kernels, WIDTHS, TASKS):
        if (kernel, width) != ("sdpa", WIDTHS[0]):
            yield measure, Setting(task, kernel, width, compiled=gpu)
    for task, kernel in itertools.product(TASKS, kernels):
        yield "packs", Setting(task, kernel)


# -- devices ---------------------------------------------------------------------------------------------------------------


def _config(large: bool) -> PreTrainedConfig:
    """The true shape, or a narrow one as deep."""
    config = shapes.config(MODEL) if large else shapes.narrow(MODEL)
    config.num_labels, config.use_cache, config.pad_token_id = 2, False, 0
    config._attn_implementation = "sdpa"
    return config


def open_bench(minutes: float) -> Bench:
    """The network for this machine's device, and the rows of the sample."""
    gpu = torch.cuda.is_available()
    large = gpu and torch.cuda.get_device_properties(0).total_memory > ROOM
    if gpu:
        torch._dynamo.config.recompile_limit = 64  # one process computes in more ways here than any job does
        device, _ = devices.open_device("")
    else:
        torch.set_num_threads(1)
        device = devices.open_core(1)
    tables = {task: table for (_, task), table in read_sample(("train",)).items()}
    return Bench(large, _config(large), tables, device, time.monotonic() + 60 * minutes)


def _plan_step(bench: Bench, recipe: Recipe, size: float, micros: int) -> float:
    """Seconds of a step of so many tokens in so many micro-batches, as the plan has it."""
    largest = recipe.pack_tokens
    cost = pack_cost(recipe, bench.config, largest, 40, train=True)
    load = Load(micros, size, cost, largest, 1)
    return training_seconds(load, recipe, scale_host(measure_host(recipe), recipe, bench.device), bench.device)


def _used() -> float:
    """Bytes of the device in use by all processes; on a CPU unknown."""
    if not torch.cuda.is_available():
        return float("nan")
    free, total = torch.cuda.mem_get_info()
    return total - free


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak() -> float:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else float("nan")


# -- the command -----------------------------------------------------------------------------------------------------------


def measure(bench: Bench) -> Iterator[Line]:
    """A line for each setting; what fails says why, and what the time does not reach is said too."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    for kind, setting in settings(torch.cuda.is_available()):
        line = {"measure": kind, "device": name, **setting.__dict__}
        if time.monotonic() > bench.until:
            yield line | {"error": "left out, as the time was over; give it more --minutes"}
            continue
        try:
            figures = MEASURES[kind](bench, setting).items()
            yield line | {key: float(f"{value:.4g}") for key, value in figures if not math.isnan(value)}
        except Exception as error:  # one kernel may fail where the others work, and that is a result
            yield line | {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
        gc.collect()


def faster_from(lines: list[Line]) -> int | None:
    """The least width from which on FlexAttention scores more rows a second than sdpa; None where it never does."""
    scored = [line for line in lines if line["measure"] == "score" and "rows_per_s" in line]
    speed = {(line["width"], line["kernel"], line["task"]): line["rows_per_s"] for line in scored}
    wins = [
        width
        for width in WIDTHS
        if all(speed.get((width, "flex_attention", task), 0) > speed.get((width, "sdpa", task), 0) for task in TASKS)
    ]
    return next((width for width in wins if set(WIDTHS[WIDTHS.index(width) :]) <= set(wins)), None)


def print_tables(lines: list[Line]) -> None:
    """What was measured, a table for each kind, without columns that are the same in all its lines."""
    for kind in MEASURES:
        table = pd.DataFrame([line for line in lines if line["measure"] == kind]).drop(columns=["measure", "device"])
        constant = [name for name in table if len(table) > 1 and table[name].nunique(dropna=False) == 1]
        print(
            f"\n{kind}\n{table.drop(columns=constant).to_string(index=False, na_rep='', float_format='{:.3g}'.format)}"
        )


def main() -> None:
    """The command: measure, print lines and the table, and write the kernels' table if asked to."""
    parser = argparse.ArgumentParser(prog="python benchmarks/gpu.py", description="One GPU measured in ten minutes.")
    parser.add_argument("--minutes", type=float, default=10.0, help="after so many no further measurement begins")
    parser.add_argument("--write", action="store_true", help="put the faster kernels into utils/models/kernels.json")
    parser.add_argument("--out", type=Path, help="a file for the lines")
    arguments = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):
        bench = open_bench(arguments.minutes)
    shape = (
        f"the shape of {MODEL}" if bench.large else f"a narrow network, as deep as {MODEL}: no figure of a GPU of 80 GB"
    )
    print(json.dumps({"network": shape, "peak": bench.device.peak, "bandwidth": str(bench.device.bandwidth)}))
    lines = []
    for line in measure(bench):
        lines.append(line)
        print(json.dumps(line), flush=True)
    print_tables(lines)
    if arguments.out:
        arguments.out.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    if arguments.write and bench.large:
        attention.write_line(torch.cuda.get_device_name(), attention.head_size(bench.config), faster_from(lines))


if __name__ == "__main__":
    main()
