"""Run by `test_ranks` under torchrun: a network under ZeRO-3 on two ranks, trained and scored, is never whole on a device.

python tests/training/shards.py FOLDER      rank 0 writes FOLDER/shards.json: what a rank held, and the logits of all ranks
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from ranks import ROWS, network
from torch import nn

from utils.core.recipe import Recipe
from utils.training import engines
from utils.training.predict import predict_log_odds
from utils.training.tokens import Encoded

RECIPE = Recipe("tiny", "gemma", zero_stage=3)
ENCODED = Encoded([(row,) for row in ROWS], np.arange(len(ROWS)), packed=True)


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("the network went to the device as a whole")


def held(model: nn.Module) -> dict[str, int]:
    """Elements of the network, of a rank's shards, and of what the rank holds whole between two forward passes."""
    values = list(model.parameters())
    return {
        "all": sum(value.ds_numel for value in values),
        "shards": sum(value.ds_tensor.numel() for value in values),
        "whole": sum(value.numel() for value in values),
    }


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    trained, scored = network(), network().requires_grad_(False)
    nn.Module.to = refuse
    engine = engines.start(trained, RECIPE)
    odds = predict_log_odds(engine.model.eval(), ENCODED, 24, 0, "", "none")
    engine.backward(engine.model.train()(input_ids=torch.tensor([ROWS[0]])).logits.sum(), last=True)  # after scoring
    result = {"train": held(trained)}
    with engines.scoring(scored, RECIPE) as scorer:
        shared = predict_log_odds(scorer, ENCODED, 24, 0, "", "none", share=True)
        result["score"] = held(scorer)
    if dist.get_rank() == 0:
        content = result | {"odds": odds.tolist(), "shared": shared.tolist()}
        (folder / "shards.json").write_text(json.dumps(content))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
