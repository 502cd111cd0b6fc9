"""One call at a time works on a run, or on one of the parts that machines share."""

import errno
import fcntl
import json
import os
import platform
from datetime import datetime
from pathlib import Path
from typing import TextIO

from utils.core.errors import LockError
from utils.core.files import explain_disk
from utils.core.paths import Run

WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what a shared disk answers that has none


def take(run: Run, part: str = "", parts: bool = False) -> tuple[TextIO, ...]:
    """Lock a run, or its part `K/N`, until the files that are returned are closed or this process ends, however it ends.

    A whole call keeps parts away, unless it starts these itself (`parts`). Raises LockError, with the process that holds the lock and
    since when, and DiskError where no file can be written for the run.
    """
    with explain_disk(run.lock()):
        run.lock().parent.mkdir(parents=True, exist_ok=True)
        own = _lock(run, part, run.lock(part), fcntl.LOCK_EX)
        if parts:
            return (own,)
        try:
            return own, _lock(run, part, run.lock("parts"), fcntl.LOCK_SH if part else fcntl.LOCK_EX)
        except LockError:
            own.close()
            raise


def _lock(run: Run, part: str, path: Path, kind: int) -> TextIO:
    """Lock a file and write into it who has it. Raises LockError."""
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _describe(file)
        file.close()
        raise LockError(
            f"run {run.name!r}{f', part {part},' if part else ''} is being worked on by {owner}; wait for its end, or name another run"
            " (--run NAME)"
        ) from None
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        print(f"notice:  {path.parent} is on a disk without locks; start no second call with this run")
    moment = datetime.now().astimezone().isoformat(" ", "seconds")
    file.truncate(0)
    file.write(json.dumps({"process": os.getpid(), "host": platform.node(), "since": moment}) + "\n")
    file.flush()
    return file


def _describe(file: TextIO) -> str:
    """Who holds a lock, as its file says."""
    file.seek(0)
    try:
        content = json.loads(file.read())
        return f"process {content['process']} on {content['host']} since {content['since']}"
    except (ValueError, KeyError, TypeError):  # it has been taken this very moment
        return "another process"
