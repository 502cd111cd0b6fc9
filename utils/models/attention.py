"""Attention masks of tries: every token attends to its ancestors and to itself, in the form that each kernel takes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

FULL, SLIDING = "full_attention", "sliding_attention"  # the names of transformers' layer types


def visible(end: Tensor, depth: Tensor, window: int | None = None) -> Tensor:
    """Boolean mask `[sequences, width, width]`: whether token j (row) attends to token i (column), its ancestor or itself.

    In depth-first order the descendants of i are those up to `end[i]`, so j attends to i when `i <= j < end[i]`. In a
    layer with a sliding window, i must also lie fewer than `window` tokens up the path of j.
    `end` and `depth` are `[sequences, width]`.
    """
    position = torch.arange(end.shape[1], device=end.device)
    mask = (position[None, :] <= position[:, None]) & (position[:, None] < end[:, None, :])
    return mask if window is None else mask & (depth[:, :, None] - depth[:, None, :] < window)


def _block_mask(end: Tensor, depth: Tensor, window: int | None) -> Any:
    """The mask of `visible` as blocks for FlexAttention (Dong et al. 2024, arXiv 2412.05496), which skips empty blocks."""
    from torch.nn.attention.flex_attention import create_block_mask

    def is_visible(sequence: Tensor, head: Tensor, j: Tensor, i: Tensor) -> Tensor:
        ancestor = (i <= j) & (j < end[sequence, i])
        return ancestor if window is None else ancestor & (depth[sequence, j] - depth[sequence, i] < window)

    sequences, width = end.shape
    return create_block_mask(is_visible, sequences, None, width, width, device=str(end.device))


def tree_masks(
    end: Tensor, depth: Tensor, layer_types: list[str], window: int | None, kernel: str, dtype: torch.dtype
) -> Mapping[str, Any]:
    """Layer type -> mask of tries `[sequences, width]`, in the form that `kernel` takes: `sdpa`, `eager` or `flex_attention`.

    `sdpa` gets booleans `[sequences, 1, width, width]`, `eager` numbers of `dtype` to add to the scores, `flex_attention`
    a block mask. Raises ValueError for any other kernel, which would read the mask in its own way.
    """
    masks: dict[str, Any] = {}
    for layer_type in sorted(set(layer_types)):
        layer_window = window if layer_type == SLIDING else None
        if kernel == "flex_attention":
            masks[layer_type] = _block_mask(end, depth, layer_window)
            continue
        mask = visible(end, depth, layer_window)[:, None]
        if kernel == "sdpa":
            masks[layer_type] = mask
        elif kernel == "eager":
            masks[layer_type] = torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)
        else:
            raise ValueError(
                f"attention {kernel!r} cannot read a trie; set the recipe's attention to sdpa, eager or flex_attention"
            )
    return masks
