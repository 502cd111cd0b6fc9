"""Profiles: a ladder that is narrowed keeps what every bake-off shows, and says what cannot be."""

import pytest

from utils import profiles
from utils.profiles import ProfileError
from utils.schema import TASKS


def test_a_narrowed_ladder_keeps_the_baselines_and_the_named_rungs() -> None:
    few = profiles.load("a100", rungs="gemma-3-12b, qwen3-8b")
    names = [recipe.name for recipe in few.ladder]
    assert names == ["constant", "tfidf", "overlap", "zeroshot", "qwen3-8b", "gemma-3-12b"]
    assert few.comparison == "gemma-3-12b" and profiles.load("a100", rungs="qwen3-8b").comparison == "qwen3-8b"
    assert profiles.load("a100", rungs="") is profiles.A100
    assert few.models == ["multilingual-e5-small", "qwen3-8b", "gemma-3-12b", "madlad400-10b-mt", "madlad400-3b-mt"]


def test_what_cannot_be_narrowed_is_refused() -> None:
    with pytest.raises(ProfileError, match="has no rung gemma-3-27b; use some of xlm-roberta-large"):
        profiles.load("a100", rungs="gemma-3-27b")
    with pytest.raises(ProfileError, match=r"none of the rungs gemma-3-270m may go on .* of QI; add e5-small"):
        profiles.load("laptop", rungs="gemma-3-270m")
    with pytest.raises(ProfileError, match="unknown profile"):
        profiles.load("h100")


@pytest.mark.parametrize("profile", profiles.PROFILES.values(), ids=lambda profile: profile.name)
def test_every_rung_that_may_be_trained_to_the_end_stands_in_the_ladder(profile: profiles.Profile) -> None:
    rungs = {recipe.name for recipe in profile.ladder}
    assert {final.rung for final in profile.finals} <= rungs and profile.comparison in rungs
    assert all(profile.able(task) for task in TASKS)
