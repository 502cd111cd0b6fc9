"""Attention of tries: every token attends to its ancestors and to itself. The kernel that computes it, and masks in its form."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedConfig

from utils.core.files import write_text
from utils.core.recipe import Recipe

BLOCK = 128  # FlexAttention computes a mask in squares of so many tokens
FULL, SLIDING = "full_attention", "sliding_attention"  # the names of transformers' layer types
# `head_size`: FlexAttention is the faster one from sequences of `flex_from` tokens upwards; `gpu`: where that was measured by
# `benchmarks/gpu.py --write`, empty for what others have published, which holds for any GPU without a line of its own.
TABLE = Path(__file__).with_name("kernels.json")


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

    def is_visible(sequence: Tensor, head: Tensor, j: Tensor, i: Tensor) -> Tensor:
        ancestor = (i <= j) & (j < end[sequence, i])
        return ancestor if window is None else ancestor & (depth[sequence, j] - depth[sequence, i] < window)

    sequences, width = end.shape
    with torch.no_grad():  # what is compiled holds for training and for scoring
        return _mask_maker(end.is_cuda)(is_visible, sequences, None, width, width, device=str(end.device))


@cache
def _mask_maker(gpu: bool) -> Callable[..., Any]:
    """What makes a block mask: compiled, it never holds the whole square. A CPU would compile for longer than it runs."""
    from torch.nn.attention.flex_attention import create_block_mask

    return torch.compile(create_block_mask) if gpu else create_block_mask


def _make_mask(end: Tensor, depth: Tensor, window: int | None, kernel: str, dtype: torch.dtype) -> Any:
    """One mask in a kernel's form. Raises ValueError for a kernel that would read it in its own way."""
    if kernel == "flex_attention":
        return _block_mask(end, depth, window)
    mask = visible(end, depth, window)[:, None]
    if kernel == "sdpa":
        return mask
    if kernel == "eager":
        return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)
    raise ValueError(
        f"attention {kernel!r} cannot read a trie; set the recipe's attention to auto, sdpa, eager or flex_attention"
    )


def tree_masks(
    end: Tensor, depth: Tensor, layer_types: list[str], window: int | None, kernel: str, dtype: torch.dtype, longest: int = 0
) -> Mapping[str, Any]:  # fmt: skip
    """Layer type -> mask of tries `[sequences, width]`, in the form that `kernel` takes: `sdpa`, `eager` or `flex_attention`.

    `sdpa` gets booleans `[sequences, 1, width, width]`, `eager` numbers of `dtype` to add to the scores, `flex_attention`
    a block mask. `longest` is the number of tokens of the longest row, where it is known (0 = not): a window that it does not
    exceed hides nothing, so all layers share one mask. Raises ValueError for any other kernel.
    """
    if window is not None and 0 < longest <= window:
        window = None
    masks: dict[int | None, Any] = {}
    by_type = {layer_type: window if layer_type == SLIDING else None for layer_type in sorted(set(layer_types))}
    for layer_window in by_type.values():
        if layer_window not in masks:
            masks[layer_window] = _make_mask(end, depth, layer_window, kernel, dtype)
    return {layer_type: masks[layer_window] for layer_type, layer_window in by_type.items()}


def widen(ids: Tensor, depth: Tensor, end: Tensor, leaves: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same tries `[sequences, width]`, padded to a width of whole blocks, and where their rows end `[rows]`.

    FlexAttention is compiled anew for a shape of another kind. Padding attends to itself only, and nothing attends to it.
    """
    sequences, width = ids.shape
    more = -width % BLOCK
    if not more:
        return ids, depth, end, leaves
    alone = torch.arange(width + 1, width + more + 1, device=end.device).expand(sequences, more)
    ids, depth = (functional.pad(values, (0, more)) for values in (ids, depth))
    return ids, depth, torch.cat([end, alone], 1), leaves + leaves // width * more


def choose_kernel(recipe: Recipe, config: PreTrainedConfig, gpu: str | None = None) -> str:
    """The kernel that a recipe names or, for `auto`, the fastest on a GPU of this name (None = this machine's; empty = a CPU).

    Scores that are capped (Gemma 2) rule sdpa out. FlexAttention has no backward pass on a CPU.
    """
    if recipe.attention != "auto":
        return recipe.attention
    if gpu is None:
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    text = config.get_text_config()
    if getattr(text, "attn_logit_softcapping", None):
        return "flex_attention" if gpu else "eager"
    width = recipe.sequence_tokens or max(recipe.pack_tokens, recipe.score_tokens)
    return "flex_attention" if gpu and width >= _flex_from(head_size(text), gpu) else "sdpa"


def head_size(text: Any) -> int:
    """The size of a text model's widest heads."""
    fields = text.to_dict()
    usual = fields.get("head_dim") or fields["hidden_size"] // fields["num_attention_heads"]
    by_layer = (fields.get("per_layer_config") or {}).values()  # of layers whose heads have a size of their own
    return max([usual, *(layer.get("head_dim") or 0 for layer in by_layer)])


def _flex_from(size: int, gpu: str) -> float:
    """Tokens of a sequence from which on FlexAttention is the faster one: the line of the least head that is as large."""
    lines = json.loads(TABLE.read_text("utf-8"))
    lines = [line for line in lines if line["gpu"] == gpu] or [line for line in lines if not line["gpu"]]
    fitting = [line for line in lines if line["head_size"] >= size]
    found = min(fitting, key=lambda line: line["head_size"])["flex_from"] if fitting else None
    return float("inf") if found is None else found


def write_line(gpu: str, size: int, flex_from: int | None) -> None:
    """Put what was measured on a GPU into the table, in the place of what was measured before. None: FlexAttention is never faster."""
    lines = [line for line in json.loads(TABLE.read_text("utf-8")) if (line["gpu"], line["head_size"]) != (gpu, size)]
    lines.append({"gpu": gpu, "head_size": size, "flex_from": flex_from})
    write_text(TABLE, "[\n" + ",\n".join(f" {json.dumps(line)}" for line in lines) + "\n]\n")
