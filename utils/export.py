"""A fold of a run's final training as one plain folder: adapter merged, text model only, readable by any tool.

python -m utils.export --run NAME --task QC|QI [--recipe NAME] [--fold K] DIR
"""

import argparse
import sys
from pathlib import Path

from utils.arguments import run_name
from utils.core import paths, settings
from utils.core.errors import InputError
from utils.core.recipe import load, load_all, name_problem
from utils.core.schema import TASKS
from utils.core.streams import accept_all_text
from utils.models import build, weights


def export(run: paths.Run, task: str, name: str, fold: int, folder: Path) -> str:
    """Write a decoder's merged weights, config and tokenizer; returns the name of the transformers class that loads them.

    `name` is the recipe's. Raises ValueError for an encoder, whose head no transformers class has.
    """
    source = run.final / task / name
    recipe = load(source / "recipe.json").with_(quantisation="none")
    base = weights.resolve(recipe.model, settings.load(run).models, offline=True)
    if build.is_encoder(base):
        raise ValueError(f"{name} is an encoder with a head of its own; python -m utils.score serves it")
    network = build.load_scorer(recipe, base, source / f"fold{fold}")
    network.config.architectures = [type(network).__name__]
    network.save_pretrained(folder)
    build.load_tokenizer(base).save_pretrained(folder)
    return type(network).__name__


def recipe_name(text: str) -> str:
    """A recipe's name as the command is given it. Raises ArgumentTypeError, with which argparse ends it, for any other text."""
    if problem := name_problem(text):
        raise argparse.ArgumentTypeError(f"{text!r}: {problem}")
    return text


def main() -> int:
    """The command: export one fold. Exit code 0, or 2 where there is no such training, or weights, or it is an encoder."""
    accept_all_text()
    parser = argparse.ArgumentParser(
        prog="python -m utils.export", description="Write a trained decoder as a plain folder."
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--run", required=True, type=run_name)
    parser.add_argument("--task", required=True, choices=TASKS)
    parser.add_argument("--recipe", type=recipe_name, help="default: the champion")
    parser.add_argument("--fold", type=int, default=0)
    arguments = parser.parse_args()
    run, task, fold = paths.Run(arguments.run), arguments.task, arguments.fold
    finalists = [recipe.name for recipe in load_all(run.tapt / "final" / task)]
    name = arguments.recipe or next(iter(finalists), "")
    if not (run.final / task / name / f"fold{fold}").is_dir():
        parser.error(f"run {arguments.run!r} has no final training of {name or 'any recipe'}, fold {fold}, for {task}")
    try:
        print(f"{arguments.folder}: {export(run, task, name, fold, arguments.folder)}")
    except (ValueError, InputError, OSError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
