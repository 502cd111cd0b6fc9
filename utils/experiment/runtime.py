"""Where and how trainings run on this machine: nothing here changes a result."""

from dataclasses import dataclass
from pathlib import Path

from utils.core.progress import Style
from utils.core.recipe import Recipe
from utils.core.settings import Settings, parse_part
from utils.experiment.devices import list_devices
from utils.models import weights
from utils.profiles.base import Profile
from utils.training import launch
from utils.training.ranks import SINGLE_PROCESS, Topology, parse_topology

WORKER = "utils.experiment.worker"  # the module that every rank runs


@dataclass(frozen=True)
class Runtime:
    """Where weights are looked for, on what processes a training runs, and how progress is shown."""

    models: Path | None = None
    offline: bool = True
    style: Style = "bar"
    topology: Topology = SINGLE_PROCESS
    save_seconds: float = 120.0  # between checkpoints
    devices: tuple[str, ...] = ()  # that work on jobs side by side; none: this process does one after the other
    part: tuple[int, int] | None = None  # this machine's part of the jobs and the number of parts; None = all jobs
    data: Path | None = None  # the data folder, whose solution no job may open

    def weights(self, recipe: Recipe) -> Path:
        """The local folder of a recipe's pretrained weights. Raises WeightsError where there is none."""
        return weights.resolve(recipe.model, self.models, self.offline)

    def identity(self, recipe: Recipe) -> str:
        """Which weights these are; empty for a recipe without any."""
        return weights.identity(self.weights(recipe)) if recipe.model else ""


def make_runtime(settings: Settings, profile: Profile, style: Style, part: str = "") -> Runtime:
    """The runtime of a run's settings and its profile; an empty folder of weights is none. `part` is `K/N`, or empty."""
    topology = parse_topology(profile.ranks, "" if part else settings.hosts, settings.shell)
    models = Path(settings.models) if settings.models else None
    return Runtime(
        models, profile.offline, style, topology, devices=list_devices(profile.workers), part=parse_part(part),
        data=Path(settings.data),
    )  # fmt: skip


def run_ranks(job: Path, topology: Topology, style: Style) -> None:
    """Run a job file in all processes of a topology. Raises LaunchError with the first error of a process."""
    launch.run(job, topology, WORKER, style)
