"""The tables of notebook 01 against hand counts."""

from pathlib import Path

import pandas as pd
import pytest

from utils.data import eda
from utils.data.raw import Raw
from utils.data.taxonomy import parse

TRAIN = pd.DataFrame(
    [
        (1, "en", "Red Shoes", "shoes,red", 1),
        (2, "en", "red  shoes", "shoes,red ", 0),  # the clean pair of row 1
        (3, "es", "zapatos", "shoes,red", 1),
        (4, "es", None, "home", 0),
        (5, "fr", "sac", None, 1),
    ],
    columns=["id", "language", "origin_query", "target", "label"],
).astype({"origin_query": object, "target": object})
TEST = pd.DataFrame(
    [(11, "en", "red shoes", "shoes,red"), (12, "pl", "buty", "shoes,red"), (13, "pl", "buty", "home"), (14, "ar", "x", "home")],
    columns=["id", "language", "origin_query", "target"],
)  # fmt: skip
RAW = Raw(Path("data"), {("train", "QC"): TRAIN, ("test", "QC"): TEST})


def test_each_file_is_described_in_one_row() -> None:
    train, test = eda.describe(RAW).to_dict("records")
    assert train == {
        "task": "QC", "split": "train", "rows": 5, "queries": 4, "rows per query": 1.25, "languages": 3, "empty queries": 1,
        "empty targets": 1, "duplicate pairs": 1, "positive": 0.6,
    }  # fmt: skip
    assert pd.isna(test.pop("positive"))  # a test file has no labels
    assert test == {
        "task": "QC", "split": "test", "rows": 4, "queries": 3, "rows per query": 1.33, "languages": 3, "empty queries": 0,
        "empty targets": 0, "duplicate pairs": 0,
    }  # fmt: skip


def test_rows_are_counted_by_language_and_split() -> None:
    assert eda.language_counts(RAW, "QC").to_numpy().tolist() == [
        ["ar", "test", 1],
        ["en", "test", 1],
        ["en", "train", 2],
        ["es", "train", 2],
        ["fr", "train", 1],
        ["pl", "test", 2],
    ]


def test_unseen_languages_are_those_of_the_test_file_alone() -> None:
    assert eda.unseen_languages(RAW, "QC") == ["ar", "pl"]
    same = Raw(Path("data"), {("train", "QC"): TRAIN, ("test", "QC"): TEST.head(1)})
    assert eda.unseen_languages(same, "QC") == []


def test_rows_a_query_are_counted_within_a_language() -> None:
    table = pd.DataFrame({"language": ["en", "es", "en", "en"], "origin_query": ["bolso", "bolso", "bolso", "shoe"]})
    assert eda.query_sizes(table).to_dict() == {("en", "bolso"): 2, ("en", "shoe"): 1, ("es", "bolso"): 1}
    assert eda.mean_rows_per_query(table) == 2.0  # four rows of two distinct texts
    assert eda.mean_rows_per_query(table.assign(origin_query=None)) == 4.0
    assert eda.mean_rows_per_query(table.assign(origin_query=["a", None, None, "b"])) == pytest.approx(4 / 3)


def test_a_file_whose_queries_are_all_null_is_described_too() -> None:
    table = TEST.assign(origin_query=None).astype({"origin_query": object})
    row = eda.describe(Raw(Path("data"), {("test", "QC"): table})).to_dict("records")[0]
    assert (row["rows"], row["queries"], row["rows per query"], row["empty queries"]) == (4, 1, 4.0, 4)
    assert row["duplicate pairs"] == 2  # two rows of each of two paths


PATHS = pd.Series(
    [
        "arts,crafts & sewing,paper,stamps",
        "arts,crafts & sewing,paper,cards",
        "arts,crafts & sewing,yarn",
        "office,pens, pencils & writing supplies,gel pens",
        "office,paper",
        "office,paper",
        None,
    ]
)


def test_naive_parts_of_a_path_are_more_than_its_levels_where_a_name_has_commas() -> None:
    shape = eda.describe_taxonomy(parse(PATHS), PATHS)
    assert shape.to_numpy().tolist() == [
        ["arts,crafts & sewing,paper,stamps", 3, 4, 1],
        ["arts,crafts & sewing,paper,cards", 3, 4, 1],
        ["arts,crafts & sewing,yarn", 2, 3, 0],
        ["office,pens, pencils & writing supplies,gel pens", 3, 4, 0],
        ["office,paper", 2, 2, 0],
    ]
    assert list(shape) == ["path", "depth", "parts", "siblings"]
    assert eda.count_depths(shape).to_dict() == {"depth 2": 2, "depth 3": 3}


def test_category_texts_of_all_splits_are_concatenated() -> None:
    targets = eda.all_paths(RAW).tolist()
    assert targets[:4] == ["shoes,red", "shoes,red ", "shoes,red", "home"] and pd.isna(targets[4])
    assert targets[5:] == ["shoes,red", "shoes,red", "home", "home"]


@pytest.mark.parametrize(
    ("query", "odd"),
    [
        ("a\\b", True),
        ("a\u3000b", True),
        ("a\u200bb", True),
        (" a", True),
        ("a  b", True),
        ("a b", False),
        ("a ", False),  # a single space at the end
        ("Ñandú 100%", False),
        (None, False),
    ],
)
def test_queries_with_odd_characters_or_spaces_are_listed(query: str | None, odd: bool) -> None:
    table = pd.DataFrame({"origin_query": ["plain", query]}, index=[5, 9], dtype=object)
    rows = eda.odd_queries(table)
    assert rows["origin_query"].to_dict() == ({9: query} if odd else {})


def test_lengths_are_in_characters() -> None:
    lengths = eda.lengths(TRAIN.iloc[[0, 2]])
    assert lengths["query"].tolist() == [9, 7] and lengths["target"].tolist() == [9, 9]


def test_wrong_language_tags_of_a_sample_of_training_rows() -> None:
    queries = [
        "무선 이어폰",
        "赤い靴",
        "красные туфли",
        None,
    ]  # each script proves the tag wrong; the empty row is dropped
    columns = {"id": range(4), "language": "fr", "origin_query": queries, "target": "x", "label": [0, 1, 0, 1]}
    table = pd.DataFrame(columns)
    everything = eda.wrong_tags(table, rows=10, seed=1)
    assert sorted(everything["query"]) == sorted(queries[:3]) and everything["certain"].all()
    few = eda.wrong_tags(table, rows=2, seed=1)
    assert len(few) == 2 and few.equals(eda.wrong_tags(table, rows=2, seed=1))


def test_the_sentences_give_the_unseen_languages_and_the_rows_a_query() -> None:
    text = eda.explain(RAW, "QC")
    assert text.startswith("2 test languages have no training rows (ar, pl); a query has 1.3 rows. ")
    same = Raw(Path("data"), {("train", "QC"): TRAIN, ("test", "QC"): TEST.head(1)})
    assert eda.explain(same, "QC").startswith("0 test languages have no training rows (none); a query has 1.0 rows. ")
