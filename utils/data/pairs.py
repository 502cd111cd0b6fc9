"""Query-target pairs to score, read and checked from JSON Lines."""

import json
from dataclasses import dataclass
from typing import Any

import pandas as pd

from utils.core.errors import DataError
from utils.core.schema import LANGUAGES, TARGET_KEY
from utils.data.text import normalise_query


@dataclass(frozen=True)
class Pairs:
    """The parsed input lines and their clean table: `id, language, origin_query, query, target`, one row per line."""

    lines: list[dict[str, Any]]
    table: pd.DataFrame


def read_pairs(content: bytes, task: str, name: str) -> Pairs:
    """Parse JSON Lines of pairs; `language` (default en) and `id` are optional, blank lines are skipped.

    `name` is the file's name in messages. The table's `id` is the position of the line among the pairs. Raises DataError
    with file and line of the first 20 problems.
    """
    lines, problems = [], []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            problems.append(f"{name}:{number}: not valid JSON ({error}); fix the line")
            continue
        missing_keys = [
            key for key in ("origin_query", TARGET_KEY[task]) if not isinstance(row, dict) or key not in row
        ]
        if missing_keys:
            problems.append(
                f"{name}:{number}: key {', '.join(missing_keys)} is missing; each line needs origin_query and {TARGET_KEY[task]}"
            )
        elif row.get("language", "en") not in LANGUAGES:
            problems.append(
                f"{name}:{number}: language {json.dumps(row['language'])} is unknown; use one of {' '.join(LANGUAGES)}"
            )
        else:
            lines.append(row)
    if problems:
        raise DataError("\n".join(problems[:20]))
    texts = [(row.get("language", "en"), row["origin_query"], row[TARGET_KEY[task]]) for row in lines]
    table = pd.DataFrame(texts, columns=["language", "origin_query", "target"]).astype(object)
    return Pairs(lines, table.assign(id=range(len(table)), query=[normalise_query(q) for q in table["origin_query"]]))
