"""Ablations: a gain that is there is found, one that is not is called noise, and a switch is judged on the same rows as its rival."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from utils.ablations import results, transfer
from utils.ablations.arms import ARMS, BASE, FAMILY, JOINT, OTHER, PART, PATH_ARMS, SCHEMES, TAPT, name_of
from utils.core.files import write_json
from utils.data.tables import write_table
from utils.evaluation.choices import compare, compare_seeds
from utils.evaluation.metrics import auc, sigmoid
from utils.evaluation.thresholds import cross_fit

ROWS, SEEDS = 480, 3
RNG = np.random.default_rng(0)
TRAIN = pd.DataFrame(
    {
        "id": 3 * np.arange(ROWS) + 1, "language": np.array(["en", "es", "fr"])[np.arange(ROWS) // 4 % 3],
        "query": [f"q{number // 4}" for number in range(ROWS)], "query_en": "", "target": [f"t{number}" for number in range(ROWS)],
        "label": RNG.integers(0, 2, ROWS), "query_group": [f"q{number // 4}" for number in range(ROWS)], "fold": 0, "category_group": "",
    }
)  # fmt: skip
# How much better the log-odds tell a relevant row, by arm; the joint network does it in its own task alone.
GAINS = {"no translation": -1.2, "expanded": 1.5, JOINT: 1.5}


def answers(arm: str, seed: int, gain: float | None = None) -> pd.DataFrame:
    """The same noise for all arms of a seed; that of a part and of another family is their own."""
    number = seed + 100 * [PART, FAMILY].index(arm) + 100 if arm in (PART, FAMILY) else seed
    noise = np.random.default_rng(number).normal(size=ROWS)
    odds = (1.8 + (GAINS.get(arm, 0.0) if gain is None else gain)) * (TRAIN["label"] - 0.5) + noise
    return TRAIN[["id", "language", "label"]].assign(probability=sigmoid(odds), fold=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the trainings of three seeds leave: QI's, and QC's base and joint network."""
    for scheme in SCHEMES:
        for seed in range(SEEDS):
            for arm in [*ARMS, PART, FAMILY, TAPT]:
                own = tmp_path / "QI" / name_of(arm, seed, scheme)
                write_table(answers(arm, seed).sample(frac=1.0, random_state=seed), own / "oof.parquet")
                seconds = {"expanded": 30.0, FAMILY: 50.0}.get(arm, 20.0)
                write_json(own / "fold1" / "facts.json", {"seconds": seconds + 7, "score_seconds": 7.0})
            for task, arm in (("QC", BASE), ("QC", JOINT), ("QI", BASE)):
                own = tmp_path / task / name_of(arm, seed, scheme)
                gain = {("QC", BASE): -1.8}.get((task, arm))  # a network of the other task knows nothing
                write_table(answers(arm, seed, gain), own / f"{OTHER}.parquet")
                if task == "QC":
                    write_table(answers(arm, seed), own / "oof.parquet")
                    write_json(own / "fold1" / "facts.json", {"seconds": 65.0, "score_seconds": 5.0})
    return tmp_path


def make_source(folder: Path, task: str = "QI") -> results.Source:
    return results.Source(task, TRAIN, folder, SEEDS, 1)


def test_each_switch_compares_arms_that_are_there() -> None:
    made = {
        results.SECOND_STAGE, results.CONSISTENT, results.SEED_MEAN, results.FOLD_MEAN, results.FAMILIES, results.TWO_FOLDS,
    }  # fmt: skip
    named = {arm for switch in results.SWITCHES.values() for arm in (switch.on, switch.off)}
    assert named == {*ARMS, *PATH_ARMS, JOINT, TAPT} | made
    assert set(PATH_ARMS) <= {results.SWITCHES[name].on for name in results.OF_PATHS}


def test_a_gain_is_found_and_noise_is_called_so(folder: Path) -> None:
    table = results.measure(make_source(folder))
    assert list(table.columns) == [*results.COLUMNS, *results.UNSEEN]
    assert table["delta_f1"].is_monotonic_decreasing and (table["seeds"] == SEEDS).all()
    assert set(table["switch"]) == set(results.SWITCHES) - results.OF_PATHS
    rows = table.set_index("switch")
    for name in (
        "language expansion",
        "translation",
        "mean of seeds",
        "one joint model",
        "joint model instead of TAPT",
    ):
        assert rows["lo"][name] > 0 and rows["delta_auc"][name] > 0 and rows["unseen_lo"][name] > 0
    for name in ("typing errors", "half as many steps again", "noisy labels dropped"):  # the same answers
        assert rows["delta_f1"][name] == rows["lo"][name] == rows["hi"][name] == 0
    for name in (
        "second stage",
        "seeds instead of folds",
        "two families instead of two folds",
    ):  # nothing in them but noise
        assert rows["lo"][name] <= 0
    cost = rows["cost_seconds"]
    assert cost["language expansion"] == 10 and cost["mean of seeds"] == 40 and cost["second stage"] == 0
    assert cost["one joint model"] == 10  # half of a training that answers both tasks
    assert cost["two families instead of two folds"] == 30
    lines = results.explain(table, synthetic=True)
    first = dict(part.split(": ") for part in lines[0].removeprefix("**QI**: ").removesuffix(".").split("; "))
    assert (
        "translation" in first["gains"] and "typing errors" in first["inside the noise"] and first["losses"] == "none"
    )
    assert "synthetic" in lines[1] and len(lines) == 2 + len(table) and results.explain(table, False)[1] == results.REAL
    assert list(results.show(table).columns)[:3] == ["f1_change", "f1_change_lo", "f1_change_hi"]


def test_without_a_language_to_hold_out_the_column_is_empty(folder: Path) -> None:
    for path in folder.glob("Q*/*leave-language*/*.parquet"):
        path.unlink()
    table = results.measure(make_source(folder))
    assert table["delta_f1_unseen"].isna().all() and "unseen language" not in " ".join(results.explain(table, False))


def test_an_arm_of_which_a_seed_lacks_is_left_out(folder: Path) -> None:
    (folder / "QI" / name_of("expanded", 1, "query") / "oof.parquet").unlink()
    assert "language expansion" not in set(results.measure(make_source(folder))["switch"])


def test_the_hardest_rows_are_those_that_are_most_wrong(folder: Path) -> None:
    rows = results.find_hardest(make_source(folder))
    wrong = (rows["probability"] - rows["label"]).abs()
    assert wrong.is_monotonic_decreasing and set(rows["id"]) == set(TRAIN["id"])
    shares = results.count_hardest(rows)
    counts = shares.mul(rows["language"].value_counts(), axis=0)
    assert counts.to_numpy().sum() == pytest.approx(ROWS / 10) and set(shares.index) == {"en", "es", "fr"}


def test_the_transfer_matrix_reads_each_network_in_each_task(folder: Path) -> None:
    table = transfer.measure_transfer([make_source(folder, task) for task in ("QC", "QI")])
    matrix = transfer.show(table, "auc")
    assert matrix.index.tolist() == ["QC", "QI", "both"] and matrix.columns.tolist() == ["QC", "QI"]
    expected = np.mean([auc(TRAIN["label"], answers(BASE, seed, -1.8)["probability"]) for seed in range(SEEDS)])
    assert matrix["QI"]["QC"] == pytest.approx(expected)
    assert (
        matrix["QI"]["both"] > matrix["QI"]["QI"] > matrix["QI"]["QC"]
        and (table.loc[table["trained on"] == "nothing", "auc"] == 0.5).all()
    )
    assert transfer.measure_transfer([make_source(folder)]).empty


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
