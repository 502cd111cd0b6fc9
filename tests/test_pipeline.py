"""The whole pipeline, tiny, by the real commands: what it leaves, what a second call reuses, what an interruption costs."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import pandas as pd
import psutil
import pytest
from conftest import Shell, copy_project, is_long_run, open_shell
from odd import HUGE, STORED

from utils.ablations.results import OF_PATHS, OF_SEEDS, SWITCHES
from utils.core import paths
from utils.core.paths import Run
from utils.core.schema import CLEAN_COLUMNS, FOLD_COLUMNS, SCORE_COLUMNS
from utils.data.tables import read_table, write_table

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


LONG_RUN = is_long_run()
SECRET = "planted-secret"
SECRETS = {
    name: f"{number}-{SECRET}"
    for number, name in enumerate(
        ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN")
    )
} | {
    "PIP_INDEX_URL": f"https://user:{SECRET}@127.0.0.1:9/simple",
    "PIP_EXTRA_INDEX_URL": f"https://user:{SECRET}@127.0.0.1:9/more",
    "HTTPS_PROXY": f"http://user:{SECRET}@127.0.0.1:9",
}  # fmt: skip


def plant_secrets(folder: Path) -> dict[str, str]:
    """An environment full of secrets, and two files of them that libraries look for."""
    (folder / "token").write_text(SECRET)
    (folder / "netrc").write_text(f"machine 127.0.0.1 login user password {SECRET}\n")
    (folder / "netrc").chmod(0o600)
    return SECRETS | {"HF_HOME": str(folder), "NETRC": str(folder / "netrc")}


def files_with(words: bytes, *folders: Path) -> list[str]:
    """The files under folders, those within archives too, that hold some bytes."""
    found = []
    for path in (path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()):
        contents = [path.read_bytes()]
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                contents += map(archive.read, archive.namelist())
        found += [path.name] * any(words in content for content in contents)
    return found


@dataclass(frozen=True)
class Smoke:
    """A smoke run that has ended."""

    run: Run
    done: subprocess.CompletedProcess
    opened: Path  # log of every opening of a solution file
    models: tuple[str, ...]  # the option that names the weights

    def again(self, shell: Shell, *arguments: str) -> subprocess.CompletedProcess:
        return shell("./run_all.sh", "--profile", "smoke", "--run", self.run.name, *self.models, *arguments)


@pytest.fixture(scope="module", params=["tiny", pytest.param("packaged", marks=pytest.mark.long)])
def smoke(
    request: pytest.FixtureRequest, project: Path, environment: dict[str, str], shell: Shell, tiny_models: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Smoke]:  # fmt: skip
    """The smoke run on the embedded sample, on tiny networks or on the packaged weights."""
    folder = tmp_path_factory.mktemp("watch")
    (folder / "sitecustomize.py").write_text(WATCHER)
    watched = (
        environment
        | plant_secrets(folder)
        | {"PYTHONPATH": f"{folder}{os.pathsep}{project}", "OPENED_LOG": str(folder / "opened.log")}
    )
    models = ("--models", str(tiny_models)) if request.param == "tiny" else ()
    name = f"test-{request.param}"
    done = shell("./run_all.sh", "--profile", "smoke", "--run", name, *models, env=watched)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", project)
        patch.setattr(paths, "SUBMISSIONS", project / "submissions")
        yield Smoke(Run(name), done, folder / "opened.log", models)


def test_the_pipeline_ends_well_and_says_so(smoke: Smoke) -> None:
    done = smoke.done
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert (
        "data/raw holds no competition files" in done.stdout and "profile: smoke (named with --profile)" in done.stdout
    )
    for number, name in ((1, "01_eda"), (3, "03_folds"), (7, "07_ensemble_submit")):
        assert f"[{number}/7] {name} ... " in done.stdout
    assert "ensemble" in done.stdout and done.stdout.strip().endswith("submit.zip")


def test_no_secret_of_the_environment_is_left_anywhere(smoke: Smoke, project: Path) -> None:
    left = [smoke.run.root, smoke.run.submission, project / "data" / "cache", project / "data" / "generated"]
    assert files_with(SECRET.encode(), *left) == []
    assert SECRET not in smoke.done.stdout + smoke.done.stderr
    assert {"run.json", "report.html", "07_ensemble_submit.ipynb"} <= set(files_with(b"smoke", *left))  # it does find
    assert {"submit.zip", "submit_QC.txt"} <= set(files_with(b'"prediction": 1}', *left))


def test_solutions_are_opened_by_notebook_07_alone(smoke: Smoke) -> None:
    lines = [line.split("\t") for line in smoke.opened.read_text().splitlines()]
    # Making the sample writes solutions, in the pipeline's own process: only kernels count here.
    own_process = {pid for pid, path in lines if "/solution/." in path}
    readers = {pid for pid, path in lines if "/solution/" in path} - own_process
    writers = {pid for pid, path in lines if "/07_ensemble/.scores." in path}
    assert len(readers) == 1 and readers <= writers


def test_tables_have_their_columns_and_every_row(smoke: Smoke) -> None:
    run, settings = smoke.run, json.loads(smoke.run.settings.read_text())
    for task in ("QC", "QI"):
        raw = len((Path(settings["data"]) / f"test_{task}.txt").read_text("utf-8").splitlines())
        for split in ("train", "dev", "test"):
            table = read_table(run.clean_table(split, task))
            assert list(table.columns) == [c for c in CLEAN_COLUMNS if c != "label" or split == "train"]
        assert len(table) == raw
        assert list(read_table(run.fold_table(task)).columns) == list(FOLD_COLUMNS)
        finals = sorted((run.final / task).iterdir())
        names = {final.name for final in finals}
        assert (
            {"overlap", "tfidf", "wordpairs"} < names <= {"e5-small", "gemma-3-270m", "overlap", "tfidf", "wordpairs"}
        )
        for final in finals:
            for name in ("oof", "dev", "test"):
                table = read_table(final / f"{name}.parquet")
                assert list(table.columns) == [c for c in SCORE_COLUMNS if c != "label" or name == "oof"]
                assert table["probability"].between(0, 1).all() and table["id"].is_unique
            assert len(table) == raw
            assert len(list(final.glob("fold0/*.safetensors"))) == 1
        held_out = sorted(path.parents[1].name for path in (run.final / task).glob("*/held-out/oof.parquet"))
        networks = [name for name in held_out if name in ("e5-small", "gemma-3-270m")]
        assert len(networks) == 1 and len(held_out) == 4  # the champion and the baselines
    assert not list(run.root.rglob("*.pkl")) and not list(run.root.rglob("*.bin"))


def test_reports_of_cleaning_and_folds_hold_what_was_promised(smoke: Smoke) -> None:
    report = json.loads((smoke.run.clean / "report.json").read_text())["files"]
    promised = [
        "read",
        "empty",
        "null",
        "duplicate",
        "dropped",
        "translated",
        "cache_hits",
        "untranslated",
        "language_mismatches",
    ]
    assert len(report) == 6 and all(set(promised) <= set(counts) for counts in report.values())
    assert all(type(count) is int for counts in report.values() for count in counts.values())
    leaks = json.loads((smoke.run.folds / "leaks.json").read_text())
    for task in ("QC", "QI"):
        assert set(leaks[task]) == {"query", "report", "strict", "leave-language"} and len(leaks[task]["query"]) == 5
        for fold in leaks[task]["query"]:
            assert fold["shared_queries"] == 0 and fold["train_rows"] > 0 and "unseen_category_groups" in fold


def test_the_leaderboard_and_the_scores_hold_what_was_promised(smoke: Smoke) -> None:
    board = pd.read_csv(smoke.run.bakeoff / "leaderboard.csv")
    promised = (
        "recipe family task scheme folds rows f1 f1_best f1_sd f1_lo f1_hi auc threshold train_rows_per_s score_rows_per_s"
        " parameters seconds"
    )
    assert list(board.columns) == promised.split()
    for task in ("QC", "QI"):
        assert {"constant", "tfidf", "overlap", "zeroshot", "e5-small", "gemma-3-270m"} <= set(
            board.loc[board["task"] == task, "recipe"]
        )
    assert set(board["scheme"]) == {"query", "report", "leave-language"}
    scores = pd.read_csv(smoke.run.ensemble / "scores.csv")
    promised = "recipe,task,split,language,seen,rows,positives,f1,f1_lo,f1_hi,f1_best,auc,constant_f1,threshold"
    assert list(scores.columns) == promised.split(",")
    assert set(scores["recipe"]) == {"ensemble", *board["recipe"]}
    assert set(scores["split"]) == {"oof", "estimate", "dev", "test"}
    estimate = scores[scores["split"] == "estimate"]
    assert estimate[["task", "language"]].to_numpy().tolist() == [
        [t, k] for t in ("QC", "QI") for k in ("all", "seen", "unseen")
    ]
    candidates = scores[scores["recipe"] != "ensemble"]  # which has several thresholds
    assert (candidates["f1"] <= candidates["f1_best"] + 1e-9).all()
    whole = scores[(scores["recipe"] == "ensemble") & (scores["language"] == "all")]
    assert len(whole) == 8 and (whole["f1_lo"] <= whole["f1_hi"]).all()


def test_scores_equal_a_slow_reference(smoke: Smoke) -> None:
    settings = json.loads(smoke.run.settings.read_text())
    scores = pd.read_csv(smoke.run.ensemble / "scores.csv").query("recipe == 'ensemble' and split == 'test'")
    for task in ("QC", "QI"):
        lines = (smoke.run.submission / f"submit_{task}.txt").read_text("utf-8").splitlines()
        answers, truth = [json.loads(line) for line in lines], {}
        for line in (Path(settings["data"]) / "solution" / f"test_{task}.txt").read_text("utf-8").splitlines():
            truth[json.loads(line)["id"]] = int(json.loads(line)["label"])
        hits = sum(truth[a["id"]] * a["prediction"] for a in answers)
        f1 = 2 * hits / (sum(truth.values()) + sum(a["prediction"] for a in answers))
        assert scores[(scores["task"] == task) & (scores["language"] == "all")]["f1"].item() == pytest.approx(f1)


def test_tapt_was_continued_for_real(smoke: Smoke) -> None:
    comparison = pd.read_csv(smoke.run.tapt / "comparison.csv")
    assert {"task", "arm", "fold", "f1", "auc", "max_logit_difference"} <= set(comparison.columns)
    tapt = comparison[comparison["arm"] == "tapt"]
    assert set(tapt["task"]) == {"QC", "QI"} and set(comparison["arm"]) == {"direct", "tapt"}
    assert (tapt["max_logit_difference"] <= 1e-5).all() and (tapt["base_logit_difference"] > 1e-3).all()


def test_the_report_opens_offline(smoke: Smoke) -> None:
    page = smoke.run.report.read_text("utf-8")
    assert page.count("data:image/png;base64,") == 2 and "ensemble" in page
    for number in range(1, 8):
        (notebook,) = smoke.run.notebooks.glob(f"0{number}_*.html")
        assert f"notebooks/{notebook.name}" in page
        for text in (page, notebook.read_text("utf-8")):
            assert not re.findall(r"(?:src|import|from)[ =(]+['\"]https?:|<link[^>]+https?:", text)
        assert "data:image/png;base64," in notebook.read_text("utf-8")


def test_the_check_command_tells_a_good_submission_from_a_bad_one(smoke: Smoke, tmp_path: Path, shell: Shell) -> None:
    good = shell("python", "-m", "utils.submit", "--run", smoke.run.name, "--check")
    assert good.returncode == 0 and "valid" in good.stdout
    bad = tmp_path / "bad"
    shutil.copytree(smoke.run.submission, bad)
    text = (bad / "submit_QC.txt").read_text("utf-8")
    (bad / "submit_QC.txt").write_bytes(text.replace('"prediction": 1', '"prediction": 3', 1).encode())
    refused = shell("python", "-m", "utils.submit", "--run", smoke.run.name, "--check", bad)
    assert refused.returncode == 1 and "prediction is 3" in refused.stderr
    assert shell("python", "-m", "utils.submit", "--run", "never", "--check").returncode == 2


def test_new_pairs_are_answered_as_the_submission_was(smoke: Smoke, tmp_path: Path, shell: Shell) -> None:
    lines = (smoke.run.submission / "submit_QC.txt").read_text("utf-8").splitlines()[:40]
    pairs = [{k: v for k, v in json.loads(line).items() if k != "prediction"} for line in lines]
    file, output = tmp_path / "pairs.txt", tmp_path / "out.txt"
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), "utf-8")
    command = ("python", "-m", "utils.score", "--run", smoke.run.name, "--task", "QC")
    done = shell(*command, "--input", file, "--output", output)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    assert [a["prediction"] for a in answers] == [json.loads(line)["prediction"] for line in lines]
    assert [{k: v for k, v in a.items() if k not in ("probability", "prediction")} for a in answers] == pairs
    alone = shell(*command, input=json.dumps(pairs[7]) + "\n")
    assert abs(json.loads(alone.stdout)["probability"] - answers[7]["probability"]) < 1e-4
    bad = shell(*command, input='{"origin_query": "x"}\n')
    assert bad.returncode == 2 and "stdin:1: key category_path is missing" in bad.stderr


def test_a_run_keeps_its_profile_and_its_overrides(smoke: Smoke, shell: Shell) -> None:
    command = ("python", "-m", "utils.pipeline", "--run", smoke.run.name)
    refused = shell(*command, "--profile", "laptop")
    assert refused.returncode == 2 and "was started with profile smoke" in refused.stderr
    for arguments in (("--rows", "300"), ("--from", "04", "--set", "e5-small.epochs=2")):
        refused = shell(*command, "--profile", "smoke", *arguments)
        assert refused.returncode == 2 and "was started with no overrides, not with" in refused.stderr
        assert "name another run" in refused.stderr and "[" not in refused.stdout


def test_a_later_part_goes_on_with_the_data_of_the_run(smoke: Smoke, shell: Shell, small: Path) -> None:
    refused = shell(
        "python", "-m", "utils.pipeline", "--profile", "smoke", "--run", smoke.run.name, "--from", "07", "--data", small
    )
    assert (
        refused.returncode == 2 and "was started with other data than" in refused.stderr and "[" not in refused.stdout
    )


def kill_part(project: Path, environment: dict[str, str], run: Run, call: tuple[str, ...]) -> None:
    """Start the first part of notebook 04, and end it and all its processes at once when its first training is done."""
    command = [*call, "--only", "04", "--part", "1/2"]
    options = {"cwd": project, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    part = subprocess.Popen(list(map(str, command)), start_new_session=True, **options)
    while part.poll() is None and not list(run.bakeoff.glob("Q?/e5-small*/fold*/facts.json")):
        time.sleep(0.02)
    assert part.poll() is None, "the part was over before it could be killed"
    family = [part.pid, *(child.pid for child in psutil.Process(part.pid).children(recursive=True))]
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    part.wait()


@pytest.mark.long
def test_parts_and_hosts_end_with_the_bytes_of_one_call(
    smoke: Smoke, shell: Shell, project: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """04 in two parts, one of which was killed, and a gathering call; 05 and 06 on two machines that are this one twice."""
    if not smoke.models:
        pytest.skip("tiny networks share a run as real ones do")
    run = Run("test-parts")
    shutil.copytree(smoke.run.root, run.root)
    for folder in (run.bakeoff, run.tapt, run.final, run.ensemble, run.notebooks):
        shutil.rmtree(folder)
    remote = tmp_path / "remote"
    remote.write_text('#!/bin/sh\necho "on $1" >&2\nshift\nexec sh -c "$*"\n')
    remote.chmod(0o755)
    call = ("./run_all.sh", "--profile", "smoke", "--run", run.name, *smoke.models)
    kill_part(project, environment, run, call)
    for number in (1, 2):
        part = shell(*call, "--only", "04", "--part", f"{number}/2")
        assert part.returncode == 0 and f"part {number}/2 of the trainings is done" in part.stdout, part.stderr[-3000:]
        assert number == 2 or "reused" in part.stdout
        assert not (run.bakeoff / "leaderboard.csv").exists()
    assert len(list(run.notebooks.glob("04_bakeoff.part?of2.ipynb"))) == 2
    gathered = shell(*call, "--only", "04")
    assert gathered.returncode == 0 and gathered.stdout.count("reused") > 10, gathered.stderr[-3000:]
    hosts = shell(*call, "--from", "05", "--hosts", "here,there", "--shell", str(remote))
    assert hosts.returncode == 0, hosts.stdout[-2000:] + hosts.stderr[-3000:]
    kept = json.loads(run.settings.read_text())
    assert (kept["hosts"], kept["shell"]) == (
        "here,there",
        str(remote),
    )  # the parts leave them to the call that gathers
    for line in ("here: [5/7] 05_tapt: part 1/2", "there: [6/7] 06_final_train: part 2/2", "there: on there"):
        assert line in hosts.stdout
    for name in ("submit_QC.txt", "submit_QI.txt"):
        assert (run.submission / name).read_bytes() == (smoke.run.submission / name).read_bytes()


def test_a_second_call_reuses_everything_and_a_deleted_table_is_answered_alone(smoke: Smoke, shell: Shell) -> None:
    if not smoke.models and not LONG_RUN:
        pytest.skip("tiny networks say as much, sooner")
    before = (smoke.run.submission / "submit.zip").read_bytes()
    (smoke.run.final / "QI" / "e5-small" / "fold0" / "test.parquet").unlink()
    again = smoke.again(shell, "--from", "04")
    assert again.returncode == 0, again.stderr[-3000:]
    answered = [line for line in again.stdout.splitlines() if " rows, " in line and "fold" in line]
    refitted = {line.split(":")[0].strip() for line in answered}
    assert refitted == {"e5-small QI fold 0, test"}, refitted  # by the weights that stand
    assert (smoke.run.submission / "submit.zip").read_bytes() == before


def test_a_leak_that_was_planted_ends_the_run_and_no_secret_is_told(
    smoke: Smoke, shell: Shell, project: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """The folds of a table are changed by hand: notebook 04 trains nothing. Its report tells of the machine, and nothing that is secret."""
    if not smoke.models:
        pytest.skip("tiny networks say as much")
    run = Run("test-leak")
    shutil.copytree(smoke.run.root, run.root)
    folds, validated = (
        read_table(run.fold_table("QC")),
        read_table(run.bakeoff / "QC" / "overlap" / "fold0" / "oof.parquet")["id"],
    )
    queries = read_table(run.clean_table("train", "QC")).set_index("id")["query"].loc[validated]
    moved = queries.index[queries.duplicated()][0]  # a second row of a query that validates trains now
    write_table(folds.assign(fold=folds["fold"].mask(folds["id"] == moved, 1)), run.fold_table("QC"))
    call = ("./run_all.sh", "--profile", "smoke", "--run", run.name, *smoke.models, "--only", "04")
    done = shell(*call, env=environment | plant_secrets(tmp_path))
    assert done.returncode == 1, done.stdout[-2000:]
    told = r"LeakError: .*: 1 training rows share their query with validation rows, .*; run notebooks 02 and 03 again"
    assert re.search(told, done.stderr), done.stderr
    assert " s, all in " not in done.stdout and "The run failed" in run.report.read_text("utf-8")
    assert files_with(SECRET.encode(), project / "runs", project / "submissions") == []
    assert SECRET not in done.stdout + done.stderr


QUERY, TITLE = "*q{}* <img src=x onerror=a()>$a$\x1b[31m", "<b>_t_</b>$b$ "  # what would be markup, if it were not text


def hostile_folder(folder: Path, small: Path) -> Path:
    """A copy of a data folder in which every query and target holds HTML, Markdown, formulas and a terminal's escapes."""
    hostile, numbers = folder / "hostile", {}
    hostile.mkdir()
    for path in small.glob("*.txt"):
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for row in rows:
            number = numbers.setdefault((row["language"], row["origin_query"]), len(numbers))
            row["origin_query"] = QUERY.format(number)
            for key in {"category_path", "item_title"} & row.keys():
                row[key] = f"{TITLE}{row[key]}"
        (hostile / path.name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return hostile


class Cells(HTMLParser):
    """The texts of a page's table cells, and every tag within them or with a script of its own."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if self.inside or any(name.startswith("on") for name, _ in attributes):
            self.tags.append(tag)
        if tag == "td":
            self.texts.append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "td"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts[-1] += data


def check_texts(run: Run) -> None:
    """Executed notebooks show hostile texts as they are: in tables alone, where nothing is markup and no formula is typeset."""
    texts = []
    for name in ("01_eda", "02_clean_translate", "03_folds"):
        cells = json.loads((run.notebooks / f"{name}.ipynb").read_text("utf-8"))["cells"]
        outputs = [output["data"] for cell in cells for output in cell.get("outputs", ()) if "data" in output]
        tables = ["".join(data["text/html"]) for data in outputs if "text/html" in data]
        assert tables and all('class="dataframe tex2jax_ignore mathjax_ignore' in table for table in tables)
        assert not [data for data in outputs if "onerror" in "".join(data.get("text/markdown", ""))]
        page = Cells((run.notebooks / f"{name}.html").read_text("utf-8"))
        assert page.tags == [], name
        texts += page.texts
    assert sum(bool(re.match(r"\*q\d+\* <img src=x onerror=a\(\)>\$a\$", text)) for text in texts) > 10
    assert sum(text.startswith(TITLE) for text in texts) > 5


def test_a_part_of_a_run_names_only_what_is_there(
    tmp_path: Path, small: Path, tiny_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its overrides are kept, and a later part of the run takes them up; in a folder with all that a path may hold, and on texts with
    all that would be markup.
    """
    small, copy = hostile_folder(tmp_path, small), copy_project(tmp_path / "it's a {copy} ü")
    shell = open_shell(copy)
    command = ("./run_all.sh", "--profile", "smoke", "--run", "test-part", "--data", small, "--models", tiny_models)
    first = shell(*command, "--only", "01", "--rows", "150")
    assert first.returncode == 0, first.stderr[-3000:]
    assert "report:" in first.stdout and "submi" not in first.stdout and "set:     smoke.rows=150" in first.stdout
    assert "named with --data" in first.stdout
    bare = command[:5]  # neither data nor weights are named again
    later = [shell(*bare, "--only", number) for number in ("02", "3")]
    assert f"data:    {small} (the run was started with it)" in later[0].stdout
    assert [done.returncode for done in later] == [0, 0], later[-1].stderr[-3000:]
    assert "of 400 training rows" in later[1].stdout
    assert all(int(count) <= 150 for count in re.findall(r"Q[CI]: (\d+) of 400 training rows", later[1].stdout))
    assert "\x1b" not in "".join(done.stdout + done.stderr for done in (first, *later))
    monkeypatch.setattr(paths, "ROOT", copy)
    check_texts(Run("test-part"))


def one_task_folder(folder: Path, small: Path, task: str, texts: list[str]) -> Path:
    """Only one task, no dev, no solution; in test a null and an empty query, a null target, and some texts as queries and as targets."""
    alone = folder / task
    alone.mkdir()
    for split in ("train", "test"):
        shutil.copy(small / f"{split}_{task}.txt", alone)
    lines = (alone / f"test_{task}.txt").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    target = "category_path" if task == "QC" else "item_title"
    rows[0]["origin_query"], rows[1]["origin_query"], rows[2][target] = None, " \u200b", None
    for row, text in zip(rows[3:], texts, strict=False):
        row["origin_query"] = text
    for row, text in zip(rows[::-1], texts, strict=False):
        row[target] = text
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (alone / f"test_{task}.txt").write_bytes(content.encode())
    return alone


@pytest.mark.parametrize("task", ["QC", "QI"] if LONG_RUN else ["QC"])  # QI alone is what `test_kills.py` runs
def test_a_folder_with_one_task_and_no_dev_runs_the_whole_pipeline(
    task: str, small: Path, tmp_path: Path, tiny_models: Path, project: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(paths, "ROOT", project)
    monkeypatch.setattr(paths, "SUBMISSIONS", project / "submissions")
    texts = [*STORED, *(text[:1_000_000] for text in HUGE)] if LONG_RUN else STORED
    run, folder = Run(f"test-only-{task}"), one_task_folder(tmp_path, small, task, texts)
    options = ("--data", folder, "--rows", "200", "--models", tiny_models, "--candidates", "e5-small")
    done = shell("./run_all.sh", "--profile", "smoke", "--run", run.name, *options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "so it is skipped" in done.stdout and "no dev file" in done.stdout
    written, asked = (
        [json.loads(line) for line in path.read_bytes().decode().split("\n")[:-1]]
        for path in (run.submission / f"submit_{task}.txt", folder / f"test_{task}.txt")
    )
    assert len(written) == len(asked) and written[0]["origin_query"] is None
    assert [list(line.values())[:4] for line in written] == [
        [v for k, v in line.items() if k != "task"][:4] for line in asked
    ]
    assert all(line["prediction"] in (0, 1) for line in written)
    assert len(read_table(run.fold_table(task))) <= 200
    options = (
        "--run",
        run.name,
        "--task",
        task,
        "--input",
        folder / f"test_{task}.txt",
        "--output",
        tmp_path / "answers",
    )
    scored = shell("python", "-m", "utils.score", *options)
    assert scored.returncode == 0, scored.stderr[-3000:]
    answers = [json.loads(line) for line in (tmp_path / "answers").read_bytes().decode().split("\n")[:-1]]
    assert [line["prediction"] for line in answers] == [line["prediction"] for line in written]


def one_language_folder(folder: Path) -> Path:
    """Japanese rows alone, without spaces, one per query, and no target in every fifth."""
    alone = folder / "ja"
    alone.mkdir()
    for split, count, first in (("train", 200, 0), ("test", 40, 500)):
        rows = []
        for number in range(first, first + count):
            title = None if number % 5 == 0 else "赤い靴" if number % 2 else "電動工具"
            row = {
                "id": number,
                "task": "QI",
                "language": "ja",
                "origin_query": f"靴{chr(0x4E00 + number)}",
                "item_title": title,
            }
            rows.append(row | ({"label": number % 2} if split == "train" else {}))
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (alone / f"{split}_QI.txt").write_text(text, "utf-8")
    return alone


def test_one_language_without_spaces_ends_and_says_what_it_skipped(
    tmp_path: Path, tiny_models: Path, project: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be held out, no word occurs twice, no query has a second row: side comparisons give way, the run goes on."""
    monkeypatch.setattr(paths, "ROOT", project)
    monkeypatch.setattr(paths, "SUBMISSIONS", project / "submissions")
    run, folder = Run("test-one-language"), one_language_folder(tmp_path)
    options = ("--data", folder, "--models", tiny_models, "--candidates", "e5-small")
    done = shell("./run_all.sh", "--profile", "smoke", "--run", run.name, *options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "notice: QI cannot be split by scheme leave-language" in done.stdout
    assert "held out in turn: nothing, as there are too few languages" in done.stdout
    assert len((run.submission / "submit_QI.txt").read_text("utf-8").splitlines()) == 40
    content = json.loads(run.ensemble_file.read_text())["QI"]
    assert content["weights"]["seen"] == content["weights"]["unseen"]


def test_overrides_reach_the_training(smoke: Smoke) -> None:
    """One way through: what the profile says is what the recipe beside a fold says."""
    recipe = json.loads((smoke.run.bakeoff / "QC" / "e5-small" / "recipe.json").read_text())
    assert recipe["learning_rate"] == 6e-5 and recipe["rows"] == 24


@pytest.mark.skipif(not LONG_RUN, reason="takes minutes: --long")
def test_the_ablations_run_by_name_and_leave_their_table(smoke: Smoke, shell: Shell) -> None:
    if "tiny" not in smoke.run.name:
        pytest.skip("the same trainings on tiny networks say as much")
    done = smoke.again(shell, "--only", "08")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "[8/8] 08_ablations ... " in done.stdout and smoke.run.report.exists()
    table = pd.read_csv(smoke.run.ablations / "ablations.csv")
    columns = ["switch", "task", "seeds", "delta_f1", "lo", "hi", "delta_auc", "delta_f1_unseen", "cost_seconds"]
    assert list(table.columns) == columns and set(table["task"]) == {"QC", "QI"}
    found = {task: set(rows["switch"]) for task, rows in table.groupby("task")}  # the smoke profile has one seed
    assert found == {"QC": set(SWITCHES) - OF_SEEDS, "QI": set(SWITCHES) - OF_SEEDS - OF_PATHS}
    assert table.notna().all(axis=None)
    assert (table["lo"] <= table["delta_f1"]).all() and (table["delta_f1"] <= table["hi"]).all()
    assert len(list((smoke.run.ablations / "figures").glob("*.png"))) == 5
    transfer = pd.read_csv(smoke.run.ablations / "transfer.csv")
    assert set(zip(transfer["trained on"], transfer["tested on"], strict=True)) == set(
        product(["QC", "QI", "both", "nothing"], ["QC", "QI"])
    )
    finders = pd.read_csv(smoke.run.ablations / "label_noise.csv")
    assert len(finders) == 4 and finders["wrong labels"].gt(0).all() and finders["recall"].between(0, 1).all()
