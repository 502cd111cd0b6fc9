"""The ensemble: weights, calibration and thresholds, fitted on out-of-fold tables and applied to any table.

Languages of the training data are decided by what `query` validation shows, all others by what `leave-language`
validation shows: answers for a language from networks that never saw it.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from utils.core.errors import DataError
from utils.core.files import write_json
from utils.core.recipe import name_problem
from utils.ensemble.consistency import make_consistent
from utils.ensemble.second_stage import Relations, SecondStage, fit_second_stage, relate
from utils.ensemble.stack import fit_stack
from utils.evaluation.metrics import log_odds, sigmoid
from utils.evaluation.thresholds import fit_threshold

Array = NDArray[np.float64]
Members = dict[str, pd.DataFrame]  # recipe -> its table
Scale = tuple[float, float]  # factor and shift of log-odds
UNSCALED: Scale = (1.0, 0.0)
SEEN, UNSEEN = "seen", "unseen"


class Steps(NamedTuple):
    """What is done with the answers to a query's rows together, after the members' mean is calibrated."""

    consistent: bool = False
    second_stage: bool = False


NO_STEPS = Steps()


@dataclass(frozen=True)
class Decision:
    """How rows are answered: the members' weights, which sum to 1, calibration of their mean, a second stage or none, the threshold."""

    weights: dict[str, float]
    intervals: dict[str, tuple[float, float]]  # 95 %, of the weights
    calibration: tuple[float, float]  # slope and intercept, applied to the weighted mean of the members' log-odds
    threshold: float
    second_stage: SecondStage | None = None
    consistent: bool = False  # whether a path is at least as relevant as the query's paths below it

    @property
    def reads_queries(self) -> bool:
        """Whether it reads the rows of a query together, for which it needs their texts."""
        return self.consistent or self.second_stage is not None

    def probability(self, members: dict[str, Array], relations: Relations | None = None) -> Array:
        """Probabilities `[rows]` from the members' log-odds `[rows]`; `relations` tell which rows belong together.

        Raises ValueError where it is not told.
        """
        slope, intercept = self.calibration
        mean = np.sum([weight * members[name] for name, weight in self.weights.items()], axis=0)
        values = slope * mean + intercept
        if relations is None and self.reads_queries:
            raise ValueError("this decision reads the rows of a query together, which needs the texts of the rows")
        if self.consistent:
            values = make_consistent(values, relations.parent)
        if self.second_stage is not None:
            values = self.second_stage.log_odds(values, relations)
        return sigmoid(values)


@dataclass(frozen=True)
class Ensemble:
    """How one task's members become an answer. A member is a recipe; its folds are averaged beforehand."""

    languages: tuple[str, ...]  # of the training data: these are decided by `seen`, all others by `unseen`
    decisions: dict[str, Decision]  # seen, unseen
    language_thresholds: dict[str, float] = field(default_factory=dict)  # empty where one threshold is used
    # Member -> factor and shift of its log-odds: for its mean over folds (`widen`), and for unseen languages (`match`).
    scales: dict[str, Scale] = field(default_factory=dict)
    unseen_scales: dict[str, Scale] = field(default_factory=dict)
    choices: dict[str, dict[str, float]] = field(default_factory=dict)  # what was compared, with its interval

    @property
    def members(self) -> tuple[str, ...]:
        """The recipes with a weight in one of the decisions."""
        return tuple(dict.fromkeys(name for decision in self.decisions.values() for name in decision.weights))


def save_ensembles(ensembles: dict[str, Ensemble], translation: str, path: Path) -> None:
    """Write the ensemble of each task as JSON, with the name of the translation backend that it was fitted on.

    Keys of a task: `members`, and by decision (`seen`, `unseen`) `weights`, `intervals`, `calibration`,
    `thresholds`, `second_stages`, `consistent`; then the ensemble's other fields.
    """
    write_json(path, {task: _to_json(ensemble) | {"translation": translation} for task, ensemble in ensembles.items()})


def _to_json(ensemble: Ensemble) -> dict[str, Any]:
    content = {"members": ensemble.members, **asdict(ensemble)}
    decisions = content.pop("decisions")
    names = {
        "weights": "weights",
        "intervals": "intervals",
        "calibration": "calibration",
        "thresholds": "threshold",
        "second_stages": "second_stage",
        "consistent": "consistent",
    }
    by_field = {
        plural: {kind: decision[name] for kind, decision in decisions.items()} for plural, name in names.items()
    }
    return content | by_field


def load_ensemble(path: Path, task: str) -> tuple[Ensemble, str]:
    """A task's ensemble and the name of its translation backend. Raises KeyError for a task that the file lacks, DataError for a member
    that no recipe's name is: it would be read from another folder.
    """
    content = json.loads(path.read_text("utf-8"))[task]
    decisions = {}
    for kind, weights in content["weights"].items():
        if problems := [f"{name!r}: {problem}" for name in weights if (problem := name_problem(name))]:
            raise DataError(f"{path}:1: member {problems[0]}; run notebook 07 again")
        pairs = content["intervals"][kind].items()
        intervals = {name: tuple(float("nan") if end is None else end for end in pair) for name, pair in pairs}
        stage = content["second_stages"][kind]
        decisions[kind] = Decision(
            weights, intervals, tuple(content["calibration"][kind]), content["thresholds"][kind],
            None if stage is None else SecondStage(**stage), content["consistent"][kind],
        )  # fmt: skip
    scales = [{name: tuple(pair) for name, pair in content[key].items()} for key in ("scales", "unseen_scales")]
    rest = (content["language_thresholds"], *scales, content["choices"])
    return Ensemble(tuple(content["languages"]), decisions, *rest), content["translation"]


def align(members: Members) -> tuple[pd.DataFrame, dict[str, Array]]:
    """The rows that all members answer, as in the first member, and each member's log-odds for them, joined by id.

    Raises ValueError where a probability is not a number.
    """
    columns = []
    for name, table in members.items():
        if lost := int(table["probability"].isna().sum()):
            raise ValueError(
                f"{name}: {lost} probabilities are not numbers; remove its folder in 06_final and train it again"
            )
        columns.append(table.set_index("id")["probability"].rename(name))
    joined = pd.concat(columns, axis=1, join="inner")
    first = next(iter(members.values()))
    first = first[first["id"].isin(joined.index)].reset_index(drop=True)
    return first, {name: log_odds(joined.loc[first["id"], name]) for name in members}


def fit_decision(
    members: Members, cluster: pd.Series, texts: pd.DataFrame | None = None, steps: Steps = NO_STEPS
) -> Decision:
    """Fit weights, calibration and threshold on labelled tables; `cluster` maps id -> query group.

    `steps` says what is done with the rows of a query together, which needs their `texts` (`second_stage.TEXTS`).
    """
    table, values = align(members)
    stack = fit_stack(values, table["label"], table["id"].map(cluster))
    total = sum(stack.weights.values())
    weights = {name: weight / total for name, weight in stack.weights.items()}
    intervals = {name: (low / total, high / total) for name, (low, high) in stack.intervals.items()}
    decision = Decision(weights, intervals, (total, stack.intercept), 0.5, consistent=steps.consistent)
    relations = relate(table["id"], texts) if any(steps) else None
    if steps.second_stage:
        first = log_odds(decision.probability(values, relations))
        decision = replace(decision, second_stage=fit_second_stage(first, relations, table["label"]))
    threshold, _ = fit_threshold(table["label"], decision.probability(values, relations))
    return replace(decision, threshold=threshold)


def widen(folds: list[pd.DataFrame], mean: pd.DataFrame) -> Scale:
    """What makes the mean of several folds as decided as calibration expects, fitted on answers of single folds.

    The log-odds of a fold are those that all folds agree on, of variance s, plus noise of its own, of variance n.
    Calibration on single folds multiplies them by s / (s + n), the mean of k folds wants s / (s + n / k). The ratio is
    that of the variances: a fold's to the mean's. The mean stays where it is. One fold needs nothing.
    """
    values = log_odds(mean["probability"])
    if len(folds) < 2 or np.ptp(values) == 0:
        return UNSCALED
    single = np.mean([np.var(log_odds(table["probability"])) for table in folds])
    factor = float(single / np.var(values))
    return factor, float(values.mean()) * (1 - factor)


def match(held_out: pd.DataFrame, unseen: pd.DataFrame) -> Scale:
    """What brings a final's log-odds on unseen languages to those of its held-out recipe, on which they were calibrated.

    Another network, on more rows and on one language more, is more decided and leans another way. Calibration knows
    only what the held-out networks answer, so the final's log-odds get their mean and their standard deviation: relevant
    rows are taken to be as frequent in unseen languages as in those held out. No label is used.
    """
    values, expected = log_odds(unseen["probability"]), log_odds(held_out["probability"])
    if len(values) < 2 or np.std(values) == 0 or np.std(expected) == 0:
        return UNSCALED
    factor = float(np.std(expected) / np.std(values))
    return factor, float(expected.mean() - factor * values.mean())


def with_scales(ensemble: Ensemble, scales: dict[str, Scale], unseen: dict[str, Scale] | None = None) -> Ensemble:
    """The ensemble with what its members' answers need, from `widen` and, for unseen languages, from `match`."""
    names = ensemble.members
    own = {name: pair for name, pair in (unseen or {}).items() if name in names}
    return replace(ensemble, scales={name: scales[name] for name in names}, unseen_scales=own)


def rescale(values: dict[str, Array], scales: dict[str, Scale]) -> dict[str, Array]:
    """The members' log-odds, each with its scale applied."""
    pairs = {name: scales.get(name, UNSCALED) for name in values}
    return {name: factor * values[name] + shift for name, (factor, shift) in pairs.items()}


def decide(table: pd.DataFrame, ensemble: Ensemble) -> pd.DataFrame:
    """`table` (`language, probability`) with the `threshold` and the `prediction`, 0 or 1, of each row."""
    in_training = table["language"].isin(ensemble.languages)
    by_kind = {kind: decision.threshold for kind, decision in ensemble.decisions.items()}
    common = np.where(in_training, by_kind[SEEN], by_kind[UNSEEN])
    own = table["language"].map(ensemble.language_thresholds).astype(float)
    thresholds = own.fillna(pd.Series(common, index=table.index))
    return table.assign(threshold=thresholds, prediction=(table["probability"] >= thresholds).astype(int))


def answer(members: Members, ensemble: Ensemble, texts: pd.DataFrame | None = None) -> pd.DataFrame:
    """The members' tables of one split, combined: `probability`, `threshold` and `prediction` of each row.

    `texts` holds those of the split (`second_stage.TEXTS`), which a second stage reads.
    """
    table, values = align({name: members[name] for name in ensemble.members})
    relations = None if texts is None else relate(table["id"], texts)
    in_training = table["language"].isin(ensemble.languages).to_numpy()
    scaled = {SEEN: ensemble.scales, UNSEEN: ensemble.scales | ensemble.unseen_scales}
    seen, unseen = (
        ensemble.decisions[kind].probability(rescale(values, scales), relations) for kind, scales in scaled.items()
    )
    return decide(table.assign(probability=np.where(in_training, seen, unseen)), ensemble)
