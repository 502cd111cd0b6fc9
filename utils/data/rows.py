"""Lines of JSON and everything that can be wrong with them: the check that all readers share."""

import json
import math
import re
from collections import Counter
from typing import Any

from utils.core.schema import LANGUAGES, TARGET_KEY

_SURROGATE = re.compile("[\ud800-\udfff]")
LABELS = {0: 0, 1: 1, "0": 0, "1": 1}


def split_lines(content: bytes, name: str, problems: list[str], counts: Counter[str]) -> list[tuple[int, str]]:
    """Numbered lines that are not blank, decoded, without byte-order mark and Windows line ends; adds to problems and counts."""
    if content.startswith(b"\xef\xbb\xbf"):
        content, counts["bom_removed"] = content[3:], 1
    lines = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.endswith(b"\r"):
            line, counts["crlf_removed"] = line[:-1], counts["crlf_removed"] + 1
        if not line.strip():
            counts["blank_lines"] += 1
            continue
        try:
            lines.append((number, line.decode("utf-8")))
        except UnicodeDecodeError as error:
            problems.append(f"{name}:{number}: byte {error.start + 1} is not UTF-8; save the file as UTF-8")
    counts["blank_lines"] -= content.endswith(b"\n") or not content  # nothing follows the last line end
    return lines


def parse_line(line: str, nan_is_null: bool = True) -> tuple[Any, str]:
    """The value of a line of JSON, and what is wrong with it and what to do, or the empty text.

    The literal NaN, which pandas writes for a missing text, is null, or else wrong as Infinity is. A key twice, a number of
    thousands of digits and nesting without end are wrong, whatever Python makes of them.
    """
    try:
        return json.loads(
            line,
            parse_constant=_read_constant if nan_is_null else _refuse_constant,
            parse_float=_read_number,
            object_pairs_hook=_read_object,
        ), ""
    except json.JSONDecodeError as error:
        return None, f"not valid JSON ({error.msg}, character {error.colno}); fix the line"
    except RecursionError:
        return None, "not valid JSON (nested too deeply, character 1); fix the line"
    except _WrongValue as error:
        return None, f"not valid JSON ({error}); fix the line"
    except ValueError:  # all that Python itself refuses
        return None, "not valid JSON (a number of thousands of digits); fix the line"


class _WrongValue(ValueError):
    """A value that Python reads and JSON lacks."""


def _read_constant(name: str) -> None:
    if name != "NaN":
        _refuse_constant(name)


def _refuse_constant(name: str) -> None:
    raise _WrongValue(f"{name} is no number")


def _read_number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _WrongValue(f"{text[:40]} is no number that a computer holds")
    return number


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise _WrongValue(f"key {show(twice)[1:-1]} twice")
    return row


def row_problem(row: Any, task: str, keys: list[str], labelled: bool = False) -> str:
    """What is wrong with one parsed row of a task and what to do, or the empty text; `keys` must be there."""
    if not isinstance(row, dict):
        return "not a JSON object; write one object per line"
    missing = [key for key in keys if key not in row]
    if missing:
        return f"key {', '.join(missing)} is missing; each line needs {', '.join(keys)}"
    if "id" in keys and (type(row["id"]) is not int or not -(2**63) <= row["id"] < 2**63):
        return f"id is {show(row['id'])}, not a whole number; number the rows"
    if row.get("task", task) != task:
        return f"task is {show(row['task'])} in a file of {task}; move the row to the right file or fix the task"
    language = row.get("language", "en")
    if not isinstance(language, str) or language not in LANGUAGES:
        return f"language {show(language)} is unknown; use one of {' '.join(LANGUAGES)}"
    if labelled and (isinstance(row["label"], (bool, float, list, dict)) or row["label"] not in LABELS):
        return f"label is {show(row['label'])}; a label is 0 or 1"
    return _text_problem("origin_query", row["origin_query"]) or _text_problem(TARGET_KEY[task], row[TARGET_KEY[task]])


def _text_problem(key: str, value: Any) -> str:
    """What is wrong with a text or null value and what to do, or the empty text."""
    if value is not None and not isinstance(value, str):
        return f"{key} is {show(value)}, not text; put it in quotes"
    if value and _SURROGATE.search(value):
        return f"{key} holds half of a surrogate pair, which no file can store; fix or remove the \\ud... escape"
    return ""


def show(value: Any) -> str:
    """A value of JSON as a message shows it: in one line, in ASCII, its beginning only."""
    return json.dumps(value)[:40]
