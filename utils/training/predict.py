"""Probabilities of encoded rows from a trained network, and cosines of a bi-encoder without training."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from utils.core.progress import Progress, Style
from utils.data.text import tidy
from utils.models.encoders import EncoderClassifier
from utils.training import ranks
from utils.training.forward import embed, is_sharded, logits
from utils.training.packing import batches, count_tokens
from utils.training.tokens import POSITIONS, Encoded, tokenise
from utils.training.tries import Rows


def predict(
    model: nn.Module, rows: Encoded, tokens: int, pad_id: int, title: str, style: Style, share: bool = False
) -> NDArray[np.float64]:
    """Probability of "relevant" `[rows]`, of `predict_log_odds`."""
    odds = predict_log_odds(model, rows, tokens, pad_id, title, style, share)
    return 1 / (1 + np.exp(-odds))


def predict_log_odds(
    model: nn.Module, rows: Encoded, tokens: int, pad_id: int, title: str, style: Style, share: bool = False
) -> NDArray[np.float64]:
    """Log-odds of "relevant" `[rows]`, in the rows' order; with `share` each process scores a part and gets all results.

    Rows are scored in batches of at most `tokens` tokens (`packing.batches`). When the accelerator runs out of memory, the
    remaining rows are scored in batches of half as many tokens, and a message says so. Raises torch.OutOfMemoryError where
    the batches cannot be halved any more or the network is in shards, and ValueError for logits that are no numbers.
    """
    odds = np.full(len(rows.rows), np.nan)
    own, sharded = _own_part(rows) if share else np.arange(len(rows.rows)), is_sharded(model)
    # What ZeRO-3 gathers while it scores must serve a training afterwards.
    mode = torch.no_grad() if sharded else torch.inference_mode()
    with mode, Progress(title, len(own), "rows", style) as progress:
        queue, computed = _queue(rows, own, tokens), 0
        while ranks.any_of(bool(queue)) if sharded else queue:
            if not queue:  # the others need this process's shards
                logits(model, rows, np.arange(1), pad_id, tokens)
                continue
            batch = queue.pop()
            try:
                scores = logits(model, rows, batch, pad_id, tokens)
            except torch.OutOfMemoryError:
                smaller = max(tokens // 2, int(rows.lengths.max()))
                if smaller == tokens or sharded:  # the others would wait for the rest of this batch
                    raise
                tokens = smaller
                print(f"  {title}: out of memory, continuing with packs of {tokens:,} tokens", flush=True)
                queue = _queue(rows, np.concatenate([batch, *queue]), tokens)
                continue
            odds[batch] = (scores[:, 1] - scores[:, 0]).double().cpu().numpy()
            computed += count_tokens(rows, batch)
            progress.add(len(batch), f"{computed / progress.seconds:,.0f} tokens/s")
    if not np.isfinite(odds[own]).all():
        raise ValueError(
            f"{title}: {(~np.isfinite(odds[own])).sum()} of {len(own)} logits are no numbers; set precision to bfloat16 or float32"
        )
    if not share:
        return odds
    part = np.zeros(len(odds))
    part[own] = odds[own]
    return ranks.all_reduce_sum(torch.from_numpy(part)).numpy()


def _own_part(rows: Encoded) -> Rows:
    """The row numbers of this process's part: an equal share in lexicographic order, so that rows with a common prefix stay together."""
    order = np.array(sorted(range(len(rows.rows)), key=rows.rows.__getitem__), dtype=np.int64)
    return np.array_split(order, ranks.world())[ranks.rank()]


def _queue(rows: Encoded, chosen: Rows, tokens: int) -> list[Rows]:
    """Batches to score, in reverse order; a bi-encoder encodes distinct texts only, so its batches may be 64 times as large."""
    return batches(rows, chosen, tokens * 64 if rows.apart else tokens)[::-1]


def cosines(model: EncoderClassifier, table: pd.DataFrame, tokenizer: Any, tokens: int = 4096) -> NDArray[np.float64]:
    """Cosine of the target with the query and with the English query, `[rows, 2]`, from a bi-encoder.

    `table` has the columns `query, query_en, target`. Both sides get e5's prefix `query: `, as its model card advises for
    symmetric tasks. `tokens` limits what is encoded at once.
    """

    def vectors(texts: pd.Series) -> NDArray[np.float64]:
        start, end = tokenizer.cls_token_id, tokenizer.sep_token_id
        rows = tokenise([f"query: {tidy(text)}" for text in texts], tokenizer)
        sequences = [(start, *ids[: POSITIONS - 2], end) for ids in rows]
        distinct, index = embed(model, sequences, tokenizer.pad_token_id, tokens)
        return distinct[[index[ids] for ids in sequences]].double().cpu().numpy()

    with torch.inference_mode():
        target = vectors(table["target"])
        return np.stack([(vectors(table[side]) * target).sum(1) for side in ("query", "query_en")], axis=1)
