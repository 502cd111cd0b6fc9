"""Neural translators on their true classes: texts alone or together, on one device or two, with transformers or CTranslate2."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    NllbTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from utils.models import tiny
from utils.models.weights import WeightsError
from utils.models.zoo import ZOO
from utils.training.tokens import control_ids
from utils.translation import backends, seq2seq

WORDS = ["<pad>", "</s>", "<unk>", "<2en>", "<s>", "rojo", "zapatos", "de", "mujer", "red", "shoes"]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]  # as NLLB numbers them
TEXTS = ["zapatos de mujer", "rojo", "zapatos", "rojo zapatos de mujer"]


def write_madlad(folder: Path) -> None:
    """A tiny random network of MADLAD-400's class with a tokenizer of words."""
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing("$A </s>", "$A $B </s>", [("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "bos_token": "<s>"}
    whole = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    config = T5Config(
        vocab_size=len(WORDS), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu",
        tie_word_embeddings=False, decoder_start_token_id=1, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    save(T5ForConditionalGeneration(config), whole, [*range(5)], folder)


def write_nllb(folder: Path) -> None:
    """A tiny random network of NLLB-200's class with its own class of tokenizer, over letters."""
    letters = [*SPECIAL, "\u2581", *sorted(set("".join(TEXTS) + "shoe") - {" "})]
    tokenizer = NllbTokenizer({letter: number for number, letter in enumerate(letters)}, [])
    config = M2M100Config(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=128, bos_token_id=0, pad_token_id=1, eos_token_id=2,
        decoder_start_token_id=2,
    )  # fmt: skip
    special = [*range(len(SPECIAL)), *range(len(letters), len(tokenizer))]
    save(M2M100ForConditionalGeneration(config), tokenizer, special, folder)


def save(network: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, special: list[int], folder: Path) -> None:
    """Save both; special tokens, of which nothing would be read, are hardly ever written."""
    network.lm_head.weight.data[special] = 0
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_translator(name: str, folder: Path) -> None:
    torch.manual_seed(1)
    {"madlad": write_madlad, "nllb": write_nllb}[ZOO[name].family](folder / name)


@pytest.mark.parametrize("name", ["madlad400-3b-mt", "nllb-200-distilled-600m"])
def test_translators_run_on_their_true_class(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real loading and generation: what stands beside a text in its batch changes nothing, nor does a second device."""
    write_translator(name, tmp_path)
    monkeypatch.setattr(seq2seq, "MAX_NEW", 4)
    backend = backends.open_backend(name, str(tmp_path))
    together = backend.translate(TEXTS, ["es"] * 4)
    alone = [backend.translate([text], ["es"])[0] for text in TEXTS]
    assert together == alone and any(together) and backend.version.startswith(f"{name}, transformers, ")
    monkeypatch.setattr(seq2seq, "devices", lambda: ["cpu", "cpu"])
    monkeypatch.setattr(seq2seq, "TOKENS", 4)
    assert backends.open_backend(name, str(tmp_path)).translate(TEXTS, ["es"] * 4) == together


def test_each_family_gets_the_languages_as_its_own_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences: list[list[str]] = []
    monkeypatch.setattr(seq2seq, "_open_network", lambda *_: lambda sources: (sequences.extend(sources), sources)[1])
    for name in ("madlad400-3b-mt", "nllb-200-distilled-600m"):
        write_translator(name, tmp_path)
        backends.open_backend(name, str(tmp_path)).translate(["rojo", "rojo"], ["es", "vn"])
    assert sequences[0] == sequences[1] == ["<2en>", "rojo", "</s>"]
    assert [(pieces[0], pieces[-1]) for pieces in sequences[2:]] == [("spa_Latn", "</s>"), ("vie_Latn", "</s>")]


TYPED = [
    "</s> rojo",
    "rojo</s>zapatos",
    "<pad><s> <unk> rojo",
    "<2de> zapatos <2en>",
    "zapatos<2en>rojo",
    "fra_Latn rojo __fra_Latn__",
    "eng_Latnrojo",
    "<extra_id_0> <start_of_turn>rojo<eos>",
]


def test_what_a_query_spells_never_steers_a_translator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the tokens that the family sets there are none that steer: of T5's class in the rehearsal's form, of NLLB's own."""
    opened: dict[str, tuple] = {}

    def open_network(folder: Path, tokenizer: PreTrainedTokenizerFast, *_: object) -> Callable:
        opened[folder.name] = tokenizer, sequences = tokenizer, []
        return lambda sources: (sequences.extend(sources), sources)[1]

    monkeypatch.setattr(seq2seq, "_open_network", open_network)
    monkeypatch.setattr(tiny, "REHEARSAL", tmp_path)
    tiny.make_models(["madlad400-3b-mt"])
    write_translator("nllb-200-distilled-600m", tmp_path)
    for name, first, last in (("madlad400-3b-mt", ["<2en>"], []), ("nllb-200-distilled-600m", ["spa_Latn"], ["</s>"])):
        backends.open_backend(name, str(tmp_path)).translate(TYPED, ["es"] * len(TYPED))
        tokenizer, sequences = opened[name]
        frame = [token for token in (tokenizer.bos_token,) if name.startswith("madlad") and token] + first
        steering = control_ids(tokenizer) - {tokenizer.unk_token_id}
        assert len(sequences) == len(TYPED)
        for pieces in sequences:
            assert pieces[: len(frame)] == frame and pieces[len(pieces) - len(last) :] == last
            inner = tokenizer.convert_tokens_to_ids(pieces[len(frame) : len(pieces) - len(last)])
            assert len(inner) > 1 and not steering & set(inner), pieces


@pytest.mark.parametrize("name", ["madlad400-3b-mt", "nllb-200-distilled-600m"])
def test_a_converted_folder_answers_as_the_network_does(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CTranslate2 in float32 writes what transformers writes."""
    from ctranslate2.converters import TransformersConverter

    write_translator(name, tmp_path / "plain")
    monkeypatch.setattr(seq2seq, "MAX_NEW", 4)
    expected = backends.open_backend(name, str(tmp_path / "plain")).translate(TEXTS, ["es"] * 4)
    TransformersConverter(
        str(tmp_path / "plain" / name), copy_files=["tokenizer.json", "tokenizer_config.json"]
    ).convert(str(tmp_path / "fast" / name))
    backend = backends.open_backend(name, str(tmp_path / "fast"))
    assert backend.version.startswith(f"{name}, ctranslate2, ")
    assert backend.translate(TEXTS, ["es"] * 4) == expected


def test_the_error_of_any_device_is_raised() -> None:
    def fail(sources: list[list[str]]) -> list[list[str]]:
        raise RuntimeError("device lost")

    with pytest.raises(RuntimeError, match="device lost"):
        seq2seq._share_out([["a"]] * 9, [lambda sources: sources, fail, fail])


def test_other_weights_of_the_same_name_are_another_translator(tmp_path: Path) -> None:
    """A dry run's random network, or a newer release, must not answer for the network that was asked before."""
    versions = []
    for width in (16, 32):
        folder = tmp_path / str(width)
        write_translator("madlad400-3b-mt", folder)
        network = T5ForConditionalGeneration(
            T5Config(d_model=width, d_kv=8, num_layers=1, num_heads=2, vocab_size=len(WORDS))
        )
        network.save_pretrained(folder / "madlad400-3b-mt")
        versions.append(backends.open_backend("madlad400-3b-mt", str(folder)).version)
    assert versions[0] != versions[1]
    assert all("beams 1" in version for version in versions)


def test_a_translator_is_loaded_when_it_is_first_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_translator("madlad400-3b-mt", tmp_path)
    loads: list[Path] = []
    open_translator = seq2seq.open_translator
    monkeypatch.setattr(seq2seq, "open_translator", lambda *a: (loads.append(a[0]), open_translator(*a))[1])
    backend = backends.open_backend("madlad400-3b-mt", str(tmp_path))
    assert loads == []
    assert backend.translate(["rojo"], ["es"]) == backend.translate(["rojo"], ["es"]) and len(loads) == 1
    with pytest.raises(WeightsError, match="qwen does not translate; use a MADLAD-400 or NLLB-200 model"):
        backends.neural_backend(tmp_path, "qwen3-8b")


def test_fine_tuned_weights_of_the_same_size_are_another_translator(tmp_path: Path) -> None:
    for seed in (1, 2):
        torch.manual_seed(seed)
        write_madlad(tmp_path / str(seed) / "madlad400-3b-mt")
    versions = {backends.open_backend("madlad400-3b-mt", str(tmp_path / str(seed))).version for seed in (1, 2)}
    assert len(versions) == 2
