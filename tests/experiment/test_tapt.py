"""The TAPT comparison: equal steps, no validation query in stage 1, and the decision, against hand counts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from utils.core.files import write_json
from utils.core.recipe import Recipe
from utils.data.tables import write_table
from utils.evaluation.thresholds import cross_fit
from utils.experiment import tapt
from utils.experiment.crossfit import make_job
from utils.experiment.task_data import TaskData

DIRECT = Recipe("e5", "xlm-r", "multilingual-e5-small", epochs=1.0)


def rows(queries: list[str], fold: int | None = None) -> pd.DataFrame:
    """Rows of these queries with labels 1, 0, 1, ...; with a fold, joined with the columns of the fold table."""
    labels = [(number + 1) % 2 for number in range(len(queries))]
    table = pd.DataFrame({"query": queries, "query_en": queries, "target": "thing", "label": labels, "language": "en"})
    return table if fold is None else table.assign(fold=fold, query_group=table["query"], category_group="")


# Fold 0 validates 3 rows, the other 4 train.
TRAIN = pd.concat([rows(["lamp", "lamp", "sofa"], 0), rows(["shoe", "shoe", "shirt", "shirt"], 1)])
TRAIN = TRAIN.reset_index(drop=True).assign(id=range(7))
# 3 of the 9 auxiliary rows have a validation query.
AUXILIARY = rows(["lamp", "chair", "chair", "chair", "lamp", "desk", "desk", "desk", "sofa"]).assign(id=range(100, 109))
DATA = TaskData("QC", TRAIN, auxiliary=AUXILIARY)


# -- the arms --------------------------------------------------------------------------------------------------------


def test_three_arms_with_names_and_what_they_are_matched_on() -> None:
    arms = tapt.make_arms(DIRECT, 0, DATA)
    assert [(arm.recipe.name, arm.matches) for arm in arms] == [
        ("direct", ("epochs",)),
        ("direct-longer", ("steps",)),
        ("tapt", ("epochs", "steps")),
    ]
    assert [arm.recipe.auxiliary_rows for arm in arms] == [0, 0, 9]  # 0 = all rows of the auxiliary task
    direct, longer, first = (arm.recipe for arm in arms)
    assert direct == DIRECT.with_(name="direct")
    assert longer.with_(name="e5", epochs=1.0) == DIRECT and first.with_(name="e5", auxiliary_rows=0) == DIRECT


@pytest.mark.parametrize(
    ("epochs", "train_rows", "auxiliary_rows", "target", "auxiliary"),
    [
        (1.0, 0, 0, 4, 6),
        (1.0, 0, 3, 4, 3),  # one of the two whole queries that are left
        (1.0, 2, 0, 2, 6),
        (1.0, 2, 5, 2, 3),
        (2.0, 0, 0, 4, 6),
    ],
)  # fmt: skip
def test_direct_longer_and_tapt_train_on_equally_many_rows(
    epochs: float, train_rows: int, auxiliary_rows: int, target: int, auxiliary: int
) -> None:
    """Both stages of TAPT run the recipe's epochs."""
    recipe = DIRECT.with_(epochs=epochs, rows=train_rows)
    arms = {arm.recipe.name: arm.recipe for arm in tapt.make_arms(recipe, auxiliary_rows, DATA)}
    job = make_job(arms["tapt"], DATA, 0, Path("unused"))
    assert (len(job.train), len(job.auxiliary)) == (target, auxiliary)
    longer = make_job(arms["direct-longer"], DATA, 0, Path("unused"))
    assert len(longer.train) == target and longer.auxiliary is None
    assert arms["direct-longer"].epochs * target == pytest.approx(epochs * (target + auxiliary))


def test_without_an_auxiliary_task_there_are_no_arms() -> None:
    with pytest.raises(
        ValueError, match="the auxiliary task of QC is not in the data; set auxiliary_rows and joint to 0"
    ):
        tapt.make_arms(DIRECT, 0, TaskData("QC", TRAIN))


# -- leaks -----------------------------------------------------------------------------------------------------------


def test_auxiliary_rows_with_a_validation_query_are_counted_as_left_out() -> None:
    counts = tapt.leak_counts(DATA, DIRECT, 0)
    assert (counts["task"], counts["stage 1 on"]) == ("QC", "QI")
    assert (counts["auxiliary rows"], counts["left out"], counts["rows of stage 1"]) == (9, 3, 6)
    other_fold = tapt.leak_counts(DATA, DIRECT.with_(folds=(1,)), 4)  # its validation queries are shoe and shirt
    assert (other_fold["auxiliary rows"], other_fold["left out"], other_fold["rows of stage 1"]) == (9, 0, 4)


def test_the_count_of_shared_groups_finds_what_was_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tapt.leak_counts(DATA, DIRECT, 0)["query groups of stage 1 that validate"] == 0
    monkeypatch.setattr(tapt, "auxiliary_rows", lambda recipe, data, validation: data.auxiliary)
    assert tapt.leak_counts(DATA, DIRECT, 0)["query groups of stage 1 that validate"] == 2  # lamp and sofa


def test_a_translation_of_a_validation_query_is_left_out_too() -> None:
    auxiliary = AUXILIARY.assign(query=AUXILIARY["query"] + " (es)")  # the English tells that it is the same query
    counts = tapt.leak_counts(TaskData("QC", TRAIN, auxiliary=auxiliary), DIRECT, 0)
    assert counts["left out"] == 3


def test_stage_one_never_sees_a_language_that_is_held_out() -> None:
    names, languages = [[f"{side}{n}" for n in range(8)] for side in "ab"], ["en", "en", "es", "es"] * 2
    target = rows(names[0], 0).assign(language=languages, id=range(8))
    auxiliary = rows(names[1]).assign(language=languages, id=range(8))
    data = TaskData("QC", target, auxiliary=auxiliary)
    recipe = DIRECT.with_(auxiliary_rows=8, scheme="leave-language", folds=(1,))
    job = make_job(recipe, data, 1, Path("x"))
    assert set(job.tables["oof"]["language"]) == {"es"} and set(job.auxiliary["language"]) == {"en"}


def test_stage_one_trains_on_no_validation_query() -> None:
    """The rows of the job itself, and not of a second computation."""
    for fold, queries in ((0, {"chair", "desk"}), (1, {"chair", "desk", "lamp", "sofa"})):
        job = make_job(DIRECT.with_(auxiliary_rows=9), DATA, fold, Path("unused"))
        assert set(job.auxiliary["query"]) == queries
        assert not set(job.auxiliary["query"]) & set(job.tables["oof"]["query"])


# -- the comparison --------------------------------------------------------------------------------------------------

PROOF = {"max_logit_difference": 0.0, "base_logit_difference": 0.5, "logit_limit": 1e-4}
QUERIES = 40  # of two rows each


def write_arm(folder: Path, noise: float, seed: int = 0, first: bool = False) -> pd.DataFrame:
    """An arm's folder with one fold whose probabilities are the label and noise; returns rows with their query groups."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, 2 * QUERIES)
    values = label + rng.normal(scale=noise, size=len(label))
    table = pd.DataFrame(
        {"id": range(len(label)), "language": "en", "label": label, "probability": 1 / (1 + np.exp(-values)), "fold": 0}
    )
    write_table(table, folder / "oof.parquet")
    facts = {"train_rows": 4} | ({"auxiliary_rows": 6, **PROOF} if first else {})
    write_json(folder / "fold0" / "facts.json", facts)
    return table.assign(query_group=[f"q{number // 2}" for number in range(len(label))])


def test_an_arm_has_one_row_per_fold_and_match_at_honest_thresholds(tmp_path: Path) -> None:
    data = TaskData("QC", write_arm(tmp_path, 1.0, first=True))
    table = pd.DataFrame(tapt.compare_folds(tapt.Arm(DIRECT.with_(auxiliary_rows=9), tapt.MATCHES), tmp_path, data))
    assert set(table) == set(tapt.COLUMNS)
    assert table[["task", "arm", "match", "fold", "rows", "auxiliary_rows"]].to_numpy().tolist() == [
        ["QC", "tapt", "epochs", 0, 4, 6],
        ["QC", "tapt", "steps", 0, 4, 6],
    ]
    honest = cross_fit(data.train, data.train["query_group"], DIRECT.seed)
    assert table["f1"].tolist() == pytest.approx([f1_score(honest["label"], honest["prediction"])] * 2)
    assert (table["f1"] <= table["f1_best"]).all()


def test_a_direct_arm_has_no_proof(tmp_path: Path) -> None:
    data = TaskData("QC", write_arm(tmp_path, 1.0))
    (row,) = tapt.compare_folds(tapt.Arm(DIRECT, ("steps",)), tmp_path, data)
    assert (row["arm"], row["match"], row["rows"]) == ("direct", "steps", 4)
    assert row["auxiliary_rows"] is row["max_logit_difference"] is row["base_logit_difference"] is None


def gains_of(tmp_path: Path, direct: float, tapt_noise: float) -> pd.DataFrame:
    """The gains where the arms' noise is so large."""
    data = TaskData("QC", write_arm(tmp_path / "QC" / "direct", direct))
    write_arm(tmp_path / "QC" / "direct-longer", direct)
    write_arm(tmp_path / "QC" / "tapt", tapt_noise, first=True)
    return tapt.measure_gains(["QC"], {"QC": data}, tmp_path, 0)


def test_tapt_is_adopted_if_its_interval_at_equal_steps_excludes_zero(tmp_path: Path) -> None:
    gains = gains_of(tmp_path, 3.0, 0.1)
    assert gains["match"].tolist() == ["epochs", "steps"] and (gains["f1_change_lo"] > 0).all()
    assert tapt.is_better(gains, "QC") and not tapt.is_better(gains, "QI")
    text = tapt.explain(gains, "QC")
    assert (
        "the final training starts on QI" in text
        and "noise" not in text
        and f"{gains['f1_change'].iloc[1]:+.4f} F1" in text
    )


@pytest.mark.parametrize(("direct", "tapt_noise"), [(1.0, 1.0), (0.1, 3.0)])
def test_tapt_is_not_adopted_where_it_is_equal_worse_or_ahead_within_the_noise(
    direct: float, tapt_noise: float, tmp_path: Path
) -> None:
    gains = gains_of(tmp_path, direct, tapt_noise)
    assert not tapt.is_better(gains, "QC")
    text = tapt.explain(gains, "QC")
    assert "goes straight to its task" in text and ("noise" in text) == (tapt_noise == 1.0)


def test_without_an_auxiliary_task_there_is_nothing_to_adopt() -> None:
    gains = tapt.measure_gains([], {}, Path("unused"), 0)
    assert gains.empty and not tapt.is_better(gains, "QC")
    assert "no auxiliary task" in tapt.explain(gains, "QC")


def comparison(task: str, folds: int) -> pd.DataFrame:
    """Rows of `comparison.csv` whose proof of the continuation is good."""
    rows = [
        {"task": task, "arm": "tapt", "match": match, "fold": fold, **PROOF}
        for fold in range(folds)
        for match in tapt.MATCHES
    ]
    return pd.DataFrame([{"task": task, "arm": "direct", "match": "epochs", "fold": 0}, *rows], columns=tapt.COLUMNS)


BOTH = pd.concat([comparison("QC", 2), comparison("QI", 1)], ignore_index=True)


# -- the proof of the continuation -----------------------------------------------------------------------------------


def test_a_good_proof_is_returned_once_a_fold() -> None:
    proof = tapt.prove_continuation(BOTH)
    assert proof.to_numpy().tolist() == [
        ["QC", 0, 0.0, 0.5, 1e-4],
        ["QC", 1, 0.0, 0.5, 1e-4],
        ["QI", 0, 0.0, 0.5, 1e-4],
    ]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("max_logit_difference", 2e-4),  # stage 2 did not begin where stage 1 ended
        ("base_logit_difference", 1e-3),  # stage 1 changed nothing
        ("max_logit_difference", float("nan")),
        ("base_logit_difference", None),
    ],
)
def test_one_bad_proof_is_an_error(column: str, value: float | None) -> None:
    table = BOTH.copy()
    table.loc[len(table) - 1, column] = value
    with pytest.raises(ValueError, match=r"'task': 'QI'.*remove 05_tapt and run again"):
        tapt.prove_continuation(table)


def test_a_table_without_an_auxiliary_task_needs_no_proof() -> None:
    assert tapt.prove_continuation(pd.DataFrame(columns=tapt.COLUMNS)).empty
