"""What is to be translated, from which language, and which answers are translations."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.translation.quality import is_foreign, is_runaway, source_language


@pytest.mark.parametrize(
    ("query", "english"),
    [
        ("zapato", "shoe " * 60),
        ("zapato", " ".join(f"word{number}" for number in range(60))),
        ("zapato", "shoe shoe shoe shoe"),
        ("zapatos rojos de mujer", "red shoes, red shoes, red shoes, red shoes"),
        ("zapatos de mujer para fiesta", "shoes of a woman of a shoe of a woman of a shoe of a woman"),
        ("赤", "red red red red red red red"),
        ("1000 w", "watt watt watt watt watt"),
    ],
)
def test_a_translator_that_writes_on_and_on_is_noticed(query: str, english: str) -> None:
    assert is_runaway(query, english.strip())


@pytest.mark.parametrize(
    ("query", "english"),
    [
        ("rojo", "red"),
        ("epi", "personal protective equipment"),
        ("cctv", "closed circuit television camera"),
        ("全自動洗濯機給水栓", "water supply faucet for a fully automatic washing machine"),
        ("waschmaschinenzulaufschlauch", "washing machine inlet hose"),
        ("เครื่องซักผ้าฝาหน้า", "front loading washing machine"),
        ("kit de 4 luces led 12 v 24 v 36 v 48 v", "kit of 4 led lights 12 v 24 v 36 v 48 v"),
        ("rojo rojo rojo rojo rojo", "red red red red red"),
        ("la casa de la abuela y la casa del abuelo", "the house of the grandmother and the house of the grandfather"),
        ("1 1 1 1 1", "1 1 1 1 1 x"),
        ("zapato", ""),
    ],
)
def test_a_translation_is_none(query: str, english: str) -> None:
    assert not is_runaway(query, english)


@given(st.text(min_size=1, max_size=30))
def test_a_copy_is_never_a_runaway(query: str) -> None:
    assert not is_runaway(query, query)


@given(st.text("abcdefghijklmnopqrstuvwxyz", min_size=3, max_size=8), st.integers(20, 60))
def test_a_word_again_and_again_is_one(word: str, times: int) -> None:
    assert is_runaway("zapato", " ".join([word] * times))


LINES = [
    ("es", "zapato", True, "es"),
    ("es", "", False, "es"),
    ("en", "shoe", False, "en"),
    ("en", "café crème brûlée", False, "en"),
    ("en", "thiết kế", False, "en"),
    ("en", "обувь", True, "ru"),
    ("en", "case для iphone", True, "ru"),
    ("en", "\u0441hina plate", False, "ru"),  # one Cyrillic letter in a Latin word
    ("en", "5 kω resistor", False, "en"),
    ("en", "赤", True, "ja"),
    ("en", "鞋子", True, "ja"),
    ("en", "ニンジャ lego", True, "ja"),
    ("en", "a・b", False, "en"),
    ("en", "신발", True, "ko"),
    ("en", "รองเท้า", True, "th"),
    ("en", "حذاء", True, "ar"),
    ("en", "παπούτσια", True, "en"),
    ("fr", "신발", True, "fr"),
    ("en", "😀😀 ™ 50 °c", False, "en"),
]


@pytest.mark.parametrize("kind", ["str", object])
def test_another_tag_or_another_script_is_foreign(kind: str | type) -> None:
    table = pd.DataFrame(LINES, columns=["language", "query", "foreign", "source"]).astype(
        {"query": kind, "language": kind}
    )
    assert is_foreign(table["language"], table["query"]).tolist() == table["foreign"].tolist()
    sources = [
        source_language(language, query) for language, query in zip(table["language"], table["query"], strict=True)
    ]
    assert sources == table["source"].tolist()
