"""The name of a profile and overrides in, its frozen settings out; what a competitor edits stands here, one file a profile."""

from utils.profiles.registry import PROFILES as PROFILES
from utils.profiles.registry import load as load
from utils.profiles.registry import normalise as normalise
