"""One call at a time works on a run, or on one of the parts that machines share, which all count the same number of parts."""

import contextlib
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

ANOTHER = "another process"
REMEDY = "wait for its end, or name another run (--run NAME)"
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what a shared disk answers that has none


def take(run: Run, part: str = "", parts: int = 0) -> tuple[TextIO, ...]:
    """Lock a run, or its part `K/N`, until the files that are returned are closed or this process ends, however it ends.

    A whole call keeps parts away, unless it starts so many itself (`parts`); parts keep away those of another number. Raises
    LockError, with the process that holds the lock and since when, and DiskError where no file can be written for the run.
    """
    held: list[TextIO] = []
    names = [part] if part else ["", *([f"0/{parts}"] if parts else [])]
    with explain_disk(run.lock()), contextlib.ExitStack() as stack:
        run.lock().parent.mkdir(parents=True, exist_ok=True)
        for name in names:
            held.append(stack.enter_context(_lock(run, name, fcntl.LOCK_EX)))
        held.append(stack.enter_context(_lock(run, "parts", fcntl.LOCK_SH if part or parts else fcntl.LOCK_EX)))
        if part or parts:
            _refuse_others(run, names[-1])
        stack.pop_all()
    return tuple(held)


def _refuse_others(run: Run, part: str) -> None:
    """Raise LockError where a part of another number of parts is being worked on, whose trainings are the same."""
    count = part.partition("/")[2]
    for path in sorted(run.lock().parent.glob(f"{run.lock().stem}.*of*.lock")):
        if not path.stem.endswith(f"of{count}") and (owner := _owner(path)):
            raise LockError(
                f"run {run.name!r} is being worked on in another number of parts than {count} by {owner}; {REMEDY}"
            )


def _lock(run: Run, name: str, kind: int) -> TextIO:
    """Lock a file of a run, by its name, and write into it who has it. Raises LockError."""
    path = run.lock(name)
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _describe(file) if name != "parts" else _owner_of(run, kind == fcntl.LOCK_EX)
        file.close()
        which = f", part {name}," if "/" in name else ""
        raise LockError(f"run {run.name!r}{which} is being worked on by {owner}; {REMEDY}") from None
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        print(f"notice:  {path.parent} is on a disk without locks; start no second call with this run")
    moment = datetime.now().astimezone().isoformat(" ", "seconds")
    file.truncate(0)
    file.write(json.dumps({"process": os.getpid(), "host": platform.node(), "since": moment}) + "\n")
    file.flush()
    return file


def _owner_of(run: Run, is_whole: bool) -> str:
    """Who keeps a whole call away: one of the parts, of which others may have ended since; or who keeps a part away: a whole call."""
    paths = sorted(run.lock().parent.glob(f"{run.lock().stem}.*of*.lock")) if is_whole else [run.lock()]
    return next((owner for path in paths if (owner := _owner(path))), ANOTHER)


def _owner(path: Path) -> str:
    """Who holds the lock of a file; empty where nobody does."""
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _describe(file)
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
    return ""


def _describe(file: TextIO) -> str:
    """Who holds a lock, as its file says."""
    file.seek(0)
    try:
        content = json.loads(file.read())
        return f"process {content['process']} on {content['host']} since {content['since']}"
    except (ValueError, KeyError, TypeError):  # it has been taken this very moment
        return ANOTHER
