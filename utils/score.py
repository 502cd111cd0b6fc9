"""New pairs answered by a run's final ensemble.

python -m utils.score --run NAME --task QC|QI [--input F] [--output F] [--weights none|int8|nf4] [--ranks N]
"""

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path

from utils.arguments import run_name
from utils.core import paths
from utils.core.errors import InputError, LaunchError
from utils.core.files import write_text
from utils.core.schema import TASKS
from utils.core.streams import accept_all_text
from utils.experiment.answer import answer_anywhere
from utils.training.ranks import Topology


def _parse() -> argparse.Namespace:
    """The command's arguments. Exits with code 2 where the run has no ensemble or the input file is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.score", description="Answer pairs with a run's final ensemble."
    )
    parser.add_argument("--run", required=True, type=run_name)
    parser.add_argument("--task", required=True, choices=TASKS)
    parser.add_argument(
        "--input",
        type=Path,
        help="JSON Lines of origin_query and category_path or item_title (default: standard input)",
    )
    parser.add_argument("--output", type=Path, help="where the answers go (default: standard output)")
    parser.add_argument(
        "--weights",
        choices=("none", "int8", "nf4"),
        default="",
        help="hold the weights in fewer bits (default: as trained)",
    )
    parser.add_argument(
        "--ranks",
        type=int,
        default=0,
        metavar="N",
        help="processes (default: one per GPU, else one per core for many rows)",
    )
    arguments = parser.parse_args()
    run = paths.Run(arguments.run)
    if not run.ensemble_file.exists():
        parser.error(f"run {arguments.run!r} has no ensemble; run ./run_all.sh --run {arguments.run} first")
    try:
        tasks = list(json.loads(run.ensemble_file.read_text("utf-8")))
    except (OSError, ValueError) as error:
        parser.error(
            f"{run.ensemble_file}: cannot be read ({error}); ./run_all.sh --run {run.name} --from 07 writes it"
        )
    if arguments.task not in tasks:
        parser.error(f"run {arguments.run!r} has no ensemble for {arguments.task}; its data held no file of that task")
    if arguments.input and not arguments.input.is_file():
        parser.error(f"{arguments.input}: no such file")
    if arguments.output and arguments.output.is_dir():
        parser.error(f"{arguments.output}: is a folder; name a file")
    if arguments.ranks < 0:
        parser.error(f"--ranks {arguments.ranks}: use 0 for one per GPU, or a positive number")
    return arguments


def _score(arguments: argparse.Namespace) -> str:
    """Read the pairs and answer them. Raises InputError, or OSError for a file that cannot be read or written."""
    content = arguments.input.read_bytes() if arguments.input else sys.stdin.buffer.read()
    name, topology = arguments.input.name if arguments.input else "stdin", Topology(ranks=arguments.ranks)
    with contextlib.redirect_stdout(sys.stderr):  # notices stay out of the answers
        text = answer_anywhere(content, name, paths.Run(arguments.run), arguments.task, arguments.weights, topology)
    if arguments.output:
        write_text(arguments.output, text)
    return text


def main() -> int:
    """The command: read pairs, write answers. Exit code 0, 1 where a process failed, or 2 for wrong arguments or input."""
    accept_all_text()
    arguments, start = _parse(), time.monotonic()
    try:
        text = _score(arguments)
    except (InputError, OSError, LaunchError) as error:
        print(error, file=sys.stderr)
        return 1 if isinstance(error, LaunchError) else 2
    count, seconds = text.count("\n"), max(1e-9, time.monotonic() - start)
    print(f"{count:,} rows in {seconds:.1f} s, {count / seconds:,.1f}/s, loading the models included", file=sys.stderr)
    if not arguments.output:
        sys.stdout.buffer.write(text.encode("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
