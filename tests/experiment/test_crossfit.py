"""Jobs and their fingerprints: what is reused, answered again or trained again when something changes, and what is skipped."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.core.errors import DataError, PartDone
from utils.core.files import write_json
from utils.core.recipe import Recipe, read_facts
from utils.core.settings import Settings
from utils.data.leaks import LeakError
from utils.data.tables import read_table
from utils.experiment import crossfit, fit, jobs
from utils.experiment.crossfit import Plan
from utils.experiment.devices import CPU
from utils.experiment.jobs import ANSWER, read_job, run_step, share_jobs, write_job
from utils.experiment.runtime import Runtime, make_runtime
from utils.experiment.task_data import TaskData
from utils.profiles.smoke import SMOKE

WORDS = Recipe("overlap", "baseline", kind="overlap")
TINY = Recipe(
    "gemma", "gemma", "gemma-3-270m", pooling="last", lora_rank=2, batch_rows=8, pack_tokens=64, sequence_tokens=64, max_length=48,
)  # fmt: skip


def rows(count: int, first: int = 0, languages: tuple[str, ...] = ("en", "es", "fr")) -> pd.DataFrame:
    """Labelled rows, two per query, in folds 0 and 1."""
    numbers = range(first, first + count)
    query = [f"shoe {number // 2}" for number in numbers]
    target = [f"shoes {number // 2}" if number % 2 else "tools" for number in numbers]
    language = [languages[number // 2 % len(languages)] for number in numbers]
    columns = {
        "id": numbers,
        "language": language,
        "origin_query": query,
        "query": query,
        "query_en": query,
        "target": target,
    }
    table = pd.DataFrame(columns).assign(
        label=[number % 2 for number in numbers], fold=[number // 2 % 2 for number in numbers]
    )
    return table.assign(query_group=table["query"], category_group="")


TEST = rows(6, 1000).drop(columns=["label", "fold", "query_group", "category_group"])
DATA = TaskData("QI", rows(24), {"test": TEST})


def missing(recipe: Recipe, data: TaskData, folder: Path, runtime: Runtime, keep: bool = False) -> list[list[str]]:
    """The splits that each job of a recipe still has to answer."""
    return [
        sorted(job.tables) for job in crossfit.find_missing(crossfit.list_jobs([recipe], data, folder, runtime, keep))
    ]


def test_folds_leave_tables_joined_by_id_and_their_mean(tmp_path: Path) -> None:
    crossfit.fit_plans([Plan([WORDS.with_(folds=(0, 1))], DATA, tmp_path)], Runtime(style="none"))
    folder = tmp_path / "overlap"
    oof, test = (read_table(folder / f"{split}.parquet") for split in ("oof", "test"))
    assert sorted(oof["id"]) == sorted(DATA.train["id"]) and list(test["id"]) == list(TEST["id"])
    assert set(test["fold"]) == {-1} and "label" not in test
    folds = [read_table(folder / f"fold{fold}" / "test.parquet")["probability"] for fold in (0, 1)]
    assert test["probability"].tolist() == pytest.approx(((folds[0] + folds[1]) / 2).tolist())
    validated = oof[oof["fold"] == 1]["id"]
    assert set(validated) == set(DATA.train.loc[DATA.train["fold"] == 1, "id"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        (
            {"name": "overlap", "score_tokens": 1, "pack_tokens": 1, "zero_stage": 2, "checkpointing": True},
            [],
        ),  # how, not what
        ({"translation": False}, [["oof", "test"]]),
        ({"seed": 7}, [["oof", "test"]]),
    ],
)
def test_a_change_of_the_recipe_fits_again_only_what_it_changes(change: dict, expected: list, tmp_path: Path) -> None:
    crossfit.fit_plans([Plan([WORDS], DATA, tmp_path)], Runtime(style="none"))
    assert missing(WORDS.with_(**change), DATA, tmp_path, Runtime(style="none")) == expected


def test_other_training_rows_fit_again_and_rows_of_other_folds_do_not(tmp_path: Path) -> None:
    crossfit.fit_plans([Plan([WORDS], DATA, tmp_path)], Runtime(style="none"))
    other = DATA.train.copy()
    other.loc[other["fold"] == 1, "label"] = 1 - other["label"]
    assert missing(WORDS, TaskData("QI", other, DATA.splits), tmp_path, Runtime(style="none")) == [["oof", "test"]]
    renamed = DATA.train.assign(origin_query="as it came")  # which no training reads
    assert missing(WORDS, TaskData("QI", renamed, DATA.splits), tmp_path, Runtime(style="none")) == []


def test_corrected_labels_of_validation_rows_stand_in_the_tables_without_another_fit(tmp_path: Path) -> None:
    crossfit.fit_plans([Plan([WORDS], DATA, tmp_path)], Runtime(style="none"))
    before = read_table(tmp_path / "overlap" / "oof.parquet")
    own = DATA.train["fold"] == 0
    corrected = DATA.train.assign(label=DATA.train["label"].mask(own & (DATA.train["id"] < 8), 1))
    data = TaskData("QI", corrected, DATA.splits)
    assert missing(WORDS, data, tmp_path, Runtime(style="none")) == []
    crossfit.fit_plans([Plan([WORDS], data, tmp_path)], Runtime(style="none"))
    after = read_table(tmp_path / "overlap" / "oof.parquet")
    assert after["probability"].equals(before["probability"]) and list(after.columns) == list(before.columns)
    assert after["label"].tolist() == corrected["label"][own].tolist() != before["label"].tolist()


@pytest.fixture
def trained(tiny_gemma: Path, tmp_path: Path) -> tuple[Path, Runtime]:
    runtime = Runtime(tiny_gemma, style="none")
    crossfit.fit_plans([Plan([TINY], DATA, tmp_path, keep=True)], runtime)
    return tmp_path, runtime


def test_a_new_test_file_is_answered_by_the_weights_that_stand(
    trained: tuple[Path, Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, runtime = trained
    before = read_table(folder / "gemma" / "fold0" / "oof.parquet")
    facts = read_facts(folder / "gemma" / "fold0" / "facts.json")
    released = TaskData("QI", DATA.train, {"test": TEST.head(4), "dev": TEST.tail(2)})
    assert missing(TINY, released, folder, runtime, keep=True) == [["dev", "test"]]
    monkeypatch.setattr(fit, "fit", lambda *_, **__: pytest.fail("the network was trained again"))
    crossfit.fit_plans([Plan([TINY], released, folder, keep=True)], runtime)
    after = read_table(folder / "gemma" / "fold0" / "test.parquet")
    assert list(after["id"]) == list(TEST["id"].head(4)) and (folder / "gemma" / "dev.parquet").exists()
    pd.testing.assert_frame_equal(read_table(folder / "gemma" / "fold0" / "oof.parquet"), before)
    assert read_facts(folder / "gemma" / "fold0" / "facts.json")["training"] == facts["training"]
    assert missing(TINY, released, folder, runtime, keep=True) == []


def test_the_same_answers_come_from_kept_weights(trained: tuple[Path, Runtime]) -> None:
    folder, runtime = trained
    path = folder / "gemma" / "fold0" / "test.parquet"
    before = read_table(path)
    path.unlink()
    crossfit.fit_plans([Plan([TINY], DATA, folder, keep=True)], runtime)
    pd.testing.assert_frame_equal(read_table(path), before)


def test_other_weights_train_again(trained: tuple[Path, Runtime], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, runtime = trained
    monkeypatch.setattr(Runtime, "identity", lambda *_: "other weights")
    assert missing(TINY, DATA, folder, runtime, keep=True) == [["oof", "test"]]


def test_another_version_of_text_or_code_trains_again(
    trained: tuple[Path, Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, runtime = trained
    monkeypatch.setattr(crossfit, "VERSIONS", ("another",))
    assert missing(TINY, DATA, folder, runtime, keep=True) == [["oof", "test"]]


def test_weights_leave_where_they_are_not_kept(tiny_gemma: Path, tmp_path: Path) -> None:
    crossfit.fit_plans([Plan([TINY], DATA, tmp_path)], Runtime(tiny_gemma, style="none"))
    assert not list(tmp_path.rglob("*.safetensors")) and not list(tmp_path.rglob(fit.DONE))


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_workers_leaves_the_same_tables(workers: int, tiny_gemma: Path, tmp_path: Path) -> None:
    plans = [Plan([TINY, WORDS], DATA, tmp_path / str(workers))]
    crossfit.fit_plans(plans, Runtime(tiny_gemma, style="none", devices=(CPU,) * workers))
    answers = [read_table(tmp_path / str(workers) / name / "test.parquet") for name in ("gemma", "overlap")]
    other = tmp_path / "alone"
    import torch

    torch.set_num_threads(1)
    crossfit.fit_plans([Plan([TINY, WORDS], DATA, other)], Runtime(tiny_gemma, style="none"))
    for name, table in zip(("gemma", "overlap"), answers, strict=True):
        pd.testing.assert_frame_equal(table, read_table(other / name / "test.parquet"), check_exact=True)


def test_parts_share_the_jobs_whoever_has_finished_what(tiny_gemma: Path, tmp_path: Path) -> None:
    """Every job is of one part, the dear ones of different parts; then the gathering call finds all and ends as one call does."""
    recipes = [TINY.with_(folds=(0, 1)), WORDS.with_(folds=(0, 1))]
    runtime, whole = Runtime(tiny_gemma, style="none"), tmp_path / "whole"
    crossfit.fit_plans([Plan(recipes, DATA, whole)], runtime)
    shared = tmp_path / "shared"
    for number in (1, 2):
        part = replace(runtime, part=(number, 2))
        jobs = crossfit.list_jobs(recipes, DATA, shared, part)
        own = [job.title for job in share_jobs(jobs, part)]
        assert len(own) == 2 and sum("gemma" in title for title in own) == 1
        with pytest.raises(PartDone, match=f"part {number}/2 of the trainings is done"):
            crossfit.fit_plans([Plan(recipes, DATA, shared)], part)
        assert [job.title for job in share_jobs(crossfit.list_jobs(recipes, DATA, shared, part), part)] == own
        assert not (shared / "gemma" / "oof.parquet").exists()
    assert not crossfit.find_missing(crossfit.list_jobs(recipes, DATA, shared, runtime))
    crossfit.fit_plans([Plan(recipes, DATA, shared)], runtime)
    for name in ("gemma", "overlap"):
        tables = [read_table(folder / name / "oof.parquet") for folder in (whole, shared)]
        pd.testing.assert_frame_equal(*tables, check_exact=True)


@given(costs=st.lists(st.integers(1, 50), max_size=12), count=st.integers(1, 4))
def test_every_job_is_of_one_part_and_no_part_has_more_than_a_job_too_many(costs: list[int], count: int) -> None:
    jobs = [
        fit.Job(
            WORDS, "QI", number, pd.DataFrame(), None, {"oof": pd.DataFrame(index=range(cost))}, Path(), f"{number}", ""
        )
        for number, cost in enumerate(costs)
    ]
    shares = [share_jobs(jobs, Runtime(part=(number + 1, count))) for number in range(count)]
    assert sorted(job.title for share in shares for job in share) == sorted(job.title for job in jobs)
    loads = [sum(len(job.tables["oof"]) for job in share) for share in shares]
    assert max(loads) - min(loads) <= max(costs, default=0)


def test_side_comparisons_are_skipped_with_a_notice(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    english = TaskData("QI", rows(24, languages=("en",)), {"test": TEST})
    held_out = WORDS.with_(name="overlap-unseen", variant_of="overlap", scheme="leave-language")
    one_label = TaskData("QI", DATA.train.assign(label=lambda t: t["label"].where(t["fold"] == 1, 1)), {"test": TEST})
    for recipe, data in ((held_out, english), (WORDS, one_label)):
        crossfit.fit_plans([Plan([recipe], data, tmp_path)], Runtime(style="none"))
        assert "notice: skipped: " in capsys.readouterr().out
        assert not (tmp_path / recipe.name).exists()


def test_a_skipped_side_comparison_leaves_no_tables_of_former_rows(tmp_path: Path) -> None:
    held_out = WORDS.with_(name="overlap-unseen", variant_of="overlap", scheme="leave-language", folds=(1, 2))
    english = TaskData("QI", rows(24, languages=("en",)), {"test": TEST})
    two = TaskData("QI", rows(24, languages=("en", "es")), {"test": TEST})
    for data, folds in ((DATA, {1, 2}), (two, {1}), (english, set())):
        crossfit.fit_plans([Plan([held_out], data, tmp_path)], Runtime(style="none"))
        path = tmp_path / "overlap-unseen" / "oof.parquet"
        assert (set(read_table(path)["fold"]) if path.exists() else set()) == folds


def test_a_candidate_that_matters_is_never_skipped(tiny_gemma: Path, tmp_path: Path) -> None:
    one_label = TaskData("QI", DATA.train.assign(label=lambda t: t["label"].where(t["fold"] == 1, 1)), {"test": TEST})
    with pytest.raises(
        DataError, match=r"^train_QI\.txt:1: .*validation rows of one label only; use more rows or fewer folds"
    ):
        crossfit.fit_plans([Plan([TINY], one_label, tmp_path)], Runtime(tiny_gemma, style="none"))


def test_what_is_not_answered_any_more_leaves_no_table(tmp_path: Path) -> None:
    """A split that the data lacks now, and a language that is not held out any more: no later notebook takes them for this run's."""
    finals, held_out = (
        {"QI": [WORDS]},
        {"QI": {WORDS.name: WORDS.with_(name="held-out", scheme="leave-language", folds=(1,))}},
    )
    with_dev = TaskData("QI", DATA.train, {"dev": TEST, "test": TEST})
    crossfit.fit_finals(finals, held_out, {"QI": with_dev}, tmp_path, 0, Runtime(style="none"))
    own = tmp_path / "QI" / WORDS.name
    assert (own / "dev.parquet").exists() and (own / "held-out" / "oof.parquet").exists()
    crossfit.fit_finals(finals, {"QI": {}}, {"QI": DATA}, tmp_path, 0, Runtime(style="none"))
    assert sorted(path.name for path in own.glob("*")) == ["fold0", "oof.parquet", "recipe.json", "test.parquet"]


def test_until_new_tables_stand_no_fingerprint_is_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between a table and its fingerprint, and given the former rows again, a fold is answered again."""
    plan, other = Plan([WORDS], DATA, tmp_path), Plan([WORDS], replace(DATA, splits={"test": TEST.head(3)}), tmp_path)
    crossfit.fit_plans([plan], Runtime(style="none"))
    before = read_table(tmp_path / WORDS.name / "test.parquet")
    written: list[Path] = []

    def die_at_the_last(path: Path, content: object) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write_json(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "write_json", die_at_the_last)
        with pytest.raises(KeyboardInterrupt):
            crossfit.fit_plans([other], Runtime(style="none"))
    assert len(read_table(tmp_path / WORDS.name / "fold0" / "test.parquet")) == 3
    crossfit.fit_plans([plan], Runtime(style="none"))
    pd.testing.assert_frame_equal(read_table(tmp_path / WORDS.name / "test.parquet"), before)


def test_finals_have_their_held_out_recipes_in_their_folders(tmp_path: Path) -> None:
    held_out = WORDS.with_(name="held-out", variant_of="overlap", scheme="leave-language", folds=(1, 2))
    crossfit.fit_finals(
        {"QI": [WORDS]}, {"QI": {"overlap": held_out}}, {"QI": DATA}, tmp_path, 4, Runtime(style="none")
    )
    oof = read_table(tmp_path / "QI" / "overlap" / "held-out" / "oof.parquet")
    assert set(oof["language"]) == {"es", "fr"} and oof.groupby("language").size().max() <= 4
    assert not (tmp_path / "QI" / "overlap" / "held-out" / "test.parquet").exists()
    assert (tmp_path / "QI" / "overlap" / "test.parquet").exists()


def test_no_process_of_a_job_opens_a_solution(tmp_path: Path) -> None:
    """Workers and ranks are sealed by their first step, as the notebook is that starts them."""
    (tmp_path / "solution").mkdir()
    (tmp_path / "solution" / "test_QI.txt").write_text("labels")
    runtime = make_runtime(Settings("smoke", str(tmp_path)), SMOKE, "none")
    assert runtime.data == tmp_path
    job = crossfit.make_job(WORDS, DATA, 0, tmp_path / "fold0")
    assert read_job(write_job(job, runtime, tmp_path / "job", ANSWER))[1].data == tmp_path
    run_step(job, runtime, ANSWER)
    with pytest.raises(LeakError, match="solutions are read by notebook 07 alone"):
        (tmp_path / "solution" / "test_QI.txt").read_text()
