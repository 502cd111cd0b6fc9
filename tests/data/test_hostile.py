"""Hostile and broken data: whatever a file holds, it is refused with file, line and what to do, or every row gets through unchanged."""

import json
import re
import string
from pathlib import Path

import pandas as pd
import pytest
from conftest import is_long_run
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from odd import HUGE, ODD, STORED

from utils.core.errors import DataError
from utils.core.paths import Run
from utils.core.schema import CLEAN_COLUMNS, LANGUAGES, TARGET_KEY, TASKS
from utils.data import folds, raw
from utils.data.clean import clean_table, clean_tables
from utils.data.pairs import read_pairs
from utils.data.tables import read_table, write_table
from utils.data.taxonomy import parse
from utils.ensemble.submission import check_lines
from utils.experiment.answer import write_lines
from utils.submit import format_submission
from utils.translation import cache
from utils.translation.backends import Backend

LONG_RUN = is_long_run()
PROBLEM = re.compile(r"[^:]*:\d+: .+; .+|\.\.\. and \d+ more of this file", re.DOTALL)
TEXT = (
    st.sampled_from(ODD) | st.text(max_size=12) | st.text(alphabet=string.ascii_letters + " ,", max_size=9) | st.none()
)
NO_TEXT = st.sampled_from(
    [5, 5.5, True, 10**400, -(2**63) - 1, float("nan"), float("inf"), [], ["a"], {}, {"a": None}, "\ud800"]
)
ANYTHING = TEXT | NO_TEXT
LANGUAGE = st.sampled_from(list(LANGUAGES)) | st.sampled_from(["vi", "EN", "en ", "", "ｅｎ"])


@st.composite
def rows_of(draw: st.DrawFn, task: str, labelled: bool, most: int = 6) -> list[tuple[int, list]]:
    """Rows as lists of keys and values: mostly good ones, ids in no order; a few values and keys are of any kind."""
    least = 1 if most < 12 else 12  # folds need ten queries
    ids = draw(
        st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 30), min_size=least, max_size=most, unique=True)
    )
    rows = []
    is_hostile = draw(st.booleans()) if least == 1 else draw(st.integers(0, 3)) == 0
    for number in ids:
        label = [("label", draw(st.sampled_from([0, 1, "0", "1"])))] if labelled else []
        language = draw(LANGUAGE) if is_hostile else draw(st.sampled_from(list(LANGUAGES)))
        row = [
            ("id", number),
            ("task", task),
            ("language", language),
            ("origin_query", draw(TEXT)),
            (TARGET_KEY[task], draw(TEXT)),
            *label,
        ]
        if is_hostile and draw(st.integers(0, 3)) == 0:
            place = draw(st.integers(0, len(row) - 1))
            change = draw(st.sampled_from(["value", "drop", "twice", "key"]))
            value = draw(ANYTHING)
            row[place : place + 1] = {
                "value": [(row[place][0], value)], "drop": [], "twice": [row[place], (row[place][0], value)],
                "key": [("\u200b" + row[place][0], row[place][1])],
            }[change]  # fmt: skip
        rows.append(row)
    if is_hostile and draw(st.integers(0, 4)) == 0:
        rows.append(draw(st.sampled_from(rows)))
    return rows


def to_line(row: list, escape: bool) -> bytes:
    """A row as JSON, with keys that stand twice; unpaired surrogates are escapes, or bytes that are no UTF-8."""
    pairs = [f"{json.dumps(key, ensure_ascii=escape)}: {json.dumps(value, ensure_ascii=escape)}" for key, value in row]
    return ("{" + ", ".join(pairs) + "}").encode("utf-8", "surrogatepass")


BROKEN = [
    b"", b" ", b"\t\r", b"\x00", b"{", b"[]", b"null", b"5", b'"id"', b"\xff\xfe", b"\xed\xa0\x80", b"{}{}", b"[" * 3000, b"\xef\xbb\xbf",
    b'{"id": 1e5}', b'{"id": -0, "id": 0}', b'{"id": ' + b"7" * 5000 + b"}", b'{"a":' * 900 + b"1" + b"}" * 900, b'{"id": Infinity}', b"//",
]  # fmt: skip


@st.composite
def files(draw: st.DrawFn, task: str, labelled: bool, most: int = 6) -> bytes:
    """A file: rows, sometimes with broken lines among them, odd line ends, a byte-order mark, or other bytes anywhere."""
    lines = [to_line(row, draw(st.booleans())) for row in draw(rows_of(task, labelled, most))]
    damage = draw(st.sampled_from(["none"] * 6 + ["line", "bytes", "cut", "blank"]))
    if damage in ("line", "blank"):
        lines.insert(
            draw(st.integers(0, len(lines))), draw(st.sampled_from(BROKEN[: 3 if damage == "blank" else None]))
        )
    end = draw(st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"] if damage != "none" else [b"\n", b"\r\n"]))
    content = draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf"])) + end.join(lines) + draw(st.sampled_from([end, b""]))
    place = draw(st.integers(0, len(content)))
    if damage == "bytes":
        return content[:place] + draw(st.binary(max_size=4)) + content[place + draw(st.integers(0, 3)) :]
    return content[:place] if damage == "cut" else content


def refused(error: DataError) -> None:
    """The message names file and line, what is wrong and what to do, in every line."""
    event("refused")
    assert str(error)
    for line in str(error).split("\n"):
        assert PROBLEM.fullmatch(line), line
        assert len(line) < 400, line[:400]


def raw_texts(content: bytes, task: str) -> list[tuple]:
    """The texts of a file that was accepted, read by nothing of the project."""
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    rows = [json.loads(line, parse_constant=lambda _: None) for line in lines if line.strip()]
    return [(row["id"], row["language"], row["origin_query"], row[TARGET_KEY[task]]) for row in rows]


def pass_through(content: bytes, table: pd.DataFrame, task: str, folder: Path) -> None:
    """Clean the rows, write and read them, format them: each is there, in order, with its text."""
    clean, _ = clean_table(table, train=False)
    path = folder / "table.parquet"
    write_table(clean.assign(query_en=clean["query"])[[*CLEAN_COLUMNS[:-1]]], path)
    stored = read_table(path, CLEAN_COLUMNS).assign(prediction=1)
    text = format_submission(table, stored.sample(frac=1.0, random_state=0), task)
    lines = [json.loads(line) for line in text.removesuffix("\n").split("\n")]
    assert [tuple(line.values())[:4] for line in lines] == raw_texts(content, task)
    assert check_lines(text.encode(), table, task) == []
    assert check_lines(format_submission(table, stored, task, ascii_only=True).encode("ascii"), table, task) == []


def cases(short: int, long: int) -> settings:
    """Few cases in an ordinary run, many in a long one."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=long if LONG_RUN else short, suppress_health_check=checks)


@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize("task", TASKS)
def test_rows_to_answer_are_refused_or_get_through(task: str, split: str, tmp_path: Path) -> None:
    @cases(60, 1200)
    @given(files(task, labelled=False))
    def check(content: bytes) -> None:
        path = raw.raw_file(tmp_path, split, task)
        path.write_bytes(content)
        try:
            table, _ = raw.read_file(path, task, labelled=False)
        except DataError as error:
            return refused(error)
        pass_through(content, table, task, tmp_path)

    check()


@pytest.mark.parametrize("task", TASKS)
def test_training_rows_are_refused_or_split_into_folds(task: str, tmp_path: Path) -> None:
    (tmp_path / f"test_{task}.txt").write_bytes(
        to_line([("id", 1), ("language", "en"), ("origin_query", "a"), (TARGET_KEY[task], None)], True)
    )

    @cases(40, 1200)
    @given(files(task, labelled=True, most=24))
    def check(content: bytes) -> None:
        (tmp_path / f"train_{task}.txt").write_bytes(content)
        try:
            data = raw.read_folder(tmp_path)
        except DataError as error:
            return refused(error)
        tables, _ = clean_tables(data.tables)
        run = Run("hostile")
        path = tmp_path / run.clean_table("train", task).name
        write_table(tables["train", task].assign(query_en=tables["train", task]["query"]), path)
        train = read_table(path)
        tree = parse(train["target"]) if task == "QC" else None
        table = folds.make_folds(train, task, tree, 3, 3, seed=1)
        categories = folds.make_category_folds(folds.join_folds(train, table), 3, seed=1)
        joined = folds.join_folds(train, table, categories)
        assert joined["id"].tolist() == train["id"].tolist() and set(joined["fold"]) == {0, 1, 2}
        assert (joined.groupby("query")["fold"].nunique() == 1).all()

    check()


@pytest.mark.parametrize("task", TASKS)
def test_a_solution_is_read_or_scores_nothing(task: str, tmp_path: Path) -> None:
    (tmp_path / "solution").mkdir()

    @cases(40, 700)
    @given(files(task, labelled=True), st.booleans(), st.data())
    def check(content: bytes, is_same: bool, data: st.DataObject) -> None:
        (tmp_path / "solution" / f"test_{task}.txt").write_bytes(content)
        (tmp_path / f"test_{task}.txt").write_bytes(content if is_same else data.draw(files(task, labelled=False)))
        for solution in raw.read_solutions(tmp_path, task).values():
            assert dict(zip(solution["id"], solution["label"], strict=True)) == raw_labels(content)

    check()


@pytest.mark.parametrize("task", TASKS)
def test_good_files_are_accepted_and_a_bad_line_among_them_is_named(task: str, tmp_path: Path) -> None:
    """Whatever their texts and ids: a reader that refuses too much would pass all other tests of this file."""
    (tmp_path / "solution").mkdir()
    path, solution = tmp_path / f"test_{task}.txt", tmp_path / "solution" / f"test_{task}.txt"

    @cases(60, 600)
    @given(good_rows(task), st.booleans(), st.data())
    def check(rows: list, escape: bool, data: st.DataObject) -> None:
        lines = [to_line(row, escape) for row in rows]
        path.write_bytes(b"\n".join(lines))
        solution.write_bytes(path.read_bytes())
        table, _ = raw.read_file(path, task, labelled=False)
        assert len(table) == len(rows)
        assert dict(raw.read_solutions(tmp_path, task)["test"].to_numpy().tolist()) == raw_labels(path.read_bytes())
        place = data.draw(st.integers(0, len(lines)))
        lines.insert(place, data.draw(st.sampled_from([line for line in BROKEN if line.strip()])))
        path.write_bytes(b"\n".join(lines))
        with pytest.raises(DataError) as error:
            raw.read_file(path, task, labelled=False)
        assert str(error.value).startswith(f"{path.name}:{place + 1}: ") and "\n" not in str(error.value)

    check()


@st.composite
def good_rows(draw: st.DrawFn, task: str) -> list[list]:
    """Rows that are as they should be, with any text that a file can store."""
    ids = draw(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 30), min_size=1, max_size=6, unique=True))
    text = QUERY | st.none()
    return [
        [("id", number), ("task", task), ("language", draw(st.sampled_from(list(LANGUAGES)))), ("origin_query", draw(text)),
         (TARGET_KEY[task], draw(text)), ("label", draw(st.sampled_from([0, 1, "0", "1"])))]
        for number in ids
    ]  # fmt: skip


def raw_labels(content: bytes) -> dict[int, int]:
    """Id -> label of a file that was accepted, read by nothing of the project."""
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    rows = [json.loads(line, parse_constant=lambda _: None) for line in lines if line.strip()]
    return {row["id"]: int(row["label"]) for row in rows}


@pytest.mark.parametrize("task", TASKS)
def test_pairs_are_refused_or_written_with_an_answer(task: str) -> None:
    @cases(60, 1200)
    @given(files(task, labelled=False))
    def check(content: bytes) -> None:
        try:
            pairs = read_pairs(content, task, "pairs")
        except DataError as error:
            return refused(error)
        answers = pairs.table[["id"]].assign(probability=0.5, prediction=1)
        lines = write_lines(pairs, answers).encode().split(b"\n")[:-1]
        texts = [(json.loads(line)["origin_query"], json.loads(line)[TARGET_KEY[task]]) for line in lines]
        assert texts == raw_pairs(content, task) and len(lines) == len(pairs.lines)

    check()


def raw_pairs(content: bytes, task: str) -> list[tuple]:
    """The texts of pairs that were accepted, read by nothing of the project."""
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    rows = [json.loads(line, parse_constant=lambda _: None) for line in lines if line.strip()]
    return [(row["origin_query"], row[TARGET_KEY[task]]) for row in rows]


QUERY = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(STORED)
DAMAGE = st.lists(st.tuples(st.integers(0, 20_000), st.binary(min_size=1, max_size=6)), max_size=6)


@pytest.fixture(scope="module")
def cache_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A cache of several pages."""
    path = tmp_path_factory.mktemp("cache") / "cache.sqlite"
    table = pd.DataFrame({"language": "es", "query": [f"consulta {number} " * 9 for number in range(60)]})
    cache.translate(table, Backend("test", "1", lambda texts, _: texts), path, bar=False)
    return path.read_bytes()


def test_a_cache_is_refused_or_every_query_gets_its_english(cache_file: bytes, tmp_path: Path) -> None:
    backend = Backend("test", "1", lambda texts, _: [f"english of {text}" for text in texts])

    @cases(60, 1500)
    @given(st.lists(QUERY, min_size=1, max_size=6), DAMAGE, st.integers(0, 30_000), st.binary(max_size=200) | st.none())
    def check(queries: list[str], damage: list, size: int, instead: bytes | None) -> None:
        content = bytearray(cache_file)
        for place, other in damage:
            content[place % len(content) : place % len(content) + len(other)] = other
        path = tmp_path / "cache.sqlite"
        for old in tmp_path.iterdir():
            old.unlink()
        path.write_bytes(instead if instead is not None else bytes(content[:size] if size < 5000 else content))
        table = pd.DataFrame({"language": "es", "query": ["consulta 3 " * 9, *queries]}, dtype=object)
        try:
            english, counts = cache.translate(table, backend, path, bar=False)
            again, more = cache.translate(table, backend, path, bar=False)
        except DataError as error:
            return refused(error)
        assert all(isinstance(text, str) for text in english) and english.tolist() == again.tolist()
        assert len(english) == len(table) and more["translated"] == 0 and counts["distinct"] == more["distinct"]
        for query, text in zip(queries, english[1:], strict=True):  # the first one may be the damaged file's
            assert text in (query if query == "" else f"english of {query}", ""), query  # empty: taken for a runaway

    check()


def test_a_translation_is_stored_as_it_is(tmp_path: Path) -> None:
    @cases(40, 400)
    @given(st.lists(QUERY, min_size=1, max_size=5), st.lists(QUERY, min_size=5, max_size=5))
    def check(queries: list[str], english: list[str]) -> None:
        (tmp_path / "cache.sqlite").unlink(missing_ok=True)
        with cache.open_store(tmp_path / "cache.sqlite") as store:
            answers = dict(zip([("es", query) for query in queries], english, strict=False))
            store.write("test", "1", answers)
            assert store.read("test", "1", list(answers)) == answers

    check()


@pytest.mark.parametrize("text", HUGE, ids=range(len(HUGE)))
def test_a_line_of_ten_megabytes_gets_through(text: str, tmp_path: Path) -> None:
    content = to_line([("id", 1), ("language", "en"), ("origin_query", text), ("item_title", text)], False)
    (tmp_path / "test_QI.txt").write_bytes(content)
    table, _ = raw.read_file(tmp_path / "test_QI.txt", "QI", labelled=False)
    assert table["origin_query"].tolist() == [text]
    pass_through(content, table, "QI", tmp_path)


def test_a_query_of_a_hundred_thousand_rows_gets_through(tmp_path: Path) -> None:
    lines = [
        to_line([("id", n), ("language", "en"), ("origin_query", "mug"), ("category_path", f"a,{n}")], True)
        for n in range(100_000, 0, -1)
    ]
    content = b"\n".join(lines)
    (tmp_path / "test_QC.txt").write_bytes(content)
    table, _ = raw.read_file(tmp_path / "test_QC.txt", "QC", labelled=False)
    assert table["id"].tolist() == list(range(100_000, 0, -1))
    pass_through(content, table, "QC", tmp_path)


def test_paths_of_five_thousand_levels_are_split_into_folds(tmp_path: Path) -> None:
    rows = [
        [("id", n), ("language", "en"), ("origin_query", f"mug {n // 3}"), ("category_path", "a,b," * 2500 + str(n)), ("label", n % 2)]
        for n in range(60)
    ]  # fmt: skip
    (tmp_path / "train_QC.txt").write_bytes(b"\n".join(to_line(row, True) for row in rows))
    table, _ = clean_table(raw.read_file(tmp_path / "train_QC.txt", "QC", labelled=True)[0], train=True)
    made = folds.make_folds(table.assign(query_en=table["query"]), "QC", parse(table["target"]), 3, 3, seed=0)
    assert made["id"].tolist() == list(range(60)) and made["fold"].nunique() == 3


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table(pd.DataFrame({"id": range(500)}), path)
    good = path.read_bytes()
    for content in (b"", b"PAR1", good[:-9], good[:40], b"x" * 99):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"table\.parquet:1: cannot be read .*; run the notebook that writes it"):
            read_table(path)
