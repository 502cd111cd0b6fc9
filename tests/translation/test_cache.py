"""Each distinct query once, through a cache that survives interruptions; every backend behind one function."""

from pathlib import Path

import pandas as pd
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

from utils.core.paths import SOURCES
from utils.core.schema import LANGUAGES
from utils.data.text import normalise_query
from utils.models.zoo import ZOO
from utils.sample import lexicon
from utils.translation import backends, cache, seq2seq
from utils.translation.backends import Backend

TABLE = pd.DataFrame(
    {"language": ["es", "es", "en", "ja", "es", "ja"], "query": ["rojo", "rojo", "red", "赤", "verde", ""]},
    index=[9, 8, 7, 6, 5, 4],
)


class Recorder:
    """A backend that records the texts it translates, and can break off after some of them."""

    def __init__(self, break_after: int = 99) -> None:
        self.texts: list[str] = []
        self.break_after = break_after

    def __call__(self, texts: list[str], languages: list[str]) -> list[str]:
        if len(self.texts) >= self.break_after:
            raise KeyboardInterrupt
        self.texts += texts
        return [f"{language}:{text}" for text, language in zip(texts, languages, strict=True)]


def test_each_distinct_query_is_translated_once_and_english_is_copied(tmp_path: Path) -> None:
    recorder = Recorder()
    english, counts = cache.translate(TABLE, Backend("test", "1", recorder), tmp_path / "cache.sqlite", bar=False)
    assert (
        english.tolist() == ["es:rojo", "es:rojo", "red", "ja:赤", "es:verde", ""]
        and english.index.tolist() == TABLE.index.tolist()
    )
    assert sorted(recorder.texts) == ["rojo", "verde", "赤"]
    assert counts == {"distinct": 5, "copied": 2, "cache_hits": 0, "translated": 3}


def test_a_second_run_translates_nothing_and_a_new_version_translates_again(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    cache.translate(TABLE, Backend("test", "1", Recorder()), path, bar=False)
    second, third = Recorder(), Recorder()
    assert cache.translate(TABLE, Backend("test", "1", second), path, bar=False)[1]["cache_hits"] == 3
    cache.translate(TABLE, Backend("test", "2", third), path, bar=False)
    assert second.texts == [] and len(third.texts) == 3


def test_an_interrupted_run_resumes_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    with pytest.raises(KeyboardInterrupt):
        cache.translate(TABLE, Backend("test", "1", Recorder(break_after=1), batch=1), path, bar=False)
    resumed = Recorder()
    english, counts = cache.translate(TABLE, Backend("test", "1", resumed, batch=1), path, bar=False)
    assert counts["cache_hits"] == 1 and len(resumed.texts) == 2
    whole, _ = cache.translate(TABLE, Backend("test", "1", Recorder()), tmp_path / "other.sqlite", bar=False)
    assert english.equals(whole)


def test_untranslated_queries_are_listed() -> None:
    rows = [
        ("es", "zapatos", "zapatos"),
        ("es", "zapato", "shoe"),
        ("ja", "靴", "靴"),
        ("es", "rtx 3060", "rtx 3060"),
        ("de", "x", ""),
    ]
    table = pd.DataFrame([*rows, ("en", "shoe", "shoe")], columns=["language", "query", "query_en"])
    assert cache.find_untranslated(table)["query"].tolist() == ["zapatos", "靴", "x"]


def test_the_embedded_glossary_helps_every_foreign_language() -> None:
    backend = backends.open_backend("glossary")
    products = lexicon.load(SOURCES).products.values()
    for code in LANGUAGES:
        queries = [normalise_query(product.terms[code][0]) for product in products]
        english = backend.translate(queries, [code] * len(queries))
        changed = sum(before != after for before, after in zip(queries, english, strict=True)) / len(queries)
        assert changed == 0 if code == "en" else 0.4 < changed < 0.95, code
    assert backends.open_backend("none").translate(["zapatos"], ["es"]) == ["zapatos"]


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


@pytest.mark.parametrize("name", ["madlad400-3b-mt", "nllb-200-3.3b"])
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
    for name in ("madlad400-3b-mt", "nllb-200-3.3b"):
        write_translator(name, tmp_path)
        backends.open_backend(name, str(tmp_path)).translate(["rojo", "rojo"], ["es", "vn"])
    assert sequences[0] == sequences[1] == ["<2en>", "rojo", "</s>"]
    assert [(pieces[0], pieces[-1]) for pieces in sequences[2:]] == [("spa_Latn", "</s>"), ("vie_Latn", "</s>")]


@pytest.mark.parametrize("name", ["madlad400-3b-mt", "nllb-200-3.3b"])
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


def test_queries_that_the_first_backend_leaves_unchanged_go_to_the_second(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    table = pd.DataFrame(
        {"language": ["es", "ja", "en", "es", "es"], "query": ["rojos", "赤い", "red", "verdes", "rojos"]}
    )
    first = Backend("first", "1", lambda texts, languages: ["green" if text == "verdes" else text for text in texts])
    second = Backend(
        "second", "1", lambda texts, languages: ["red ones" if text == "rojos" else text for text in texts]
    )
    english, _ = cache.translate(table, first, path, bar=False)
    retranslated, counts = cache.retranslate(table, english, second, path, bar=False)
    assert retranslated.tolist() == ["red ones", "赤い", "red", "green", "red ones"]
    assert counts == {"retried": 2, "retranslated": 1}
    assert cache.retranslate(table, english, None, path)[1] == {"retried": 0, "retranslated": 0}


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
