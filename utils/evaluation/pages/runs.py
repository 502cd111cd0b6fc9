"""What the folders of all runs say of their settings, scores and state; a broken or half-finished run is no error."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from utils.core.paths import Run, index_page, name_problem
from utils.core.schema import TASKS
from utils.evaluation import leaderboard
from utils.evaluation.pages import document

UNCOMPARED = ("name", "task", "fingerprint")  # keys of a saved recipe that are no settings


@dataclass(frozen=True)
class Score:
    """The ensemble's scores of a task on its headline split, as the page shows them."""

    split: str
    f1: str
    interval: str
    auc: str


@dataclass(frozen=True)
class Facts:
    """What the index says of a run. `problem` is why it counts as unfinished, empty where it is finished."""

    name: str
    settings: dict[str, str]  # profile, overrides, data (the folder's name), data hash
    moment: datetime
    problem: str
    scores: dict[str, Score]
    recipes: dict[str, dict[str, str]]  # "task · recipe" of the final trainings -> field -> value
    figures: tuple[str, ...]  # tasks whose figure of F1 by language exists
    report: bool  # whether there is one


def without_folders(text: str) -> str:
    """A text in which absolute paths are cut to their last name: a page may be handed on, a machine's folders need not."""
    return re.sub(r"""(?<![^\s=,;"'(\[])[~/][^\s,;"')\]]*""", lambda path: "…/" + Path(path[0]).name, text)


def read_scores(run: Run) -> pd.DataFrame:
    """`scores.csv` of a run. Raises OSError or ValueError where it cannot be read."""
    return pd.read_csv(run.ensemble / "scores.csv", keep_default_na=False, na_values=[""])


def _read(path: Path, *keys: str) -> dict[str, Any]:
    """An object within a JSON file, by its keys; empty where the file cannot be read or holds something else there."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else {}


def _text(value: Any) -> str:
    """A setting's value as the page shows it."""
    return without_folders(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def _settings(run: Run) -> dict[str, str]:
    """What is shown and compared of `run.json`: nothing that names a machine. Empty where it cannot be read."""
    saved = _read(run.settings)
    if not saved:
        return {}
    folder = Path(str(saved.get("data", ""))).name
    overrides = "\n".join(_text(saved.get("overrides", "")).split())  # one a line
    hash_ = str(saved.get("data_hash", ""))
    return {"profile": _text(saved.get("profile", "")), "overrides": overrides, "data": folder, "data hash": hash_}


def _recipes(run: Run) -> dict[str, dict[str, str]]:
    """The recipes of the final trainings that were saved."""
    recipes = {}
    for task in TASKS:
        for path in sorted((run.final / task).glob("*/recipe.json")):
            fields = {key: _text(value) for key, value in _read(path).items() if key not in UNCOMPARED}
            if fields:
                recipes[f"{task} · {path.parent.name}"] = fields
    return recipes


def _score(scores: pd.DataFrame, task: str) -> Score | None:
    """The ensemble's headline of a task; None where it has none."""
    _, rows = leaderboard.headline(scores, task)
    rows = rows[rows["recipe"] == "ensemble"]
    if rows.empty:
        return None
    row = rows.iloc[0]
    interval = document.interval(row["f1_lo"], row["f1_hi"])
    return Score(
        str(row["split"]), document.number(row["f1"], "{:.4f}"), interval, document.number(row["auc"], "{:.3f}")
    )


def _scores(run: Run) -> dict[str, Score]:
    """Task -> score, of the tasks that have one; empty where `scores.csv` is missing or broken."""
    try:
        table = read_scores(run)
        scores = {task: _score(table, task) for task in TASKS if task in set(table["task"])}
    except (OSError, ValueError, KeyError, TypeError):  # whatever a half-written or older file may hold
        return {}
    return {task: score for task, score in scores.items() if score}


def _moment(text: Any) -> datetime | None:
    """A point in time as papermill notes it; None where it noted none."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _executions(run: Run) -> Iterator[tuple[str, datetime | None, datetime | None]]:
    """Name, start and end of each executed notebook up to the one that scores; no end where it failed or still runs."""
    for path in sorted(run.notebooks.glob("[0-9][0-9]_*.ipynb")):
        record = _read(path, "metadata", "papermill")
        if record and path.name[:2] <= run.ensemble.name[:2]:
            end = None if record.get("exception") else _moment(record.get("end_time"))
            yield path.stem, _moment(record.get("start_time")), end


def _problem(run: Run, executions: list[tuple[str, datetime | None, datetime | None]], scored: bool) -> str:
    """Why a run counts as unfinished, or as scored before its latest changes; empty where it is finished."""
    if not _read(run.settings):
        return "run.json is missing or broken"
    for name, _, end in executions:
        if end is None:
            return f"{name} did not end"
    if not scored:
        return "no scores"
    number = run.ensemble.name[:2]
    ends = [end for name, _, end in executions if name[:2] == number and end]
    later = [name for name, start, _ in executions if ends and name[:2] < number and start and start > ends[0]]
    return f"{later[0]} ran again after the scores were made" if later else ""


def _written(path: Path) -> float | None:
    """When a file or folder was written last, in seconds; None where it is missing or may not be looked at."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def figure_file(run: Run, task: str) -> Path:
    """The figure of F1 by language."""
    return run.ensemble / f"f1_by_language_{task}.png"


def read_facts(run: Run) -> Facts:
    """What the index says of a run, whatever state its folder is in."""
    executions, scores = list(_executions(run)), _scores(run)
    ends = [end for _, _, end in executions if end]
    files = (run.ensemble / "scores.csv", run.settings, run.root)
    written = next((moment for moment in map(_written, files) if moment is not None), 0)
    return Facts(
        name=run.name,
        settings=_settings(run),
        moment=max(ends, default=datetime.fromtimestamp(written, UTC)),
        problem=_problem(run, executions, bool(scores)),
        scores=scores,
        recipes=_recipes(run),
        figures=tuple(task for task in TASKS if _written(figure_file(run, task))),
        report=_written(run.report) is not None,
    )


def read_all() -> list[Facts]:
    """The facts of every run's folder beside the index: finished runs first, the newest on top."""
    folder = index_page().parent
    names = [path.name for path in folder.glob("*") if path.is_dir() and not name_problem(path.name)]
    return sorted(
        (read_facts(Run(name)) for name in names), key=lambda facts: (bool(facts.problem), -facts.moment.timestamp())
    )
