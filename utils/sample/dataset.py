"""Make the embedded data set: synthetic, multilingual, in the competition's format and with its irregularities."""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

from utils.core.files import write_json, write_text
from utils.core.paths import RAW, SAMPLE, SOURCES, raw_file, solution_file
from utils.core.schema import LANGUAGES, SPLITS, TARGET_KEY, TASKS
from utils.core.settings import absolute
from utils.sample import lexicon, synthesis
from utils.sample.synthesis import Maker, Row

LAYOUT = {  # languages of each file and their relative row counts, as in the competition
    ("QC", "train"): dict.fromkeys(("en", "es", "fr", "pt", "ja", "ko"), 1.0),
    ("QI", "train"): {**dict.fromkeys(("en", "es", "fr", "pt", "th"), 1.0), "ja": 0.9, "ko": 0.9},
    ("QC", "held out"): dict.fromkeys(("en", "es", "fr", "pt", "ja", "ko", "de", "it", "pl", "ar"), 1.0),
    ("QI", "held out"): dict.fromkeys(LANGUAGES, 1.0),
}
ROWS = 8000  # training rows per task; dev and test have a quarter each
MADE = "made.json"  # beside the embedded data: what they were made of


def _counts(shares: dict[str, float], rows: int) -> dict[str, int]:
    """Rows per language, proportional to the shares; they sum to `rows`."""
    total, row_sum, share_sum, counts = sum(shares.values()), 0, 0.0, {}
    for language, share in shares.items():
        share_sum += share
        counts[language] = round(rows * share_sum / total) - row_sum
        row_sum += counts[language]
    return counts


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False)


def _make_rows(
    words: lexicon.Lexicon, task: str, split: str, rows: int, seed: int
) -> tuple[Maker, list[tuple[str, Row]]]:
    """A split's rows with their languages, sorted by language, query and target, and their maker."""
    maker = Maker(words, random.Random(f"{seed} {task} {split}"))
    counts = _counts(LAYOUT[task, "train" if split == "train" else "held out"], _size(split, rows))
    pairs = [(code, row) for code, count in counts.items() for row in maker.rows(task, code, count)]
    return maker, sorted(pairs, key=lambda pair: (pair[0], pair[1].query, pair[1].target or ""))


def _size(split: str, rows: int) -> int:
    """Rows of a split where training has so many."""
    return rows if split == "train" else max(rows // 4, 100)


def _write_split(words: lexicon.Lexicon, folder: Path, task: str, split: str, rows: int, seed: int) -> None:
    """Write one split; the labels of dev and test go to `solution/`."""
    maker, pairs = _make_rows(words, task, split, rows, seed)
    lines, answers = [], []
    for number, (language, own) in enumerate(pairs, start=1):
        row = {
            "id": number,
            "task": task,
            "language": language,
            "origin_query": own.query,
            TARGET_KEY[task]: own.target,
        }
        answers.append(_line({**row, "label": own.label}))
        raw_label: int | str = str(own.label) if maker.chance(0.005) else own.label
        lines.append(_line({**row, "label": raw_label} if split == "train" else row))
    write_text(raw_file(folder, split, task), "\n".join(lines) + "\n")
    if split != "train":
        write_text(solution_file(folder, split, task), "\n".join(answers) + "\n")


def make_sample(folder: Path, rows: int = ROWS, seed: int = 2025, sources: Path = SOURCES) -> None:
    """Write the six files and `solution/`: `rows` training rows per task, a quarter of them in dev and in test.

    The same rows and seed give the same bytes. Raises ValueError for fewer than 200 rows.
    """
    if rows < 200:
        raise ValueError(f"--rows {rows} is too few; the sample needs 200 at least")
    words = lexicon.load(sources)
    for task in TASKS:
        for split in SPLITS:
            _write_split(words, folder, task, split, rows, seed)


def find_planted(folder: Path, task: str, seed: int = 2025, sources: Path = SOURCES) -> set[int] | None:
    """The ids of the training rows whose label was turned over on purpose; None where the folder holds no embedded data."""
    if not is_made(folder):
        return None
    rows = json.loads((folder / MADE).read_text("utf-8"))["rows"]
    pairs = _make_rows(lexicon.load(sources), task, "train", rows, seed)[1]
    return {number for number, (_, row) in enumerate(pairs, start=1) if row.is_wrong}


def has_raw() -> bool:
    """Whether a training file of the competition is in `data/raw`."""
    return any(raw_file(RAW, "train", task).exists() for task in TASKS)


def is_made(folder: Path) -> bool:
    """Whether a data folder holds the embedded data, which are synthetic."""
    return (folder / MADE).exists()


def open_folder(data: str, rows: int, embedded: bool = False) -> tuple[Path, str]:
    """The data folder of a run and the reason: the folder `data` if not empty, else `data/raw`, else the embedded sample.

    The sample has `rows` training rows per task; it is written if missing or made by other code or sources. With `embedded`
    `data/raw` is not looked at.
    """
    if data:
        return Path(absolute(data)), "named with --data"
    if has_raw() and not embedded:
        return RAW, "the competition's files are in data/raw"
    folder = SAMPLE if rows == ROWS else SAMPLE.with_name(f"sample-{rows}")
    content = b"".join(path.read_bytes() for path in sorted(SOURCES.glob("*.csv")))
    content += b"".join(Path(module.__file__).read_bytes() for module in (synthesis, lexicon))
    facts_file = folder / MADE
    facts = {"rows": rows, "sources": hashlib.sha256(content).hexdigest()}
    if not facts_file.exists() or json.loads(facts_file.read_text("utf-8")) != facts:
        make_sample(folder, rows)
        write_json(facts_file, facts)
    if embedded:
        return folder, "this profile has data of its own, embedded and synthetic"
    return folder, "data/raw holds no competition files, so the embedded synthetic sample is used"
