"""Cleaning and the fields of a pair, over any text."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from utils.data.text import normalise_query, query_field, strip_accents, target_field, tidy

DIRTY = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40) | st.text(
    alphabet="aÉñＡ１　 \u200b\u00ad\ufeff\\\"'\t\n\x00şİßか\u3099ﾊﾟ각กำ-%", max_size=20
)


@given(DIRTY)
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise_query(text)
    assert normalise_query(once) == once


@given(DIRTY)
def test_a_normalised_query_is_clean(text: str) -> None:
    clean = normalise_query(text)
    assert clean == clean.strip() and "  " not in clean and clean == clean.lower()
    assert not any(unicodedata.category(c) in ("Cc", "Zl", "Zp") or c in "\u200b\ufeff\u00ad\u3000" for c in clean)
    assert '\\"' not in clean


def test_what_cleaning_means_on_real_traps() -> None:
    assert normalise_query('  \\\\\\"Red\u3000 ＳＨＯＥＳ\u200b\\" ') == '"red shoes"'
    assert normalise_query("line\nbreak\ttab") == "line break tab"
    assert normalise_query(None) == normalise_query("\u200b \u3000") == ""
    assert tidy("Keeps CASE") == "Keeps CASE"


def test_a_null_title_never_becomes_a_word() -> None:
    assert target_field(None, "QI") == "title: "
    assert target_field(float("nan"), "QI") == "title: "
    assert target_field("A,b", "QC") == "category: A,b"


def test_the_english_stands_beside_the_original_only_where_it_says_more() -> None:
    assert query_field("zapatos", "shoes") == "query: zapatos | english: shoes"
    assert query_field("shoes", "shoes") == query_field("shoes", "x", translation=False) == "query: shoes"


@given(st.text(alphabet="áéñçöžđабв한국ไทย日本", max_size=12))
def test_stripping_accents_touches_latin_letters_only(text: str) -> None:
    plain = strip_accents(text)
    assert [c for c in plain if not c.isascii() and c != "đ"] == [c for c in text if c not in "áéñçöž" and c != "đ"]
