"""Two T4s of 16 GB, as notebook services lend them for nine hours: no bfloat16, so float16 with a scaled loss."""

from utils.core.recipe import Recipe
from utils.profiles.base import BASELINES, Final, Profile, from_zoo, variants, zeroshot

SMALL = Recipe(
    "small", "qwen", max_length=192, pooling="last", tuning="lora", lora_rank=16, lora_alpha=32, learning_rate=1e-4,
    epochs=1.0, batch_rows=32, share_rows=8, score_tokens=4096, sequence_tokens=512, rows=10_000, answer_rows=3_000,
)  # fmt: skip
XLMR = from_zoo("xlm-roberta-large", SMALL.with_(pooling="first", tuning="full", dropout=0.1, learning_rate=1e-5))
QWEN = from_zoo("qwen3-1.7b", SMALL)
FOUR_BITS = from_zoo("qwen3-4b", SMALL.with_(quantisation="nf4"))
NETWORKS = tuple(recipe.with_(precision="float16", pack_tokens=2048) for recipe in (XLMR, QWEN, FOUR_BITS))
NO_GEMMA = ("gemma", "its activations exceed the range of float16, and a T4 has no bfloat16; use the gpu24 profile")

T4X2 = Profile(
    name="t4x2",
    rows=0,
    fold_count=5,
    group_depth=3,
    translation="nllb-200-distilled-600m",  # MADLAD-400, like every T5, overflows in float16
    validation_rows=3_000,
    candidates=(*BASELINES, zeroshot(10_000), *NETWORKS, *variants(NETWORKS[1], 2)),
    skipped=(NO_GEMMA,),
    comparison="qwen3-1.7b",
    finals=tuple(Final(recipe.name, 150_000, (0,)) for recipe in NETWORKS),
    finalists=2,
    rows_by_task=(("QI", 5_000),),
    tapt_rows=5_000,
    auxiliary_rows=5_000,
    offline=False,
    held_out_rows=10_000,
    held_out_validation_rows=3_000,
    related_rows=1000,
    ablation_rows=3000,
    ablation_validation_rows=3000,
    engine="auto",
)
