"""Thresholds against every cut of the rows; cross-fitted ones never see the rows that they decide."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from utils.evaluation import thresholds
from utils.evaluation.thresholds import best_threshold, cross_fitted_thresholds, shrunk_thresholds, split_queries

# Probabilities with many ties, and any others down to neighbouring numbers.
PROBABILITIES = st.one_of(st.integers(0, 8).map(lambda n: n / 8), st.floats(0, 1))
CASES = st.lists(st.tuples(st.integers(0, 1), PROBABILITIES, st.integers(0, 3)), max_size=30)
Case = tuple[int, float, int]


def columns_of(rows: list[Case]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities and weights."""
    return tuple(np.array([row[place] for row in rows], dtype=float) for place in range(3))


def slow_f1(label: np.ndarray, accepted: np.ndarray, weight: np.ndarray) -> float:
    """F1 of the positive class by its definition."""
    hits = (weight * label * accepted).sum()
    false = (weight * (label != accepted)).sum()
    return 2 * hits / (2 * hits + false) if hits else 0.0


@settings(max_examples=200)
@given(CASES)
@example([(1, np.nextafter(0.5, 1), 1), (0, 0.5, 1)])  # no number lies between the two
@example([(0, 0.0, 1), (1, 0.0, 2)])
def test_no_other_threshold_beats_the_best_one(rows: list[Case]) -> None:
    label, probability, weight = columns_of(rows)
    threshold, best = best_threshold(label, probability, weight)
    cuts = np.unique(probability[weight > 0])
    if not len(cuts):
        assert (threshold, best) == (0.5, 0.0)
        return
    scores = [slow_f1(label, probability >= cut, weight) for cut in cuts]
    assert best == pytest.approx(max(scores))
    lowest = cuts[np.argmax(np.array(scores) >= max(scores) - 1e-12)]
    drawn = weight > 0
    assert ((probability >= threshold) == (probability >= lowest))[drawn].all()


@settings(max_examples=100)
@given(CASES)
def test_a_weight_is_as_many_equal_rows(rows: list[Case]) -> None:
    label, probability, weight = columns_of(rows)
    times = weight.astype(int)
    assert best_threshold(label, probability, weight) == best_threshold(
        np.repeat(label, times), np.repeat(probability, times)
    )


def test_a_threshold_lies_half_way_and_the_lowest_of_equal_ones_is_taken() -> None:
    assert best_threshold([1, 1, 0], [0.9, 0.7, 0.5]) == (pytest.approx(0.6), 1.0)
    # Above 0.9 one hit and one miss: 2/3; down to 0.3 two hits and two false rows: 2/3, too.
    assert best_threshold([1, 0, 0, 1], [0.9, 0.6, 0.5, 0.3]) == (pytest.approx(0.15), pytest.approx(2 / 3))
    assert best_threshold([1, 1], [0.9, 0.4]) == (pytest.approx(0.2), 1.0)  # below the last row: half-way to 0


# -- expected and fitted thresholds ----------------------------------------------------------------------------------


@settings(max_examples=100)
@given(CASES)
def test_the_expected_threshold_maximises_the_expected_f1(rows: list[Case]) -> None:
    """Of calibrated probabilities: hits and positives are expected to be sums of probabilities, whatever the cut."""
    _, probability, weight = columns_of(rows)
    threshold = thresholds.expected_threshold(probability, weight)
    total = weight @ probability
    if total == 0:
        assert threshold == 0.5
        return

    def expected_f1(accepted: np.ndarray) -> float:
        return 2 * (weight @ (probability * accepted)) / (weight @ accepted + total) if accepted.any() else 0.0

    best = max(expected_f1(probability >= cut) for cut in probability[weight > 0])
    assert threshold == pytest.approx(best / 2) and threshold <= 0.5 + 1e-9
    assert expected_f1(probability >= threshold * (1 - 1e-9)) == pytest.approx(best)


@given(CASES)
def test_a_fitted_threshold_lies_between_the_best_and_the_expected_one(rows: list[Case]) -> None:
    label, probability, weight = columns_of(rows)
    threshold, score = thresholds.fit_threshold(label, probability, weight)
    ends = sorted([best_threshold(label, probability, weight)[0], thresholds.expected_threshold(probability, weight)])
    assert ends[0] - 1e-12 <= threshold <= ends[1] + 1e-12
    assert score == pytest.approx(slow_f1(label, probability >= threshold, weight))
    times = weight.astype(int)
    repeated = thresholds.fit_threshold(np.repeat(label, times), np.repeat(probability, times))
    assert repeated[0] == pytest.approx(threshold)


def test_the_best_threshold_counts_more_the_more_rows_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    label, probability = [1, 1, 0, 0], [0.9, 0.75, 0.65, 0.1]  # the best threshold is 0.7
    expected = thresholds.expected_threshold(probability)
    assert expected == pytest.approx(2 * 2.3 / (3 + 2.4) / 2)  # three rows are taken
    assert thresholds.fit_threshold(label, probability)[0] == pytest.approx((4 * 0.7 + 500 * expected) / 504)
    assert thresholds.fit_threshold(label, probability, [1000] * 4)[0] == pytest.approx(
        (4000 * 0.7 + 500 * expected) / 4500
    )
    monkeypatch.setattr(thresholds, "PRIOR", 0)
    assert thresholds.fit_threshold(label, probability) == (pytest.approx(0.7), 1.0)


def test_on_few_calibrated_rows_a_fitted_threshold_beats_the_best_one() -> None:
    rng = np.random.default_rng(0)

    def draw(rows: int) -> tuple[np.ndarray, np.ndarray]:
        probability = rng.beta(1.2, 0.8, rows)
        return (rng.random(rows) < probability).astype(int), probability

    label, probability = draw(20_000)
    scores = []
    for _ in range(60):
        cuts = [rule(*draw(150))[0] for rule in (best_threshold, thresholds.fit_threshold)]
        scores.append([slow_f1(label, probability >= cut, np.ones(len(label))) for cut in cuts])
    best, fitted = np.mean(scores, axis=0)
    assert fitted > best + 0.002


# -- per language ----------------------------------------------------------------------------------------------------


def table(label: list[int], probability: list[float], language: str = "en") -> pd.DataFrame:
    return pd.DataFrame({"language": language, "label": label, "probability": probability})


def test_language_thresholds_are_shrunk_by_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    english = table([1, 1, 0, 0], [0.9, 0.7, 0.5, 0.1])  # the best threshold is 0.6
    rows = pd.concat([english, table([1, 1], [0.9, 0.2], "ja")])  # one label says nothing
    assert shrunk_thresholds(rows, 0.2) == {"en": pytest.approx((4 * 0.6 + 2000 * 0.2) / 2004)}
    monkeypatch.setattr(thresholds, "PULL", 4)
    assert shrunk_thresholds(rows, 0.2) == {"en": pytest.approx(0.4)}
    twice = shrunk_thresholds(rows, 0.2, [2, 2, 2, 2, 1, 1])
    assert twice == {"en": pytest.approx((8 * 0.6 + 4 * 0.2) / 12)}
    assert shrunk_thresholds(rows, 0.2, [0, 0, 1, 1, 1, 1]) == {}  # what is left of English has one label


# -- cross-fitting ---------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 60), min_size=1, max_size=80), st.integers(0, 3), st.randoms())
def test_the_split_hangs_on_the_set_of_clusters_and_the_seed(cluster: list[int], seed: int, random: object) -> None:
    part = split_queries(cluster, seed)
    of_cluster = dict(zip(cluster, part, strict=True))
    assert [of_cluster[name] for name in cluster] == part.tolist()  # a cluster lies in one part
    other = cluster * 2
    random.shuffle(other)
    assert dict(zip(other, split_queries(other, seed), strict=True)) == of_cluster
    sizes = np.bincount(list(of_cluster.values()), minlength=thresholds.PARTS)
    assert sizes.max() - sizes.min() <= 1


def test_another_seed_or_cluster_splits_otherwise() -> None:
    cluster = np.arange(40)
    assert (split_queries(cluster, 0) != split_queries(cluster, 1)).any()
    assert (split_queries(cluster, 0) != split_queries(np.append(cluster[1:], 99), 0)).any()


def random_table(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows in three languages with probabilities that follow the labels, and their parts by query."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, rows)
    content = {"id": np.arange(rows), "language": rng.choice(["en", "es", "ja"], rows), "label": label}
    probability = np.round(np.clip(label * 0.3 + rng.uniform(0, 0.7, rows), 0, 1), 2)
    return pd.DataFrame(content | {"probability": probability}), split_queries(rng.integers(0, 40, rows), seed)


@pytest.mark.parametrize("per_language", [False, True])
def test_a_row_is_decided_by_the_other_parts_alone(per_language: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "PULL", 20)
    rows, part = random_table(300, seed=1)
    before = cross_fitted_thresholds(rows, part, per_language=per_language)
    for number in range(thresholds.PARTS):
        own = part == number
        changed = rows.assign(label=np.where(own, 1 - rows["label"], rows["label"]))
        changed["probability"] = np.where(own, 1 - rows["probability"], rows["probability"])
        after = cross_fitted_thresholds(changed, part, per_language=per_language)
        assert (after[own] == before[own]).all() and (after[~own] != before[~own]).any()


@pytest.mark.parametrize("rule", [best_threshold, thresholds.fit_threshold])
def test_cross_fitted_thresholds_are_those_of_the_other_rows(
    rule: thresholds.Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thresholds, "PULL", 20)
    rows, part = random_table(200, seed=2)
    weight = np.random.default_rng(3).integers(0, 3, 200)
    repeated = rows.loc[rows.index.repeat(weight)].assign(part=np.repeat(part, weight))
    common, own = (cross_fitted_thresholds(rows, part, weight, per_language, rule) for per_language in (False, True))
    for number in range(thresholds.PARTS):
        others = repeated[repeated["part"] != number]
        expected, _ = rule(others["label"], others["probability"], None)
        assert common[part == number] == pytest.approx(expected)
        by_language = rows["language"][part == number].map(shrunk_thresholds(others, expected))
        assert own[part == number] == pytest.approx(by_language.to_numpy())


def test_a_language_that_the_other_parts_lack_takes_the_common_threshold() -> None:
    rows = pd.DataFrame({"language": ["en"] * 6 + ["ja"] * 2, "label": [1, 0] * 4, "probability": [0.8, 0.2] * 4})
    part = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    own = cross_fitted_thresholds(rows, part, per_language=True)
    assert own[6:].tolist() == cross_fitted_thresholds(rows, part)[6:].tolist() == [0.5, 0.5]


def test_predictions_are_made_at_the_rows_thresholds_whatever_the_index() -> None:
    rows, _ = random_table(100, seed=4)
    cluster = np.arange(100) // 3
    table = thresholds.cross_fit(rows.set_axis(range(500, 600)), cluster, seed=5)
    part = split_queries(cluster, 5)
    assert table["part"].tolist() == part.tolist() and table.index[0] == 500
    assert table["threshold"].tolist() == cross_fitted_thresholds(rows, part).tolist()
    assert table["prediction"].tolist() == (table["probability"] >= table["threshold"]).astype(int).tolist()
