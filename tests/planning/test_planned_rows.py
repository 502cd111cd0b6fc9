"""The plan's rows against those of the split that notebooks 02 and 03 make of the same data."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from utils.data import folds, taxonomy
from utils.data.raw import read_folder
from utils.data.tables import sample_queries
from utils.planning.rows import FoldRows, TaskRows
from utils.planning.sampling import Texts, gather_texts
from utils.profiles.laptop import LAPTOP

LIKE = 0.05  # folds by query groups differ by so much of their rows


def split(texts: Texts, task: str, scheme: str, fold: int, validation_rows: int, translated: bool) -> tuple[int, int]:
    """Training and validation rows as the run has them; without a translation, foreign queries join no English ones."""
    table = sample_queries(texts.train, LAPTOP.rows, LAPTOP.seed)
    if not translated:
        table = table.assign(query_en=table["query_en"].where(table["language"] == "en", ""))
    paths = pd.concat([texts.train["target"], *(rows["target"] for rows in texts.splits.values())])
    tree = taxonomy.parse(paths) if task == "QC" else None
    made = folds.make_folds(table, task, tree, LAPTOP.group_depth, LAPTOP.fold_count, LAPTOP.seed)
    joined = folds.join_folds(table, made)
    categories = folds.make_category_folds(joined, LAPTOP.fold_count, LAPTOP.seed)
    joined = folds.join_folds(table, made, categories)
    train, validation = folds.split(joined, scheme, fold, validation_rows, LAPTOP.seed)
    return len(train), len(validation)


@pytest.fixture(scope="module")
def texts(sample_folder: Path) -> dict[str, Texts]:
    return gather_texts(read_folder(sample_folder))


def with_own_targets(texts: Texts) -> Texts:
    """The same rows, each with a target below its own, so that no two queries have like lists."""
    train = texts.train
    return replace(texts, train=train.assign(target=train["target"] + ",n" + train["id"].astype(str)))


@pytest.mark.parametrize("task", ["QC", "QI"])
def test_planned_folds_by_query_are_nearly_those_of_the_split(texts: dict[str, Texts], task: str) -> None:
    planned = TaskRows(texts[task], task, LAPTOP).count("query", 1, 0)
    train, validation = split(texts[task], task, "query", 1, 0, translated=False)
    assert planned.train == pytest.approx(train, rel=LIKE) and planned.validation == pytest.approx(validation, rel=LIKE)
    assert not planned.estimate


@pytest.mark.parametrize("scheme", ["report", "strict", "leave-language"])
def test_planned_rows_are_those_of_the_split_where_queries_alone_are_alike(
    texts: dict[str, Texts], scheme: str
) -> None:
    own = with_own_targets(texts["QC"])
    planned = TaskRows(own, "QC", LAPTOP).count(scheme, 1, 300)
    assert (planned.train, planned.validation) == split(own, "QC", scheme, 1, 300, translated=False)


def test_the_reports_folds_are_known_before_translation(texts: dict[str, Texts]) -> None:
    planned = TaskRows(texts["QC"], "QC", LAPTOP).count("report", 1, 0)
    assert (planned.train, planned.validation) == split(texts["QC"], "QC", "report", 1, 0, translated=True)
    assert not planned.estimate


@pytest.mark.parametrize("scheme", ["strict", "leave-language"])
def test_translations_only_take_rows_away_from_an_estimate(texts: dict[str, Texts], scheme: str) -> None:
    planned = TaskRows(texts["QC"], "QC", LAPTOP).count(scheme, 1, 0)
    train, validation = split(texts["QC"], "QC", scheme, 1, 0, translated=True)
    assert planned.validation == validation and train < planned.train and planned.estimate


@pytest.mark.parametrize("scheme", ["report", "strict"])
def test_titles_have_no_categories(texts: dict[str, Texts], scheme: str) -> None:
    rows = TaskRows(texts["QI"], "QI", LAPTOP)
    assert rows.count(scheme, 1, 0) == rows.count("query", 1, 0)


def test_fewer_validation_rows_take_fewer_training_rows_away(texts: dict[str, Texts]) -> None:
    """Whole queries are drawn, so there may be a few less than asked for."""
    rows = TaskRows(texts["QC"], "QC", LAPTOP)
    assert rows.count("query", 0, 100).validation == 100
    few, all_rows = rows.count("strict", 0, 100), rows.count("strict", 0, 0)
    assert 0 < few.validation <= 100 < all_rows.validation and few.train > all_rows.train


def test_a_cap_holds_for_training_rows_and_is_no_estimate() -> None:
    rows = FoldRows(1000, 300, 200, estimate=True)
    assert rows.cap(0) == rows.cap(1000) == rows
    assert rows.cap(500) == FoldRows(500, 150, 200)


def test_a_fold_that_these_rows_do_not_have_has_no_rows(texts: dict[str, Texts]) -> None:
    english = texts["QC"].train.query("language == 'en'")
    one = TaskRows(Texts(english, {}), "QC", LAPTOP)
    assert one.count("leave-language", 0, 0) is None and one.languages(2) == ()
    flat = TaskRows(texts["QC"], "QC", replace(LAPTOP, fold_count=10_000))
    assert flat.count("report", 0, 0) is None


def test_rows_beyond_the_profiles_are_not_split(texts: dict[str, Texts]) -> None:
    rows = TaskRows(texts["QI"], "QI", replace(LAPTOP, rows=1000)).count("query", 0, 0)
    assert 750 < rows.train <= 800 and 190 < rows.validation <= 200
