"""Notebooks are pages of sentences that call verbs: clean, thin, with known parameters and an order of reads and writes."""

import ast
import re
import subprocess
import sys
from dataclasses import fields
from itertools import product
from pathlib import Path
from statistics import median

import nbformat
import pandas as pd
import papermill
import pytest

from utils.core.paths import NOTEBOOKS, ROOT
from utils.core.settings import Settings
from utils.pipeline import notebooks

PAGES = notebooks(optional=True)
PASSED = {
    "profile",
    "part",
    "run",
    "overrides",
    "data",
    "models",
    "hosts",
    "shell",
    "engines",
    "progress",
}  # handed to a notebook that takes it


def cells(path: Path, kind: str = "code") -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def lines(source: str) -> list[str]:
    return [line for line in source.splitlines() if line.strip()]


def declared(path: Path, word: str) -> set[str]:
    """The paths of a **Reads** or **Writes** line, braces written out."""
    first = cells(path, "markdown")[0].source
    line = next(line for line in first.splitlines() if line.startswith(f"**{word}**"))
    return {split_to_multiple for form in re.findall(r"`([^`]+)`", line) for split_to_multiple in spell_out(form)}


def spell_out(form: str) -> list[str]:
    parts = re.split(r"\{([^{}]*)\}", form)
    choices = [part.split(",") if number % 2 else [part] for number, part in enumerate(parts)]
    return ["".join(choice) for choice in product(*choices)]


def test_seven_notebooks_in_order_and_one_by_name_only() -> None:
    assert [path.stem[:2] for path in PAGES] == [f"0{number}" for number in range(1, 9)]
    assert [path.stem[:2] for path in notebooks()] == [f"0{number}" for number in range(1, 8)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_nothing_is_committed_but_the_source(path: Path) -> None:
    for cell in cells(path):
        assert not cell.outputs and cell.execution_count is None
    metadata = nbformat.read(path, as_version=4).metadata
    assert "papermill" not in metadata and metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_pages_are_thin(path: Path) -> None:
    sizes = [len(lines(cell.source)) for cell in cells(path)]
    assert 12 <= len(sizes) <= 25, f"{len(sizes)} code cells"
    assert sum(sizes) <= 115 and max(sizes) <= 15 and median(sizes) <= 5, sizes
    for cell in cells(path):
        assert not re.search(r"^\s*(def|class|async def) |import \*|sys\.path|os\.chdir|^\s*[%!]", cell.source, re.M), (
            cell.source
        )


def comprehensions(node: ast.AST) -> list[ast.AST]:
    kinds = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    return [child for child in ast.walk(node) if isinstance(child, kinds)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_cells_can_be_read_aloud(path: Path) -> None:
    """No comprehension within another or over two loops, no assignment into several dictionaries at once."""
    for cell in cells(path):
        tree = ast.parse(cell.source)
        for outer in comprehensions(tree):
            assert len(comprehensions(outer)) == 1 and len(outer.generators) == 1, cell.source
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, ast.Assign) else []
            several = [target for target in targets if isinstance(target, ast.Tuple)]
            assert not any(isinstance(part, ast.Subscript) for target in several for part in target.elts), cell.source


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_pages_begin_and_end_alike(path: Path) -> None:
    first, *_ = cells(path, "markdown")
    title, task_data = lines(first.source)[:2]
    assert re.fullmatch(rf"# {path.stem[:2]} · .+", title) and task_data.startswith("> ") and task_data.endswith("?")
    heads = [line for cell in cells(path, "markdown") for line in cell.source.splitlines() if line.startswith("## ")]
    assert heads[0] == "## Inputs" and heads[-2:] == ["## Save", "## Decision"]
    assert "parameters" in cells(path)[0].metadata.get("tags", [])
    assert all(re.match(r"(import|from) |^$|\s", line) for line in cells(path)[1].source.splitlines()[:-1])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_parameters_are_known_literals_with_their_help(path: Path) -> None:
    found = papermill.inspect_notebook(str(path))
    assert found.keys() <= PASSED and {"profile", "run"} <= found.keys()
    assert all(parameter["help"] and parameter["inferred_type_name"] for parameter in found.values())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_price_in_dollars_is_shown_as_text(path: Path) -> None:
    """JupyterLab typesets what stands between two dollar signs of a table, unless the table says not to."""
    line = cells(path)[1].source.splitlines()[-1]
    assert line.startswith('pd.set_option("display.html.use_mathjax", False)')
    with pd.option_context("display.html.use_mathjax", False):
        assert "mathjax_ignore" in pd.DataFrame({"a": ["$a$"]})._repr_html_()


# What a cell may put into Markdown: names that format nothing (tasks, recipes), numbers, and sentences about them.
SAID = (
    r"(schema\.)?TASK_NAMES\[task\]|task|name|split|text|len\(\w+\)|finalists\[task\]\.names\[0\]|\w+\.explain\w*\(.*\)"
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_text_of_the_data_formats_a_page(path: Path) -> None:
    """Queries and targets are shown in tables, which escape them, never in Markdown or HTML."""
    for cell in cells(path):
        for node in ast.walk(ast.parse(cell.source)):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) not in ("Markdown", "HTML", "Latex", "SVG"):
                continue
            assert ast.unparse(node.func) == "Markdown", cell.source
            (said,) = node.args
            parts = said.values if isinstance(said, ast.JoinedStr) else [said]
            values = [ast.unparse(part.value) for part in parts if isinstance(part, ast.FormattedValue)]
            values += [] if isinstance(said, (ast.JoinedStr, ast.Constant)) else [ast.unparse(said)]
            joined = [re.sub(r"'\\n\\n'\.join\((.*)\)", r"\1", value) for value in values]
            assert all(re.fullmatch(SAID, value) for value in joined), values


def test_every_parameter_is_taken_somewhere() -> None:
    assert {name for path in PAGES for name in papermill.inspect_notebook(str(path))} == PASSED


def test_reads_are_raw_or_written_before_and_have_one_writer() -> None:
    written: dict[str, str] = {}
    for path in PAGES:
        for read in declared(path, "Reads"):
            raw = not re.match(r"\d\d_", read)
            covered = any(re.fullmatch(re.escape(w).replace(r"\*", ".*"), read) for w in written)
            assert raw or covered, f"{path.stem} reads {read}, which no earlier notebook writes"
        for write in declared(path, "Writes"):
            assert write not in written, f"{write} has two writers"
            assert write.startswith((path.stem[:2], "submissions/")), f"{path.stem} writes {write}"
            written[write] = path.stem


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["check", "format"])
def test_ruff(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--no-cache", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_sees_the_notebooks() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--show-files", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(str(NOTEBOOKS / path.name) in done.stdout for path in PAGES)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_solutions_are_sealed_from_the_first_cell_and_opened_by_07_once_the_submission_stands(path: Path) -> None:
    sources = [cell.source for cell in cells(path)]
    sealed = [number for number, source in enumerate(sources) if "leaks.seal_solution(" in source]
    lifted = [number for number, source in enumerate(sources) if "seal.lift()" in source]
    valid = [number for number, source in enumerate(sources) if "submit.require_valid(" in source]
    readers = [number for number, source in enumerate(sources) if "read_solutions(" in source]
    assert sealed == [2]
    assert (lifted, len(valid)) == ((readers, 1) if path.stem.startswith("07") else ([], 0))
    assert all(number > valid[0] for number in readers)


def test_notebook_01_keeps_every_setting_of_a_run() -> None:
    """What it saves is all that later notebooks know; a setting that it does not take would be lost."""
    taken = papermill.inspect_notebook(str(PAGES[0])).keys()
    assert {field.name for field in fields(Settings)} - {"data_hash"} <= taken
    source = "\n".join(cell.source for cell in cells(PAGES[0]))
    assert "overrides, engines)" in source and "changes, engines)" in source
