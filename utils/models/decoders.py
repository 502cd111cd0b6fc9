"""A decoder that classifies: a class of transformers that can also read many rows in one trie."""

from functools import cache
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedConfig
from transformers.modeling_outputs import SequenceClassifierOutput

from utils.models.attention import tree_masks


class _TrieReader:
    """Mixed into a `*ForSequenceClassification`: reads tries given `leaves`; without them it is the unmodified transformers class."""

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Any = None, position_ids: Tensor | None = None,
        end: Tensor | None = None, leaves: Tensor | None = None, labels: Tensor | None = None, weights: Tensor | None = None,
        **options: Any,
    ) -> SequenceClassifierOutput:  # fmt: skip
        """Logits `[rows, 2]` of the rows that end at `leaves` `[rows]` of tries `input_ids, position_ids, end` `[sequences, width]`.

        With `labels` `[rows]` the loss too: the cross-entropies weighted by `weights` `[rows]`, else their mean.
        """
        if leaves is None:
            return super().forward(
                input_ids, attention_mask=attention_mask, position_ids=position_ids, labels=labels, **options
            )
        text = self.config.get_text_config()
        window = getattr(text, "sliding_window", None)
        masks = tree_masks(end, position_ids, text.layer_types, window, text._attn_implementation, self.dtype)
        output = self.model(input_ids, attention_mask=masks, position_ids=position_ids, use_cache=False)
        logits = self.score(output.last_hidden_state.flatten(0, 1)[leaves])
        loss = None
        if labels is not None:
            losses = cross_entropy(logits.float(), labels, reduction="none")
            loss = losses.mean() if weights is None else (losses * weights).sum()
        return SequenceClassifierOutput(loss=loss, logits=logits)


@cache
def packed_class(stock: type[nn.Module]) -> type[nn.Module]:
    """The class that also reads tries, under the same name, so that its weights open as the unmodified transformers class."""
    return type(stock.__name__, (_TrieReader, stock), {"__module__": stock.__module__})


def decoder_class(config: PreTrainedConfig) -> type[nn.Module]:
    """The class for a config. Raises ValueError for a family that transformers has no sequence classifier for."""
    stock = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(config), None)
    if stock is None:
        raise ValueError(
            f"{config.model_type}: transformers has no sequence classifier for it; choose a model of another family"
        )
    return packed_class(stock)
