"""A decoder that classifies: the stock class of transformers, able to read many rows in one trie."""

from functools import cache
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedConfig
from transformers.modeling_outputs import SequenceClassifierOutput

from utils.attention import tree_masks


class _ReadsTries:
    """Mixed into a stock `*ForSequenceClassification`: given `leaves`, it reads tries, else it is the stock class."""

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Any = None, position_ids: Tensor | None = None,
        end: Tensor | None = None, leaves: Tensor | None = None, labels: Tensor | None = None, weights: Tensor | None = None,
        **options: Any,
    ) -> SequenceClassifierOutput:  # fmt: skip
        """Logits `[rows, 2]` of the rows that end at `leaves` `[rows]` of tries `input_ids, position_ids, end` `[lanes, width]`.

        With `labels` `[rows]` the loss too: the cross-entropies weighted by `weights` `[rows]`, else their mean.
        """
        if leaves is None:
            return super().forward(
                input_ids, attention_mask=attention_mask, position_ids=position_ids, labels=labels, **options
            )
        text = self.config.get_text_config()
        window = getattr(text, "sliding_window", None)
        masks = tree_masks(end, position_ids, text.layer_types, window, text._attn_implementation, self.dtype)
        found = self.model(input_ids, attention_mask=masks, position_ids=position_ids, use_cache=False)
        logits = self.score(found.last_hidden_state.flatten(0, 1)[leaves])
        loss = None
        if labels is not None:
            each = cross_entropy(logits.float(), labels, reduction="none")
            loss = each.mean() if weights is None else (each * weights).sum()
        return SequenceClassifierOutput(loss=loss, logits=logits)


@cache
def packed_class(stock: type[nn.Module]) -> type[nn.Module]:
    """The stock class that also reads tries, under its own name: what it saves opens as the stock class."""
    return type(stock.__name__, (_ReadsTries, stock), {"__module__": stock.__module__})


def decoder_class(config: PreTrainedConfig) -> type[nn.Module]:
    """The class for a config. Raises ValueError for a family without one."""
    stock = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(config), None)
    if stock is None:
        raise ValueError(f"{config.model_type}: transformers has no sequence classifier for it")
    return packed_class(stock)
