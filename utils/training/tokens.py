"""Rows of a table -> token ids: each distinct text is tokenised once, as ordinary characters, and many texts are cached on disk."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerFast

from utils.core.files import write_with
from utils.core.paths import TOKENS
from utils.core.recipe import Recipe
from utils.data.text import map_distinct, query_field, split_path, target_field

VERSION = "2"  # of how a text becomes ids; raise it whenever the ids of a text may change
LINE = "\n"  # ends each field of a decoder's row; the head reads the state at the last one
POSITIONS = 512  # tokens of the longest input that every family takes (e5 and XLM-R take no more)
LEAST = 8  # tokens of a query that are kept whatever the length of a path's last level
FEW = 5000  # fewer distinct texts are not cached: tokenising them is faster than reading a file

Ids = tuple[int, ...]
Span = tuple[int, int]


@dataclass(frozen=True)
class Encoded:
    """Token ids of each row, in the table's order: one sequence per row, or two (query, target) for a bi-encoder.

    `group` `[rows]` numbers the row's first field: rows of one group have a common prefix. `packed` marks rows of a decoder
    that share prefixes, in tries of at most `sequence_tokens`; other rows are padded.
    """

    rows: list[tuple[Ids, ...]]
    group: NDArray[np.int64]
    packed: bool
    truncated: int = 0  # number of rows whose target was truncated
    sequence_tokens: int = 0  # of a packed sequence, at most; 0 = as large as the pack
    queries_truncated: int = 0  # number of rows whose query was truncated
    english_truncated: int = 0  # number of rows whose English query was truncated

    @property
    def apart(self) -> bool:
        """Whether query and target are separate sequences, for a bi-encoder."""
        return len(self.rows) > 0 and len(self.rows[0]) == 2

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, `[rows]`."""
        return np.array([sum(map(len, row)) for row in self.rows], dtype=np.int64)


@cache
def _controls(tokenizer: PreTrainedTokenizerFast, special: Ids) -> frozenset[int]:
    """`control_ids` of a tokenizer with these special tokens, read once.

    A Unigram vocabulary gives symbols that no text was split into the score 0, pieces of texts a lower one.
    """
    ids = {*special, *tokenizer.backend_tokenizer.get_added_tokens_decoder()}
    if isinstance(tokenizer.backend_tokenizer.model, Unigram):
        pieces = json.loads(tokenizer.backend_tokenizer.model.__getstate__())["vocab"]
        ids |= {number for number, (_, score) in enumerate(pieces) if score >= 0}
    return frozenset(ids)


def control_ids(tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """Ids that no text may have: of all special and added tokens, and of the vocabulary's other control symbols."""
    return _controls(tokenizer, tuple(tokenizer.all_special_ids))


def _typed_controls(text: str, tokenizer: PreTrainedTokenizerFast) -> list[Span]:
    """Spans of a text that become control ids, because the text spells them.

    The unknown token and byte tokens may also stand for a character that the vocabulary lacks: that is no spelling.
    """
    backend, controls, spans = tokenizer.backend_tokenizer, control_ids(tokenizer), []
    encoding = backend.encode(text, add_special_tokens=False)
    for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        if token not in controls:
            continue
        name, span = backend.id_to_token(token), text[start:end]
        normal = span if backend.normalizer is None else backend.normalizer.normalize_str(span)
        stands_in = token == tokenizer.unk_token_id or name.startswith("<0x")
        if not stands_in or name in span or name in normal:
            spans.append((start, max(end, start + 1)))
    return spans


def _break(span: str) -> str:
    """A spelling of a control token with a space in it, between a sign and a letter if there are any (`</ s>`)."""
    places = [at for at in range(1, len(span)) if not span[at - 1].isspace() and not span[at].isspace()]
    if not places:
        return "" if span == " " else " "
    at = next((at for at in places if span[at - 1].isalnum() != span[at].isalnum()), places[0])
    return f"{span[:at]} {span[at:]}"


def plain_text(text: str, tokenizer: PreTrainedTokenizerFast) -> str:
    """A text that the tokenizer splits into ordinary tokens only: spellings of its control tokens get a space in them.

    Other texts are returned as they are. Only the tokens of the text itself are meant, not those that a tokenizer adds.
    """
    while spans := _typed_controls(text, tokenizer):
        pieces, limit = [], len(text)
        for start, end in sorted(set(spans), reverse=True):
            if end <= limit:
                pieces += [text[end:limit], _break(text[start:end])]
                limit = start
        text = "".join([*pieces, text[:limit]][::-1])
    return text


def _fingerprint(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> str:
    """Hash of a tokenizer, of `VERSION` and of texts; 32 hex digits."""
    digest = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode())
    digest.update("\x1e".join([VERSION, *texts]).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]


def _split(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> list[Ids]:
    """Token ids of each text as the tokenizer splits it, spellings of control tokens included."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()  # an earlier call of the tokenizer may have left it
    backend.no_padding()
    return [tuple(encoding.ids) for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]


def _bulk(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> list[Ids]:
    """Token ids of each text as ordinary characters, without a cache."""
    sequences, controls = _split(texts, tokenizer), control_ids(tokenizer)
    typed = [number for number, ids in enumerate(sequences) if not controls.isdisjoint(ids)]
    plain = _split([plain_text(texts[number], tokenizer) for number in typed], tokenizer)
    for number, ids in zip(typed, plain, strict=True):
        sequences[number] = ids
    return sequences


def _read(path: Path) -> list[Ids]:
    """Token ids of each text of a cache file, in its order."""
    arrays = load_file(path)
    ids, ends = arrays["ids"].tolist(), arrays["ends"].tolist()
    return [tuple(ids[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def tokenise(texts: list[str], tokenizer: PreTrainedTokenizerFast, cache: Path = TOKENS) -> list[Ids]:
    """Token ids of each text, without control tokens; those of many texts are cached in the folder `cache`.

    A text that spells a control token (`</s>`) gets ids of its characters (`plain_text`). The file's name is the hash of
    the tokenizer and of the distinct texts.
    """
    distinct = list(dict.fromkeys(texts))
    if len(distinct) < FEW:
        sequences = _bulk(distinct, tokenizer)
    else:
        path = cache / f"{_fingerprint(distinct, tokenizer)}.safetensors"
        if not path.exists():
            sequences = _bulk(distinct, tokenizer)
            ends = np.cumsum([len(ids) for ids in sequences], dtype=np.int64)
            flat = np.fromiter((token for ids in sequences for token in ids), dtype=np.int32, count=int(ends[-1]))
            write_with(path, lambda temporary: save_file({"ids": flat, "ends": ends}, temporary))
        sequences = _read(path)
    ids_of = dict(zip(distinct, sequences, strict=True))
    return [ids_of[text] for text in texts]


def _frame(tokenizer: PreTrainedTokenizerFast, encoder: bool) -> tuple[Ids, Ids, Ids]:
    """Markers before, between and after the two fields: special tokens of an encoder, line ends for a decoder."""
    if encoder:
        end = (tokenizer.sep_token_id,)
        return (tokenizer.cls_token_id,), end * 2, end
    start = () if tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)
    line = _split([LINE], tokenizer)[0]
    return start, line, line


def share_room(lengths: Sequence[int], room: int) -> list[int]:
    """Tokens of each field, at most `room` in all: equal shares, and what short fields leave of theirs goes to the longer ones."""
    budgets = [0] * len(lengths)
    for place, field in enumerate(sorted(range(len(lengths)), key=lengths.__getitem__)):
        budgets[field] = min(lengths[field], room // (len(lengths) - place))
        room -= budgets[field]
    return budgets


def _path_ends(target: str | None, task: str, room: int) -> list[str]:
    """The target's field after it has lost 0, 1, 2, ... levels of a path on the left; a title has none to lose.

    Of a path of more levels than `room`, so many are left at once: each is a token at least.
    """
    levels = split_path(target) if task == "QC" else []
    starts = range(max(1, len(levels) - room), len(levels))
    return [target_field(target, task), *(target_field(",".join(levels[at:]), task) for at in starts)]


def _shorten(query: Ids, english: Ids, ends: list[Ids], least: int, room: int) -> tuple[Ids, Ids, Ids]:
    """Query, English and target of a row that exceeds its room, each within a share of its own.

    Query and English keep their start. The target is the longest of `ends` that fits, of which a title has one, or else
    the start of the last; `least` tokens of it are kept, if that leaves `LEAST` to the query. An English query of fewer
    tokens is left out.
    """
    budget = share_room((len(query), len(english), len(ends[0])), room)[2]
    budget = max(budget, min(least, room - min(LEAST, len(query))))
    target = next((ids for ids in ends if len(ids) <= budget), ends[-1][:budget])
    first, second = share_room((len(query), len(english)), room - len(target))
    if second < min(LEAST, len(english)):
        first, second = room - len(target), 0
    return query[:first], english[:second], target


def _shorten_rows(
    table: pd.DataFrame, task: str, tokenizer: PreTrainedTokenizerFast, queries: list[Ids], room: int
) -> tuple[list[tuple[Ids, Ids]], NDArray[np.int64]]:
    """`_shorten` of each row: the query's field and the target; and the number of rows that lost query, English, target.

    `queries` are the tokens of the query's field, where the English follows the query.
    """
    texts = [_path_ends(target, task, room) for target in table["target"]]
    ids_of = dict(zip(flat := [text for row in texts for text in row], tokenise(flat, tokenizer), strict=True))
    alone = tokenise([query_field(query, "") for query in table["query"]], tokenizer)
    rows, counts = [], np.zeros(3, dtype=np.int64)
    for ids, query, row in zip(queries, alone, texts, strict=True):
        differing = (at for at, (one, other) in enumerate(zip(ids, query, strict=False)) if one != other)
        split = next(differing, min(len(ids), len(query)))
        ends = [ids_of[text] for text in row]
        whole = ids[:split], ids[split:], ends[0]
        parts = _shorten(*whole[:2], ends, len(ends[-1]) if task == "QC" else 0, room)
        counts += [len(part) < len(field) for part, field in zip(parts, whole, strict=True)]
        rows.append((parts[0] + parts[1], parts[2]))
    return rows, counts


def encode(
    table: pd.DataFrame, task: str, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, encoder: bool
) -> Encoded:
    """Token ids of a table's rows, from `query`, `query_en` and `target`, with markers around the fields.

    Fields are tokenised separately, so that no token spans two of them. Encoders get `<s> query </s></s> target </s>` (a
    bi-encoder two sequences), decoders `<bos> query \\n target \\n`, or the target first, as the recipe says. A row that
    exceeds the recipe's `max_length` is shortened, each field within its own share: query, English and title lose their
    end, a path loses its first levels and never its last.
    """
    pairs = zip(table["query"], table["query_en"], strict=True)
    queries = tokenise([query_field(query, english, recipe.translation) for query, english in pairs], tokenizer)
    targets = tokenise(map_distinct(partial(target_field, task=task), table["target"]), tokenizer)
    start, middle, end = _frame(tokenizer, encoder)
    fixed = len(start) + len(middle) + len(end)
    room = max(min(recipe.max_length, POSITIONS) - fixed, 2 * LEAST)
    fields = list(zip(queries, targets, strict=True))
    long = [number for number, (query, target) in enumerate(fields) if len(query) + len(target) > room]
    short, counts = _shorten_rows(table.iloc[long], task, tokenizer, [queries[number] for number in long], room)
    for number, pair in zip(long, short, strict=True):
        fields[number] = pair
    rows: list[tuple[Ids, ...]] = []
    first_fields: list[Ids] = []
    for pair in fields:
        first, second = pair if recipe.query_first else pair[::-1]
        first_fields.append(first)
        if recipe.architecture == "bi-encoder":
            rows.append((start + first + end, start + second + end))
        else:
            rows.append((start + first + middle + second + end,))
    group = pd.factorize(np.fromiter(first_fields, dtype=object, count=len(first_fields)))[0]
    lost_query, lost_english, lost_target = counts.tolist()
    packed = not encoder and recipe.packing == "tries"
    return Encoded(rows, group, packed, lost_target, recipe.sequence_tokens, lost_query, lost_english)


def interleave(parts: Sequence[Encoded], places: Sequence[NDArray[np.int64]]) -> Encoded:
    """Parts of a table that were encoded apart as one: `places` holds each part's places in the table, all together each once."""
    count = sum(map(len, places))
    rows: list[tuple[Ids, ...]] = [()] * count
    group = np.zeros(count, dtype=np.int64)
    start = 0
    for part, own in zip(parts, places, strict=True):
        for place, row in zip(own.tolist(), part.rows, strict=True):
            rows[place] = row
        group[own] = part.group + start
        start += int(part.group.max(initial=-1)) + 1
    lost = [
        sum(getattr(part, name) for part in parts) for name in ("truncated", "queries_truncated", "english_truncated")
    ]
    return Encoded(rows, group, parts[0].packed, lost[0], parts[0].sequence_tokens, *lost[1:])
