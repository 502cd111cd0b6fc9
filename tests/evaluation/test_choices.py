"""What paired intervals allow: finalists within the noise go on, ideas are adopted where their gain is sure."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from utils.core.recipe import Recipe
from utils.data.tables import write_table
from utils.evaluation import choices, intervals, leaderboard
from utils.evaluation.choices import DIFFERENCE, Finalists, choose_finalists

ROWS = 400
LABEL = np.random.default_rng(0).integers(0, 2, ROWS)
TRAIN = pd.DataFrame({"id": np.arange(ROWS) * 3, "query_group": [f"q{number // 4}" for number in range(ROWS)]})


@pytest.fixture(autouse=True)
def few_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "choose_repeats", lambda rows: 100)


def write_oof(folder: Path, noise: float, seed: int, rows: slice = slice(None)) -> pd.DataFrame:
    """A candidate's out-of-fold table in an order of its own; probabilities follow the labels, the less the more noise.

    Most of the noise is common to all: what is hard is hard for every candidate.
    """
    common, own = (np.random.default_rng(number).normal(0, noise, ROWS) for number in (99, seed))
    odds = LABEL * 2 - 1 + common + 0.1 * own
    table = pd.DataFrame(
        {"id": TRAIN["id"], "language": "en", "label": LABEL, "probability": 1 / (1 + np.exp(-odds)), "fold": 0}
    )
    table = table[rows].sample(frac=1.0, random_state=seed)
    write_table(table, folder / "oof.parquet")
    return table


FAMILIES = {"e5": "xlm-r", "e5-large": "xlm-r", "gemma": "gemma", "qwen": "qwen", "tfidf": "baseline"}


def make_board(folder: Path, noises: dict[str, float], rows: dict[str, int] | None = None) -> pd.DataFrame:
    """The candidates' tables, and their rows of the leaderboard."""
    board = []
    for number, (name, noise) in enumerate(noises.items()):
        write_oof(folder / name, noise, 20 + number)
        table = leaderboard.read_oof(folder / name, TRAIN, 1)
        f1 = intervals.cross_fitted_f1(table, np.ones(ROWS))
        auc = roc_auc_score(table["label"], table["probability"])
        board.append((name, FAMILIES[name], "QC", "query", (rows or {}).get(name, 500), f1, auc, f1 - 0.02, f1 + 0.02))
    return pd.DataFrame(board, columns=["recipe", "family", "task", "scheme", "rows", "f1", "auc", "f1_lo", "f1_hi"])


def choose(
    board: pd.DataFrame, folder: Path, count: int = 3, names: tuple[str, ...] = tuple(FAMILIES)
) -> tuple[list[str], pd.DataFrame]:
    return choose_finalists(board, "QC", names, count, TRAIN, folder, 1)


# -- finalists -------------------------------------------------------------------------------------------------------


def test_a_clear_lead_goes_on_alone(tmp_path: Path) -> None:
    finalists, leads = choose(make_board(tmp_path, {"gemma": 3.0, "e5": 0.6}), tmp_path)
    assert finalists == ["e5"] and leads.index.tolist() == ["gemma"]
    assert 0 < leads["f1_change_lo"]["gemma"] < leads["f1_change"]["gemma"] < leads["f1_change_hi"]["gemma"]


def test_within_the_noise_the_best_of_each_family_goes_on(tmp_path: Path) -> None:
    board = make_board(tmp_path, {"e5": 1.0, "gemma": 1.0, "e5-large": 1.0, "qwen": 4.0})
    finalists, leads = choose(board, tmp_path)
    best = board[board["family"] == "xlm-r"].sort_values("f1")["recipe"].iloc[-1]
    assert set(finalists) == {best, "gemma"} and set(leads.index) == {"qwen", *finalists[1:]}
    scores = board.set_index("recipe")["f1"]
    assert finalists[0] == scores[finalists].idxmax()
    assert leads["f1_change"].to_dict() == pytest.approx(
        {name: scores[finalists[0]] - scores[name] for name in leads.index}
    )


def test_at_most_so_many_go_on(tmp_path: Path) -> None:
    board = make_board(tmp_path, {"e5": 1.0, "gemma": 1.0, "qwen": 1.0})
    everyone, _ = choose(board, tmp_path)
    assert (
        len(everyone) == 3
        and choose(board, tmp_path, count=2)[0] == everyone[:2]
        and choose(board, tmp_path, count=1)[0] == everyone[:1]
    )


def test_a_candidate_trained_on_fewer_rows_is_never_champion(tmp_path: Path) -> None:
    board = make_board(tmp_path, {"gemma": 0.1, "e5": 1.0, "qwen": 1.0}, {"gemma": 100})
    finalists, leads = choose(board, tmp_path)
    assert "gemma" not in finalists and "gemma" not in leads.index  # it is not compared, however well it did
    assert set(finalists) == {"e5", "qwen"}


def test_a_candidate_that_is_not_eligible_is_left_out(tmp_path: Path) -> None:
    board = make_board(tmp_path, {"e5": 1.0, "gemma": 0.2, "tfidf": 0.1})
    assert choose(board, tmp_path, names=("e5",))[0] == ["e5"]
    assert choose(board, tmp_path, names=("e5", "gemma"))[0] == ["gemma"]
    with pytest.raises(ValueError, match="QC: none of qwen is on the leaderboard; run notebook 04"):
        choose(board, tmp_path, names=("qwen",))


def test_scores_of_another_scheme_or_task_do_not_count(tmp_path: Path) -> None:
    board = make_board(tmp_path, {"e5": 1.0, "gemma": 2.0})
    others = [board.assign(scheme="report", f1=0.99), board.assign(task="QI", f1=0.99)]
    assert choose(pd.concat([others[0], board, others[1]]), tmp_path)[0] == ["e5"]
    with pytest.raises(ValueError, match="is on the leaderboard"):
        choose(pd.concat(others), tmp_path)


def test_auc_decides_between_candidates_of_equal_f1(tmp_path: Path) -> None:
    board = make_board(tmp_path, {"e5": 1.0, "gemma": 1.0}).assign(f1=0.8, auc=[0.85, 0.9])
    assert choose(board, tmp_path)[0][0] == "gemma"


def test_candidates_validated_on_other_rows_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    board = make_board(tmp_path, {"e5": 1.0, "gemma": 1.0})
    write_oof(tmp_path / "gemma", 1.0, 5, slice(0, 200))
    champion = board.sort_values("f1")["recipe"].iloc[-1]
    finalists, leads = choose(board, tmp_path)
    other = next(name for name in board["recipe"] if name != champion)
    assert finalists == [champion] and leads.empty and leads.columns.tolist() == DIFFERENCE
    assert f"notice: QC: {other} was validated on other rows than {champion}" in capsys.readouterr().out


def test_the_sentence_tells_the_lead_and_the_noise() -> None:
    board = pd.DataFrame(
        {
            "recipe": ["e5", "gemma"],
            "task": "QC",
            "f1": [0.8125, 0.75],
            "f1_lo": [0.8, 0.7],
            "f1_hi": [0.825, 0.8],
            "auc": [0.9, 0.8],
        }
    )
    leads = pd.DataFrame(
        [[0.0625, 0.03, 0.09, 0.02, -0.01, 0.03], [0.01, -0.01, 0.03, 0.0, -0.01, 0.01]],
        columns=DIFFERENCE,
        index=["gemma", "qwen"],
    )
    assert choices.explain(board, "QC", Finalists(["e5", "qwen"], leads)) == (
        "e5, qwen into the final training. e5 leads with F1 0.812 [0.800, 0.825] and AUC 0.900; "
        "+0.0625 F1 [+0.0300, +0.0900] and +0.0200 AUC [-0.0100, +0.0300] over gemma; "
        "+0.0100 F1 [-0.0100, +0.0300] and +0.0000 AUC [-0.0100, +0.0100] (inside the noise) over qwen."
    )


# -- ideas -----------------------------------------------------------------------------------------------------------


def test_a_difference_is_paired_by_id_whatever_the_order(tmp_path: Path) -> None:
    for name, noise in (("good", 0.5), ("bad", 3.0)):
        write_oof(tmp_path / name, noise, len(name))
    good, bad = (leaderboard.read_oof(tmp_path / name, TRAIN, 1) for name in ("good", "bad"))
    found = choices.compare(good, bad, 1)
    assert list(found) == DIFFERENCE
    auc = [roc_auc_score(table["label"], table["probability"]) for table in (good, bad)]
    assert found["auc_change"] == pytest.approx(auc[0] - auc[1])
    f1 = [intervals.cross_fitted_f1(table, np.ones(ROWS)) for table in (good, bad)]
    assert found["f1_change"] == pytest.approx(f1[0] - f1[1]) and 0 < found["f1_change_lo"] < found["f1_change_hi"]
    assert choices.compare(good.iloc[::-1], bad, 1) == pytest.approx(found)
    assert choices.compare(bad, good, 1)["f1_change_lo"] == pytest.approx(-found["f1_change_hi"])
    assert choices.compare(good, good.iloc[::-1], 1) == dict.fromkeys(DIFFERENCE, 0.0)
    assert choices.is_adopted(found) and not choices.is_adopted(choices.compare(bad, good, 1))
    with pytest.raises(ValueError, match="same rows"):
        choices.compare(good, bad.head(300), 1)


def test_variants_on_the_same_rows_are_compared_with_their_candidate(tmp_path: Path) -> None:
    base = Recipe("e5", "xlm-r")
    variants = [
        base, base.with_(name="e5-no-translation", variant_of="e5"), base.with_(name="e5-left", variant_of="e5"),
        base.with_(name="e5-lost", variant_of="e5"), base.with_(name="e5-other"),
    ]  # fmt: skip
    for number, name in enumerate(("e5", "e5-no-translation", "e5-other")):
        write_oof(tmp_path / name, 0.5 + number, number)
    write_oof(tmp_path / "e5-left", 1.0, 9, slice(0, 100))  # validated on other rows
    table = choices.compare_variants(variants, "e5", TRAIN, tmp_path, 1)
    assert table.index.tolist() == ["e5-no-translation"] and table.columns.tolist() == DIFFERENCE
    tables = [leaderboard.read_oof(tmp_path / name, TRAIN, 1) for name in ("e5", "e5-no-translation")]
    assert table.iloc[0].to_dict() == pytest.approx(choices.compare(*tables, 1))  # the candidate less its variant
    nothing = choices.compare_variants([base], "e5", TRAIN, tmp_path, 1)
    assert nothing.empty and nothing.columns.tolist() == DIFFERENCE
    together = choices.gather({"QC": table, "QI": nothing})
    assert together.index.tolist() == [("QC", "e5-no-translation")] and choices.gather({"QI": nothing}).empty


def change(f1: tuple[float, float], auc: tuple[float, float]) -> pd.DataFrame:
    """The table of one variant whose F1 and AUC change between two ends each."""
    values = [sum(f1) / 2, *f1, sum(auc) / 2, *auc]
    return pd.DataFrame([values], columns=DIFFERENCE, index=["e5-no-translation"])


UP, AROUND, DOWN = (0.01, 0.03), (-0.01, 0.03), (-0.03, -0.01)


@pytest.mark.parametrize(
    ("f1", "auc", "adopted", "noise"),
    [
        (UP, UP, True, False), (UP, AROUND, True, False), (AROUND, UP, True, False),  # one is enough
        (AROUND, AROUND, False, True),
        (UP, DOWN, False, False), (DOWN, UP, False, False), (DOWN, AROUND, False, False), (AROUND, DOWN, False, False),
    ],
)  # fmt: skip
def test_an_idea_is_adopted_where_one_interval_lies_above_zero_and_none_below(
    f1: tuple, auc: tuple, adopted: bool, noise: bool
) -> None:
    table = change(f1, auc)
    row = table.iloc[0]
    assert (choices.is_adopted(row), choices.is_noise(row)) == (adopted, noise)
    finalists = [Recipe("e5", "xlm-r"), Recipe("gemma", "gemma", translation=False)]
    assert [recipe.translation for recipe in choices.apply_ideas(finalists, table, "e5")] == [adopted] * 2
    assert choices.apply_ideas(finalists, table, "other") == finalists  # it was not compared
    text = choices.explain_ideas(table, "e5")
    assert text.endswith(f"the finals train {'with' if adopted else 'without'} it.") and ("noise" in text) == noise


def test_the_sentence_tells_what_translation_brings() -> None:
    assert choices.explain_ideas(change(UP, (0.005, 0.015)), "e5") == (
        "Translation brings e5 +0.0200 F1 [+0.0100, +0.0300] and +0.0100 AUC [+0.0050, +0.0150]: the finals train with it."
    )
    assert choices.explain_ideas(change(UP, UP), "other") == ""


def test_the_mean_over_tasks_is_judged_by_all_their_rows(tmp_path: Path) -> None:
    pairs = []
    for task, seed in (("QC", 1), ("QI", 2)):
        for name, noise in (("e5", 1.0), ("e5-no-translation", 1.4)):
            write_oof(tmp_path / task / name, noise, seed)
        tables = [leaderboard.read_oof(tmp_path / task / name, TRAIN, 1) for name in ("e5", "e5-no-translation")]
        pairs.append(tuple(tables))
    single, both = [choices.compare(*pair, 1) for pair in pairs], choices.compare_means(pairs, 1)
    for measure in ("f1_change", "auc_change"):
        assert both[measure] == pytest.approx((single[0][measure] + single[1][measure]) / 2)
        widths = [found[f"{measure}_hi"] - found[f"{measure}_lo"] for found in (*single, both)]
        assert widths[2] < min(widths[:2])
    assert choices.compare_means(pairs[:1], 1) == single[0]
    recipes = [Recipe("e5", "xlm-r"), Recipe("e5-no-translation", "xlm-r", variant_of="e5")]
    by_task = {"QC": recipes, "QI": recipes}
    table = choices.compare_variants_in_mean(by_task, "e5", {"QC": TRAIN, "QI": TRAIN}, tmp_path, 1)
    assert table.loc["e5-no-translation"].to_dict() == pytest.approx(both)
    one_sided = choices.compare_variants_in_mean(
        {"QC": recipes, "QI": recipes[:1]}, "e5", {"QC": TRAIN, "QI": TRAIN}, tmp_path, 1
    )
    assert one_sided.empty  # QI has no such variant
