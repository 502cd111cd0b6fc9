"""Clean tables: every repair and every dropped row counted by hand; dev and test rows are never dropped."""

from pathlib import Path

import pandas as pd
import pytest

from utils.core import paths
from utils.core.schema import CLEAN_COLUMNS
from utils.data import clean
from utils.data.tables import read_table

RAW = pd.DataFrame(
    [
        (1, "en", "Red  Shoes", "Shoes", 1),  # the query changes
        (2, "en", "red shoes", "Shoes", 0),  # the pair of row 1 after cleaning, with the other label
        (3, "es", "zapatos", "Zapato", 1),
        (4, "es", None, "Zapato", 0),  # null and empty
        (5, "fr", "\u200b \u3000", "Sac", 1),  # empty after cleaning, so the query changes
        (6, "en", "lamp", None, 1),
        (7, "en", "lamp", None, 1),  # a duplicate whose label does not contradict
        (8, "ja", "靴", " \u200b", 1),  # the target is empty after cleaning
    ],
    columns=["id", "language", "origin_query", "target", "label"],
).astype({"origin_query": object, "target": object})
COUNTS = {
    "read": 8,
    "null": 1,
    "empty": 2,
    "null_target": 2,
    "empty_target": 3,
    "changed_query": 2,
    "duplicate": 2,
    "dropped": 2,
    "contradicting_label": 2,
}


def test_repairs_and_dropped_rows_of_a_training_file_are_counted() -> None:
    table, counts = clean.clean_table(RAW, train=True)
    assert counts == COUNTS
    assert table["id"].tolist() == [1, 2, 3, 6, 7, 8] and table.index.tolist() == [0, 1, 2, 3, 4, 5]
    assert table["query"].tolist() == ["red shoes", "red shoes", "zapatos", "lamp", "lamp", "靴"]
    assert table["origin_query"].tolist() == ["Red  Shoes", "red shoes", "zapatos", "lamp", "lamp", "靴"]
    assert table["label"].tolist() == [1, 0, 1, 1, 1, 1]
    assert list(table) == ["id", "language", "origin_query", "query", "target", "label"]


def test_every_dev_and_test_row_stays() -> None:
    raw = RAW.drop(columns="label").set_index(pd.Index(range(10, 18)))
    table, counts = clean.clean_table(raw, train=False)
    assert counts == {key: COUNTS[key] for key in COUNTS if key != "contradicting_label"} | {"dropped": 0}
    assert table["id"].tolist() == RAW["id"].tolist() and table.index.tolist() == raw.index.tolist()
    assert table["query"].tolist() == ["red shoes", "red shoes", "zapatos", "", "", "lamp", "lamp", "靴"]
    assert list(table) == ["id", "language", "origin_query", "query", "target"]


def test_a_file_without_faults_has_zero_counts() -> None:
    table, counts = clean.clean_table(RAW.iloc[[2]], train=True)
    assert counts == dict.fromkeys(COUNTS, 0) | {"read": 1} and len(table) == 1


def test_counts_have_one_row_a_file() -> None:
    raw = {("train", "QC"): RAW, ("dev", "QC"): RAW.head(3), ("test", "QI"): RAW.drop(columns="label")}
    tables, counts = clean.clean_tables(raw)
    assert list(tables) == list(raw) and [len(table) for table in tables.values()] == [6, 3, 8]
    assert counts.index.tolist() == ["train_QC", "dev_QC", "test_QI"] and list(counts) == list(COUNTS)
    assert counts["dropped"].tolist() == [2, 0, 0] and counts["empty"].tolist() == [2, 0, 2]
    assert counts["contradicting_label"].tolist() == [2, 0, 0]  # not counted in dev and test
    assert all(kind.kind == "i" for kind in counts.dtypes)


def test_queries_that_change_only_in_case_are_not_listed_as_changed() -> None:
    table = pd.DataFrame(
        {
            "language": ["en", "en", "es"],
            "origin_query": ["Red Shoes", "Red  Shoes", "zapatos"],
            "query": ["red shoes", "red shoes", "zapatos"],
        }
    )
    assert clean.changed_queries(table).to_numpy().tolist() == [["en", "Red  Shoes", "red shoes"]]


IDENTIFIED = {
    "무선 이어폰": "ko",
    "красные туфли": "",
    "赤い靴": "ja",
    "red shoes": "en",
    "wireless headphones": "en",
    "zapatos": "es",
    "xq 12": "",
}
QUERIES = pd.DataFrame(
    [
        ("fr", "무선 이어폰"),  # the script proves it
        ("en", "красные туфли"),  # no language of the competition is written in Cyrillic
        ("ja", "赤い靴"),
        ("ko", "赤い靴"),
        ("ja", "red shoes"),  # Latin letters under a language with a script of its own are code-mixing
        ("fr", "wireless headphones"),  # an estimate
        ("fr", "wireless headphones"),  # counted once
        ("en", "wireless headphones"),
        ("es", "zapatos"),
        ("es", "xq 12"),  # undecided
        ("es", ""),
    ],
    columns=["language", "query"],
)


@pytest.fixture
def identified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Identified languages by hand, so that no estimate of the identifier decides the test."""
    monkeypatch.setattr(clean, "identify_languages", lambda texts: [IDENTIFIED[text] for text in texts])


@pytest.mark.usefixtures("identified")
def test_queries_that_contradict_their_language_tag_are_listed_once() -> None:
    mismatches = clean.language_mismatches(QUERIES)
    assert mismatches[["language", "query", "certain"]].to_numpy().tolist() == [
        ["fr", "무선 이어폰", True],
        ["en", "красные туфли", True],
        ["ko", "赤い靴", True],
        ["fr", "wireless headphones", False],
    ]
    assert mismatches.index.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("language", "query", "certain"),
    [
        ("ko", "韓國 김치 泡菜 大容量", False),  # Chinese characters in Korean
        ("ko", "人蔘", False),
        ("ja", "人参", False),
        ("ja", "무선 無線 이어폰", True),  # Hangul is no Japanese, whatever stands beside
        ("ja", "無線 이어폰", True),
        ("ko", "赤い靴", True),
        ("ko", "포켓몬 ポケモン 카드", False),  # as many letters of its own
        ("fr", "无线耳机", True),
        ("fr", "louis・martin sac", False),  # a dot between names
        ("ko", "김・이 셔츠", False),
        ("en", "shoes ¯\\_(ツ)_/¯", False),
        ("en", "500฿ bag", False),  # a currency sign
        ("en", "size ٤٢، red", False),  # digits and a comma
        ("en", "靴", True),
        ("en", "กระเป๋า", True),
        ("id", "حقيبة", True),
        ("ar", "حقيبة samsung", False),
        ("en", "samsung 갤럭시", True),
        ("en", "кроссовки nike", True),
        ("en", "nikе air", False),  # one look-alike of a Latin letter
        ("es", "zapatería für mujer ñ", False),
        ("vn", "giày chạy bộ", False),
        ("de", "50 ω widerstand", False),
        ("fr", "", False),
    ],
)
def test_a_script_proves_a_wrong_tag_where_no_writer_of_the_language_uses_it(
    language: str, query: str, certain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clean, "identify_languages", lambda texts: [""] * len(texts))
    rows = clean.language_mismatches(pd.DataFrame({"language": [language], "query": [query]}))
    assert rows.to_numpy().tolist() == ([[language, query, "", True]] if certain else [])


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("красные туфли", True),
        ("кроссовки nike", True),
        ("무선 이어폰", True),
        ("กระเป๋า", True),
        ("靴", True),
        ("κόκκινα παπούτσια", True),
        ("red shoes 42", False),
        ("zapatería für ñandú, giày chạy bộ, żółty", False),
        ("10 μm filter", False),
        ("50 ω", True),  # no other letters
        ("★ 100% ★", False),
        ("café 500฿", False),
        ("", False),
    ],
)
def test_texts_with_words_of_another_script_are_no_english(text: str, foreign: bool) -> None:
    assert clean.is_foreign_script(text) is foreign


@pytest.mark.usefixtures("identified")
def test_mismatches_have_one_row_a_file() -> None:
    counts = clean.count_mismatches({("train", "QC"): QUERIES, ("test", "QC"): QUERIES.tail(4)})
    assert counts.to_dict("index") == {
        "train_QC": {"language_mismatches": 4, "language_mismatches_certain": 3},
        "test_QC": {"language_mismatches": 0, "language_mismatches_certain": 0},
    }


def test_languages_are_identified_with_the_competitions_codes() -> None:
    texts = ["zapatos rojos de mujer", "giày chạy bộ cho nam", "무선 이어폰", "赤い靴", "123"]
    assert clean.identify_languages(texts) == ["es", "vn", "ko", "ja", ""]


def test_saved_tables_have_the_clean_columns_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    tables, _ = clean.clean_tables({("train", "QC"): RAW, ("test", "QC"): RAW.drop(columns="label")})
    tables = {key: table.assign(note="x", query_en="y") for key, table in tables.items()}
    run = paths.Run("small")
    clean.save_tables(tables, run)
    assert sorted(path.name for path in run.clean.iterdir()) == ["test_QC.parquet", "train_QC.parquet"]
    train, test = (read_table(run.clean_table(split, "QC")) for split in ("train", "test"))
    assert list(train) == list(CLEAN_COLUMNS) and list(test) == [name for name in CLEAN_COLUMNS if name != "label"]
    assert train["id"].tolist() == [1, 2, 3, 6, 7, 8] and test["id"].tolist() == RAW["id"].tolist()
    assert test["origin_query"].isna().tolist() == [False, False, False, True, False, False, False, False]
