"""Each distinct query once, through a cache that survives interruptions; every backend behind one function."""

from pathlib import Path

import pandas as pd
import pytest

from utils import lexicon, translate
from utils.paths import SOURCES
from utils.schema import LANGUAGES
from utils.text import normalise_query
from utils.translate import Backend

TABLE = pd.DataFrame(
    {"language": ["es", "es", "en", "ja", "es", "ja"], "query": ["rojo", "rojo", "red", "赤", "verde", ""]},
    index=[9, 8, 7, 6, 5, 4],
)


class Counter:
    """A backend that counts what it is asked, and can break in mid-work."""

    def __init__(self, break_after: int = 99) -> None:
        self.asked: list[str] = []
        self.break_after = break_after

    def __call__(self, texts: list[str], languages: list[str]) -> list[str]:
        if len(self.asked) >= self.break_after:
            raise KeyboardInterrupt
        self.asked += texts
        return [f"{language}:{text}" for text, language in zip(texts, languages, strict=True)]


def test_each_distinct_query_is_asked_once_and_english_is_copied(tmp_path: Path) -> None:
    counter = Counter()
    english, counts = translate.translate(TABLE, Backend("test", "1", counter), tmp_path / "cache.sqlite", bar=False)
    assert (
        english.tolist() == ["es:rojo", "es:rojo", "red", "ja:赤", "es:verde", ""]
        and english.index.tolist() == TABLE.index.tolist()
    )
    assert sorted(counter.asked) == ["rojo", "verde", "赤"]
    assert counts == {"distinct": 5, "copied": 2, "cache_hits": 0, "translated": 3}


def test_a_second_run_asks_nothing_and_a_new_version_asks_again(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    translate.translate(TABLE, Backend("test", "1", Counter()), path, bar=False)
    second, third = Counter(), Counter()
    assert translate.translate(TABLE, Backend("test", "1", second), path, bar=False)[1]["cache_hits"] == 3
    translate.translate(TABLE, Backend("test", "2", third), path, bar=False)
    assert second.asked == [] and len(third.asked) == 3


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    with pytest.raises(KeyboardInterrupt):
        translate.translate(TABLE, Backend("test", "1", Counter(break_after=1), batch=1), path, bar=False)
    rest = Counter()
    english, counts = translate.translate(TABLE, Backend("test", "1", rest, batch=1), path, bar=False)
    assert counts["cache_hits"] == 1 and len(rest.asked) == 2
    whole, _ = translate.translate(TABLE, Backend("test", "1", Counter()), tmp_path / "other.sqlite", bar=False)
    assert english.equals(whole)


def test_what_stays_untranslated_is_found() -> None:
    rows = [
        ("es", "zapatos", "zapatos"),
        ("es", "zapato", "shoe"),
        ("ja", "靴", "靴"),
        ("es", "rtx 3060", "rtx 3060"),
        ("de", "x", ""),
    ]
    table = pd.DataFrame([*rows, ("en", "shoe", "shoe")], columns=["language", "query", "query_en"])
    assert translate.find_untranslated(table)["query"].tolist() == ["zapatos", "靴", "x"]


def test_the_embedded_glossary_helps_every_foreign_language() -> None:
    backend = translate.open_backend("glossary")
    products = lexicon.load(SOURCES).products.values()
    for code in LANGUAGES:
        asked = [normalise_query(product.terms[code][0]) for product in products]
        made = backend.translate(asked, [code] * len(asked))
        changed = sum(before != after for before, after in zip(asked, made, strict=True)) / len(asked)
        assert changed == 0 if code == "en" else 0.4 < changed < 0.95, code
    assert translate.open_backend("none").translate(["zapatos"], ["es"]) == ["zapatos"]


def test_madlad_runs_on_its_true_class(tmp_path: Path) -> None:
    """A tiny random T5 with a tokenizer of words: the real loading, batching by length and generation."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    words = ["<pad>", "</s>", "<unk>", "<2en>", "rojo", "zapatos", "de", "mujer", "red", "shoes"]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(words), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    backend = translate.madlad_backend(tmp_path, "tiny", tokens=8, max_new=4)
    texts = ["zapatos de mujer", "rojo", "zapatos", "rojo zapatos de mujer"]
    together = backend.translate(texts, ["es"] * 4)
    alone = [backend.translate([text], ["es"])[0] for text in texts]
    assert together == alone and all(isinstance(text, str) for text in together) and backend.name == "madlad"
