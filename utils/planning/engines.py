"""Which engine trains each candidate on the devices at hand: one device, one device in 4 bits, or all of them under ZeRO-3."""

from dataclasses import dataclass
from typing import Any

from utils.core.recipe import Recipe
from utils.core.schema import TASKS
from utils.planning.devices import Device
from utils.planning.plan import Planner
from utils.planning.remedies import remedies
from utils.planning.sampling import Texts
from utils.profiles.base import Profile
from utils.profiles.overrides import Override, join


@dataclass(frozen=True)
class Choice:
    """The settings of one candidate that fit, and why they are needed; no changes where it fits as it is."""

    candidate: str
    changes: dict[str, Any]
    reason: str


def choose_engines(profile: Profile, texts: dict[str, Texts], device: Device, folder: str) -> list[Choice]:
    """For each network of a profile the first settings with which a training of either task fits the device.

    One device comes first, then 4 bits where the profile allows them (they change the result), then ZeRO-3 over the
    machine. A setting that a person has made stays. Where nothing fits, nothing is changed, and the plan tells.
    """
    planner = Planner(profile, texts, device, folder)
    tasks = [task for task in TASKS if task in texts]
    names = [recipe.name for recipe in profile.candidates if recipe.kind == "classifier" and not recipe.variant_of]
    return [_choose(name, planner, tasks) for name in names]


def _choose(name: str, planner: Planner, tasks: list[str]) -> Choice:
    """The choice for one candidate."""
    by_task = {task: next(r for r in planner.profile.recipes(task) if r.name == name) for task in tasks}
    sizes = {task: planner.layout(recipe, task).sizes() for task, recipe in by_task.items()}
    largest = max(size for size, _ in sizes.values())
    shortage = ""
    for changes in [{}, *_allowed(planner, by_task[tasks[0]], largest)]:
        pairs = [planner.with_changes(by_task[task], changes, *sizes[task]) for task in tasks]
        need, room = max(pairs, key=lambda pair: pair[0] / pair[1])
        if need <= room:
            return Choice(name, changes, f"{shortage}{need / 1e9:.0f} of {room / 1e9:.0f} GB")
        shortage = shortage or f"{need / 1e9:.0f} of {room / 1e9:.0f} GB otherwise, then "
    return Choice(name, {}, "nothing fits")


def _allowed(planner: Planner, recipe: Recipe, largest: int) -> list[dict[str, Any]]:
    """The remedies that a profile, its device and a person's own settings leave; weights in the host's memory are a
    person's choice, as they cost many times the time.
    """
    profile, several = planner.profile, planner.device.count > 1
    fixed = {field for name, field in profile.overridden if name == recipe.name}
    found = []
    for settings in remedies(recipe, largest):
        changes = {field: value for field, value in settings.items() if field not in fixed}
        bits = changes.get("quantisation", recipe.quantisation)
        sharded = changes.get("zero_stage", recipe.zero_stage) > 0
        # 4 bits change the result and cannot be sharded; float16 trains in one process.
        refused = (bits != recipe.quantisation and not profile.quantise) or (
            sharded and (bits != "none" or recipe.precision == "float16" or not several or "offload" in changes)
        )
        if changes and not refused and changes not in found:
            found.append(changes)
    return found


def write_engines(choices: list[Choice]) -> str:
    """The choices as changes of a profile, in the form of `--set`."""
    return join([Override(c.candidate, field, value) for c in choices for field, value in sorted(c.changes.items())])


def explain_engines(choices: list[Choice]) -> list[str]:
    """A line for the candidates that fit a device each, and one for every other, with the reason."""
    alone = [choice.candidate for choice in choices if not choice.changes and choice.reason != "nothing fits"]
    lines = [f"engine:  one device each: {', '.join(alone)}"] if alone else []
    for choice in choices:
        if choice.changes:
            settings = ", ".join(f"{field}={value}" for field, value in choice.changes.items())
            lines.append(f"engine:  {choice.candidate}: {settings} ({choice.reason})")
        elif choice.reason == "nothing fits":
            lines.append(f"engine:  {choice.candidate}: fits nowhere")
    return lines
