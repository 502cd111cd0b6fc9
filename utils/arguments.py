"""The command line of ./run_all.sh, checked by the standard library alone: a wrong word is told before anything is set up.

python -m utils.arguments [--profile ...] [--data DIR] ...      ends with 2 and the reason where they are wrong
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from utils import profiles
from utils.core import paths, settings
from utils.core.errors import ProfileError
from utils.core.streams import accept_all_text
from utils.sample.dataset import has_raw

LAST = "07"  # the notebook with which a run ends
EXAMPLES = """examples:
  ./run_all.sh                                          the embedded data, on a laptop
  ./run_all.sh --data DIR --profile a100 --plan         what the competition's data would cost
  ./run_all.sh --run rates --set e5-small.learning_rate=1e-4 --set final.e5-small.rows=0
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./run_all.sh", description="From raw queries to a submission, in seven notebooks.", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add(
        "--profile", choices=list(profiles.PROFILES), help="default: a100 with data/raw and a GPU of 70 GB, else laptop"
    )
    add(
        "--data",
        default="",
        metavar="DIR",
        help="a folder with the competition's files (default: data/raw, else the embedded data)",
    )
    add("--run", type=run_name, metavar="NAME", help="name of the run (default: the profile)")
    add("--rows", type=int, default=-1, metavar="N", help="at most N training rows per task; 0 = all")
    add(
        "--candidates",
        default="",
        metavar="A,B",
        help="train only these networks in the bake-off, beside the baselines",
    )
    add("--set", action="append", default=[], metavar="NAME.FIELD=VALUE", help="change a field of a candidate "
        "(e5-small.epochs=2), of its final training (final.e5-small.rows=0) or of the profile (laptop.validation_rows=800); "
        "repeatable; NAME and FIELD: utils/profiles, utils/core/recipe.py")  # fmt: skip
    add("--models", default="", metavar="DIR", help="a folder of local weights, searched first")
    steps = parser.add_mutually_exclusive_group()
    steps.add_argument(
        "--from", dest="first", metavar="NN", help="start at notebook NN (01 ... 07) and continue to the last"
    )
    steps.add_argument("--only", metavar="NN", help="run notebook NN alone; 08, the ablations, runs by name only")
    _add_machines(add)
    return parser


def run_name(text: str) -> str:
    """The name of a run as a command is given it. Raises ArgumentTypeError, with which argparse ends the command, for any other text."""
    if problem := paths.name_problem(text):
        raise argparse.ArgumentTypeError(f"{text[: paths.LONGEST_NAME]!r}: {problem}")
    return text


def _add_machines(add: Callable[..., argparse.Action]) -> None:
    """The options that tell where a run works, or what it would cost there."""
    add(
        "--part",
        default="",
        metavar="K/N",
        help="the K-th of N parts of each notebook's trainings; a call without it gathers",
    )
    add("--hosts", default="", metavar="A,B", help="machines that take the parts, this one first")
    add("--shell", default="ssh", metavar="CMD", help="remote shell for --hosts (default: ssh)")
    add("--plan", action="store_true", help="print what each step will cost, and run nothing")
    add(
        "--gpu",
        default="",
        metavar="NAME",
        help="the device that is planned for (4xa100-80gb; default: what is found here)",
    )
    add(
        "--rehearse",
        default="",
        metavar="PROFILE",
        choices=("a100", "gpu24", "t4x2"),
        help="the profile in small: a100, gpu24, t4x2",
    )
    add("--setup", action="store_true", help="set the environment up and stop")
    add("--doctor", action="store_true", help="print what of the environment works here, and stop")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The arguments; `overrides` holds `--set`, `--rows` and `--candidates` as one text. Ends with exit code 2 where one is wrong."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.rows < -1:
        parser.error(f"--rows {options.rows}: use 0 for all rows, or a positive number")
    for word in arguments:
        if not word.isprintable() and any("\ud800" <= character <= "\udfff" for character in word):
            parser.error(f"{word!r}: is not UTF-8; rename the file or folder")
    for name, folder in (("--data", options.data), ("--models", options.models)):
        if folder and not _is_folder(folder):
            parser.error(f"{name} {folder}: no such folder")
    if options.rehearse:
        options.profile = "rehearsal" if options.rehearse == "a100" else f"rehearsal-{options.rehearse}"
    if problem := _part_problem(options):
        parser.error(problem)
    for name, optional in ((options.first, False), (options.only, True)):
        numbers = [path.stem[:2] for path in notebooks(optional)]
        if name and name.zfill(2) not in numbers:
            parser.error(f"notebook {name}: use one of {' '.join(numbers)}")
    options.overrides = _overrides(options)
    try:
        _check(options)
    except ProfileError as error:
        parser.error(str(error))
    return options


def _part_problem(options: argparse.Namespace) -> str:
    """What is wrong with `--part`, and what to do, or the empty text."""
    try:
        part = settings.parse_part(options.part)
    except ValueError as error:
        return f"--part {error}"
    if part and options.hosts:
        return "--part and --hosts: --hosts starts the parts by itself; leave one of the two out"
    return ""


def _is_folder(name: str) -> bool:
    """Whether a folder of this name is there; `~` may begin with a user that is none."""
    try:
        return Path(settings.absolute(name)).is_dir()
    except (RuntimeError, OSError, ValueError):
        return False


def _overrides(options: argparse.Namespace) -> str:
    """One text of all that differs from the profile; the short options are fields of it."""
    parts = []
    if options.rows >= 0:
        parts.append(f"profile.rows={options.rows}")
    if options.candidates:
        parts.append("profile.candidates=" + options.candidates.replace(" ", ""))
    return " ".join([*parts, *options.set])


def _check(options: argparse.Namespace) -> None:
    """Raises ProfileError where the profile, or each of those that may be chosen, does not take the overrides."""
    names = [options.profile] if options.profile else ["laptop", "a100"]
    if not options.profile and (options.data or not has_raw()):
        names = ["laptop"]
    problems = []
    for name in names:
        try:
            profiles.load(name, options.overrides)
        except ProfileError as error:
            problems.append(error)
    if len(problems) == len(names):
        raise problems[0]


def notebooks(optional: bool = False) -> list[Path]:
    """The numbered notebooks of a run, in order; with `optional` those too that run by name only (`LAST` is the last that does not)."""
    found = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    return [path for path in found if optional or path.stem[:2] <= LAST]


if __name__ == "__main__":
    accept_all_text()
    parse(sys.argv[1:])
