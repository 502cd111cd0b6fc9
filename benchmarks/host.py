"""The host's time of an optimizer step: our training loop against a plain loop of PyTorch and peft.

    python benchmarks/host.py [--quick]      one JSON object

Both train the narrow copy of Gemma-3-12B, 48 layers under LoRA, on the same steps of eight short rows, so that launching
operations is all there is to do: ours as packs through `training.loop.fit`, the rival as padded rows through the unmodified
transformers class, with the same optimizer, clipping and learning rates. `ours` and `theirs` are seconds of processor time a step.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSequenceClassification

from utils.core.recipe import Recipe
from utils.models import shapes, trained
from utils.models.decoders import decoder_class
from utils.training import engines
from utils.training.loop import fit
from utils.training.packing import pad, training_steps
from utils.training.tokens import Encoded

MODEL, STEPS, ROWS = "gemma-3-12b", 12, 8
RECIPE = Recipe("host", "gemma", MODEL, pooling="last", batch_rows=ROWS, pack_tokens=512)


def make_rows(steps: int) -> Encoded:
    """Rows that share nothing, for so many steps."""
    random = np.random.default_rng(0).integers(1, shapes.WORDS, (steps * ROWS, 6)).tolist()
    return Encoded([(tuple(row),) for row in random], np.arange(len(random)), packed=True)


def make_network(stock: bool) -> nn.Module:
    """The narrow network under LoRA, of our class or of transformers' own."""
    config = shapes.narrow(MODEL)
    config.num_labels, config.use_cache, config.pad_token_id, config._attn_implementation = 2, False, 0, "sdpa"
    torch.manual_seed(0)
    build = AutoModelForSequenceClassification.from_config if stock else decoder_class(config)
    return trained.make_trainable(build(config), RECIPE)


def our_seconds(network: nn.Module, steps: int) -> float:
    """Processor seconds of so many steps of our loop."""
    rows, engine = make_rows(steps), engines.start(network, RECIPE)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        fit(engine, rows, np.arange(len(rows.rows)) % 2, RECIPE, 0, Path(folder), "", "", "none")
    return time.process_time() - start


def plain_seconds(network: nn.Module, steps: int) -> float:
    """Processor seconds of so many steps of a plain loop."""
    rows, network = make_rows(steps), network.train()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RECIPE.learning_rate, weight_decay=RECIPE.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    start = time.process_time()
    for step in training_steps(rows, RECIPE):
        chosen = np.concatenate(step)
        batch, label = pad([rows.rows[row][0] for row in chosen], 0), torch.from_numpy(chosen % 2)
        loss = cross_entropy(network(**batch).logits.float(), label)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, RECIPE.clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
    return time.process_time() - start


def per_step(seconds: list[float]) -> float:
    """Seconds of a step, from those of one step and those of all: what a training does once is left out."""
    return (seconds[1] - seconds[0]) / (STEPS - 1)


def main() -> None:
    """The command: both in turn, and their ratio."""
    parser = argparse.ArgumentParser(prog="python benchmarks/host.py", description="The host's time of a step.")
    parser.add_argument("--quick", action="store_true", help="two repetitions instead of nine")
    repetitions = 2 if parser.parse_args().quick else 9
    torch.set_num_threads(1)
    ours, plain, pairs = make_network(stock=False), make_network(stock=True), []
    our_seconds(ours, 1), plain_seconds(plain, 1)  # warm up
    for _ in range(repetitions):
        pairs.append(
            (
                per_step([our_seconds(ours, steps) for steps in (1, STEPS)]),
                per_step([plain_seconds(plain, steps) for steps in (1, STEPS)]),
            )
        )
    ratios = [one / other for one, other in pairs]
    line = {
        "name": "host", "case": "narrow-48-layers", "against": "plain", "ours": median(one for one, _ in pairs),
        "theirs": median(other for _, other in pairs), "ratio": median(ratios), "unit": "s/step", "repetitions": repetitions,
        "ratio_min": min(ratios), "ratio_max": max(ratios),
    }  # fmt: skip
    print(json.dumps(line))


if __name__ == "__main__":
    main()
