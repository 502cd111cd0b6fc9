"""Suspect labels: found where out-of-fold probabilities contradict them, and remedied in the training rows alone."""

import numpy as np
import pandas as pd
import pytest

from utils.evaluation.label_noise import find_suspects, measure_finding, remedy

RNG = np.random.default_rng(4)
TRUTH = RNG.integers(0, 2, 600)
WRONG = RNG.random(600) < 0.06
LABEL = np.where(WRONG, 1 - TRUTH, TRUTH)


def test_turned_labels_are_found_by_probabilities_that_know_the_truth() -> None:
    probability = np.clip(TRUTH * 0.7 + 0.15 + 0.1 * RNG.normal(size=600), 0.01, 0.99)
    facts = measure_finding(find_suspects(LABEL, probability), WRONG)
    assert facts["precision"] > 0.9 and facts["recall"] > 0.6 and facts["wrong labels"] == WRONG.sum()


def test_probabilities_without_knowledge_find_no_better_than_chance() -> None:
    facts = measure_finding(find_suspects(LABEL, RNG.random(600)), WRONG)
    assert facts["precision"] < 3 * facts["suspects if drawn blindly would hit"]
    assert not find_suspects(np.ones(5), np.full(5, 0.1)).any()


@pytest.mark.parametrize("how", ["keep", "drop", "relabel"])
def test_a_remedy_changes_suspects_alone(how: str) -> None:
    train = pd.DataFrame({"id": range(600), "label": LABEL})
    after = remedy(train, WRONG, how)
    kept = train if how != "drop" else train[~WRONG]
    assert after["id"].tolist() == kept["id"].tolist()
    expected = {"keep": LABEL, "drop": LABEL[~WRONG], "relabel": TRUTH}[how]
    assert after["label"].tolist() == expected.tolist()
