"""The plan's time and memory against the measured ones: a packaged network trained on full packs of random tokens.

    python benchmarks/plan.py [--quick]             a core's seconds a training row, one JSON object a line
    python benchmarks/plan.py --memory NAME TOKENS  bytes planned, and the peak that was resident, one JSON object

`ours` is the planned, `theirs` the measured figure: a ratio of 1 is an exact plan. Time is a core's, on one thread, as jobs side by side
have it: other programs hardly count.
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn

from utils.core.recipe import Recipe
from utils.models import build, shapes, trained, weights
from utils.planning import devices
from utils.planning.cost import Cost, pack_cost
from utils.profiles.laptop import LAPTOP
from utils.training.loop import FitResult, fit
from utils.training.tokens import Encoded

STEPS, ROW, TOKENS = 4, 32, 512


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
            return fit(network, rows, label, self.recipe, 0, Path(folder), "", "", "none")

    def row_seconds(self, network: nn.Module) -> float:
        """A core's seconds of a training row: of all steps less those of one, so that what a training does once is left out."""
        start = time.process_time()
        self.train(network, 1)
        middle = time.process_time()
        self.train(network)
        once, whole = middle - start, time.process_time() - middle
        return (whole - once) / ((STEPS - 1) * self.recipe.batch_rows)

    def cost(self) -> Cost:
        """What the plan says of one pack."""
        config = shapes.config(self.recipe.model)
        return pack_cost(self.recipe, config, self.recipe.batch_rows * ROW, self.row, train=True)


def open_packs(name: str, tokens: int) -> Packs:
    """Packs of so many tokens for a candidate of the laptop profile."""
    recipe = next(r for r in LAPTOP.candidates if r.model == name and r.kind == "classifier")
    rows, apart = max(2, tokens // ROW), recipe.architecture == "bi-encoder"
    recipe = recipe.with_(batch_rows=rows, share_rows=1, pack_tokens=2 * tokens, sequence_tokens=0, max_length=ROW)
    random = np.random.default_rng(0).integers(10, 200_000, (STEPS * rows, ROW)).tolist()
    parts = [(tuple(row[: ROW // 2]), tuple(row[ROW // 2 :])) if apart else (tuple(row),) for row in random]
    encoded = Encoded(parts, np.arange(len(parts)), packed=not apart)
    return Packs(recipe, weights.resolve(name), encoded, ROW // 2 if apart else ROW)


def measure_time(name: str, repetitions: int) -> dict[str, object]:
    """One line of the benchmark."""
    packs = open_packs(name, TOKENS)
    network = packs.network()
    packs.train(network)  # the first packs warm caches
    seconds = [packs.row_seconds(network) for _ in range(repetitions)]
    planned = packs.cost().flops / (devices.ON_CPU * devices.measure_core(1)) / packs.recipe.batch_rows
    ratios = [planned / measured for measured in seconds]
    return {
        "name": "plan", "case": name, "against": "measured", "ours": planned, "theirs": median(seconds), "ratio": median(ratios),
        "unit": "s/row", "repetitions": repetitions, "ratio_min": min(ratios), "ratio_max": max(ratios),
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
    torch.set_num_threads(1)
    for name in ("multilingual-e5-small", "gemma-3-270m"):
        print(json.dumps(measure_time(name, 2 if options.quick else 5)), flush=True)


if __name__ == "__main__":
    main()
