"""Query groups against a slow reference: union-find over every pair of rows."""

from itertools import combinations
from unittest.mock import patch

import pandas as pd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from utils.data import groups
from utils.data.groups import query_groups

Row = tuple[str, str, str | None]
# Few texts of each kind, so that chains of several links are common.
QUERIES, ENGLISH, TARGETS = (
    [f"q{n}" for n in range(8)],
    ["", "e0", "e1", "e2", "e3", "e4", "e5", "e6"],
    [f"t{n}" for n in range(9)],
)
ROWS = st.lists(
    st.tuples(st.sampled_from(QUERIES), st.sampled_from(ENGLISH), st.sampled_from([*TARGETS, None])),
    min_size=1,
    max_size=30,
)
# Lists of whole queries, drawn from few targets: their Jaccard index lies at, above and below one half.
LISTS = st.lists(st.lists(st.sampled_from(TARGETS), min_size=1, max_size=7), min_size=2, max_size=8)


def table_of(rows: list[Row]) -> pd.DataFrame:
    """Rows of (query, English, target) whose index is not their position."""
    return pd.DataFrame(rows, columns=["query", "query_en", "target"], index=range(100, 100 + 2 * len(rows), 2))


def are_alike(left: Row, right: Row, lists: dict[str, set[str]]) -> bool:
    """The definition, read aloud for two rows."""
    if left[0] == right[0] or (left[1] and left[1] == right[1]):
        return True
    one, other = lists[left[0]], lists[right[0]]
    return min(len(one), len(other)) >= 3 and 2 * len(one & other) >= len(one | other)


def slow_groups(rows: list[Row]) -> list[str]:
    """The first query of each row's group, by joining every pair of rows that are alike."""
    lists = {
        query: {target for other, _, target in rows if other == query and target is not None} for query, _, _ in rows
    }
    group = list(range(len(rows)))
    for left, right in combinations(range(len(rows)), 2):
        if are_alike(rows[left], rows[right], lists):
            old, new = max(group[left], group[right]), min(group[left], group[right])
            group = [new if number == old else number for number in group]
    return [rows[number][0] for number in group]


@settings(max_examples=150)
@given(ROWS)
@example([("a", "", None), ("b", "", None)])
@example(
    [("a", "x", "t"), ("b", "x", "t"), ("b", "y", "t"), ("c", "y", "t"), ("d", "", "t")]
)  # a chain over two English texts
def test_groups_are_those_of_union_find_over_all_pairs(rows: list[Row]) -> None:
    table = table_of(rows)
    found = query_groups(table)
    assert found.tolist() == slow_groups(rows) and found.index.equals(table.index)


@settings(max_examples=100)
@given(LISTS, st.integers(1, 3), st.integers(2, 8))
def test_lists_compared_block_by_block_are_the_same(lists: list[list[str]], block: int, long: int) -> None:
    rows = [(f"q{number}", "", target) for number, targets in enumerate(lists) for target in targets]
    with patch.multiple(groups, BLOCK=block, LONG=long, COMPARED=10):
        assert query_groups(table_of(rows)).tolist() == slow_groups(rows)


def test_half_of_the_targets_in_common_is_enough_and_less_is_not() -> None:
    rows = [
        (query, "", target) for query, targets in (("a", "1234"), ("b", "1235"), ("c", "1678")) for target in targets
    ]
    found = dict(zip("abc", query_groups(table_of(rows)).iloc[[0, 4, 8]], strict=True))
    assert found == {"a": "a", "b": "a", "c": "c"}  # a and b share 3 of 5, a and c 1 of 7
    half = [(query, "", target) for query, targets in (("a", "123"), ("b", "124")) for target in targets]
    assert query_groups(table_of(half)).nunique() == 1  # 2 of 4
    more = [(query, "", target) for query, targets in (("a", "123"), ("b", "1245")) for target in targets]
    assert query_groups(table_of(more)).nunique() == 2  # 2 of 5


def test_repeated_rows_do_not_lengthen_a_list_and_null_targets_are_none() -> None:
    twice = [
        ("a", "", "1"),
        ("a", "", "2"),
        ("a", "", "2"),
        ("a", "", None),
        ("b", "", "1"),
        ("b", "", "2"),
        ("b", "", None),
    ]
    assert query_groups(table_of(twice)).nunique() == 2  # two distinct targets each say nothing


def test_twelve_languages_over_the_same_titles_are_one_group() -> None:
    titles = ["red shoes", "blue shoes", "green shoes"]
    rows = [(f"query in language {number}", f"english {number}", title) for number in range(12) for title in titles]
    rows += [("another query", "another", title) for title in ("a lamp", "a table", "a chair")]
    found = query_groups(table_of(rows))
    assert found.iloc[:36].unique().tolist() == ["query in language 0"] and found.iloc[36:].unique().tolist() == [
        "another query"
    ]


def test_an_english_query_is_joined_with_its_translations_alone() -> None:
    rows = [
        ("red shoes", "red shoes", "t"),
        ("zapatos rojos", "red shoes", "t"),
        ("赤い靴", "red shoe", "t"),
        ("", "", "t"),
        ("?", "", "t"),
    ]
    assert query_groups(table_of(rows)).tolist() == ["red shoes", "red shoes", "赤い靴", "", "?"]


def test_tables_without_targets_or_rows_have_groups() -> None:
    table = table_of([("a", "x", None), ("b", "x", None), ("c", "", None)]).assign(target=None)
    assert query_groups(table).tolist() == ["a", "a", "c"]
    assert query_groups(table.iloc[:0]).tolist() == []


def test_a_query_of_a_hundred_thousand_targets_is_grouped_in_seconds() -> None:
    """Pairs of its targets would be billions; the second shares two thirds of its targets, the third a few."""
    spans = {"a": range(100_000), "b": range(20_000, 110_000), "c": range(99_990, 130_000)}
    rows = [(query, "", f"t{number}") for query, numbers in spans.items() for number in numbers]
    found = query_groups(table_of(rows))
    assert found.to_numpy()[[0, 100_000, 190_000]].tolist() == ["a", "a", "c"]
