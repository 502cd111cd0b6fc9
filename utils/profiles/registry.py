"""The profiles by name."""

from utils.core.errors import ProfileError
from utils.profiles import overrides
from utils.profiles.a100 import A100
from utils.profiles.base import Profile
from utils.profiles.checks import check
from utils.profiles.laptop import LAPTOP
from utils.profiles.rehearsal import REHEARSAL
from utils.profiles.smoke import SMOKE

PROFILES = {profile.name: profile for profile in (LAPTOP, A100, SMOKE, REHEARSAL)}


def load(name: str, changes: str = "") -> Profile:
    """The profile of a name, with some fields changed: `"e5-small.learning_rate=1e-4 laptop.rows=500"`.

    Raises ProfileError naming the profiles, candidates or fields that there are.
    """
    if name not in PROFILES:
        raise ProfileError(f"unknown profile {name!r}; use one of {', '.join(PROFILES)}")
    profile = overrides.apply(PROFILES[name], overrides.parse(changes, PROFILES[name]))
    check(profile)
    return profile


def normalise(name: str, changes: str) -> str:
    """The overrides of a text in their normal form, which a run's settings keep. Raises ProfileError as `load` does."""
    load(name)
    return overrides.join(overrides.parse(changes, PROFILES[name]))
