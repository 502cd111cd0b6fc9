"""CSV files for people: numbers stay numbers, no text begins a formula, everything else is what pandas writes."""

import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils.data.tables import FORMULA, write_csv

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=6)
HARMLESS = TEXT.filter(lambda text: not text.startswith(FORMULA))
UNBROKEN = HARMLESS.filter(lambda text: "\r" not in text)  # pandas writes some line ends within a cell without quotes


def written(table: pd.DataFrame, folder: Path) -> list[list[str]]:
    write_csv(table, folder / "x.csv")
    return list(csv.reader(io.StringIO((folder / "x.csv").read_bytes().decode(), newline="")))


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd", "-1+1", "@sum(a)", "\ta", "\ra", "\n=a", '=HYPERLINK("http://x","a,b")', "-", "="]
)
def test_a_text_begins_no_formula_wherever_it_stands(text: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [text, "b"], text: pd.Categorical([text, "b"])})
    assert written(table, tmp_path) == [["a", f"'{text}"], [f"'{text}", f"'{text}"], ["b", "b"]]


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "f": [-0.1, 1e-9, float("nan")],
            "i": [-3, 0, 7],
            "b": [True, False, True],
            "o": [-1, None, -2.5],
            "t": ["a-b", "x=1", ""],
        }
    )
    write_csv(table, tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_bytes() == table.to_csv(index=False).encode()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "x.csv")[["f", "i", "b"]], table[["f", "i", "b"]])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(UNBROKEN, st.none() | UNBROKEN, st.floats(), st.integers()), max_size=5))
def test_tables_without_such_texts_are_written_as_pandas_writes_them(tmp_path: Path, rows: list) -> None:
    table = pd.DataFrame(rows, columns=["a", "b, c", 'd"e', "f"])
    write_csv(table, tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_bytes() == table.to_csv(index=False).encode()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXT, TEXT), max_size=5))
def test_every_text_comes_back(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    first, *others = written(pd.DataFrame(rows, columns=["a", "b"]), tmp_path)
    assert first == ["a", "b"]
    assert [tuple(cell.removeprefix("'") for cell in row) for row in others] == [
        tuple(cell.removeprefix("'") for cell in row) for row in rows
    ]
