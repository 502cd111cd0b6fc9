"""The models that the road knows, a line each: where they come from, on what terms, and how they are trained."""

from dataclasses import dataclass

from utils.packages import E5_PACKAGE, GEMMA_PACKAGE, Package

ENCODER = ("query", "key", "value", "dense")
DECODER = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# A multimodal checkpoint is read without its other towers; where one stands there all the same, it is left as it is.
OTHER_TOWERS = r".*(vision|audio|multi_modal).*"


@dataclass(frozen=True)
class Model:
    """One model: its id on the hub, its terms, and the literals that hang on its architecture."""

    family: str
    hub: str
    licence: str
    gated: bool = False  # the hub asks for an account that has accepted the licence
    targets: tuple[str, ...] = ()  # linear layers that LoRA adapts, in the language tower alone
    attention: str = "sdpa"  # the kernel on a GPU; Gemma 2 caps its scores, which sdpa cannot
    precision: str = "bfloat16"
    pack_tokens: int = 4096  # of one training pack on 80 GB
    parameters: float = 0.0  # of the whole checkpoint
    package: Package | None = None  # a pip package that carries the same weights


# Whose tokenizer a family has, where a package carries it; another's stands in for the rest.
TOKENIZERS = {"xlm-r": "multilingual-e5-small", "gemma": "gemma-3-270m"}
STAND_IN = "gemma-3-270m"
APACHE, GEMMA_TERMS = "Apache-2.0", "Gemma terms of use"
ZOO = {
    "multilingual-e5-small": Model(
        "xlm-r",
        "intfloat/multilingual-e5-small",
        "MIT",
        targets=ENCODER,
        precision="float32",
        package=E5_PACKAGE,
        parameters=118e6,
    ),
    "gemma-3-270m": Model(
        "gemma",
        "google/gemma-3-270m",
        GEMMA_TERMS,
        True,
        DECODER,
        precision="float32",
        package=GEMMA_PACKAGE,
        parameters=268e6,
    ),
    "xlm-roberta-large": Model(
        "xlm-r", "FacebookAI/xlm-roberta-large", "MIT", targets=ENCODER, pack_tokens=8192, parameters=560e6
    ),
    "qwen3-0.6b": Model("qwen", "Qwen/Qwen3-0.6B-Base", APACHE, targets=DECODER, pack_tokens=8192, parameters=596e6),
    "qwen2.5-7b": Model("qwen", "Qwen/Qwen2.5-7B", APACHE, targets=DECODER, parameters=7.62e9),
    "qwen3-8b": Model("qwen", "Qwen/Qwen3-8B-Base", APACHE, targets=DECODER, parameters=8.19e9),
    "qwen2.5-14b": Model("qwen", "Qwen/Qwen2.5-14B", APACHE, targets=DECODER, parameters=14.77e9),
    "qwen3-14b": Model("qwen", "Qwen/Qwen3-14B-Base", APACHE, targets=DECODER, parameters=14.77e9),
    "gemma-2-9b": Model(
        "gemma", "google/gemma-2-9b", GEMMA_TERMS, True, DECODER, attention="flex_attention", parameters=9.24e9
    ),
    "gemma-3-12b": Model("gemma", "google/gemma-3-12b-pt", GEMMA_TERMS, True, DECODER, parameters=12.19e9),
    "madlad400-3b-mt": Model("madlad", "google/madlad400-3b-mt", APACHE, parameters=2.94e9),
    "madlad400-10b-mt": Model("madlad", "google/madlad400-10b-mt", APACHE, parameters=10.7e9),
    "nllb-200-distilled-600m": Model("nllb", "facebook/nllb-200-distilled-600M", "CC-BY-NC-4.0", parameters=615e6),
    "nllb-200-3.3b": Model("nllb", "facebook/nllb-200-3.3B", "CC-BY-NC-4.0", parameters=3.34e9),
}
