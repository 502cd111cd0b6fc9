"""The TAPT comparison: equal steps, no validation query in stage 1, and the decision, against hand counts."""

from pathlib import Path

import pandas as pd
import pytest

from utils.core.files import write_json
from utils.core.recipe import Recipe
from utils.data.tables import write_table
from utils.experiment import tapt
from utils.experiment.crossfit import TaskData, make_job
from utils.experiment.runtime import Runtime
from utils.training.ranks import Topology

DIRECT = Recipe("e5", "xlm-r", "multilingual-e5-small", epochs=1.0)


def rows(queries: list[str], fold: int | None = None) -> pd.DataFrame:
    """Rows of these queries with labels 1, 0, 1, ...; with a fold, joined with the columns of the fold table."""
    columns = {"query": queries, "label": [(number + 1) % 2 for number in range(len(queries))], "language": "en"}
    table = pd.DataFrame(columns)
    return table if fold is None else table.assign(fold=fold, query_group=table["query"])


# Fold 0 validates 3 rows; `lamp` is also a query of fold 1, so 4 of its 5 rows are training rows.
TRAIN = pd.concat([rows(["lamp", "lamp", "sofa"], 0), rows(["shoe", "shoe", "shirt", "shirt", "lamp"], 1)])
TRAIN = TRAIN.reset_index(drop=True).assign(id=range(8))
# 3 of the 9 auxiliary rows have a validation query.
AUXILIARY = rows(["lamp", "chair", "chair", "chair", "lamp", "desk", "desk", "desk", "sofa"]).assign(id=range(100, 109))
DATA = TaskData("QC", TRAIN, auxiliary=AUXILIARY)


# -- the arms --------------------------------------------------------------------------------------------------------


def test_three_arms_with_names_and_what_they_are_matched_on() -> None:
    arms = tapt.make_arms(DIRECT, 0, DATA)
    assert [(arm.name, arm.recipe.name, arm.matches) for arm in arms] == [
        ("direct", "e5, direct", ("epochs",)),
        ("direct-longer", "e5, direct-longer", ("steps",)),
        ("tapt", "e5, tapt", ("epochs", "steps")),
    ]
    assert [arm.recipe.auxiliary_rows for arm in arms] == [0, 0, 9]  # 0 = all rows of the auxiliary task
    direct, longer, first = (arm.recipe for arm in arms)
    assert direct == DIRECT.with_(name="e5, direct")
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
    arms = {arm.name: arm.recipe for arm in tapt.make_arms(recipe, auxiliary_rows, DATA)}
    job = make_job(arms["tapt"], DATA, 0, Path("unused"), "tag")
    assert (len(job.train), len(job.auxiliary)) == (target, auxiliary)
    longer = make_job(arms["direct-longer"], DATA, 0, Path("unused"), "tag")
    assert len(longer.train) == target and longer.auxiliary is None
    assert arms["direct-longer"].epochs * target == pytest.approx(epochs * (target + auxiliary))


def test_without_an_auxiliary_task_there_are_no_arms() -> None:
    with pytest.raises(ValueError, match="the auxiliary task of QC is not in the data; set auxiliary_rows to 0"):
        tapt.make_arms(DIRECT, 0, TaskData("QC", TRAIN))


# -- leaks -----------------------------------------------------------------------------------------------------------


def test_auxiliary_rows_with_a_validation_query_are_counted_as_left_out() -> None:
    counts = tapt.leak_counts(DATA, DIRECT)
    assert (counts["task"], counts["stage 1 on"]) == ("QC", "QI")
    assert (counts["auxiliary rows"], counts["left out"]) == (9, 3)
    other_fold = tapt.leak_counts(DATA, DIRECT.with_(folds=(1,)))  # its validation queries are shoe, shirt and lamp
    assert (other_fold["auxiliary rows"], other_fold["left out"]) == (9, 2)


def test_stage_one_trains_on_no_validation_query() -> None:
    """The rows of the job itself, and not of a second computation."""
    for fold, queries in ((0, {"chair", "desk"}), (1, {"chair", "desk", "sofa"})):
        recipe = DIRECT.with_(auxiliary_rows=9, scheme="report")
        job = make_job(recipe, DATA, fold, Path("unused"), "tag")
        assert set(job.auxiliary["query"]) == queries
        assert not set(job.auxiliary["query"]) & set(job.tables["oof"]["query"])


# -- the comparison --------------------------------------------------------------------------------------------------

PROOF = {"max_logit_difference": 0.0, "base_logit_difference": 0.5}
FACTS = {"train_rows": 4, "auxiliary_rows": 6, **PROOF}
FAIR = [0.9, 0.3, 0.5, 0.1]  # F1 4/5 at 0.3, AUC 3/4
PERFECT = [0.9, 0.8, 0.2, 0.1]


def write_fold(folder: Path, fold: int, probability: list[float], facts: dict) -> None:
    write_table(
        pd.DataFrame({"label": [1, 1, 0, 0], "probability": probability}), folder / f"fold{fold}" / "oof.parquet"
    )
    write_json(folder / f"fold{fold}" / "facts.json", facts)


def test_an_arm_has_one_row_a_fold_and_match(tmp_path: Path) -> None:
    write_fold(tmp_path, 0, FAIR, FACTS)
    write_fold(tmp_path, 1, PERFECT, FACTS | {"train_rows": 5})
    recipe = DIRECT.with_(folds=(0, 1), auxiliary_rows=9)
    table = pd.DataFrame(tapt.compare(tapt.Arm("tapt", recipe, tapt.MATCHES), tmp_path, "QC"))
    assert set(table) == set(tapt.COLUMNS)
    assert table[["task", "arm", "match", "fold", "rows", "auxiliary_rows"]].to_numpy().tolist() == [
        ["QC", "tapt", "epochs", 0, 4, 6],
        ["QC", "tapt", "steps", 0, 4, 6],
        ["QC", "tapt", "epochs", 1, 5, 6],
        ["QC", "tapt", "steps", 1, 5, 6],
    ]
    assert table["f1"].tolist() == pytest.approx([0.8, 0.8, 1.0, 1.0])
    assert table["auc"].tolist() == pytest.approx([0.75, 0.75, 1.0, 1.0])
    assert table["base_logit_difference"].tolist() == [0.5] * 4


def test_a_direct_arm_has_no_proof(tmp_path: Path) -> None:
    write_fold(tmp_path, 0, FAIR, {"train_rows": 4})
    (row,) = tapt.compare(tapt.Arm("direct-longer", DIRECT, ("steps",)), tmp_path, "QC")
    assert (row["arm"], row["match"], row["rows"]) == ("direct", "steps", 4)
    assert row["auxiliary_rows"] is row["max_logit_difference"] is row["base_logit_difference"] is None


def test_each_arm_is_trained_in_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(recipe: Recipe, data: TaskData, folder: Path, runtime: Runtime) -> None:
        probability, facts = (PERFECT, FACTS) if recipe.auxiliary_rows else (FAIR, {"train_rows": 4})
        write_fold(folder, 0, probability, facts)

    monkeypatch.setattr(tapt, "fit_recipe", fit)
    table = tapt.fit_arms(DIRECT, 0, DATA, tmp_path, Runtime(tmp_path, True, "none", Topology()))
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["direct", "direct-longer", "tapt"]
    assert list(table) == tapt.COLUMNS
    assert table[["arm", "match"]].to_numpy().tolist() == [
        ["direct", "epochs"],
        ["direct", "steps"],
        ["tapt", "epochs"],
        ["tapt", "steps"],
    ]
    assert table["f1"].tolist() == pytest.approx([0.8, 0.8, 1.0, 1.0])


def comparison(task: str, scores: list[tuple[str, str, int, float, float]]) -> pd.DataFrame:
    """Rows of `comparison.csv` from (arm, match, fold, F1, AUC); the proof of the continuation is good."""
    table = pd.DataFrame(scores, columns=["arm", "match", "fold", "f1", "auc"]).assign(
        task=task, rows=4, auxiliary_rows=6
    )
    is_tapt = table["arm"] == "tapt"
    proof = {name: pd.Series(value, index=table.index).where(is_tapt) for name, value in PROOF.items()}
    return table.assign(**proof)[tapt.COLUMNS]


QC = comparison(
    "QC",
    [
        ("direct", "epochs", 0, 0.10, 0.10),  # not at equal steps
        ("direct", "epochs", 1, 0.10, 0.10),
        ("direct", "steps", 0, 0.79, 0.89),
        ("direct", "steps", 1, 0.81, 0.87),
        ("tapt", "epochs", 0, 0.80, 0.90),
        ("tapt", "epochs", 1, 0.84, 0.90),
        ("tapt", "steps", 0, 0.80, 0.90),
        ("tapt", "steps", 1, 0.84, 0.90),
    ],
)
QI = comparison("QI", [("direct", "steps", 0, 0.60, 0.70), ("tapt", "steps", 0, 0.65, 0.69)])
BOTH = tapt.gather([QC, QI])


def test_the_tasks_rows_become_one_table() -> None:
    assert BOTH.index.tolist() == list(range(10)) and BOTH["task"].tolist() == ["QC"] * 8 + ["QI"] * 2
    empty = tapt.gather([])
    assert empty.empty and list(empty) == tapt.COLUMNS


def test_the_gain_is_the_difference_of_means_at_equal_steps() -> None:
    assert tapt.gain(BOTH, "QC", "f1") == pytest.approx(0.82 - 0.80)
    assert tapt.gain(BOTH, "QC", "auc") == pytest.approx(0.90 - 0.88)
    assert tapt.gain(BOTH, "QI", "f1") == pytest.approx(0.05)
    assert tapt.gain(BOTH, "QI", "auc") == pytest.approx(-0.01)


def test_tapt_is_adopted_only_if_both_f1_and_auc_gain() -> None:
    assert tapt.wins(BOTH, "QC") and not tapt.wins(BOTH, "QI")
    better_auc = comparison("QI", [("direct", "steps", 0, 0.60, 0.70), ("tapt", "steps", 0, 0.59, 0.75)])
    equal = comparison("QI", [("direct", "steps", 0, 0.60, 0.70), ("tapt", "steps", 0, 0.60, 0.75)])
    assert not tapt.wins(better_auc, "QI") and not tapt.wins(equal, "QI")
    assert not tapt.wins(QC, "QI") and not tapt.wins(tapt.gather([]), "QC")  # no auxiliary task


def test_the_sentences_give_the_gain_and_the_decision() -> None:
    adopted, refused, absent = tapt.explain(BOTH, "QC"), tapt.explain(BOTH, "QI"), tapt.explain(QC, "QI")
    assert "+0.0200 F1 and +0.0200 AUC, on 2 fold(s)" in adopted and "the final training starts on QI" in adopted
    assert "+0.0500 F1 and -0.0100 AUC, on 1 fold(s)" in refused and "starts on" not in refused
    assert "no auxiliary task" in absent and "starts on" not in absent


# -- the proof of the continuation -----------------------------------------------------------------------------------


def test_a_good_proof_is_returned_once_a_fold() -> None:
    proof = tapt.prove_continuation(BOTH)
    assert proof.to_numpy().tolist() == [["QC", 0, 0.0, 0.5], ["QC", 1, 0.0, 0.5], ["QI", 0, 0.0, 0.5]]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("max_logit_difference", 2e-5),  # stage 2 did not begin where stage 1 ended
        ("base_logit_difference", 1e-3),  # stage 1 changed nothing
        ("max_logit_difference", float("nan")),
        ("base_logit_difference", None),
    ],
)
def test_one_bad_proof_is_an_error(column: str, value: float | None) -> None:
    table = BOTH.copy()
    table.loc[9, column] = value
    with pytest.raises(ValueError, match=r"'task': 'QI'.*remove 05_tapt and run again"):
        tapt.prove_continuation(table)


def test_a_table_without_an_auxiliary_task_needs_no_proof() -> None:
    assert tapt.prove_continuation(tapt.gather([])).empty
