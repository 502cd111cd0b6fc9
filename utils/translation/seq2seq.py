"""Neural translators: MADLAD-400 and NLLB-200, with transformers or, from a converted folder, with CTranslate2."""

import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from utils.data.clean import ISO
from utils.data.text import normalise_query
from utils.models.weights import is_converted
from utils.training.tokens import plain_text
from utils.training.tries import batch_by_length

TOKENS = 8192  # of a padded batch
LONGEST = 256  # maximum tokens of a query; longer ones are truncated
MAX_NEW = 64  # maximum tokens of a translation
BEAMS = 1  # greedy, as in the winning system
# Language -> NLLB's FLORES-200 code; the competition's `vn` is Vietnamese. Russian is not of the competition, but in its files.
NLLB_CODES = {
    "en": "eng_Latn", "es": "spa_Latn", "fr": "fra_Latn", "pt": "por_Latn", "ja": "jpn_Jpan", "ko": "kor_Hang", "th": "tha_Thai",
    "de": "deu_Latn", "it": "ita_Latn", "pl": "pol_Latn", "ar": "arb_Arab", "vn": "vie_Latn", "id": "ind_Latn",
    "ru": "rus_Cyrl",
}  # fmt: skip

Tokens = list[str]
Write = Callable[[list[Tokens]], list[Tokens]]  # source tokens of a batch -> output tokens


def devices() -> list[str]:
    """Names of all GPUs, else of the CPU."""
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cpu"]


def open_translator(folder: Path, family: str, target: str = "en") -> Callable[[list[str], list[str]], list[str]]:
    """A function from texts and their languages to a language, with a local folder's weights, batched by length over all GPUs.

    MADLAD-400 (Kudugunta et al. 2023) takes the target language from a tag in its input (`<2en>`), NLLB-200 (Costa-jussà
    et al. 2022) from the first output token. What a query spells of such tokens is read as ordinary characters.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    first = NLLB_CODES[target] if family == "nllb" else None
    tag = f"<2{ISO.get(target, target)}>"
    open_one = _open_converted if is_converted(folder) else _open_network
    writers = [open_one(folder, tokenizer, first, device) for device in devices()]

    def pieces(text: str, language: str) -> Tokens:
        # The only control tokens are those of the next lines and those that the tokenizer adds.
        text = plain_text(text, tokenizer)
        if family == "nllb":
            tokenizer.src_lang = NLLB_CODES[language]
        else:
            text = f"{tag} {text}"
        return tokenizer.convert_ids_to_tokens(tokenizer(text, truncation=True, max_length=LONGEST)["input_ids"])

    def translate(texts: list[str], languages: list[str]) -> list[str]:
        sources = [pieces(*pair) for pair in zip(texts, languages, strict=True)]
        outputs = _share_out(sources, writers)
        ids = [tokenizer.convert_tokens_to_ids(tokens) for tokens in outputs]
        return [normalise_query(text) for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]

    return translate


def _share_out(sources: list[Tokens], writers: list[Write]) -> list[Tokens]:
    """Translate all sources, each batch with the next free writer, one thread each; raises the first error of any."""
    queue: SimpleQueue[list[int]] = SimpleQueue()
    for batch in batch_by_length(np.array([len(source) for source in sources], dtype=np.int64), TOKENS):
        queue.put(batch.tolist())
    outputs: list[Tokens] = [[] for _ in sources]
    errors: list[BaseException] = []

    def work(write: Write) -> None:
        try:
            while not errors:
                batch = queue.get_nowait()
                for number, tokens in zip(batch, write([sources[number] for number in batch]), strict=True):
                    outputs[number] = tokens
        except Empty:
            return
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(write,)) for write in writers[1:]]
    for thread in threads:
        thread.start()
    work(writers[0])
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return outputs


def choose_dtype(device: str, wide: bool) -> torch.dtype:
    """16 bits on a GPU, 32 on a CPU; a network whose activations are `wide`, as T5's, exceeds the range of float16."""
    if device == "cpu":
        return torch.float32
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32 if wide else torch.float16


def _open_network(folder: Path, tokenizer: Any, first: str | None, device: str) -> Write:
    """The network with transformers, in the dtype of `choose_dtype`."""
    dtype = choose_dtype(device, wide=first is None)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=dtype, use_safetensors=True).to(device).eval()
    options = {} if first is None else {"forced_bos_token_id": tokenizer.convert_tokens_to_ids(first)}

    def write(sources: list[Tokens]) -> list[Tokens]:
        ids = {"input_ids": [tokenizer.convert_tokens_to_ids(source) for source in sources]}
        batch = tokenizer.pad(ids, return_tensors="pt").to(device)
        with torch.inference_mode():
            rows = model.generate(**batch, max_new_tokens=MAX_NEW, do_sample=False, num_beams=BEAMS, **options)
        return [tokenizer.convert_ids_to_tokens(row) for row in rows]

    return write


def _open_converted(folder: Path, tokenizer: Any, first: str | None, device: str) -> Write:
    """A folder written by `ct2-transformers-converter --quantization int8_float16`, with CTranslate2."""
    import ctranslate2

    kind, _, number = device.partition(":")
    translator = ctranslate2.Translator(str(folder), device=kind, device_index=int(number or 0))

    def write(sources: list[Tokens]) -> list[Tokens]:
        prefix = None if first is None else [[first]] * len(sources)
        results = translator.translate_batch(
            sources,
            target_prefix=prefix,
            beam_size=BEAMS,
            max_decoding_length=MAX_NEW,
            max_batch_size=TOKENS,
            batch_type="tokens",
        )
        return [result.hypotheses[0] for result in results]

    return write
