"""A recipe: all settings of how one model is trained and scored, saved beside its results."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from utils.core.errors import DataError, ProfileError
from utils.core.files import write_text
from utils.core.paths import LONGEST_NAME

Scheme = Literal["query", "report", "strict", "leave-language"]
# Fields that say how the work is laid out: they change a result by rounding alone.
LAYOUT = (
    "packing", "pack_tokens", "sequence_tokens", "score_tokens", "attention", "compiled", "checkpointing", "zero_stage", "offload",
)  # fmt: skip
# Fields that change no result: names, which rows there are (the rows themselves are hashed), and the layout.
UNHASHED = ("name", "variant_of", "scheme", "folds", "rows", "answer_rows", "auxiliary_rows", *LAYOUT)
ADDED = ("expansion", "typos", "joint", "parents", "siblings")  # fields that are shares of more training rows
IDEAS = (*ADDED, "level_dropout", "level_markers", "noisy_labels")  # fields that change what a network trains on


def name_problem(name: str) -> str:
    """Why a text cannot name a recipe and what to use, or the empty text.

    A name is a folder's, and stands in tables, CSV files and sentences: it leaves no folder, formats no page, begins no formula.
    """
    if len(name) <= LONGEST_NAME and re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", name):
        return ""
    return f"use letters, digits, and ., - or _ between them, at most {LONGEST_NAME}"


@dataclass(frozen=True)
class Recipe:
    """One candidate of the bake-off. `name` is used in tables, folder names and error messages.

    Lengths are in tokens, batches in rows, shares in 0..1. Raises ProfileError for a name that is none, also one read from a file.
    """

    name: str
    family: str  # baseline | xlm-r | qwen | gemma
    model: str = ""  # a name in `zoo.ZOO`; empty for a baseline without weights
    kind: Literal["classifier", "constant", "tfidf", "overlap", "wordpairs", "zeroshot"] = "classifier"
    variant_of: str = ""  # the candidate from which this one differs in a field or two
    scheme: Scheme = "query"  # how training and validation rows are split
    folds: tuple[int, ...] = (0,)  # the folds to train and validate
    rows: int = 0  # maximum number of training rows (whole queries, seeded); 0 = all
    answer_rows: int = 0  # maximum number of dev and of test rows to predict (whole queries); 0 = all
    auxiliary_rows: int = 0  # TAPT: maximum number of rows of the auxiliary task to train on first; 0 = no stage 1
    translation: bool = True  # add the query's English translation to the original
    expansion: float = 0.0  # more training rows, as a share: queries translated into languages without training rows
    typos: float = 0.0  # more training rows, as a share: queries with a typing error
    joint: float = 0.0  # more training rows, as a share: of the other task, which the target's marker tells apart
    parents: float = 0.0  # more training rows, as a share (QC): relevant rows with the path above theirs
    siblings: float = (
        0.0  # more training rows, as a share (QC): relevant rows with a sibling of their path, as not relevant
    )
    level_dropout: float = 0.0  # share of the training rows (QC) whose path loses a level above its last
    level_markers: bool = False  # a number before each level of a path, as the taxonomy has them
    noisy_labels: Literal["keep", "drop", "relabel"] = (
        "keep"  # training rows whose label out-of-fold answers contradict
    )
    query_first: bool = True  # query before target; False = target before query
    max_length: int = 96  # 0 = chosen by task
    architecture: Literal["cross-encoder", "bi-encoder"] = "cross-encoder"  # encoded together or apart
    pooling: Literal["mean", "first", "last"] = "mean"  # of states: mean or first for an encoder, last for a decoder
    tuning: Literal["lora", "full"] = "lora"  # full: all layers of an encoder, without its embeddings
    frozen_layers: int = 0  # with full: number of an encoder's lowest layers that are not trained
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0  # above 0, rows of a pack share the mask of their common tokens: unbiased, not exact
    dropout: float = 0.0  # of an encoder's states and attention; the decoders of the zoo have none
    learning_rate: float = 1e-4
    head_rate: float = 1.0  # learning rate of the head as a multiple of `learning_rate`
    schedule: Literal["linear", "constant"] = "linear"
    warmup: float = 0.1  # share of the optimizer steps
    weight_decay: float = 0.01
    clip: float = 1.0  # maximum norm of the gradient
    epochs: float = 1.0
    batch_rows: int = 32  # rows of one optimizer step, over all processes
    share_rows: int = 1  # maximum number of rows with a common start drawn together; 1 = each row alone
    packing: Literal["tries", "rows"] = "tries"  # of decoders: each distinct prefix once, or rows padded to a length
    pack_tokens: int = 2048  # tokens of one forward pass: of a trie, or padded
    sequence_tokens: int = 0  # maximum tokens of a sequence of a decoder's pack, one trie each; 0 = one trie
    score_tokens: int = 4096  # `pack_tokens` for scoring; halved when memory runs out
    attention: Literal["auto", "sdpa", "eager", "flex_attention"] = (
        "auto"  # kernel of decoders; auto: what `models.attention` says
    )
    compiled: bool = False  # on a GPU: the layers of a decoder as one piece of compiled code
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # float16: for GPUs without bfloat16
    quantisation: Literal["none", "nf4", "int8"] = "none"  # int8: for scoring only
    checkpointing: bool = False
    zero_stage: Literal[0, 2, 3] = 0  # DeepSpeed ZeRO stage; 0 = no DeepSpeed
    offload: bool = False  # with ZeRO: optimizer state (with stage 3 also weights) in host memory
    seed: int = 2025

    def __post_init__(self) -> None:
        if problem := name_problem(self.name):
            raise ProfileError(f"recipe {self.name[:LONGEST_NAME]!r}: {problem}")

    def with_(self, **changes: Any) -> "Recipe":
        """The same recipe with some fields changed. Raises TypeError for an unknown field."""
        return replace(self, **changes)


PLAIN = {field.name: field.default for field in fields(Recipe) if field.name in IDEAS}


def fingerprint(recipe: Recipe, *inputs: str) -> str:
    """Hash of a recipe and of the fingerprints of its inputs; 16 hex digits.

    Fields that do not change a fold's result (`UNHASHED`) are left out. `IDEAS` stand at their defaults: what they change are rows, which
    are among the inputs, and where they change none (a share of no rows, paths where there are none) nothing is another result.
    """
    content = {k: v for k, v in asdict(recipe.with_(**PLAIN)).items() if k not in UNHASHED}
    text = json.dumps([content, *inputs], sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def save(recipe: Recipe, path: Path, **extra: Any) -> None:
    """Write a recipe as JSON with additional keys (`fingerprint`, `task`, ...)."""
    write_text(path, json.dumps({**asdict(recipe), **extra}, indent=1, ensure_ascii=False) + "\n")


def load(path: Path) -> Recipe:
    """Read a recipe; keys that are not fields of a recipe are ignored."""
    names = {field.name for field in fields(Recipe)}
    content = {k: v for k, v in json.loads(path.read_text("utf-8")).items() if k in names}
    return Recipe(**{**content, "folds": tuple(content["folds"])})


def save_all(recipes: list[Recipe], folder: Path, **extra: Any) -> None:
    """Write recipes in their order as `1.json`, `2.json`, ...; other JSON files of the folder are deleted."""
    for path in folder.glob("*.json"):
        path.unlink()
    for number, recipe in enumerate(recipes, start=1):
        save(recipe, folder / f"{number}.json", **extra, of=len(recipes))


def load_all(folder: Path) -> list[Recipe]:
    """The recipes that `save_all` wrote to a folder, in their order. Raises DataError where it was interrupted."""
    paths = sorted(folder.glob("*.json"), key=lambda path: int(path.stem))
    for path in paths:
        if read_facts(path).get("of", len(paths)) != len(paths):
            raise DataError(f"{path}:1: others beside it are missing; run the notebook that writes them again")
    return [load(path) for path in paths]


def fold_folders(folder: Path) -> list[Path]:
    """The folders of a trained recipe's own folds, whatever else lies beside its `recipe.json`."""
    return [folder / f"fold{fold}" for fold in load(folder / "recipe.json").folds]


def read_fold_facts(folder: Path, fold: int) -> dict[str, Any]:
    """Measurements of a fold's training: speeds, seconds, parameters, rows, whether stage 2 continued stage 1."""
    return json.loads((folder / f"fold{fold}" / "facts.json").read_text("utf-8"))


def read_facts(path: Path) -> dict[str, Any]:
    """All keys of a saved recipe's file, fields and others; empty if there is no such file."""
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def pick(recipes: Sequence[Recipe], names: list[str]) -> list[Recipe]:
    """The recipes with these names, in the order of the names. Raises KeyError for an unknown name."""
    by_name = {recipe.name: recipe for recipe in recipes}
    return [by_name[name] for name in names]
