"""Run by `test_plan`: train a packaged network on full packs in a process of its own; prints what the plan says and what was measured.

python tests/memory.py MODEL TOKENS      one JSON line: bytes planned, peak resident bytes above what imports and tokenizer took
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from utils import models, profiles, shapes, weights
from utils.cost import pack_cost
from utils.tokens import Encoded
from utils.train import fit

STEPS, ROW = 3, 32


def resident(kind: str) -> int:
    """Bytes that are resident (VmRSS), or were at the fullest moment (VmHWM); rusage would tell a larger parent's."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith(kind)).split()[1])


def main(name: str, tokens: int) -> None:
    recipe = next(rung for rung in profiles.LAPTOP.ladder if rung.model == name and rung.kind == "classifier")
    rows = max(2, tokens // ROW)
    recipe = recipe.with_(batch_rows=rows, share_rows=1, pack_tokens=2 * tokens, lane_tokens=0, max_length=ROW)
    rng = np.random.default_rng(0)
    towers = recipe.pooling == "towers"
    drawn = rng.integers(10, 200_000, (STEPS * rows, ROW))
    cut = [(tuple(row[: ROW // 2]), tuple(row[ROW // 2 :])) if towers else (tuple(row),) for row in drawn.tolist()]
    encoded = Encoded(cut, np.arange(len(cut)), causal=not towers)
    label = np.arange(len(cut)) % 2
    base = weights.resolve(name)
    models.load_tokenizer(base)  # 0.3 GB of the host's memory, whatever the pack
    before = resident("VmRSS")
    network = models.make_trainable(models.load_network(recipe, base), recipe)
    sum(
        float(value.sum()) for value in network.parameters()
    )  # weights are mapped from their file: make all of them resident
    with tempfile.TemporaryDirectory() as folder:
        fit(network, encoded, label, recipe, 0, Path(folder), "", "", "none")
    peak = resident("VmHWM")
    planned = pack_cost(recipe, shapes.config(name), rows * ROW, ROW // 2 if towers else ROW, train=True)
    parts = {part: round(getattr(planned, part) / 1e6) for part in ("weights", "gradients", "optimizer", "activations")}
    print(json.dumps({"planned": planned.peak, "measured": peak - before, "before": before, "parts": parts}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
