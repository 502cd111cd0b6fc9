"""Run by `test_plan`: train a packaged network on full packs in a process of its own; prints what the plan says and what was measured.

python tests/memory.py MODEL TOKENS      one JSON line: bytes planned, peak resident bytes above what imports and tokenizer took
"""

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from utils import models, profiles, shapes, weights
from utils.cost import Cost, pack_cost
from utils.recipe import Recipe
from utils.tokens import Encoded
from utils.train import Fit, fit

STEPS, ROW = 3, 32


def resident(kind: str) -> int:
    """Bytes that are resident (VmRSS), or were at the fullest moment (VmHWM); rusage would tell a larger parent's."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith(kind)).split()[1])


@dataclass(frozen=True)
class Packs:
    """Steps of one full pack each, made up of random tokens, for a packaged network."""

    recipe: Recipe
    base: Path
    encoded: Encoded
    row: int  # tokens of a sequence

    def network(self) -> nn.Module:
        return models.make_trainable(models.load_network(self.recipe, self.base), self.recipe)

    def train(self, network: nn.Module) -> Fit:
        label = np.arange(len(self.encoded.rows)) % 2
        with tempfile.TemporaryDirectory() as folder:
            return fit(network, self.encoded, label, self.recipe, 0, Path(folder), "", "", "none")

    def cost(self) -> Cost:
        return pack_cost(
            self.recipe, shapes.config(self.recipe.model), self.recipe.batch_rows * ROW, self.row, train=True
        )


def open_packs(name: str, tokens: int) -> Packs:
    recipe = next(rung for rung in profiles.LAPTOP.ladder if rung.model == name and rung.kind == "classifier")
    rows, towers = max(2, tokens // ROW), recipe.pooling == "towers"
    recipe = recipe.with_(batch_rows=rows, share_rows=1, pack_tokens=2 * tokens, lane_tokens=0, max_length=ROW)
    drawn = np.random.default_rng(0).integers(10, 200_000, (STEPS * rows, ROW)).tolist()
    cut = [(tuple(row[: ROW // 2]), tuple(row[ROW // 2 :])) if towers else (tuple(row),) for row in drawn]
    encoded = Encoded(cut, np.arange(len(cut)), causal=not towers)
    return Packs(recipe, weights.resolve(name), encoded, ROW // 2 if towers else ROW)


def main(name: str, tokens: int) -> None:
    packs = open_packs(name, tokens)
    models.load_tokenizer(packs.base)  # 0.3 GB of the host's memory, whatever the pack
    before = resident("VmRSS")
    network = packs.network()
    # Weights are mapped from their file: make all of them resident.
    sum(float(value.sum()) for value in network.parameters())
    packs.train(network)
    peak, planned = resident("VmHWM"), packs.cost()
    parts = {part: round(getattr(planned, part) / 1e6) for part in ("weights", "gradients", "optimizer", "activations")}
    print(json.dumps({"planned": planned.peak, "measured": peak - before, "before": before, "parts": parts}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
