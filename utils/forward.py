"""Encoded rows -> logits, for any kind of network: the one forward pass that training and scoring share."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from utils.encoders import EncoderClassifier
from utils.models import plain
from utils.packing import Rows, build_batch, like_length, pad
from utils.tokens import Encoded, Ids

CHECKED = 8  # rows on which packs are held against rows alone
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


def check_packs(model: nn.Module, encoded: Encoded, pad_id: int) -> None:
    """Hold one pack of a decoder against its rows, each alone and unpacked: a misread tree gives no other sign.

    Raises RuntimeError where the logits differ by more than rounding.
    """
    alike = np.argsort(encoded.group, kind="stable")[:CHECKED]
    chosen = np.array(sorted(alike, key=encoded.rows.__getitem__))
    with torch.no_grad():
        together = logits(model, encoded, chosen, pad_id)
        single = [torch.tensor([encoded.rows[row][0]], device=together.device) for row in chosen]
        alone = torch.cat([model(input_ids=ids).logits.float() for ids in single])
    apart = float((together - alone).abs().max() / (1 + alone.abs().max()))
    allowed = 1e-3 if next(model.parameters()).dtype == torch.float32 else 0.05
    if apart > allowed:
        raise RuntimeError(
            f"rows in a pack get other logits than alone (by {apart:.2g}); set the recipe's attention to another kernel"
        )


def logits(model: nn.Module, encoded: Encoded, chosen: Rows, pad_id: int, tokens: int = CHUNK) -> Tensor:
    """Logits `[chosen, 2]`, in float32, of one batch (`packing.batches`): a trie, padded rows, or rows of two sequences."""
    rows = [encoded.rows[number] for number in chosen]
    if len(rows[0]) == 2:
        return _logits_of_towers(plain(model), rows, pad_id, tokens).float()
    place = next(model.parameters()).device
    sequences = [row[0] for row in rows]
    if encoded.causal:
        return model(**build_batch(sequences, encoded.lane > 0, place)).logits.float()
    inputs = {key: value.to(place) for key, value in pad(sequences, pad_id).items()}
    return model(**inputs).logits.float()
