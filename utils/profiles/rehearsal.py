"""The a100 profile on tiny random networks of its classes: a dry run on a CPU, with two ranks and DeepSpeed as there."""

from dataclasses import replace

from utils.core.recipe import Recipe
from utils.profiles.a100 import A100

FEW = 48  # rows of a training


def _in_small(recipe: Recipe) -> Recipe:
    """A candidate on few rows, with the one field changed that a CPU cannot run: FlexAttention has no backward pass there."""
    kernel = "eager" if recipe.attention == "flex_attention" else recipe.attention
    return recipe.with_(rows=FEW, answer_rows=FEW, attention=kernel)


REHEARSAL = replace(
    A100,
    name="rehearsal",
    sample_rows=400,
    rows=400,
    validation_rows=FEW,
    candidates=tuple(_in_small(recipe) for recipe in A100.candidates),
    finals=tuple(replace(final, rows=FEW) for final in A100.finals),
    tapt_rows=FEW,
    held_out_rows=FEW,
    held_out_validation_rows=FEW,
    auxiliary_rows=FEW,
    offline=True,
    embedded=True,
    cache="rehearsal",  # random networks' answers are no translations
    ranks=2,
)
