"""Engines: the first that fits, what a person has set stays, and the changes reach the profile and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from utils import profiles
from utils.data.raw import read_folder
from utils.planning import devices, engines, plan, sampling
from utils.planning.remedies import remedies
from utils.profiles.a100 import A100

LARGE = "profile.candidates=xlm-roberta-large,gemma-3-12b"


@pytest.fixture(scope="module")
def texts(small: Path) -> dict[str, sampling.Texts]:
    return sampling.gather_texts(read_folder(small))


def choose(changes: str, gpu: str, texts: dict[str, sampling.Texts], quantise: bool = False) -> dict[str, dict]:
    """Candidate -> its changes, for the a100 profile with some changes on a GPU."""
    profile = replace(profiles.load("a100", changes), quantise=quantise)
    found = engines.choose_engines(profile, texts, devices.open_device(gpu)[0], "")
    return {choice.candidate: choice.changes for choice in found}


def test_one_device_comes_first_then_4_bits_then_several_devices(texts: dict[str, sampling.Texts]) -> None:
    assert choose(LARGE, "4xh200", texts) == {"xlm-roberta-large": {}, "gemma-3-12b": {}}
    many = choose(LARGE, "4xrtx4090-24gb", texts)
    assert many["xlm-roberta-large"] == {} and many["gemma-3-12b"]["zero_stage"] == 3
    bits = choose(LARGE, "4xrtx4090-24gb", texts, quantise=True)["gemma-3-12b"]
    assert bits["quantisation"] == "nf4" and "zero_stage" not in bits


def test_what_a_person_has_set_stays(texts: dict[str, sampling.Texts]) -> None:
    changes = f"{LARGE} gemma-3-12b.checkpointing=false"
    bits = choose(changes, "4xrtx4090-24gb", texts, quantise=True)["gemma-3-12b"]
    assert bits["quantisation"] == "nf4" and "checkpointing" not in bits
    assert choose(f"{LARGE} gemma-3-12b.precision=float16", "4xt4-16gb", texts)["gemma-3-12b"] == {}


def test_one_device_has_nobody_to_share_with(texts: dict[str, sampling.Texts]) -> None:
    assert choose(LARGE, "rtx4090-24gb", texts)["gemma-3-12b"] == {}


def test_the_choice_is_a_change_of_the_profile_and_of_no_result(texts: dict[str, sampling.Texts]) -> None:
    device = devices.open_device("4xrtx4090-24gb")[0]
    found = engines.choose_engines(profiles.load("a100", LARGE), texts, device, "")
    text = engines.write_engines(found)
    before, after = profiles.load("a100", LARGE), profiles.load("a100", LARGE, text)
    planner = plan.Planner(after, texts, device, "")
    for old, new in zip(before.candidates, after.candidates, strict=True):
        if new.name == "gemma-3-12b":
            assert new.zero_stage == 3 and new != old and planner.world(new) == 4
        elif new.variant_of != "gemma-3-12b":
            assert new == old
    person = profiles.load("a100", f"{LARGE} gemma-3-12b.zero_stage=2", text)
    assert next(r.zero_stage for r in person.candidates if r.name == "gemma-3-12b") == 2
    lines = engines.explain_engines(found)
    assert lines[0] == "engine:  one device each: xlm-roberta-large"
    assert (
        "gemma-3-12b: checkpointing=True" in lines[1]
        and "zero_stage=3" in lines[1]
        and " GB otherwise, then " in lines[1]
    )
    nowhere = engines.choose_engines(profiles.load("a100", LARGE), texts, replace(device, memory=1e9), "")
    assert engines.explain_engines(nowhere)[-1] == "engine:  gemma-3-12b: fits nowhere"


def test_remedies_need_less_and_less_and_all_checkpoint() -> None:
    recipe = A100.candidates[-1]
    settings = remedies(recipe, 4096)
    assert all(setting["checkpointing"] for setting in settings)
    assert [setting.get("pack_tokens", 4096) for setting in settings[:3]] == [4096, 2048, 1024]
    assert remedies(recipe.with_(checkpointing=True), 600)[0] == {}
