"""A decoder that classifies: a class of transformers that can also read many rows in one trie."""

from functools import cache
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, MODEL_MAPPING, PreTrainedConfig
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput

from utils.models.attention import FULL, SLIDING, tree_masks, widen


class _TrieReader:
    """Mixed into a `*ForSequenceClassification`: reads tries given `leaves`; without them it is the unmodified transformers class."""

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Any = None, position_ids: Tensor | None = None,
        end: Tensor | None = None, leaves: Tensor | None = None, labels: Tensor | None = None, weights: Tensor | None = None,
        longest: int = 0, **options: Any,
    ) -> SequenceClassifierOutput:  # fmt: skip
        """Logits `[rows, 2]` of the rows that end at `leaves` `[rows]` of tries `input_ids, position_ids, end` `[sequences, width]`.

        `longest` is the number of tokens of the longest row, where it is known (0 = not).
        With `labels` `[rows]` the loss too: the cross-entropies weighted by `weights` `[rows]`, else their mean.
        """
        if leaves is None:
            return super().forward(
                input_ids, attention_mask=attention_mask, position_ids=position_ids, labels=labels, **options
            )
        text = self.config.get_text_config()
        window, kinds = getattr(text, "sliding_window", None), getattr(text, "layer_types", None)
        kernel = text._attn_implementation
        if kernel == "flex_attention":
            input_ids, position_ids, end, leaves = widen(input_ids, position_ids, end, leaves)
        # A class without kinds of layers takes one mask for all of them; it slides where it has a window.
        single = FULL if window is None else SLIDING
        masks = tree_masks(end, position_ids, kinds or [single], window, kernel, self.dtype, longest)
        mask = masks if kinds else masks[single]
        output = self.model(input_ids, attention_mask=mask, position_ids=position_ids, use_cache=False)
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


@cache
def _with_head(text_model: type[nn.Module]) -> type[nn.Module]:
    """A sequence classifier over a text model for which transformers has none, as it makes those of other families."""
    pretrained = next(base for base in text_model.__mro__ if base.__name__.endswith("PreTrainedModel"))
    name = text_model.__name__.removesuffix("Model") + "ForSequenceClassification"
    members = {"__module__": text_model.__module__, "__annotations__": {"config": text_model.config_class}}
    members["config_class"] = text_model.config_class
    return type(name, (GenericForSequenceClassification, pretrained), members)


def decoder_class(config: PreTrainedConfig) -> type[nn.Module]:
    """The class for a config. Raises ValueError for a family that transformers does not know as a text model."""
    stock = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(config), None)
    if stock is None:
        text_model = MODEL_MAPPING.get(type(config), None)
        if text_model is None:
            raise ValueError(
                f"{config.model_type}: transformers has no text model for it; choose a model of another family"
            )
        stock = _with_head(text_model)
    return packed_class(stock)


def explain_no_tries(config: PreTrainedConfig) -> str:
    """Why rows of a network cannot share prefixes in a trie, or the empty text.

    A mask keeps rows apart in softmax attention alone. A layer that carries a state along the sequence (linear attention,
    a recurrence, a convolution) would carry it from one row into the next, whatever the mask says.
    """
    kinds = getattr(config.get_text_config(), "layer_types", None) or []
    if others := sorted(set(kinds) - {FULL, SLIDING}):
        return (
            f"{config.model_type}: its layers of kind {', '.join(others)} are no softmax attention, so rows in a trie would "
            "see each other; set packing=rows, or choose another model"
        )
    return ""
