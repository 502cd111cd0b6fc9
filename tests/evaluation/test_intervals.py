"""Intervals against slow references, and by simulation: how often they hold what they promise."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from utils.evaluation import intervals
from utils.evaluation.thresholds import best_threshold, cross_fit, split_queries

WEIGHTED = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=30)


def simulate(queries: int, rng: np.random.Generator, rows: int = 4) -> pd.DataFrame:
    """Queries of like rows: their labels and their probabilities lean the same way."""
    lean, noise = (np.repeat(rng.normal(size=queries), rows) for _ in range(2))
    label = (lean + rng.normal(size=len(lean)) > -0.3).astype(int)
    score = 1.2 * label + 0.5 * noise + 0.8 * rng.normal(size=len(lean)) - 0.6
    content = {"id": np.arange(len(lean)), "query_group": np.repeat(np.arange(queries), rows), "label": label}
    return pd.DataFrame(content | {"probability": 1 / (1 + np.exp(-score))})


# -- draws -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 12), min_size=1, max_size=40), st.integers(0, 5))
def test_every_draw_takes_whole_clusters_as_many_as_there_are(cluster: list[int], seed: int) -> None:
    table = pd.DataFrame({"cluster": cluster})
    draws = list(intervals.draw_weights(cluster, 4, seed))
    for weight in draws:
        by_cluster = table.assign(weight=weight).groupby("cluster")["weight"]
        assert (by_cluster.nunique() == 1).all() and by_cluster.first().sum() == table["cluster"].nunique()
    again = list(intervals.draw_weights(cluster, 4, seed))
    assert all((one == other).all() for one, other in zip(draws, again, strict=True))


def test_draws_differ_and_each_cluster_is_drawn_once_on_average() -> None:
    weights = np.array(list(intervals.draw_weights(np.arange(50), 800, 0)))
    assert weights.mean(axis=0) == pytest.approx(np.ones(50), abs=0.2) and (weights.var(axis=0) > 0.7).all()


def test_larger_tables_have_fewer_repeats() -> None:
    assert [intervals.choose_repeats(rows) for rows in (0, 4000, 8000, 10**6)] == [1000, 1000, 500, 200]


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.integers(0, 5))
def test_quantiles_leave_what_is_no_number_out(values: list[float], lost: int) -> None:
    assert intervals.quantiles([*values, *[math.nan] * lost], 0.9) == pytest.approx(
        tuple(np.quantile(values, [0.05, 0.95]))
    )


def test_no_values_have_no_interval() -> None:
    assert all(math.isnan(end) for end in intervals.quantiles([math.nan])) and all(
        math.isnan(end) for end in intervals.quantiles([])
    )
    assert all(math.isnan(end) for end in intervals.f1_interval([], [], []))


# -- measures --------------------------------------------------------------------------------------------------------


@given(WEIGHTED)
def test_weighted_measures_are_those_of_repeated_rows(rows: list[tuple[int, int, int]]) -> None:
    label, probability, weight = (np.array([row[place] for row in rows], dtype=float) for place in range(3))
    labels, probabilities = (np.repeat(column, weight.astype(int)) for column in (label, probability))
    expected = f1_score(labels, probabilities >= 3, zero_division=0.0) if len(labels) else 0.0
    assert intervals.weighted_f1(label, (probability >= 3).astype(float), weight) == pytest.approx(expected)
    found = intervals.weighted_auc(label, probability, weight)
    if len(set(labels)) < 2:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(roc_auc_score(labels, probabilities))


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_a_cross_fitted_f1_of_weights_is_that_of_repeated_rows(seed: int) -> None:
    table = simulate(20, np.random.default_rng(seed)).assign(part=lambda t: split_queries(t["query_group"], 0))
    weight = next(intervals.draw_weights(table["query_group"], 1, seed))
    repeated = table.loc[table.index.repeat(weight.astype(int))]
    expected = intervals.cross_fitted_f1(repeated, np.ones(len(repeated)))
    assert intervals.cross_fitted_f1(table, weight) == pytest.approx(expected)


def test_a_cross_fitted_f1_is_that_of_its_predictions() -> None:
    rows = simulate(40, np.random.default_rng(1))
    table = cross_fit(rows, rows["query_group"], seed=2)
    assert intervals.cross_fitted_f1(table, np.ones(len(table))) == pytest.approx(
        f1_score(table["label"], table["prediction"])
    )
    assert intervals.auc_of(table, np.ones(len(table))) == pytest.approx(
        roc_auc_score(table["label"], table["probability"])
    )


# -- intervals -------------------------------------------------------------------------------------------------------


def test_an_interval_is_that_of_a_row_by_row_bootstrap() -> None:
    rng = np.random.default_rng(2)
    label, prediction, cluster = rng.integers(0, 2, 200), rng.integers(0, 2, 200), rng.integers(0, 40, 200)
    low, high = intervals.f1_interval(label, prediction, cluster, repeats=300, seed=3)
    draws = np.random.default_rng(3)
    groups = np.unique(cluster.astype(str))
    slow = []
    for _ in range(300):
        chosen = groups[draws.integers(len(groups), size=len(groups))]
        rows = np.concatenate([np.flatnonzero(cluster.astype(str) == group) for group in chosen])
        slow.append(f1_score(label[rows], prediction[rows]))
    assert (low, high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))


def test_the_interval_is_wider_where_the_rows_of_a_query_are_alike() -> None:
    rng = np.random.default_rng(1)
    label, prediction = rng.integers(0, 2, 60), rng.integers(0, 2, 60)
    alone = intervals.f1_interval(np.repeat(label, 9), np.repeat(prediction, 9), np.arange(540))
    together = intervals.f1_interval(np.repeat(label, 9), np.repeat(prediction, 9), np.repeat(np.arange(60), 9))
    once = intervals.f1_interval(label, prediction, np.arange(60))
    assert together == pytest.approx(once, abs=0.02)  # nine equal rows of a query say what one says
    assert (together[1] - together[0]) / (alone[1] - alone[0]) == pytest.approx(3, rel=0.15)  # the root of nine
    assert together[0] <= f1_score(label, prediction) <= together[1]


def test_the_interval_of_a_cross_fitted_f1_covers_the_truth_at_about_its_rate() -> None:
    rng = np.random.default_rng(5)
    population = simulate(20_000, rng)
    _, truth = best_threshold(population["label"], population["probability"])
    found, ends = [], []
    for number in range(60):
        table = simulate(50, rng)
        table = table.assign(part=split_queries(table["query_group"], number))
        found.append(intervals.cross_fitted_f1(table, np.ones(len(table))))
        draws = intervals.draw_weights(table["query_group"], 80, number)
        ends.append(intervals.quantiles([intervals.cross_fitted_f1(table, drawn) for drawn in draws]))
    low, high = np.array(ends).T
    # 95 % in truth; 60 simulations and 80 repeats each leave some slack.
    assert 0.83 <= ((low <= truth) & (truth <= high)).mean() <= 1.0
    assert (high - low).mean() == pytest.approx(2 * 1.96 * np.std(found), rel=0.3)


def test_a_table_has_no_difference_from_itself() -> None:
    rows = simulate(30, np.random.default_rng(0))
    table = rows.assign(part=split_queries(rows["query_group"], 0))
    for measure in (intervals.cross_fitted_f1, intervals.auc_of):
        difference, drawn = intervals.paired_differences(table, table.copy(), table["query_group"], measure, 50, 0)
        assert difference == 0.0 and drawn.tolist() == [0.0] * 50


def test_a_paired_difference_draws_the_same_queries_for_both_sides() -> None:
    rows = simulate(60, np.random.default_rng(3))
    table = rows.assign(part=split_queries(rows["query_group"], 0))
    worse = table.assign(probability=np.random.default_rng(1).random(len(table)))
    sides = (table["query_group"], intervals.auc_of, 200, 4)
    difference, values = intervals.paired_differences(table, worse, *sides)
    ones = np.ones(len(table))
    assert difference == pytest.approx(intervals.auc_of(table, ones) - intervals.auc_of(worse, ones))
    slow = []
    for drawn in intervals.draw_weights(table["query_group"], 200, 4):
        slow.append(intervals.auc_of(table, drawn) - intervals.auc_of(worse, drawn))
    assert values.tolist() == pytest.approx(slow)
    _, swapped = intervals.paired_differences(worse, table, *sides)
    assert swapped.tolist() == pytest.approx([-value for value in slow])


def test_a_paired_difference_of_other_rows_is_refused() -> None:
    table = simulate(10, np.random.default_rng(0))
    for other in (table.iloc[::-1], table.head(39), table.assign(id=table["id"] + 1)):
        with pytest.raises(ValueError, match="the same rows on both sides"):
            intervals.paired_differences(table, other, table["query_group"], intervals.auc_of, 5, 0)


def test_a_difference_without_an_interval_shows_nothing() -> None:
    assert not intervals.excludes_zero({"lo": math.nan, "hi": math.nan})
    assert not intervals.excludes_zero({"lo": 0.0, "hi": 0.1}) and intervals.excludes_zero({"lo": 0.001, "hi": 0.1})
