"""A run's page: the score table, the figures, and each executed notebook as a page with its code folded away."""

import html
from collections.abc import Sequence
from pathlib import Path

import nbformat
import pandas as pd
from nbconvert import HTMLExporter
from traitlets.config import Config

from utils.core.files import write_text
from utils.core.paths import SAMPLE, Run, index_page
from utils.core.schema import TASK_NAMES
from utils.core.settings import load
from utils.evaluation import leaderboard
from utils.evaluation.pages import document as page
from utils.evaluation.pages.index import write_index
from utils.evaluation.pages.runs import figure_file, read_scores, without_folders

SPLITS = {
    "test": "test, scored as the leaderboard would",
    "estimate": "out of fold, weighted as the test file's languages are (the data has no solution)",
    "oof": "out of fold (the data has no solution)",
}
POOLS = {"all": "all languages", "seen": "languages of the training data", "unseen": "languages not in it"}
# What a page can show without scripts; an output's first kind of these is shown.
KINDS = ["text/html", "image/svg+xml", "image/png", "image/jpeg", "text/markdown", "text/plain"]


def _notebook_page(path: Path) -> str:
    """An executed notebook as one HTML page that loads nothing from elsewhere. Raises ValueError for one that is half written."""
    template, config = page.read_asset("notebook.html.j2"), Config({"NbConvertBase": {"display_data_priority": KINDS}})
    exporter = HTMLExporter(template_name="classic", embed_images=True, raw_template=template, config=config)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = exporter.exclude_anchor_links = True
    content, resources = exporter.from_notebook_node(nbformat.read(path, as_version=4))
    links = '<nav><a href="../report.html">report</a><button type="button" id="fold-all" hidden></button></nav>'
    body = f'{links}<main class="notebook">{content}</main>'
    return page.document(path.stem, body, "fold.js", style="".join(resources["inlining"]["css"]))


def _score_table(scores: pd.DataFrame, task: str) -> str:
    """The heading and the score table of one task."""
    split, rows = leaderboard.headline(scores, task)
    lines = []
    for row in rows.itertuples():
        kind = "ours" if row.recipe == "ensemble" else "part" if row.part else ""
        cells = [
            str(row.recipe), page.number(row.f1, "{:.4f}"), page.interval(row.f1_lo, row.f1_hi), page.number(row.auc, "{:.3f}"),
            page.number(row.constant_f1, "{:.4f}"), page.number(row.rows, "{:,.0f}"), row.note,
        ]  # fmt: skip
        lines.append((kind, cells))
    titles = ["recipe", "F1", "95 % CI, query bootstrap", "AUC", "always relevant", "rows", ""]
    heading = f"<h2>{html.escape(task)} · {TASK_NAMES[task]}</h2><p class='note'>{SPLITS[split]}</p>"
    return heading + page.table(titles, lines)


def _estimate_table(scores: pd.DataFrame, task: str) -> str:
    """How far the ensemble's test F1 lies from the estimate made of it out of fold; empty where one of both is unknown."""
    rows = scores[(scores["task"] == task) & (scores["recipe"] == "ensemble")].set_index(["split", "language"])
    lines = []
    for pool, name in POOLS.items():
        if ("estimate", pool) in rows.index and ("test", pool) in rows.index:
            estimate, test = rows.loc[("estimate", pool)], rows.loc[("test", pool), "f1"]
            inside = estimate["f1_lo"] <= test <= estimate["f1_hi"]
            cells = [
                name, page.number(estimate["f1"], "{:.4f}"), page.interval(estimate["f1_lo"], estimate["f1_hi"]),
                page.number(test, "{:.4f}"), page.number(test - estimate["f1"], "{:+.4f}").replace("-", "−"),
                "inside" if inside else "outside",
            ]  # fmt: skip
            lines.append(("", cells))
    if not lines:
        return ""
    titles = ["the ensemble on", "estimated F1", "95 % CI of it", "test F1", "test − estimate", "test lies"]
    return f"<h3>{html.escape(task)} · how close the out-of-fold estimate came</h3>{page.table(titles, lines)}"


def _scores(run: Run) -> str:
    """Tables and figure of every task; a sentence where there are no scores yet."""
    if not (run.ensemble / "scores.csv").exists():
        return "<p>No scores yet: notebook 07 has not run.</p>"
    scores = read_scores(run)
    body = ""
    for task in scores["task"].unique():
        figure = figure_file(run, task)
        body += _score_table(scores, task) + _estimate_table(scores, task)
        body += f'<div class="wide">{page.picture(figure)}</div>' if figure.exists() else ""
    return body


def write_report(run: Run, notebooks: list[Path], findings: Sequence[str] = ()) -> None:
    """Write `report.html`, an HTML page beside each executed notebook, and the index of all runs.

    The report of a run that failed opens with `findings` on its environment. Raises SettingsError for a run that does not exist yet.
    """
    settings = load(run)
    links = [f'<a href="../{index_page().name}">all runs</a>']
    for path in notebooks:
        copy = run.notebooks / path.name
        if not copy.exists():
            continue
        try:
            write_text(copy.with_suffix(".html"), _notebook_page(copy))
        except ValueError:  # papermill was killed while it wrote
            print(f"notice:  notebooks/{copy.name} was interrupted and is no part of the report; run it again")
        else:
            links.append(f'<a href="notebooks/{copy.stem}.html">{copy.stem.replace("_", " ")}</a>')
    data = Path(settings.data)
    kind = ", the embedded synthetic sample" if data.parent == SAMPLE.parent else ""
    changes = f", {without_folders(settings.overrides)}" if settings.overrides else ""
    described = html.escape(f"profile {settings.profile}{changes}; data {data.name}{kind}")
    body = f'<h1>{html.escape(run.name)}</h1><p class="note">{described}</p><nav>{"".join(links)}</nav>'
    if findings:
        body += f"<h2>The run failed. What works on this machine</h2><pre>{html.escape(chr(10).join(findings))}</pre>"
    body += _scores(run)
    write_text(run.report, page.document(f"Report · {run.name}", body))
    write_index()
