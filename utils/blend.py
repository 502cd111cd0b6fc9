"""Weights, calibration and thresholds from out-of-fold tables; the same numbers applied to any table."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from utils.files import write_json
from utils.metrics import best_threshold, calibrate, constant_f1, f1, fit_calibration

PULL = 2000  # rows that the task's threshold counts for when a language's own is shrunk towards it
GAIN = 0.002  # cross-checked F1 that per-language thresholds must bring to be used


@dataclass(frozen=True)
class Blend:
    """How one task's members become an answer. Members are recipes; a member's folds are averaged first."""

    weights: dict[str, float]
    calibration: dict[str, tuple[float, float]]  # slope and intercept on the log-odds
    threshold: float
    language_thresholds: dict[str, float]  # empty where one threshold serves better


def save_blends(blends: dict[str, Blend], translation: str, path: Path) -> None:
    """Write the blend of each task, and the translation backend whose English they were fitted on."""
    write_json(path, {task: {**vars(found), "translation": translation} for task, found in blends.items()})


def load_blend(path: Path, task: str) -> tuple[Blend, str]:
    """A task's blend and the name of its translation backend."""
    content = json.loads(path.read_text("utf-8"))[task]
    translation = content.pop("translation")
    content["calibration"] = {
        name: (float(slope), float(shift)) for name, (slope, shift) in content["calibration"].items()
    }
    return Blend(**content), translation


def average_folds(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Mean probability of the folds for each id; every table must hold the same ids. `fold` becomes -1."""
    ids = [set(table["id"]) for table in tables]
    if any(found != ids[0] for found in ids):
        raise ValueError("the folds answer different ids; delete the folds' tables and run notebook 06 again")
    columns = [table.set_index("id")["probability"].rename(str(k)) for k, table in enumerate(tables)]
    mean = pd.concat(columns, axis=1).mean(axis=1)
    first = tables[0].drop(columns=["probability", "fold"])
    return first.assign(probability=first["id"].map(mean), fold=-1)


def member_weights(members: dict[str, pd.DataFrame]) -> dict[str, float]:
    """Weights that sum to 1, in proportion to how far a member's out-of-fold F1 rises above the constant answer's."""
    rise = {}
    for name, table in members.items():
        best = best_threshold(table["label"], table["probability"])[1]
        rise[name] = max(0.0, best - constant_f1(table["label"]))
    total = sum(rise.values())
    return {name: value / total if total else 1 / len(rise) for name, value in rise.items()}


def mix(
    members: dict[str, pd.DataFrame], weights: dict[str, float], calibration: dict[str, tuple[float, float]]
) -> pd.DataFrame:
    """Weighted mean of the members' calibrated probabilities, over the ids that all members answer."""
    parts = []
    for name, table in members.items():
        values = calibrate(table["probability"], calibration[name]) * weights[name]
        parts.append(pd.Series(values, index=table["id"], name=name))
    total = pd.concat(parts, axis=1, join="inner").sum(axis=1)
    first = next(iter(members.values()))
    first = first[first["id"].isin(total.index)]
    return first.assign(probability=first["id"].map(total)).reset_index(drop=True)


def shrunk_thresholds(table: pd.DataFrame, threshold: float) -> dict[str, float]:
    """Each language's best threshold, pulled towards the task's by `PULL` rows' weight."""
    found = {}
    for language, rows in table.groupby("language"):
        if rows["label"].nunique() == 2:
            own = best_threshold(rows["label"], rows["probability"])[0]
            found[str(language)] = float((len(rows) * own + PULL * threshold) / (len(rows) + PULL))
    return found


def decide(table: pd.DataFrame, threshold: float, language_thresholds: dict[str, float]) -> np.ndarray:
    """0 or 1 for each row; a language without a threshold of its own takes the task's."""
    cut = table["language"].map(language_thresholds).astype(float).fillna(threshold)
    return (table["probability"] >= cut).astype(int).to_numpy()


def cross_check(table: pd.DataFrame, queries: pd.Series, seed: int) -> tuple[float, float]:
    """F1 of one threshold and of per-language ones, each fitted on half of the queries and judged on the other."""
    rng = np.random.default_rng(seed)
    distinct = np.sort(queries.unique().astype(str))
    half = set(rng.permutation(distinct)[: len(distinct) // 2])
    side = queries.astype(str).isin(half).to_numpy()
    one, own = np.zeros(len(table), dtype=int), np.zeros(len(table), dtype=int)
    for judged in (side, ~side):
        fitted, asked = table[~judged], table[judged]
        threshold = best_threshold(fitted["label"], fitted["probability"])[0]
        one[judged] = decide(asked, threshold, {})
        own[judged] = decide(asked, threshold, shrunk_thresholds(fitted, threshold))
    return f1(table["label"], one), f1(table["label"], own)


def fit(
    members: dict[str, pd.DataFrame], queries: pd.Series, seed: int
) -> tuple[Blend, pd.DataFrame, dict[str, float]]:
    """Fit weights, calibration and thresholds on out-of-fold tables (`id, language, label, probability`).

    `queries` maps id -> query. Returns the blend, its out-of-fold table, and the cross-checked F1 of both kinds of
    threshold.
    """
    weights = member_weights(members)
    calibration = {name: fit_calibration(table["label"], table["probability"]) for name, table in members.items()}
    mixed = mix(members, weights, calibration)
    threshold, _ = best_threshold(mixed["label"], mixed["probability"])
    one, own = cross_check(mixed, mixed["id"].map(queries), seed)
    per_language = shrunk_thresholds(mixed, threshold) if own >= one + GAIN else {}
    checked = {"one threshold": one, "per language": own}
    return Blend(weights, calibration, threshold, per_language), mixed, checked
