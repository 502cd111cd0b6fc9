"""The only loop over batches that trains: laid-out steps, checkpoints in safetensors, exact resumption, one process or many."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from utils import engines, ranks
from utils.engines import Engine, Tensors
from utils.files import write_with
from utils.forward import check_packs, logits
from utils.models import autocast, device
from utils.packing import Rows, training_steps
from utils.progress import Progress, Style
from utils.recipe import Recipe
from utils.tokens import Encoded

CHECKPOINT = "checkpoint.safetensors"
BLOCK = 10  # steps whose mean loss makes one point of the log
SEEN, TIMES = "seen", "times"  # in a checkpoint: which process has computed which row, and how often


@dataclass(frozen=True)
class Fit:
    """What a training run did: its loss log (`step, loss, rows_per_s`), what was trained, and on what.

    `seen` `[epochs, rows]` holds the number, from 1, of the process that computed a row; `times` how many did.
    """

    log: pd.DataFrame
    steps: int
    rows: int
    rows_per_s: float
    engine: str
    world: int
    trained: Tensors
    seen: Tensor
    times: Tensor


def learning_rate(step: int, total: int, recipe: Recipe) -> float:
    """Linear warm-up, then a linear fall to zero or a constant rate."""
    warm = max(1, math.ceil(total * recipe.warmup))
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    return recipe.learning_rate * ((total - step) / max(1, total - warm) if recipe.schedule == "linear" else 1.0)


@dataclass
class _Record:
    """Which process has computed which row in which epoch, and how often: what proves that ranks share the work."""

    seen: Tensor  # [epochs, rows] the process's number, from 1
    times: Tensor  # [epochs, rows]

    def note(self, epoch: int, rows: Rows) -> None:
        self.seen[epoch, rows] = ranks.rank() + 1
        self.times[epoch, rows] += 1

    def together(self) -> "_Record":
        """Of all processes."""
        return _Record(ranks.add_up(self.seen.clone()), ranks.add_up(self.times.clone()))


def _save(path: Path, engine: Engine, step: int, tag: str, log: list, record: _Record) -> None:
    """Trained parameters and AdamW's moments in one safetensors file; step, tag and log are its metadata."""
    tensors, whole = engine.state(), record.together()
    if ranks.first():
        facts = {"step": str(step), "tag": tag, "log": json.dumps(log)}
        kept = {**tensors, SEEN: whole.seen, TIMES: whole.times}
        write_with(path, lambda temporary: save_file(kept, temporary, metadata=facts))
    ranks.wait()


def _open_checkpoint(path: Path, tag: str) -> tuple[int, list, Tensors]:
    """Step, log and tensors of a checkpoint of the same run; step 0 where there is none, or one of another recipe or data."""
    if not path.exists():
        return 0, [], {}
    with safe_open(path, "pt") as file:
        facts = file.metadata()
        if facts["tag"] != tag:
            return 0, [], {}
        return int(facts["step"]), json.loads(facts["log"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@dataclass
class _Loop:
    """A run that is laid out: what each step computes, and who has computed it."""

    model: nn.Module
    engine: Engine
    rows: Encoded
    answers: Tensor
    recipe: Recipe
    pad_id: int
    title: str
    steps: list[list[Rows]]
    epochs: list[int]  # of each step
    record: _Record

    def step(self, number: int) -> float:
        """One optimizer step; returns its loss. Raises ValueError or RuntimeError with the mend where it cannot be done."""
        for group in self.engine.groups:
            group["lr"] = learning_rate(number, len(self.steps), self.recipe) * group["scale"]
        try:
            loss = self._backward(number)
        except torch.OutOfMemoryError as error:
            mend = f"lower pack_tokens ({self.recipe.pack_tokens}), or set checkpointing, quantisation or zero_stage"
            raise RuntimeError(f"{self.title}: out of memory in step {number + 1}; {mend}") from error
        if not math.isfinite(loss):
            rate = f"lower learning_rate ({self.recipe.learning_rate})"
            raise ValueError(f"{self.title}: the loss is {loss} in step {number + 1}; {rate}")
        self.engine.step()
        return loss

    def _backward(self, number: int) -> float:
        """Gradients of a step's mean loss over all its rows; every micro-batch draws its dropout from its own seed.

        Processes take the micro-batches in turn. One that has none left computes a row of weight 0, as the engines
        wait for one another.
        """
        micros, total = self.steps[number], torch.zeros(1, dtype=torch.float64)
        size, turns = sum(map(len, micros)), -(-len(micros) // ranks.world())
        for turn in range(turns):
            place = turn * ranks.world() + ranks.rank()
            own = place < len(micros)
            micro = micros[place] if own else micros[0][:1]
            torch.manual_seed(self.recipe.seed * 1_000_003 + number * 1009 + place)
            with autocast(self.recipe):
                scores = logits(self.model, self.rows, micro, self.pad_id)
            loss = cross_entropy(scores, self.answers[micro].to(scores.device), reduction="sum") / size * own
            self.engine.backward(loss, last=turn + 1 == turns)
            total += loss.item()
            if own:
                self.record.note(self.epochs[number], micro)
        return ranks.add_up(total).item()

    def size(self, first: int, last: int) -> int:
        """Rows of the steps from `first` up to `last`."""
        return sum(len(micro) for step in self.steps[first:last] for micro in step)


def _open_loop(
    model: nn.Module, rows: Encoded, label: np.ndarray, recipe: Recipe, pad_id: int, title: str, state: Tensors, start: int
) -> _Loop:  # fmt: skip
    """Lay a run out, and put the network where a checkpoint left it."""
    steps = training_steps(rows, recipe, ranks.world())
    ends = np.cumsum([sum(map(len, step)) for step in steps])
    epochs = ((ends - 1) // max(1, len(rows.rows))).tolist()
    if state:  # before the engine is made: ZeRO takes its parts from what it finds
        for name, parameter in engines.trained(model).items():
            parameter.data.copy_(state[f"value.{name}"])
    engine = engines.start(model.train(), recipe)
    if state:
        engine.restore(state, start)
    record = _open_record(state, max(epochs, default=0) + 1, len(rows.rows))
    answers = torch.tensor(label, dtype=torch.long)
    return _Loop(model, engine, rows, answers, recipe, pad_id, title, steps, epochs, record)


def _open_record(state: Tensors, epochs: int, rows: int) -> _Record:
    """What was seen before an interruption; the first process keeps it for all."""
    if not state or not ranks.first():
        return _Record(*(torch.zeros(epochs, rows, dtype=torch.int32) for _ in range(2)))
    return _Record(state[SEEN], state[TIMES])


def fit(
    model: nn.Module, rows: Encoded, label: np.ndarray, recipe: Recipe, pad_id: int, folder: Path,
    tag: str, title: str, style: Style = "bar", save_seconds: float = 120.0, stop_at: int | None = None,
) -> Fit:  # fmt: skip
    """Train in place what `make_trainable` chose; the loss of a step is the mean over all its rows, over all processes.

    A checkpoint is kept in `folder` every `save_seconds` and taken up again if its `tag` (the fingerprint) is the same:
    the weights end as those of an uninterrupted run, as every micro-batch draws its dropout from its own seed. `stop_at`
    ends after so many steps and leaves a checkpoint, as an interruption would. Raises ValueError if the loss is not finite,
    RuntimeError where the memory does not hold a step.
    """
    model.to(device())
    if rows.causal:
        with autocast(recipe):
            check_packs(model.eval(), rows, pad_id)
    start, log, state = _open_checkpoint(folder / CHECKPOINT, tag)
    loop = _open_loop(model, rows, label, recipe, pad_id, title, state, start)
    count, block, saved = len(loop.steps), list[float](), time.monotonic()
    with Progress(title, loop.size(start, count), "rows", style if ranks.first() else "none") as progress:
        for number in range(start, count if stop_at is None else min(stop_at, count)):
            block.append(loop.step(number))
            if len(block) == BLOCK or number + 1 == count:
                log.append({"step": number + 1, "loss": float(np.mean(block)), "rows_per_s": round(progress.rate, 1)})
                block.clear()
            progress.add(loop.size(number, number + 1), f"loss {log[-1]['loss']:.3f}" if log else "")
            due = not block and ranks.follow(time.monotonic() - saved > save_seconds)
            if due or number + 1 == stop_at:
                _save(folder / CHECKPOINT, loop.engine, number + 1, tag, log, loop.record)
                saved = time.monotonic()
        rate = progress.rate
    whole, table = loop.record.together(), pd.DataFrame(log, columns=["step", "loss", "rows_per_s"])
    engine, total = loop.engine, loop.size(0, count)
    return Fit(table, count, total, rate, engine.name, ranks.world(), engine.values(), whole.seen, whole.times)


def clear_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a run whose result is kept."""
    (folder / CHECKPOINT).unlink(missing_ok=True)
