"""The page of all runs: their scores in one table, and any two of them beside each other."""

import html
from pathlib import Path
from typing import Any
from urllib.parse import quote

from utils.core.files import write_text
from utils.core.paths import Run, index_page
from utils.core.schema import TASK_NAMES, TASKS
from utils.evaluation.pages.document import UNKNOWN, document, embed
from utils.evaluation.pages.runs import Facts, Score, figure_file, read_all

IMAGES = "'self' file:"  # the runs' own figures, beside the page
COLUMNS = ("F1", "95 % CI", "AUC", "on")
COMPARISON = """
<h2>Two runs beside each other</h2>
<div class="choice"><label>one <select id="a">{first}</select></label><label>other <select id="b">{second}</select></label></div>
<noscript><p class="note">The comparison needs JavaScript.</p></noscript>
<div class="warning" id="warning" role="status" hidden></div>
<h3>F1 by language</h3><div class="pair" id="figures"></div>
<h3>What differs</h3><div class="wide" id="differences"></div>
"""


def _address(path: Path) -> str:
    """A run's file as the index links to it."""
    return quote(path.relative_to(index_page().parent).as_posix())


def _head(tasks: list[str]) -> str:
    """Both lines of the table's head."""
    groups = "".join(f'<th colspan="{len(COLUMNS)}">{task} · {TASK_NAMES[task]}</th>' for task in tasks)
    run, *others = (f'<th class="text first" rowspan="2">{title}</th>' for title in ("run", "profile", "data", "date"))
    columns = "".join(f"<th>{title}</th>" for title in COLUMNS).replace("<th>", '<th class="first">', 1)
    return f"<tr>{run}{groups}{''.join(others)}</tr><tr>{columns * len(tasks)}</tr>"


def _score_cells(score: Score | None) -> str:
    """A task's cells in a run's line."""
    texts = (score.f1, score.interval, score.auc, score.split) if score else (UNKNOWN, "", "", "")
    cells = "".join(f"<td>{html.escape(text)}</td>" for text in texts)
    return cells.replace("<td>", '<td class="first">', 1)


def _line(facts: Facts, tasks: list[str]) -> str:
    """A run's line in the table; an unfinished run says what is missing."""
    settings = {key: html.escape(text) for key, text in facts.settings.items()}
    name = html.escape(facts.name)
    if facts.report:
        name = f'<a href="{_address(Run(facts.name).report)}">{name}</a>'
    name = f'<span class="name">{name}</span>'
    if facts.problem:
        name += f'<small class="sentence">unfinished: {html.escape(facts.problem)}</small>'
    profile = settings.get("profile") or UNKNOWN
    if settings.get("overrides"):
        profile += f'<small class="lines">{settings["overrides"]}</small>'
    data = settings.get("data") or UNKNOWN
    if settings.get("data hash"):
        data += f' <small class="hash">{settings["data hash"][:6]}</small>'
    date = f"{facts.moment.astimezone():%Y-%m-%d %H:%M}"
    scores = "".join(_score_cells(facts.scores.get(task)) for task in tasks)
    run, *others = (f'<td class="text first">{text}</td>' for text in (name, profile, data, date))
    return f'<tr class="{"part" if facts.problem else ""}">{run}{scores}{"".join(others)}</tr>'


def _content(every: list[Facts]) -> list[dict[str, Any]]:
    """What the page's script compares; fields that are the same in every run that has the recipe are left out."""
    values: dict[tuple[str, str], set[str]] = {}
    for facts in every:
        for recipe, fields in facts.recipes.items():
            for field in {field for others in every for field in others.recipes.get(recipe, {})}:
                values.setdefault((recipe, field), set()).add(fields.get(field, ""))
    return [
        {
            "name": facts.name,
            "settings": facts.settings,
            "scores": {task: {"f1": score.f1, "split": score.split} for task, score in facts.scores.items()},
            "figures": {task: _address(figure_file(Run(facts.name), task)) for task in facts.figures},
            "recipes": {
                recipe: {field: value for field, value in fields.items() if len(values[recipe, field]) > 1}
                for recipe, fields in facts.recipes.items()
            },
        }
        for facts in every
    ]  # fmt: skip


def _options(every: list[Facts], chosen: int) -> str:
    """The choices of a select."""
    names = [html.escape(facts.name) for facts in every]
    return "".join(f"<option{' selected' * (place == chosen)}>{name}</option>" for place, name in enumerate(names))


def write_index() -> None:
    """Write `runs/index.html` anew from what the runs' folders hold now."""
    every = read_all()
    tasks = [task for task in TASKS if any(task in facts.scores for facts in every)]
    body = "<h1>Runs</h1>"
    if not every:
        body += '<p class="note">No run has begun.</p>'
    if len({facts.settings.get("data hash") for facts in every if facts.settings}) > 1:
        body += '<p class="note">Scores compare between runs on the same data only: those with the same code after the data\'s name.</p>'
    lines = "".join(_line(facts, tasks) for facts in every)
    body += f'<div class="wide"><table class="runs"><thead>{_head(tasks)}</thead><tbody>{lines}</tbody></table></div>'
    if len(every) < 2:
        write_text(index_page(), document("Runs", body, images=IMAGES))
        return
    body += COMPARISON.format(first=_options(every, 0), second=_options(every, 1)) + embed(_content(every), "runs")
    write_text(index_page(), document("Runs", body, "compare.js", IMAGES))
