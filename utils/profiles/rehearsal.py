"""Another profile on tiny random networks of its classes: a dry run on a CPU, as jobs side by side and under DeepSpeed."""

from dataclasses import replace

from utils.core.recipe import Recipe
from utils.profiles.base import Profile

FEW = 48  # rows of a training


def rehearse(profile: Profile, name: str) -> Profile:
    """A profile in small, on embedded data of its own: every step of it, every network of its own class.

    Of a profile for several GPUs the encoder trains under ZeRO-2, and the network that is compared with its variants
    under ZeRO-3, as they would where they fit no device; all others, the variants too, are jobs side by side. The
    translator is of MADLAD-400's class, the one that a tiny network is made of.
    """
    first = next(recipe.name for recipe in profile.candidates if recipe.kind == "classifier")
    stages = {first: 2, profile.comparison: 3} if profile.ranks == 0 else {}
    candidates = [_in_small(recipe, stages.get(recipe.name, 0)) for recipe in profile.candidates]
    return replace(
        profile,
        name=name,
        translation=profile.translation if profile.translation.startswith("madlad") else "madlad400-3b-mt",
        sample_rows=400,
        rows=400,
        validation_rows=FEW,
        candidates=tuple(candidates),
        finals=tuple(replace(final, rows=FEW, folds=final.folds[:2]) for final in profile.finals),
        held_out=1,
        rows_by_task=(),
        tapt_rows=FEW,
        held_out_rows=FEW,
        held_out_validation_rows=FEW,
        related_rows=FEW,
        auxiliary_rows=FEW,
        ablation_rows=FEW,
        ablation_validation_rows=FEW,
        ablation_seeds=1,
        offline=True,
        embedded=True,
        cache="rehearsal",  # random networks' answers are no translations
        ranks=2,
        engine="fixed",
    )


def _in_small(recipe: Recipe, stage: int) -> Recipe:
    """A candidate on few rows, under a ZeRO stage (0 = none)."""
    return recipe.with_(rows=FEW, answer_rows=FEW, zero_stage=stage, compiled=False)
