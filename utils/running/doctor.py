"""What of the environment works on this machine, one line each, with what to do where it does not.

./run_all.sh --doctor
"""

import contextlib
import ctypes
import io
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

from utils.core import paths
from utils.core.streams import hide_passwords

WORKS, ABSENT, BROKEN = "works", "absent", "broken"


@dataclass(frozen=True)
class Finding:
    """One part of the environment: whether it works, is not here and not needed everywhere, or is broken."""

    part: str
    state: str
    text: str

    def __str__(self) -> str:
        return f"{self.part:<13} {self.state:<7} {self.text}"


def _python() -> Finding:
    return Finding("python", WORKS, f"{sys.version.split()[0]}, {len(os.sched_getaffinity(0))} cores")


def _disk() -> Finding:
    free = shutil.disk_usage(paths.ROOT).free / 1e9
    return Finding("disk", WORKS if free > 2 else BROKEN, f"{free:.0f} GB free" + ("" if free > 2 else "; make room"))


def _torch() -> Finding:
    import torch

    return Finding("torch", WORKS, f"{torch.__version__}, built for CUDA {torch.version.cuda or 'none: CPU only'}")


def _gpu() -> Finding:
    import torch

    from utils.training import accelerator

    if problem := accelerator.explain_missing():
        return Finding("GPU", BROKEN if accelerator.read_driver() else ABSENT, problem)
    names = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    half = "bfloat16" if accelerator.has_bfloat16() else "no bfloat16: --profile t4x2"
    described = ", ".join(f"{gpu.name} {gpu.total_memory / 1e9:.0f} GB" for gpu in names)
    return Finding("GPU", WORKS, f"{described}; driver {accelerator.read_driver()}; {half}")


def _bitsandbytes() -> Finding:
    import bitsandbytes
    import torch
    from bitsandbytes import functional

    device = "cuda" if torch.cuda.is_available() else "cpu"
    value = torch.randn(64, 64, device=device)
    packed, state = functional.quantize_4bit(value, quant_type="nf4")
    error = (functional.dequantize_4bit(packed, state) - value).abs().max().item()
    if not error < 1:
        return Finding(
            "bitsandbytes", BROKEN, f"4 bits come back off by {error:.2g} on {device}; install the pinned version"
        )
    return Finding("bitsandbytes", WORKS, f"{bitsandbytes.__version__}, 4 bits on {device}")


def _deepspeed() -> Finding:
    import deepspeed

    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        text = f"{deepspeed.__version__}, but no C++ compiler, with which it builds a part on first use; install g++"
        return Finding("DeepSpeed", BROKEN, text)
    return Finding("DeepSpeed", WORKS, f"{deepspeed.__version__}, for networks that fit no single device")


def _ctranslate2() -> Finding:
    import ctranslate2

    version, gpus = ctranslate2.__version__, ctranslate2.get_cuda_device_count()
    if gpus:
        try:
            ctypes.CDLL("libcublas.so.12")
        except OSError:
            text = (
                f"{version} needs cuBLAS of CUDA 12 beside torch's own; run: .venv/bin/pip install nvidia-cublas-cu12"
            )
            return Finding("CTranslate2", BROKEN, text)
    return Finding(
        "CTranslate2", WORKS, f"{version}, for translators that were converted; on {'GPU' if gpus else 'CPU'}"
    )


def _weights() -> Finding:
    from utils.models import weights
    from utils.models.zoo import ZOO

    packaged = [name for name, model in ZOO.items() if model.package is not None]
    problems = [f"{name}: {problem}" for name in packaged if (problem := weights.find_problem(paths.WEIGHTS / name))]
    if problems:
        return Finding("weights", BROKEN, "; ".join(problems) + "; run: ./run_all.sh --setup")
    return Finding("weights", WORKS, f"packaged: {', '.join(packaged)}")


CHECKS: dict[str, Callable[[], Finding]] = {
    "python": _python, "disk": _disk, "torch": _torch, "GPU": _gpu, "bitsandbytes": _bitsandbytes, "DeepSpeed": _deepspeed,
    "CTranslate2": _ctranslate2, "weights": _weights,
}  # fmt: skip


def examine() -> list[Finding]:
    """All findings; a part that cannot even be asked is broken."""
    findings = []
    for part, check in CHECKS.items():
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                findings.append(check())
        except Exception as error:  # whatever an installation can raise
            reason = hide_passwords(" ".join(str(error).split()))[:200]
            text = f"{type(error).__name__}: {reason}; run: ./run_all.sh --setup"
            findings.append(Finding(part, BROKEN, text))
    return findings


def main() -> int:
    """Print the findings; exit code 0 where nothing is broken, else 1."""
    findings = examine()
    print(*findings, sep="\n")
    return int(any(finding.state == BROKEN for finding in findings))
