"""The profiles by name."""

from utils.core.errors import ProfileError
from utils.core.settings import Settings
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


def open_profile(chosen: Settings) -> Profile:
    """The profile of a run's settings."""
    return load(chosen.profile, chosen.overrides, chosen.engines)


def normalise(name: str, changes: str) -> str:
    """The overrides of a text in their normal form, which a run's settings keep. Raises ProfileError as `load` does."""
    load(name)
    return overrides.join(overrides.parse(changes, PROFILES[name]))
