"""Atomic writes: after an error the folder is as it was."""

import json
import os
import time
from pathlib import Path

import pytest
from safetensors import SafetensorError

from utils.core.errors import DiskError
from utils.core.files import sweep, write_json, write_text, write_with


def half(path: Path) -> None:
    """A writer that fails after its first bytes."""
    path.write_bytes(b"half of the con")
    raise OSError("disk full")


def test_a_writer_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk full"):
        write_with(tmp_path / "new" / "table.parquet", half)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_writer_that_fails_leaves_the_previous_content(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_bytes(b"previous")
    with pytest.raises(OSError, match="disk full"):
        write_with(path, half)
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"previous"


def test_the_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path, during = tmp_path / "a" / "b" / "table.parquet", []

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"complete")
        during.append((temporary.parent, temporary.suffix, path.exists()))

    write_with(path, write)
    assert during == [(path.parent, ".parquet", False)]
    assert list(path.parent.iterdir()) == [path] and path.read_bytes() == b"complete"


def test_text_is_written_byte_for_byte_and_json_with_a_final_line_end(tmp_path: Path) -> None:
    write_text(tmp_path / "text.txt", "靴\r\nshoe\n")
    assert (tmp_path / "text.txt").read_bytes() == "靴\r\nshoe\n".encode()
    content = {"query": "靴", "rows": [1, 2]}
    write_json(tmp_path / "content.json", content)
    text = (tmp_path / "content.json").read_text("utf-8")
    assert "靴" in text and text.endswith("}\n") and json.loads(text) == content


def test_what_a_disk_refuses_is_told_with_file_and_remedy(tmp_path: Path) -> None:
    """The system's errors, and those of a writer that quotes them."""
    for fail in (
        lambda _: Path("/dev/full").write_bytes(b"x" * 10),
        lambda _: quote("No space left on device (os error 28)"),
    ):
        with pytest.raises(DiskError, match=r"table\.parquet: No space left on device; make room and call again"):
            write_with(tmp_path / "table.parquet", fail)
    with pytest.raises(SafetensorError, match="too large"):
        write_with(tmp_path / "table.parquet", lambda _: quote("header too large"))
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for way in ("file/in/it.json", "link/it.json"):
        with pytest.raises(DiskError, match=r"it\.json: .*; a file or a broken link stands where a folder is needed"):
            write_json(tmp_path / way, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def quote(text: str) -> None:
    raise SafetensorError(f"I/O error: {text}")


def test_processes_that_share_a_number_write_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As two containers over one folder do."""
    monkeypatch.setattr(os, "getpid", lambda: 7)

    def write(temporary: Path) -> None:
        temporary.write_text("first")
        write_text(tmp_path / "a.json", "second")
        assert temporary.read_text() == "first"

    write_with(tmp_path / "a.json", write)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["first"]


def test_only_what_interrupted_writes_have_left_is_swept_away(tmp_path: Path) -> None:
    names = []

    def die(temporary: Path) -> None:
        temporary.write_text("half")
        names.append(temporary)
        temporary.rename(temporary.with_name("kept"))  # so that nothing is tidied up

    with pytest.raises(FileNotFoundError):
        write_with(tmp_path / "fold 0" / "oof.parquet", die)
    (tmp_path / "fold 0" / "kept").rename(names[0])
    (tmp_path / "fold 0" / ".tmpAb3dE9").write_text("what safetensors writes before it has its own name")
    for name in (".lock", "oof.parquet", ".ipynb_checkpoints", ".hidden.parquet", ".tmp", ".tmpfolders"):
        (tmp_path / name).write_text("")
    assert sweep(tmp_path) == 0 and names[0].exists()  # it may be being written
    old = time.time() - 3600
    for path in tmp_path.rglob("*"):
        os.utime(path, (old, old))
    assert sweep(tmp_path) == 2 and not list(names[0].parent.iterdir())
    assert len([path for path in tmp_path.iterdir() if path.is_file()]) == 6
