"""Folders of tensors as data: safetensors files alone are read, and nothing that could run code."""

import json
from pathlib import Path
from typing import BinaryIO

HEADER_LIMIT = 100_000_000  # bytes; safetensors allows no longer header
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
PICKLE_STARTS = (b"\x80", b"PK")  # of a plain pickle, and of torch's archive of one
ADAPTER_CONFIG = "adapter_config.json"

Span = tuple[int, int]  # bytes of a file, from and to


def read_spans(file: BinaryIO, size: int) -> tuple[bytes, list[Span]]:
    """The header of an open safetensors file of `size` bytes, and where each tensor lies. Raises ValueError for another file."""
    first = file.read(8)
    start = 8 + int.from_bytes(first, "little")
    if not 8 < start <= min(size, HEADER_LIMIT):
        if first.startswith(PICKLE_STARTS):
            raise ValueError("a pickle under another name: it may run code, so it is never read")
        raise ValueError("no safetensors file, or a part of one")
    header = file.read(start - 8)
    try:
        content = json.loads(header)
    except RecursionError:
        raise ValueError("a header that is nested without end") from None
    tensors = [tensor for name, tensor in content.items() if name != "__metadata__"]
    spans = sorted((start + first, start + last) for first, last in (tensor["data_offsets"] for tensor in tensors))
    if spans and spans[-1][1] > size:
        raise ValueError("shorter than its header says")
    return header, spans


def file_problem(path: Path) -> str:
    """Why a safetensors file cannot be read, or the empty text."""
    if not path.exists():
        return f"{path.name} is missing" + (f"; {other}" if (other := _pickle_problem(path.parent)) else "")
    try:
        with path.open("rb") as file:
            read_spans(file, path.stat().st_size)
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error) if type(error) is ValueError else "a damaged header"
        return f"{path.name} is damaged ({reason})"
    return ""


def _pickle_problem(folder: Path) -> str:
    """That the first pickle of a folder is not read, and what to do, or the empty text. CTranslate2's `model.bin` is none."""
    found = sorted({path.name for pattern in PICKLES for path in folder.glob(pattern)} - {"model.bin"})
    return f"{found[0]} may run code, so it is never read; convert it to safetensors" if found else ""


def code_problem(folder: Path) -> str:
    """Why a folder's network or tokenizer would be made by code of its own, by a pickle or from another folder, or the empty text."""
    return config_problem(folder) or ("" if any(folder.glob("*.safetensors")) else _pickle_problem(folder))


def config_problem(folder: Path) -> str:
    """`code_problem` of a folder's settings alone, whose tensors may be elsewhere."""
    if (folder / ADAPTER_CONFIG).exists():
        return f"{ADAPTER_CONFIG} makes it an adapter of another model; name a folder of the whole model"
    for path in sorted(folder.glob("*config.json")):
        try:
            content = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):  # said where it is needed
            continue
        if isinstance(content, dict) and content.get("auto_map"):
            files = ", ".join(["auto_map", *sorted(file.name for file in folder.glob("*.py"))])
            return f"{path.name} asks for code of its own ({files}), which is never run; take a class of transformers"
    return ""
