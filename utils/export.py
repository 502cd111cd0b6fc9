"""A fold of a run's final training as one plain folder: adapter merged, text model alone, opened by any tool.

python -m utils.export --run NAME --task QC|QI [--recipe NAME] [--fold K] DIR
"""

import argparse
import sys
from pathlib import Path

from utils import models, paths, settings, weights
from utils.recipe import load, load_all
from utils.schema import TASKS


def export(run: paths.Run, task: str, name: str, fold: int, folder: Path) -> str:
    """Write a decoder's merged weights, config and tokenizer; returns the stock class that opens them.

    Raises ValueError for an encoder, whose head is no stock class's.
    """
    place = run.final / task / name
    recipe = load(place / "recipe.json").with_(quantisation="none")
    base = weights.resolve(recipe.model, settings.load(run).models, offline=True)
    if models.is_encoder(base):
        raise ValueError(f"{name} is an encoder with a head of its own; python -m utils.score serves it")
    network = models.load_scorer(recipe, base, place / f"fold{fold}")
    network.config.architectures = [type(network).__name__]
    network.save_pretrained(folder)
    models.load_tokenizer(base).save_pretrained(folder)
    return type(network).__name__


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m utils.export", description="Write a trained decoder as a plain folder."
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--run", required=True)
    parser.add_argument("--task", required=True, choices=TASKS)
    parser.add_argument("--recipe", help="default: the champion")
    parser.add_argument("--fold", type=int, default=0)
    asked = parser.parse_args()
    run = paths.Run(asked.run)
    finalists = [recipe.name for recipe in load_all(run.tapt / "final" / asked.task)]
    name = asked.recipe or next(iter(finalists), "")
    if not (run.final / asked.task / name / f"fold{asked.fold}").is_dir():
        parser.error(
            f"run {asked.run!r} has no final training of {name or 'any recipe'}, fold {asked.fold}, for {asked.task}"
        )
    try:
        print(f"{asked.folder}: {export(run, asked.task, name, asked.fold, asked.folder)}")
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
