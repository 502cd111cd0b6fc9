"""The word list: what it does for each language, and every way in which a hand-edited file can be wrong."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.core.errors import DataError
from utils.core.paths import SOURCES
from utils.core.schema import LANGUAGES
from utils.data.text import normalise_query
from utils.sample import lexicon
from utils.translation import backends, glossary

HEADER = b"language,term,english\n"


def test_the_embedded_glossary_helps_every_foreign_language() -> None:
    backend = backends.open_backend("glossary")
    products = lexicon.load(SOURCES).products.values()
    for code in LANGUAGES:
        queries = [normalise_query(product.terms[code][0]) for product in products]
        english = backend.translate(queries, [code] * len(queries))
        changed = sum(before != after for before, after in zip(queries, english, strict=True)) / len(queries)
        assert changed == 0 if code == "en" else 0.4 < changed < 0.95, code
    assert backends.open_backend("none").translate(["zapatos"], ["es"]) == ["zapatos"]


def test_a_good_file_is_read_however_it_was_saved() -> None:
    content = '\ufefflanguage,english,term,note\r\nes,red,Rojo,\r\n\r\nes,"hook, small",gancho,"two\r\nlines"\r\nja,red,赤,x\r\n'
    terms = glossary.read_terms(content.encode(), Path("words.csv"))
    assert terms == {"es": {"rojo": "red", "gancho": "hook, small"}, "ja": {"赤": "red"}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"words\.csv:1: no header; the first line must be language,term,english"),
        (b"language,term\nes,rojo\n", r"words\.csv:1: column english is missing; the first line must be"),
        (b"language;term;english\nes;rojo;red\n", r"words\.csv:1: column language, term, english is missing"),
        (b"language,term,english,term\n", r"words\.csv:1: a column stands twice"),
        (HEADER + b"es,rojo,red\nes,verde\n", r"words\.csv:3: 2 fields instead of 3; separate them by commas"),
        (
            HEADER + b"es,gancho,hook, small\n",
            r"words\.csv:2: 4 fields instead of 3; .*put a text with a comma in quotes",
        ),
        (HEADER + b"es,rojo,red\nes,caf\xe9,coffee\n", r"words\.csv:3: not UTF-8; save the file as UTF-8"),
        (
            HEADER + b"es,rojo,red\nes,verde,green\nes, ROJO ,crimson\n",
            r"words\.csv:4: es 'rojo' stands in line 2 already; keep one",
        ),
        (HEADER + b'es,"a\nb",x\nsp,rojo,red\n', r"words\.csv:4: language 'sp' is unknown; use one of en es"),
        (HEADER + b"es,,red\n", r"words\.csv:2: term is empty; fill it in or remove the line"),
        (HEADER + b"es,rojo, \n", r"words\.csv:2: english is empty; fill it in or remove the line"),
        (HEADER + b'es,"rojo,red\nes,verde,green\n', r"words\.csv:2: not valid CSV \(unexpected end of data\)"),
        (HEADER + b'es,"ro"jo,red\n', r"words\.csv:2: not valid CSV "),
    ],
)
def test_a_broken_file_is_named_with_line_and_fix(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "words.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        backends.glossary_backend(tmp_path / "words.csv")


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(DataError) as raised:
        glossary.read_terms(HEADER + b"es,x\n" * 30, Path("words.csv"))
    lines = str(raised.value).splitlines()
    assert lines[19].startswith("words.csv:21: ") and lines[20] == "... and 10 more of this file"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"words\.csv:1: cannot be read \(No such file"):
        backends.glossary_backend(tmp_path / "words.csv")


@given(st.binary(max_size=60))
def test_no_bytes_end_in_anything_but_terms_or_an_explanation(content: bytes) -> None:
    try:
        terms = glossary.read_terms(HEADER + content, Path("words.csv"))
    except DataError as error:
        assert all(line.startswith(("words.csv:", "... and")) for line in str(error).splitlines())
    else:
        assert set(terms) <= set(LANGUAGES)


def test_turned_round_each_english_term_becomes_one_that_means_it() -> None:
    terms = glossary.read_terms((SOURCES / "glossary.csv").read_bytes(), SOURCES / "glossary.csv")
    turned = glossary.turn_round(terms)
    assert turned.keys() == terms.keys()
    for language, entries in turned.items():
        assert all(normalise_query(terms[language][term]) == english for english, term in entries.items())
        assert set(entries) == {normalise_query(english) for english in terms[language].values()}


def test_a_backend_into_a_language_says_so_in_its_version() -> None:
    english, german = (backends.open_backend("glossary", target=code) for code in ("en", "de"))
    assert german.version.startswith(english.version) and german.version != english.version
    content = (SOURCES / "glossary.csv").read_bytes()
    term, meaning = next(iter(glossary.read_terms(content, SOURCES)["de"].items()))
    made = german.translate([meaning, "zzz 12"], ["en", "en"])
    assert made == [term, "zzz 12"] and english.translate(made, ["de", "de"]) == [meaning, "zzz 12"]
