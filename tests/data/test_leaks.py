"""What a scheme shares is counted as a slow reference counts it, and a leak of any kind is refused."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from utils.core import paths
from utils.core.errors import InputError
from utils.core.files import write_text
from utils.data import folds, leaks, taxonomy
from utils.data.raw import read_solutions
from utils.data.tables import write_table

# Query group, category, language, label, fold by query, fold by category: folds that are planted, so that they leak.
ROWS = st.lists(
    st.tuples(
        st.integers(0, 9), st.integers(0, 5), st.sampled_from(["en", "es", "ja"]), st.integers(0, 1), st.integers(0, 2), st.integers(0, 2)
    ),
    min_size=4, max_size=40,
)  # fmt: skip
Row = tuple[int, int, str, int, int, int]


def joined_of(rows: list[Row]) -> pd.DataFrame:
    """A table as `join_folds` gives it, with folds as planted."""
    columns = ["query_group", "category_group", "language", "label", "fold", "category_fold"]
    table = pd.DataFrame(rows, columns=columns)
    names = {
        "query_group": "g" + table["query_group"].astype(str),
        "category_group": "c" + table["category_group"].astype(str),
    }
    query = "q" + table["query_group"].astype(str)
    return table.assign(id=range(len(rows)), query=query, query_en=query, **names)


def slow_drift(part: list[object], whole: list[object]) -> float:
    """Half of the sum of the differences of shares, value by value."""
    return sum(abs(part.count(value) / len(part) - whole.count(value) / len(whole)) for value in set(whole)) / 2


@settings(max_examples=60)
@given(ROWS, st.sampled_from(folds.SCHEMES))
def test_counts_are_those_of_sets(rows: list[Row], scheme: str) -> None:
    table = joined_of(rows)
    numbers = folds.fold_numbers(table, scheme)
    parts = {fold: folds.split(table, scheme, fold) for fold in numbers}
    assume(all(len(validation) for _, validation in parts.values()))
    found = leaks.find_leaks(table, scheme)
    assert [leak["fold"] for leak in found] == numbers
    for leak in found:
        train, validation = parts[leak["fold"]]
        queries, groups = set(train["query_group"]), set(train["category_group"])
        own_queries, own_groups = validation["query_group"].tolist(), validation["category_group"].tolist()
        assert (leak["train_rows"], leak["validation_rows"]) == (len(train), len(validation))
        assert leak["shared_queries"] == len(set(own_queries) & queries)
        assert leak["shared_query_rows"] == pytest.approx(
            sum(name in queries for name in own_queries) / len(validation)
        )
        assert leak["shared_category_groups"] == len(set(own_groups) & groups)
        assert leak["unseen_category_groups"] == len(set(own_groups) - groups)
        assert leak["unseen_category_rows"] == pytest.approx(
            sum(name not in groups for name in own_groups) / len(validation)
        )
        for column in ("label", "language"):
            reference = slow_drift(validation[column].tolist(), table[column].tolist())
            assert leak[f"{column}_drift"] == pytest.approx(reference, abs=1e-6)


def real_folds(task: str) -> pd.DataFrame:
    """60 queries of 4 rows with folds as notebook 03 makes them."""
    rows = [(number, place, number * 4 + place) for number in range(60) for place in range(4)]
    table = pd.DataFrame(rows, columns=["query", "label", "id"]).assign(label=lambda t: t["label"] % 2, query_en="")
    table = table.assign(
        language=[("en", "es", "ja")[number % 3] for number in table["query"]], query="q" + table["query"].astype(str)
    )
    table["target"] = [f"top{number % 4},mid{number % 9},{number}" for number in table["id"]]
    tree = taxonomy.parse(table["target"]) if task == "QC" else None
    assigned = folds.make_folds(table, task, tree, 2, 3, seed=1)
    categories = folds.make_category_folds(folds.join_folds(table, assigned), 3, seed=1)
    return folds.join_folds(table, assigned, categories)


@pytest.mark.parametrize("task", ["QC", "QI"])
def test_folds_as_made_pass_the_check(task: str) -> None:
    table = leaks.compare_schemes(real_folds(task), task)
    assert table.groupby("scheme", sort=False).size().to_dict() == dict.fromkeys(folds.SCHEMES, 3)
    leaks.check_leaks(table)
    report = table[table["scheme"] == "report"]
    assert (report["shared_queries"] > 0).all() == (task == "QC")  # titles have no categories, so queries stay together


@pytest.mark.parametrize("scheme", folds.SCHEMES)
def test_a_planted_leak_is_refused(scheme: str) -> None:
    """Rows dealt out one by one share queries and category groups; each scheme complains of what it separates."""
    table = real_folds("QC")
    number = pd.Series(range(len(table)))
    found = leaks.compare_schemes(table.assign(fold=number % 3, category_fold=(number // 36) % 3), "QC")
    found = found[found["scheme"] == scheme]
    if scheme == "leave-language":  # its training rows are chosen by the validation rows' groups, whatever the folds
        leaks.check_leaks(found)
        found = found.assign(shared_queries=[0, 2, 0])
    message = {"report": "a category group", "strict": "a category group"}.get(scheme, "a query")
    with pytest.raises(
        leaks.LeakError,
        match=f"{message} is in both training and validation rows of .*'scheme': '{scheme}'.*notebook 03",
    ):
        leaks.check_leaks(found)


@pytest.mark.parametrize(
    ("scheme", "column", "is_leak"),
    [
        ("query", "shared_texts", True), ("strict", "shared_texts", True), ("report", "shared_texts", False),
        ("query", "shared_queries", True), ("strict", "shared_queries", True), ("leave-language", "shared_queries", True),
        ("report", "shared_queries", False), ("report", "shared_category_groups", True), ("strict", "shared_category_groups", True),
        ("query", "shared_category_groups", False), ("leave-language", "shared_category_groups", False),
    ],
)  # fmt: skip
def test_each_scheme_answers_for_what_it_separates(scheme: str, column: str, is_leak: bool) -> None:
    record = {"task": "QC", "scheme": scheme, "fold": 2, column: 1}
    record = dict.fromkeys(["shared_queries", "shared_texts", "shared_category_groups"], 0) | record
    if not is_leak:
        leaks.check_leaks(pd.DataFrame([record]))
        return
    with pytest.raises(leaks.LeakError, match=r"\[\{'task': 'QC', 'scheme': '" + scheme + r"', 'fold': 2\}\]"):
        leaks.check_leaks(pd.DataFrame([record]))


def test_one_language_is_compared_under_the_other_schemes(capsys: pytest.CaptureFixture) -> None:
    table = leaks.compare_schemes(real_folds("QC").assign(language="en"), "QC")
    assert table["scheme"].unique().tolist() == ["query", "report", "strict"]
    assert "notice: QC cannot be split by scheme leave-language" in capsys.readouterr().out
    leaks.check_leaks(table)
    likeness = leaks.compare_with_test(
        table, real_folds("QC").assign(language="en"), real_folds("QC").assign(language="en")
    )
    assert likeness.index.tolist() == ["query", "report", "strict", "the test"]
    assert "leave-language" not in leaks.explain(likeness)


def test_drift_is_the_total_variation_distance() -> None:
    whole = pd.Series(["en"] * 6 + ["es"] * 3 + ["ja"])
    assert (
        leaks.drift(pd.Series(["en", "es"]), whole) == 0.2
    )  # .1 too few in English, .2 too many in Spanish, .1 too few in Japanese
    assert leaks.drift(whole, whole) == 0.0
    assert leaks.drift(pd.Series([1, 1]), pd.Series([0, 0])) == 1.0


# -- beside the test -------------------------------------------------------------------------------------------------

LEAKS = pd.DataFrame(
    [
        ("QC", "query", 0, 100, 50, 0.0, 0.1), ("QC", "query", 1, 101, 52, 0.0, 0.3),
        ("QC", "report", 0, 90, 60, 0.8, 1.0), ("QC", "report", 1, 92, 62, 0.6, 1.0),
        ("QC", "strict", 0, 40, 60, 0.0, 1.0), ("QC", "strict", 1, 44, 62, 0.0, 1.0),
        ("QC", "leave-language", 0, 70, 80, 0.0, 0.5), ("QC", "leave-language", 1, 60, 90, 0.0, 0.0),
    ],
    columns=["task", "scheme", "fold", "train_rows", "validation_rows", "shared_query_rows", "unseen_category_rows"],
)  # fmt: skip
TRAIN = pd.DataFrame(
    {"query_group": ["a", "a", "b"], "category_group": ["x", "y", "x"], "language": ["en", "en", "ja"]}
)
TEST = pd.DataFrame(
    {"query_group": ["a", "c", "c", "d"], "category_group": ["x", "z", "y", "y"], "language": ["en", "de", "en", "pl"]}
)


def test_schemes_stand_beside_the_test_with_their_shares() -> None:
    table = leaks.compare_with_test(LEAKS, TRAIN, TEST)
    expected = {
        "query": (100, 51, 1.0, 0.2, 0.0), "report": (91, 61, 0.3, 1.0, 0.0), "strict": (42, 61, 1.0, 1.0, 0.0),
        "leave-language": (65, 85, 1.0, 0.25, 1.0), "the test": (3, 4, 0.75, 0.25, 0.5),
    }  # fmt: skip
    assert table.columns.tolist() == [
        "train_rows",
        "validation_rows",
        "unseen queries",
        "unseen category groups",
        "unseen languages",
    ]
    assert table.index.tolist() == list(expected)
    for name, values in expected.items():
        assert table.loc[name].tolist() == pytest.approx(list(values)), name


def test_the_sentence_gives_the_shares_and_the_training_rows() -> None:
    assert leaks.explain(leaks.compare_with_test(LEAKS, TRAIN, TEST)) == (
        "75.0% of the test rows have a query that training does not know; with *query* all validation rows have. 25.0% of the test "
        "rows have a new category group: 20.0% with *query*, 100% with *report* and *strict*. *strict* leaves 42 training rows, "
        "*query* 100. 50% of the test rows are of new languages, which *leave-language* stands for."
    )


def test_titles_are_explained_without_categories() -> None:
    plain = LEAKS.assign(task="QI", unseen_category_rows=0.0)
    text = leaks.explain(
        leaks.compare_with_test(plain, TRAIN.assign(category_group=""), TEST.assign(category_group=""))
    )
    assert "category" not in text and "strict" not in text and text.startswith("75.0% of the test rows have a query")


def test_test_rows_are_grouped_with_the_training_rows_they_are_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    run = paths.Run("small")
    test = pd.DataFrame(
        [("red", "red"), ("rojo", "red"), ("blau", "blue"), ("azul", "blue"), ("new", ""), ("bleu", "")],
        columns=["query", "query_en"],
    ).assign(id=range(6), language="en", origin_query="", target="top,mid,leaf")
    write_table(test, run.clean_table("test", "QC"))
    # In training, `bleu` is like `first` by its targets: the test row with the same text belongs there, too.
    train = pd.DataFrame(
        [("first", "", "first"), ("bleu", "azure", "first"), ("red", "red", "red")],
        columns=["query", "query_en", "query_group"],
    )
    grouped = leaks.group_test_rows(run, "QC", train, taxonomy.parse(test["target"]), 2)
    assert grouped["query_group"].tolist() == ["red", "red", "blau", "blau", "new", "first"]
    assert grouped["category_group"].unique().tolist() == ["top,mid"] and grouped["id"].tolist() == list(range(6))


def test_the_records_are_nested_by_task_and_scheme() -> None:
    nested = leaks.nest_leaks(pd.concat([LEAKS, LEAKS[LEAKS["scheme"] == "query"].assign(task="QI")]))
    assert {task: list(schemes) for task, schemes in nested.items()} == {
        "QC": ["query", "report", "strict", "leave-language"],
        "QI": ["query"],
    }
    assert [record["train_rows"] for record in nested["QC"]["strict"]] == [40, 44]
    assert "task" not in nested["QC"]["query"][0] and "scheme" not in nested["QC"]["query"][0]


def test_groups_are_described_by_their_number_and_the_largest() -> None:
    table = pd.DataFrame({"query": list("abcc"), "query_group": list("aacc"), "category_group": ["x", "y", "", "x"]})
    rows = leaks.describe_groups({"QC": table, "QI": table.assign(query_group=list("accc"), category_group="")})
    assert rows.loc["QC"].tolist() == [4, 3, 2, 2, 2] and rows.loc["QI"].tolist() == [4, 3, 2, 3, 0]


# -- alarms ------------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=20))
def test_parts_that_share_a_query_group_are_refused_as_each_of_them_is(rows: list[tuple[int, int]]) -> None:
    cluster = pd.Series([f"g{number}" for number, _ in rows])
    part = np.array([number for _, number in rows])

    def is_refused(check: Callable[[], None]) -> bool:
        try:
            check()
        except leaks.LeakError as error:
            assert "query groups of" in str(error) and "; the rows were split wrongly: " in str(error)
            return True
        return False

    one_by_one = [
        is_refused(lambda number=number: leaks.check_unseen(cluster[part != number], cluster[part == number], "a"))
        for number in set(part)
    ]
    assert is_refused(lambda: leaks.check_parts(part, cluster, "a")) == any(one_by_one)
    assert any(one_by_one) == (len(set(rows)) > len({number for number, _ in rows}))


def test_folds_of_enough_queries_keep_equal_english_together() -> None:
    table = pd.DataFrame(
        {"query": list("abcdef"), "query_en": list("aabbcc"), "target": "t", "fold": [0, 0, 1, 1, 2, 2]}
    )
    assert folds.keeps_english(table) and folds.keeps_english(table.assign(query_en=""))
    assert not folds.keeps_english(table.assign(query_en="a")) and not folds.keeps_english(table.assign(fold=range(6)))


def test_few_groups_of_like_queries_are_split_by_text_and_english_before_text_alone(
    capsys: pytest.CaptureFixture,
) -> None:
    """All lists of targets are alike, so that all queries are one group."""
    pairs = [(number, target) for number in range(12) for target in range(3)]
    table = pd.DataFrame(pairs, columns=["number", "target"])
    table = table.assign(
        id=range(36), query="q" + table["number"].astype(str), label=table["target"] % 2, language="en"
    )
    table = table.assign(query_en="e" + (table["number"] // 2).astype(str), target=table["target"].astype(str))
    split = folds.join_folds(table, folds.make_folds(table, "QI", None, 2, 3, seed=1))
    assert "fewer than folds" in capsys.readouterr().out
    assert split.groupby("query_en")["fold"].nunique().max() == 1
    alone = table.assign(query_en="same")
    split = folds.join_folds(alone, folds.make_folds(alone, "QI", None, 2, 3, seed=1))
    assert split.groupby("query")["fold"].nunique().max() == 1 and split["fold"].nunique() == 3


@pytest.mark.parametrize("column", ["query", "query_en"])
def test_a_text_on_both_sides_is_refused_whatever_its_group_says(column: str) -> None:
    table = real_folds("QC").assign(query_en=lambda rows: "en " + rows["query"])
    leaks.check_leaks(leaks.compare_schemes(table, "QC"))
    ends = [table.index[table["fold"] == fold][0] for fold in (0, 1)]
    table.loc[ends, column] = "same"
    with pytest.raises(leaks.LeakError, match="the text of a query is in both"):
        leaks.check_leaks(leaks.compare_schemes(table, "QC"))


def test_a_leak_is_no_wrong_input_and_no_reader_takes_it_for_one() -> None:
    """So the pipeline fails with exit code 1, and nothing that reads goes on without the file."""
    assert not issubclass(leaks.LeakError, (InputError, ValueError, OSError))


def test_a_sealed_solution_is_shut_until_the_seal_is_lifted(tmp_path: Path) -> None:
    (tmp_path / "solution").mkdir()
    (tmp_path / "solution" / "test_QC.txt").write_text("labels")
    (tmp_path / "test_QC.txt").write_text("rows")
    (tmp_path / "link").symlink_to(tmp_path / "solution" / "test_QC.txt")
    seal = leaks.seal_solution(tmp_path)
    try:
        assert (tmp_path / "test_QC.txt").read_text() == "rows" and seal is leaks.seal_solution(tmp_path / "." / "")
        for read in (
            (tmp_path / "solution" / "test_QC.txt").read_text, (tmp_path / "link").read_bytes, lambda: read_solutions(tmp_path, "QC"),
            lambda: os.open(tmp_path / "solution" / "test_QC.txt", os.O_RDONLY),
        ):  # fmt: skip
            with pytest.raises(leaks.LeakError, match=r"solutions are read by notebook 07 alone.*; do not read it"):
                read()
        write_text(tmp_path / "solution" / "new.txt", "a sample that is made anew")
    finally:
        seal.lift()
    assert (tmp_path / "solution" / "test_QC.txt").read_text() == "labels"
    leaks.seal_solution(tmp_path)
    with pytest.raises(leaks.LeakError):
        (tmp_path / "link").read_text()
    seal.lift()
