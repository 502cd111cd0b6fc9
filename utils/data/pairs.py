"""Query-target pairs to score, read and checked from JSON Lines."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from utils.core.errors import raise_problems
from utils.core.schema import TARGET_KEY
from utils.data.rows import parse_line, row_problem, split_lines
from utils.data.text import normalise_query


@dataclass(frozen=True)
class Pairs:
    """The parsed input lines and their clean table: `id, language, origin_query, query, target`, one row per line."""

    lines: list[dict[str, Any]]
    table: pd.DataFrame


def read_pairs(content: bytes, task: str, name: str) -> Pairs:
    """Parse JSON Lines of pairs; `language` (default en) and `id` are optional, blank lines are skipped.

    `name` is the file's name in messages. The table's `id` is the position of the line among the pairs. Raises DataError
    with file and line of the first 20 problems and the number of the others.
    """
    lines, problems = [], []
    keys = ["origin_query", TARGET_KEY[task]]
    for number, line in split_lines(content, name, problems, Counter()):
        row, problem = parse_line(line)
        if problem := problem or row_problem(row, task, keys):
            problems.append(f"{name}:{number}: {problem}")
        else:
            lines.append(row)
    raise_problems(problems)
    texts = [(row.get("language", "en"), *(row[key] for key in keys)) for row in lines]
    table = pd.DataFrame(texts, columns=["language", "origin_query", "target"], dtype=object)
    return Pairs(lines, table.assign(id=range(len(table)), query=[normalise_query(q) for q in table["origin_query"]]))
