"""Networks that cannot be packed are refused by name and read row by row; weights that are not all there are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, Gemma4UnifiedTextConfig, Qwen3_5TextConfig, Qwen3Config

from utils.core.errors import WeightsError
from utils.core.recipe import Recipe
from utils.models import build, decoders, trained
from utils.models.zoo import DECODER, ZOO, Model
from utils.training.predict import predict
from utils.training.tokens import Encoded

SMALL = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "pad_token_id": 0}
HYBRID = Qwen3_5TextConfig(
    **SMALL, num_hidden_layers=4, num_key_value_heads=1, head_dim=16, linear_num_key_heads=2, linear_num_value_heads=2,
    linear_key_head_dim=16, linear_value_head_dim=16,
)  # fmt: skip
ROWS = [(1, 2, 3, 4), (1, 2, 3), (5, 6, 7, 8, 9, 10), (1, 2, 3, 9, 9), (11,)]
RECIPE = Recipe("hybrid", "qwen", "hybrid", pooling="last", packing="rows", lora_rank=2)


@pytest.fixture
def hybrid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gemma: Path) -> Path:
    """A folder with a tiny network of Qwen3.5's class, three of four layers of which carry a state."""
    monkeypatch.setitem(ZOO, "hybrid", Model("qwen", "me/hybrid", "MIT", targets=DECODER))
    torch.manual_seed(0)
    folder = tmp_path / "hybrid"
    model = decoders.decoder_class(HYBRID)(HYBRID)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    build.load_tokenizer(gemma).save_pretrained(folder)
    return folder


def test_layers_that_carry_a_state_are_refused_by_name(hybrid: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"hybrid: qwen3_5_text: its layers of kind linear_attention .*set packing=rows"
    ):
        build.load_network(RECIPE.with_(packing="tries"), hybrid)
    for name in ("qwen3-0.6b", "gemma-3-12b", "gemma-4-12b", "ministral-3-14b"):
        assert decoders.explain_no_tries(AutoConfig.for_model(**ZOO[name].shape)) == ""


def test_such_a_network_reads_its_rows_padded_and_each_as_if_alone(hybrid: Path) -> None:
    model = trained.make_trainable(build.load_network(RECIPE, hybrid), RECIPE).eval()
    pad = model.config.pad_token_id = 0
    encoded = Encoded([(row,) for row in ROWS], np.arange(len(ROWS)), packed=False)
    together = predict(model, encoded, 64, pad, "", "none")
    with torch.no_grad():
        alone = [torch.softmax(model(input_ids=torch.tensor([row])).logits.float(), -1)[0, 1].item() for row in ROWS]
    assert np.abs(together - alone).max() < 1e-5 and np.ptp(alone) > 1e-3


def test_tensors_that_are_missing_are_an_error_and_not_random_numbers(hybrid: Path) -> None:
    path = hybrid / "model.safetensors"
    whole = load_file(path)
    assert "score.weight" in whole
    del whole["score.weight"]  # the head is new in every training
    save_file(whole, path, metadata={"format": "pt"})
    build.load_network(RECIPE, hybrid)
    norm = whole.pop("model.norm.weight")
    save_file(whole, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"1 tensors of the network are missing .*model\.norm\.weight"):
        build.load_network(RECIPE, hybrid)
    save_file(whole | {"model.norm.weight": norm[:-1].clone()}, path, metadata={"format": "pt"})
    with pytest.raises((WeightsError, RuntimeError), match=r"norm\.weight|mismatch"):
        build.load_network(RECIPE, hybrid)


def test_a_family_without_a_classifier_gets_one_over_its_text_model() -> None:
    config = Gemma4UnifiedTextConfig(
        **SMALL, num_hidden_layers=2, num_key_value_heads=1, head_dim=16, global_head_dim=32
    )
    config.num_labels = 2
    kind = decoders.decoder_class(config)
    model = kind(config)
    assert kind.__name__ == "Gemma4UnifiedTextForSequenceClassification" and model.score.weight.shape == (2, 32)
    assert type(model.model).__name__ == "Gemma4UnifiedTextModel"
    config = Qwen3Config(**SMALL, num_hidden_layers=2)
    assert decoders.decoder_class(config).__name__ == "Qwen3ForSequenceClassification"
