"""Nothing leaks from validation rows to training rows, whatever the table."""

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from utils.data import folds, taxonomy
from utils.data.folds import join_folds

ROWS = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from(["en", "es", "ja"]), st.integers(0, 9), st.integers(0, 1)),
    min_size=30,
    max_size=80,
)


def table_of(rows: list[tuple[int, str, int, int]]) -> pd.DataFrame:
    """Rows of (query, language, category, label), ids far from positions."""
    columns = {"id": [1000 - number for number in range(len(rows))], "language": [row[1] for row in rows]}
    columns |= {
        "query": [f"q{row[0]}" for row in rows],
        "target": [f"top{row[2] % 4},mid{row[2]},leaf" for row in rows],
    }
    return pd.DataFrame({**columns, "label": [row[3] for row in rows]})


def assign_folds(table: pd.DataFrame, task: str) -> pd.DataFrame:
    tree = taxonomy.parse(table["target"])
    return join_folds(table, folds.make_folds(table, task, tree, 2, 3, seed=1))


def groups_enough(table: pd.DataFrame) -> bool:
    return table["query"].nunique() >= 3 and table["target"].nunique() >= 3


@settings(max_examples=40)
@given(ROWS, st.sampled_from(["QC", "QI"]), st.sampled_from(folds.SCHEMES))
def test_no_scheme_but_the_reports_shares_a_query(
    rows: list[tuple[int, str, int, int]], task: str, scheme: str
) -> None:
    table = table_of(rows)
    assume(groups_enough(table))
    joined = assign_folds(table, task)
    for fold in folds.fold_numbers(joined, scheme):
        train, validation = folds.split(joined, scheme, fold)
        assert not set(train["id"]) & set(validation["id"])
        if scheme != "report" or task == "QI":
            assert not set(train["query"]) & set(validation["query"])
        if scheme != "leave-language" and task == "QC":
            assert not set(train["category_group"]) & set(validation["category_group"])
        if scheme == "leave-language":
            assert validation["language"].nunique() == 1 and not set(train["language"]) & set(validation["language"])


@settings(max_examples=25)
@given(ROWS, st.sampled_from(["QC", "QI"]))
def test_every_row_is_a_validation_row_once(rows: list[tuple[int, str, int, int]], task: str) -> None:
    table = table_of(rows)
    assume(groups_enough(table))
    joined = assign_folds(table, task)
    validation_ids = [
        number
        for fold in folds.fold_numbers(joined, "strict")
        for number in folds.split(joined, "strict", fold)[1]["id"]
    ]
    assert sorted(validation_ids) == sorted(table["id"])


def test_the_leak_report_counts_a_planted_leak() -> None:
    table = table_of([(number % 10, "en", number, number % 2) for number in range(40)])
    joined = assign_folds(table, "QC").assign(fold=[number % 3 for number in range(40)])
    assert all(leak["shared_queries"] > 0 for leak in folds.find_leaks(joined, "report"))
    assert all(leak["shared_queries"] == 0 for leak in folds.find_leaks(joined, "strict"))


def test_folds_are_balanced_and_the_same_for_the_same_seed() -> None:
    table = table_of([(number // 2, ["en", "es", "ja"][number % 3], number % 40, number % 2) for number in range(600)])
    joined = assign_folds(table, "QI")
    assert joined.equals(assign_folds(table, "QI"))
    for leak in folds.find_leaks(joined, "strict"):
        assert leak["label_drift"] < 0.05 and leak["language_drift"] < 0.05
        assert 150 < leak["validation_rows"] < 250


def test_auxiliary_rows_with_a_validation_query_are_left_out() -> None:
    auxiliary = pd.DataFrame({"query": ["a", "b", "c"], "id": [1, 2, 3]})
    validation = pd.DataFrame({"query": ["b", "x"]})
    assert folds.without_queries(auxiliary, validation)["id"].tolist() == [1, 3]


def test_too_few_groups_are_refused() -> None:
    table = table_of([(number, "en", 0, number % 2) for number in range(30)])
    with pytest.raises(ValueError, match="1 groups cannot be split into 3 folds"):
        assign_folds(table, "QC")
