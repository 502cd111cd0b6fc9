"""An encoder that classifies: its network, the pooling of its states, and a 2-way head."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers.modeling_outputs import SequenceClassifierOutput

COSINE_SLOPE, COSINE_CENTRE = 12.0, 0.8  # e5 was trained at a low temperature: its cosines are 0.7 to 0.9


class EncoderClassifier(nn.Module):
    """An encoder with a 2-way head; `pooling` is the state of the first token, `first`, or the mean over tokens, `mean`.

    A cross-encoder reads query and target together (Nogueira and Cho 2019, arXiv 1901.04085). A bi-encoder encodes them
    separately, as e5 was trained (Wang et al. 2024, arXiv 2402.05672, section 3), and compares the two unit vectors: their
    cosine, product and absolute difference (after InferSent: Conneau et al. 2017, section 3). The head of a bi-encoder is
    initialised as a function of the cosine only, so that training starts from e5's own similarity.
    """

    def __init__(self, encoder: nn.Module, pooling: str, bi_encoder: bool = False) -> None:
        super().__init__()
        self.encoder, self.pooling, self.bi_encoder = encoder, pooling, bi_encoder
        width = encoder.config.hidden_size
        self.score = nn.Linear(1 + 2 * width if bi_encoder else width, 2)
        nn.init.zeros_(self.score.bias)
        if bi_encoder:
            nn.init.zeros_(self.score.weight)
            nn.init.constant_(self.score.weight[1, 0], COSINE_SLOPE)
        else:
            nn.init.normal_(self.score.weight, std=0.02)

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Pooled vectors `[sequences, hidden]` of padded sequences `[sequences, tokens]`; unit vectors for a bi-encoder."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self.pooling == "first":
            vectors = states[:, 0]
        else:
            mask = attention_mask[..., None].to(states.dtype)
            vectors = (states * mask).sum(1) / mask.sum(1)
        return normalize(vectors, dim=-1) if self.bi_encoder else vectors

    def compare(self, query: Tensor, target: Tensor) -> Tensor:
        """Logits `[rows, 2]` of a bi-encoder from unit vectors `[rows, hidden]` of queries and of targets."""
        product, difference = query * target, (query - target).abs()
        cosine = product.sum(-1, keepdim=True) - COSINE_CENTRE
        scale = query.shape[-1] ** 0.5  # entries of unit vectors are small; this scales them to about 1
        return self.score(torch.cat([cosine, product * scale, difference * scale], dim=-1))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SequenceClassifierOutput:
        """Logits `[rows, 2]` of a cross-encoder from padded rows `[rows, tokens]`."""
        return SequenceClassifierOutput(logits=self.score(self.embed(input_ids, attention_mask)))
