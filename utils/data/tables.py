"""Tables: parquet between the notebooks, CSV for people; write, read, hash and cap them."""

import csv
import hashlib
import io
from pathlib import Path

import pandas as pd

from utils.core.errors import DataError
from utils.core.files import write_text, write_with
from utils.core.schema import TASKS

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # how a cell begins that a spreadsheet computes


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as parquet atomically, without its index."""
    write_with(path, lambda temporary: table.to_parquet(temporary, index=False))


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV atomically, without its index. No text begins a formula when a spreadsheet opens it: one that would is quoted
    by a `'`; numbers stay what they are.
    """
    written = io.StringIO(table.to_csv(index=False, quoting=csv.QUOTE_ALL), newline="")
    write_text(path, "".join(_write_row([_as_text(cell) for cell in row]) for row in csv.reader(written)))


def _write_row(cells: list[str]) -> str:
    """A line of a CSV file; the module's own line end makes it quote every kind of line end within a cell."""
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)
    return line.getvalue().removesuffix("\r\n") + "\n"


def _as_text(cell: str) -> str:
    """A cell of a CSV file as no spreadsheet computes it."""
    if not cell.startswith(FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def read_table(path: Path, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a parquet table. Raises DataError if it or one of the columns is missing (`label` may be absent), or if it is broken."""
    if not path.exists():
        raise DataError(f"{path}:1: missing; run the notebook with the number of its folder")
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are of these classes
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}:1: cannot be read ({reason}); run the notebook that writes it again") from None
    missing_columns = [column for column in columns if column not in table and column != "label"]
    if missing_columns:
        names = ", ".join(missing_columns)
        raise DataError(f"{path}:1: column {names} is missing; run the notebook that writes it again")
    return table


def tasks_of(folder: Path, form: str) -> list[str]:
    """The tasks whose tables are in a folder; `form` is the file name without suffix and with {} for the task."""
    return [task for task in TASKS if (folder / f"{form.format(task)}.parquet").exists()]


def table_hash(table: pd.DataFrame) -> str:
    """Hash of a table's values in their order and of its column names; 16 hex digits."""
    hashes = pd.util.hash_pandas_object(table, index=False).to_numpy()
    return hashlib.sha256(hashes.tobytes() + ",".join(table.columns).encode()).hexdigest()[:16]


def sample_queries(table: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """At most `rows` rows made of whole queries, sampled with a seed; 0 or fewer keeps all.

    Rows keep their order. A query with too many rows for what is left of the cap is skipped.
    """
    if rows <= 0 or len(table) <= rows:
        return table
    sizes = table.groupby("query", sort=True).size().sample(frac=1.0, random_state=seed)
    queries, total = [], 0
    for query, size in sizes.items():
        if total + size <= rows:
            queries.append(query)
            total += size
    return table[table["query"].isin(queries)]
