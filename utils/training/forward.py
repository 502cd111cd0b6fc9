"""Encoded rows -> logits, for every kind of network: the forward pass that training and scoring share."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from utils.models.encoders import EncoderClassifier
from utils.models.trained import plain
from utils.training.packing import pad
from utils.training.tokens import Encoded, Ids
from utils.training.tries import Batch, Rows, batch_by_length, build_batch

CHECK_ROWS = 8  # rows on which a pack is compared with single rows
# How far packs may move logits, relative to the largest: in 32 bits, and in 16 bits at least and at most.
EXACT, LEAST_NOISE, MOST_NOISE = 1e-3, 0.05, 0.25
CHUNK = 256  # tokens, padding included, that a bi-encoder encodes at once in training: what a core's cache holds


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
        parts.append(model.embed(**_to(pad([distinct[row] for row in batch], pad_id), device)))
        order += batch.tolist()
    return torch.cat(parts), {distinct[row]: number for number, row in enumerate(order)}


def _bi_encoder_logits(model: EncoderClassifier, rows: Sequence[tuple[Ids, ...]], pad_id: int, tokens: int) -> Tensor:
    """Logits `[rows, 2]` of a bi-encoder; a query or category that many rows share is encoded once."""
    vectors, index = embed(model, [ids for row in rows for ids in row], pad_id, tokens)
    left, right = (torch.tensor([index[row[side]] for row in rows], device=vectors.device) for side in (0, 1))
    return model.compare(vectors[left], vectors[right])


def compare_packs(model: nn.Module, encoded: Encoded, pad_id: int) -> tuple[float, float]:
    """How far a pack of a decoder, and mere padding, move the logits of its rows from those of each row alone, relative to the largest.

    Zeros where the network gives no numbers at all: no question of masks, the loss will tell.
    """
    neighbours = np.argsort(encoded.group, kind="stable")[:CHECK_ROWS]
    chosen = np.array(sorted(neighbours, key=encoded.rows.__getitem__))
    sequences = [encoded.rows[row][0] for row in chosen]
    device = next(model.parameters()).device
    with torch.no_grad():
        packed = logits(model, encoded, chosen, pad_id)
        with torch.compiler.set_stance("force_eager"):  # what a compiled pack is compared with is not compiled
            single = torch.cat(
                [model(input_ids=torch.tensor([ids], device=device)).logits.float() for ids in sequences]
            )
            padded = model(**_to(pad(sequences, pad_id), device)).logits.float()
    if not single.isfinite().all():
        return 0.0, 0.0
    scale = 1 + single.abs().max()
    return float((packed - single).abs().max() / scale), float((padded - single).abs().max() / scale)


def check_packs(model: nn.Module, encoded: Encoded, pad_id: int) -> None:
    """Compare the logits of one pack of a decoder with those of its rows alone: a wrong mask would go unnoticed otherwise.

    In 16 bits rounding alone moves logits. How far is seen on the same rows where they are merely padded, so the limit is
    three times that; a wrong mask moves them much farther. Raises RuntimeError where they differ by more.
    """
    difference, noise = compare_packs(model, encoded, pad_id)
    device = next(model.parameters()).device
    half = torch.is_autocast_enabled(device.type) or _in_16_bits(model)
    tolerance = min(MOST_NOISE, max(LEAST_NOISE, 3 * noise)) if half else EXACT
    if not difference <= tolerance:
        raise RuntimeError(
            f"rows in a pack get other logits than alone (by {difference:.2g}, padding moves them by {noise:.2g}); "
            "set the recipe's attention to another kernel"
        )


def _in_16_bits(model: nn.Module) -> bool:
    return any(value.dtype in (torch.bfloat16, torch.float16) for value in model.parameters())


def compile_layers(model: nn.Module) -> None:
    """Compile the layers of a decoder, all with the same code for packs of any size (`torch.compile`; Ansel et al. 2024, PyTorch 2).

    A training step of few rows waits for the host, which launches thousands of small operations; compiled, far fewer.
    """
    lists = [module for module in plain(model).modules() if isinstance(module, nn.ModuleList)]
    for layer in max(lists, key=len):
        layer.compile(dynamic=True)


def is_sharded(model: nn.Module) -> bool:
    """Whether ZeRO-3 has dealt a network out, so that all processes must compute as many batches."""
    return hasattr(next(model.parameters()), "ds_id")


def _to(batch: Batch, device: torch.device) -> Batch:
    return {key: value.to(device) for key, value in batch.items()}


def logits(model: nn.Module, encoded: Encoded, chosen: Rows, pad_id: int, tokens: int = CHUNK) -> Tensor:
    """Logits `[chosen, 2]`, in float32, of one batch of `packing.batches`: a pack, padded rows, or rows of two sequences.

    `tokens` limits what a bi-encoder encodes at once.
    """
    rows = [encoded.rows[number] for number in chosen]
    if encoded.apart:
        return _bi_encoder_logits(plain(model), rows, pad_id, tokens).float()
    device = next(model.parameters()).device
    sequences = [row[0] for row in rows]
    if encoded.packed:
        return model(**build_batch(sequences, encoded.sequence_tokens > 0, device)).logits.float()
    return model(**_to(pad(sequences, pad_id), device)).logits.float()
