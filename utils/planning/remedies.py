"""What lets a training fit a device that is too small for it."""

from typing import Any

from utils.core.recipe import Recipe

LEAST_PACK = 512  # tokens; smaller packs keep no GPU busy


def remedies(recipe: Recipe, largest: int) -> list[dict[str, Any]]:
    """Settings with which a training needs less and less memory, the cheapest first: on one device, in 4 bits, sharded.

    `largest` is the number of tokens of its largest pack.
    """
    packs = [{"pack_tokens": size} for size in (largest // 2, largest // 4) if size >= LEAST_PACK]
    small = packs[0] if packs else {}
    one = [{}, *packs]
    rest = [{"quantisation": "nf4"}, {"quantisation": "nf4"} | small, {"zero_stage": 3}, {"zero_stage": 3} | small]
    settings = [*one, *rest, {"zero_stage": 3, "offload": True} | small]
    return [setting if recipe.checkpointing else {"checkpointing": True} | setting for setting in settings]
