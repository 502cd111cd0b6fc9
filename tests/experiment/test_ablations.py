"""Ablations: a gain that is there is found, one that is not is called noise, and a switch is judged on the same rows as its rival."""

import numpy as np
import pandas as pd
import pytest

from utils.core.files import write_json
from utils.core.recipe import Recipe
from utils.data.tables import write_table
from utils.evaluation.choices import compare, compare_seeds
from utils.evaluation.metrics import sigmoid
from utils.evaluation.thresholds import cross_fit
from utils.experiment import ablations
from utils.experiment.crossfit import TaskData

ROWS = 480
BASE = Recipe("e5", "xlm-r", "multilingual-e5-small", epochs=2.0, seed=7)
RNG = np.random.default_rng(0)
TRAIN = pd.DataFrame(
    {
        "id": 3 * np.arange(ROWS) + 1, "language": np.array(["en", "es", "fr"])[np.arange(ROWS) // 4 % 3],
        "query": [f"q{number // 4}" for number in range(ROWS)], "query_en": "", "target": [f"t{number}" for number in range(ROWS)],
        "label": RNG.integers(0, 2, ROWS), "query_group": [f"q{number // 4}" for number in range(ROWS)], "fold": 0, "category_group": "",
    }
)  # fmt: skip
DATA = TaskData("QI", TRAIN)
GAINS = {"no translation": -1.2, "expanded": 1.5}  # how much better the log-odds tell a relevant row, by arm


def answers(arm: str, seed: int) -> pd.DataFrame:
    """The same noise for all arms of a seed."""
    noise = np.random.default_rng(seed).normal(size=ROWS)
    odds = (1.8 + GAINS.get(arm, 0.0)) * (TRAIN["label"] - 0.5) + noise
    return TRAIN[["id", "language", "label"]].assign(probability=sigmoid(odds), fold=0)


@pytest.fixture
def folder(tmp_path):
    """What the trainings of three seeds leave."""
    for recipe in ablations.make_recipes(BASE, TRAIN, 100):
        arm, seed = next(
            (arm, seed)
            for arm in ablations.ARMS
            for seed in range(3)
            if recipe.name == ablations.name_of(arm, seed, recipe.scheme)
        )
        own = tmp_path / "QI" / recipe.name
        write_table(answers(arm, seed).sample(frac=1.0, random_state=seed), own / "oof.parquet")
        write_json(own / f"fold{recipe.folds[0]}" / "facts.json", {"seconds": 30.0 if arm == "expanded" else 20.0})
    return tmp_path


def test_every_arm_differs_from_the_base_in_its_switch_alone() -> None:
    recipes = ablations.make_recipes(BASE, TRAIN, 100)
    assert len({recipe.name for recipe in recipes}) == len(recipes) == 2 * 3 * len(ablations.ARMS)
    by_name = {recipe.name: recipe for recipe in recipes}
    for scheme in ("query", "leave-language"):
        for seed in range(3):
            base = by_name[ablations.name_of("base", seed, scheme)]
            assert (base.scheme, base.seed, base.rows, base.variant_of) == (scheme, 7 + seed, 100, "e5")
            for arm, changes in ablations.ARMS.items():
                own = by_name[ablations.name_of(arm, seed, scheme)]
                expected = {"epochs": 3.0} if arm == "longer" else changes
                assert own == base.with_(name=own.name, **expected)
    alone = TRAIN.assign(language="en")
    assert {recipe.scheme for recipe in ablations.make_recipes(BASE, alone, 100)} == {"query"}


def test_each_switch_compares_arms_that_are_there() -> None:
    made = {ablations.SECOND_STAGE, ablations.SEED_MEAN}
    assert {arm for switch in ablations.SWITCHES.values() for arm in (switch.on, switch.off)} == set(
        ablations.ARMS
    ) | made


def test_a_gain_is_found_and_noise_is_called_so(folder) -> None:
    table = ablations.measure("QI", DATA, folder, 1)
    assert list(table.columns) == [*ablations.COLUMNS, *ablations.UNSEEN] and table["switch"].iloc[0] == "translation"
    assert ablations.COLUMNS == [
        "switch",
        "task",
        "seeds",
        "delta_f1",
        "lo",
        "hi",
        "delta_auc",
        "delta_f1_unseen",
        "cost_seconds",
    ]
    assert (
        table["delta_f1"].is_monotonic_decreasing
        and set(table["switch"]) == set(ablations.SWITCHES)
        and (table["seeds"] == 3).all()
    )
    rows = table.set_index("switch")
    for name in ("language expansion", "translation", "mean of seeds"):
        assert rows["lo"][name] > 0 and rows["delta_auc"][name] > 0 and rows["unseen_lo"][name] > 0
    for name in ("typing errors", "half as many steps again"):  # the same answers
        assert rows["delta_f1"][name] == rows["lo"][name] == rows["hi"][name] == 0
    assert rows["lo"]["second stage"] <= 0  # the rows of a query have nothing to say of each other
    assert rows["cost_seconds"]["language expansion"] == 10 and rows["cost_seconds"]["mean of seeds"] == 40
    lines = ablations.explain(table, synthetic=True)
    assert "a gain" in lines[0] and "inside the noise" in " ".join(lines) and all("synthetic" in line for line in lines)
    assert list(ablations.show(table).columns)[:3] == ["f1_change", "f1_change_lo", "f1_change_hi"]


def test_without_a_language_to_hold_out_the_column_is_empty(folder) -> None:
    for path in folder.glob("QI/*leave-language*/oof.parquet"):
        path.unlink()
    table = ablations.measure("QI", DATA, folder, 1)
    assert table["delta_f1_unseen"].isna().all() and "unseen language" not in " ".join(ablations.explain(table, False))


def test_the_hardest_rows_are_those_that_are_most_wrong(folder) -> None:
    rows = ablations.find_hardest("QI", DATA, folder, 1)
    wrong = (rows["probability"] - rows["label"]).abs()
    assert wrong.is_monotonic_decreasing and set(rows["id"]) == set(TRAIN["id"])
    shares = ablations.count_hardest(rows)
    counts = shares.mul(rows["language"].value_counts(), axis=0)
    assert counts.to_numpy().sum() == pytest.approx(ROWS / 10) and set(shares.index) == {"en", "es", "fr"}


def test_seeds_are_paired_by_row_and_drawn_too() -> None:
    def table(arm: str, seed: int) -> pd.DataFrame:
        rows = answers(arm, seed).sample(frac=1.0, random_state=seed)
        groups = rows["id"].map(TRAIN.set_index("id")["query_group"])
        return cross_fit(rows.assign(query_group=groups), groups, 0)

    pairs = [(table("expanded", seed), table("base", seed)) for seed in range(3)]
    alone = [compare(*pair, 5)["f1_change"] for pair in pairs]
    together = compare_seeds(pairs, 5)
    assert together["f1_change"] == pytest.approx(np.mean(alone))
    assert together["f1_change_lo"] < together["f1_change"] < together["f1_change_hi"]
    unlike = [pairs[0], (pairs[0][1], pairs[0][0])]  # a seed that gains as much as the other loses
    assert (
        compare_seeds(unlike, 5)["f1_change_lo"] <= -alone[0] * 0.8
        and compare_seeds(unlike, 5)["f1_change_hi"] >= alone[0] * 0.8
    )
    with pytest.raises(ValueError, match="the same rows"):
        compare_seeds([pairs[0], tuple(side.head(100) for side in pairs[1])], 5)
