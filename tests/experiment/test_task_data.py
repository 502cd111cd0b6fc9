"""Noisy labels are found in training rows by training rows, and no validation row has a say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from utils.core.recipe import Recipe
from utils.data import folds, leaks, taxonomy
from utils.experiment import baselines, task_data
from utils.experiment.task_data import TaskData, find_noise, make_rows

RECIPE = Recipe("a", "xlm-r", "multilingual-e5-small", seed=3)
WORDS = [f"word{number}" for number in range(30)]


def make_table(count: int = 360, wrong: float = 0.08) -> tuple[pd.DataFrame, set[int]]:
    """Rows whose label is whether the target holds the query's word, some turned over; and the ids of these."""
    rng = np.random.default_rng(0)
    place = rng.integers(0, len(WORDS), count)
    relevant = rng.random(count) < 0.5
    target = np.where(relevant, place, (place + rng.integers(1, len(WORDS), count)) % len(WORDS))
    turned = rng.random(count) < wrong
    query = [f"{WORDS[number]} no{row // 2}" for row, number in enumerate(place)]
    table = pd.DataFrame(
        {
            "id": np.arange(count) * 3, "language": np.array(["en", "es"])[np.arange(count) % 2], "query": query, "query_en": query,
            "target": [f"fine {WORDS[number]}" for number in target], "label": (relevant != turned).astype(int), "query_group": query,
            "fold": np.arange(count) // 2 % 4, "category_group": "",
        }
    )  # fmt: skip
    return table, set(table["id"][turned])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(find_noise, "__defaults__", (tmp_path,))
    return tmp_path


def test_labels_that_were_turned_over_are_found_and_remedied(cache: Path) -> None:
    table, wrong = make_table()
    data = TaskData("QI", table)
    keep, drop, turn = (make_rows(RECIPE.with_(noisy_labels=how), data, 0).train for how in ("keep", "drop", "relabel"))
    dropped = set(keep["id"]) - set(drop["id"])
    hits = len(dropped & wrong)
    assert hits / len(dropped) > 0.6 and hits / len(wrong & set(keep["id"])) > 0.6
    changed = keep["id"][keep["label"].to_numpy() != turn["label"].to_numpy()]
    assert set(changed) == dropped and turn["id"].tolist() == keep["id"].tolist()
    assert len(list(cache.glob("*.parquet"))) == 1


def test_no_validation_row_has_a_say(cache: Path) -> None:
    """Validation labels turned over change neither what is dropped nor the training rows."""
    table, _ = make_table()
    turned = table.assign(label=np.where(table["fold"] == 0, 1 - table["label"], table["label"]))
    recipe = RECIPE.with_(noisy_labels="relabel")
    before, after = (make_rows(recipe, TaskData("QI", own), 0) for own in (table, turned))
    assert before.train.equals(after.train) and not before.validation.equals(after.validation)
    assert before.validation["label"].tolist() == table["label"][table["fold"] == 0].tolist()


def test_a_cap_asks_all_training_rows_of_the_fold(cache: Path) -> None:
    table, _ = make_table()
    few = make_rows(RECIPE.with_(noisy_labels="drop", rows=60), TaskData("QI", table), 0).train
    suspects = find_noise(folds.split(table, "query", 0)[0])
    capped = make_rows(RECIPE.with_(rows=60), TaskData("QI", table), 0).train
    assert few["id"].tolist() == [number for number in capped["id"] if number not in suspects]
    known = make_rows(
        RECIPE.with_(noisy_labels="drop", rows=60), TaskData("QI", table, suspects=frozenset(capped["id"][:5])), 0
    )
    assert known.train["id"].tolist() == capped["id"].tolist()[5:]


def test_suspects_are_read_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, _ = make_table()
    first = find_noise(table)
    monkeypatch.setattr(baselines, "cross_fit", None)
    assert task_data.find_noise(table) == first


def test_no_row_is_answered_by_what_was_fitted_on_it() -> None:
    """The label of a query turned over changes no probability of its own rows, but for the weights of the baselines."""
    table, _ = make_table(120)
    before = baselines.cross_fit(table, 0)
    own = table["query_group"] == table["query_group"].iloc[0]
    after = baselines.cross_fit(table.assign(label=np.where(own, 1 - table["label"], table["label"])), 0)
    moved = np.abs(before - after)
    assert moved[own.to_numpy()].max() < 0.02 < moved[~own.to_numpy()].max()


# -- the alarm ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme, fold", [("query", 1), ("leave-language", 1)])
@pytest.mark.parametrize("column", ["query", "query_en", "query_group"])
def test_nothing_trains_once_a_validation_query_stands_among_the_training_rows(
    column: str, scheme: str, fold: int
) -> None:
    table, _ = make_table()
    data, recipe = TaskData("QI", table), RECIPE.with_(scheme=scheme)
    train, validation = folds.split(table, scheme, fold)
    make_rows(recipe, data, fold)
    own = train["id"].isin(table["id"])
    leaks.check_apart(train, validation, "a", scheme, own)
    leaked = train.copy()
    leaked.loc[leaked.index[3], column] = validation[column].iloc[0]
    foreign = leaked.assign(id=-leaked["id"] - 1)
    with pytest.raises(leaks.LeakError, match=f"share their {column} with validation rows"):
        leaks.check_apart(foreign, validation, "a", scheme, own & False)
    leaks.check_apart(leaked, validation, "a", "report", own)


def test_the_alarm_goes_off_where_what_keeps_rows_apart_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    table, _ = make_table()
    data = TaskData("QI", table, auxiliary=table.drop(columns=["fold", "query_group"]))
    for recipe in (RECIPE.with_(joint=1.0), RECIPE.with_(auxiliary_rows=500)):
        make_rows(recipe, data, 0)
        with monkeypatch.context() as patch:
            patch.setattr(task_data.folds, "without_queries", lambda rows, validation: rows)
            with pytest.raises(leaks.LeakError, match=r"a QI fold 0.*run notebooks 02 and 03 again"):
                make_rows(recipe, data, 0)


def with_paths(count: int = 240) -> TaskData:
    """Rows of QC whose category groups, two levels deep, lie in a category fold each; two queries in each fold."""
    table, _ = make_table(count)
    number = np.arange(count)
    paths = [f"top {place % 2},middle {place % 6},low {place % 30}" for place in number]
    groups = [f"top {place % 2},middle {place % 6}" for place in number]
    table = table.assign(target=paths, category_group=groups, category_fold=number % 3)
    return TaskData("QC", table, tree=taxonomy.parse([*paths, "top 0,middle 0", "top 0"]))


@pytest.mark.parametrize("scheme", ["report", "strict"])
def test_category_groups_that_validate_stand_nowhere_in_training(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Own rows by the group that the folds gave them, added ones by their path; a group of one path's depth has siblings elsewhere."""
    data = with_paths()
    short = data.train.assign(target=data.train["category_group"])
    data = replace(data, train=short, tree=taxonomy.parse(short["target"]))
    recipe = RECIPE.with_(scheme=scheme, siblings=0.5, parents=0.5)
    found = make_rows(recipe, data, 0)
    added = found.train[found.train["id"] < 0]
    assert len(added) and not set(found.train["target"]) & set(found.validation["category_group"])
    with (
        monkeypatch.context() as patch,
        pytest.raises(leaks.LeakError, match="share their target with validation rows"),
    ):
        patch.setattr(task_data.folds, "lies_in", lambda path, groups: pd.Series(False, index=path.index))
        make_rows(recipe, data, 0)
    moved = data.train.assign(category_fold=data.train["category_fold"].mask(data.train["id"] == 0, 1))
    with pytest.raises(leaks.LeakError, match="share their category_group with validation rows, the first is id"):
        make_rows(recipe, replace(data, train=moved), 0)
    make_rows(RECIPE, replace(data, train=moved), 0)  # `query` lets category groups be shared


@pytest.mark.parametrize("scheme", ["query", "strict"])
@pytest.mark.parametrize("column", ["query", "query_en"])
def test_a_query_in_two_folds_is_refused_by_its_text_and_by_its_english(column: str, scheme: str) -> None:
    data = with_paths()
    make_rows(RECIPE.with_(scheme=scheme), data, 0)
    validates = data.train["fold" if scheme == "query" else "category_fold"] == 0
    ends = [
        data.train.index[rows][0]
        for rows in (validates, ~validates & ~data.train["query"].isin(data.train["query"][validates]))
    ]
    leaked = data.train.copy()
    leaked.loc[ends, column] = "same"
    with pytest.raises(leaks.LeakError, match=f"share their {column} with validation rows"):
        make_rows(RECIPE.with_(scheme=scheme), replace(data, train=leaked), 0)


@pytest.mark.parametrize("changes", [{"typos": 1.0}, {"expansion": 1.0}, {"joint": 1.0}, {"auxiliary_rows": 900}])
def test_no_source_of_rows_brings_a_withheld_query_into_training(changes: dict) -> None:
    table, _ = make_table()
    held = table[table["query"].isin(table["query"].drop_duplicates().tail(4))]
    own, query = table.drop(held.index), held["query"].iloc[0]
    foreign = own.assign(source=own["id"], id=-1 - own["id"], language="pl", query=query)
    data = TaskData(
        "QI", own, {"related": held}, own.assign(id=-own["id"]).drop(columns="query_group"), expanded=foreign
    )
    found = make_rows(RECIPE.with_(**changes), data, 0)
    assert query not in set(found.train["query"])
    leaked = replace(data, train=pd.concat([own, held.assign(fold=1)], ignore_index=True))
    with pytest.raises(leaks.LeakError, match=r"withheld rows: .* share their query with validation rows"):
        make_rows(RECIPE.with_(**changes), leaked, 0)


def test_folds_of_so_few_queries_that_english_is_shared_are_no_alarm() -> None:
    table, _ = make_table()
    few = table.assign(query_en="same")
    assert make_rows(RECIPE, TaskData("QI", few), 0).count == (table["fold"] != 0).sum()


# -- counts, and rows that are too few ----------------------------------------------------------------------------------


def test_the_count_of_a_fold_is_that_before_rows_are_dropped_or_added(cache: Path) -> None:
    """The champion is chosen among candidates on as many rows, whatever is made of these."""
    table, _ = make_table()
    auxiliary = table.assign(query="other " + table["query"], query_en="other " + table["query_en"])
    data = TaskData("QI", table, auxiliary=auxiliary.drop(columns=["fold", "query_group"]))
    plain = make_rows(RECIPE, data, 0)
    assert plain.count == len(plain.train)
    for changes in ({"noisy_labels": "drop"}, {"joint": 0.5}, {"typos": 0.5}):
        own = make_rows(RECIPE.with_(**changes), data, 0)
        assert own.count == plain.count != len(own.train)


def test_rows_too_few_to_search_have_no_suspects(cache: Path) -> None:
    table, _ = make_table(12)
    assert find_noise(table.assign(query_group="one")) == frozenset()
    lone = table.assign(label=[1] * 11 + [0])
    assert find_noise(lone) == frozenset()


def test_a_remedy_that_leaves_one_label_is_unfit(cache: Path) -> None:
    table, _ = make_table(60)
    relevant = frozenset(table["id"][table["label"] == 1])
    with pytest.raises(task_data.UnfitError, match="training rows of one label only"):
        make_rows(RECIPE.with_(noisy_labels="drop"), TaskData("QI", table, suspects=relevant), 0)


def test_withheld_queries_train_in_no_other_task_either() -> None:
    table, _ = make_table()
    table = table.assign(query_group=table["query_group"].str.split().str[0])  # like queries
    auxiliary = table.assign(id=-table["id"]).drop(columns=["fold", "query_group"])
    data = task_data.withhold_related(TaskData("QI", table, auxiliary=auxiliary), [RECIPE], 30)
    related = data.splits["related"]
    assert 0 < len(related) <= 30 and not set(data.auxiliary["query"]) & set(related["query"])
    assert set(data.auxiliary["query"]) == set(table["query"]) - set(related["query"])
