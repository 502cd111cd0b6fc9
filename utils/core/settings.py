"""Settings of a run, saved in its folder, so that later steps and commands do not need them again."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from utils.core.errors import SettingsError
from utils.core.files import write_json
from utils.core.paths import ROOT, Run


@dataclass(frozen=True)
class Settings:
    """The settings of a run; paths are absolute, or empty if none was chosen."""

    profile: str
    data: str
    models: str = ""
    hosts: str = ""  # machines that train together, separated by commas, this one first
    shell: str = "ssh"  # the command that starts a process on another machine
    overrides: str = ""  # changes to the profile: "NAME.FIELD=VALUE NAME.FIELD=VALUE", as in `--set`


def check(run: Run, profile: str, overrides: str | None = None) -> None:
    """Check that a run was begun with this profile and these overrides; a new run passes.

    `overrides` is a text as `profiles.normalise` returns it; None skips its check. Raises SettingsError.
    """
    if not run.settings.exists():
        return
    settings = load(run, profile)
    if overrides is not None and settings.overrides != overrides:
        old, new = (text or "no overrides" for text in (settings.overrides, overrides))
        raise SettingsError(f"run {run.name!r} was begun with {old}, not with {new}; {_remedy(run)}")


def load(run: Run, profile: str = "") -> Settings:
    """The settings of a run. Raises SettingsError if it was never begun, or begun with another profile (empty: any)."""
    if not run.settings.exists():
        raise SettingsError(
            f"run {run.name!r} was never begun; run notebook 01 with it, or ./run_all.sh --run {run.name}"
        )
    settings = Settings(**json.loads(run.settings.read_text("utf-8")))
    if profile and settings.profile != profile:
        raise SettingsError(
            f"run {run.name!r} was begun with profile {settings.profile}, not {profile}; {_remedy(run)}"
        )
    return settings


def _remedy(run: Run) -> str:
    return f"name another run (--run NAME) or remove runs/{run.name}"


def save(run: Run, settings: Settings) -> Settings:
    """Write a run's settings. A run never changes its profile or overrides: raises SettingsError as `check` does."""
    check(run, settings.profile, settings.overrides)
    write_json(run.settings, asdict(settings))
    return settings


def absolute(folder: str) -> str:
    """A folder's absolute path; a relative one is relative to the project's root. Empty stays empty."""
    return str((ROOT / Path(folder).expanduser()).resolve()) if folder else ""
