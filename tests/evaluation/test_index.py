"""The index of all runs: every run in whatever state, nothing of the machine, and two runs beside each other in a browser."""

import json
import os
import re
import time
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from browser import ask, needs_browser
from hypothesis import given
from hypothesis import strategies as st

from utils import pipeline
from utils.core import paths, recipe
from utils.core.files import write_json, write_text
from utils.core.paths import Run
from utils.core.recipe import Recipe
from utils.evaluation import figure, report
from utils.evaluation.pages import index, runs

OLDER = [
    "recipe",
    "task",
    "split",
    "language",
    "seen",
    "rows",
    "positives",
    "f1",
    "f1_lo",
    "f1_hi",
    "auc",
    "constant_f1",
    "threshold",
]
NEWER = [*OLDER[:8], "f1_lo", "f1_hi", "f1_best", *OLDER[10:]]
HOSTILE = '<b>"R&D"</script><script>window.ran=true</script>\''


class Lines(HTMLParser):
    """The cells of the table of runs, line by line, and every address."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.lines: list[list[str]] = []
        self.addresses: list[str] = []
        self.cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for key, value in attributes if key in ("src", "href") and value]
        if tag == "tr":
            self.lines.append([])
        if tag in ("td", "th"):
            self.lines[-1].append("")
        if tag in ("td", "th", "small"):
            self.cell = True

    def handle_endtag(self, tag: str) -> None:
        self.cell = self.cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.cell:
            self.lines[-1][-1] += data


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project of its own, in a folder whose name shows where it leaks, and the clock of Greenwich."""
    root = tmp_path / "secret-place"
    monkeypatch.setattr(paths, "ROOT", root)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    (root / "runs").mkdir(parents=True)
    return root


def scores(f1: float, splits: tuple[str, ...], columns: list[str]) -> pd.DataFrame:
    """The ensemble's scores of QC, each split .01 above the one before, and a candidate's."""
    rows = [
        {"recipe": name, "task": "QC", "split": split, "language": "all", "seen": True, "rows": 100, "positives": 60,
         "f1": f1 + number / 100, "f1_lo": f1 - 0.02, "f1_hi": f1 + 0.02, "f1_best": f1 + 0.1, "auc": 0.75,
         "constant_f1": 0.7, "threshold": 0.4}
        for number, split in enumerate(splits) for name in ("ensemble", "tfidf")
    ]  # fmt: skip
    return pd.DataFrame(rows)[columns]


def make_run(
    name: str, f1: float = 0.8, splits: tuple[str, ...] = ("oof", "dev", "test"), columns: list[str] = NEWER, rows: int = 10,
    data: str = "/home/secret-place/sample", data_hash: str = "aaaabbbbccccdddd", overrides: str = "",
) -> Run:  # fmt: skip
    """A finished run, as far as the index looks."""
    run = Run(name)
    saved = {"profile": "laptop", "data": data, "models": "/secret-place/models", "hosts": "secret-host",
             "shell": "ssh -i /secret-place/key", "data_hash": data_hash, "overrides": overrides}  # fmt: skip
    write_json(run.settings, saved)
    write_text(run.ensemble / "scores.csv", scores(f1, splits, columns).to_csv(index=False))
    figure.new_figure(2, 1)[0].savefig(run.ensemble / "f1_by_language_QC.png")
    folder = run.final / "QC" / "e5-small"
    recipe.save(Recipe("e5-small", "xlm-r", rows=rows), folder / "recipe.json", task="QC", fingerprint=name)
    write_text(run.report, "the report")
    return run


def note_execution(run: Run, name: str, start: str, end: str | None, failed: bool = False) -> None:
    """An executed notebook, as papermill leaves it."""
    notebook = nbformat.v4.new_notebook(
        metadata={"papermill": {"start_time": start, "end_time": end, "exception": failed}}
    )
    run.notebooks.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, run.notebooks / f"{name}.ipynb")


def write() -> tuple[str, Lines]:
    index.write_index()
    text = paths.index_page().read_text("utf-8")
    return text, Lines(text)


@pytest.mark.parametrize("columns", [OLDER, NEWER], ids=["older", "newer"])
@pytest.mark.parametrize(
    ("splits", "cells"),
    [
        (("oof", "dev", "test"), ["0.8200", "0.780 – 0.820", "0.750", "test"]),
        (("oof", "estimate", "dev", "test"), ["0.8300", "0.780 – 0.820", "0.750", "test"]),
        (("oof", "estimate"), ["0.8100", "0.780 – 0.820", "0.750", "estimate"]),
        (("oof",), ["0.8000", "0.780 – 0.820", "0.750", "oof"]),
    ],
    ids=["solution", "both", "estimate", "oof"],
)
def test_a_run_is_shown_by_its_headline(splits: tuple[str, ...], cells: list[str], columns: list[str]) -> None:
    run = make_run("one", splits=splits, columns=columns)
    moment = datetime(2025, 3, 4, 15, 6, tzinfo=UTC).timestamp()
    os.utime(run.ensemble / "scores.csv", (moment, moment))
    _, page = write()
    assert page.lines == [
        ["run", "QC · query-category", "profile", "data", "date"],
        ["F1", "95 % CI", "AUC", "on"],
        ["one", *cells, "laptop", "sample aaaabb", "2025-03-04 15:06"],
    ]
    assert page.addresses == ["one/report.html"]


def test_the_newest_finished_run_comes_first_and_an_unfinished_one_last() -> None:
    for name, hour in (("early", "09"), ("late", "11"), ("middle", "10")):
        note_execution(
            make_run(name), "07_ensemble_submit", f"2025-03-04T{hour}:00:00+00:00", f"2025-03-04T{hour}:30:00+00:00"
        )
    half = make_run("half")
    note_execution(half, "06_final_train", "2025-03-04T12:00:00+00:00", "2025-03-04T12:10:00+00:00", failed=True)
    _, page = write()
    assert [line[0] for line in page.lines[2:]] == [
        "late",
        "middle",
        "early",
        "halfunfinished: 06_final_train did not end",
    ]
    assert page.lines[2][-1] == "2025-03-04 11:30"


def test_broken_runs_are_listed_and_break_nothing() -> None:
    make_run("good")
    (paths.index_page().parent / "empty").mkdir()
    (paths.index_page().parent / ".hidden").mkdir()
    (paths.index_page().parent / "no run's name").mkdir()
    for lock in (Run("refused").lock(), Run("refused").lock("1/2")):
        write_text(lock, "{}")
    write_text(make_run("broken-settings").settings, "{")
    write_text(make_run("list-of-settings").settings, "[1]")
    write_text(make_run("empty-scores").ensemble / "scores.csv", "")
    write_text(make_run("other-scores").ensemble / "scores.csv", "task,a\nQC,1\n")
    write_text(
        make_run("text-scores").ensemble / "scores.csv", scores(0.8, ("oof",), NEWER).assign(f1="x").to_csv(index=False)
    )
    write_text(
        make_run("no-ensemble").ensemble / "scores.csv",
        scores(0.8, ("oof",), NEWER).assign(recipe="a").to_csv(index=False),
    )
    write_text(make_run("broken-recipe").final / "QC" / "e5-small" / "recipe.json", "null")
    (make_run("binary").settings).write_bytes(b"\xff\xfe{")
    write_text(Run("file-for-folder").ensemble, "")
    running = make_run("running")
    note_execution(running, "04_bakeoff", "2025-03-04T12:00:00+00:00", None)
    write_text(make_run("odd-notebook").notebooks / "01_eda.ipynb", '{"metadata": []}')
    _, page = write()
    states = {line[0].split("unfinished: ")[0]: line[0].partition("unfinished: ")[2] for line in page.lines[2:]}
    lost = "run.json is missing or broken"
    assert states == {
        "good": "", "broken-recipe": "", "odd-notebook": "", "empty": lost, "broken-settings": lost, "list-of-settings": lost,
        "binary": lost, "file-for-folder": lost, "empty-scores": "no scores", "other-scores": "no scores", "text-scores": "no scores",
        "no-ensemble": "no scores", "running": "04_bakeoff did not end",
    }  # fmt: skip


def test_scores_older_than_an_earlier_step_are_not_taken_for_the_runs_own() -> None:
    run = make_run("again")
    note_execution(run, "07_ensemble_submit", "2025-03-04T11:00:00+00:00", "2025-03-04T11:30:00+00:00")
    note_execution(run, "08_ablations", "2025-03-04T12:00:00+00:00", None)
    assert runs.read_facts(run).problem == ""  # what comes after the scores does not matter to them
    note_execution(run, "02_clean_translate", "2025-03-04T12:00:00+00:00", "2025-03-04T12:10:00+00:00")
    assert runs.read_facts(run).problem == "02_clean_translate ran again after the scores were made"


def test_nothing_of_the_machine_is_told_and_every_text_is_escaped() -> None:
    overrides = f"e5-small.model=/home/secret-place/weights final.x={HOSTILE} laptop.b=~/secret-place/b,/secret-place/c"
    make_run("one", overrides=overrides, data=f"/home/secret-place/{HOSTILE.replace('/', '')}")
    make_run("two")
    text, page = write()
    assert "secret" not in text and "/home" not in text and "ssh" not in text
    assert "e5-small.model=…/weights" in text and "laptop.b=…/b,…/c" in text
    assert HOSTILE not in text and "<b>" not in text and text.count("<script") == text.count("</script>") == 2
    shown = next(line for line in page.lines[2:] if line[0] == "one")
    profile, data, _ = shown[-3:]
    assert data.startswith(HOSTILE.replace("/", "")) and HOSTILE[:10] in profile


@given(st.lists(st.text("ab1_-", min_size=1), min_size=1), st.text("abc=", max_size=5))
def test_of_an_absolute_path_only_the_last_name_is_left(names: list[str], before: str) -> None:
    assert runs.without_folders(f"{before}= /{'/'.join(names)} 1/2 a/b") == f"{before}= …/{names[-1]} 1/2 a/b"


def test_runs_on_different_data_are_not_compared_in_silence() -> None:
    make_run("one")
    make_run("two")
    assert "on the same data only" not in write()[0]
    make_run("three", data_hash="0123456789abcdef")
    assert "on the same data only" in write()[0]


def test_a_project_without_runs_has_an_index() -> None:
    assert "No run" in write()[0]


def test_the_report_makes_the_index_anew_and_leaves_nothing_beside_it() -> None:
    make_run("one")
    index.write_index()
    two = make_run("two", data=str(paths.ROOT))
    report.write_report(two, [])
    folder = paths.index_page().parent
    assert {line[0] for line in Lines(paths.index_page().read_text("utf-8")).lines[2:]} == {"one", "two"}
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "one", "two"]
    address = re.search(r'href="(\.\./[^"]+)"', two.report.read_text("utf-8"))
    assert address and (two.root / address[1]).resolve() == paths.index_page().resolve()


def test_a_pipeline_that_ends_says_where_the_index_lies(capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run("one", data=str(paths.ROOT))
    pipeline.show_results(run, [paths.NOTEBOOKS / "01_eda.ipynb"])
    assert f"all runs:   {paths.index_page()}\n" in capsys.readouterr().out and paths.index_page().exists()


def test_the_page_holds_no_picture_and_only_the_fields_that_differ() -> None:
    make_run("one", rows=10)
    make_run("two", rows=20)
    text, _ = write()
    content = json.loads(re.search(r'<script type="application/json" id="runs">(.*?)</script>', text)[1])
    assert sorted(entry["recipes"]["QC · e5-small"]["rows"] for entry in content) == ["10", "20"]
    assert all(list(entry["recipes"]["QC · e5-small"]) == ["rows"] for entry in content)
    assert sorted(entry["figures"]["QC"] for entry in content) == [
        f"{n}/07_ensemble/f1_by_language_QC.png" for n in ("one", "two")
    ]
    assert "data:image" not in text


# What a person sees of the comparison.
COMPARISON = """
const row = (line) => [...line.children].map((cell) => cell.textContent);
const state = () => ({
  captions: all("figcaption").map((caption) => caption.textContent),
  images: all("#figures img").map((image) => image.getAttribute("src")),
  loaded: all("#figures img").every((image) => image.naturalWidth > 0),
  warning: seen(one("#warning")) ? one("#warning").textContent : "",
  rows: all("#differences tr").map(row),
  nothing: one("#differences").textContent,
});
"""


@needs_browser
def test_the_address_chooses_two_runs() -> None:
    make_run("one", f1=0.8, rows=10, overrides="final.e5-small.rows=10 e5-small.epochs=2")
    make_run("two", f1=0.7, rows=20)
    make_run("three", data="/elsewhere/<other>", data_hash="0123456789abcdef", splits=("oof",))
    recipe.save(Recipe("gemma", "gemma"), Run("two").final / "QC" / "gemma" / "recipe.json", task="QC", fingerprint="f")
    write()
    pair = ask(paths.index_page(), COMPARISON + "return state();", address="a=one&b=two")
    assert pair["captions"] == ["one · QC · F1 0.8200 on test", "two · QC · F1 0.7200 on test"]
    assert pair["images"] == [f"{name}/07_ensemble/f1_by_language_QC.png" for name in ("one", "two")] and pair["loaded"]
    assert pair["warning"] == ""
    assert pair["rows"] == [
        ["setting", "one", "two"],
        ["run"],
        ["overrides", "final.e5-small.rows=10\ne5-small.epochs=2", "–"],
        ["QC · e5-small"],
        ["rows", "10", "20"],
        ["QC · gemma"],
        ["final training", "no", "yes"],
    ]


@needs_browser
def test_a_choice_changes_the_page_and_its_address() -> None:
    make_run("one", data_hash="aaaa")
    make_run("two", data_hash="aaaa", splits=("oof",))
    make_run("three", data="/elsewhere/<other>", data_hash="bbbb")
    (make_run("half").ensemble / "scores.csv").unlink()
    (Run("half").ensemble / "f1_by_language_QC.png").unlink()
    write()
    same, split, data, address, half = ask(paths.index_page(), COMPARISON + """
        const choose = async (name) => {
          one("#b").value = name; one("#b").dispatchEvent(new Event("change")); await pause(); return state();
        };
        const same = await choose("one"), split = await choose("two"), data = await choose("three"), address = location.hash;
        return [same, split, data, address, await choose("half")];""", address="a=one&b=nobody")  # fmt: skip
    assert same["warning"] == "" and same["nothing"].startswith("Nothing")
    assert split["warning"] == "QC is scored on test in one, on oof in two: not comparable."
    assert data["warning"] == "These runs read different data (sample and <other>): their scores are not comparable."
    assert data["rows"][2:4] == [["data", "sample", "<other>"], ["data hash", "aaaa", "bbbb"]] and data["loaded"]
    assert address == "#a=one&b=three"
    assert half["captions"] == ["one · QC · F1 0.8200 on test", "half · QC"] and len(half["images"]) == 1


@needs_browser
@pytest.mark.parametrize("width", [1280, 400])
def test_no_line_breaks_within_a_word_and_no_text_is_run(width: int) -> None:
    long = " ".join(f"final.e5-small.a_field_of_a_long_name_{number}=1e-0{number}" for number in range(9))
    make_run("one", overrides=f"{long} laptop.x={HOSTILE}", data=f"/a/{HOSTILE.replace('/', '')} {'words ' * 30}")
    make_run("a-run-with-a-very-long-name-that-goes-on-and-on", overrides=long)
    write_text(make_run("broken").settings, "{")
    write()
    broken, page, ran, shown = ask(paths.index_page(), """
        return [brokenWords(), document.documentElement.scrollWidth <= innerWidth, window.ran ?? false, one("#differences").textContent];
    """, width, "a=one&b=broken")  # fmt: skip
    assert broken == [] and page and not ran and HOSTILE in shown.replace("\n", " ")
