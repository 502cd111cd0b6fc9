"""One check for all readers: whatever a line holds, it is read or refused with what to do, and nothing escapes it."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.core.errors import DataError
from utils.data.pairs import read_pairs
from utils.data.rows import parse_line, row_problem, split_lines

KEYS = ["origin_query", "item_title"]
DEEP = "[" * 100_000
HUGE = "7" * 5000
BAD_PAIRS = {
    '{"origin_query": 5090, "item_title": "card"}': "origin_query is 5090, not text; put it in quotes",
    '{"origin_query": "mug", "item_title": ["a"]}': 'item_title is ["a"], not text',
    '{"origin_query": "mug", "item_title": "Mug", "language": ["en"]}': 'language ["en"] is unknown; use one of en',
    '{"origin_query": "mug", "item_title": "Mug", "language": "xx"}': 'language "xx" is unknown',
    '{"origin_query": "mug \\ud83d", "item_title": "Mug"}': "origin_query holds half of a surrogate pair",
    '{"origin_query": "mug"}': "key item_title is missing; each line needs origin_query, item_title",
    '{"origin_query": "a", "origin_query": "b", "item_title": "c"}': "key origin_query twice",
    '{"digits": 1, "digits": 2}': "not valid JSON (key digits twice); fix the line",
    '{"a\\nb": 1, "a\\nb": 2}': "not valid JSON (key a\\nb twice); fix the line",
    f'{{"a": {HUGE}.5}}': f"not valid JSON ({HUGE[:40]} is no number that a computer holds); fix the line",
    f'{{"origin_query": "a", "item_title": "b", "seller": {HUGE}}}': "a number of thousands of digits",
    f'{{"origin_query": "a", "item_title": {DEEP}': "nested too deeply",
    '{"origin_query": "a", "item_title": "b", "price": Infinity}': "Infinity is no number",
    '{"origin_query": "a", "item_title": "b", "price": 1e999}': "1e999 is no number that a computer holds",
    '{"origin_query": "a", "item_title": ': "not valid JSON (Expecting value",
    "[]": "not a JSON object; write one object per line",
}


@pytest.mark.parametrize("line", BAD_PAIRS, ids=lambda line: line[:40])
def test_a_bad_pair_is_refused_with_file_and_line(line: str) -> None:
    good = '{"origin_query": "mug", "item_title": "Mug"}'
    with pytest.raises(DataError) as refused:
        read_pairs(f"{good}\n{line}\n".encode("utf-8", "surrogatepass"), "QI", "pairs")
    assert str(refused.value).startswith("pairs:2: ") and BAD_PAIRS[line] in str(refused.value)


def test_what_is_odd_but_valid_is_read() -> None:
    lines = [
        '\ufeff{"origin_query": null, "item_title": NaN, "language": "vn", "id": "any"}\r',
        "",
        '{"item_title": "", "origin_query": "null"}',
    ]
    pairs = read_pairs("\n".join(lines).encode(), "QI", "pairs")
    assert pairs.table["origin_query"].tolist() == [None, "null"] and pairs.table["target"].tolist() == [None, ""]
    assert pairs.table["language"].tolist() == ["vn", "en"] and pairs.lines[0]["item_title"] is None
    json.dumps(pairs.lines, allow_nan=False)


def test_problems_beyond_the_twentieth_are_counted() -> None:
    with pytest.raises(DataError) as refused:
        read_pairs(b"{}\n" * 25, "QI", "pairs")
    lines = str(refused.value).splitlines()
    assert len(lines) == 21 and lines[-1] == "... and 5 more of this file"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KEYS, "language", "id"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(JSON)
def test_any_value_is_read_or_refused_in_words(value: object) -> None:
    row, problem = parse_line(json.dumps(value))
    problem = problem or row_problem(row, "QI", KEYS)
    if not problem:
        assert all(row[key] is None or isinstance(row[key], str) for key in KEYS)
    else:
        assert "; " in problem


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_in_words(content: bytes) -> None:
    problems: list[str] = []
    for _, line in split_lines(content, "f", problems, Counter()):
        assert parse_line(line)[1] or line.strip()
    assert all(problem.startswith("f:") and "; " in problem for problem in problems)
