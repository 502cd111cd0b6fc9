"""The GPUs of this machine: whether torch can use them, and if not, why and what to do."""

import re
import shutil
import subprocess

import torch

# The oldest driver that runs a build of torch for a version of CUDA.
DRIVERS = {"13": 580, "12": 525}


def read_driver() -> str:
    """The version of the NVIDIA driver; empty where there is none."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ""
    query = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"[\d.]+", done.stdout) if done.returncode == 0 else None
    return found[0] if found else ""


def explain_missing() -> str:
    """Why torch has no CUDA device here, and what to do; the empty text where it has one."""
    if torch.cuda.is_available():
        return ""
    driver, cuda = read_driver(), torch.version.cuda
    if not driver:
        return "no NVIDIA driver answers (nvidia-smi); run this on a machine with a GPU, or use --profile laptop"
    if cuda is None:
        return (
            f"driver {driver} is there, but torch {torch.__version__} is a build for CPUs; remove .venv, take the CPU builds out "
            "of pip's settings, and call again"
        )
    needed = DRIVERS.get(cuda.split(".")[0], 0)
    if int(driver.split(".")[0]) < needed:
        return (
            f"driver {driver} is older than torch {torch.__version__} for CUDA {cuda} needs ({needed}); update the driver, or "
            "install torch's build for an older CUDA into .venv"
        )
    return f"driver {driver} and torch {torch.__version__} for CUDA {cuda} find no GPU; look at CUDA_VISIBLE_DEVICES and at the container"


def has_bfloat16() -> bool:
    """Whether the GPU computes in bfloat16 itself; a CPU does, slowly."""
    return not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False)
