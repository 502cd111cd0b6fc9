"""The plan's time and memory against the measured ones: networks trained on full packs of random tokens.

    python benchmarks/plan.py [--quick]             seconds a training row, one JSON object a line
    python benchmarks/plan.py --memory NAME TOKENS  bytes planned, and the peak that was resident, one JSON object

`ours` is the planned, `theirs` the measured figure: a ratio of 1 is an exact plan. The cases: the packaged networks, which
arithmetic binds, and a narrow Gemma of 24 layers, which the launching of operations binds; on one core, and on two at once.
"""

import argparse
import json
import multiprocessing as mp
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from utils.core.recipe import Recipe
from utils.models import build, shapes, trained, weights
from utils.models.zoo import ZOO
from utils.planning import devices
from utils.planning.cost import Cost, pack_cost
from utils.planning.timing import Load, measure_host, training_seconds
from utils.profiles.laptop import LAPTOP
from utils.training import engines
from utils.training.loop import FitResult, fit
from utils.training.tokens import Encoded

STEPS, ROW, TOKENS = 4, 32, 512
NARROW = "narrow-gemma"


@dataclass(frozen=True)
class Packs:
    """Steps of one full pack each, made up of random tokens, for a packaged network."""

    recipe: Recipe
    base: Path
    encoded: Encoded
    row: int  # tokens of a sequence

    def network(self) -> nn.Module:
        """The network as it is trained."""
        return trained.make_trainable(build.load_network(self.recipe, self.base), self.recipe)

    def train(self, network: nn.Module, steps: int = STEPS) -> FitResult:
        """Train it on the first steps."""
        count = steps * self.recipe.batch_rows
        rows = Encoded(self.encoded.rows[:count], self.encoded.group[:count], self.encoded.packed)
        label = np.arange(count) % 2
        with tempfile.TemporaryDirectory() as folder:
            return fit(engines.start(network, self.recipe), rows, label, self.recipe, 0, Path(folder), "", "", "none")

    def row_seconds(self, network: nn.Module) -> float:
        """Seconds of a training row: of all steps less those of one, so that what a training does once is left out."""
        start = time.perf_counter()
        self.train(network, 1)
        middle = time.perf_counter()
        self.train(network)
        once, whole = middle - start, time.perf_counter() - middle
        return (whole - once) / ((STEPS - 1) * self.recipe.batch_rows)

    def cost(self) -> Cost:
        """What the plan says of one pack."""
        config = shapes.config(self.recipe.model)
        return pack_cost(self.recipe, config, self.recipe.batch_rows * ROW, self.row, train=True)

    def planned_seconds(self, core: devices.Device) -> float:
        """What the plan says of one row, a pack being one step."""
        cost, host = self.cost(), measure_host(self.recipe)
        return training_seconds(Load(1, 1, cost, 1, 1), self.recipe, host, core) / self.recipe.batch_rows


def open_packs(name: str, tokens: int) -> Packs:
    """Packs of so many tokens for a packaged network as the laptop profile trains it, or for the narrow one."""
    model = "gemma-3-270m" if name == NARROW else name
    recipe = next(r for r in LAPTOP.candidates if r.model == model and r.kind == "classifier")
    rows, apart = max(2, tokens // ROW), recipe.architecture == "bi-encoder"
    recipe = recipe.with_(
        model=name, batch_rows=rows, share_rows=1, pack_tokens=2 * tokens, sequence_tokens=0, max_length=ROW
    )
    random = np.random.default_rng(0).integers(10, 200_000, (STEPS * rows, ROW)).tolist()
    parts = [(tuple(row[: ROW // 2]), tuple(row[ROW // 2 :])) if apart else (tuple(row),) for row in random]
    encoded = Encoded(parts, np.arange(len(parts)), packed=not apart)
    base = make_narrow() if name == NARROW else weights.resolve(name)
    return Packs(recipe, base, encoded, ROW // 2 if apart else ROW)


def make_narrow() -> Path:
    """A folder with a narrow Gemma of 24 layers, and its line in the zoo of this process."""
    true = ZOO["gemma-3-270m"]
    shape = true.shape | {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 24, "head_dim": 16}
    ZOO[NARROW] = replace(true, shape=shape, package=None)
    folder = Path(tempfile.mkdtemp())
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(shapes.config(NARROW)).save_pretrained(folder)
    build.load_tokenizer(weights.resolve("gemma-3-270m")).save_pretrained(folder)
    return folder


def compare_seconds(name: str, repetitions: int, workers: int) -> list[tuple[float, float]]:
    """Seconds of a row as planned and as measured, of one process beside others that do the same."""
    torch.set_num_threads(1)
    packs = open_packs(name, TOKENS)
    network = packs.network()
    packs.train(network)  # the first packs warm caches
    core = devices.open_core(1)
    return [(packs.planned_seconds(core), packs.row_seconds(network)) for _ in range(repetitions)]


def measure_time(name: str, repetitions: int, workers: int) -> dict[str, object]:
    """One line of the benchmark."""
    with mp.get_context("spawn").Pool(workers) as pool:
        runs = pool.starmap(compare_seconds, [(name, repetitions, workers)] * workers)
    pairs = [pair for run in runs for pair in run]
    ratios = [planned / measured for planned, measured in pairs]
    return {
        "name": "plan", "case": f"{name}, {workers} at once", "against": "measured", "ours": median(p for p, _ in pairs),
        "theirs": median(m for _, m in pairs), "ratio": median(ratios), "unit": "s/row", "repetitions": repetitions,
        "ratio_min": min(ratios), "ratio_max": max(ratios),
    }  # fmt: skip


def resident(kind: str) -> int:
    """Bytes that are resident (VmRSS), or were at the fullest moment (VmHWM); rusage would include a larger parent's."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith(kind)).split()[1])


def measure_memory(name: str, tokens: int) -> dict[str, object]:
    """Bytes planned, and the peak above what imports and tokenizer take."""
    packs = open_packs(name, tokens)
    build.load_tokenizer(packs.base)  # 0.3 GB of the host's memory, whatever the pack
    before = resident("VmRSS")
    network = packs.network()
    # Weights are mapped from their file: make all of them resident.
    sum(float(value.sum()) for value in network.parameters())
    packs.train(network)
    peak, planned = resident("VmHWM"), packs.cost()
    parts = {part: round(getattr(planned, part) / 1e6) for part in ("weights", "gradients", "optimizer", "activations")}
    return {"planned": planned.peak, "measured": peak - before, "before": before, "parts": parts}


def main() -> None:
    """The command: measure time, or memory with `--memory`, and print it."""
    parser = argparse.ArgumentParser(prog="python benchmarks/plan.py", description="Planned against measured figures.")
    parser.add_argument("--quick", action="store_true", help="two repetitions instead of five")
    parser.add_argument("--memory", nargs=2, metavar=("NAME", "TOKENS"), help="memory instead of time")
    options = parser.parse_args()
    if options.memory:
        print(json.dumps(measure_memory(options.memory[0], int(options.memory[1]))))
        return
    for name in ("multilingual-e5-small", "gemma-3-270m", NARROW):
        for workers in (1, 2):
            print(json.dumps(measure_time(name, 2 if options.quick else 5, workers)), flush=True)


if __name__ == "__main__":
    main()
