"""Configurations of the zoo's networks: to plan for one without its weights, and to make a tiny one of the same class."""

from transformers import AutoConfig, PreTrainedConfig

from utils.models import weights
from utils.models.zoo import ZOO

HEAD, LAYERS, INNER = 16, 2, 128  # of a tiny network: width of a head, number of layers, width of the inner layer
WORDS = 1024  # of a narrow network's vocabulary


def config(name: str, folder: str = "") -> PreTrainedConfig:
    """The configuration of a model's text network: its shape in the zoo, else the config of its local weights.

    `folder` holds local weights (empty: none). Raises WeightsError where there is neither.
    """
    if ZOO[name].shape is None:
        return AutoConfig.from_pretrained(weights.resolve(name, folder)).get_text_config()
    return AutoConfig.for_model(**ZOO[name].shape)


def narrow(name: str, folder: str = "") -> PreTrainedConfig:
    """The configuration of a network of the same class and depth, as narrow as `tiny`: what its operations cost whatever their size."""
    true = config(name, folder)
    small = tiny(name, folder, true.num_hidden_layers, getattr(true, "layer_types", None))
    small.vocab_size = WORDS
    return small


def tiny(name: str, folder: str = "", layers: int = LAYERS, kinds: list[str] | None = None) -> PreTrainedConfig:
    """The configuration of a network of the same class, with few layers and narrow heads.

    The ratios of query heads and key heads are kept, and widths are multiples of 64, as 4 bits need them. Raises
    WeightsError for a model whose shape is not in the zoo and whose weights are not on this machine.
    """
    shape = config(name, folder).to_diff_dict() if ZOO[name].shape is None else dict(ZOO[name].shape)
    heads, keys = shape["num_attention_heads"], shape.get("num_key_value_heads")
    width = shape.get("head_dim", shape["hidden_size"] // heads)
    tiny_heads = 2 * heads // keys if keys else 4
    shape |= {"num_hidden_layers": layers, "intermediate_size": INNER, "num_attention_heads": tiny_heads}
    hidden = tiny_heads * HEAD * shape["hidden_size"] / (heads * width)
    # Without a width of their own, heads divide the hidden width.
    shape["hidden_size"] = max(64, 64 * round(hidden / 64)) if "head_dim" in shape else tiny_heads * HEAD
    if keys:
        shape["num_key_value_heads"] = 2
    if "head_dim" in shape:
        shape["head_dim"] = HEAD
    if "global_head_dim" in shape:
        shape["global_head_dim"] = 2 * HEAD
    if "sliding_window" in shape:
        shape["layer_types"] = kinds or ["sliding_attention", "full_attention"]
    return AutoConfig.for_model(**shape)
