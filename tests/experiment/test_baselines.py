"""The candidates without a trained network, against hand counts and on tables that they can separate."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file
from scipy.special import expit
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from utils.core.recipe import Recipe
from utils.data.leaks import LeakError
from utils.ensemble import second_stage, stack
from utils.evaluation.metrics import auc
from utils.experiment import baselines

WORDS = ("red", "blue", "green", "shoe", "shirt", "sock", "lamp", "chair", "table", "phone")
KINDS = ("constant", "tfidf", "overlap", "wordpairs")


def recipe(kind: str, translation: bool = True) -> Recipe:
    return Recipe(kind, "baseline", kind=kind, translation=translation, seed=3)


def pair(query: str, target: str | None, english: str = "") -> pd.DataFrame:
    """A table of one row."""
    return pd.DataFrame({"query": [query], "query_en": [english or query], "target": [target], "label": [1]})


def toy(rows: int, seed: int) -> pd.DataFrame:
    """Rows whose label says whether the query's word stands in the target; `query_en` is the word, `query` its code."""
    rng = np.random.default_rng(seed)
    numbers, label = rng.integers(0, len(WORDS), rows), rng.integers(0, 2, rows)
    others = (numbers + rng.integers(1, len(WORDS), rows)) % len(WORDS)
    english = [WORDS[number] for number in numbers]
    target = [f"home > {WORDS[number]}" for number in np.where(label, numbers, others)]
    query = [f"x{number}" for number in numbers]
    return pd.DataFrame({"query": query, "query_en": english, "target": target, "label": label})


def answer(kind: str, train: pd.DataFrame, test: pd.DataFrame, translation: bool = True) -> np.ndarray:
    chosen = recipe(kind, translation)
    return baselines.predict(chosen, baselines.fit(chosen, train), test)


def test_the_constant_is_the_training_rows_share_of_positives() -> None:
    train = pd.DataFrame({"label": [1, 0, 1, 1]})
    assert answer("constant", train, train.head(2)).tolist() == [0.75, 0.75]
    assert answer("constant", train, train.head(0)).shape == (0,)


def test_overlaps_are_what_one_counts_by_hand() -> None:
    # Words: one of {red, shoe} and {red, shoes} is common. Trigrams of " red shoe " and " red shoes ": 8 and 9, 7 common.
    expected = [1 / 3, 1 / 2, 7 / 10, 7 / 8, 1, 0, 0, 0, 0, 0]
    features = baselines.overlap_features(pair("red shoe", "Red > Shoes", english="hat"))
    assert features.shape == (1, 10) and features.toarray()[0].tolist() == pytest.approx(expected)
    features = baselines.overlap_features(pair("red shoe", "Red > Shoes", english="hat"), translation=False)
    assert features.toarray()[0].tolist() == pytest.approx(expected[:5])


def test_overlaps_ignore_case_and_accents_and_allow_empty_texts() -> None:
    alike = baselines.overlap_features(pair("zapatería", "ZAPATERIA"), translation=False)
    assert alike.toarray()[0].tolist() == [1, 1, 1, 1, 1]
    for query, target in (("", "shoe"), ("shoe", "")):
        empty = baselines.overlap_features(pair(query, target), translation=False)
        assert empty.toarray()[0].tolist() == [0, 0, 0, 0, 0]


def test_overlap_learns_that_common_words_are_relevant_through_the_translation() -> None:
    train, test = toy(200, 1), toy(60, 2)
    with_english, again = answer("overlap", train, test), answer("overlap", train, test.iloc[::-1])
    assert auc(test["label"], with_english) == 1.0
    assert again[::-1].tolist() == with_english.tolist()  # a row's probability does not depend on its position
    assert np.ptp(answer("overlap", train, test, False)) == pytest.approx(
        0
    )  # the codes have no letter in common with any target


def test_tfidf_separates_rows_by_the_words_of_the_target() -> None:
    train, test = toy(200, 1), toy(200, 2)
    for table in (train, test):
        table["label"] = table["target"].str.contains("sh").astype(int)  # shoes and shirts
    probability = answer("tfidf", train, test, False)
    assert probability.shape == (200,) and ((probability > 0) & (probability < 1)).all()
    assert auc(test["label"], probability) > 0.99


def test_tfidf_weighs_as_scikit_learn_does() -> None:
    """Of one block: sublinear counts, smoothed frequencies, rows of length 1."""
    table = toy(50, 1)
    blocks = baselines.count_words(table, True)
    idf = baselines._document_frequencies(blocks)
    weighted = baselines._weigh(blocks, idf)
    expected = TfidfTransformer(sublinear_tf=True).fit_transform(blocks[2])
    assert np.abs(weighted[:, 2 * baselines.COLUMNS :] - expected).max() < 1e-12


def test_word_pairs_learn_what_goes_together_where_no_word_is_common() -> None:
    """Codes and words have nothing in common; which code goes with which word is learned from pairs alone."""
    train, test = toy(600, 1), toy(200, 2)
    assert auc(test["label"], answer("wordpairs", train, test, False)) > 0.97
    assert (
        abs(auc(test["label"], answer("tfidf", train, test, False)) - 0.5) < 0.15
    )  # sees both sides, not what goes with what


def test_forms_of_a_word_meet() -> None:
    one, other = (baselines.pair_words(pair(query, "Zapatos de mujer"), False) for query in ("zapatería", "zapatero"))
    assert (one != other).nnz == 0


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_from_a_file_answer_as_before(kind: str, tmp_path: Path) -> None:
    train, test, chosen = toy(120, 1), toy(30, 2), recipe(kind)
    fitted = baselines.fit(chosen, train)
    save_file(fitted, tmp_path / "fitted.safetensors")
    again = baselines.predict(chosen, load_file(tmp_path / "fitted.safetensors"), test)
    assert again.tolist() == baselines.predict(chosen, fitted, test).tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "change",
    [
        {"query": "หูฟังไร้สาย", "query_en": "หูฟังไร้สาย"},  # one query, no space in it
        {"target": None},
        {"query": "?!", "query_en": "", "target": "..."},  # no word at all
    ],
)
def test_rows_with_nothing_to_learn_from_are_answered_all_the_same(kind: str, change: dict) -> None:
    train = toy(40, 1).assign(**change)
    probability = answer(kind, train, train)
    assert probability.shape == (40,) and ((probability > 0) & (probability < 1)).all()


def test_strength_is_the_middle_one_where_no_fold_can_choose() -> None:
    features = np.eye(4)
    one_query = pd.DataFrame({"query": ["a"] * 4, "label": [0, 1, 0, 1]})
    assert baselines._choose_strength(features, one_query, (1.0, 2.0, 3.0), 0) == 2.0
    one_label = pd.DataFrame({"query": list("abcd"), "label": [1] * 4})
    assert baselines._choose_strength(features, one_label, (1.0, 2.0, 3.0), 0) == 2.0


def test_cosines_choose_the_language_that_says_more() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 400)
    cosines = np.stack([rng.normal(size=400), label + rng.normal(scale=0.1, size=400)], axis=1)
    fitted = baselines.fit_cosines(cosines, label, 0)
    assert fitted["mixture"].tolist() == [0.0, 1.0]
    probability = baselines.predict_cosines(fitted, cosines)
    assert auc(label, probability) > 0.99
    expected = expit(cosines[:, 1] * 20 * fitted["slope"][0] + fitted["intercept"][0])
    assert probability == pytest.approx(expected)


# -- the alarm ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["a strength", "noisy labels"])
def test_no_baseline_is_chosen_or_asked_about_queries_that_it_was_fitted_on(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = toy(90, 0)
    train = train.assign(query_group=train["query"])

    def split(*_: object) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(np.arange(0, 60), np.arange(60, 90))]

    monkeypatch.setattr(baselines.GroupKFold, "split", split)
    if place == "noisy labels":
        monkeypatch.setattr(baselines, "fit", None)
    with pytest.raises(LeakError, match=f"{place}: fitted on the query groups of .*; the rows were split wrongly"):
        baselines.cross_fit(train, 1) if place == "noisy labels" else baselines.fit(recipe("overlap"), train)


def test_whatever_is_fitted_is_fitted_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """On two, word pairs of 8,000 rows were off by .008: sums in another order, and another last step to the solution."""
    fit, threads = LogisticRegression.fit, []

    def note(self: LogisticRegression, *arguments: object) -> LogisticRegression:
        threads.append(max(pool["num_threads"] for pool in threadpool_info()))
        return fit(self, *arguments)

    monkeypatch.setattr(LogisticRegression, "fit", note)
    train = toy(90, 0).assign(query_group=lambda rows: rows["query"], language="en", id=range(90), probability=0.5)
    label, numbers = train["label"].to_numpy(), np.linspace(-2.0, 2.0, 90)
    relations = second_stage.relate(train["id"], train)
    with threadpool_limits(2):
        for fit_one in (
            lambda: baselines.fit(recipe("tfidf"), train), lambda: baselines.cross_fit(train, 1),
            lambda: baselines.fit_cosines(np.stack([numbers, numbers], axis=1), label, 1),
            lambda: stack.fit_stack({"a": numbers}, label, train["query"]),
            lambda: second_stage.fit_second_stage(numbers, relations, label),
        ):  # fmt: skip
            before = len(threads)
            fit_one()
            assert set(threads[before:]) == {1}
        assert max(pool["num_threads"] for pool in threadpool_info()) == 2
