"""Settings of a run, saved in its folder, so that later steps and commands do not need them again."""

import hashlib
import itertools
import json
import re
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from utils.core.errors import DataError, SettingsError
from utils.core.files import sha256, write_json
from utils.core.paths import ROOT, Run, raw_file
from utils.core.schema import SPLITS, TASKS


@dataclass(frozen=True)
class Settings:
    """The settings of a run; paths are absolute, or empty if none was chosen."""

    profile: str
    data: str
    models: str = ""
    hosts: str = ""  # machines that work on the run together, separated by commas, this one first
    shell: str = "ssh"  # the command that starts a process on another machine
    data_hash: str = ""  # of the data folder's files when the run was started
    overrides: str = ""  # changes to the profile: "NAME.FIELD=VALUE NAME.FIELD=VALUE", as in `--set`
    engines: str = ""  # what the plan chose for this machine's devices, in the same form


def hash_data(folder: Path) -> str:
    """Hash of the competition's files in a folder, their names included; 16 hex digits. Raises DataError for an unreadable one."""
    content = hashlib.sha256()
    for task, split in itertools.product(TASKS, SPLITS):
        path = raw_file(folder, split, task)
        if not path.exists():
            continue
        try:
            content.update(f"{path.name} {sha256(path)}\n".encode())
        except OSError as error:
            raise DataError(
                f"{path.name}:1: cannot be read ({error.strerror}); check the file and its permissions"
            ) from None
    return content.hexdigest()[:16]


def reopen(run: Run, profile: str = "") -> Settings:
    """`load`, to continue a run. Raises SettingsError, too, if its data is not what the run was started with."""
    settings = load(run, profile)
    check_data(run, settings, Path(settings.data))
    return settings


def check_data(run: Run, settings: Settings, folder: Path) -> None:
    """Raises SettingsError where a folder's files are not those that a run was started with."""
    if hash_data(folder) != settings.data_hash:
        raise SettingsError(
            f"run {run.name!r} was started with other data than {folder} holds now; run notebook 01 with it again "
            "(./run_all.sh without --from and --only), or name another run (--run NAME)"
        )


def check(run: Run, profile: str, overrides: str | None = None) -> None:
    """Check that a run was started with this profile and these overrides; a new run passes.

    `overrides` is a text as `profiles.normalise` returns it; None skips its check. Raises SettingsError.
    """
    if not run.settings.exists():
        return
    settings = load(run, profile)
    if overrides is not None and settings.overrides != overrides:
        old, new = (text or "no overrides" for text in (settings.overrides, overrides))
        raise SettingsError(f"run {run.name!r} was started with {old}, not with {new}; {_remedy(run)}")


def load(run: Run, profile: str = "") -> Settings:
    """The settings of a run. Raises SettingsError if it does not exist yet, or was started with another profile (empty: any)."""
    if not run.settings.exists():
        raise SettingsError(
            f"run {run.name!r} does not exist yet; run notebook 01 with it, or ./run_all.sh --run {run.name}"
        )
    try:
        settings = Settings(**json.loads(run.settings.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(f"{run.settings}: cannot be read ({error}); remove it and run notebook 01 again") from None
    if profile and settings.profile != profile:
        raise SettingsError(
            f"run {run.name!r} was started with profile {settings.profile}, not {profile}; name that one (--profile "
            f"{settings.profile}), or {_remedy(run)}"
        )
    return settings


def _remedy(run: Run) -> str:
    return f"name another run (--run NAME) or remove runs/{run.name}"


def save(run: Run, settings: Settings) -> Settings:
    """Write a run's settings with the hash of its data, and return them.

    A run never changes its profile or overrides: raises SettingsError as `check` does. It may get other data: what its notebooks have
    made of the former is forgotten.
    """
    check(run, settings.profile, settings.overrides)
    settings = replace(settings, data_hash=hash_data(Path(settings.data)))
    if run.settings.exists() and load(run).data_hash != settings.data_hash:
        forget(run)
    write_json(run.settings, asdict(settings))
    return settings


def forget(run: Run) -> None:
    """Remove what notebooks read of earlier ones, so that each must run again. Trainings stay: they name the rows that they are of."""
    for folder in (run.clean, run.folds, run.bakeoff / "finalists", run.tapt / "final", run.ensemble):
        shutil.rmtree(folder, ignore_errors=True)
    (run.bakeoff / "leaderboard.csv").unlink(missing_ok=True)
    for step in (run.bakeoff, run.tapt, run.final):
        # A candidate's, and its held-out one's.
        for recipe in [*step.glob("*/*/recipe.json"), *step.glob("*/*/*/recipe.json")]:
            for path in [recipe, *recipe.parent.glob("*.parquet")]:
                path.unlink()


def parse_part(part: str) -> tuple[int, int] | None:
    """`"2/3"` -> (2, 3); None for the empty text. Raises ValueError, with what to write, for any other."""
    if not part:
        return None
    match = re.fullmatch("([1-9][0-9]*)/([1-9][0-9]*)", part)
    if match is None:
        raise ValueError(f"{part}: write K/N, as in 1/2")
    number, count = map(int, match.groups())
    if number > count:
        raise ValueError(f"{part}: there are {count} parts only")
    return number, count


def split_hosts(hosts: str) -> list[str]:
    """The names of machines, `"a,b"`."""
    return [host.strip() for host in hosts.split(",") if host.strip()]


def absolute(folder: str) -> str:
    """A folder's absolute path; a relative one is relative to the project's root. Empty stays empty."""
    return str((ROOT / Path(folder).expanduser()).resolve()) if folder else ""
