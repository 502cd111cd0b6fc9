"""How long steps take on a machine that works on several of their jobs at once."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from utils.planning.cost import Cost


@dataclass(frozen=True)
class Step:
    """One line of the plan. Tokens and work (FLOP) are of all its folds, training and scoring; memory of one process."""

    notebook: str
    name: str
    task: str
    rows: int  # training rows times epochs, of all folds
    answers: int  # rows scored, of all folds
    queries: int  # distinct queries among the training rows of a fold
    tokens: float
    flops: float
    cost: Cost
    jobs: tuple[float, ...]  # hours of each fold
    workers: int  # jobs that the machine works on at once, those of other steps included
    estimate: bool  # tokens are counted with another model's tokenizer
    disk: float  # bytes of downloaded weights and of trained parameters
    misfit: str = ""  # why it does not fit the device, and the setting that makes it fit; empty = it fits
    rough: bool = False  # rows are an estimate, as they hang on translations
    host: float = 0.0  # seconds in which the host launches a micro-batch, measured here
    peak: float = 0.0  # bytes of the fullest moment: load, training step or scoring

    @property
    def hours(self) -> float:
        """Hours of its jobs, one after the other."""
        return sum(self.jobs)


def elapsed_hours(steps: Sequence[Step]) -> float:
    """Hours from the start to the end: a notebook's jobs side by side, the longest first, one notebook after the other."""
    total = 0.0
    for notebook in {step.notebook for step in steps}:
        own = [step for step in steps if step.notebook == notebook]
        jobs = sorted((hours for step in own if step.workers > 1 for hours in step.jobs), reverse=True)
        busy = [0.0] * max(step.workers for step in own)
        for hours in jobs:
            heapq.heapreplace(busy, busy[0] + hours)
        total += max(busy) + sum(step.hours for step in own if step.workers == 1)
    return total
