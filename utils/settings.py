"""What a run was started with: kept beside it, so that later steps and commands ask nobody twice."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from utils.files import write_json
from utils.paths import ROOT, Run


class SettingsError(Exception):
    """A run that was begun with other settings; the text says what to do."""


@dataclass(frozen=True)
class Settings:
    """The choices behind a run; paths are absolute, or empty where nothing was named."""

    profile: str
    data: str
    models: str = ""


def load(run: Run) -> Settings:
    """The settings of a run. Raises SettingsError if the run was never begun."""
    if not run.settings.exists():
        raise SettingsError(f"run {run.name!r} was never begun; start it: ./run_all.sh --run {run.name}")
    return Settings(**json.loads(run.settings.read_text("utf-8")))


def keep(run: Run, settings: Settings) -> Settings:
    """Write a run's settings; a run keeps its profile for life, so that two profiles never share a folder."""
    if run.settings.exists() and (before := load(run).profile) != settings.profile:
        mend = f"name another run (--run NAME) or remove runs/{run.name}"
        raise SettingsError(f"run {run.name!r} was begun with profile {before}, not {settings.profile}; {mend}")
    write_json(run.settings, asdict(settings))
    return settings


def absolute(folder: str) -> str:
    """A folder's absolute path; a relative one starts at the project's root. Empty stays empty."""
    return str((ROOT / Path(folder).expanduser()).resolve()) if folder else ""
