"""The doctor: a line for each part of the environment, whatever an installation can raise."""

import pytest
import torch

from utils import pipeline
from utils.running import doctor
from utils.training import accelerator


def test_every_part_has_a_line_and_this_environment_is_sound(capsys: pytest.CaptureFixture[str]) -> None:
    assert pipeline.main(["--doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(doctor.CHECKS)
    for part, text in (
        ("torch", torch.__version__),
        ("bitsandbytes", "4 bits on"),
        ("weights", "multilingual-e5-small"),
    ):
        line = next(line for line in lines if line.startswith(part))
        assert " works " in line and text in line


def test_what_is_broken_says_what_to_do_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> doctor.Finding:
        raise ImportError("libcudart.so.12: cannot open\nshared object file")

    monkeypatch.setitem(doctor.CHECKS, "DeepSpeed", fail)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(accelerator, "read_driver", lambda: "470.1")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert doctor.main() == 1
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert (
        "ImportError: libcudart.so.12: cannot open shared object file; run: ./run_all.sh --setup" in lines["DeepSpeed"]
    )
    assert " broken " in lines["GPU"] and "needs (580); update the driver" in lines["GPU"]


def test_no_driver_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator.shutil, "which", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    finding = next(finding for finding in doctor.examine() if finding.part == "GPU")
    assert finding.state == doctor.ABSENT and "--profile laptop" in finding.text
