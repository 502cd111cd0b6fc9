"""A run's beginning in a process of its own: notebooks 02 and 03, the baselines, and an ensemble of them, in QC.

python tests/experiment/beginning.py DATA ROOT      then goes on as notebook 04 does, and opens a solution, which ends it
"""

import json
import sys
from pathlib import Path

import pandas as pd

from utils import profiles
from utils.core import paths, settings
from utils.core.paths import ROOT, raw_file, solution_file
from utils.core.schema import TASKS
from utils.data import clean, folds
from utils.data.raw import read_folder
from utils.data.tables import read_table, sample_queries, write_table
from utils.data.taxonomy import read_tree
from utils.ensemble import crossfitting, decide
from utils.ensemble.second_stage import TEXTS
from utils.experiment import crossfit, task_data
from utils.experiment.runtime import Runtime
from utils.profiles.base import Profile
from utils.translation import backends, cache

KINDS = ("tfidf", "wordpairs")
RUN, OVERRIDES = paths.Run("begun"), "smoke.rows=200 smoke.translation=glossary"


def prepare_rows(data: Path, config: Profile) -> None:
    """The clean tables and the folds, by the verbs of notebooks 02 and 03."""
    tables, _ = clean.clean_tables(read_folder(data).tables)
    first, cached = backends.open_backend(config.translation), paths.translations(config.cache)
    tables, _ = cache.translate_tables(tables, first, None, cached, bar=False)
    clean.save_tables(tables, RUN)
    for task in TASKS:
        train = sample_queries(read_table(RUN.clean_table("train", task)), config.rows, config.seed)
        tree = read_tree(RUN, task)
        table = folds.make_folds(train, task, tree, config.group_depth, config.fold_count, config.seed)
        write_table(table, RUN.fold_table(task))
        categories = folds.make_category_folds(folds.join_folds(train, table), config.fold_count, config.seed)
        if task == "QC":
            write_table(categories, RUN.category_folds)


def answer(task: str, config: Profile) -> pd.DataFrame:
    """The test rows as an ensemble of the baselines answers them; `oof.parquet` and `test.parquet` of each are left, too."""
    data = task_data.load_task_data(RUN, task, ("test",))
    data = task_data.withhold_related(data, config.recipes(task), 40)
    recipes = [recipe.with_(folds=(0,), answer_rows=0) for recipe in config.recipes(task) if recipe.kind in KINDS]
    recipes[0] = recipes[0].with_(noisy_labels="drop")
    crossfit.fit_plans([crossfit.Plan(recipes, data, RUN.bakeoff / task)], Runtime(style="none"))
    oof, test = (
        {recipe.name: read_table(RUN.bakeoff / task / recipe.name / f"{split}.parquet") for recipe in recipes}
        for split in ("oof", "test")
    )
    cluster, texts = data.train.set_index("id")["query_group"], data.train[TEXTS]
    languages = tuple(folds.languages_of(data.train))
    fitted = crossfitting.fit_ensemble(oof, {}, cluster, languages, config.seed, texts, decide.Steps(True, True))
    write_table(fitted.honest["seen"], RUN.ensemble / f"honest_{task}.parquet")
    return decide.answer(test, fitted.ensemble, data.splits["test"][TEXTS])


def main(data: Path, root: Path) -> None:
    """All of it, below `root`."""
    paths.ROOT = root
    task_data.find_noise.__defaults__ = (root / "suspects",)
    crossfitting.choose_repeats = lambda rows: 20
    config = profiles.load("smoke", OVERRIDES)
    chosen = settings.Settings("smoke", str(data), overrides=profiles.normalise("smoke", OVERRIDES))
    settings.save(RUN, chosen)
    profiles.bind(RUN, config)
    prepare_rows(data, config)
    write_table(answer("QC", config), RUN.ensemble / "answers_QC.parquet")


def open_solution(data: Path) -> None:
    """Begin as notebook 04 does, by its own first cells, read a file of the data, and then a solution."""
    book = json.loads((ROOT / "notebooks" / "04_bakeoff.ipynb").read_text("utf-8"))
    cells = ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"][:3]
    names: dict[str, object] = {}
    for cell in (cells[0], f"profile, run = 'smoke', {RUN.name!r}", *cells[1:]):
        exec(cell, names)
    print(sorted(names["data"]), raw_file(data, "test", "QC").read_text("utf-8").count("\n"), flush=True)
    print(solution_file(data, "test", "QC").read_text("utf-8"))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
    open_solution(Path(sys.argv[1]))
