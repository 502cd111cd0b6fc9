"""The submission: written as the organisers ask, and checked strictly.

python -m utils.submit --run NAME --check [DIR]
"""

import argparse
import json
import sys
import zipfile
from pathlib import Path

import pandas as pd

from utils.arguments import run_name
from utils.core.errors import InputError
from utils.core.files import write_text, write_with
from utils.core.paths import Run, raw_file
from utils.core.settings import reopen
from utils.core.streams import accept_all_text
from utils.data.raw import read_file
from utils.ensemble.submission import (
    ARCHIVE,
    check_answers,
    check_shares,
    check_submission,
    file_name,
    keys_of,
    text_of,
)


def format_submission(test: pd.DataFrame, answers: pd.DataFrame, task: str, ascii_only: bool = False) -> str:
    """The lines of one task, in the test file's order and with its texts unchanged.

    `test` is the raw table; `answers` holds `id, language, origin_query, target, prediction`, the texts being those that were answered.
    `ascii_only` escapes other characters as the test file does. Raises ValueError if a row has no answer or two, or one for other texts.
    """
    if answers["id"].duplicated().any():
        raise ValueError(f"{task}: an id is answered twice")
    texts = ["language", "origin_query", "target"]
    answered = {row[0]: row[1:] for row in answers[["id", *texts, "prediction"]].itertuples(index=False)}
    missing = test["id"][~test["id"].isin(list(answered))]
    if len(missing):
        raise ValueError(f"{task}: {len(missing)} test rows have no answer, the first is id {missing.iloc[0]}")
    lines = []
    for number, *own in test[["id", *texts]].itertuples(index=False):
        *others, prediction = answered[number]
        own, others = [text_of(value) for value in own], [text_of(value) for value in others]
        if own != others:
            raise ValueError(
                f"{task}: id {number} was answered with other texts than the test file's; run notebook 02 again"
            )
        values = (int(number), *own, int(prediction))
        lines.append(json.dumps(dict(zip(keys_of(task), values, strict=True)), ensure_ascii=ascii_only))
    return "\n".join(lines) + "\n"


def write_submission(answers: dict[str, pd.DataFrame], data: Path, folder: Path) -> list[Path]:
    """Write `submit_<task>.txt` for each task of `answers` and `submit.zip` with these files at its root; returns the paths.

    The same answers give the same bytes. Raises ValueError if a test row has no answer or two.
    """
    paths = []
    for task, table in answers.items():
        source = raw_file(data, "test", task)
        content = source.read_bytes()
        test, _ = read_file(source, task, labelled=False)
        ascii_only = content.isascii() and b"\\u" in content  # escaped where the test file is
        path = folder / file_name(task)
        write_text(path, format_submission(test, table, task, ascii_only))
        paths.append(path)
    write_with(folder / ARCHIVE, lambda path: _archive(path, paths))
    return [*paths, folder / ARCHIVE]


def _archive(path: Path, files: list[Path]) -> None:
    """Write files into a ZIP archive at its root, with a fixed date."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.name, date_time=(2025, 1, 1, 0, 0, 0))  # the time would change the bytes
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, file.read_bytes())


def require_valid(folder: Path, data: Path) -> None:
    """Raise ValueError with the first five problems of a submission folder; print warnings if it is valid."""
    if problems := check_submission(folder, data):
        raise ValueError("\n".join(problems[:5]))
    for warning in check_shares(folder, data):
        print(f"warning: {warning}")


def main() -> int:
    """The command: check a submission folder. Exit code 0 if it is valid, 1 with the problems, 2 where the run's data is gone.

    Valid is what the test files, the archive and the run's own answers agree on; shares that are far off are warnings.
    """
    accept_all_text()
    parser = argparse.ArgumentParser(prog="python -m utils.submit", description="Check a run's submission strictly.")
    parser.add_argument("--run", required=True, type=run_name)
    parser.add_argument(
        "--check", required=True, nargs="?", const="", metavar="DIR", help="the folder (default: submissions/RUN)"
    )
    arguments = parser.parse_args()
    name, run = arguments.run, Run(arguments.run)
    if not run.settings.exists():
        parser.error(f"run {name!r} is not known; runs/{name}/run.json is missing: run ./run_all.sh --run {name}")
    folder = Path(arguments.check) if arguments.check else run.submission
    try:
        data = Path(reopen(run).data)
        problems, warnings = check_submission(folder, data), []
        if not problems:
            problems, warnings = check_answers(folder, run)
        warnings += [] if problems else check_shares(folder, data)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print("\n".join(problems) if problems else f"{folder}: valid", file=sys.stderr if problems else sys.stdout)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
