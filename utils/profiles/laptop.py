"""The whole pipeline in some 20 minutes on two cores, offline, with the pretrained weights that install as packages."""

from utils.core.recipe import Recipe
from utils.profiles.base import BASELINES, Final, Profile, variants, zeroshot

E5 = Recipe(
    "e5-small", "xlm-r", "multilingual-e5-small", max_length=0, architecture="bi-encoder", tuning="full", learning_rate=6e-5,
    head_rate=20.0, frozen_layers=6, rows=400, answer_rows=100, batch_rows=16, share_rows=4,
    score_tokens=1024,
)  # fmt: skip
GEMMA = Recipe(
    "gemma-3-270m", "gemma", "gemma-3-270m", max_length=0, pooling="last", tuning="lora", learning_rate=5e-4, rows=400, answer_rows=100,
    batch_rows=16, share_rows=8, pack_tokens=512, score_tokens=2304, sequence_tokens=256,
)  # fmt: skip
NO_QWEN = ("qwen", "no package carries Qwen's weights; give a folder with --models, or use the a100 profile")

LAPTOP = Profile(
    name="laptop",
    rows=8000,
    fold_count=5,
    group_depth=3,
    translation="glossary",
    validation_rows=600,
    candidates=(*BASELINES, zeroshot(500, 100), E5, *variants(E5, 1), GEMMA),
    skipped=(NO_QWEN,),
    comparison="e5-small",
    finals=(
        Final("e5-small", 0, (0,)),
        Final("gemma-3-270m", 1000, (0,), tasks=("QC",)),
    ),
    finalists=2,
    members=("tfidf", "overlap", "wordpairs"),  # zeroshot reads the same weights as e5-small: beside it it got none
    rows_by_task=(("QI", 200),),  # titles hardly repeat: a row costs a decoder several times as much as in QC
    tapt_rows=100,
    auxiliary_rows=100,
    offline=True,
    held_out_rows=1500,
    held_out_validation_rows=0,
    related_rows=400,
)
