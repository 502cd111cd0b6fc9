"""The report's page: the score table, texts that are escaped, and nothing that a browser would load from elsewhere."""

import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from utils.core import paths, settings
from utils.core.errors import SettingsError
from utils.core.files import write_text
from utils.core.settings import Settings
from utils.evaluation import report

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


def write_scores(run: paths.Run) -> None:
    """Scores of the ensemble, a candidate with every row and one with a part of the rows."""
    columns = ["recipe", "task", "split", "language", "rows", "f1", "f1_lo", "f1_hi", "auc", "constant_f1"]
    rows = [
        (NAME, "QC", "test", "all", 2000, 0.8, 0.79, 0.81, 0.7, 0.75),
        ("ensemble", "QC", "test", "all", 2000, 0.91234, 0.9, 0.92, 0.9512, 0.75),
        ("ensemble", "QC", "test", "ja", 500, 0.111, 0.1, 0.2, 0.5, 0.75),
        ("zeroshot", "QC", "test", "all", 1500, 0.99, 0.98, 1.0, 0.999, 0.75),
        ("ensemble", "QC", "oof", "all", 9000, 0.222, 0.1, 0.3, 0.5, 0.75),
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
    assert page.addresses == ["notebooks/01_eda.html", "data:image/png;base64,iVBORw0KGgo="]
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "base"}
    assert not re.search(r"@import|url\(", text)
    notebook = Page((run.notebooks / "01_eda.html").read_text("utf-8"))
    assert "script" not in notebook.tags and "link" not in notebook.tags
    assert all(address.startswith(("#", "data:")) for address in notebook.addresses)


def test_a_run_without_scores_has_a_page_too(run: paths.Run) -> None:
    report.write_report(run, [])
    assert "No scores yet" in run.report.read_text("utf-8")


def test_a_run_that_was_never_begun_has_no_page(run: paths.Run) -> None:
    with pytest.raises(SettingsError, match="does not exist yet"):
        report.write_report(paths.Run("other"), [])
