"""Atomic writes: after an error the folder is as it was."""

import json
from pathlib import Path

import pytest

from utils.core.files import write_json, write_text, write_with


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
