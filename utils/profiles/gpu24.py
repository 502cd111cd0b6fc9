"""One GPU of 24 GB (RTX 4090, 3090, L4): within a day, up to 14 billion parameters in 4 bits."""

from utils.core.recipe import Recipe
from utils.profiles.base import BASELINES, Final, Profile, from_zoo, variants, zeroshot

LARGE = Recipe(
    "large", "gemma", max_length=256, pooling="last", tuning="lora", lora_rank=16, lora_alpha=32, learning_rate=1e-4,
    epochs=1.0, batch_rows=32, share_rows=8, score_tokens=8192, sequence_tokens=512, rows=20_000, answer_rows=5_000,
)  # fmt: skip
XLMR = from_zoo("xlm-roberta-large", LARGE.with_(pooling="first", tuning="full", dropout=0.1, learning_rate=1e-5))
HALF = tuple(from_zoo(name, LARGE.with_(compiled=True)) for name in ("qwen3-4b", "gemma-3-4b"))
FOUR_BITS = tuple(from_zoo(name, LARGE.with_(quantisation="nf4")) for name in ("gemma-3-12b", "qwen3-14b"))
NETWORKS = tuple(recipe.with_(pack_tokens=2048) for recipe in (XLMR, *HALF, *FOUR_BITS))

GPU24 = Profile(
    name="gpu24",
    rows=0,
    fold_count=5,
    group_depth=3,
    translation="madlad400-3b-mt",
    validation_rows=5_000,
    candidates=(*BASELINES, zeroshot(20_000), *NETWORKS, *variants(NETWORKS[1], 2)),
    skipped=(),
    comparison="qwen3-4b",
    finals=tuple(Final(recipe.name, 200_000, (0,)) for recipe in NETWORKS),
    finalists=2,
    rows_by_task=(("QI", 10_000),),
    tapt_rows=10_000,
    auxiliary_rows=10_000,
    offline=False,
    held_out_rows=20_000,
    held_out_validation_rows=5_000,
    related_rows=2000,
    ablation_rows=5000,
    ablation_validation_rows=5000,
    engine="auto",
    quantise=True,
)
