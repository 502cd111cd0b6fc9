"""How well suspect labels are found: against those that the embedded data turned over on purpose."""

from collections.abc import Mapping

import pandas as pd

from utils.ablations.arms import SEEN_ROWS, Splits
from utils.core.paths import Run
from utils.core.recipe import load_all
from utils.core.schema import SCORE_COLUMNS
from utils.data.tables import read_table
from utils.evaluation.label_noise import find_suspects, measure_finding

BASELINES, CHAMPION = "baselines, training rows", "champion, validation rows"


def find_in_champion(run: Run, task: str) -> tuple[pd.Series, frozenset[int]] | None:
    """The ids of the champion's out-of-fold rows and those of the suspects among them; None before notebook 06."""
    recipes = load_all(run.tapt / "final" / task)
    path = run.final / task / recipes[0].name / "oof.parquet" if recipes else None
    if path is None or not path.exists():
        return None
    table = read_table(path, SCORE_COLUMNS)
    return table["id"], frozenset(table["id"][find_suspects(table["label"], table["probability"])])


def measure_finders(splits: Splits, run: Run, planted: Mapping[str, set[int] | None]) -> pd.DataFrame:
    """For each task and finder: rows searched, suspects, and against the planted ids, where these are known, precision and recall.

    `baselines` found what the arms `dropped` and `relabelled` use. `champion` is the run's final network on its validation rows: what a
    better finder finds.
    """
    rows = {}
    for task, split in splits[SEEN_ROWS].items():
        found = {BASELINES: (split.searched, split.data.suspects or frozenset()), CHAMPION: find_in_champion(run, task)}
        for finder, pair in found.items():
            if pair is not None:
                ids, suspects = pair
                rows[task, finder] = {"rows": len(ids), "suspects": len(suspects)}
                if (wrong := planted.get(task)) is not None:
                    rows[task, finder] = measure_finding(ids.isin(suspects).to_numpy(), ids.isin(wrong).to_numpy())
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["task", "finder"])
