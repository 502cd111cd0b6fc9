"""The name of a profile and overrides in, its frozen settings out; one file per profile, to be edited."""

from utils.profiles.registry import PROFILES as PROFILES
from utils.profiles.registry import bind as bind
from utils.profiles.registry import load as load
from utils.profiles.registry import normalise as normalise
from utils.profiles.registry import open_profile as open_profile
