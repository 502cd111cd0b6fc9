"""The plan as text: one line per step, the totals, and the steps that do not fit."""

from utils.planning.devices import Device
from utils.planning.plan import DECODING, Step


def disk_needed(steps: list[Step]) -> float:
    """Bytes of disk that a plan needs at most: its files, and the largest checkpoint (weights and AdamW's two moments)."""
    return sum(step.disk for step in steps) + 12 * max((step.cost.trained for step in steps), default=0)


def write_plan(steps: list[Step], device: Device, why: str, free: float) -> str:
    """The plan as lines: one per step, the totals, and the steps that do not fit, each with the setting that makes it fit.

    `why` is the reason for the device, `free` the bytes of free disk.
    """
    lines = [
        f"device:  {device.count} x {device.name}, {device.memory / 1e9:.0f} GB, peak {device.peak / 1e12:.3g} TFLOP/s ({why})",
        f"assumed: {device.utilisation:.0%} of the peak in training and scoring, {DECODING:.0%} in translation; each"
        " non-English query is paired with an English one of the data",
        "",
        f"{'nb':<3}{'step':<32}{'task':<5}{'rows':>10}{'answers':>10}{'queries':>9}{'tokens':>9}{'PFLOP':>10}"
        f"{'weights':>9}{'grad':>7}{'optim':>7}{'activ':>7}{'peak GB':>9}{'disk GB':>9}{'hours':>9}",
    ]
    for step in steps:
        cost = step.cost
        memory = "".join(
            f"{value / 1e9:>{width}.1f}"
            for value, width in zip(
                (cost.weights, cost.gradients, cost.optimizer, cost.activations, cost.peak),
                (9, 7, 7, 7, 9),
                strict=True,
            )
        )
        tokens = f"{'~' if step.estimate else ''}{step.tokens / 1e6:.1f}M"
        lines.append(
            f"{step.notebook:<3}{step.name:<32}{step.task:<5}{step.rows:>10,}{step.answers:>10,}{step.queries:>9,}{tokens:>9}"
            f"{step.flops / 1e15:>10,.2f}{memory}{step.disk / 1e9:>9.1f}{step.hours:>9.2f}"
        )
    hours, disk = sum(step.hours for step in steps), disk_needed(steps)
    lines += [
        "",
        f"total:   {hours:.1f} hours on {device.count} x {device.name}, {hours * device.count:.0f} device-hours",
        f"disk:    {disk / 1e9:.1f} GB for weights to fetch, adapters and a checkpoint, {free / 1e9:.1f} GB free"
        + ("" if disk < free else "; make room, or name a folder of weights with --models"),
    ]
    if any(step.estimate for step in steps):
        lines.append("~        counted with another model's tokenizer, as its own is not on this machine")
    misfits = [f"  {step.notebook} {step.name} {step.task}: {step.misfit}" for step in steps if step.misfit]
    lines += ["fits:    everything" if not misfits else "does not fit:", *misfits]
    return "\n".join(lines)
