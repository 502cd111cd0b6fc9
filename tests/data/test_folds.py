"""Nothing leaks from validation rows to training rows, whatever the table; folds are alike; languages are held out as asked."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from utils.core.schema import LANGUAGES
from utils.data import folds, taxonomy
from utils.data.groups import query_groups

FOLDS = 3
LANGUAGE_CODES = ["en", "es", "ja"]
# Queries: their English (0 is none), the language and the label of the first row, and their list of categories. English texts
# and categories are many, so that some queries are alike and most are not.
QUERIES = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.sampled_from(LANGUAGE_CODES),
        st.integers(0, 1),
        st.lists(st.one_of(st.integers(0, 11), st.none()), min_size=1, max_size=5),
    ),
    min_size=8, max_size=20,
)  # fmt: skip
Query = tuple[int, str, int, list[int | None]]


def rows_of(queries: list[Query]) -> list[tuple[int, int, str, int | None, int]]:
    """A row for each category of each query; labels alternate."""
    return [
        (number % 18, english, language, category, (label + place) % 2)
        for number, (english, language, label, categories) in enumerate(queries)
        for place, category in enumerate(categories)
    ]


def table_of(rows: list[tuple[int, int, str, int | None, int]]) -> pd.DataFrame:
    """Rows of (query, English, language, category, label), ids far from positions; English 0 is none, category None is null."""
    columns = {"id": [1000 - number for number in range(len(rows))], "language": [row[2] for row in rows]}
    columns |= {"query": [f"q{row[0]}" for row in rows], "query_en": [f"e{row[1]}" if row[1] else "" for row in rows]}
    columns["target"] = [None if row[3] is None else f"top{row[3] % 4},mid{row[3]},leaf" for row in rows]
    return pd.DataFrame({**columns, "label": [row[4] for row in rows]})


def assign_folds(table: pd.DataFrame, task: str, seed: int = 1) -> pd.DataFrame:
    """The table joined with its folds, as notebook 03 does it."""
    tree = taxonomy.parse(table["target"]) if task == "QC" else None
    assigned = folds.make_folds(table, task, tree, 2, FOLDS, seed=seed)
    categories = folds.make_category_folds(folds.join_folds(table, assigned), FOLDS, seed)
    return folds.join_folds(table, assigned, categories)


def lists_of(table: pd.DataFrame) -> dict[str, set[str]]:
    """Query -> its distinct targets."""
    return {query: set(targets.dropna()) for query, targets in table.groupby("query")["target"]}


def shared_queries(train: pd.DataFrame, validation: pd.DataFrame, lists: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Pairs of queries, one of each side, that ask for the same thing: the definition, pair by pair."""
    english = [table.groupby("query")["query_en"].agg(set) for table in (train, validation)]
    return [
        (left, right)
        for left, left_english in english[0].items()
        for right, right_english in english[1].items()
        if left == right
        or (left_english & right_english) - {""}
        or (
            min(len(lists[left]), len(lists[right])) >= 3
            and 2 * len(lists[left] & lists[right]) >= len(lists[left] | lists[right])
        )
    ]


# -- leaks -----------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(QUERIES, st.sampled_from(["QC", "QI"]), st.sampled_from(folds.SCHEMES), st.integers(0, 20))
def test_no_scheme_leaks_what_it_separates(queries: list[Query], task: str, scheme: str, validation_rows: int) -> None:
    table = table_of(rows_of(queries))
    assume(table["query"].nunique() >= FOLDS)
    joined = assign_folds(table, task)
    lists = lists_of(table)
    is_grouped = query_groups(table).nunique() >= FOLDS  # else equal queries alone stay together
    for fold in folds.fold_numbers(joined, scheme):
        train, validation = folds.split(joined, scheme, fold, validation_rows)
        assert not set(train["id"]) & set(validation["id"])
        if scheme != "report" or task == "QI":
            assert not set(train["query"]) & set(validation["query"])
            assert not (is_grouped and shared_queries(train, validation, lists))
        if scheme in ("report", "strict") and task == "QC":
            assert not set(train["category_group"]) & set(validation["category_group"])
        if scheme == "leave-language":
            assert not set(train["language"]) & set(validation["language"])


@settings(max_examples=20)
@given(QUERIES, st.sampled_from(["QC", "QI"]), st.sampled_from(folds.SCHEMES))
def test_every_row_is_a_validation_row_once(queries: list[Query], task: str, scheme: str) -> None:
    table = table_of(rows_of(queries))
    assume(table["query"].nunique() >= FOLDS)
    joined = assign_folds(table, task)
    ids = [
        number for fold in folds.fold_numbers(joined, scheme) for number in folds.split(joined, scheme, fold)[1]["id"]
    ]
    assert sorted(ids) == (sorted(table["id"]) if folds.fold_numbers(joined, scheme) else [])


def test_queries_of_several_languages_over_the_same_titles_stay_together() -> None:
    rows = [
        (f"{code} {number}", f"{code} english {number}", code, f"title {number} {place}", place % 2)
        for number in range(12)
        for code in LANGUAGES
        for place in range(4)
    ]
    table = pd.DataFrame(rows, columns=["query", "query_en", "language", "target", "label"]).assign(id=range(len(rows)))
    joined = assign_folds(table, "QI")
    assert joined["query_group"].nunique() == 12
    assert (joined.groupby(joined["target"].str.split().str[1])["fold"].nunique() == 1).all()


# -- balance ---------------------------------------------------------------------------------------------------------


def even_table() -> pd.DataFrame:
    """240 queries of 5 rows: three languages, four top levels and two labels in unequal shares, which queries do not mix."""
    rows = []
    for number in range(240):
        language, top = LANGUAGE_CODES[min(2, number % 6 // 2 if number % 5 else 0)], (number // 7) % 4
        rows += [
            (number, number + 1, language, 4 * (5 * number % 30) + top, int((number + place) % 3 > 0))
            for place in range(5)
        ]
    table = table_of(rows)
    return table.assign(target=table["target"] + "," + table["id"].astype(str))  # no two lists alike


@pytest.mark.parametrize("column", ["language", "label", "top"])
def test_query_folds_have_each_language_label_and_top_level_in_the_same_share(column: str) -> None:
    joined = assign_folds(even_table(), "QC")
    joined = joined.assign(top=joined["target"].str.split(",").str[0])
    counts = pd.crosstab(joined["fold"], joined[column])
    assert counts.shape[1] > 1 and counts.to_numpy().min() > 20
    assert (counts.max() <= 1.12 * counts.min()).all()


def test_titles_that_look_like_paths_are_no_categories() -> None:
    joined = assign_folds(even_table(), "QI")
    assert (joined["category_group"] == "").all() and "category_fold" not in joined


def test_folds_hang_on_the_rows_and_the_seed_alone() -> None:
    table = even_table()
    joined = assign_folds(table, "QC")
    assert joined.equals(assign_folds(table, "QC"))
    assert not joined["fold"].equals(assign_folds(table, "QC", seed=2)["fold"])
    other = table.set_axis(range(7, 7 + len(table)))
    assert joined.equals(assign_folds(other, "QC"))


def test_a_rare_category_does_not_stop_the_split() -> None:
    table = even_table()
    table.loc[0, ["target", "language"]] = ["lonely,path", "pl"]
    joined = assign_folds(table, "QC")
    assert sorted(joined["fold"].unique()) == [0, 1, 2] and joined["fold"].notna().all()


# -- fallbacks -------------------------------------------------------------------------------------------------------


def test_fewer_groups_than_folds_keep_equal_queries_together_and_say_so(capsys: pytest.CaptureFixture) -> None:
    table = table_of([(number // 3, 1, "en", number, number % 2) for number in range(30)])  # one English for all
    joined = assign_folds(table, "QC")
    assert "notice: QC has 1 groups of like queries" in capsys.readouterr().out
    assert joined["query_group"].equals(joined["query"]) and joined["fold"].nunique() == FOLDS
    assert (joined.groupby("query")["fold"].nunique() == 1).all()


def test_fewer_queries_than_folds_are_refused() -> None:
    table = table_of([(number % 2, 0, "en", number, number % 2) for number in range(30)])
    with pytest.raises(ValueError, match="QC: 2 groups cannot be split into 3 folds"):
        assign_folds(table, "QC")


def test_fewer_categories_than_folds_leave_the_schemes_by_query(capsys: pytest.CaptureFixture) -> None:
    table = table_of([(number, 0, "en", number % 2, number % 3 % 2) for number in range(30)])
    joined = assign_folds(table, "QC")
    assert "notice: 2 category groups are fewer than 3 folds" in capsys.readouterr().out
    assert [folds.fold_numbers(joined, scheme) for scheme in folds.SCHEMES] == [[0, 1, 2], [], [], []]
    with pytest.raises(ValueError, match="scheme strict has 0 folds of these rows, and no fold 0"):
        folds.split(joined, "strict", 0)


def test_titles_have_no_category_folds_and_need_no_notice(capsys: pytest.CaptureFixture) -> None:
    assign_folds(table_of([(number, 0, "en", number, number % 2) for number in range(30)]), "QI")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("scheme", ["report", "strict"])
def test_of_titles_report_and_strict_are_query(scheme: str) -> None:
    joined = assign_folds(even_table(), "QI")
    for fold in range(FOLDS):
        for part, other in zip(folds.split(joined, scheme, fold), folds.split(joined, "query", fold), strict=True):
            assert part["id"].tolist() == other["id"].tolist()


@pytest.mark.parametrize(("scheme", "fold"), [("query", 3), ("query", -1), ("report", 3), ("leave-language", 3)])
def test_an_unknown_fold_is_refused(scheme: str, fold: int) -> None:
    joined = assign_folds(even_table(), "QC")
    with pytest.raises(ValueError, match=f"scheme {scheme} has 3 folds of these rows, and no fold {fold}"):
        folds.split(joined, scheme, fold)


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown scheme 'random'; use one of query, report, strict, leave-language"):
        folds.split(assign_folds(even_table(), "QC"), "random", 0)


# -- caps and languages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", folds.SCHEMES)
def test_validation_rows_are_capped_by_whole_queries(scheme: str) -> None:
    joined = assign_folds(even_table(), "QC")
    _, whole = folds.split(joined, scheme, 1)
    _, capped = folds.split(joined, scheme, 1, 33, seed=4)
    sizes = whole.groupby("query").size()
    assert 28 < len(capped) <= 33 and set(capped["id"]) < set(whole["id"])
    assert (capped.groupby("query").size() == sizes[capped["query"].unique()].sort_index()).all()
    assert set(capped["query"]) != set(folds.split(joined, scheme, 1, 33, seed=5)[1]["query"])


def test_a_language_left_out_takes_the_groups_of_its_capped_rows_alone_out_of_training() -> None:
    # Each Japanese query has an English twin; there are no other links.
    rows = [
        (number + 100 * is_english, number + 1, "en" if is_english else "ja", number, number % 2)
        for number in range(40)
        for is_english in (0, 1)
    ]
    joined = assign_folds(table_of(rows), "QI")
    assert folds.languages_of(joined) == ["en", "ja"]
    train, validation = folds.split(joined, "leave-language", 1, 10)
    assert len(validation) == 10 and set(validation["language"]) == {"ja"}
    twins = set(validation["query_en"])
    assert set(train["language"]) == {"en"} and set(train["query_en"]) == set(joined["query_en"]) - twins


def test_one_language_cannot_be_left_out() -> None:
    joined = assign_folds(even_table().assign(language="en"), "QC")
    assert folds.fold_numbers(joined, "leave-language") == [] and folds.held_out_folds(joined, 2) == ()


@given(st.sets(st.sampled_from(list(LANGUAGES)), min_size=1), st.integers(0, 14))
def test_languages_to_hold_out_are_spread_and_leave_english_in(codes: set[str], count: int) -> None:
    table = pd.DataFrame({"language": sorted(codes) * 2})
    names = folds.languages_of(table)
    others = [code for code in names if code != "en"]
    chosen = [names[fold] for fold in folds.held_out_folds(table, count)]
    if len(others) < 2:
        assert chosen == []
        return
    assert len(set(chosen)) == len(chosen) == min(count, len(others)) and set(chosen) <= set(others)
    places = [others.index(code) for code in chosen]
    gaps = [after - before for before, after in pairwise(places)]
    assert places == sorted(places) and max(gaps, default=0) - min(gaps, default=0) <= 1
    if count >= 2:
        assert (chosen[0], chosen[-1]) == (others[0], others[-1])


def test_auxiliary_rows_with_a_validation_query_or_its_english_are_left_out() -> None:
    auxiliary = pd.DataFrame(
        {"query": ["a", "b", "c", "d", "e"], "query_en": ["", "x", "y", "z", ""], "id": [1, 2, 3, 4, 5]}
    )
    validation = pd.DataFrame({"query": ["b", "f", "g"], "query_en": ["w", "z", ""]})
    assert folds.without_queries(auxiliary, validation)["id"].tolist() == [
        1,
        3,
        5,
    ]  # b is a query, z is English; no English joins nothing


def test_rows_over_the_cap_are_left_out_and_a_doubled_id_is_refused() -> None:
    table = even_table()
    assigned = folds.make_folds(table, "QI", None, 2, FOLDS, seed=1)
    assert folds.join_folds(table, assigned.head(100))["id"].tolist() == table["id"].head(100).tolist()
    with pytest.raises(pd.errors.MergeError):
        folds.join_folds(pd.concat([table, table.head(1)]), assigned)


@given(seed=st.integers(0, 50), rows=st.integers(0, 30), chosen=st.sets(st.integers(0, 2), min_size=1))
def test_withheld_queries_leave_like_ones_behind_and_are_in_no_validating_fold(
    seed: int, rows: int, chosen: set[int]
) -> None:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 12, 90)
    query = [f"q{number}-{rng.integers(0, 3)}" for number in group]
    table = pd.DataFrame({"id": range(90), "query": query, "query_group": [f"g{number}" for number in group]})
    table = table.assign(language="en", label=rng.integers(0, 2, 90), fold=group % 4)
    train, withheld = folds.withhold_related(table, sorted(chosen), rows, seed)
    assert sorted([*train["id"], *withheld["id"]]) == list(range(90)) and len(withheld) <= rows
    assert not set(withheld["query"]) & set(train["query"]) and not set(withheld["fold"]) & chosen
    assert set(withheld["query_group"]) <= set(train["query_group"])
    again = folds.withhold_related(table, sorted(chosen), rows, seed)[1]
    assert again.equals(withheld)
