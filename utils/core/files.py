"""Atomic writes: a file is complete or absent, never half written."""

import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_with(path: Path, write: Callable[[Path], Any]) -> None:
    """Call `write` with a temporary path beside `path`, then rename the file to `path`; missing folders are created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8 atomically; line ends stay as they are."""
    write_with(path, lambda temporary: temporary.write_bytes(text.encode("utf-8")))


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON with a final line end, atomically; what is not a number, which JSON lacks, is null."""
    write_text(path, json.dumps(_without_nan(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _without_nan(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content


def sha256(path: Path) -> str:
    """Hash of a file's content, 64 hex digits; the file is read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
