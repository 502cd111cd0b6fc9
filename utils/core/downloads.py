"""What set-up is about to download: the build of torch that pip would take, and whether the disk has room for it.

python -m utils.core.downloads GB      with the free gigabytes; a part of the set-up: exit code 0, or 2 where the disk is too small
"""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

from utils.core.paths import ROOT

# Gigabytes of all that requirements.txt asks for, to download and on the disk while it is installed.
CPU_SIZES, CUDA_SIZES = (2, 8), (5, 20)


@dataclass(frozen=True)
class Build:
    """A build of torch: its version, and the CUDA that it brings along (empty = it is for CPUs)."""

    version: str
    cuda: str

    @property
    def sizes(self) -> tuple[int, int]:
        """Gigabytes to download, and of disk."""
        return CUDA_SIZES if self.cuda else CPU_SIZES


def read_report(report: str) -> Build | None:
    """The build that pip's report on torch names; None where it would install none."""
    for package in json.loads(report)["install"]:
        metadata = package["metadata"]
        if metadata["name"] == "torch":
            libraries = [name for name in metadata.get("requires_dist", ()) if re.match(r"nvidia-|cuda-", name)]
            versions = [match[1] for name in libraries if (match := re.search(r"==(\d+)\.", name)) and "cuda" in name]
            return Build(metadata["version"], (versions or ["of its own"])[0] if libraries else "")
    return None


def ask_pip() -> Build | None:
    """The build of torch that pip would install here; None where that is done, or where pip cannot tell."""
    line = next(
        line for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines() if line.startswith("torch==")
    )
    options = ["--quiet", "--disable-pip-version-check", "--dry-run", "--no-deps", "--report", "-"]
    command = [sys.executable, "-I", "-m", "pip", "install", *options, line.split()[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return read_report(done.stdout)
    except (ValueError, KeyError, TypeError):
        return None


def explain(build: Build, gpu: bool) -> list[str]:
    """What will be downloaded, for whom, and what would be less."""
    kind = f"for CUDA {build.cuda}" if build.cuda else "for CPUs"
    download, disk = build.sizes
    lines = [f"torch {build.version} {kind}: about {download} GB to download, {disk} GB of disk with all the rest"]
    if build.cuda and not gpu:
        lines.append(
            "no GPU answers here, and a CPU needs none of CUDA: where pip's extra-index-url names an index of CPU builds, that is taken"
        )
    if gpu and not build.cuda:
        lines.append(
            "a GPU answers here, and this build will not use it: pip's own settings name an index of CPU builds"
        )
    return lines


def main() -> int:
    """The command: say what comes, and refuse a disk that is too small for it."""
    free, build = int(sys.argv[1]), ask_pip()
    if build is None:
        return 0
    for line in explain(build, shutil.which("nvidia-smi") is not None):
        print(f"set-up: {line}", flush=True)
    if free < build.sizes[1]:
        print(
            f"set-up: {build.sizes[1]} GB of free disk are needed here, {free} GB are free; make room and call again",
            file=sys.stderr,
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
