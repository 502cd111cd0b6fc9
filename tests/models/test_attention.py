"""The choice of an attention kernel, masks that layers share, and tries padded to whole blocks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Gemma2Config, Gemma3TextConfig, Qwen3Config

from utils.core.recipe import Recipe
from utils.models import attention, shapes
from utils.models.decoders import decoder_class
from utils.training.tries import build_batch

KINDS = ["sliding_attention", "full_attention"]
RECIPE = Recipe("r", "gemma", sequence_tokens=2048)
TINY = {
    "vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16, "pad_token_id": 0,
}  # fmt: skip


def test_the_kernel_follows_machine_head_and_width() -> None:
    gemma, qwen = shapes.config("gemma-3-12b"), Qwen3Config(head_dim=128)
    assert attention.choose_kernel(RECIPE, gemma, "") == "sdpa"  # a CPU
    assert attention.choose_kernel(RECIPE, gemma, "NVIDIA A100") == "flex_attention"
    assert attention.choose_kernel(RECIPE, qwen, "NVIDIA A100") == "sdpa"
    assert attention.choose_kernel(RECIPE.with_(sequence_tokens=512), gemma, "NVIDIA A100") == "sdpa"
    assert attention.choose_kernel(RECIPE.with_(sequence_tokens=0, pack_tokens=8192), qwen, "L4") == "flex_attention"
    assert attention.choose_kernel(RECIPE, shapes.config("gemma-4-12b"), "NVIDIA A100") == "sdpa"  # heads of 512
    assert attention.choose_kernel(RECIPE.with_(attention="eager"), gemma, "NVIDIA A100") == "eager"


def test_scores_that_are_capped_rule_sdpa_out() -> None:
    config = Gemma2Config(attn_logit_softcapping=50.0)
    assert attention.choose_kernel(RECIPE, config, "") == "eager"
    assert attention.choose_kernel(RECIPE.with_(sequence_tokens=256), config, "NVIDIA A100") == "flex_attention"


def test_a_measured_line_goes_before_the_published_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "kernels.json"
    table.write_text(attention.TABLE.read_text())
    monkeypatch.setattr(attention, "TABLE", table)
    config, narrow = shapes.config("gemma-3-12b"), RECIPE.with_(sequence_tokens=512)
    for width, expected in ((512, "flex_attention"), (1024, "sdpa")):  # the second takes the first one's place
        attention.write_line("NVIDIA H200", 256, width)
        assert attention.choose_kernel(narrow, config, "NVIDIA H200") == expected
        assert attention.choose_kernel(narrow, config, "NVIDIA A100") == "sdpa"
    assert len(json.loads(table.read_text())) == 3


@pytest.mark.parametrize("kernel", ["sdpa", "eager", "flex_attention"])
def test_layers_share_a_mask_where_no_row_exceeds_the_window(kernel: str) -> None:
    batch = build_batch([(1, 2, 3, 4), (1, 2, 5)])
    assert batch["longest"] == 4
    arguments = (batch["end"], batch["position_ids"], KINDS)
    for window, longest, shared in ((4, 4, True), (3, 4, False), (4, 0, False), (None, 4, True)):
        masks = attention.tree_masks(*arguments, window, kernel, torch.float32, longest)
        assert (masks[KINDS[0]] is masks[KINDS[1]]) == shared
    plain, hidden = (attention.visible(batch["end"], batch["position_ids"], window) for window in (None, 3))
    assert not torch.equal(plain, hidden) and torch.equal(plain, attention.visible(*arguments[:2], 4))


ROWS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=90).map(tuple), min_size=1, max_size=6)


@settings(max_examples=30, deadline=None)
@given(rows=ROWS)
def test_tries_padded_to_whole_blocks_give_the_same_logits(rows: list[tuple[int, ...]]) -> None:
    config = Gemma3TextConfig(**TINY, sliding_window=16, layer_types=KINDS)
    config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    model = decoder_class(config)(config).double().eval()
    batch = build_batch(rows, several_sequences=True)
    names = ("input_ids", "position_ids", "end", "leaves")
    wide = dict(zip(names, attention.widen(*(batch[name] for name in names)), strict=True))
    assert wide["input_ids"].shape[1] % attention.BLOCK == 0 and len(wide["leaves"]) == len(rows)
    with torch.no_grad():
        assert (model(**batch).logits - model(**wide).logits).abs().max() < 1e-6
    flat = batch["input_ids"].flatten().numpy()
    assert np.array_equal(wide["input_ids"].flatten()[wide["leaves"]].numpy(), flat[batch["leaves"].numpy()])
