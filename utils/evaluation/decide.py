"""Ensemble weights, calibration and thresholds: fitted on out-of-fold tables, applied to any table."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from utils.core.files import write_json
from utils.evaluation.metrics import best_threshold, calibrate, constant_f1, f1, fit_calibration

PULL = 2000  # weight, in rows, of the task's threshold when a language's threshold is shrunk towards it
GAIN = 0.002  # per-language thresholds are used if their cross-checked F1 is higher by at least this


@dataclass(frozen=True)
class Ensemble:
    """How one task's members become an answer. A member is a recipe; its folds are averaged beforehand."""

    weights: dict[str, float]
    calibration: dict[str, tuple[float, float]]  # slope and intercept on the log-odds
    threshold: float
    language_thresholds: dict[str, float]  # empty where one threshold is used
    checked_f1: dict[str, float]  # of one threshold and of per-language thresholds, from `cross_check`


def save_ensembles(ensembles: dict[str, Ensemble], translation: str, path: Path) -> None:
    """Write the ensemble of each task as JSON, with the name of the translation backend that it was fitted on."""
    write_json(path, {task: {**vars(ensemble), "translation": translation} for task, ensemble in ensembles.items()})


def load_ensemble(path: Path, task: str) -> tuple[Ensemble, str]:
    """A task's ensemble and the name of its translation backend. Raises KeyError for a task that the file lacks."""
    content = json.loads(path.read_text("utf-8"))[task]
    translation = content.pop("translation")
    pairs = content["calibration"].items()
    content["calibration"] = {name: (float(slope), float(intercept)) for name, (slope, intercept) in pairs}
    return Ensemble(**content), translation


def member_weights(members: dict[str, pd.DataFrame]) -> dict[str, float]:
    """Weights that sum to 1, in proportion to how far a member's best out-of-fold F1 exceeds the constant answer's.

    Equal weights where no member exceeds it.
    """
    gains = {}
    for name, table in members.items():
        best = best_threshold(table["label"], table["probability"])[1]
        gains[name] = max(0.0, best - constant_f1(table["label"]))
    total = sum(gains.values())
    return {name: gain / total if total else 1 / len(gains) for name, gain in gains.items()}


def combine(
    members: dict[str, pd.DataFrame], weights: dict[str, float], calibration: dict[str, tuple[float, float]]
) -> pd.DataFrame:
    """Weighted mean of the members' calibrated probabilities (linear opinion pool, Stone 1961), joined by id.

    The rows are the ids that all members answer, in the order and with the other columns of the first member.
    """
    columns = []
    for name, table in members.items():
        if lost := int(table["probability"].isna().sum()):
            raise ValueError(
                f"{name}: {lost} probabilities are not numbers; remove its folder in 06_final and train it again"
            )
        values = calibrate(table["probability"], calibration[name]) * weights[name]
        columns.append(pd.Series(values, index=table["id"], name=name))
    mean = pd.concat(columns, axis=1, join="inner").sum(axis=1)
    first = next(iter(members.values()))
    first = first[first["id"].isin(mean.index)]
    return first.assign(probability=first["id"].map(mean)).reset_index(drop=True)


def shrunk_thresholds(table: pd.DataFrame, threshold: float) -> dict[str, float]:
    """Each language's best threshold, shrunk linearly towards the task's: the mean of both, weighted by its rows and `PULL`.

    A language whose labels are all the same gets none.
    """
    thresholds = {}
    for language, rows in table.groupby("language"):
        if rows["label"].nunique() == 2:
            best = best_threshold(rows["label"], rows["probability"])[0]
            thresholds[str(language)] = float((len(rows) * best + PULL * threshold) / (len(rows) + PULL))
    return thresholds


def decide(table: pd.DataFrame, threshold: float, language_thresholds: dict[str, float]) -> np.ndarray:
    """0 or 1 for each row, shape `[rows]`; a language without a threshold of its own takes the task's."""
    thresholds = table["language"].map(language_thresholds).astype(float).fillna(threshold)
    return (table["probability"] >= thresholds).astype(int).to_numpy()


def cross_check(table: pd.DataFrame, queries: pd.Series, seed: int) -> dict[str, float]:
    """F1 of one threshold and of per-language thresholds, fitted on one half of the queries and scored on the other.

    Two-fold cross-validation; `queries` has one query for each row of `table`, in its order. Keys: `one threshold`, `per language`.
    """
    rng = np.random.default_rng(seed)
    distinct = np.sort(queries.unique().astype(str))
    half = set(rng.permutation(distinct)[: len(distinct) // 2])
    first_half = queries.astype(str).isin(half).to_numpy()
    common, by_language = np.zeros(len(table), dtype=int), np.zeros(len(table), dtype=int)
    for mask in (first_half, ~first_half):
        train, validation = table[~mask], table[mask]
        threshold = best_threshold(train["label"], train["probability"])[0]
        common[mask] = decide(validation, threshold, {})
        by_language[mask] = decide(validation, threshold, shrunk_thresholds(train, threshold))
    return {"one threshold": f1(table["label"], common), "per language": f1(table["label"], by_language)}


def fit_ensemble(members: dict[str, pd.DataFrame], queries: pd.Series, seed: int) -> Ensemble:
    """Fit weights, calibration and thresholds on out-of-fold tables (`id, language, label, probability`).

    `queries` maps id -> query; `seed` draws the halves of `cross_check`.
    """
    weights = member_weights(members)
    calibration = {name: fit_calibration(table["label"], table["probability"]) for name, table in members.items()}
    combination = combine(members, weights, calibration)
    threshold, _ = best_threshold(combination["label"], combination["probability"])
    scores = cross_check(combination, combination["id"].map(queries), seed)
    better = scores["per language"] >= scores["one threshold"] + GAIN
    language_thresholds = shrunk_thresholds(combination, threshold) if better else {}
    return Ensemble(weights, calibration, threshold, language_thresholds, scores)


def answer(members: dict[str, pd.DataFrame], ensemble: Ensemble) -> pd.DataFrame:
    """The members' tables of one split, combined, with a `prediction` of 0 or 1 for each row."""
    combination = combine(members, ensemble.weights, ensemble.calibration)
    return combination.assign(prediction=decide(combination, ensemble.threshold, ensemble.language_thresholds))
