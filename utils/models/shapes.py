"""Configurations of the zoo's networks: to plan for one without its weights, and to make a tiny one of the same class."""

from transformers import AutoConfig, PreTrainedConfig

from utils.models import weights
from utils.models.zoo import ZOO

HEAD, LAYERS, INNER = 16, 2, 96  # of a tiny network: width of a head, number of layers, width of the inner layer


def config(name: str, folder: str = "") -> PreTrainedConfig:
    """The configuration of a model's text network: its shape in the zoo, else the config of its local weights.

    `folder` holds local weights (empty: none). Raises WeightsError where there is neither.
    """
    if ZOO[name].shape is None:
        return AutoConfig.from_pretrained(weights.resolve(name, folder)).get_text_config()
    return AutoConfig.for_model(**ZOO[name].shape)


def tiny(name: str) -> PreTrainedConfig:
    """The configuration of a network of the same class, with two layers and narrow heads.

    The ratios of query heads, key heads and hidden width are kept. Raises WeightsError for a model whose shape is not in
    the zoo and whose weights are not on this machine.
    """
    shape = config(name).to_diff_dict() if ZOO[name].shape is None else dict(ZOO[name].shape)
    heads, keys = shape["num_attention_heads"], shape.get("num_key_value_heads")
    width = shape.get("head_dim", shape["hidden_size"] // heads)
    tiny_heads = 2 * heads // keys if keys else 4
    shape |= {"num_hidden_layers": LAYERS, "intermediate_size": INNER, "num_attention_heads": tiny_heads}
    shape["hidden_size"] = round(tiny_heads * HEAD * shape["hidden_size"] / (heads * width))
    if keys:
        shape["num_key_value_heads"] = 2
    if "head_dim" in shape:
        shape["head_dim"] = HEAD
    if "global_head_dim" in shape:
        shape["global_head_dim"] = 2 * HEAD
    if "sliding_window" in shape:
        shape["layer_types"] = ["sliding_attention", "full_attention"]
    return AutoConfig.for_model(**shape)
