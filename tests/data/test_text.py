"""Cleaning and the fields of a pair, over any text."""

import sys
import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from utils.data.text import (
    map_distinct,
    normalise_query,
    query_field,
    split_path,
    strip_accents,
    target_field,
    tidy,
    words,
)

FORMS = [
    chr(code)
    for code in range(0x80, sys.maxunicode + 1)
    if not 0xD800 <= code <= 0xDFFF
    and unicodedata.normalize("NFKC", chr(code)) != unicodedata.normalize("NFC", chr(code))
]  # every character that NFKC changes beyond NFC
SIGNS = "®©℗⁄′‐\u4e00\u0301\u0323\u0307\ufe0f\u200b\u2066\x00"
PARTS = "aA1 5-I.İΣßéกํา้ຳໍາか゛゙ﾞ한ㄱ\u1100\u1161\\\"'ا\u064b"
DIRTY = (
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.text(alphabet="aÉñＡ１　 \u200b\u00ad\ufeff\\\"'\t\n\x00şİßか\u3099ﾊﾟ각กำ-%", max_size=20)
    | st.text(alphabet=st.sampled_from(FORMS) | st.sampled_from(SIGNS) | st.sampled_from(PARTS), max_size=8)
)


@given(DIRTY)
@example("a" + "\u0344" * 31)  # NFC makes two marks of it
@example("İ" + "\u0301" * 30)  # lower case makes a mark more
@example("a" + "\ufc5e" * 40)  # an accent without a letter becomes a mark
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise_query(text)
    assert normalise_query(once) == once == once.lower()
    assert tidy(tidy(text)) == tidy(text)


@given(DIRTY)
def test_case_does_not_matter(text: str) -> None:
    assert normalise_query(tidy(text)) == normalise_query(text)


@given(DIRTY)
def test_a_normalised_query_is_clean(text: str) -> None:
    clean = normalise_query(text)
    assert clean == clean.strip() and "  " not in clean and clean == clean.lower()
    assert not any(unicodedata.category(c) in ("Cc", "Zl", "Zp") or c in "\u200b\ufeff\u00ad\u3000" for c in clean)
    assert '\\"' not in clean and unicodedata.is_normalized("NFC", clean)


def test_what_cleaning_means_on_real_traps() -> None:
    assert normalise_query('  \\\\\\"Red\u3000 ＳＨＯＥＳ\u200b\\" ') == '"red shoes"'
    assert normalise_query("line\nbreak\ttab") == "line break tab"
    assert normalise_query(None) == normalise_query("\u200b \u3000") == ""
    assert tidy("Keeps CASE") == "Keeps CASE"


@pytest.mark.parametrize("word", ["น้ำหอม", "กำไล", "สำลี", "ที่ทำขนม", "ນ້ຳຫອມ", "ໜັງສື ໝວກ"])
def test_thai_and_lao_letters_stay_whole(word: str) -> None:
    assert normalise_query(word) == tidy(word) == word
    for taken_apart in (unicodedata.normalize("NFKD", word), unicodedata.normalize("NFKC", word)):
        if "ໜ" not in word:
            assert tidy(taken_apart) == word


def test_sara_am_whose_sign_was_typed_before_its_tone_is_the_same_letter() -> None:
    assert tidy("น\u0e4d\u0e49\u0e32หอม") == "น้ำหอม"
    assert tidy("\u0e4d") == "\u0e4d"  # the sign alone


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        # Rights signs stand for no letters.
        ("Zeltor™ lamp", "Zeltor lamp"),
        ("Zeltor™lamp", "Zeltor lamp"),
        ("Zeltor℠ plan", "Zeltor plan"),
        ("Zeltor®500 ©️ Nara℗", "Zeltor 500 Nara"),
        ("Zeltor™®, lamp (™)", "Zeltor, lamp ()"),
        ("Zeltorⓡ Ⓒ Zeltor🅪", "Zeltor Zeltor"),
        ("ⓒⓡⓞⓒ", "croc"),  # letters in circles that form a word
        # Fractions, powers, notes and indices.
        ("boots size 8½", "boots size 8 1/2"),
        ("2¼ inch pipe", "2 1/4 inch pipe"),
        ("½", "1/2"),
        ("８½kg", "8 1/2 kg"),
        ("8¹⁄₂ 8\u20441", "8 1/2 8/1"),
        ("8™½", "8 1/2"),
        ("10² cm tile", "10 2 cm tile"),
        ("10⁻³ 10¹²5", "10 -3 10 12 5"),
        ("10₂ log₁₀ CO₂ H₂O B₁₂", "10 2 log10 CO2 H2O B12"),
        ("5m² 10cm³ 1ˢᵗ ˢᵃˡᵉ", "5m2 10cm3 1st sale"),
        ("Zeltor¹", "Zeltor 1"),
        ("㎡²", "m2 2"),
        ("1º 2ª nº5", "1º 2ª nº5"),
        # Numbers in circles, brackets or Roman letters.
        ("iphone① ①②③ ⑴a ⒈5 ②0", "iphone 1 1 2 3 (1) a 1. 5 2 0"),
        ("typeⅡ ⅩⅤ 型Ⅷ", "type II XV 型 VIII"),
        # Units and signs.
        ("5㎝x2 5㎏ 5㎡ 5㎧ 20℃ 5ℓ 5㌔", "5cmx2 5kg 5m2 5m/s 20°C 5l 5キロ"),
        ("№5 ℡123", "No 5 TEL 123"),
        # Forms of the same letter.
        ("ﬁsh oﬀer ĳs ſize ǆ", "fish offer ijs size dž"),
        ("𝐁𝐢𝐠 𝟏𝟎 １０％ Ａ（Ｂ）！", "Big 10 10% A(B)!"),
        ("ﾊﾟｿｺﾝ か゛ は゜ ゛", "パソコン が ぱ ゛"),
        ("ﻛﺘﺎﺏ ﻻ", "كتاب لا"),
        ("⼈ 豈", "人 豈"),
        # Korean: syllables are composed, letters of the keyboard stay, half-width ones become these.
        ("\u1112\u1161\u11ab\u1100\u116e\u11a8", "한국"),
        ("ㅋㅋㅋ 가ㄳ ﾡﾢ ㈜ ㉠", "ㅋㅋㅋ 가ㄳ ㄱㄲ (주) ㄱ"),
        ("a\u3164b", "a b"),
        # Vietnamese from parts, in any order of the marks.
        ("thie\u0302\u0301t ke\u0301\u0302 bo\u0323\u0302", "thiết k\u00e9\u0302 bộ"),
        # What a keyboard types otherwise.
        ("women´s 10″ 5′2″ t‑shirt", "women's 10\" 5'2\" t-shirt"),
        ("Hyatt’s “best” … ñ ß", "Hyatt’s “best” ... ñ ß"),
        ("a ¨ b ˚ c", "a ¨ b ˚ c"),  # an accent without a letter does not join a space
        ("a\u2066b\u2069 \u061cc", "ab c"),
    ],
)
def test_forms_become_ordinary_characters_where_that_changes_no_meaning(raw: str, plain: str) -> None:
    assert tidy(raw) == plain
    assert normalise_query(raw) == plain.lower()
    assert target_field(raw, "QI") == f"title: {plain}"


def test_no_form_is_left_but_those_whose_plain_text_says_something_else() -> None:
    left = {character for character in FORMS if tidy(character) == character}
    letters = set("ªº\u0e33\u0eb3\u0edc\u0edd\u0f77\u0f79") | set(map(chr, range(0x3131, 0x318F)))
    lone_accents = {c for c in FORMS if unicodedata.normalize("NFKC", c)[0] == " "}
    assert left - letters <= lone_accents and letters - {"\u3164"} <= left
    tags = {unicodedata.decomposition(character).split(" ")[0] for character in left}
    assert not tags & {"<wide>", "<narrow>", "<isolated>", "<initial>", "<medial>", "<final>", "<fraction>", "<circle>"}


@given(st.sampled_from(FORMS), st.sampled_from("0123456789"))
def test_no_form_adds_digits_to_a_number(form: str, digit: str) -> None:
    is_same_digit = unicodedata.decomposition(form).split(" ")[0] in ("<wide>", "<narrow>", "<font>")
    plain, alone = tidy(f"{digit}{form}{digit}"), tidy(form)
    if not is_same_digit and any(c.isdigit() for c in alone):
        assert plain.replace(" ", "") == f"{digit}{alone}{digit}".replace(" ", "")
        assert not (alone[0].isdigit() and plain[1] == alone[0])
        assert not (alone[-1].isdigit() and plain[-2] == alone[-1])


@given(st.text(alphabet=st.characters(max_codepoint=127), max_size=30))
def test_ascii_texts_keep_every_word(text: str) -> None:
    plain = "".join(c if c >= " " and c != "\x7f" else " " for c in text)
    assert tidy(text).replace("\\", "").split() == plain.replace("\\", "").split()


def test_a_value_is_computed_once_per_distinct_text() -> None:
    seen = []
    values = map_distinct(lambda text: seen.append(text) or str(text), ["b", None, "a", "b", None])
    assert values == ["b", "None", "a", "b", "None"] and seen == ["b", None, "a"]


def test_words_are_runs_of_letters_and_digits() -> None:
    assert words("Red-SHOES 42½, café_x; 靴") == ["red", "shoes", "42½", "café_x", "靴"]


def test_a_raw_path_is_split_at_its_own_commas() -> None:
    assert split_path(" a，b & c,d, e ,f,") == ["a，b & c", "d, e ", "f", ""]
    assert split_path(None) == split_path(float("nan")) == [""]


def test_a_null_title_never_becomes_a_word() -> None:
    assert target_field(None, "QI") == "title: "
    assert target_field(float("nan"), "QI") == "title: "
    assert target_field("A,b", "QC") == "category: A,b"


def test_the_english_stands_beside_the_original_only_where_it_says_more() -> None:
    assert query_field("zapatos", "shoes") == "query: zapatos | english: shoes"
    assert query_field("shoes", "shoes") == query_field("shoes", "x", translation=False) == "query: shoes"


@given(st.text(alphabet="áéñçöžđếộữabв한국ไทย日本", max_size=12))
def test_stripping_accents_touches_latin_letters_only(text: str) -> None:
    plain, latin = strip_accents(text), "áéñçöžđếộữab"
    assert [c for c in plain if not c.isascii() and c != "đ"] == [c for c in text if c not in latin]
    assert [c for c in plain if c.isascii() or c == "đ"] == ["aencozđeouab"[latin.index(c)] for c in text if c in latin]


def test_every_accent_of_a_letter_is_stripped() -> None:
    assert strip_accents("thiết kế nội thất giường đôi") == "thiet ke noi that giuong đoi"
    assert strip_accents("ǿ ǻ ḯ ớ zapatería") == "ø a i o zapateria"
    assert strip_accents("й ά が กำ نً") == "й ά が กำ نً"  # other scripts
    assert strip_accents("\u0301a") == "\u0301a"  # no letter before it


LONG = {
    "backslashes": ("\\" * 300_000 + '"', '"'),
    "marks": ("a" + "\u0316\u0301" * 150_000, "á" + "\u0316" * 15 + "\u0301" * 14),
    "marks between hidden characters": ("a" + "\u0301\u200d" * 100_000, "á" + "\u0301" * 30),
    "marks out of other characters": ("a" + "\ufc5e\u0316" * 100_000, None),
    "fractions": ("½" * 100_000, None),
    "signs": ("a®" * 100_000, None),
    "voice marks": ("か\u309b" * 100_000, "が" * 100_000),
    "dots": ("İ" * 100_000, None),
    "commas": (",\u200b" * 100_000, None),
}


@pytest.mark.parametrize("name", LONG)
def test_long_texts_take_time_in_proportion(name: str) -> None:
    """Some took their length squared: minutes, for a line of a few hundred kilobytes."""
    text, expected = LONG[name]
    start = time.process_time()
    query, levels = normalise_query(text), split_path(text)
    assert time.process_time() - start < 5
    assert expected in (None, query) and levels and strip_accents(query)


def test_thirty_combining_marks_stay() -> None:
    for count in (1, 29, 30):
        assert tidy("x" + "\u0323" * count + "y") == unicodedata.normalize("NFC", "x" + "\u0323" * count + "y")
    assert tidy("x" + "\u0316" * 31 + "y" + "\u0316" * 99) == "x" + "\u0316" * 30 + "y" + "\u0316" * 30
