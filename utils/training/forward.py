"""Encoded rows -> logits, for every kind of network: the forward pass that training and scoring share."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from utils.models.encoders import EncoderClassifier
from utils.models.trained import plain
from utils.training.packing import pad
from utils.training.tokens import Encoded, Ids
from utils.training.tries import Rows, batch_by_length, build_batch

CHECK_ROWS = 8  # rows on which a pack is compared with single rows
CHUNK = 512  # tokens, padding included, that a bi-encoder encodes at once in training


def embed(
    model: EncoderClassifier, sequences: Sequence[Ids], pad_id: int, tokens: int
) -> tuple[Tensor, dict[Ids, int]]:
    """Vectors `[distinct, hidden]` of the distinct sequences, and each sequence's index in them.

    They are encoded in batches of similar length, of at most `tokens` tokens with padding.
    """
    distinct = list(dict.fromkeys(sequences))
    device = next(model.parameters()).device
    parts, order = [], []
    for batch in batch_by_length(np.array([len(ids) for ids in distinct]), tokens):
        inputs = {key: value.to(device) for key, value in pad([distinct[row] for row in batch], pad_id).items()}
        parts.append(model.embed(**inputs))
        order += batch.tolist()
    return torch.cat(parts), {distinct[row]: number for number, row in enumerate(order)}


def _bi_encoder_logits(model: EncoderClassifier, rows: Sequence[tuple[Ids, ...]], pad_id: int, tokens: int) -> Tensor:
    """Logits `[rows, 2]` of a bi-encoder; a query or category that many rows share is encoded once."""
    vectors, index = embed(model, [ids for row in rows for ids in row], pad_id, tokens)
    left, right = (torch.tensor([index[row[side]] for row in rows], device=vectors.device) for side in (0, 1))
    return model.compare(vectors[left], vectors[right])


def check_packs(model: nn.Module, encoded: Encoded, pad_id: int) -> None:
    """Compare the logits of one pack of a decoder with those of its rows alone: a wrong mask would go unnoticed otherwise.

    Raises RuntimeError where they differ by more than rounding.
    """
    neighbours = np.argsort(encoded.group, kind="stable")[:CHECK_ROWS]
    chosen = np.array(sorted(neighbours, key=encoded.rows.__getitem__))
    with torch.no_grad():
        packed = logits(model, encoded, chosen, pad_id)
        rows = [torch.tensor([encoded.rows[row][0]], device=packed.device) for row in chosen]
        single = torch.cat([model(input_ids=ids).logits.float() for ids in rows])
    difference = float((packed - single).abs().max() / (1 + single.abs().max()))
    tolerance = 1e-3 if next(model.parameters()).dtype == torch.float32 else 0.05
    if difference > tolerance:
        raise RuntimeError(
            f"rows in a pack get other logits than alone (by {difference:.2g}); set the recipe's attention to another kernel"
        )


def logits(model: nn.Module, encoded: Encoded, chosen: Rows, pad_id: int, tokens: int = CHUNK) -> Tensor:
    """Logits `[chosen, 2]`, in float32, of one batch of `packing.batches`: a pack, padded rows, or rows of two sequences.

    `tokens` limits what a bi-encoder encodes at once.
    """
    rows = [encoded.rows[number] for number in chosen]
    if encoded.apart:
        return _bi_encoder_logits(plain(model), rows, pad_id, tokens).float()
    device = next(model.parameters()).device
    sequences = [row[0] for row in rows]
    if encoded.causal:
        return model(**build_batch(sequences, encoded.sequence_tokens > 0, device)).logits.float()
    inputs = {key: value.to(device) for key, value in pad(sequences, pad_id).items()}
    return model(**inputs).logits.float()
