"""What do shared packs and the order of the fields do to F1? The experiment behind `share_rows` and `query_first`.

    python benchmarks/sharing.py [--quick] [--only ARM ...]

Each arm trains Gemma-3-270M on rows of the embedded sample and answers its test rows, once a seed. `random` deals rows singly, so
that a step holds them as they come; `grouped` puts up to `share_rows` rows that begin alike into one step. The interval of a
difference in F1, each side at its own best threshold, is the 95 % bootstrap over whole queries, the same draw for both sides
and all seeds. Arms that are done are kept in `runs/sharing` and not trained again. Prints one JSON object a line.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from utils import models, profiles, tokens, weights
from utils.data import cap_queries, read_solution, read_table, write_table
from utils.metrics import auc, best_threshold, f1
from utils.paths import ROOT
from utils.recipe import Recipe, fingerprint
from utils.sample import open_folder
from utils.score import predict
from utils.train import fit

SEEDS = (0, 1, 2)
DRAWS = 1000


@dataclass(frozen=True)
class Arm:
    """One way to lay out the same rows."""

    name: str
    task: str
    query_first: bool
    share_rows: int
    rows: int  # training rows
    answers: int  # test rows; 0 = all

    def recipe(self, seed: int) -> Recipe:
        rung = next(rung for rung in profiles.LAPTOP.recipes(self.task) if rung.family == "gemma")
        return rung.with_(
            query_first=self.query_first, share_rows=self.share_rows, rows=self.rows, epochs=1.0, seed=seed
        )


ARMS = (
    Arm("QC-target-grouped", "QC", False, 8, 2000, 0),
    Arm("QC-target-random", "QC", False, 1, 2000, 0),
    Arm("QC-query-grouped", "QC", True, 8, 2000, 0),
    Arm("QI-query-grouped", "QI", True, 8, 800, 800),
    Arm("QI-target-grouped", "QI", False, 8, 800, 800),
)
PAIRS = (  # what is asked: (left, right), the difference is left minus right
    ("QC-target-random", "QC-target-grouped"),
    ("QC-query-grouped", "QC-target-grouped"),
    ("QI-query-grouped", "QI-target-grouped"),
)


def answer(arm: Arm, seed: int, tables: dict[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """`id, query, label, probability` of the test rows, from one training."""
    recipe = arm.recipe(seed)
    kept = ROOT / "runs" / "sharing" / f"{arm.name}-{seed}-{fingerprint(recipe, str(arm.answers))}.parquet"
    if kept.exists():
        return read_table(kept)
    folder = weights.resolve(recipe.model)
    tokenizer = models.load_tokenizer(folder)
    teachers = cap_queries(tables["train", arm.task], recipe.rows, seed)
    test = cap_queries(tables["test", arm.task], arm.answers, 0)
    network = models.make_trainable(models.load_network(recipe, folder), recipe)
    with tempfile.TemporaryDirectory() as place:
        rows = tokens.encode(teachers, arm.task, tokenizer, recipe, encoder=False)
        title = f"{arm.name} seed {seed}"
        label, pad_id = teachers["label"].to_numpy(), tokenizer.pad_token_id
        fit(network, rows, label, recipe, pad_id, Path(place), "", title, "lines", save_seconds=1e9)
    rows = tokens.encode(test, arm.task, tokenizer, recipe, encoder=False)
    found = predict(network.eval(), rows, recipe.score_tokens, pad_id, title, "lines")
    table = test[["id", "query", "label"]].assign(probability=found)
    write_table(table, kept)
    return table


def best_f1(table: pd.DataFrame, threshold: float) -> float:
    return f1(table["label"], (table["probability"] >= threshold).astype(int))


def difference(left: list[pd.DataFrame], right: list[pd.DataFrame]) -> tuple[float, float, float]:
    """Mean over seeds of F1 left minus right, and its interval by whole queries."""
    cuts = [[best_threshold(t["label"], t["probability"])[0] for t in side] for side in (left, right)]
    rows_of = list(left[0].groupby("query").indices.values())

    def gap(chosen: np.ndarray) -> float:
        scores = [
            [best_f1(t.iloc[chosen], cut) for t, cut in zip(s, c, strict=True)]
            for s, c in zip((left, right), cuts, strict=True)
        ]
        return float(np.mean(scores[0]) - np.mean(scores[1]))

    rng = np.random.default_rng(0)
    draws = [
        gap(np.concatenate([rows_of[n] for n in rng.integers(0, len(rows_of), len(rows_of))])) for _ in range(DRAWS)
    ]
    return gap(np.arange(len(left[0]))), *np.quantile(draws, [0.025, 0.975]).tolist()


def read_tables() -> dict[tuple[str, str], pd.DataFrame]:
    """Train and labelled test rows of the embedded sample, cleaned and translated as the road does it."""
    from packing import read_sample

    folder, _ = open_folder("", profiles.LAPTOP.sample_rows)
    tables = read_sample(("train", "test"))
    for (split, task), table in tables.items():
        if split == "test":
            tables[split, task] = table.merge(
                read_solution(folder, split, task)[["id", "label"]], on="id", validate="one_to_one"
            )
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(description="F1 of shared packs and of the order of the fields, with intervals.")
    parser.add_argument("--quick", action="store_true", help="few rows, one seed: a look, no measurement")
    parser.add_argument("--only", nargs="*", default=[], metavar="ARM", help="train these arms, print no comparison")
    asked = parser.parse_args()
    seeds = SEEDS[:1] if asked.quick else SEEDS
    arms = {arm.name: replace(arm, rows=32, answers=60) if asked.quick else arm for arm in ARMS}
    tables = read_tables()
    names = asked.only or list(arms)
    done = {name: [answer(arms[name], seed, tables) for seed in seeds] for name in names}
    for name, found in done.items():
        scores = [best_threshold(t["label"], t["probability"])[1] for t in found]
        areas = [auc(t["label"], t["probability"]) for t in found]
        print(json.dumps({"arm": name, "f1": [round(s, 4) for s in scores], "auc": [round(a, 4) for a in areas]}))
    for left, right in PAIRS if not asked.only else ():
        middle, low, high = difference(done[left], done[right])
        print(
            json.dumps(
                {"f1_of": left, "minus": right, "mean": round(middle, 4), "low": round(low, 4), "high": round(high, 4)}
            )
        )


if __name__ == "__main__":
    main()
