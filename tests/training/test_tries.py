"""Packs are exact: every logit and every gradient of a trie is that of the row alone, in every family."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.overrides import TorchFunctionMode
from transformers import (
    AutoModelForSequenceClassification,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    Qwen2Config,
    Qwen3Config,
    SiglipVisionConfig,
    Trainer,
    TrainingArguments,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from utils.core.recipe import Recipe
from utils.models import attention, decoders, precision, trained
from utils.models.zoo import DECODER
from utils.training import packing, tries
from utils.training.packing import count_tokens, fill_steps, shuffle_groups, training_steps
from utils.training.predict import predict
from utils.training.tokens import Encoded, Ids
from utils.training.tries import build_batch, build_pack, shared, trie_batches

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
FAMILIES = {
    "gemma-3-text": (GEMMA3, "sdpa"),
    "gemma-3-multimodal": (MULTIMODAL, "sdpa"),
    "gemma-2": (GEMMA2, "eager"),  # its soft cap is not in sdpa
    "qwen-2": (Qwen2Config(**TINY, num_key_value_heads=1), "sdpa"),
    "qwen-2-sliding": (QWEN2_SLIDING, "sdpa"),
    "qwen-3": (Qwen3Config(**TINY, **HEADS), "sdpa"),
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
    """The slow reference: every row alone, through the stock class."""
    return torch.cat([model(input_ids=torch.tensor([row])).logits for row in rows])


def packed(model: nn.Module, rows: list[Ids], batches: list[np.ndarray], sequence: int = 0) -> Tensor:
    found: list[Tensor] = [torch.empty(0)] * len(rows)
    for batch in batches:
        logits = model(**build_batch([rows[number] for number in batch], sequence > 0)).logits
        for number, logit in zip(batch, logits, strict=True):
            found[number] = logit
    return torch.stack(found)


def gradients(model: nn.Module, logits: Tensor) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    label = torch.arange(len(logits)) % 2
    cross_entropy(logits, label).backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def encoded(rows: list[Ids], sequence: int = 0) -> Encoded:
    group = np.array([row[0] for row in rows], dtype=np.int64)
    return Encoded([(row,) for row in rows], group, causal=True, sequence=sequence)


tokens_of_a_row = st.lists(st.integers(1, 4), min_size=1, max_size=14).map(tuple)
"""Few kinds of tokens, so that rows share prefixes, are equal, and are prefixes of each other; pad (0) never stands in a row."""
rows_of_a_pack = st.lists(tokens_of_a_row, min_size=1, max_size=12)


class Doubles(TorchFunctionMode):
    """Within it a network in float64 computes in float64 where its code asks for float32 (norms, softmax, positions).

    So what is left between a pack and its rows is the rounding of 53 bits, and a bound of 1e-9 tells an error from rounding.
    """

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        args = tuple(torch.float64 if value is torch.float32 else value for value in args)
        kwargs = {k: torch.float64 if value is torch.float32 else value for k, value in (kwargs or {}).items()}
        return function(*args, **kwargs) if function is not Tensor.float else args[0].double()


def check_exactness(model: nn.Module, rows: list[Ids], budget: int, sequence: int = 0, bound: float = 1e-9) -> None:
    """Packs of at most `budget` tokens against every row alone, in the network's precision: logits, and the gradients of LoRA and head."""
    if next(model.parameters()).dtype == torch.float64:
        with Doubles():
            compare_with_rows(model, rows, budget, sequence, bound)
    else:
        compare_with_rows(model, rows, budget, sequence, bound)


def compare_with_rows(model: nn.Module, rows: list[Ids], budget: int, sequence: int, bound: float) -> None:
    batches = trie_batches(encoded(rows, sequence), np.arange(len(rows)), budget)
    slow = row_by_row(model, rows)
    expected = gradients(model, slow)
    fast = packed(model, rows, batches, sequence)
    found = gradients(model, fast)
    assert fast.dtype == slow.dtype and (fast - slow).abs().max() <= bound * (1 + slow.abs().max())
    assert found.keys() == expected.keys()
    assert any("lora_A" in name for name in found) and any("score" in name for name in found)
    for name, value in expected.items():
        assert (found[name] - value).norm() <= bound * (1 + value.norm()), name


SHARED = [(1, 2, 3, 1, 2, 3), (1, 2, 3, 1, 4), (1, 2, 3, 1, 2, 3), (1, 2), (2, 1), (3,), (1, 2, 3, 1, 2, 3, 3, 3)]
"""Equal rows, a row that another begins with, a row of one token, three roots, a path longer than the window."""


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
        check_exactness(model, SHARED, 9)  # subtrees are cut, their ancestors repeated
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
    if "sliding_attention" in text.layer_types:
        plants["no window"] = lambda end, depth, window=None: true_masks(end, depth)
        plants["window over places"] = lambda end, depth, window=None: true_masks(
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
    assert type(stock) is type(stock).__mro__[0] and not issubclass(type(stock), decoders._ReadsTries)
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
    cross_entropy(row_by_row(alone, rows), label).backward()
    torch.optim.SGD([value for value in alone.parameters() if value.requires_grad], lr=0.1).step()
    trained = dict(alone.named_parameters())
    assert all((value - trained[name]).abs().max() < 1e-5 for name, value in packs.named_parameters())


# -- how rows are laid out -----------------------------------------------------------------------------------------------


@given(rows_of_a_pack, st.integers(14, 40))
def test_a_trie_holds_each_distinct_prefix_once(rows: list[Ids], budget: int) -> None:
    batches = trie_batches(encoded(rows), np.arange(len(rows)), budget)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(rows)))
    for batch in batches:
        inside = [rows[number] for number in batch]
        pack = build_pack(inside)
        assert len(pack.ids) == len({row[:size] for row in inside for size in range(1, len(row) + 1)}) <= budget
        place = np.arange(len(pack.ids))
        for row, leaf in zip(inside, pack.leaves, strict=True):
            ancestors = place[(place <= leaf) & (leaf < pack.end)]
            assert tuple(pack.ids[ancestors]) == row
            assert pack.depth[ancestors].tolist() == list(range(len(row)))


@given(rows_of_a_pack, st.integers(14, 60), st.integers(1, 20))
def test_lanes_keep_to_their_width_and_the_batch_to_its_budget(rows: list[Ids], budget: int, sequence: int) -> None:
    kind = encoded(rows, sequence)
    batches = trie_batches(kind, np.arange(len(rows)), budget)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(rows)))
    for numbers in batches:
        batch = build_batch([rows[number] for number in numbers], sequences=True)
        count, width = batch["input_ids"].shape
        assert count * width == count_tokens(kind, numbers)
        assert width <= max(sequence, *(len(rows[number]) for number in numbers))
        assert len(numbers) == 1 or count * width <= budget
        ids, end, leaves = (batch[name].flatten().numpy() for name in ("input_ids", "end", "leaves"))
        for number, leaf in zip(numbers, leaves, strict=True):
            start, place = leaf // width * width, leaf % width
            ancestors = [start + i for i in range(place + 1) if place < end[start + i]]
            assert tuple(ids[ancestors]) == rows[number]


def test_cuts_fall_where_rows_share_least() -> None:
    """Groups of uneven size, three rows each: no cut goes through one, so no token is computed twice."""
    sizes = [30, 20, 28, 22, 30, 26]
    rows = [(kind,) * (size - 9) + (9, row, 8) for kind, size in enumerate(sizes, start=1) for row in range(3)]
    kind = encoded(rows, 64)
    batches = trie_batches(kind, np.arange(len(rows)), 64)
    assert sum(count_tokens(kind, batch) for batch in batches) == sum(sizes) - 6 * 9 + 6 * (1 + 3 * 2)
    assert len(batches) == 3


def test_a_row_longer_than_a_pack_is_refused() -> None:
    with pytest.raises(ValueError, match="raise pack_tokens"):
        trie_batches(encoded([(1, 2, 3)]), np.arange(1), 2)
    with pytest.raises(ValueError, match="no last token"):
        build_pack([()])


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 9), st.integers(1, 16), st.integers(0, 99))
def test_steps_are_full_and_keep_the_cap_while_they_can(kinds: list[int], cap: int, size: int, seed: int) -> None:
    group = np.array(kinds)
    order = shuffle_groups(group, cap, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(len(group)))
    steps = fill_steps(order, group, size, cap)
    assert sorted(np.concatenate(steps).tolist()) == list(range(len(group)))
    assert all(len(step) == size for step in steps[:-1])
    for number, step in enumerate(steps):
        over = np.bincount(group[step]) > cap
        if over.any():  # then nothing else was left: every later row is of a group that is at its cap here
            later = np.concatenate([np.array([], dtype=np.int64), *steps[number + 1 :]])
            assert np.all(np.bincount(group[step], minlength=7)[group[later]] >= cap)


def test_rows_that_begin_alike_stand_together_in_runs() -> None:
    group = np.repeat(np.arange(20), 10)
    order = shuffle_groups(group, 5, np.random.default_rng(0))
    runs = group[order].reshape(40, 5)
    assert np.all(runs == runs[:, :1])
    assert np.any(runs[:-1, 0] > runs[1:, 0])


@given(rows_of_a_pack, st.integers(1, 8), st.integers(1, 4), st.floats(0.2, 3.0))
def test_every_row_is_trained_once_an_epoch(rows: list[Ids], size: int, cap: int, epochs: float) -> None:
    recipe = Recipe("tiny", "gemma", batch_rows=size, share_rows=cap, pack_tokens=20, epochs=epochs)
    for kind in (encoded(rows), Encoded([(row,) for row in rows], np.arange(len(rows)), causal=False)):
        steps = training_steps(kind, recipe)
        flat = np.concatenate([part for step in steps for part in step]) if steps else np.array([], dtype=np.int64)
        counts = np.bincount(flat, minlength=len(rows))
        assert len(flat) == round(len(rows) * epochs)
        assert counts.max() - counts.min() <= 1
        assert all(sum(map(len, step)) <= size for step in steps)


def test_steps_hang_on_the_seed_alone() -> None:
    rows = [(1 + number % 3, number % 5, 2) for number in range(40)]
    recipe = Recipe("tiny", "gemma", batch_rows=8, share_rows=3)

    def flat(seed: int) -> list[list[int]]:
        return [np.concatenate(step).tolist() for step in training_steps(encoded(rows), recipe.with_(seed=seed))]

    assert flat(1) == flat(1) != flat(2)


@given(st.lists(tokens_of_a_row, max_size=8))
def test_shared_counts_the_common_prefix(rows: list[Ids]) -> None:
    for left, right in itertools.pairwise(rows):
        count = shared(left, right)
        assert left[:count] == right[:count]
        assert left[count : count + 1] != right[count : count + 1] or count in (len(left), len(right))


# -- scoring ---------------------------------------------------------------------------------------------------------------


class Small(nn.Module):
    """A network whose memory holds tries of at most `room` tokens."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.weight, self.seen = room, nn.Parameter(torch.zeros(1)), []

    def forward(self, input_ids: Tensor, position_ids: Tensor, end: Tensor, leaves: Tensor) -> SequenceClassifierOutput:
        self.seen.append(input_ids.shape[1])
        if input_ids.shape[1] > self.room:
            raise torch.OutOfMemoryError("full")
        last = input_ids[0, leaves].float()
        return SequenceClassifierOutput(logits=torch.stack([torch.zeros_like(last), last], dim=1))


def test_scoring_halves_its_packs_when_memory_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(1, 1 + number % 3, number, 1 + number % 4) for number in range(1, 60)]
    found = predict(model := Small(40), encoded(rows), 128, 0, "tiny", "none")
    expected = torch.sigmoid(torch.tensor([float(row[-1]) for row in rows])).numpy()
    assert np.abs(found - expected).max() < 1e-6
    assert "out of memory, going on with packs of 64 tokens" in (said := capsys.readouterr().out)
    assert "packs of 32 tokens" in said and max(model.seen[-3:]) <= 32
    with pytest.raises(torch.OutOfMemoryError):
        predict(Small(2), encoded(rows), 128, 0, "tiny", "none")
