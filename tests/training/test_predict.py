"""Scoring: packs shrink where the memory does not hold them."""

import numpy as np
import pytest
import torch
from rows import encoded
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from utils.training.predict import predict


class Small(nn.Module):
    """A network whose memory holds tries of at most `room` tokens."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.weight, self.widths = room, nn.Parameter(torch.zeros(1)), []

    def forward(self, input_ids: Tensor, leaves: Tensor, **_: object) -> SequenceClassifierOutput:
        self.widths.append(input_ids.shape[1])
        if input_ids.shape[1] > self.room:
            raise torch.OutOfMemoryError("full")
        last = input_ids[0, leaves].float()
        return SequenceClassifierOutput(logits=torch.stack([torch.zeros_like(last), last], dim=1))


def test_scoring_halves_its_packs_when_memory_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(1, 1 + number % 3, number, 1 + number % 4) for number in range(1, 60)]
    probabilities = predict(model := Small(40), encoded(rows), 128, 0, "tiny", "none")
    expected = torch.sigmoid(torch.tensor([float(row[-1]) for row in rows])).numpy()
    assert np.abs(probabilities - expected).max() < 1e-6
    assert "out of memory, continuing with packs of 64 tokens" in (output := capsys.readouterr().out)
    assert "packs of 32 tokens" in output and max(model.widths[-3:]) <= 32
    with pytest.raises(torch.OutOfMemoryError):
        predict(Small(2), encoded(rows), 128, 0, "tiny", "none")
