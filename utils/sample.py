"""Make the embedded multilingual data set in the competition's own format, traps included. It is synthetic.

python -m utils.sample [--rows N] [--seed S] DIR
"""

import argparse
import hashlib
import json
import random
from pathlib import Path
from typing import Any

from utils import lexicon, synthesis
from utils.files import write_json, write_text
from utils.paths import RAW, SAMPLE, SOURCES, raw_file, solution_file
from utils.schema import LANGUAGES, SPLITS, TARGET_KEY, TASKS
from utils.settings import absolute
from utils.synthesis import Maker

LAYOUT = {  # as the competition has it: which languages each file holds, and how the shares lie
    ("QC", "train"): dict.fromkeys(("en", "es", "fr", "pt", "ja", "ko"), 1.0),
    ("QI", "train"): {**dict.fromkeys(("en", "es", "fr", "pt", "th"), 1.0), "ja": 0.9, "ko": 0.9},
    ("QC", "held out"): dict.fromkeys(("en", "es", "fr", "pt", "ja", "ko", "de", "it", "pl", "ar"), 1.0),
    ("QI", "held out"): dict.fromkeys(LANGUAGES, 1.0),
}
ROWS = 8000  # training rows a task of the embedded data; dev and test have a quarter each


def _counts(shares: dict[str, float], rows: int) -> dict[str, int]:
    """Rows a language, summing to `rows`."""
    total, done, upto, out = sum(shares.values()), 0, 0.0, {}
    for language, share in shares.items():
        upto += share
        out[language] = round(rows * upto / total) - done
        done += out[language]
    return out


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False)


def _write_split(maker: Maker, folder: Path, task: str, split: str, rows: int) -> None:
    shares = LAYOUT[task, "train" if split == "train" else "held out"]
    found = [
        (code, *row) for code, n in _counts(shares, rows).items() for row in maker.rows(task, code, n, marked=False)
    ]
    found.sort(key=lambda row: (row[0], row[1], row[2] or ""))
    lines, answers = [], []
    for number, (language, query, target, label) in enumerate(found, start=1):
        row = {"id": number, "task": task, "language": language, "origin_query": query, TARGET_KEY[task]: target}
        answers.append(_line({**row, "label": label}))
        shown: int | str = str(label) if maker.chance(0.005) else label
        lines.append(_line({**row, "label": shown} if split == "train" else row))
    write_text(raw_file(folder, split, task), "\n".join(lines) + "\n")
    if split != "train":
        write_text(solution_file(folder, split, task), "\n".join(answers) + "\n")


def make_sample(folder: Path, rows: int = ROWS, seed: int = 2025, sources: Path = SOURCES) -> None:
    """Write the six files and `solution/`: `rows` training rows a task, a quarter as many in dev and in test.

    The same rows and seed give the same bytes. Raises ValueError if there are fewer rows than a fold needs.
    """
    if rows < 200:
        raise ValueError(f"--rows {rows} is too few; the sample needs 200 at least")
    words = lexicon.load(sources)
    for task in TASKS:
        for split in SPLITS:
            maker = Maker(words, random.Random(f"{seed} {task} {split}"))
            _write_split(maker, folder, task, split, rows if split == "train" else max(rows // 4, 100))


def open_folder(named: str, rows: int) -> tuple[Path, str]:
    """The data folder of a run and why it was chosen: the named one, `data/raw`, or the embedded sample, made if need be."""
    if named:
        return Path(absolute(named)), "named with --data"
    if any(raw_file(RAW, "train", task).exists() for task in TASKS):
        return RAW, "the competition's files are in data/raw"
    folder = SAMPLE if rows == ROWS else SAMPLE.with_name(f"sample-{rows}")
    content = b"".join(path.read_bytes() for path in sorted(SOURCES.glob("*.csv")))
    content += b"".join(Path(module.__file__).read_bytes() for module in (synthesis, lexicon))
    made = folder / "made.json"
    facts = {"rows": rows, "sources": hashlib.sha256(content).hexdigest()}
    if not made.exists() or json.loads(made.read_text("utf-8")) != facts:
        make_sample(folder, rows)
        write_json(made, facts)
    return folder, "data/raw holds no competition files, so the embedded synthetic sample serves"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m utils.sample", description="Write the embedded, synthetic data set."
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument(
        "--rows", type=int, default=ROWS, help="training rows a task (%(default)s); dev and test have a quarter each"
    )
    parser.add_argument("--seed", type=int, default=2025)
    asked = parser.parse_args()
    try:
        make_sample(asked.folder, asked.rows, asked.seed)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
