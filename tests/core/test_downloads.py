"""Set-up tells which build of torch pip would take, and refuses a disk that it would fill."""

import json

import pytest

from utils.core import downloads
from utils.core.downloads import Build

CUDA = [
    'cuda-toolkit[cublas,cudart]==13.0.2; platform_system == "Linux"',
    "nvidia-cudnn-cu13==9.19.0.56",
    "sympy>=1.13.3",
]


def report(version: str, needs: list[str]) -> str:
    return json.dumps({"install": [{"metadata": {"name": "torch", "version": version, "requires_dist": needs}}]})


def test_pips_report_names_the_build() -> None:
    assert downloads.read_report(report("2.13.0", CUDA)) == Build("2.13.0", "13")
    assert downloads.read_report(report("2.13.0", ["nvidia-cudnn-cu13==9.19"])) == Build("2.13.0", "of its own")
    assert downloads.read_report(report("2.13.0+cpu", ["sympy>=1.13.3"])) == Build("2.13.0+cpu", "")
    assert downloads.read_report('{"install": []}') is None  # it is there


def test_this_environments_torch_is_asked_for_by_its_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(command: list[str], **_: object) -> object:
        asked.extend(command)
        return type("Done", (), {"stdout": report("2.13.0", CUDA)})

    monkeypatch.setattr(downloads.subprocess, "run", run)
    assert downloads.ask_pip() == Build("2.13.0", "13")
    assert "--dry-run" in asked and asked[-1].startswith("torch==")
    monkeypatch.setattr(downloads.subprocess, "run", lambda *_, **__: type("Done", (), {"stdout": "offline"}))
    assert downloads.ask_pip() is None  # the installation itself will tell


@pytest.mark.parametrize(
    ("cuda", "gpu", "free", "code", "told"),
    [
        ("13", True, 25, 0, "torch 2.13.0 for CUDA 13: about 5 GB to download, 20 GB of disk"),
        ("13", True, 12, 2, "20 GB of free disk are needed here, 12 GB are free"),
        ("13", False, 25, 0, "no GPU answers here, and a CPU needs none of CUDA"),
        ("", False, 12, 0, "torch 2.13.0 for CPUs: about 2 GB to download, 8 GB of disk"),
        ("", True, 12, 0, "this build will not use it"),
    ],
)
def test_a_build_is_told_and_weighed(
    cuda: str,
    gpu: bool,
    free: int,
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(downloads, "ask_pip", lambda: Build("2.13.0", cuda))
    monkeypatch.setattr(downloads.shutil, "which", lambda _: "nvidia-smi" if gpu else None)
    monkeypatch.setattr(downloads.sys, "argv", ["downloads", str(free)])
    assert downloads.main() == code
    output = capsys.readouterr()
    assert told in output.out + output.err
