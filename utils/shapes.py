"""The shapes of the zoo's networks: enough to plan for one that is not here, and to make a tiny one of exactly its class."""

from typing import Any

from transformers import AutoConfig, PreTrainedConfig

HEAD, LAYERS, INNER = 16, 2, 96  # of a tiny network: width of a head, layers, width of its inner layer


def _decoder(
    kind: str, hidden: int, layers: int, heads: int, keys: int, head: int, inner: int, vocab: int, **more: Any
) -> dict[str, Any]:
    """A decoder's numbers by the names that its config gives them."""
    named = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
    }
    width = {} if kind == "qwen2" else {"head_dim": head}  # Qwen 2 derives it
    return {"model_type": kind, **named, **width, "intermediate_size": inner, "vocab_size": vocab, **more}


# From the configurations that the hub's repositories carry.
SHAPES: dict[str, dict[str, Any]] = {
    "multilingual-e5-small": {
        "model_type": "bert", "hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 1536,
        "vocab_size": 250_037,
    },
    "gemma-3-270m": _decoder(
        "gemma3_text", 640, 18, 4, 1, 256, 2048, 262_144, sliding_window=512, query_pre_attn_scalar=256,
    ),
    "xlm-roberta-large": {
        "model_type": "xlm-roberta", "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
        "vocab_size": 250_002, "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1,
    },
    "qwen3-0.6b": _decoder("qwen3", 1024, 28, 16, 8, 128, 3072, 151_936, tie_word_embeddings=True),
    "qwen2.5-7b": _decoder("qwen2", 3584, 28, 28, 4, 128, 18_944, 152_064),
    "qwen3-8b": _decoder("qwen3", 4096, 36, 32, 8, 128, 12_288, 151_936),
    "qwen2.5-14b": _decoder("qwen2", 5120, 48, 40, 8, 128, 13_824, 152_064),
    "qwen3-14b": _decoder("qwen3", 5120, 40, 40, 8, 128, 17_408, 151_936),
    "gemma-2-9b": _decoder("gemma2", 3584, 42, 16, 8, 256, 14_336, 256_000, query_pre_attn_scalar=256, sliding_window=4096),
    "gemma-3-12b": _decoder(
        "gemma3_text", 3840, 48, 16, 8, 256, 15_360, 262_208, query_pre_attn_scalar=256, sliding_window=1024,
    ),
}  # fmt: skip
# SigLIP, the tower that Gemma 3 sees with; the road leaves it out.
VISION = {
    "hidden_size": 1152,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "intermediate_size": 4304,
    "image_size": 896,
}
MULTIMODAL = ("gemma-3-12b",)


def config(name: str) -> PreTrainedConfig:
    """The configuration of a model's text network. Raises KeyError for one whose shape is not known."""
    return AutoConfig.for_model(**SHAPES[name])


def tiny(name: str) -> PreTrainedConfig:
    """The same class with two layers and narrow heads, in the true ratio of query heads, key heads and hidden width."""
    true = dict(SHAPES[name])
    heads, keys = true["num_attention_heads"], true.get("num_key_value_heads")
    head = true.get("head_dim", true["hidden_size"] // heads)
    few = 2 * heads // keys if keys else 4
    true |= {"num_hidden_layers": LAYERS, "intermediate_size": INNER, "num_attention_heads": few}
    true["hidden_size"] = round(few * HEAD * true["hidden_size"] / (heads * head))
    if keys:
        true["num_key_value_heads"] = 2
    if "head_dim" in true:
        true["head_dim"] = HEAD
    if "sliding_window" in true:
        true["layer_types"] = ["sliding_attention", "full_attention"]
    return AutoConfig.for_model(**true)
