"""The cache file: translations in SQLite. A file that is none is set aside; whatever else is wrong with it is named."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from utils.core.errors import DataError

Pair = tuple[str, str]  # language, query
TABLE = (
    "create table if not exists translations (backend text, version text, language text, text text, english text,"
    " primary key (backend, version, language, text)) without rowid"
)
COLUMNS = "backend, version, language, text, english"
UNREADABLE = ("SQLITE_NOTADB", "SQLITE_CORRUPT")
ANEW = "rename or remove it: a new one is written, and its translations are made again"
# SQLite's names of errors -> what to do; their own texts say what is wrong.
FIXES = {
    "SQLITE_CANTOPEN": "make it and its folder readable and writable, or name another file (--set PROFILE.cache=NAME)",
    "SQLITE_READONLY": "make it and its folder writable, or name another file (--set PROFILE.cache=NAME)",
    "SQLITE_BUSY": "another process holds it: wait for that one's end and call again",
    "SQLITE_LOCKED": "another process holds it: wait for that one's end and call again",
    "SQLITE_FULL": "make room on the disk and call again",
    "SQLITE_IOERR": "look at the disk, make room and call again",
}


class Store:
    """An open cache of translations."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self.connection = path, connection

    def read(self, backend: str, version: str, pairs: list[Pair]) -> dict[Pair, str]:
        """The English of those of the pairs that a backend has translated before. Raises DataError for a broken file."""
        query = "select english from translations where backend=? and version=? and language=? and text=?"
        hits = {}
        with _explain(self.path):
            for language, text in pairs:
                row = self.connection.execute(query, (backend, version, language, text)).fetchone()
                if row is not None and isinstance(row[0], str):
                    hits[language, text] = row[0]
        return hits

    def write(self, backend: str, version: str, english: dict[Pair, str]) -> None:
        """Add translations, all or none. Raises DataError for a file that cannot be written."""
        rows = [(backend, version, *pair, text) for pair, text in english.items()]
        with _explain(self.path), self.connection:
            self.connection.executemany("insert or replace into translations values (?,?,?,?,?)", rows)


@contextlib.contextmanager
def open_store(path: Path) -> Iterator[Store]:
    """The cache in a file, made where there is none; a file that SQLite cannot read is set aside first, with a notice.

    Raises DataError where it cannot be used: a folder, no permission, another program's table.
    """
    with _explain(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise DataError(f"{path}:1: is a folder, the cache of translations is a file; rename or remove it")
        connection = _connect(path)
    try:
        yield Store(path, connection)
    finally:
        connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file and see that its table can be read. Raises sqlite3.Error."""
    try:
        return _probe(path)
    except sqlite3.DatabaseError as error:
        if _name(error) not in UNREADABLE:
            raise
    aside = _set_aside(path)
    print(f"notice:  {path} is no SQLite file that can be read; it is now {aside.name}, and a new cache is begun")
    return _probe(path)


def _probe(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=60)
    try:
        connection.execute(TABLE)
        connection.execute(f"select {COLUMNS} from translations limit 1").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _set_aside(path: Path) -> Path:
    """Rename an unreadable file, with what SQLite keeps beside it, to a name that is free."""
    names = [path.with_name(f"{path.name}.broken{number}") for number in ("", *(f"-{n}" for n in range(2, 1000)))]
    aside = next(name for name in names if not name.exists())
    for suffix in ("-journal", "-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))
    path.rename(aside)
    return aside


def _name(error: sqlite3.Error) -> str:
    """SQLite's name of an error, without what is added to its first two words; empty where there is none."""
    return "_".join(str(getattr(error, "sqlite_errorname", "")).split("_")[:2])


@contextlib.contextmanager
def _explain(path: Path) -> Iterator[None]:
    """Whatever SQLite or the disk refuses, as a DataError that names the file and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise DataError(f"{path}:1: cache of translations: {error}; {FIXES.get(_name(error), ANEW)}") from None
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{path}:1: cache of translations: {reason}; {FIXES['SQLITE_CANTOPEN']}") from None
