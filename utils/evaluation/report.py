"""One HTML page that a browser opens offline: the score table, the figures and links to the notebooks as HTML."""

import base64
import html
from pathlib import Path

import nbformat
import pandas as pd
from nbconvert import HTMLExporter

from utils.core.files import write_text
from utils.core.paths import SAMPLE, Run
from utils.core.schema import TASK_NAMES
from utils.core.settings import load
from utils.evaluation import leaderboard

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #202124; max-width: 66rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: 0 } h2 { font-size: 1.2rem; margin-top: 2.2rem }
table { border-collapse: collapse; margin: .6rem 0 } th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #e8eaed }
th { font-weight: 600; background: #f8f9fa } td:first-child, th:first-child { text-align: left }
tr.part td { color: #80868b }
tr.ours td { font-weight: 600; background: #eaf2fb } img { max-width: 100%; margin: .6rem 0 } .note { color: #5f6368 }
nav a { display: inline-block; margin-right: 1.2rem }
"""
OFFLINE = """{% extends 'classic/index.html.j2' %}
{% block html_head_js %}{% endblock %}{% block html_head_js_mathjax %}{% endblock %}"""  # no script from elsewhere
NUMBERS = {"f1": "{:.4f}", "interval": "{}", "auc": "{:.3f}", "constant_f1": "{:.4f}", "rows": "{:,.0f}"}


def _page(title: str, body: str) -> str:
    """A whole HTML document; title and body are HTML already."""
    head = f"<meta charset='utf-8'><title>{title}</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang='en'>{head}<body>{body}</body></html>\n"


def _notebook_page(path: Path) -> str:
    """An executed notebook as one HTML page that loads nothing from elsewhere."""
    exporter = HTMLExporter(template_name="classic", embed_images=True, raw_template=OFFLINE)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    body, _ = exporter.from_notebook_node(nbformat.read(path, as_version=4))
    return body


def _score_table(scores: pd.DataFrame, task: str) -> str:
    """The heading and the score table of one task as HTML."""
    split, rows = leaderboard.headline(scores, task)
    bounds = zip(rows["f1_lo"], rows["f1_hi"], strict=True)
    rows = rows.assign(interval=[f"{low:.3f} – {high:.3f}" for low, high in bounds])
    titles = ["recipe", "F1", "95 % CI, query bootstrap", "AUC", "always relevant", "rows", ""]
    lines = []
    for _, row in rows.iterrows():
        cells = "".join(f"<td>{form.format(row[key])}</td>" for key, form in NUMBERS.items())
        kind = "ours" if row["recipe"] == "ensemble" else "part" if row["part"] else ""
        lines.append(f"<tr class='{kind}'><td>{html.escape(row['recipe'])}</td>{cells}<td>{row['note']}</td></tr>")
    head = "".join(f"<th>{name}</th>" for name in titles)
    note = "test, scored as the leaderboard would" if split == "test" else "out of fold (the data has no solution)"
    heading = f"<h2>{task} · {TASK_NAMES[task]}</h2><p class='note'>{note}</p>"
    return f"{heading}<table><tr>{head}</tr>{''.join(lines)}</table>"


def _picture(path: Path) -> str:
    """A PNG file as an HTML image that holds its bytes."""
    content = base64.b64encode(path.read_bytes()).decode()
    return f"<img alt='{path.stem}' src='data:image/png;base64,{content}'>"


def write_report(run: Run, notebooks: list[Path]) -> None:
    """Write `report.html` and an HTML page beside each executed notebook.

    Raises SettingsError for a run that does not exist yet.
    """
    links = []
    for path in notebooks:
        copy = run.notebooks / path.name
        if copy.exists():
            write_text(copy.with_suffix(".html"), _notebook_page(copy))
            links.append(f"<a href='notebooks/{copy.stem}.html'>{copy.stem.replace('_', ' ')}</a>")
    settings = load(run)
    data = Path(settings.data)
    kind = ", the embedded synthetic sample" if data.parent == SAMPLE.parent else ""
    body = f"<h1>{html.escape(run.name)}</h1><p class='note'>profile {settings.profile}, data {html.escape(data.name)}{kind}</p>"
    body += f"<nav>{''.join(links)}</nav>"
    scores_file = run.ensemble / "scores.csv"
    if scores_file.exists():
        scores = pd.read_csv(scores_file)
        for task in scores["task"].unique():
            figure = run.ensemble / f"f1_by_language_{task}.png"
            body += _score_table(scores, task) + (_picture(figure) if figure.exists() else "")
    else:
        body += "<p>No scores yet: notebook 07 has not run.</p>"
    write_text(run.report, _page(f"Report · {run.name}", body))
