"""The transfer matrix: what a network that trained on one task, or on both, answers in each task."""

from collections.abc import Sequence

import pandas as pd

from utils.ablations.arms import BASE, JOINT, OTHER, SEEN_ROWS, name_of
from utils.ablations.results import Source
from utils.core.schema import AUXILIARY
from utils.evaluation.metrics import auc, constant_f1, f1

BOTH, CONSTANT = "both", "nothing"
COLUMNS = ["trained on", "tested on", "f1", "auc", "seeds"]


def measure_transfer(sources: Sequence[Source]) -> pd.DataFrame:
    """F1 (thresholds fitted on other queries of the tested task) and AUC by trained and tested task, `COLUMNS`: the mean over seeds.

    All of a column are evaluated on the same rows. `nothing` answers "relevant" to every row. Empty where the data holds one task.
    """
    rows = []
    for source in sources if len(sources) > 1 else ():
        task, other = source.task, AUXILIARY[source.task]
        names = [name_of(BASE, number, SEEN_ROWS) for number in range(source.seeds)]
        files = {
            task: source.find(BASE, SEEN_ROWS),
            other: [source.folder / other / name / f"{OTHER}.parquet" for name in names],
            BOTH: source.find(JOINT, SEEN_ROWS),
        }
        for trained in sorted(files, key=[*(own.task for own in sources), BOTH].index):
            tables = [source.read(file) for file in files[trained]]
            scores = [(f1(t["label"], t["prediction"]), auc(t["label"], t["probability"])) for t in tables]
            mean = pd.DataFrame(scores).mean()
            rows.append((trained, task, mean[0], mean[1], len(tables)))
        rows.append((CONSTANT, task, constant_f1(tables[0]["label"]), 0.5, 0))
    return pd.DataFrame(rows, columns=COLUMNS)


def show(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """A measure with a row for each trained and a column for each tested task, without the row of `nothing`."""
    table = table[table["trained on"] != CONSTANT]
    return table.pivot_table(index="trained on", columns="tested on", values=measure, sort=False)
