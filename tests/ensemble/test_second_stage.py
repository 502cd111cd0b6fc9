"""A row beside the others of its query: every feature against a slow reading of its name, whatever the order of the rows."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.ensemble.second_stage import FEATURES, NONE, SecondStage, fit_second_stage, measure, relate

WORDS, PATHS = ["a", "b", "c"], ["x", "x,y", "x,y,z", "x,yy", "w", "x,y,z,v", None]
ROWS = st.lists(
    st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS), st.sampled_from(PATHS), st.integers(-4, 4)),
    min_size=1, max_size=14, unique_by=lambda row: (row[0], row[2]),
)  # fmt: skip


def make(rows: list[tuple[str, str, str | None, int]], order: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """Texts with ids that are no positions, and log-odds with ties."""
    table = pd.DataFrame(rows, columns=["query", "query_en", "target", "own"]).iloc[order]
    table.insert(0, "id", 7 * order + 3)
    return table, table["own"].to_numpy(dtype=float)


def read_slowly(texts: pd.DataFrame, own: np.ndarray, row: int) -> dict[str, float]:
    """The features of one row, each as its name says."""
    texts = texts.fillna("")
    queries, targets = texts["query"].tolist(), texts["target"].tolist()
    same = [other for other in range(len(texts)) if queries[other] == queries[row]]
    others = [own[other] for other in same if other != row]

    def nearest(place: int) -> int:
        above = [k for k in same if targets[place].startswith(targets[k] + ",")]
        return max(above, key=lambda k: len(targets[k]), default=NONE)

    pair = list(zip(texts["query_en"], targets, strict=True))
    twins = [own[k] for k in range(len(texts)) if k != row and pair[k] == pair[row]]
    children = [own[k] for k in same if nearest(k) == row]
    higher, equal = sum(v > own[row] for v in others), sum(v == own[row] for v in others)
    parent = nearest(row)
    return {
        "own": own[row], "single": not others, "rows": np.log(len(same)), "mean of others": np.mean(others) if others else 0.0,
        "below the highest": own[row] - max([own[row], *others]), "above the lowest": own[row] - min([own[row], *others]),
        "rank": (higher + equal / 2) / len(others) - 0.5 if others else 0.0,
        "lead": own[row] - max(others) if others and own[row] >= max(others) else 0.0,
        "parent": own[parent] if parent != NONE else 0.0, "has parent": parent != NONE,
        "highest child": max(children, default=0.0), "children": np.log1p(len(children)),
        "twins": np.mean(twins) if twins else 0.0, "has twins": np.log(1 + len(twins)),
    }  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 99))
def test_each_feature_is_what_its_name_says(rows: list[tuple[str, str, str | None, int]], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(rows))
    texts, own = make(rows, order)
    ids = texts["id"].sample(frac=1, random_state=seed)  # joined by id, whatever the order of the texts
    own = pd.Series(own, index=texts["id"]).loc[ids].to_numpy()
    found = measure(own, relate(ids, texts))
    sorted_texts = texts.set_index("id").loc[ids].reset_index()
    for row in range(len(rows)):
        expected = read_slowly(sorted_texts, own, row)
        assert list(expected) == list(FEATURES)
        assert found[row] == pytest.approx(np.array(list(expected.values()), dtype=float), abs=1e-12)


def test_rows_are_related_within_what_is_asked_for() -> None:
    texts = pd.DataFrame({"id": [1, 2, 3], "query": "q", "query_en": "q", "target": ["x", "x,y", "x,y,z"]})
    assert relate(pd.Series([3, 1]), texts).parent.tolist() == [1, NONE]
    assert relate(pd.Series([3, 2, 1]), texts).parent.tolist() == [1, 2, NONE]
    with pytest.raises(ValueError, match="1 rows have no text, among them id 9"):
        relate(pd.Series([1, 9]), texts)


def test_of_rows_with_the_same_texts_the_first_id_is_the_parent_in_any_order() -> None:
    texts = pd.DataFrame({"id": [4, 2, 9], "query": "q", "query_en": "q", "target": ["x", "x", "x,y"]})
    for ids in ([4, 2, 9], [9, 2, 4], [2, 9, 4]):
        parent = relate(pd.Series(ids), texts).parent
        assert [ids[place] for place in parent if place != NONE] == [2] and parent[ids.index(9)] != NONE


def test_new_pairs_in_another_order_have_the_same_parents() -> None:
    """Their ids are their places: of the same texts in two languages the first English is the parent, wherever it stands."""
    rows = pd.DataFrame(
        [("kit", "zoo", "a"), ("kit", "ant", "a"), ("kit", "mid", "a,b")], columns=["query", "query_en", "target"]
    )
    for order in itertools.permutations(range(3)):
        texts = rows.iloc[list(order)].assign(id=range(3))
        parent = relate(texts["id"], texts).parent
        assert parent[order.index(2)] == order.index(1)


def test_it_learns_what_a_row_alone_does_not_show() -> None:
    """One relevant row in each query, the highest; how high lies with the query."""
    rng = np.random.default_rng(0)
    query = np.repeat(np.arange(200), 4)
    own = rng.normal(size=800) + np.repeat(3 * rng.normal(size=200), 4)
    label = (own == pd.Series(own).groupby(query).transform("max")).astype(int).to_numpy()
    texts = pd.DataFrame(
        {"id": np.arange(800), "query": query.astype(str), "query_en": "", "target": np.arange(800).astype(str)}
    )
    relations = relate(texts["id"], texts)
    stage = fit_second_stage(own, relations, label)
    assert set(stage.weights) == set(FEATURES)
    assert (
        (((stage.log_odds(own, relations) > 0) == label).mean()) > 0.98 > 0.8 > ((own > np.median(own)) == label).mean()
    )


def test_one_kind_of_label_teaches_nothing() -> None:
    texts = pd.DataFrame({"id": [1, 2], "query": ["a", "b"], "query_en": "", "target": ["x", "y"]})
    assert fit_second_stage(np.array([1.0, 2.0]), relate(texts["id"], texts), [1, 1]) is None


def test_its_weights_are_of_the_features_as_they_are() -> None:
    texts = pd.DataFrame({"id": [1, 2], "query": ["a", "a"], "query_en": ["a", "b"], "target": ["x", "y"]})
    weights = dict.fromkeys(FEATURES, 0.0) | {"own": 2.0, "rank": 10.0}
    odds = SecondStage(weights, 1.0).log_odds(np.array([3.0, 1.0]), relate(texts["id"], texts))
    assert odds.tolist() == [3 * 2 - 5 + 1, 2 + 5 + 1]
