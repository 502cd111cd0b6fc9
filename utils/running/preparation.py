"""What a call of the pipeline chooses, checks and fetches before anything runs: data, profile, engines, weights."""

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from utils import profiles
from utils.core import paths, settings
from utils.core.errors import DeviceError
from utils.core.files import sweep
from utils.data.raw import Raw, read_folder
from utils.models import weights
from utils.models.zoo import ZOO
from utils.profiles.base import Profile
from utils.running import lock
from utils.sample import dataset
from utils.translation import cache

LARGE_GPU = 70e9  # bytes of memory from which on the a100 profile is chosen by itself


@dataclass(frozen=True)
class Choice:
    """A chosen value and the reason, printed before anything runs."""

    value: str
    reason: str


@dataclass(frozen=True)
class Prepared:
    """A run that may begin: its name, the parameters of its notebooks, and its lock."""

    run: paths.Run
    parameters: dict[str, object]
    lock: tuple[TextIO, ...]  # of the run, until this call ends


def choose_profile(name: str | None, raw: bool) -> Choice:
    """The named profile, else a100 where the data is `data/raw` and a large GPU is there, else laptop."""
    if name:
        return Choice(name, "named with --profile")
    if not raw:
        return Choice("laptop", "the data is not data/raw")
    import torch

    if not torch.cuda.is_available():
        return Choice("laptop", "no CUDA device is found")
    memory = torch.cuda.get_device_properties(0).total_memory
    if memory < LARGE_GPU:
        return Choice("laptop", f"the CUDA device has {memory / 1e9:.0f} GB, a100 needs {LARGE_GPU / 1e9:.0f}")
    return Choice("a100", f"data/raw is there and the CUDA device has {memory / 1e9:.0f} GB")


@dataclass(frozen=True)
class Plan:
    """What a run will cost: the engines that it was planned with, the plan as text, and whether all of it fits."""

    engines: str
    text: str
    fits: bool


def plan_ahead(name: str, changes: str, raw: Raw, models: str, gpu: str) -> Plan:
    """Choose the engines of a profile for the device, and plan it on the files of a data folder."""
    from utils.planning import devices, engines, plan, printout, sampling  # with torch: not for every start

    device, why = devices.open_device(gpu)
    profile, texts = profiles.load(name, changes), sampling.gather_texts(raw)
    chosen = engines.choose_engines(profile, texts, device, models) if profile.engine == "auto" else []
    text = engines.write_engines(chosen)
    steps = plan.make_plan(profiles.load(name, changes, text), texts, device, models)
    free = shutil.disk_usage(paths.ROOT).free
    fits = not any(step.misfit for step in steps) and printout.disk_needed(steps) < free
    return Plan(
        text, "\n".join([*engines.explain_engines(chosen), printout.write_plan(steps, device, why, free)]), fits
    )


def check_accelerator(profile: Profile) -> None:
    """Raise DeviceError where a profile for GPUs would run on a machine whose GPUs are none, or cannot compute as it asks."""
    if profile.engine != "auto":
        return
    from utils.training import accelerator  # as above

    if problem := accelerator.explain_missing():
        raise DeviceError(f"profile {profile.name} needs a GPU: {problem}")
    wide = [r.name for r in profile.candidates if r.kind == "classifier" and r.precision == "bfloat16"]
    if wide and not accelerator.has_bfloat16():
        raise DeviceError(
            f"this GPU has no bfloat16, in which {', '.join(wide)} compute; use --profile t4x2, or --set NAME.precision=float16"
        )


def check_networks(profile: Profile, models: str) -> list[str]:
    """The networks that a profile reads, all of them within the rule and to be had. Raises WeightsError, before any long download."""
    cache.check([profile.translation, profile.retranslation], paths.translations(profile.cache))
    converted = {name: Path(models or ".") / name for name in profile.models if ZOO[name].translates}
    converted = {name: folder for name, folder in converted.items() if weights.is_converted(folder)}
    networks = [name for name in profile.models if name not in converted]
    for folder in converted.values():
        weights.check_code(folder)
    for name in networks:
        weights.check(name, models, profile.offline)
    return networks


def fetch_networks(profile: Profile, networks: list[str], models: str) -> None:
    """Download what is not here. Raises WeightsError, too, for a network whose rows cannot be packed as its recipe says."""
    folders = {name: weights.resolve(name, models, profile.offline) for name in networks}
    decoders = [recipe for recipe in profile.candidates if recipe.pooling == "last"]
    if not decoders:
        return
    from utils.models import build  # as above

    for recipe in decoders:
        build.check_packing(recipe, folders[recipe.model])


def is_later(options: argparse.Namespace) -> bool:
    """Whether notebooks after the first are asked for."""
    return (options.only or options.first or "01").zfill(2) != "01"


def earlier_settings(options: argparse.Namespace, run: paths.Run, profile: str) -> settings.Settings | None:
    """The settings of a run of which a later part is asked for; else None. Raises SettingsError as `settings.load` does."""
    return settings.load(run, profile) if is_later(options) and run.settings.exists() else None


def choose_data(options: argparse.Namespace, profile: Profile, earlier: settings.Settings | None) -> tuple[Path, str]:
    """The data folder and the reason: a later part of a run goes on with the run's own, unless another is named."""
    if earlier and not options.data:
        return Path(earlier.data), "the run was started with it"
    return dataset.open_folder(options.data, profile.sample_rows, profile.embedded)


def prepare(options: argparse.Namespace) -> Prepared | None:
    """Choose data and profile, say why, and check everything; None where a plan was all that was asked for.

    Raises InputError for what a person can put right.
    """
    choice = choose_profile(options.profile, not options.data and dataset.has_raw())
    run = paths.Run(options.run or choice.value)
    if options.run and not options.profile and is_later(options) and run.settings.exists():
        choice = Choice(settings.load(run).profile, "the run was started with it")
    earlier = earlier_settings(options, run, choice.value)
    changes = profiles.normalise(choice.value, options.overrides or (earlier.overrides if earlier else ""))
    profile = profiles.load(choice.value, changes)
    folder, reason = choose_data(options, profile, earlier)
    print(f"data:    {folder} ({reason})\nprofile: {profile.name} ({choice.reason})\nrun:     {run.name}", flush=True)
    if changes:
        print(f"set:     {changes}", flush=True)
    models = settings.absolute(options.models) or (earlier.models if earlier else "")
    if options.plan:
        print(plan_ahead(profile.name, changes, read_folder(folder), models, options.gpu).text)
        return None
    check_accelerator(profile)
    machines = len(settings.split_hosts(options.hosts))
    held = lock.take(run, options.part, machines if machines > 1 else 0)
    if not options.part and (left := sum(map(sweep, (run.root, run.submission, paths.CACHES)))):
        print(f"notice:  {left} unfinished files of an interrupted call are removed")
    if profile.embedded and not models:
        from utils.models import tiny  # as above

        models = str(tiny.make_models(profile.models))
    settings.check(run, profile.name, changes)
    if earlier:
        settings.check_data(run, earlier, folder)
    raw = read_folder(folder)
    for notice in raw.notices:
        print(f"notice:  {notice}")
    networks = check_networks(profile, models)
    engines = earlier.engines if earlier else _plan_engines(profile, changes, raw, models, options.gpu)
    fetch_networks(profile, networks, models)
    is_part = bool(earlier and options.part)  # of a call that may have named the machines
    hosts, shell = (earlier.hosts, earlier.shell) if is_part else (options.hosts, options.shell)
    chosen = settings.Settings(profile.name, str(folder), models, hosts, shell, overrides=changes, engines=engines)
    settings.save(run, chosen)
    named = {"data": settings.absolute(options.data), "run": run.name, "progress": "lines", "part": options.part}
    return Prepared(run, {**vars(chosen), **named, "hosts": options.hosts}, held)  # a part starts none


def _plan_engines(profile: Profile, changes: str, raw: Raw, models: str, gpu: str) -> str:
    """The engines of a profile that has them planned, after the plan was shown; empty for any other.

    Raises DeviceError where the plan does not fit this machine.
    """
    if profile.engine != "auto":
        return ""
    plan = plan_ahead(profile.name, changes, raw, models, gpu)
    print(plan.text, flush=True)
    if not plan.fits:
        raise DeviceError("the plan does not fit this machine; what to change stands above")
    return plan.engines
