"""The whole road, tiny, by the real commands: what it leaves, what a second call reuses, what an interruption costs."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from utils import sample
from utils.data import read_table
from utils.paths import ROOT, Run
from utils.schema import CLEAN_COLUMNS, FOLD_COLUMNS, SCORE_COLUMNS

RUN = Run("test-smoke")
Walked = tuple[subprocess.CompletedProcess, Path]
WATCHER = """
import os, sys
def note(event, details):
    if event == "open" and not isinstance(details[0], int):
        path = os.fsdecode(details[0])
        if "/solution/" in path or "/07_ensemble/" in path:
            os.write(LOG, f"{os.getpid()}\\t{path}\\n".encode())
LOG = os.open(os.environ["OPENED_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
sys.addaudithook(note)
"""


def road(*arguments: str, run: Run = RUN, **environment: str) -> subprocess.CompletedProcess:
    command = ["./run_all.sh", "--profile", "smoke", "--run", run.name, *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
    )


def clear(run: Run) -> None:
    shutil.rmtree(run.root, ignore_errors=True)
    shutil.rmtree(run.submission, ignore_errors=True)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.CompletedProcess, Path]]:
    """The smoke road on the embedded sample, with every opening of a solution file noted down."""
    clear(RUN)
    folder = tmp_path_factory.mktemp("watch")
    (folder / "sitecustomize.py").write_text(WATCHER)
    done = road(PYTHONPATH=str(folder), OPENED_LOG=str(folder / "opened.log"))
    yield done, folder / "opened.log"
    clear(RUN)


def test_the_road_ends_well_and_says_so(walked: Walked) -> None:
    done, _ = walked
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert (
        "data/raw holds no competition files" in done.stdout and "profile: smoke (named with --profile)" in done.stdout
    )
    for number, name in enumerate(("01_eda", "03_folds", "07_ensemble_submit"), start=1):
        assert f"/7] {name} ... " in done.stdout, number
    assert "ensemble" in done.stdout and done.stdout.strip().endswith("submit.zip")


def test_solutions_are_opened_by_notebook_07_alone(walked: Walked) -> None:
    lines = [line.split("\t") for line in walked[1].read_text().splitlines()]
    # Making the sample writes solutions, in the road's own process: only kernels count here.
    road_process = {pid for pid, path in lines if "/solution/." in path}
    readers = {pid for pid, path in lines if "/solution/" in path} - road_process
    writers = {pid for pid, path in lines if "/07_ensemble/.scores." in path}
    assert len(readers) == 1 and readers <= writers


def test_tables_have_their_columns_and_every_row(walked: Walked) -> None:
    settings = json.loads(RUN.settings.read_text())
    for task in ("QC", "QI"):
        raw = len((Path(settings["data"]) / f"test_{task}.txt").read_text("utf-8").splitlines())
        for split in ("train", "dev", "test"):
            table = read_table(RUN.clean_table(split, task))
            assert list(table.columns) == [c for c in CLEAN_COLUMNS if c != "label" or split == "train"]
        assert len(table) == raw
        assert list(read_table(RUN.fold_table(task)).columns) == list(FOLD_COLUMNS)
        finals = sorted((RUN.final / task).iterdir())
        assert [final.name for final in finals] == ["e5-small", "gemma-3-270m"][: 2 if task == "QC" else 1]
        for final in finals:
            for name in ("oof", "dev", "test"):
                table = read_table(final / f"{name}.parquet")
                assert list(table.columns) == [c for c in SCORE_COLUMNS if c != "label" or name == "oof"]
                assert table["probability"].between(0, 1).all() and table["id"].is_unique
            assert len(table) == raw
            assert len(list(final.glob("fold0/*.safetensors"))) == 1
    assert not list(RUN.root.rglob("*.pkl")) and not list(RUN.root.rglob("*.bin"))


def test_the_leaderboard_and_the_scores_hold_what_was_promised(
    walked: Walked,
) -> None:
    board = pd.read_csv(RUN.bakeoff / "leaderboard.csv")
    promised = (
        "recipe family task scheme folds rows f1 f1_sd f1_lo f1_hi auc threshold train_rows_per_s score_rows_per_s"
        " parameters seconds"
    )
    assert list(board.columns) == promised.split()
    for task in ("QC", "QI"):
        assert {"constant", "tfidf", "overlap", "zeroshot", "e5-small", "gemma-3-270m"} <= set(
            board.loc[board["task"] == task, "recipe"]
        )
    assert set(board["scheme"]) == {"report", "strict", "leave-language"}
    scores = pd.read_csv(RUN.ensemble / "scores.csv")
    promised = "recipe,task,split,language,seen,rows,positives,f1,f1_lo,f1_hi,auc,constant_f1,threshold"
    assert list(scores.columns) == promised.split(",")
    assert set(scores["recipe"]) == {"ensemble", *board["recipe"]} and set(scores["split"]) == {"oof", "dev", "test"}
    whole = scores[(scores["recipe"] == "ensemble") & (scores["language"] == "all")]
    assert len(whole) == 6 and (whole["f1_lo"] <= whole["f1"]).all() and (whole["f1"] <= whole["f1_hi"]).all()


def test_scores_equal_a_slow_reference(walked: Walked) -> None:
    settings = json.loads(RUN.settings.read_text())
    scores = pd.read_csv(RUN.ensemble / "scores.csv").query("recipe == 'ensemble' and split == 'test'")
    for task in ("QC", "QI"):
        answers = [json.loads(line) for line in (RUN.submission / f"submit_{task}.txt").read_text("utf-8").splitlines()]
        truth = {}
        for line in (Path(settings["data"]) / "solution" / f"test_{task}.txt").read_text("utf-8").splitlines():
            truth[json.loads(line)["id"]] = int(json.loads(line)["label"])
        hits = sum(truth[a["id"]] * a["prediction"] for a in answers)
        f1 = 2 * hits / (sum(truth.values()) + sum(a["prediction"] for a in answers))
        assert scores[(scores["task"] == task) & (scores["language"] == "all")]["f1"].item() == pytest.approx(f1)


def test_tapt_was_continued_for_real(walked: Walked) -> None:
    comparison = pd.read_csv(RUN.tapt / "comparison.csv")
    assert {"task", "arm", "fold", "f1", "auc", "max_logit_difference"} <= set(comparison.columns)
    tapt = comparison[comparison["arm"] == "tapt"]
    assert set(tapt["task"]) == {"QC", "QI"} and set(comparison["arm"]) == {"direct", "tapt"}
    assert (tapt["max_logit_difference"] <= 1e-5).all() and (tapt["base_logit_difference"] > 1e-3).all()


def test_the_report_opens_offline(walked: Walked) -> None:
    page = RUN.report.read_text("utf-8")
    assert page.count("data:image/png;base64,") == 2 and "ensemble" in page
    for number in range(1, 8):
        (notebook,) = RUN.notebooks.glob(f"0{number}_*.html")
        assert f"notebooks/{notebook.name}" in page
        for text in (page, notebook.read_text("utf-8")):
            assert not re.findall(r"(?:src|import|from)[ =(]+['\"]https?:|<link[^>]+https?:", text)
        assert "data:image/png;base64," in notebook.read_text("utf-8")


def test_the_check_command_judges_the_submission(walked: Walked, tmp_path: Path, shell) -> None:
    good = shell("python", "-m", "utils.submit", "--run", RUN.name, "--check")
    assert good.returncode == 0 and "valid" in good.stdout
    bad = tmp_path / "bad"
    shutil.copytree(RUN.submission, bad)
    text = (bad / "submit_QC.txt").read_text("utf-8")
    (bad / "submit_QC.txt").write_bytes(text.replace('"prediction": 1', '"prediction": 3', 1).encode())
    refused = shell("python", "-m", "utils.submit", "--run", RUN.name, "--check", str(bad))
    assert refused.returncode == 1 and "prediction is 3" in refused.stderr
    assert shell("python", "-m", "utils.submit", "--run", "never", "--check").returncode == 2


def test_new_pairs_are_answered_as_the_submission_was(walked: Walked, tmp_path: Path, shell) -> None:
    lines = (RUN.submission / "submit_QC.txt").read_text("utf-8").splitlines()[:40]
    pairs = [{k: v for k, v in json.loads(line).items() if k != "prediction"} for line in lines]
    asked = tmp_path / "pairs.txt"
    asked.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), "utf-8")
    done = shell(
        "python",
        "-m",
        "utils.score",
        "--run",
        RUN.name,
        "--task",
        "QC",
        "--input",
        str(asked),
        "--output",
        str(tmp_path / "out.txt"),
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in (tmp_path / "out.txt").read_text("utf-8").splitlines()]
    assert [a["prediction"] for a in answers] == [json.loads(line)["prediction"] for line in lines]
    assert [{k: v for k, v in a.items() if k not in ("probability", "prediction")} for a in answers] == pairs
    alone = shell("python", "-m", "utils.score", "--run", RUN.name, "--task", "QC", input=json.dumps(pairs[7]) + "\n")
    assert abs(json.loads(alone.stdout)["probability"] - answers[7]["probability"]) < 1e-4
    bad = shell("python", "-m", "utils.score", "--run", RUN.name, "--task", "QC", input='{"origin_query": "x"}\n')
    assert bad.returncode == 2 and "stdin:1: key category_path is missing" in bad.stderr


def test_a_second_call_reuses_everything_and_a_deleted_fold_is_refitted_alone(
    walked: Walked,
) -> None:
    before = (RUN.submission / "submit.zip").read_bytes()
    (RUN.final / "QI" / "e5-small" / "fold1" / "test.parquet").unlink()
    again = road("--from", "04")
    assert again.returncode == 0, again.stderr[-3000:]
    refitted = {
        line.split(":")[0].strip() for line in again.stdout.splitlines() if " rows, " in line and "fold" in line
    }
    assert refitted and all("QI fold 1" in line for line in refitted), refitted
    assert (RUN.submission / "submit.zip").read_bytes() == before


def test_a_run_keeps_its_profile(walked: Walked, shell) -> None:
    refused = shell("python", "-m", "utils.road", "--profile", "laptop", "--run", RUN.name)
    assert refused.returncode == 2 and "was begun with profile smoke" in refused.stderr


def one_task_folder(folder: Path, task: str) -> Path:
    """Only one task, no dev, no solution; a null and an empty query and a null target in test."""
    sample.make_sample(folder / "whole", rows=400, seed=8)
    alone = folder / task
    alone.mkdir()
    for split in ("train", "test"):
        shutil.copy(folder / "whole" / f"{split}_{task}.txt", alone)
    lines = (alone / f"test_{task}.txt").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    target = "category_path" if task == "QC" else "item_title"
    rows[0]["origin_query"], rows[1]["origin_query"], rows[2][target] = None, " \u200b", None
    (alone / f"test_{task}.txt").write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8"
    )
    return alone


@pytest.mark.parametrize("task", ["QC", "QI"])
def test_a_folder_with_one_task_and_no_dev_runs_the_whole_road(task: str, tmp_path: Path) -> None:
    run = Run(f"test-only-{task}")
    clear(run)
    try:
        done = road("--data", str(one_task_folder(tmp_path, task)), "--rows", "200", run=run)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        assert "so it is skipped" in done.stdout and "no dev file" in done.stdout
        written = (run.submission / f"submit_{task}.txt").read_text("utf-8").splitlines()
        asked = (tmp_path / task / f"test_{task}.txt").read_text("utf-8").splitlines()
        assert len(written) == len(asked) and json.loads(written[0])["origin_query"] is None
        assert all(json.loads(line)["prediction"] in (0, 1) for line in written)
        assert len(read_table(run.fold_table(task))) <= 200
    finally:
        clear(run)
