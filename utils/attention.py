"""Who may attend to whom in a trie of rows, as each attention kernel wants to be told."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

FULL, SLIDING = "full_attention", "sliding_attention"  # the names of transformers' layer types


def visible(end: Tensor, depth: Tensor, window: int | None = None) -> Tensor:
    """`[lanes, width, width]`: whether token j (row) of a trie sees token i (column), its ancestor or itself.

    In depth-first order the descendants of i are those up to `end[i]`, so j sees i when `i <= j < end[i]`; a
    layer with a window sees only ancestors fewer than `window` steps up the path. `end` and `depth` are `[lanes, width]`.
    """
    place = torch.arange(end.shape[1], device=end.device)
    seen = (place[None, :] <= place[:, None]) & (place[:, None] < end[:, None, :])
    return seen if window is None else seen & (depth[:, :, None] - depth[:, None, :] < window)


def _blocks(end: Tensor, depth: Tensor, window: int | None) -> Any:
    """The same as blocks for FlexAttention (Dong et al. 2024, arXiv 2412.05496): empty blocks are not computed."""
    from torch.nn.attention.flex_attention import create_block_mask

    def seen(lane: Tensor, head: Tensor, j: Tensor, i: Tensor) -> Tensor:
        ancestor = (i <= j) & (j < end[lane, i])
        return ancestor if window is None else ancestor & (depth[lane, j] - depth[lane, i] < window)

    lanes, width = end.shape
    return create_block_mask(seen, lanes, None, width, width, device=str(end.device))


def tree_masks(
    end: Tensor, depth: Tensor, layer_types: list[str], window: int | None, kernel: str, dtype: torch.dtype
) -> Mapping[str, Any]:
    """Layer type -> mask of tries `[lanes, width]`, in the form that `kernel` takes: `sdpa`, `eager` or `flex_attention`.

    `sdpa` gets booleans `[lanes, 1, width, width]`, `eager` numbers to add, `flex_attention` a block mask. Raises
    ValueError for any other kernel, as it would read the mask in its own way.
    """
    masks: dict[str, Any] = {}
    for layer_type in sorted(set(layer_types)):
        reach = window if layer_type == SLIDING else None
        if kernel == "flex_attention":
            masks[layer_type] = _blocks(end, depth, reach)
            continue
        seen = visible(end, depth, reach)[:, None]
        if kernel == "sdpa":
            masks[layer_type] = seen
        elif kernel == "eager":
            masks[layer_type] = torch.zeros_like(seen, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)
        else:
            raise ValueError(
                f"attention {kernel!r} cannot read a trie; set the recipe's attention to sdpa, eager or flex_attention"
            )
    return masks
