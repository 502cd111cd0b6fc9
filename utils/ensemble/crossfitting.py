"""An ensemble fitted on some queries and asked about others: its honest out-of-fold answers, and the choices that they allow."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from utils.data.leaks import check_parts, check_unseen
from utils.ensemble import decide
from utils.ensemble.decide import NO_STEPS, SEEN, UNSEEN, Decision, Ensemble, Members, Steps
from utils.ensemble.second_stage import relate
from utils.evaluation.intervals import (
    choose_repeats,
    cross_fitted_f1,
    draw_weights,
    excludes_zero,
    paired_differences,
    quantiles,
    weighted_f1,
)
from utils.evaluation.thresholds import cross_fitted_thresholds, fit_threshold, shrunk_thresholds, split_queries

PER_LANGUAGE = "thresholds per language"
STEPS = {"consistent": "consistent paths, {}", "second_stage": "second stage, {}"}  # of a kind


class FittedEnsemble(NamedTuple):
    """An ensemble, and by kind (`seen`, `unseen`) the answers that were cross-fitted: the honest ones."""

    ensemble: Ensemble
    honest: dict[str, pd.DataFrame]


def cross_fit_decision(
    members: Members, cluster: pd.Series, seed: int, per_language: bool = False, texts: pd.DataFrame | None = None,
    steps: Steps = NO_STEPS,
) -> pd.DataFrame:  # fmt: skip
    """Out-of-fold rows with the `probability`, `threshold` and `prediction` of decisions fitted on other query groups, and their `part`.

    `cluster` maps id -> query group. Weights, calibration and threshold (with `per_language` those of languages, and what
    `steps` say, which need `texts`) are all fitted on the other parts. Raises LeakError where a part is not other queries.
    """
    table, values = decide.align(members)
    part = split_queries(table["id"].map(cluster), seed)
    probability, threshold = np.empty(len(table)), np.empty(len(table))
    for number in np.unique(part):
        rows = part == number
        others = set(table["id"][~rows])
        train = {name: member[member["id"].isin(others)] for name, member in members.items()}
        for name, member in train.items():
            check_unseen(member["id"].map(cluster), table["id"][rows].map(cluster), f"the decision over {name}")
        decision = decide.fit_decision(train, cluster, texts, steps)
        relations = relate(table["id"][rows], texts) if any(steps) else None
        probability[rows] = decision.probability({name: column[rows] for name, column in values.items()}, relations)
        threshold[rows] = decision.threshold
        if per_language:
            own = table["language"][rows].map(fit_language_thresholds(train, decision, texts, steps)).astype(float)
            threshold[rows] = own.fillna(decision.threshold)
    prediction = (probability >= threshold).astype(int)
    return table.assign(probability=probability, threshold=threshold, prediction=prediction, part=part)


def fit_language_thresholds(
    members: Members, decision: Decision, texts: pd.DataFrame | None = None, steps: Steps = NO_STEPS
) -> dict[str, float]:
    """The thresholds of languages for the probabilities of a decision, on the rows that it was fitted on."""
    table, values = decide.align(members)
    relations = relate(table["id"], texts) if any(steps) else None
    return shrunk_thresholds(table.assign(probability=decision.probability(values, relations)), decision.threshold)


def fit_ensemble(
    members: Members, held_out: Members, cluster: pd.Series, languages: tuple[str, ...], seed: int,
    texts: pd.DataFrame | None = None, offered: Steps = NO_STEPS,
) -> FittedEnsemble:  # fmt: skip
    """Fit a task's ensemble on out-of-fold tables and, for unseen languages, on tables of languages that were held out.

    `cluster` maps id -> query group, `languages` are those of the training data. Returns the ensemble and its honest answers,
    `cross_fit_decision` by kind (`seen`, `unseen`); without held-out tables, unseen languages are decided as the others.
    Of the steps `offered`, which need the training rows' `texts` (`second_stage.TEXTS`), each kind takes those whose gain is sure.
    """
    choices, decisions, honest, used = {}, {}, {}, {}
    for kind, own in ((SEEN, members), (UNSEEN, held_out)):
        if own:
            used[kind], honest[kind], evidence = choose_steps(own, cluster, seed, texts, offered)
            choices |= {STEPS[step].format(kind): gain for step, gain in evidence.items()}
            decisions[kind] = decide.fit_decision(own, cluster, texts, used[kind])
    decisions.setdefault(UNSEEN, decisions[SEEN])
    choices[PER_LANGUAGE] = evidence = compare_thresholds(honest[SEEN], cluster, seed)
    ensemble = Ensemble(languages, decisions, choices=choices)
    if excludes_zero(evidence):
        own = fit_language_thresholds(members, decisions[SEEN], texts, used[SEEN])
        ensemble = replace(ensemble, language_thresholds=own)
        honest[SEEN] = cross_fit_decision(members, cluster, seed, True, texts, used[SEEN])
    return FittedEnsemble(ensemble, honest)


def choose_steps(
    members: Members, cluster: pd.Series, seed: int, texts: pd.DataFrame | None, offered: Steps
) -> tuple[Steps, pd.DataFrame, dict[str, dict[str, float]]]:
    """The offered steps whose gain is sure, one tried after the other, the honest answers with them, and the gain of each."""
    used, honest, evidence = NO_STEPS, cross_fit_decision(members, cluster, seed), {}
    for step in (name for name, wanted in offered._asdict().items() if wanted):
        tried = used._replace(**{step: True})
        answers = cross_fit_decision(members, cluster, seed, texts=texts, steps=tried)
        evidence[step] = compare_stages(answers, honest, cluster, seed)
        if excludes_zero(evidence[step]):
            used, honest = tried, answers
    return used, honest, evidence


def compare_stages(staged: pd.DataFrame, plain: pd.DataFrame, cluster: pd.Series, seed: int) -> dict[str, float]:
    """F1 with a step less that without, at thresholds fitted on other queries, with its interval by query group.

    Both are tables of `cross_fit_decision`. Keys: `difference`, `lo`, `hi`. Raises LeakError where a query lies in several parts.
    """
    repeats = min(300, choose_repeats(4 * len(plain)))
    group = plain["id"].map(cluster)
    for table in (staged, plain):
        check_parts(table["part"], table["id"].map(cluster), "the choice of a step")
    difference, drawn = paired_differences(staged, plain, group, cross_fitted_f1, repeats, seed)
    low, high = quantiles(drawn)
    return {"difference": difference, "lo": low, "hi": high}


def compare_thresholds(table: pd.DataFrame, cluster: pd.Series, seed: int) -> dict[str, float]:
    """F1 of thresholds per language less that of one threshold, both cross-fitted, with its interval by query group.

    `table` is of `cross_fit_decision`. Keys: `difference`, `lo`, `hi`. Raises LeakError where a query lies in several parts.
    """
    check_parts(table["part"], table["id"].map(cluster), "the choice of thresholds")
    label, part = table["label"].to_numpy(dtype=float), table["part"].to_numpy()
    probability = table["probability"].to_numpy()

    def gain(weight: np.ndarray) -> float:
        scores = []
        for per_language in (True, False):
            thresholds = cross_fitted_thresholds(table, part, weight, per_language, fit_threshold)
            scores.append(weighted_f1(label, (probability >= thresholds).astype(float), weight))
        return scores[0] - scores[1]

    repeats = min(300, choose_repeats(8 * len(table)))
    low, high = quantiles([gain(drawn) for drawn in draw_weights(table["id"].map(cluster), repeats, seed)])
    return {"difference": gain(np.ones(len(table))), "lo": low, "hi": high}
