"""Atomic writes: a file is complete or absent, never half written, whatever ends the process or the machine."""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from utils.core.errors import DiskError

# A file that is being written: `.NAME.PROCESS-TOKEN.SUFFIX`. Machines that share a folder may number their processes alike.
# The other name is that of safetensors, while it writes such a file.
UNFINISHED = re.compile(r"\..+\.\d+-[0-9a-f]{8}(\.\w+)?|\.tmp\w{6}")
# What a disk refuses -> what to do.
_ROOM, _FOLDER = "make room and call again", "a file or a broken link stands where a folder is needed: remove it"
_FIXES = {
    errno.ENOSPC: _ROOM, errno.EDQUOT: _ROOM, errno.EROFS: "let `runs`, `data` and `submissions` lie on a disk that can be written",
    errno.EACCES: "make its folder writable", errno.EPERM: "make its folder writable", errno.ENOTDIR: _FOLDER, errno.EEXIST: _FOLDER,
    errno.ELOOP: _FOLDER, errno.EIO: "look at the disk",
}  # fmt: skip


def write_with(path: Path, write: Callable[[Path], Any]) -> None:
    """Call `write` with a temporary path beside `path`, then rename the file to `path`; missing folders are created.

    The file is on the disk before it has its name. Raises DiskError for a disk that is full or cannot be written.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    with explain_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            _flush(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """See that a file is on the disk; some that are shared know no such call."""
    with path.open("r+b") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise


@contextlib.contextmanager
def explain_disk(path: Path) -> Iterator[None]:
    """What a disk refuses while `path` is written, as a DiskError that names the file and what to do."""
    try:
        yield
    except Exception as error:  # writers have errors of their own, which quote the system's
        quoted = re.search(r"\bos error (\d+)\)", str(error))
        number = error.errno if isinstance(error, OSError) else int(quoted[1]) if quoted else None
        if number not in _FIXES:
            raise
        raise DiskError(f"{path}: {os.strerror(number)}; {_FIXES[number]}") from error


def sweep(folder: Path, seconds: float = 600.0) -> int:
    """Remove what interrupted writes have left below a folder and nobody has touched for some time; how many files that were."""
    count = 0
    for path in [path for path in folder.rglob(".*") if UNFINISHED.fullmatch(path.name)]:
        with contextlib.suppress(FileNotFoundError):  # it has got its name meanwhile
            if time.time() - path.stat().st_mtime > seconds:
                path.unlink()
                count += 1
    return count


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
