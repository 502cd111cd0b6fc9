"""The report and its notebooks: the score table, folded code, lines that no word is broken over, nothing from elsewhere."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from browser import ask, needs_browser

from utils.core import paths, settings
from utils.core.errors import SettingsError
from utils.core.files import write_text
from utils.core.settings import Settings
from utils.evaluation import figure, report

NAME = "<script src='https://example.org/x.js'>&"  # a recipe's name that would be markup
PNG = b"\x89PNG\r\n\x1a\n"


class Page(HTMLParser):
    """Tags, addresses and table cells of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.cells: list[str] = []
        self.kinds: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        content = dict(attributes)
        self.addresses += [content[key] for key in ("src", "href", "srcset", "data") if content.get(key)]
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "tr":
            self.kinds.append(content.get("class"))

    def handle_data(self, data: str) -> None:
        if self.cells and self.lasttag in ("td", "th"):
            self.cells[-1] += data.strip()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> paths.Run:
    """A run that was started, without notebooks and scores."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    run = paths.Run("small")
    settings.save(run, Settings("smoke", str(tmp_path / "<data>")))
    return run


def write_scores(run: paths.Run, *more: tuple) -> None:
    """Scores of the ensemble, a candidate with every row and one with a part of the rows, and more rows."""
    columns = ["recipe", "task", "split", "language", "rows", "f1", "f1_lo", "f1_hi", "auc", "constant_f1"]
    rows = [
        (NAME, "QC", "test", "all", 2000, 0.8, 0.79, 0.81, 0.7, 0.75),
        ("ensemble", "QC", "test", "all", 2000, 0.91234, 0.9, 0.92, 0.9512, 0.75),
        ("ensemble", "QC", "test", "ja", 500, 0.111, 0.1, 0.2, 0.5, 0.75),
        ("zeroshot", "QC", "test", "all", 1500, 0.99, 0.98, 1.0, 0.999, 0.75),
        ("ensemble", "QC", "oof", "all", 9000, 0.222, 0.1, 0.3, 0.5, 0.75),
        *more,
    ]
    write_text(run.ensemble / "scores.csv", pd.DataFrame(rows, columns=columns).to_csv(index=False))


def test_the_table_shows_the_scores_in_order(run: paths.Run) -> None:
    write_scores(run)
    report.write_report(run, [])
    page = Page(run.report.read_text("utf-8"))
    assert [page.cells[start : start + 7] for start in range(0, len(page.cells), 7)] == [
        ["recipe", "F1", "95 % CI, query bootstrap", "AUC", "always relevant", "rows", ""],
        ["ensemble", "0.9123", "0.900 – 0.920", "0.951", "0.7500", "2,000", ""],
        [NAME, "0.8000", "0.790 – 0.810", "0.700", "0.7500", "2,000", ""],
        ["zeroshot", "0.9900", "0.980 – 1.000", "0.999", "0.7500", "1,500", "on 1,500 of the rows"],
    ]
    assert page.kinds == [None, "ours", "", "part"]


def test_the_estimate_is_set_against_the_test_score(run: paths.Run) -> None:
    pools = [
        ("ensemble", "QC", "estimate", "all", 2000, 0.90234, 0.893, 0.911, 0.9, 0.75),
        ("ensemble", "QC", "estimate", "unseen", 800, 0.85, 0.84, 0.86, 0.8, 0.7),
        ("ensemble", "QC", "test", "unseen", 800, 0.8575, 0.8, 0.9, 0.8, 0.7),
        ("ensemble", "QC", "estimate", "seen", 1200, 0.95, 0.94, 0.96, 0.8, 0.7),
    ]
    write_scores(run, *pools)
    report.write_report(run, [])
    cells = Page(run.report.read_text("utf-8")).cells
    start = cells.index("the ensemble on")
    assert [cells[place : place + 6] for place in range(start + 6, len(cells), 6)] == [
        ["all languages", "0.9023", "0.893 – 0.911", "0.9123", "+0.0100", "outside"],
        ["languages not in it", "0.8500", "0.840 – 0.860", "0.8575", "+0.0075", "inside"],
    ]


def test_a_score_that_does_not_exist_is_a_dash(run: paths.Run) -> None:
    write_scores(run, ("always", "QC", "test", "all", 2000, 0.7, None, None, None, 0.75))
    report.write_report(run, [])
    cells = Page(run.report.read_text("utf-8")).cells
    start = cells.index("always")
    assert cells[start : start + 4] == ["always", "0.7000", "– – –", "–"]


def test_texts_are_escaped(run: paths.Run) -> None:
    write_scores(run)
    report.write_report(run, [])
    text = run.report.read_text("utf-8")
    assert "&lt;script src=" in text and "<script" not in text
    assert "data &lt;data&gt;" in text and "script" not in Page(text).tags


def test_the_page_loads_nothing_from_elsewhere(run: paths.Run) -> None:
    write_scores(run)
    (run.ensemble / "f1_by_language_QC.png").write_bytes(PNG)
    cells = [nbformat.v4.new_markdown_cell("# Title"), nbformat.v4.new_code_cell("1 + 1")]
    run.notebooks.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), run.notebooks / "01_eda.ipynb")
    report.write_report(run, [Path("notebooks/01_eda.ipynb"), Path("notebooks/02_never_run.ipynb")])
    text = run.report.read_text("utf-8")
    page = Page(text)
    assert page.addresses == ["../index.html", "notebooks/01_eda.html", "data:image/png;base64,iVBORw0KGgo="]
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "base"}
    assert not re.search(r"@import|url\(", text)
    notebook = Page((run.notebooks / "01_eda.html").read_text("utf-8"))
    assert "link" not in notebook.tags and notebook.addresses == ["../report.html"]  # so its script is in the page


LONG = "_".join(f"{number:04d}" for number in range(200))  # wider than any screen, without a space
WIDE = pd.DataFrame([range(1000, 1040)] * 2, index=["a name of many words", "b"]).add_prefix("a_column_").to_html()
HOSTILE = "<script>window.ran = true</script><img class='foreign' src='https://example.org/x.png' onerror='window.ran = true'>"
SENDING = "<base href='https://example.org/'><form class='sending' action='javascript:window.ran = true'><input name='a'></form>"
LINK = "[link](javascript:window.ran=true) <a class='link' href='javascript:window.ran = true'>link</a>"
COLOURED = f"\x1b[31m{HOSTILE}\x1b[0m $a$ \x1b]0;title\x07 \x1b[8mhidden"  # of a terminal
PRICES = pd.DataFrame({"query": [HOSTILE[:40], "*a* _b_ `c` $x^2$ $5"]})


@pytest.fixture
def notebook(run: paths.Run) -> Path:
    """The page of a notebook with all that is hard to show."""
    picture = figure.new_figure(10, 1)[0]._repr_png_()
    outputs = [
        nbformat.v4.new_output("stream", text=f"a sentence of words {'and words ' * 40}\n{LONG}\n"),
        nbformat.v4.new_output("display_data", {"text/html": WIDE}),
        nbformat.v4.new_output("display_data", {"text/html": HOSTILE}),
        nbformat.v4.new_output("display_data", {"text/markdown": f"{HOSTILE} {LINK} $x^2$", "text/plain": "m"}),
        nbformat.v4.new_output("display_data", {"text/html": SENDING}),
        nbformat.v4.new_output("display_data", {"text/html": PRICES.to_html()}),
        nbformat.v4.new_output("stream", text=COLOURED),
        nbformat.v4.new_output("error", ename="E", evalue=HOSTILE, traceback=[COLOURED]),
        nbformat.v4.new_output("display_data", {"application/javascript": "window.ran = true", "text/plain": "plain"}),
        nbformat.v4.new_output("display_data", {"image/png": base64.b64encode(picture).decode()}),
    ]
    cells = [
        nbformat.v4.new_markdown_cell(f"# Title\n\nReads `{LONG}` and {'words ' * 80}"),
        nbformat.v4.new_code_cell(f"# {'a comment ' * 60}\nname = '{LONG}'", outputs=outputs),
        nbformat.v4.new_code_cell("1 + 1"),
    ]
    run.notebooks.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), run.notebooks / "01_eda.ipynb")
    report.write_report(run, [Path("01_eda.ipynb")])
    return run.notebooks / "01_eda.html"


@needs_browser
def test_code_is_folded_away_and_opens_by_a_click(notebook: Path) -> None:
    """One by one, or all by the button; outputs stay in sight."""
    shown, label, first, every, after, none = ask(notebook, """
        const button = one("#fold-all"), code = () => all(".highlight").map(seen);
        const shown = [one("h1"), one(".output_stdout"), one(".output table"), one(".output_png img")].map(seen);
        const before = [shown.concat(code()), button.textContent];
        one("summary").click(); await pause(); const first = code();
        button.click(); await pause(); const every = [code(), button.textContent];
        button.click(); await pause();
        return [...before, first, every[0], every[1], code()];""")  # fmt: skip
    assert shown == [True, True, True, True, False, False] and label == "show all code"
    assert first == [True, False] and every == [True, True] and after == "hide all code" and none == [False, False]


@needs_browser
@pytest.mark.parametrize("width", [1280, 400])
def test_no_line_breaks_within_a_word(notebook: Path, width: int) -> None:
    """What is too wide scrolls in its own box, never the page; a table is as wide as it needs."""
    broken, page, boxes, cell, sentence = ask(notebook, """
        for (const fold of all("details")) fold.open = true; await pause();
        const scrolls = (element) => element.scrollWidth > element.clientWidth && getComputedStyle(element).overflowX === "auto";
        const lines = (element) => Math.round(element.getBoundingClientRect().height / 30);
        return [brokenWords(), document.documentElement.scrollWidth <= innerWidth,
                [one(".output"), one(".text_cell_render"), one(".highlight pre")].map(scrolls), Math.max(...all("td, th").map(lines)),
                lines(one(".output_stdout pre"))];""", width)  # fmt: skip
    assert broken == [] and page and boxes == [True, True, True] and cell == 1 and sentence > 1


@needs_browser
def test_a_notebook_runs_no_script_but_its_own_and_loads_nothing(notebook: Path) -> None:
    ran, loaded, plain = ask(notebook, """
        for (const link of all("a[href^=javascript]")) link.click();
        one(".sending").requestSubmit(); await pause();
        const loaded = all(".foreign").filter((image) => image.naturalWidth).length;
        return [window.ran ?? false, loaded, all("pre").some((text) => text.textContent.trim() === "plain")];
    """)  # fmt: skip
    assert (ran, loaded, plain) == (False, 0, True)


@needs_browser
def test_a_notebook_shows_texts_as_they_are(notebook: Path) -> None:
    """In tables, in what is printed and in errors: no markup, no colours that hide, no formula that is typeset."""
    cells, streams, elements, typeset, base = ask(notebook, """
        const texts = (selector) => all(selector).map((element) => element.innerText);
        return [texts("td"), texts(".output_stdout pre, .output_error pre"), all("td *, pre img, pre script").length,
                all("mjx-container, .MathJax, script[src]").length, document.baseURI];
    """)  # fmt: skip
    assert [text for text in cells if text in PRICES["query"].tolist()] == PRICES["query"].tolist()
    assert elements == 0 and typeset == 0 and base.startswith("file:")
    assert sum(f"{HOSTILE} $a$ " in text and "hidden" in text for text in streams) == 2


@needs_browser
def test_on_paper_there_is_no_folded_code(notebook: Path) -> None:
    shown = ask(notebook, 'return [...all("details"), one("nav"), one("h1"), one("table")].map(seen);', printed=True)
    assert shown == [False, False, False, True, True]


@needs_browser
def test_the_score_table_scrolls_on_a_narrow_screen(run: paths.Run) -> None:
    write_scores(run)
    report.write_report(run, [])
    broken, page, scrolls = ask(run.report, """
        const box = one(".wide");
        return [brokenWords(), document.documentElement.scrollWidth <= innerWidth, box.scrollWidth > box.clientWidth];""", 400)  # fmt: skip
    assert broken == [] and page and scrolls


def test_a_run_without_scores_has_a_page_too(run: paths.Run) -> None:
    report.write_report(run, [])
    assert "No scores yet" in run.report.read_text("utf-8")


def test_a_run_that_was_never_begun_has_no_page(run: paths.Run) -> None:
    with pytest.raises(SettingsError, match="does not exist yet"):
        report.write_report(paths.Run("other"), [])
