"""Packs are exact: every logit and every gradient of a trie is that of the row alone, in every family."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from rows import SHARED, encoded, rows_of_a_pack
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoModelForSequenceClassification,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    Gemma4UnifiedTextConfig,
    Ministral3Config,
    Qwen2Config,
    Qwen3Config,
    SiglipVisionConfig,
    Trainer,
    TrainingArguments,
)

from utils.core.recipe import Recipe
from utils.models import attention, decoders, precision, trained
from utils.models.zoo import DECODER
from utils.training import packing, tries
from utils.training.tokens import Ids
from utils.training.tries import build_batch, trie_batches

TINY = {
    "vocab_size": 30,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "num_attention_heads": 2,
    "pad_token_id": 0,
}
HEADS = {"num_key_value_heads": 1, "head_dim": 16}
WINDOW = 4
SLIDING = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}
GEMMA3 = Gemma3TextConfig(**TINY, **HEADS, **SLIDING)
VISION = SiglipVisionConfig(
    hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, image_size=28, patch_size=14
)
QWEN2_SLIDING = Qwen2Config(
    **TINY, num_key_value_heads=1, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1
)
MULTIMODAL = Gemma3Config(text_config=GEMMA3.to_dict(), vision_config=VISION.to_dict(), pad_token_id=0)
GEMMA2 = Gemma2Config(**TINY, **HEADS, **SLIDING, query_pre_attn_scalar=16, attn_logit_softcapping=2.0)
GEMMA4 = Gemma4UnifiedTextConfig(
    **TINY, **HEADS, **SLIDING, global_head_dim=32, num_global_key_value_heads=1, attention_k_eq_v=True
)
FAMILIES = {
    "gemma-3-text": (GEMMA3, "sdpa"),
    "gemma-3-multimodal": (MULTIMODAL, "sdpa"),
    "gemma-2": (GEMMA2, "eager"),  # its soft cap is not in sdpa
    "qwen-2": (Qwen2Config(**TINY, num_key_value_heads=1), "sdpa"),
    "qwen-2-sliding": (QWEN2_SLIDING, "sdpa"),
    "qwen-3": (Qwen3Config(**TINY, **HEADS), "sdpa"),
    "gemma-4": (GEMMA4, "sdpa"),
    "ministral-3": (Ministral3Config(**TINY, **HEADS), "sdpa"),
    "ministral-3-sliding": (Ministral3Config(**TINY, **HEADS, sliding_window=WINDOW), "sdpa"),
}


def network(family: str, kernel: str | None = None) -> nn.Module:
    """A tiny random network of the true class with a LoRA whose B is not zero, so that every gradient flows."""
    config, usual = FAMILIES[family]
    torch.manual_seed(0)
    config._attn_implementation = kernel or usual
    model = decoders.decoder_class(config)(config)
    for name, parameter in model.named_parameters():  # large enough for wrong masks to show
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.3 if "embed" not in name else 1.0)
    lora = LoraConfig(
        r=4, target_modules=list(DECODER), exclude_modules=".*vision.*", modules_to_save=["score"],
        task_type=TaskType.SEQ_CLS,
    )  # fmt: skip
    wrapped = get_peft_model(model.float(), lora)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    return wrapped


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> nn.Module:
    return network(request.param).double()


def row_by_row(model: nn.Module, rows: list[Ids]) -> Tensor:
    """The slow reference: every row alone, through the unmodified transformers class."""
    return torch.cat([model(input_ids=torch.tensor([row])).logits for row in rows])


def packed(model: nn.Module, rows: list[Ids], batches: list[np.ndarray], sequence: int = 0) -> Tensor:
    row_logits: list[Tensor] = [torch.empty(0)] * len(rows)
    for batch in batches:
        logits = model(**build_batch([rows[number] for number in batch], sequence > 0)).logits
        for number, logit in zip(batch, logits, strict=True):
            row_logits[number] = logit
    return torch.stack(row_logits)


def gradients(model: nn.Module, logits: Tensor) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    label = torch.arange(len(logits)) % 2
    torch.autograd.backward(
        functional.cross_entropy(logits, label)
    )  # not `Tensor.backward`, within which `Doubles` would not hold
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


@contextmanager
def doubles() -> Iterator[None]:
    """Within it a network in float64 computes in float64 where its code asks for float32 (norms, softmax, positions).

    So what is left between a pack and its rows is the rounding of 53 bits, and a bound of 1e-9 tells an error from rounding.
    """

    def wide(function: Callable) -> Callable:
        def widened(*args: Any, **kwargs: Any) -> Any:
            args = tuple(torch.float64 if value is torch.float32 else value for value in args)
            kwargs = {name: torch.float64 if value is torch.float32 else value for name, value in kwargs.items()}
            return function(*args, **kwargs)

        return widened

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "float", Tensor.double)
        patch.setattr(Tensor, "to", wide(Tensor.to))
        patch.setattr(functional, "softmax", wide(functional.softmax))
        yield


def check_exactness(model: nn.Module, rows: list[Ids], budget: int, sequence: int = 0, bound: float = 1e-9) -> None:
    """Packs of at most `budget` tokens against every row alone, in the network's precision: logits, and the gradients of LoRA and head."""
    if next(model.parameters()).dtype == torch.float64:
        with doubles():
            compare_with_rows(model, rows, budget, sequence, bound)
    else:
        compare_with_rows(model, rows, budget, sequence, bound)


def compare_with_rows(model: nn.Module, rows: list[Ids], budget: int, sequence: int, bound: float) -> None:
    batches = trie_batches(encoded(rows, sequence), np.arange(len(rows)), budget)
    slow = row_by_row(model, rows)
    expected = gradients(model, slow)
    fast = packed(model, rows, batches, sequence)
    actual = gradients(model, fast)
    assert fast.dtype == slow.dtype and (fast - slow).abs().max() <= bound * (1 + slow.abs().max())
    assert actual.keys() == expected.keys()
    assert any("lora_A" in name for name in actual) and any("score" in name for name in actual)
    for name, value in expected.items():
        assert (actual[name] - value).norm() <= bound * (1 + value.norm()), name


@given(rows=rows_of_a_pack, budget=st.integers(14, 60), sequence=st.sampled_from([0, 5, 15]))
@example(rows=SHARED, budget=40, sequence=0)
@example(rows=SHARED, budget=40, sequence=9)
@settings(max_examples=30)
def test_logits_and_gradients_are_those_of_the_row_alone(
    model: nn.Module, rows: list[Ids], budget: int, sequence: int
) -> None:
    check_exactness(model, rows, budget, sequence)


def test_exact_under_gradient_checkpointing(model: nn.Module) -> None:
    model.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    try:
        check_exactness(model, SHARED, 40)
        check_exactness(model, SHARED, 9)  # subtrees are split off, their ancestors repeated
    finally:
        model.activation_checkpointing_disable()
        model.eval()


def test_planted_errors_are_caught(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above can fail: a mask that forgets the tree, one that is off by one, positions that do not restart."""
    true_masks, true_batch = attention.visible, build_batch
    text = model.config.get_text_config()
    plants = {
        "plain causal": lambda end, depth, window=None: true_masks(torch.full_like(end, end.shape[1]), depth, window),
        "subtree too long": lambda end, depth, window=None: true_masks(end + 1, depth, window),
    }
    kinds = getattr(text, "layer_types", None)
    if "sliding_attention" in kinds if kinds else text.sliding_window:
        plants["no window"] = lambda end, depth, window=None: true_masks(end, depth)
        plants["window over positions"] = lambda end, depth, window=None: true_masks(
            end, torch.arange(end.shape[1])[None], window
        )
    for plant in plants.values():
        monkeypatch.setattr(attention, "visible", plant)
        with pytest.raises(AssertionError):
            check_exactness(model, SHARED, 40)
    monkeypatch.setattr(attention, "visible", true_masks)

    def running_on(rows: list[Ids], sequences: bool = False) -> tries.Batch:
        batch = true_batch(rows, sequences)
        return batch | {"position_ids": torch.arange(batch["input_ids"].shape[1]).expand_as(batch["input_ids"])}

    monkeypatch.setitem(globals(), "build_batch", running_on)
    with pytest.raises(AssertionError):
        check_exactness(model, SHARED, 40)


@pytest.mark.skipif(shutil.which("g++") is None, reason="FlexAttention compiles its kernel on a CPU and needs g++")
@pytest.mark.parametrize("family", ["gemma-3-text", "gemma-2", "qwen-3"])
def test_flex_attention_reads_the_same_tree(family: str) -> None:
    """Forward only: on a CPU FlexAttention has no backward pass."""
    model = network(family, "flex_attention").eval()
    eager = network(family, "eager").eval()
    with torch.no_grad():
        for sequence in (0, 9):
            batches = trie_batches(encoded(SHARED, sequence), np.arange(len(SHARED)), 40)
            assert (packed(model, SHARED, batches, sequence) - row_by_row(eager, SHARED)).abs().max() < 1e-5


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="set the recipe's attention"):
        attention.tree_masks(torch.tensor([[1]]), torch.tensor([[0]]), ["full_attention"], None, "paged", torch.float32)


def test_half_precision_is_as_near_to_the_truth_as_padded_rows() -> None:
    rows = [row for row in SHARED if len(row) > 1] * 3
    truth = row_by_row(network("qwen-3"), rows)
    half = network("qwen-3").to(torch.bfloat16)
    padded = half(**packing.pad(rows, 0)).logits.float()
    trie = packed(half, rows, [np.arange(len(rows))]).float()
    assert (trie - truth).abs().max() <= 2 * (padded - truth).abs().max() + 0.02


def test_four_bit_packs_are_exact(tmp_path: Path) -> None:
    """QLoRA on a CPU: a packed step of a network in NF4 has the logits and gradients of its rows."""
    wide = Qwen3Config(**(TINY | {"hidden_size": 64, "intermediate_size": 64}), num_key_value_heads=2, head_dim=32)
    torch.manual_seed(0)
    decoders.decoder_class(wide)(wide).save_pretrained(tmp_path)
    recipe = Recipe("tiny", "qwen", "qwen3-0.6b", quantisation="nf4", lora_rank=4)
    model = decoders.decoder_class(wide).from_pretrained(
        tmp_path, quantization_config=precision.quantisation(recipe), dtype=torch.float32
    )
    assert type(model.model.layers[0].mlp.up_proj).__name__ == "Linear4bit"
    check_exactness(trained.make_trainable(model, recipe).train(), SHARED, 40, bound=1e-5)  # 4 bits are read in float32


def test_saved_it_opens_as_the_stock_class(tmp_path: Path) -> None:
    """Weights with plain transformers, the adapter with plain peft: neither knows of packs."""
    wrapped = network("gemma-3-text").eval()
    expected = row_by_row(wrapped, SHARED)
    wrapped.save_pretrained(tmp_path / "adapter")
    base = network("gemma-3-text").unload()
    base.save_pretrained(tmp_path / "base")
    stock, report = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", output_loading_info=True)
    assert type(stock) is type(stock).__mro__[0] and not issubclass(type(stock), decoders._TrieReader)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    opened = PeftModel.from_pretrained(stock, tmp_path / "adapter").eval()
    assert (row_by_row(opened, SHARED) - expected).abs().max() < 1e-6


def test_the_stock_trainer_trains_packs(tmp_path: Path) -> None:
    """`Trainer` with a collator that packs takes the step that rows alone, at the same learning rate, take."""
    rows, label = SHARED[:4], torch.tensor([0, 1, 1, 0])
    alone, packs = network("gemma-3-text"), network("gemma-3-text")
    options = TrainingArguments(
        tmp_path, max_steps=1, per_device_train_batch_size=4, learning_rate=0.1, lr_scheduler_type="constant", optim="sgd",
        max_grad_norm=0.0, report_to=[], remove_unused_columns=False, use_cpu=True, disable_tqdm=True, save_strategy="no",
    )  # fmt: skip

    def collate(numbers: list[int]) -> dict[str, Tensor]:
        return build_batch([rows[number] for number in numbers]) | {"labels": label[numbers]}

    Trainer(packs, options, data_collator=collate, train_dataset=list(range(4))).train()
    alone.train()
    functional.cross_entropy(row_by_row(alone, rows), label).backward()
    torch.optim.SGD([value for value in alone.parameters() if value.requires_grad], lr=0.1).step()
    trained = dict(alone.named_parameters())
    assert all((value - trained[name]).abs().max() < 1e-5 for name, value in packs.named_parameters())
