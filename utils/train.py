"""The only loop over batches that trains: laid-out steps, AdamW, checkpoints in safetensors, exact resumption."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from utils.files import write_with
from utils.forward import check_packs, logits
from utils.models import device
from utils.packing import Rows, training_steps
from utils.progress import Progress, Style
from utils.recipe import Recipe
from utils.tokens import Encoded

CHECKPOINT = "checkpoint.safetensors"
BLOCK = 10  # steps whose mean loss makes one point of the log
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Fit:
    """What a training run did: its loss log (`step, loss, rows_per_s`) and its steps."""

    log: pd.DataFrame
    steps: int
    rows: int
    rows_per_s: float


def learning_rate(step: int, total: int, recipe: Recipe) -> float:
    """Linear warm-up, then a linear fall to zero or a constant rate."""
    warm = max(1, math.ceil(total * recipe.warmup))
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    return recipe.learning_rate * ((total - step) / max(1, total - warm) if recipe.schedule == "linear" else 1.0)


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """The head is new and small: it learns faster than what is pretrained (Howard and Ruder 2018, section 3.2)."""
    head = [parameter for name, parameter in _trained(model).items() if "score" in name]
    rest = [parameter for name, parameter in _trained(model).items() if "score" not in name]
    return [{"params": rest, "scale": 1.0}, {"params": head, "scale": recipe.head_rate}]


def _save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, tag: str, log: list) -> None:
    """Trained parameters and AdamW's moments in one safetensors file; step, tag and log are its metadata."""
    tensors = {}
    for name, parameter in _trained(model).items():
        tensors[f"value.{name}"] = parameter.detach().cpu().contiguous()
        for moment in MOMENTS:
            tensors[f"{moment}.{name}"] = optimizer.state[parameter][moment].cpu().contiguous()
    facts = {"step": str(step), "tag": tag, "log": json.dumps(log)}
    write_with(path, lambda temporary: save_file(tensors, temporary, metadata=facts))


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, tag: str) -> tuple[int, list]:
    """Put a checkpoint of the same run back; step 0 where there is none, or one of another recipe or data."""
    if not path.exists():
        return 0, []
    with safe_open(path, "pt") as file:
        facts = file.metadata()
        if facts["tag"] != tag:
            return 0, []
        step = int(facts["step"])
        for name, parameter in _trained(model).items():
            parameter.data.copy_(file.get_tensor(f"value.{name}"))
            state: dict[str, Tensor] = {
                moment: file.get_tensor(f"{moment}.{name}").to(parameter.device) for moment in MOMENTS
            }
            optimizer.state[parameter] = {"step": torch.tensor(float(step), device=parameter.device), **state}
    return step, json.loads(facts["log"])


def _backward(
    model: nn.Module, rows: Encoded, answers: Tensor, micros: list[Rows], seed: int, pad_id: int, accelerator: Accelerator
) -> float:  # fmt: skip
    """Gradients of one step's mean loss over all its rows; every micro-batch draws its dropout from its own seed."""
    size, total = sum(map(len, micros)), 0.0
    for place, micro in enumerate(micros):
        torch.manual_seed(seed + place)
        with accelerator.autocast():
            scores = logits(model, rows, micro, pad_id)
        loss = cross_entropy(scores, answers[micro].to(scores.device), reduction="sum") / size
        accelerator.backward(loss)
        total += loss.item()
    return total


def fit(
    model: nn.Module, rows: Encoded, label: np.ndarray, recipe: Recipe, pad_id: int, folder: Path,
    tag: str, title: str, style: Style = "bar", save_seconds: float = 120.0, stop_at: int | None = None,
) -> Fit:  # fmt: skip
    """Train in place what `make_trainable` chose; the loss of a step is the mean over all its rows.

    A checkpoint is kept in `folder` every `save_seconds` and taken up again if its `tag` (the fingerprint) is the same:
    the weights end as those of an uninterrupted run, as every micro-batch draws its dropout from its own seed. `stop_at`
    ends after so many steps and leaves a checkpoint, as an interruption would. Raises ValueError if the loss is not finite.
    """
    steps = training_steps(rows, recipe)
    half = recipe.precision == "bfloat16" and torch.cuda.is_available()
    accelerator = Accelerator(cpu=device().type == "cpu", mixed_precision="bf16" if half else "no")
    model.to(accelerator.device)
    if rows.causal:
        check_packs(model.eval(), rows, pad_id)
    model.train()
    parameters = list(_trained(model).values())
    optimizer = torch.optim.AdamW(_groups(model, recipe), weight_decay=recipe.weight_decay, fused=True)
    start, log = _resume(folder / CHECKPOINT, model, optimizer, tag)
    answers = torch.tensor(label, dtype=torch.long)
    total = sum(len(micro) for step in steps for micro in step)
    block: list[float] = []
    saved = time.monotonic()
    with Progress(title, total - sum(len(m) for s in steps[:start] for m in s), "rows", style) as progress:
        for number in range(start, len(steps)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(number, len(steps), recipe) * group["scale"]
            loss = _backward(
                model, rows, answers, steps[number], recipe.seed * 1_000_003 + number * 1009, pad_id, accelerator
            )
            if not math.isfinite(loss):
                rate = f"lower learning_rate ({recipe.learning_rate})"
                raise ValueError(f"{title}: the loss is {loss} in step {number + 1}; {rate}")
            torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            block.append(loss)
            if len(block) == BLOCK or number + 1 == len(steps):
                log.append({"step": number + 1, "loss": float(np.mean(block)), "rows_per_s": round(progress.rate, 1)})
                block = []
            progress.add(sum(map(len, steps[number])), f"loss {log[-1]['loss']:.3f}" if log else "")
            if number + 1 == stop_at or (time.monotonic() - saved > save_seconds and not block):
                _save(folder / CHECKPOINT, model, optimizer, number + 1, tag, log)
                saved = time.monotonic()
            if number + 1 == stop_at:
                break
        rate = progress.rate
    return Fit(pd.DataFrame(log, columns=["step", "loss", "rows_per_s"]), len(steps), total, rate)


def clear_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a run whose result is kept."""
    (folder / CHECKPOINT).unlink(missing_ok=True)
