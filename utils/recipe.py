"""A recipe: everything that decides how one model is trained and read, frozen, saved beside what it made."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from utils.files import write_text

Scheme = Literal["report", "strict", "leave-language"]


@dataclass(frozen=True)
class Recipe:
    """One row of the bake-off. `name` is the row's name, its folder's name and what an error calls it.

    Lengths are tokens, batches are rows, shares lie in 0..1.
    """

    name: str
    family: str  # baseline | xlm-r | qwen | gemma
    model: str = ""  # a name of `zoo.ZOO`; empty for a baseline without weights
    kind: str = "classifier"  # classifier | constant | tfidf | overlap | zeroshot
    scheme: Scheme = "strict"  # which rows may teach
    folds: tuple[int, ...] = (0,)  # the folds that are trained and judged
    rows: int = 0  # at most so many training rows (whole queries, seeded); 0 = all
    answer_rows: int = 0  # at most so many dev and test rows are answered (whole queries); 0 = all
    sister_rows: int = 0  # TAPT: train on at most so many rows of the sister task first; 0 = do not
    translation: bool = True  # give the query's English beside the original
    query_first: bool = True  # query, then target; or the other way round
    max_length: int = 96
    pooling: str = "mean"  # mean | first | towers (encoders) | last (decoders)
    tuning: str = "lora"  # lora | full (an encoder's layers, not its embeddings)
    frozen_layers: int = 0  # with full: so many of an encoder's lowest layers stay as they are
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0  # above 0 rows of a pack share the draw for what they share: unbiased, but not exact
    dropout: float = 0.0  # of an encoder's states and attention; the zoo's decoders have none
    learning_rate: float = 1e-4
    head_rate: float = 1.0  # the head's learning rate, as a multiple
    schedule: str = "linear"  # linear | constant
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    epochs: float = 1.0
    batch_rows: int = 32  # rows of one optimizer step, over all processes
    share_rows: int = 1  # at most so many rows that begin alike in one step; 1 = rows dealt singly
    pack_tokens: int = 2048  # tokens that go through the network at once: of a trie, or padded
    lane_tokens: int = 0  # a decoder's pack is tries of at most so many, side by side; 0 = one trie
    score_tokens: int = 4096  # the same for scoring; halved where the memory does not hold them
    attention: str = "sdpa"  # sdpa | eager | flex_attention (decoders)
    precision: str = "float32"  # float32 | bfloat16
    quantisation: str = "none"  # none | nf4 | int8 (scoring)
    checkpointing: bool = False
    zero_stage: int = 0  # DeepSpeed ZeRO stage, 2 or 3; 0 = no DeepSpeed
    offload: bool = False  # with ZeRO: optimizer state (and with stage 3 the weights) wait in the host's memory
    seed: int = 2025

    def with_(self, **changes: Any) -> "Recipe":
        """The same recipe with some fields changed."""
        return replace(self, **changes)


def fingerprint(recipe: Recipe, *inputs: str) -> str:
    """Hash of a recipe and of the fingerprints of what it is applied to; 16 hex digits.

    The name and the way rows are batched for scoring do not change a result and are left out.
    """
    content = {k: v for k, v in asdict(recipe).items() if k not in ("name", "folds", "score_tokens")}
    text = json.dumps([content, *inputs], sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def save(recipe: Recipe, path: Path, **extra: Any) -> None:
    """Write a recipe as JSON, with further facts beside it (`fingerprint`, `task`, ...)."""
    write_text(path, json.dumps({**asdict(recipe), **extra}, indent=1, ensure_ascii=False) + "\n")


def load(path: Path) -> Recipe:
    """Read a recipe; keys that are no field of it are facts beside it and are left out."""
    known = {field.name for field in fields(Recipe)}
    content = {k: v for k, v in json.loads(path.read_text("utf-8")).items() if k in known}
    return Recipe(**{**content, "folds": tuple(content["folds"])})


def save_all(recipes: list[Recipe], folder: Path, **extra: Any) -> None:
    """Write recipes in their order as `1.json`, `2.json`, ...; what stood in the folder before goes."""
    for stale in folder.glob("*.json"):
        stale.unlink()
    for place, recipe in enumerate(recipes, start=1):
        save(recipe, folder / f"{place}.json", **extra)


def load_all(folder: Path) -> list[Recipe]:
    """The recipes of a folder in their order."""
    return [load(path) for path in sorted(folder.glob("*.json"), key=lambda path: int(path.stem))]


def fold_facts(folder: Path, fold: int) -> dict[str, Any]:
    """What a fold's training told: speeds, seconds, parameters, rows, and the proof of a continuation."""
    return json.loads((folder / f"fold{fold}" / "facts.json").read_text("utf-8"))


def facts(path: Path) -> dict[str, Any]:
    """Everything that stands in a saved recipe's file; empty where there is no such file."""
    return json.loads(path.read_text("utf-8")) if path.exists() else {}
