"""The training loop: planned steps, checkpoints in safetensors, exact resumption, in one process or many."""

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
from torch import Tensor
from torch.nn.functional import cross_entropy

from utils.core.files import write_with
from utils.core.progress import Progress, Style
from utils.core.recipe import Recipe
from utils.models.precision import autocast, device
from utils.models.trained import Tensors
from utils.training import ranks
from utils.training.engines import Engine
from utils.training.forward import check_packs, logits
from utils.training.packing import training_steps
from utils.training.tokens import Encoded
from utils.training.tries import Rows

CHECKPOINT = "checkpoint.safetensors"
BLOCK = 10  # steps whose losses are read at once, as reading waits for the device, and make one row of the log
SEEN, TIMES = "seen", "times"  # tensors of a checkpoint: which process computed which row, and how often


@dataclass(frozen=True)
class FitResult:
    """The result of a training: its loss log (`step, loss, rows_per_s`), the trained parameters, and how it ran.

    `steps` counts optimizer steps and `rows` the rows of all epochs. `seen` `[epochs, rows]` holds the number, from 1, of the
    process that computed a row (0 = none), `times` `[epochs, rows]` how often it was computed. `world` is the number of
    processes.
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
    """The learning rate of step `step` of `total`: linear warm-up, then linear decay to zero or a constant rate."""
    warm = max(1, math.ceil(total * recipe.warmup))
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    return recipe.learning_rate * ((total - step) / max(1, total - warm) if recipe.schedule == "linear" else 1.0)


@dataclass
class _Record:
    """Which process computed which row in which epoch, and how often: evidence that the ranks share the work."""

    seen: Tensor  # [epochs, rows] the process's number, from 1
    times: Tensor  # [epochs, rows]

    def note(self, epoch: int, rows: Rows) -> None:
        """Record that this process has computed rows of an epoch."""
        self.seen[epoch, rows] = ranks.rank() + 1
        self.times[epoch, rows] += 1

    def together(self) -> "_Record":
        """The record of all processes."""
        return _Record(ranks.all_reduce_sum(self.seen.clone()), ranks.all_reduce_sum(self.times.clone()))


def _save(path: Path, engine: Engine, step: int, tag: str, log: list, record: _Record) -> None:
    """Write trained parameters, AdamW's moments and the record as safetensors; step, tag and log are the metadata."""
    tensors, whole = engine.state(), record.together()
    if ranks.is_main():
        metadata = {"step": str(step), "tag": tag, "log": json.dumps(log)}
        tensors |= {SEEN: whole.seen, TIMES: whole.times}
        write_with(path, lambda temporary: save_file(tensors, temporary, metadata=metadata))
    ranks.barrier()


def _open_checkpoint(path: Path, tag: str) -> tuple[int, list, Tensors]:
    """Step, log and tensors of a checkpoint with this tag; step 0 and nothing where there is none, or one with another tag."""
    if not path.exists():
        return 0, [], {}
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        if metadata["tag"] != tag:
            return 0, [], {}
        return int(metadata["step"]), json.loads(metadata["log"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@dataclass
class _Loop:
    """A training: its engine with the network, the rows of each step, and the record of what was computed."""

    engine: Engine
    rows: Encoded
    labels: Tensor
    recipe: Recipe
    pad_id: int
    title: str
    steps: list[list[Rows]]
    epochs: list[int]  # of each step
    record: _Record

    def step(self, number: int) -> Tensor:
        """One optimizer step; returns this process's share of its loss, `[1]` on the device, which nobody waits for.

        Raises RuntimeError where the step does not fit the memory.
        """
        for group in self.engine.groups:
            group["lr"] = learning_rate(number, len(self.steps), self.recipe) * group["scale"]
        try:
            loss = self._backward(number)
        except torch.OutOfMemoryError as error:
            remedy = f"lower pack_tokens ({self.recipe.pack_tokens}), or set checkpointing, quantisation or zero_stage"
            raise RuntimeError(f"{self.title}: out of memory in step {number + 1}; {remedy}") from error
        self.engine.step()
        return loss

    def read(self, losses: list[Tensor], last: int) -> list[float]:
        """The losses of some steps, the last of which is number `last`, over all processes.

        Raises ValueError where one is not finite.
        """
        values = ranks.all_reduce_sum(torch.cat(losses).cpu()).tolist()
        for number, loss in enumerate(values, start=last - len(values) + 1):
            if not math.isfinite(loss):
                remedy = f"lower learning_rate ({self.recipe.learning_rate})"
                if self.recipe.precision == "float16":
                    remedy += ", or leave the model out: it may exceed the range of 16 bits"
                raise ValueError(f"{self.title}: the loss is {loss} in step {number + 1}; {remedy}")
        return values

    def _backward(self, number: int) -> Tensor:
        """Compute the gradients of a step's mean loss over all its rows; returns this process's share of that loss.

        Processes take the micro-batches in turn, and every micro-batch draws its dropout from its own seed. A process that
        has none left computes one row of weight 0, as the processes wait for one another.
        """
        micros, total = self.steps[number], torch.zeros(1, dtype=torch.float64, device=device())
        size, turns = sum(map(len, micros)), -(-len(micros) // ranks.world())
        for turn in range(turns):
            position = turn * ranks.world() + ranks.rank()
            own = position < len(micros)
            micro = micros[position] if own else micros[0][:1]
            torch.manual_seed(self.recipe.seed * 1_000_003 + number * 1009 + position)
            with autocast(self.recipe):
                scores = logits(self.engine.model, self.rows, micro, self.pad_id)
            loss = cross_entropy(scores, self.labels[micro].to(scores.device), reduction="sum") / size * own
            self.engine.backward(loss, last=turn + 1 == turns)
            total += loss.detach().double()
            if own:
                self.record.note(self.epochs[number], micro)
        return total

    def size(self, first: int, last: int) -> int:
        """Number of rows of the steps from `first` up to, not including, `last`."""
        return sum(len(micro) for step in self.steps[first:last] for micro in step)


def _open_loop(
    engine: Engine, rows: Encoded, label: np.ndarray, recipe: Recipe, pad_id: int, title: str, state: Tensors, start: int
) -> _Loop:  # fmt: skip
    """Plan the steps of a training, and load the state of a checkpoint where there is one."""
    steps = training_steps(rows, recipe, ranks.world())
    ends = np.cumsum([sum(map(len, step)) for step in steps])
    epochs = ((ends - 1) // max(1, len(rows.rows))).tolist()
    if state:
        engine.restore(state, start)
    record = _open_record(state, max(epochs, default=0) + 1, len(rows.rows))
    labels = torch.tensor(label, dtype=torch.long)
    engine.model.train()
    return _Loop(engine, rows, labels, recipe, pad_id, title, steps, epochs, record)


def _open_record(state: Tensors, epochs: int, rows: int) -> _Record:
    """The record of a checkpoint, held by the first process for all; an empty one in the others or without a checkpoint."""
    if not state or not ranks.is_main():
        return _Record(*(torch.zeros(epochs, rows, dtype=torch.int32) for _ in range(2)))
    return _Record(state[SEEN], state[TIMES])


def fit(
    engine: Engine, rows: Encoded, label: np.ndarray, recipe: Recipe, pad_id: int, folder: Path,
    tag: str, title: str, style: Style = "bar", save_seconds: float = 120.0, stop_at: int | None = None,
) -> FitResult:  # fmt: skip
    """Train an engine's network in place, on rows with `label` `[rows]`; a step's loss is the mean over all its rows.

    A checkpoint is written to `folder` every `save_seconds`, and a training with the same `tag` (the fingerprint) continues
    from it: the weights end as those of an uninterrupted run, as every micro-batch draws its dropout from its own seed.
    `stop_at` ends the training after so many steps with a checkpoint, as an interruption would. Raises ValueError if the
    loss is not finite or a row is longer than a pack, RuntimeError if a step does not fit the memory or packs are misread.
    """
    if rows.packed:
        with autocast(recipe):
            check_packs(engine.model.eval(), rows, pad_id)
    start, log, state = _open_checkpoint(folder / CHECKPOINT, tag)
    loop = _open_loop(engine, rows, label, recipe, pad_id, title, state, start)
    count, block, saved = len(loop.steps), list[Tensor](), time.monotonic()
    with Progress(title, loop.size(start, count), "rows", style if ranks.is_main() else "none") as progress:
        for number in range(start, count if stop_at is None else min(stop_at, count)):
            block.append(loop.step(number))
            if len(block) == BLOCK or number + 1 in (count, stop_at):
                mean = float(np.mean(loop.read(block, number)))
                log.append({"step": number + 1, "loss": mean, "rows_per_s": round(progress.rate, 1)})
                block.clear()
            progress.add(loop.size(number, number + 1), f"loss {log[-1]['loss']:.3f}" if log else "")
            due = not block and ranks.broadcast_decision(time.monotonic() - saved > save_seconds)
            if due or number + 1 == stop_at:
                _save(folder / CHECKPOINT, loop.engine, number + 1, tag, log, loop.record)
                saved = time.monotonic()
        rate = progress.rate
    whole, table = loop.record.together(), pd.DataFrame(log, columns=["step", "loss", "rows_per_s"])
    total = loop.size(0, count)
    return FitResult(table, count, total, rate, engine.name, ranks.world(), engine.values(), whole.seen, whole.times)


def clear_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a training whose result is saved."""
    (folder / CHECKPOINT).unlink(missing_ok=True)
