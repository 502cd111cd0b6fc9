"""Encoded rows -> logits, for any kind of network: the one forward pass that training and scoring share."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from utils.models import EncoderClassifier, plain
from utils.packing import Ids, like_length, pad

CHUNK = 512  # padded tokens of the sequences that `towers` encodes at once while training


def embed(
    model: EncoderClassifier, sequences: Sequence[Ids], pad_id: int, tokens: int
) -> tuple[Tensor, dict[Ids, int]]:
    """Vectors of the distinct sequences, `[distinct, hidden]`, and where each stands; encoded in batches of like length."""
    distinct = list(dict.fromkeys(sequences))
    place = next(model.parameters()).device
    parts, order = [], []
    for batch in like_length(np.array([len(ids) for ids in distinct]), tokens):
        inputs = {key: value.to(place) for key, value in pad([distinct[row] for row in batch], pad_id).items()}
        parts.append(model.embed(**inputs))
        order += batch.tolist()
    return torch.cat(parts), {distinct[row]: number for number, row in enumerate(order)}


def _logits_of_towers(model: EncoderClassifier, rows: Sequence[tuple[Ids, ...]], pad_id: int, tokens: int) -> Tensor:
    """A query that many rows share, and a category, are encoded once."""
    vectors, place = embed(model, [ids for row in rows for ids in row], pad_id, tokens)
    left, right = (torch.tensor([place[row[side]] for row in rows], device=vectors.device) for side in (0, 1))
    return model.compare(vectors[left], vectors[right])


def logits(model: nn.Module, rows: Sequence[tuple[Ids, ...]], pad_id: int, tokens: int = CHUNK) -> Tensor:
    """Logits `[rows, 2]`, in float32, of encoded rows of one or of two sequences."""
    if len(rows[0]) == 2:
        return _logits_of_towers(plain(model), rows, pad_id, tokens).float()
    place = next(model.parameters()).device
    inputs = {key: value.to(place) for key, value in pad([row[0] for row in rows], pad_id).items()}
    return model(**inputs).logits.float()
