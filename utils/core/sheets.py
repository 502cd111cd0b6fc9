"""CSV files that people edit by hand: their rows, and everything that can be wrong with them, by line."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from utils.core.errors import DataError, raise_problems

Row = dict[str, str]  # column -> cell


def read_sheet(content: bytes, path: Path, columns: Sequence[str], check: Callable[[Row, int], str]) -> list[Row]:
    """The rows of a CSV file that has these columns; blank lines are skipped. `path` names the file in messages.

    `check` says of a row and its line what is wrong and what to do, or the empty text. Raises DataError with file and
    line of the first 20 problems and the number of the others.
    """
    reader = csv.reader(io.StringIO(_decode(content, path), newline=""), strict=True)
    rows: list[Row] = []
    problems: list[str] = []
    header, line = None, 1
    try:
        for cells in reader:
            start, line = line, reader.line_num + 1
            if header is None:
                header = _check_header(cells, path, columns)
            elif cells:
                problem = _count_problem(cells, header)
                row = dict(zip(header, cells, strict=not problem))
                problem = problem or check(row, start)
                problems += [f"{path}:{start}: {problem}"] if problem else []
                rows.append(row)
    except csv.Error as error:
        problems.append(f"{path}:{line}: not valid CSV ({error}); write each quotation mark of a quoted text twice")
    if header is None:
        raise DataError(f"{path}:1: no header; the first line must be {','.join(columns)}")
    raise_problems(problems)
    return rows


def _decode(content: bytes, path: Path) -> str:
    """The file's text without a byte-order mark. Raises DataError naming the line that is not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from None


def _check_header(cells: list[str], path: Path, columns: Sequence[str]) -> list[str]:
    """The header's column names. Raises DataError where one that is needed is missing, or one stands twice."""
    header = [name.strip() for name in cells]
    if missing := [name for name in columns if name not in header]:
        raise DataError(f"{path}:1: column {', '.join(missing)} is missing; the first line must be {','.join(columns)}")
    if len(set(header)) < len(header):
        raise DataError(f"{path}:1: a column stands twice; the first line must be {','.join(columns)}")
    return header


def _count_problem(cells: list[str], header: list[str]) -> str:
    """What is wrong with the number of a row's cells and what to do, or the empty text."""
    if len(cells) == len(header):
        return ""
    return (
        f"{len(cells)} fields instead of {len(header)}; separate them by commas, and put a text with a comma in quotes"
    )
