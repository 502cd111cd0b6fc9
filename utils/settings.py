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
    hosts: str = ""  # machines that train together, separated by commas, this one first
    shell: str = "ssh"  # what runs a command on another of them


def check(run: Run, profile: str) -> None:
    """Refuse to go on with a run that was begun with another profile; one that was never begun is fine."""
    if run.settings.exists():
        load(run, profile)


def load(run: Run, profile: str = "") -> Settings:
    """The settings of a run. Raises SettingsError if it was never begun, or begun with another profile than a named one."""
    if not run.settings.exists():
        raise SettingsError(
            f"run {run.name!r} was never begun; run notebook 01 with it, or ./run_all.sh --run {run.name}"
        )
    found = Settings(**json.loads(run.settings.read_text("utf-8")))
    if profile and found.profile != profile:
        mend = f"name another run (--run NAME) or remove runs/{run.name}"
        raise SettingsError(f"run {run.name!r} was begun with profile {found.profile}, not {profile}; {mend}")
    return found


def keep(run: Run, settings: Settings) -> Settings:
    """Write a run's settings; a run keeps its profile for life, so that two profiles never share a folder."""
    check(run, settings.profile)
    write_json(run.settings, asdict(settings))
    return settings


def absolute(folder: str) -> str:
    """A folder's absolute path; a relative one starts at the project's root. Empty stays empty."""
    return str((ROOT / Path(folder).expanduser()).resolve()) if folder else ""
