"""The cache file: whatever lies in its place, a call ends with translations or with the file's name and what to do."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from utils.core.errors import DataError, InputError
from utils.translation import cache, store
from utils.translation.backends import Backend

TABLE = pd.DataFrame({"language": ["es", "ja"], "query": ["rojo", "赤"]})
BACKEND = Backend("test", "1", lambda texts, languages: [f"english of {text}" for text in texts])


def translate(path: Path) -> tuple[list[str], int]:
    """The English, and how many the cache had."""
    english, counts = cache.translate(TABLE, BACKEND, path, bar=False)
    return english.tolist(), counts["cache_hits"]


GOOD = ["english of rojo", "english of 赤"]


def truncate(path: Path) -> None:
    """Half of a file of many pages."""
    with store.open_store(path) as opened:
        opened.write("test", "1", {("es", f"{number} rojo " * 20): "x" * 400 for number in range(200)})
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(b"garbage" * 300), truncate], ids=["garbage", "truncated"]
)
def test_an_unreadable_cache_is_set_aside_and_begun_anew(
    tmp_path: Path, damage: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "translations.sqlite"
    for number, name in enumerate(("translations.sqlite.broken", "translations.sqlite.broken-2"), start=1):
        path.unlink(missing_ok=True)
        damage(path)
        before = path.read_bytes()
        assert translate(path) == (GOOD, 0)
        assert f"is now {name}, and a new cache is begun" in capsys.readouterr().out
        assert (tmp_path / name).read_bytes() == before and len(list(tmp_path.iterdir())) == number + 1
    assert translate(path) == (GOOD, 2) and capsys.readouterr().out == ""


def test_an_empty_file_and_a_missing_folder_are_a_new_cache(tmp_path: Path) -> None:
    (tmp_path / "empty.sqlite").touch()
    for path in (tmp_path / "empty.sqlite", tmp_path / 'it\'s a "{new}" ü?mode=ro' / "a.sqlite"):
        assert translate(path) == (GOOD, 0) and translate(path) == (GOOD, 2)


def other_schema(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("create table translations (id integer, words text)")
    connection.close()


def view(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (backend, version, language, text, english)")
        connection.execute("create view translations as select * from t")
    connection.close()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.mkdir, "is a folder, the cache of translations is a file; rename or remove it"),
        (other_schema, "no such column: backend; rename or remove it: a new one is written"),
        (view, "cannot modify translations because it is a view; rename or remove it"),
    ],
)
def test_another_thing_in_its_place_is_named(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "translations.sqlite"
    damage(path)
    with pytest.raises(InputError) as raised:
        translate(path)
    assert str(raised.value).startswith(f"{path}:1: ") and message in str(raised.value)


def test_a_place_where_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a.sqlite", Path("/proc/no-such-folder/a.sqlite"), Path("/proc/a.sqlite")):
        with pytest.raises(DataError, match=r"make it and its folder .*writable"):
            translate(path)


def test_a_read_only_cache_answers_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "translations.sqlite"
    translate(path)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: connect(f"file:{path}?mode=ro", uri=True))
    assert translate(path) == (GOOD, 2)
    with pytest.raises(DataError, match=r"attempt to write a readonly database; make it and its folder writable"):
        cache.translate(TABLE.assign(query=["verde", "赤"]), BACKEND, path, bar=False)


def test_a_cache_that_another_process_holds_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "translations.sqlite"
    translate(path)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: connect(path, timeout=0))
    other = connect(path)
    other.execute("begin exclusive")
    with pytest.raises(DataError, match=r"database is locked; another process holds it"):
        translate(path)
    other.close()


def test_values_that_are_no_text_are_translated_again(tmp_path: Path) -> None:
    path = tmp_path / "translations.sqlite"
    translate(path)
    with sqlite3.connect(path) as connection:
        connection.execute("update translations set english = null where text = 'rojo'")
        connection.execute("update translations set english = x'ff' where text = '赤'")
    connection.close()
    assert translate(path) == (GOOD, 0) and translate(path) == (GOOD, 2)
