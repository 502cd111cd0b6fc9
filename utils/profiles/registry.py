"""The profiles by name."""

import json
from dataclasses import asdict
from typing import Any

from utils.core.errors import ProfileError, SettingsError
from utils.core.files import write_json
from utils.core.paths import Run
from utils.core.recipe import LAYOUT, read_facts
from utils.core.settings import Settings, forget
from utils.profiles import overrides
from utils.profiles.a100 import A100
from utils.profiles.base import Profile
from utils.profiles.checks import check
from utils.profiles.gpu24 import GPU24
from utils.profiles.laptop import LAPTOP
from utils.profiles.rehearsal import rehearse
from utils.profiles.smoke import SMOKE
from utils.profiles.t4x2 import T4X2

REHEARSALS = (rehearse(A100, "rehearsal"), rehearse(GPU24, "rehearsal-gpu24"), rehearse(T4X2, "rehearsal-t4x2"))
# Fields that say where and how the work is done; what the plan chooses for a machine's devices is fixed in the run's settings.
WHERE = ("skipped", "offline", "ranks", "workers", "engine", "quantise", "cache", "overridden")
PROFILES = {profile.name: profile for profile in (LAPTOP, A100, GPU24, T4X2, SMOKE, *REHEARSALS)}


def load(name: str, changes: str = "", engines: str = "") -> Profile:
    """The profile of a name, with some fields changed: `"e5-small.learning_rate=1e-4 laptop.rows=500"`.

    `engines` are changes that a plan made for a machine's devices; those that a person made come after them. Raises
    ProfileError naming the profiles, candidates or fields that there are.
    """
    if name not in PROFILES:
        raise ProfileError(f"unknown profile {name!r}; use one of {', '.join(PROFILES)}")
    profile = PROFILES[name]
    own = overrides.parse(changes, profile)
    profile = overrides.apply(profile, [*overrides.parse(engines, profile), *own])
    check(profile)
    return profile


def open_profile(chosen: Settings, run: Run | None = None) -> Profile:
    """The profile of a run's settings.

    With `run` raises SettingsError where its file was edited since the run began: what earlier notebooks left is of the former one.
    """
    profile = load(chosen.profile, chosen.overrides, chosen.engines)
    before, now = read_facts(run.profile) if run else {}, _fields(profile)
    if changed := [name for name in now | before if before.get(name) != now.get(name)] if before else []:
        raise SettingsError(
            f"profile {profile.name} is another than run {run.name!r} was started with ({', '.join(changed[:5])}); run notebook 01 "
            "with it again (./run_all.sh without --from and --only), or name another run (--run NAME)"
        )
    return profile


def bind(run: Run, profile: Profile) -> None:
    """Keep what a run's profile says beside its settings, for `open_profile` to compare; what was made by another is forgotten."""
    if read_facts(run.profile) not in ({}, _fields(profile)):
        forget(run)
    write_json(run.profile, _fields(profile))


def _fields(profile: Profile) -> dict[str, Any]:
    """Name -> value, as JSON has it, of all fields that may change a result: the profile's, those of a candidate as `NAME.FIELD`."""
    content = {name: value for name, value in asdict(profile).items() if name not in WHERE}
    for recipe in content.pop("candidates"):
        content |= {f"{recipe['name']}.{name}": value for name, value in recipe.items() if name not in LAYOUT}
    content["candidates"] = [recipe.name for recipe in profile.candidates]
    return json.loads(json.dumps(content))


def normalise(name: str, changes: str) -> str:
    """The overrides of a text in their normal form, which a run's settings keep. Raises ProfileError as `load` does."""
    load(name)
    return overrides.join(overrides.parse(changes, PROFILES[name]))
