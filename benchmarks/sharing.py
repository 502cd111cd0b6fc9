"""The effect of grouped rows and of the order of the fields on F1: the experiment behind `share_rows` and `query_first`.

    python benchmarks/sharing.py [--quick] [--only ARM ...]

Each arm trains Gemma-3-270M on rows of the embedded sample and answers its test rows, once for each seed. `random` draws the rows
of a step singly; `grouped` puts up to `share_rows` rows with a common prefix into one step. The 95 % interval of a difference
in F1, each arm at its own best threshold, is a bootstrap over whole queries with the same draws for both arms and all seeds.
Results are stored in `runs/sharing` and reused. Prints one JSON object per line.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from cases import read_sample

from utils.core.paths import ROOT
from utils.core.recipe import Recipe, fingerprint
from utils.data.raw import read_solution
from utils.data.tables import read_table, sample_queries, write_table
from utils.evaluation.intervals import cross_fitted_f1, paired_differences, quantiles
from utils.evaluation.metrics import auc, f1
from utils.evaluation.thresholds import cross_fit
from utils.models import build, trained, weights
from utils.profiles.laptop import LAPTOP
from utils.sample.dataset import open_folder
from utils.training import engines, tokens
from utils.training.loop import fit
from utils.training.predict import predict

SEEDS = (0, 1, 2)
DRAWS = 1000  # bootstrap repetitions


@dataclass(frozen=True)
class Arm:
    """One layout of the same rows."""

    name: str
    task: str
    query_first: bool
    share_rows: int
    rows: int  # training rows
    answers: int  # test rows; 0 = all

    def recipe(self, seed: int) -> Recipe:
        """The laptop profile's Gemma recipe of the task with this arm's layout."""
        candidate = next(candidate for candidate in LAPTOP.recipes(self.task) if candidate.family == "gemma")
        layout = {"query_first": self.query_first, "share_rows": self.share_rows}
        return candidate.with_(**layout, rows=self.rows, epochs=1.0, seed=seed)


ARMS = (
    Arm("QC-target-grouped", "QC", False, 8, 2000, 0),
    Arm("QC-target-random", "QC", False, 1, 2000, 0),
    Arm("QC-query-grouped", "QC", True, 8, 2000, 0),
    Arm("QI-query-grouped", "QI", True, 8, 800, 800),
    Arm("QI-target-grouped", "QI", False, 8, 800, 800),
)
PAIRS = (  # comparisons (left, right); the difference is left minus right
    ("QC-target-random", "QC-target-grouped"),
    ("QC-query-grouped", "QC-target-grouped"),
    ("QI-query-grouped", "QI-target-grouped"),
)


def answer(arm: Arm, seed: int, tables: dict[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """`id, query, label, probability` of the test rows from one training, stored and reused; `tables`: (split, task) -> rows."""
    recipe = arm.recipe(seed)
    path = (
        ROOT / "runs" / "sharing" / f"{arm.name}-{seed}-{fingerprint(recipe, str(arm.rows), str(arm.answers))}.parquet"
    )
    if path.exists():
        return read_table(path)
    folder = weights.resolve(recipe.model)
    tokenizer = build.load_tokenizer(folder)
    train = sample_queries(tables["train", arm.task], recipe.rows, seed)
    test = sample_queries(tables["test", arm.task], arm.answers, 0)
    network = trained.make_trainable(build.load_network(recipe, folder), recipe)
    with tempfile.TemporaryDirectory() as checkpoint:
        rows = tokens.encode(train, arm.task, tokenizer, recipe, encoder=False)
        title = f"{arm.name} seed {seed}"
        label, pad_id = train["label"].to_numpy(), tokenizer.pad_token_id
        fit(
            engines.start(network, recipe),
            rows,
            label,
            recipe,
            pad_id,
            Path(checkpoint),
            "",
            title,
            "lines",
            save_seconds=1e9,
        )
    rows = tokens.encode(test, arm.task, tokenizer, recipe, encoder=False)
    probability = predict(network.eval(), rows, recipe.score_tokens, pad_id, title, "lines")
    table = test[["id", "query", "label"]].assign(probability=probability)
    write_table(table, path)
    return table


def difference(left: list[pd.DataFrame], right: list[pd.DataFrame]) -> tuple[float, float, float]:
    """Mean over seeds of F1 left minus right, and the ends of its 95 % interval by query; one table for each seed.

    Thresholds are cross-fitted; every repeat draws the same queries for all seeds and both sides.
    """
    changes = []
    for one, other in zip(left, right, strict=True):
        tables = [cross_fit(table, table["query"], 0) for table in (one, other)]
        changes.append(paired_differences(*tables, one["query"], cross_fitted_f1, DRAWS, 0))
    low, high = quantiles(np.mean([values for _, values in changes], axis=0))
    return float(np.mean([change for change, _ in changes])), low, high


def read_tables() -> dict[tuple[str, str], pd.DataFrame]:
    """Training rows and labelled test rows of the embedded sample, cleaned and translated as in the pipeline."""
    folder, _ = open_folder("", LAPTOP.sample_rows)
    tables = read_sample(("train", "test"))
    for (split, task), table in tables.items():
        if split == "test":
            labels = read_solution(folder, split, task)[["id", "label"]]
            tables[split, task] = table.merge(labels, on="id", validate="one_to_one")
    return tables


def main() -> None:
    """The command: train the arms, print their scores and the differences."""
    parser = argparse.ArgumentParser(description="F1 of grouped rows and of the order of the fields, with intervals.")
    parser.add_argument("--quick", action="store_true", help="few rows and one seed: no measurement")
    parser.add_argument("--only", nargs="*", default=[], metavar="ARM", help="train these arms, print no comparison")
    arguments = parser.parse_args()
    seeds = SEEDS[:1] if arguments.quick else SEEDS
    arms = {arm.name: replace(arm, rows=32, answers=60) if arguments.quick else arm for arm in ARMS}
    tables = read_tables()
    names = arguments.only or list(arms)
    answers = {name: [answer(arms[name], seed, tables) for seed in seeds] for name in names}
    for name, runs in answers.items():
        fitted = [cross_fit(table, table["query"], 0) for table in runs]
        scores = [round(f1(table["label"], table["prediction"]), 4) for table in fitted]
        areas = [round(auc(table["label"], table["probability"]), 4) for table in runs]
        print(json.dumps({"arm": name, "f1": scores, "auc": areas}))
    for left, right in PAIRS if not arguments.only else ():
        mean, low, high = (round(value, 4) for value in difference(answers[left], answers[right]))
        print(json.dumps({"f1_of": left, "minus": right, "mean": mean, "low": low, "high": high}))


if __name__ == "__main__":
    main()
