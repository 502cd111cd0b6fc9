"""An ensemble fitted on some queries and asked about others: its honest out-of-fold answers, and the choices that they allow."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from utils.ensemble import decide
from utils.ensemble.decide import SEEN, UNSEEN, Decision, Ensemble, Members
from utils.evaluation.intervals import choose_repeats, draw_weights, excludes_zero, quantiles, weighted_f1
from utils.evaluation.thresholds import cross_fitted_thresholds, fit_threshold, shrunk_thresholds, split_queries

PER_LANGUAGE = "thresholds per language"


class FittedEnsemble(NamedTuple):
    """An ensemble, and by kind (`seen`, `unseen`) the answers that were cross-fitted: the honest ones."""

    ensemble: Ensemble
    honest: dict[str, pd.DataFrame]


def cross_fit_decision(members: Members, cluster: pd.Series, seed: int, per_language: bool = False) -> pd.DataFrame:
    """Out-of-fold rows with the `probability`, `threshold` and `prediction` of decisions fitted on other query groups, and their `part`.

    `cluster` maps id -> query group. Weights, calibration and threshold (with `per_language` those of languages, too) are all fitted on
    the other parts.
    """
    table, values = decide.align(members)
    part = split_queries(table["id"].map(cluster), seed)
    probability, threshold = np.empty(len(table)), np.empty(len(table))
    for number in np.unique(part):
        rows = part == number
        others = set(table["id"][~rows])
        train = {name: member[member["id"].isin(others)] for name, member in members.items()}
        decision = decide.fit_decision(train, cluster)
        probability[rows] = decision.probability({name: column[rows] for name, column in values.items()})
        threshold[rows] = decision.threshold
        if per_language:
            own = table["language"][rows].map(fit_language_thresholds(train, decision)).astype(float)
            threshold[rows] = own.fillna(decision.threshold)
    prediction = (probability >= threshold).astype(int)
    return table.assign(probability=probability, threshold=threshold, prediction=prediction, part=part)


def fit_language_thresholds(members: Members, decision: Decision) -> dict[str, float]:
    """The thresholds of languages for the probabilities of a decision, on the rows that it was fitted on."""
    table, values = decide.align(members)
    return shrunk_thresholds(table.assign(probability=decision.probability(values)), decision.threshold)


def fit_ensemble(
    members: Members, held_out: Members, cluster: pd.Series, languages: tuple[str, ...], seed: int
) -> FittedEnsemble:
    """Fit a task's ensemble on out-of-fold tables and, for unseen languages, on tables of languages that were held out.

    `cluster` maps id -> query group, `languages` are those of the training data. Returns the ensemble and its honest answers,
    `cross_fit_decision` by kind (`seen`, `unseen`); without held-out tables, unseen languages are decided as the others.
    """
    decisions = {SEEN: decide.fit_decision(members, cluster)}
    honest = {SEEN: cross_fit_decision(members, cluster, seed)}
    if held_out:
        decisions[UNSEEN] = decide.fit_decision(held_out, cluster)
        honest[UNSEEN] = cross_fit_decision(held_out, cluster, seed)
    else:
        decisions[UNSEEN] = decisions[SEEN]
    ensemble = Ensemble(languages, decisions)
    evidence = compare_thresholds(honest[SEEN], cluster, seed)
    ensemble = replace(ensemble, choices={PER_LANGUAGE: evidence})
    if excludes_zero(evidence):
        ensemble = replace(ensemble, language_thresholds=fit_language_thresholds(members, decisions[SEEN]))
        honest[SEEN] = cross_fit_decision(members, cluster, seed, per_language=True)
    return FittedEnsemble(ensemble, honest)


def compare_thresholds(table: pd.DataFrame, cluster: pd.Series, seed: int) -> dict[str, float]:
    """F1 of thresholds per language less that of one threshold, both cross-fitted, with its interval by query group.

    `table` is of `cross_fit_decision`. Keys: `difference`, `lo`, `hi`.
    """
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
