"""The plan as text: one line per step, the totals, and the steps that do not fit."""

import math

from utils.planning.devices import CPU, Device
from utils.planning.schedule import Step, elapsed_hours
from utils.planning.timing import COMPILED, launch_factor
from utils.planning.translation import DECODING


def disk_needed(steps: list[Step]) -> float:
    """Bytes of disk that a plan needs at most: its files, and a checkpoint (weights and AdamW's two moments) of each job at once."""
    return sum(step.disk for step in steps) + max((12 * step.cost.trained * step.workers for step in steps), default=0)


def write_plan(steps: list[Step], device: Device, why: str, free: float) -> str:
    """The plan as lines: one per step, the totals, and the steps that do not fit, each with the setting that makes it fit.

    `why` is the reason for the device, `free` the bytes of free disk.
    """
    width = max([32, *(len(step.name) + 1 for step in steps)])
    lines = [
        *_assumptions(steps, device, why),
        "",
        f"{'nb':<3}{'step':<{width}}{'task':<5}{'rows':>11}{'answers':>10}{'queries':>9}{'tokens':>9}{'PFLOP':>10}"
        f"{'weights':>9}{'grad':>7}{'optim':>7}{'activ':>7}{'peak GB':>9}{'disk GB':>9}{'hours':>9}",
        *(_line(step, width) for step in steps),
        "",
        f"total:   {_total(steps, device)}",
    ]
    disk = disk_needed(steps)
    lines.append(
        f"disk:    {disk / 1e9:.1f} GB for weights to fetch, adapters and a checkpoint, {free / 1e9:.1f} GB free"
        + ("" if disk < free else "; make room, or name a folder of weights with --models")
    )
    if any(step.estimate for step in steps):
        lines.append("~        tokens: counted with another model's tokenizer, as its own is not on this machine")
    if any(step.rough for step in steps):
        lines.append("~        rows: an estimate, as translation will show more queries to be alike, to be kept apart")
    misfits = [f"  {step.notebook} {step.name} {step.task}: {step.misfit}" for step in steps if step.misfit]
    lines += ["fits:    everything" if not misfits else "does not fit:", *misfits]
    return "\n".join(lines)


def _assumptions(steps: list[Step], device: Device, why: str) -> list[str]:
    """The device, and what the plan takes for granted."""
    workers = max((step.workers for step in steps), default=1)
    slowest = max(steps, key=lambda step: step.host, default=None)
    factor = launch_factor(device)
    scaled = "" if factor == 1 else f", times {factor:g} for a GPU and {COMPILED:g} in compiled layers"
    host = (
        f"; launches as measured here{scaled}: up to {slowest.host * 1e3:.0f} ms a micro-batch ({slowest.name})"
        if slowest
        else ""
    )
    beside = f"; {workers} trainings side by side, each on a device" if workers > 1 else ""
    return [
        f"device:  {device.count} x {device.name}, {device.memory / 1e9:.0f} GB, peak {device.peak / 1e12:.3g} TFLOP/s ({why})",
        f"assumed: {device.training:.0%} of the peak in training, {device.scoring:.0%} in scoring, "
        f"{DECODING:.0%} in translation{beside}{host}",
        "         each non-English query is paired with an English one of the data; baselines, next to free, are left out;",
        "         05 and 06 train the most expensive networks that 04 may choose, and TAPT is adopted",
    ]


def _line(step: Step, width: int) -> str:
    """One step."""
    cost = step.cost
    parts = (cost.weights, cost.gradients, cost.optimizer, cost.activations, step.peak)
    memory = "".join(f"{value / 1e9:>{size}.1f}" for value, size in zip(parts, (9, 7, 7, 7, 9), strict=True))
    rows = f"{'~' if step.rough else ''}{step.rows:,}"
    tokens = f"{'~' if step.estimate else ''}{step.tokens / 1e6:.1f}M"
    return (
        f"{step.notebook:<3}{step.name:<{width}}{step.task:<5}{rows:>11}{step.answers:>10,}{step.queries:>9,}{tokens:>9}"
        f"{step.flops / 1e15:>10,.2f}{memory}{step.disk / 1e9:>9.1f}{step.hours:>9.2f}"
    )


def _total(steps: list[Step], device: Device) -> str:
    """The hours from start to end, and what is paid for: the hours of all GPUs, or those of the jobs one after the other."""
    elapsed, work = elapsed_hours(steps), sum(step.hours for step in steps)
    text = f"{_hours(elapsed)} on {device.count} x {device.name}"
    if device.name != CPU:
        return f"{text}, {elapsed * device.count:.0f} device-hours"
    return text if math.isclose(work, elapsed) else f"{text}, {_hours(work)} of work one after the other"


def _hours(hours: float) -> str:
    """Hours with one decimal, below one with two."""
    return f"{hours:.{1 if hours >= 1 else 2}f} hours"
