"""The entries of the model zoo are true, and an entry is all that a new model needs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedConfig

from utils.core.recipe import Recipe
from utils.data.raw import read_folder
from utils.models import build, shapes, zoo
from utils.models.zoo import DECODER, ZOO, Model
from utils.planning import cost, devices, plan, sampling
from utils.profiles.base import Final, from_zoo
from utils.profiles.laptop import GEMMA, LAPTOP

SHAPED = [name for name, model in ZOO.items() if model.shape]


@pytest.mark.parametrize("name", SHAPED)
def test_shapes_have_the_parameter_counts_of_the_hub(name: str) -> None:
    from transformers import AutoModel, AutoModelForCausalLM

    config = shapes.config(name)
    with torch.device("meta"):
        kind = AutoModel if ZOO[name].family == "xlm-r" else AutoModelForCausalLM
        size = sum(p.numel() for p in kind.from_config(config).parameters())
    # What is not read: a tower for pictures, which Gemma 4 does without.
    vision = 0.42e9 if ZOO[name].multimodal and name != "gemma-4-12b" else 0
    assert abs(size + vision - ZOO[name].parameters) / ZOO[name].parameters < 0.01


def count_heads(config: PreTrainedConfig) -> tuple[int, int]:
    """Heads of queries and of keys, in the first layer."""
    fields = config.to_dict()
    return fields["num_attention_heads"], fields["num_key_value_heads"]


@pytest.mark.parametrize("name", SHAPED)
def test_a_tiny_network_keeps_class_and_ratios(name: str) -> None:
    true, small = shapes.config(name), shapes.tiny(name)
    assert type(small) is type(true) and small.num_hidden_layers == 2
    if ZOO[name].family != "xlm-r":
        (one, ones), (other, others) = (count_heads(config) for config in (small, true))
        assert one / ones == other / others
    assert small.vocab_size == true.vocab_size


def test_gated_models_are_those_with_the_gemma_licence() -> None:
    assert {name for name, model in ZOO.items() if model.gated} == {
        "gemma-3-270m", "gemma-2-9b", "gemma-3-4b", "gemma-3-12b",
    }  # fmt: skip


def test_a_new_model_is_one_entry(tiny_gemma: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry without a shape: the config of its weights is read. It is then a candidate, loads, and is planned for."""
    monkeypatch.setitem(zoo.ZOO, "my-model", Model("gemma", "me/my-model", "MIT", targets=DECODER, precision="float32"))
    (tiny_gemma / "my-model").symlink_to(tiny_gemma / "gemma-3-270m")
    recipe = from_zoo("my-model", GEMMA)
    assert (recipe.name, recipe.model, recipe.family) == ("my-model", "my-model", "gemma")
    assert shapes.config("my-model", str(tiny_gemma)).hidden_size == 64
    network = build.load_network(recipe, tiny_gemma / "my-model")
    assert type(network).__name__ == "Gemma3TextForSequenceClassification"
    profile = replace(
        LAPTOP,
        candidates=(*LAPTOP.candidates[:4], recipe),
        comparison="my-model",
        finals=(Final("my-model", 50, (0,)),),
    )
    steps = plan.make_plan(profile, sampling.gather_texts(read_folder(small)), devices.GPUS["t4-16gb"], str(tiny_gemma))
    assert {step.name for step in steps} >= {"my-model", "my-model, final"}


def test_a_network_whose_layers_differ_is_planned_for() -> None:
    """Gemma 4: every sixth layer has wider heads and one pair of keys and values, which serve as both."""
    recipe = Recipe("a", "gemma", "gemma-4-12b", pooling="last", precision="bfloat16")
    found = cost.pack_cost(recipe, shapes.config("gemma-4-12b"), 512, 32, train=True)
    assert abs(found.parameters / 11.9e9 - 1) < 0.02 and found.flops > 0


def test_recipes_that_differ_in_other_things_are_measured_once() -> None:
    config = shapes.config("qwen3-0.6b")
    recipe = Recipe("a", "qwen", "qwen3-0.6b", pooling="last")
    before = cost.pack_cost(recipe, config, 512, 32, train=True)
    size = cost._measurements.cache_info().currsize
    assert cost.pack_cost(recipe.with_(name="b", rows=7, seed=3), config, 512, 32, train=True) == before
    assert cost._measurements.cache_info().currsize == size
