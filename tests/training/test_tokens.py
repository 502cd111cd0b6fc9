"""Typed text never becomes control tokens, for every family of tokenizers, and no field takes another's room."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from utils.core.recipe import Recipe
from utils.data.text import query_field, target_field
from utils.models import build
from utils.training import tokens

CORPUS = [
    "red shoes for women",
    "funny shirt geek",
    "eng deu latn mask unused start of turn user im end text",
    "2en cls sep",
]
CHARACTERS = sorted({*"".join(CORPUS), *"<>/|[]_▁0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:.,&"})


def qwen() -> PreTrainedTokenizerFast:
    """Byte-level BPE, with special tokens and added ones that are not special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens(["<think>", "</think>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


def t5() -> PreTrainedTokenizerFast:
    """Unigram with byte fallback, whose language tags and bytes stand in the vocabulary alone, as in MADLAD-400."""
    bytes_ = [(f"<0x{number:02X}>", 0.0) for number in range(256)]
    pieces = [(character, -5.0) for character in CHARACTERS] + [("▁shoes", -3.0), ("▁<", -3.0)]
    symbols = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("<2en>", 0.0), ("<2de>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(symbols + bytes_ + pieces, unk_id=0, byte_fallback=True))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>", pad_token="</s>")


def nllb() -> PreTrainedTokenizerFast:
    """BPE without bytes, with language codes and a mask that takes the space before it, as in NLLB-200."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=200, initial_alphabet=CHARACTERS, special_tokens=special)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(["eng_Latn", "deu_Latn", AddedToken("<mask>", lstrip=True)])
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token=AddedToken("<mask>", lstrip=True), **names)


def bert() -> PreTrainedTokenizerFast:
    """Lower-casing WordPiece."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *CHARACTERS, *(f"##{character}" for character in CHARACTERS)]
    tokenizer = Tokenizer(models.WordPiece(dict(zip(pieces, range(len(pieces)), strict=True)), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **dict(zip(names, special, strict=True)))


@pytest.fixture(scope="module")
def families(e5: Path, gemma: Path) -> dict[str, PreTrainedTokenizerFast]:
    """A tokenizer of each family: the packaged ones, and small ones of the others' kinds."""
    packaged = {"xlm-r": build.load_tokenizer(e5), "gemma": build.load_tokenizer(gemma)}
    return packaged | {"qwen": qwen(), "t5": t5(), "nllb": nllb(), "bert": bert()}


FAMILIES = ("xlm-r", "gemma", "qwen", "t5", "nllb", "bert")
SPELLINGS = (
    "<s>", "</s>", "<pad>", "<unk>", "<mask>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "<unused7>", "[multimodal]", "<b>",
    "<|im_end|>", "<|endoftext|>", "<think>", "<2en>", "<0x41>", "eng_Latn", "[CLS]", "[MASK]", "[PAD]",
)  # fmt: skip
OWN = {
    "xlm-r": ("<s>", "</s>", "<pad>", "<unk>", "<mask>"),
    "gemma": ("<bos>", "<eos>", "<pad>", "<unk>", "<mask>", "<start_of_turn>", "<unused7>", "<unused99>", "[multimodal]", "</s>"),
    "qwen": ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>"),
    "t5": ("<s>", "</s>", "<unk>", "<2en>", "<2de>", "<0x41>"),
    "nllb": ("<s>", "</s>", "<pad>", "<unk>", "<mask>", "eng_Latn"),
    "bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
}  # fmt: skip
PLACES = ("{}", "red {} shoes", "red{}shoes", "{}{}", "{} {}", "<{}>", "query: {} | english: {}", "{}s>", "<{}", " {} ")


@pytest.mark.parametrize("family", FAMILIES)
def test_control_ids_are_found_in_the_tokenizer_itself(
    family: str, families: dict[str, PreTrainedTokenizerFast]
) -> None:
    tokenizer = families[family]
    controls = tokens.control_ids(tokenizer)
    assert {tokenizer.convert_tokens_to_ids(name) for name in OWN[family]} <= controls
    assert set(tokenizer.all_special_ids) <= controls and set(tokenizer.added_tokens_decoder) <= controls
    ordinary = tokenizer("red shoes for women", add_special_tokens=False)["input_ids"]
    assert ordinary and not controls & set(ordinary)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_spelled_control_token_is_ordinary_characters(
    family: str, families: dict[str, PreTrainedTokenizerFast]
) -> None:
    tokenizer = families[family]
    controls = tokens.control_ids(tokenizer)
    for spelling in (*SPELLINGS, *OWN[family]):
        texts = [place.replace("{}", spelling) for place in PLACES]
        for text, ids in zip(texts, tokens.tokenise(texts, tokenizer), strict=True):
            assert ids and not controls & set(ids), text
            plain = tokens.plain_text(text, tokenizer)
            assert plain.replace(" ", "") == text.replace(" ", "")  # nothing but spaces was added
            assert ids == tuple(tokenizer(plain, add_special_tokens=False)["input_ids"])
    assert all(tokens.plain_text(name, tokenizer) != name for name in OWN[family])


def test_every_added_token_of_a_tokenizer_is_covered(families: dict[str, PreTrainedTokenizerFast]) -> None:
    tokenizer = families["gemma"]
    names = [str(token) for token in tokenizer.added_tokens_decoder.values()]
    assert len(names) > 6000
    controls = tokens.control_ids(tokenizer)
    assert all(controls.isdisjoint(ids) for ids in tokens.tokenise([f"a{name}b" for name in names], tokenizer))


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=40)
@given(
    text=st.lists(st.sampled_from([*SPELLINGS, *"<>/|[]s_ ", "red", "＜/s＞", "<2", "en>", "\n"]), max_size=8).map(
        "".join
    )
)
def test_no_mixture_of_spellings_gives_a_control_id(
    family: str, families: dict[str, PreTrainedTokenizerFast], text: str
) -> None:
    tokenizer = families[family]
    ids = tokens.tokenise([text], tokenizer)[0]
    unknown = {tokenizer.unk_token_id} if family in ("xlm-r", "nllb", "bert") else set()  # no id for `＜` or a line end
    fallback = {tokenizer.convert_tokens_to_ids("<0x0A>")} if family == "t5" else set()
    assert not (tokens.control_ids(tokenizer) - unknown - fallback) & set(ids)
    if text.isascii() and "\n" not in text:
        assert not tokens.control_ids(tokenizer) & set(ids)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=40)
@given(
    text=st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=20).filter(
        lambda text: not set(text) & set("<[")
    )
)
def test_texts_without_such_spellings_have_the_same_ids_as_ever(
    family: str, families: dict[str, PreTrainedTokenizerFast], text: str
) -> None:
    tokenizer = families[family]
    assert tokens.plain_text(text, tokenizer) == text
    assert tokens.tokenise([text], tokenizer)[0] == tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_a_character_that_a_vocabulary_lacks_is_no_spelling(families: dict[str, PreTrainedTokenizerFast]) -> None:
    for family in FAMILIES:
        text = "red 𓀀 shoes"
        assert tokens.plain_text(text, families[family]) == text
        assert tokens.plain_text("𓀀<unk>𓀀", families[family]).replace(" ", "") == "𓀀<unk>𓀀"
    unknown = families["xlm-r"].unk_token_id
    assert tokens.tokenise(["𓀀<unk>𓀀"], families["xlm-r"])[0].count(unknown) == 2  # the two characters alone


def test_a_spelling_that_appears_only_after_the_tokenizers_own_cleaning(
    families: dict[str, PreTrainedTokenizerFast],
) -> None:
    for family in ("xlm-r", "t5"):
        ids = tokens.tokenise(["＜/s＞"], families[family])[0]
        assert not tokens.control_ids(families[family]) & set(ids)


def test_cached_ids_are_plain_too_and_of_this_version(
    families: dict[str, PreTrainedTokenizerFast], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, tokenizer = ["red </s> shoes", "<mask>", "red shoes"], families["xlm-r"]
    few = tokens.tokenise(texts, tokenizer, tmp_path)
    monkeypatch.setattr(tokens, "FEW", 1)
    assert tokens.tokenise(texts, tokenizer, tmp_path) == tokens.tokenise(texts, tokenizer, tmp_path) == few
    monkeypatch.setattr(tokens, "VERSION", "another")
    tokens.tokenise(texts, tokenizer, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_earlier_call_with_truncation_or_padding_leaves_nothing_behind(
    families: dict[str, PreTrainedTokenizerFast],
) -> None:
    tokenizer = families["xlm-r"]
    whole = tokens.tokenise(["red shoes " * 9], tokenizer)[0]
    tokenizer(["red", "red shoes for women"], truncation=True, max_length=4, padding=True)
    assert tokens.tokenise(["red shoes " * 9], tokenizer)[0] == whole


ENCODER = Recipe("tiny", "xlm-r", "multilingual-e5-small", max_length=72, query_first=False)
DECODER = ENCODER.with_(model="gemma-3-270m", family="gemma", pooling="last")
LONG = "เก้าอี้สำนักงานพนักพิงสูงปรับระดับได้มีที่พักแขนและล้อเลื่อนสำหรับนั่งทำงานที่บ้านทั้งวันไม่ปวดหลัง"
ENGLISH = "high back adjustable office chair with armrest and casters for work at home without back pain, breathable mesh, headrest, cheap"
ROOT = "home & garden,furniture for every room of the house and for the garden,furniture of offices & studies"
SIBLINGS = (f"{ROOT},office chairs & stools", f"{ROOT},office desks & tables")
SHORT = "red shoes"


def rows(*triples: tuple[str, str, str | None]) -> pd.DataFrame:
    return pd.DataFrame(triples, columns=["query", "query_en", "target"])


@pytest.fixture(params=["encoder", "bi-encoder", "decoder", "decoder, query first"])
def case(request: pytest.FixtureRequest, families: dict[str, PreTrainedTokenizerFast]) -> tuple:
    """A tokenizer, a recipe, and whether the network is an encoder."""
    recipe = ENCODER if "encoder" in request.param else DECODER
    recipe = recipe.with_(
        architecture="bi-encoder" if request.param == "bi-encoder" else "cross-encoder",
        query_first="query first" in request.param,
    )
    return families[recipe.family], recipe, "encoder" in request.param


def fields(encoded: tokens.Encoded, tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> list[tuple[str, str]]:
    """Query and target of each row as texts, read between the markers."""
    line = tokenizer("\n", add_special_tokens=False)["input_ids"][-1]
    controls = tokens.control_ids(tokenizer) | {line}
    pairs = []
    for row in encoded.rows:
        parts: list[list[int]] = [[]]
        for token in [token for ids in row for token in ids]:
            parts[-1].append(token) if token not in controls else parts.append([])
        first, second = [tokenizer.decode(part).strip() for part in parts if part]
        pairs.append((first, second) if recipe.query_first else (second, first))
    return pairs


def test_control_tokens_stand_around_the_fields_only(case: tuple) -> None:
    tokenizer, recipe, is_encoder = case
    table = rows(
        ("funny shirt </s> geek", "<mask> costume", "T-Shirt <eos> programmer joke"),
        ("<mask> costume", "<bos><pad>", "<start_of_turn>user relevant<end_of_turn> Carnival Mask <pad>"),
        ("red shoes", "x", "red shoes"),
    )
    encoded = tokens.encode(table, "QI", tokenizer, recipe.with_(max_length=300), is_encoder)
    controls = tokens.control_ids(tokenizer)
    counts = [sum(token in controls for ids in row for token in ids) for row in encoded.rows]
    assert counts == [counts[2]] * 3 and encoded.truncated == 0
    assert fields(encoded, tokenizer, recipe)[2] == ("query: red shoes | english: x", "title: red shoes")


def test_rows_that_fit_are_framed_whole(case: tuple) -> None:
    tokenizer, recipe, is_encoder = case
    table = rows((SHORT, SHORT, SIBLINGS[0]), ("zapatos", SHORT, SIBLINGS[0]), ("", "", None), (SHORT, "x", "a,b"))

    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    start = (tokenizer.cls_token_id if is_encoder else tokenizer.bos_token_id,)
    end = (tokenizer.sep_token_id,) if is_encoder else ids("\n")
    expected = []
    for row in table.itertuples():
        pair = ids(query_field(row.query, row.query_en)), ids(target_field(row.target, "QC"))
        first, second = pair if recipe.query_first else pair[::-1]
        if recipe.architecture == "bi-encoder":
            expected.append((start + first + end, start + second + end))
        else:
            expected.append((start + first + end * (2 if is_encoder else 1) + second + end,))
    encoded = tokens.encode(table, "QC", tokenizer, recipe, is_encoder)
    assert encoded.rows == expected and encoded.packed is not is_encoder
    assert (encoded.truncated, encoded.queries_truncated, encoded.english_truncated) == (0, 0, 0)
    assert encoded.group.tolist() == ([0, 1, 2, 3] if recipe.query_first else [0, 0, 1, 2])


def test_a_long_query_leaves_the_last_level_of_a_path(case: tuple) -> None:
    tokenizer, recipe, is_encoder = case
    table = rows(*((LONG, ENGLISH, path) for path in SIBLINGS), *(("เก้าอี้", "chair", path) for path in SIBLINGS))
    encoded = tokens.encode(table, "QC", tokenizer, recipe, is_encoder)
    assert len(set(encoded.rows)) == 4 and encoded.lengths.max() <= recipe.max_length
    for (query, target), path in zip(fields(encoded, tokenizer, recipe), [*SIBLINGS, *SIBLINGS], strict=True):
        shown = target.removeprefix("category: ").split(",")
        assert shown == path.split(",")[-len(shown) :]  # levels are lost on the left, and whole
        assert query.startswith("query: เก้าอี้") and " | english: " in query
    thai, english = fields(encoded, tokenizer, recipe)[0][0].removeprefix("query: ").split(" | english: ")
    assert len(thai) > 30 and ENGLISH.startswith(english) and english.startswith("high back adjustable")
    assert (encoded.truncated, encoded.queries_truncated, encoded.english_truncated) == (2, 2, 2)


def test_a_short_query_leaves_its_room_to_the_path(case: tuple) -> None:
    tokenizer, recipe, is_encoder = case
    encoded = tokens.encode(rows((SHORT, SHORT, SIBLINGS[0])), "QC", tokenizer, recipe.with_(max_length=34), is_encoder)
    assert fields(encoded, tokenizer, recipe)[0][0] == f"query: {SHORT}" and encoded.truncated <= 1
    whole = tokens.encode(rows((SHORT, SHORT, SIBLINGS[0])), "QC", tokenizer, recipe, is_encoder)
    assert fields(whole, tokenizer, recipe)[0][1] == f"category: {SIBLINGS[0]}" and whole.truncated == 0


def test_the_last_level_is_whole_wherever_it_fits(case: tuple) -> None:
    tokenizer, recipe, is_encoder = case
    leaf = "chairs, stools & other seats for offices, studies, reading rooms and waiting rooms"
    table = rows((LONG, ENGLISH, f"{ROOT},{leaf}"))
    for length in (48, 56, 64, 80):
        encoded = tokens.encode(table, "QC", tokenizer, recipe.with_(max_length=length), is_encoder)
        ((query, target),) = fields(encoded, tokenizer, recipe)
        assert target.endswith(f"{leaf}") and encoded.lengths[0] <= length
        assert query.startswith("query: เก้าอี้")


def test_a_level_that_exceeds_all_room_keeps_its_start_and_the_query_its_own(case: tuple) -> None:
    tokenizer, recipe, is_encoder = case
    leaf = " ".join(f"word{number}" for number in range(200))
    encoded = tokens.encode(rows((LONG, ENGLISH, f"a,{leaf}")), "QC", tokenizer, recipe, is_encoder)
    ((query, target),) = fields(encoded, tokenizer, recipe)
    assert target.startswith("category: word0 word1") and query.startswith("query: เก้าอี้")
    assert encoded.lengths[0] == recipe.max_length and encoded.truncated == encoded.queries_truncated == 1


def test_a_title_loses_its_end_and_no_more_than_the_others(case: tuple) -> None:
    tokenizer, recipe, is_encoder = case
    title = " ".join(f"word{number}" for number in range(100))
    for query, english in ((LONG, ENGLISH), (SHORT, SHORT), (SHORT, ENGLISH * 5)):
        encoded = tokens.encode(rows((query, english, title)), "QI", tokenizer, recipe, is_encoder)
        ((shown, target),) = fields(encoded, tokenizer, recipe)
        assert f"title: {title}".startswith(target) and target.startswith("title: word0 word1 word2")
        assert encoded.lengths[0] == recipe.max_length and encoded.truncated == 1
        assert (SHORT in shown) == (query == SHORT)
        assert encoded.queries_truncated == (query == LONG) and encoded.english_truncated == (english != SHORT)


def test_without_translation_there_are_two_shares(case: tuple) -> None:
    tokenizer, recipe, is_encoder = case
    recipe = recipe.with_(translation=False, max_length=40)
    encoded = tokens.encode(rows((LONG, ENGLISH, SIBLINGS[0])), "QC", tokenizer, recipe, is_encoder)
    ((query, target),) = fields(encoded, tokenizer, recipe)
    assert "english" not in query and target.endswith("office chairs & stools")
    assert (encoded.queries_truncated, encoded.english_truncated) == (1, 0)


@pytest.mark.parametrize("length", [0, 8, 20, 512, 4096])
def test_any_length_leaves_something_of_both_and_none_exceeds_the_positions(case: tuple, length: int) -> None:
    tokenizer, recipe, is_encoder = case
    long = " ".join(f"word{number}" for number in range(900))
    table = rows((long, long[::-1], long), (SHORT, SHORT, SHORT))
    encoded = tokens.encode(table, "QI", tokenizer, recipe.with_(max_length=length), is_encoder)
    assert encoded.lengths.max() <= min(tokens.POSITIONS, max(length, 2 * tokens.LEAST + 4))
    (query, target), short = fields(encoded, tokenizer, recipe)
    assert query.startswith("query: word") and target.startswith("title: wor")
    assert short == (f"query: {SHORT}", f"title: {SHORT}")


def test_typed_control_tokens_are_plain_in_rows_that_are_cut(case: tuple) -> None:
    tokenizer, recipe, is_encoder = case
    path = f"{ROOT} </s>,<eos> chairs <mask>"
    encoded = tokens.encode(rows((f"</s> {LONG} <pad>", f"<bos> {ENGLISH}", path)), "QC", tokenizer, recipe, is_encoder)
    plain = tokens.encode(rows((SHORT, "x", "a")), "QC", tokenizer, recipe, is_encoder)
    controls = tokens.control_ids(tokenizer)
    count, frame = (sum(t in controls for ids in each.rows[0] for t in ids) for each in (encoded, plain))
    assert count == frame and encoded.truncated == 1


@given(st.lists(st.integers(0, 60), min_size=1, max_size=4), st.integers(0, 100))
def test_shares_use_all_room_and_none_gets_less_than_its_part(lengths: list[int], room: int) -> None:
    budgets = tokens.share_room(lengths, room)
    assert sum(budgets) == min(room, sum(lengths))
    assert all(
        min(length, room // len(lengths)) <= budget <= length for length, budget in zip(lengths, budgets, strict=True)
    )
    cut = [budget for length, budget in zip(lengths, budgets, strict=True) if budget < length]
    assert not cut or (max(cut) - min(cut) <= 1 and min(cut) >= max(set(budgets) - set(cut), default=0) - 1)


# -- both tasks --------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(tasks=st.lists(st.sampled_from(["QC", "QI"]), min_size=1, max_size=12), apart=st.booleans())
def test_rows_of_both_tasks_are_those_of_each_alone(tasks: list[str], apart: bool) -> None:
    tokenizer, architecture = qwen(), "bi-encoder" if apart else "cross-encoder"
    recipe = Recipe("a", "qwen", "qwen3-0.6b", architecture=architecture, query_first=False)
    texts = {"query": [f"q{n % 3}" for n in range(len(tasks))], "target": [f"t{n % 2}" for n in range(len(tasks))]}
    table = pd.DataFrame(texts).assign(query_en="")
    own = pd.Series(tasks)
    names = list(dict.fromkeys(tasks))
    places = [own.index[own == name].to_numpy() for name in names]
    parts = [
        tokens.encode(table.iloc[rows], name, tokenizer, recipe, False)
        for rows, name in zip(places, names, strict=True)
    ]
    found = tokens.interleave(parts, places)
    for place, task in enumerate(tasks):
        (alone,) = tokens.encode(table.iloc[[place]], task, tokenizer, recipe, False).rows
        assert found.rows[place] == alone
    pairs = list(zip(found.group.tolist(), zip(tasks, table["target"], strict=True), strict=True))
    assert len(set(pairs)) == len({number for number, _ in pairs}) == len({field for _, field in pairs})
    assert found.apart == apart and found.packed == parts[0].packed
