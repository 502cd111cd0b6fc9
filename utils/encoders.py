"""An encoder that classifies: the network, how its states are pooled, and a 2-way head."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers.modeling_outputs import SequenceClassifierOutput

COSINE_SLOPE, COSINE_CENTRE = 12.0, 0.8  # e5 was trained at a low temperature: its cosines lie around 0.7 to 0.9


class EncoderClassifier(nn.Module):
    """An encoder with a 2-way head; the recipe's pooling decides what the head sees.

    `first` and `mean` read query and target together (a cross-encoder: Nogueira and Cho 2019, arXiv 1901.04085) and take the
    `[CLS]` state or the mean over tokens. `towers` encodes query and target apart, each as the mean over its tokens, as e5
    was trained (Wang et al. 2024, arXiv 2402.05672, section 3), and compares the two unit vectors: their cosine, product and
    absolute difference (after InferSent: Conneau et al. 2017, section 3). The head of `towers` begins as a
    function of the cosine alone, so that training starts from what e5 knows rather than from nothing.
    """

    def __init__(self, encoder: nn.Module, pooling: str) -> None:
        super().__init__()
        self.encoder, self.pooling = encoder, pooling
        width = encoder.config.hidden_size
        self.score = nn.Linear(1 + 2 * width if pooling == "towers" else width, 2)
        nn.init.zeros_(self.score.bias)
        if pooling == "towers":
            nn.init.zeros_(self.score.weight)
            nn.init.constant_(self.score.weight[1, 0], COSINE_SLOPE)
        else:
            nn.init.normal_(self.score.weight, std=0.02)

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """One vector a sequence, `[sequences, hidden]`, of length 1 for `towers`."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self.pooling == "first":
            return states[:, 0]
        mask = attention_mask[..., None].to(states.dtype)
        mean = (states * mask).sum(1) / mask.sum(1)
        return normalize(mean, dim=-1) if self.pooling == "towers" else mean

    def compare(self, query: Tensor, target: Tensor) -> Tensor:
        """Logits `[rows, 2]` of unit vectors `[rows, hidden]` of queries and of targets."""
        product, difference = query * target, (query - target).abs()
        cosine = product.sum(-1, keepdim=True) - COSINE_CENTRE
        scale = query.shape[-1] ** 0.5  # unit vectors have small entries; the head is to see numbers near 1
        return self.score(torch.cat([cosine, product * scale, difference * scale], dim=-1))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SequenceClassifierOutput:
        """Logits of joint rows `[rows, tokens]`."""
        return SequenceClassifierOutput(logits=self.score(self.embed(input_ids, attention_mask)))
