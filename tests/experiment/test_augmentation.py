"""More training rows: made of training rows alone, in languages that have none, never in the words of a validation row."""

import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.core import paths
from utils.core.recipe import Recipe
from utils.data import clean, folds
from utils.data.tables import read_table, write_table
from utils.data.taxonomy import parse
from utils.experiment import augmentation
from utils.experiment.augmentation import LEAST, Sources, augment, mark_levels, misspell
from utils.experiment.crossfit import make_job
from utils.experiment.task_data import TaskData, load_task_data
from utils.translation.backends import Backend
from utils.translation.expansion import COLUMNS, expand, save

PLAIN = Recipe("a", "gemma", "gemma-3-270m", seed=3)
INTO = {
    code: Backend("words", code, lambda texts, _, code=code: [f"{code} {text}" for text in texts])
    for code in ("es", "pl", "de")
}


def make_rows(count: int, seed: int = 0) -> pd.DataFrame:
    """Rows of a few queries in English and Spanish, some of which say the same, in two folds by query group."""
    rng = np.random.default_rng(seed)
    english = rng.integers(0, count // 3, count)
    language = np.where(rng.random(count) < 0.5, "es", "en")
    query = [f"es shoe{e}" if code == "es" else f"shoe{e}" for e, code in zip(english, language, strict=True)]
    columns = {"id": 5 * np.arange(count) + 2, "language": language, "origin_query": query, "query": query}
    table = pd.DataFrame(columns).assign(query_en=[f"shoe{e}" for e in english], target=[f"t{n}" for n in range(count)])
    group = [f"g{e}" for e in english]
    return table.assign(label=rng.integers(0, 2, count), fold=english % 2, query_group=group, category_group="")


@pytest.fixture
def expanded(tmp_path):
    return expand(make_rows(60), ("es", "pl", "de"), INTO.__getitem__, tmp_path / "cache.sqlite", bar=False)


def test_each_query_is_told_in_the_other_languages(expanded: pd.DataFrame) -> None:
    rows = make_rows(60)
    assert list(expanded.columns) == COLUMNS and expanded["id"].is_unique and (expanded["id"] < 0).all()
    by_id = rows.set_index("id")
    for column in ("target", "label", "query_en"):
        assert (expanded[column].to_numpy() == by_id.loc[expanded["source"], column].to_numpy()).all()
    assert (expanded["query"] == expanded["language"] + " " + expanded["query_en"]).all()
    assert not (expanded["language"].to_numpy() == by_id.loc[expanded["source"], "language"].to_numpy()).any()
    assert len(expanded) == 2 * len(rows) + (rows["language"] == "en").sum()


def test_what_comes_back_as_it_was_is_left_out(tmp_path) -> None:
    copy = Backend("copy", "1", lambda texts, _: [text if "1" in text else "" for text in texts])
    assert expand(make_rows(60), ("de",), lambda _: copy, tmp_path / "cache.sqlite", bar=False).empty


@settings(max_examples=25, deadline=None)
@given(
    share=st.floats(0.05, 3.0),
    seed=st.integers(0, 9),
    fold=st.integers(0, 1),
    scheme=st.sampled_from(["query", "leave-language"]),
)
def test_nothing_of_a_validation_row_trains(share: float, seed: int, fold: int, scheme: str) -> None:
    rows = make_rows(60, seed)
    parts = [
        rows.assign(language=code, query=code + " " + rows["query_en"], source=rows["id"])
        for code in ("es", "pl", "de")
    ]
    table = pd.concat(parts, ignore_index=True)
    table = table.assign(id=-1 - table.index)[COLUMNS]
    train, validation = folds.split(rows, scheme, fold)
    found = augment(train, validation, PLAIN.with_(expansion=share, typos=share, seed=seed), Sources("QI", table))
    assert found.head(len(train)).reset_index(drop=True).equals(train.reset_index(drop=True)[found.columns.tolist()])
    more = found.iloc[len(train) :]
    assert found["id"].is_unique and not set(found["id"]) & set(validation["id"])
    told = more.merge(table[["id", "source"]], on="id")
    assert set(told["source"]) <= set(train["id"]) and not set(told["language"]) & set(train["language"])
    assert not set(told["query"]) & set(validation["query"]) and not set(told["query_en"]) & set(validation["query_en"])
    possible = table[table["source"].isin(train["id"]) & ~table["language"].isin(train["language"])]
    assert len(told) == min(len(folds.without_queries(possible, validation)), round(share * len(train)))
    typed = more[~more["id"].isin(told["id"])]
    assert len(typed) <= min(len(train), round(share * len(train))) and not set(typed["query"]) & set(
        validation["query"]
    )


def test_a_job_trains_on_them_and_its_fingerprint_tells(expanded: pd.DataFrame, tmp_path) -> None:
    data = TaskData("QI", make_rows(60), expanded=expanded)
    plain, more = (make_job(PLAIN.with_(expansion=share), data, 0, tmp_path) for share in (0.0, 0.5))
    assert len(more.train) == len(plain.train) + round(0.5 * len(plain.train)) and more.tag != plain.tag
    assert more.tables["oof"].equals(plain.tables["oof"])
    other = replace(data, expanded=expanded.assign(query=expanded["query"] + " x"))
    assert make_job(PLAIN.with_(expansion=0.5), other, 0, tmp_path).tag != more.tag
    with pytest.raises(ValueError, match="no expanded rows are there; run notebook 02 again"):
        make_job(PLAIN.with_(expansion=0.5), replace(data, expanded=None), 0, tmp_path)


def test_without_shares_the_rows_are_the_same_object() -> None:
    train, validation = folds.split(make_rows(60), "query", 0)
    assert augment(train, validation, PLAIN, Sources("QC")) is train


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text("abcé ñ1zапр", max_size=20), max_size=8), seed=st.integers(0, 99))
def test_a_typing_error_changes_one_long_word_and_neither_of_its_ends(texts: list[str], seed: int) -> None:
    found = misspell(texts, seed)
    assert found == misspell(texts, seed) and len(found) == len(texts)
    for before, after in zip(texts, found, strict=True):
        pairs = list(zip(before.split(" "), after.split(" "), strict=True))
        wrong = [(old, new) for old, new in pairs if old != new]
        assert len(wrong) <= 1
        for old, new in wrong:
            bare = [
                unicodedata.normalize("NFD", word)[0] + unicodedata.normalize("NFD", word[::-1])[0]
                for word in (old, new)
            ]
            assert len(old) >= LEAST and bare[0] == bare[1] and abs(len(old) - len(new)) <= 1


def test_a_task_is_told_in_its_own_languages_and_read_again(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of German, which the test alone has, and of no language that only another task has."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    run, rows = paths.Run("a"), make_rows(30)
    test = rows.drop(columns="label").assign(language="de")
    tables = {("train", "QI"): rows, ("test", "QI"): test, ("train", "QC"): rows, ("test", "QC"): rows}
    save(tables, INTO.__getitem__, tmp_path / "cache.sqlite", run)
    clean.save_tables(tables, run)
    columns = ["id", "fold", "query_group", "category_group"]
    write_table(rows[columns], run.fold_table("QI"))
    told = load_task_data(run, "QI", ()).expanded
    assert set(told["language"]) == {"es", "de"} and set(told["source"]) == set(rows["id"])
    assert set(read_table(run.expanded_table("QC"))["language"]) == {"es"}


# -- paths -------------------------------------------------------------------------------------------------------------

PATHS = [
    "arts,crafts,paper,stamps",
    "arts,crafts,paper,cards",
    "arts,crafts,yarn",
    "home,kitchen,pots",
    "home,kitchen,pans",
    "home",
]
TREE = parse(PATHS)
QC = Sources("QC", tree=TREE)


def make_paths(count: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    pairs = make_rows(count, seed).assign(target=rng.choice(PATHS, count))
    return pairs.drop_duplicates(["query", "target"], ignore_index=True)


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0.1, 1.5), seed=st.integers(0, 9))
def test_parents_and_siblings_are_new_pairs_of_relevant_training_rows(share: float, seed: int) -> None:
    rows = make_paths(60, seed)
    train, validation = folds.split(rows, "query", 0)
    known = set(zip(train["query"], [",".join(TREE.levels(path)) for path in train["target"]], strict=True))
    relevant = train[train["label"] == 1]
    for field, label in (("parents", 1), ("siblings", 0)):
        more = augment(train, validation, PLAIN.with_(**{field: share}, seed=seed), QC).iloc[len(train) :]
        assert (more["label"] == label).all() and more["id"].is_unique and not set(more["id"]) & set(rows["id"])
        pairs = list(zip(more["query"], more["target"], strict=True))
        assert len(set(pairs)) == len(pairs) and not set(pairs) & known
        assert not set(more["query_en"]) & set(validation["query_en"])
        related = {
            (row.query, path)
            for row in relevant.itertuples()
            for path in ([TREE.parent(row.target)] if field == "parents" else TREE.siblings(row.target))
        }
        assert set(pairs) <= related and len(more) <= round(share * len(train))


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0.1, 0.9), seed=st.integers(0, 9))
def test_level_dropout_keeps_the_last_level_and_the_rows(share: float, seed: int) -> None:
    train, validation = folds.split(make_paths(60, seed), "query", 0)
    found = augment(train, validation, PLAIN.with_(level_dropout=share, seed=seed), QC)
    assert found.drop(columns="target").equals(train.drop(columns="target"))
    for before, after in zip(train["target"], found["target"], strict=True):
        old, new = TREE.levels(before), TREE.levels(after)
        assert new[-1].endswith(old[-1]) and len(after.split(",")) >= len(before.split(",")) - 2
        assert after == ",".join(old) or before == after or len(after) < len(before)
    assert (found["target"] != train["target"]).sum() <= len(train)


def test_titles_have_no_levels() -> None:
    train, validation = folds.split(make_rows(60), "query", 0)
    changed = PLAIN.with_(parents=1.0, siblings=1.0, level_dropout=0.5, level_markers=True)
    assert augment(train, validation, changed, Sources("QI")) is train
    assert mark_levels(train, "QI", changed, None) is train


def test_markers_number_the_levels_that_the_tree_has() -> None:
    table = pd.DataFrame({"target": ["arts,crafts,paper,stamps", "home", "new,path"]})
    recipe = PLAIN.with_(level_markers=True)
    expected = ["[1] arts,crafts,[2] paper,[3] stamps", "[1] home", "[1] new,[2] path"]
    assert mark_levels(table, "QC", recipe, TREE)["target"].tolist() == expected
    both = table.assign(task=["QI", "QC", "QI"])
    assert mark_levels(both, "QI", recipe, TREE)["target"].tolist() == [table["target"][0], "[1] home", "new,path"]
    assert mark_levels(table, "QC", PLAIN, TREE) is table
    for field in ("level_markers", "parents"):
        with pytest.raises(ValueError, match="run notebook 02 again"):
            make_job(PLAIN.with_(**{field: 1}), TaskData("QC", make_paths(60, 0)), 0, Path("x"))


# -- both tasks --------------------------------------------------------------------------------------------------------


def test_a_joint_network_trains_on_both_tasks_and_on_no_validation_query(tmp_path) -> None:
    other = make_rows(90, 5).assign(language="fr")
    other.loc[other.index[:20], "language"] = "es"
    for scheme, fold in (("query", 1), ("leave-language", 1)):
        data = TaskData("QI", make_rows(60), auxiliary=other)
        recipe = PLAIN.with_(joint=0.5, scheme=scheme)
        plain, joint = (make_job(own, data, fold, tmp_path) for own in (recipe.with_(joint=0.0), recipe))
        validation, count = joint.tables["oof"], len(plain.train)
        more = joint.train.iloc[count:]
        assert joint.train["task"].tolist() == ["QI"] * count + ["QC"] * len(more) and len(more) == pytest.approx(
            count / 2, abs=3
        )
        assert (
            joint.train["id"].is_unique and joint.tag != plain.tag and joint.tables["oof"].equals(plain.tables["oof"])
        )
        assert not set(more["query_en"]) & set(validation["query_en"])
        if scheme == "leave-language":  # the language that is held out is held out in both tasks
            assert set(validation["language"]) == {"es"} and set(more["language"]) == {"fr"}
    with pytest.raises(ValueError, match="auxiliary task of QI is not in the data"):
        make_job(PLAIN.with_(joint=0.5), TaskData("QI", make_rows(60)), 0, tmp_path)


def test_rows_added_in_different_ways_have_ids_of_their_own() -> None:
    spans = [augmentation.TYPED, augmentation.JOINED, augmentation.ABOVE, augmentation.BESIDE]
    assert len({span // 10**12 for span in spans}) == 4 and max(spans) < -(10**9)


def test_a_typing_error_that_makes_a_validation_query_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    train, validation = folds.split(make_rows(60), "query", 0)
    typed = validation["query"].iloc[0]
    monkeypatch.setattr(augmentation, "misspell", lambda texts, seed: [typed, *(f"{text}x" for text in texts[1:])])
    more = augment(train, validation, PLAIN.with_(typos=0.5), Sources("QI")).iloc[len(train) :]
    assert len(more) == round(0.5 * len(train)) - 1 and typed not in set(more["query"])


def test_an_accent_is_lost_and_syllables_stay_whole() -> None:
    assert {augmentation._spoil("crème", 2, 1), augmentation._spoil("미니핫도", 2, 1)} == {"creme", "미니니핫도"}
    assert augmentation._spoil("coffee", 0, 2) == "cofffee"  # equal letters: nothing to swap


def test_no_added_row_has_a_path_that_a_scheme_keeps_for_validation() -> None:
    """A path that loses a level may become one of them; the row's typed copy would bring it into training under another group."""
    train = make_rows(90).assign(target="home,kitchen,pans", category_group="home,kitchen")
    validation = make_rows(30, 1).assign(
        target="home,pans,lids", category_group="home,pans", query="lid", query_en="lid"
    )
    tree = parse(
        ["home,kitchen,pans", "home,kitchen,pots", "home,pans,lids", "home,pans,oil", "toys,dolls", "toys,cars"]
    )
    recipe = PLAIN.with_(level_dropout=1.0, typos=0.9)
    added = {}
    for scheme in ("query", "report", "strict"):
        rows = augment(train, validation, recipe.with_(scheme=scheme), Sources("QC", tree=tree))
        added[scheme] = set(rows.loc[rows["id"] < 0, "target"])
    assert added["query"] == {"home,pans", "kitchen,pans"} and added["report"] == added["strict"] == {"kitchen,pans"}
