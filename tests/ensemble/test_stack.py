"""Weights of simulated members: known ones are found again, noise and reversed members get none, errors know of queries."""

import numpy as np
import pytest
from scipy.optimize import minimize

from utils.ensemble import stack
from utils.ensemble.stack import fit_stack

Members = dict[str, np.ndarray]


def simulate(
    weights: dict[str, float], rows: int = 3000, seed: int = 0, intercept: float = 0.0
) -> tuple[Members, np.ndarray, np.ndarray]:
    """Members of normal log-odds, labels of the logistic model with these weights, and a query per three rows."""
    rng = np.random.default_rng(seed)
    members = {name: 1.5 * rng.normal(size=rows) for name in weights}
    odds = intercept + sum(weight * members[name] for name, weight in weights.items())
    label = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(int)
    return members, label, np.arange(rows) // 3


def errors_of(fitted: stack.Stack) -> np.ndarray:
    """Half the width of the members' intervals."""
    return np.array([(high - low) / 2 for low, high in fitted.intervals.values()])


def test_the_weights_of_a_logistic_model_are_found() -> None:
    members, label, query = simulate({"a": 1.0, "b": 0.5}, intercept=-0.4)
    fitted = fit_stack(members, label, query)
    assert fitted.weights == {"a": pytest.approx(1.0, abs=0.15), "b": pytest.approx(0.5, abs=0.15)}
    assert fitted.intercept == pytest.approx(-0.4, abs=0.15)
    for name, truth in (("a", 1.0), ("b", 0.5)):
        assert fitted.intervals[name][0] < truth < fitted.intervals[name][1]


def test_the_fit_maximises_the_likelihood() -> None:
    members, label, query = simulate({"a": 0.8, "b": 0.4}, rows=500, seed=3)
    design = np.column_stack([*members.values(), np.ones(500)])

    def loss(values: np.ndarray) -> float:
        return float(np.logaddexp(0, np.where(label == 1, -1, 1) * (design @ values)).sum())

    fitted = fit_stack(members, label, query)
    assert [*fitted.weights.values(), fitted.intercept] == pytest.approx(
        minimize(loss, np.zeros(3)).x.tolist(), abs=0.01
    )


@pytest.mark.parametrize("seed", range(5))
def test_pure_noise_gets_no_weight(seed: int) -> None:
    members, label, query = simulate({"good": 1.0, "fair": 0.6, "noise": 0.0}, seed=10 + seed)
    fitted = fit_stack(members, label, query)
    assert set(fitted.weights) == {"good", "fair"} and fitted.intervals["noise"][0] <= 0


def test_what_is_left_is_fitted_again() -> None:
    members, label, query = simulate({"good": 1.0, "noise": 0.0})
    alone = fit_stack({"good": members["good"]}, label, query)
    fitted = fit_stack(members, label, query)
    assert fitted.weights == alone.weights and fitted.intercept == alone.intercept
    assert list(fitted.intervals) == ["good", "noise"] and fitted.intervals["good"] == alone.intervals["good"]


def test_a_copy_of_a_member_shares_its_weight_or_gets_none() -> None:
    members, label, query = simulate({"good": 1.0})
    fitted = fit_stack(members | {"copy": members["good"].copy()}, label, query)
    assert sum(fitted.weights.values()) == pytest.approx(1.0, abs=0.15) and min(fitted.weights.values()) > 0


@pytest.mark.parametrize("strength", [-0.3, -1.0, -3.0])
def test_a_reversed_member_never_gets_a_negative_weight(strength: float) -> None:
    members, label, query = simulate({"good": 1.0, "reversed": strength})
    assert set(fit_stack(members, label, query).weights) == {"good"}
    alone = fit_stack({"reversed": members["reversed"]}, label, query)
    assert alone.weights == {"reversed": 1.0} and alone.intercept == 0.0 and alone.intervals["reversed"][1] < 0
    both = fit_stack(
        {"one": members["reversed"], "other": 0.5 * members["reversed"] + 0.1 * members["good"]}, label, query
    )
    assert min(both.weights.values()) > 0


# -- standard errors -------------------------------------------------------------------------------------------------


def slow_errors(members: Members, label: np.ndarray, query: np.ndarray, fitted: stack.Stack) -> np.ndarray:
    """95 % half-widths of the sandwich estimator, summed row by row and query by query."""
    names = list(members)
    values = np.array([*(fitted.weights[name] for name in names), fitted.intercept])
    design = np.column_stack([*(members[name] for name in names), np.ones(len(label))])
    bread, by_query = np.zeros((len(values), len(values))), {}
    for row, truth, name in zip(design, label, query, strict=True):
        chance = 1 / (1 + np.exp(-row @ values))
        bread += chance * (1 - chance) * np.outer(row, row)
        by_query[name] = by_query.get(name, 0) + row * (truth - chance)
    meat = sum(np.outer(score, score) for score in by_query.values()) * len(by_query) / (len(by_query) - 1)
    inverse = np.linalg.inv(bread)
    return 1.959964 * np.sqrt(np.diag(inverse @ meat @ inverse))[:-1]


def test_standard_errors_are_those_of_a_slow_reference() -> None:
    members, label, query = simulate({"a": 1.0, "b": 0.7}, rows=300, seed=4)
    query = np.random.default_rng(0).permutation(query)
    fitted = fit_stack(members, label, query)
    assert errors_of(fitted) == pytest.approx(slow_errors(members, label, query, fitted), rel=1e-4)
    middles = [sum(ends) / 2 for ends in fitted.intervals.values()]
    assert middles == pytest.approx(list(fitted.weights.values()))


def test_rows_repeated_inside_their_query_say_nothing_new() -> None:
    members, label, query = simulate({"a": 1.0, "b": 0.7}, rows=600)
    repeated = {name: np.repeat(values, 4) for name, values in members.items()}
    once = errors_of(fit_stack(members, label, query))
    inside = errors_of(fit_stack(repeated, np.repeat(label, 4), np.repeat(query, 4)))
    apart = errors_of(fit_stack(repeated, np.repeat(label, 4), np.arange(2400)))
    assert inside == pytest.approx(once, rel=0.01)
    assert inside / apart == pytest.approx(
        [2.0, 2.0], rel=0.1
    )  # taken for rows of their own, they would halve the errors


def test_intervals_cover_the_weights_where_queries_lean() -> None:
    """Members and labels lean together within a query; of 100 intervals about 95 hold the weight of a large sample."""

    def draw(queries: int, rng: np.random.Generator) -> tuple[Members, np.ndarray, np.ndarray]:
        lean, own = np.repeat(rng.normal(size=queries), 6), np.repeat(rng.normal(size=queries), 6)
        values = lean + own + 0.3 * rng.normal(size=len(lean))
        return (
            {"a": values},
            (rng.random(len(lean)) < 1 / (1 + np.exp(-1.5 * lean))).astype(int),
            np.repeat(np.arange(queries), 6),
        )

    rng = np.random.default_rng(2)
    truth = fit_stack(*draw(20_000, rng)).weights["a"]
    ends = [fit_stack(*draw(80, rng)).intervals["a"] for _ in range(100)]
    assert 0.87 <= np.mean([low <= truth <= high for low, high in ends]) <= 0.99


# -- degenerate members ----------------------------------------------------------------------------------------------


def test_one_label_lets_the_first_member_pass() -> None:
    members, label, query = simulate({"a": 1.0, "b": 1.0}, rows=60)
    fitted = fit_stack(members, np.ones_like(label), query)
    assert fitted.weights == {"a": 1.0} and fitted.intercept == 0.0


def test_a_constant_member_gets_no_weight() -> None:
    members, label, query = simulate({"good": 1.0})
    fitted = fit_stack({"constant": np.full(len(label), 0.7)} | members, label, query)
    assert set(fitted.weights) == {"good"} and fitted.weights["good"] == pytest.approx(1.0, abs=0.15)


def test_constant_members_alone_give_a_constant_answer() -> None:
    fitted = fit_stack({"a": np.zeros(40), "b": np.ones(40)}, np.arange(40) % 2, np.arange(40))
    assert list(fitted.weights) == ["a"] and fitted.weights["a"] > 0 and np.isfinite(fitted.intercept)


def test_members_that_separate_the_labels_keep_finite_weights() -> None:
    label = np.arange(60) % 2
    odds = np.where(label == 1, 2.0, -2.0) + np.random.default_rng(0).normal(size=60) / 10
    fitted = fit_stack({"a": odds, "b": odds[::-1] * -1}, label, np.arange(60) // 2)
    assert all(0 < weight < 1000 for weight in fitted.weights.values())
    answer = (
        sum(weight * {"a": odds, "b": -odds[::-1]}[name] for name, weight in fitted.weights.items()) + fitted.intercept
    )
    assert ((answer > 0) == (label == 1)).all()
