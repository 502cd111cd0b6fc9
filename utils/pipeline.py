"""The whole pipeline: check the data and what it will cost, run the notebooks headlessly, print the score table.

python -m utils.pipeline [--profile ...] [--data DIR] ...      (./run_all.sh does the set-up first)
"""

import argparse
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from utils import profiles
from utils.arguments import notebooks, parse
from utils.core import paths, settings
from utils.core.errors import InputError
from utils.core.schema import TASK_NAMES
from utils.core.streams import accept_all_text
from utils.data.raw import Raw, read_folder
from utils.evaluation import leaderboard, report
from utils.models import weights
from utils.profiles.base import Profile
from utils.sample import dataset
from utils.translation import cache

DONE, FAILED, REFUSED = 0, 1, 2
INPUT_ERRORS = {kind.__name__ for kind in (InputError, *InputError.__subclasses__())}  # as a notebook names them
LARGE_GPU = 70e9  # bytes of memory from which on the a100 profile is chosen by itself


@dataclass(frozen=True)
class Choice:
    """A chosen value and the reason, printed before anything runs."""

    value: str
    reason: str


def choose_profile(name: str | None, raw: bool) -> Choice:
    """The named profile, else a100 where the data is `data/raw` and a large GPU is there, else laptop."""
    if name:
        return Choice(name, "named with --profile")
    if not raw:
        return Choice("laptop", "the data is not data/raw")
    import torch

    if not torch.cuda.is_available():
        return Choice("laptop", "no CUDA device is found")
    memory = torch.cuda.get_device_properties(0).total_memory
    if memory < LARGE_GPU:
        return Choice("laptop", f"the CUDA device has {memory / 1e9:.0f} GB, a100 needs {LARGE_GPU / 1e9:.0f}")
    return Choice("a100", f"data/raw is there and the CUDA device has {memory / 1e9:.0f} GB")


def plan_ahead(profile: Profile, raw: Raw, models: str, gpu: str) -> tuple[str, bool]:
    """The plan of a profile on the files of a data folder as text, and whether all of it fits the device and the disk."""
    from utils.planning import (  # with torch and all that it needs: not for every start
        devices,
        plan,
        printout,
        sampling,
    )

    device, why = devices.open_device(gpu)
    steps = plan.make_plan(profile, sampling.gather_texts(raw), device, models)
    free = shutil.disk_usage(paths.ROOT).free
    fits = not any(step.misfit for step in steps) and printout.disk_needed(steps) < free
    return printout.write_plan(steps, device, why, free), fits


def check_and_fetch(profile: Profile, raw: Raw, models: str, gpu: str) -> bool:
    """Whether all that a profile needs can be had: networks within the rule, and for a100 memory and disk; then fetch the networks.

    What refuses comes before what takes long. Raises WeightsError.
    """
    cache.check([profile.translation, profile.retranslation], paths.translations(profile.cache))
    networks = [name for name in profile.models if not weights.is_converted(Path(models or ".") / name)]
    for name in networks:
        weights.check(name, models, profile.offline)
    if profile.name == "a100":
        text, fits = plan_ahead(profile, raw, models, gpu)
        print(text, flush=True)
        if not fits:
            return False
    for name in networks:
        weights.resolve(name, models, profile.offline)
    return True


def run_notebook(path: Path, run: paths.Run, parameters: dict[str, object]) -> None:
    """Execute one notebook with those of the parameters that it takes; the copy lies in `runs/<run>/notebooks/`."""
    import papermill

    # papermill reads braces in a path as parameters
    source, copy = (str(file).replace("{", "{{").replace("}", "}}") for file in (path, run.notebooks / path.name))
    taken = papermill.inspect_notebook(source)
    run.notebooks.mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(
        source,
        copy,
        parameters={name: value for name, value in parameters.items() if name in taken},
        cwd=str(paths.NOTEBOOKS),
        progress_bar=False,
        stdout_file=sys.stdout,
        extra_arguments=["--IPKernelApp.log_level=40"],  # the kernel talks to this machine alone; no need to warn of it
    )


def run_notebooks(chosen: list[Path], run: paths.Run, parameters: dict[str, object]) -> int:
    """Execute notebooks in order and say how long each took; the exit code."""
    total = len(notebooks())
    for path in chosen:
        number, start = int(path.stem[:2]), time.monotonic()
        print(f"[{number}/{total}] {path.stem} ...", flush=True)
        try:
            run_notebook(path, run, parameters)
        except KeyboardInterrupt:
            print(f"\ninterrupted in {path.stem}; the same command goes on where it stopped", file=sys.stderr)
            return FAILED
        except Exception as error:  # whatever a cell raised: its notebook shows it
            print(f"{type(error).__name__}: {getattr(error, 'evalue', error)}", file=sys.stderr)
            place = run.notebooks / path.name
            print(f"[{number}/{total}] {path.stem} failed; its notebook lies in {place}", file=sys.stderr)
            return REFUSED if getattr(error, "ename", "") in INPUT_ERRORS else FAILED
        print(f"[{number}/{total}] {path.stem} ... {time.monotonic() - start:.0f} s", flush=True)
    return DONE


def choose_notebooks(first: str | None, only: str | None) -> list[Path]:
    """The notebooks from a number on, or that number alone."""
    number = (only or first or "01").zfill(2)
    return [path for path in notebooks() if (path.stem[:2] == number if only else path.stem[:2] >= number)]


def show_scores(run: paths.Run) -> None:
    """The score table: the ensemble beside the candidates, on test where there is a solution, else out of fold."""
    scores = pd.read_csv(run.ensemble / "scores.csv", keep_default_na=False, na_values=[""])
    for task in scores["task"].unique():
        split, rows = leaderboard.headline(scores, task)
        print(f"\n{task} ({TASK_NAMES[task]}), {split}: F1 of the positive class, 95 % CI (query bootstrap)")
        for row in rows.itertuples():
            interval = f"[{row.f1_lo:.3f}, {row.f1_hi:.3f}]"
            print(f"  {row.recipe:<28} {row.f1:.4f}  {interval}  AUC {row.auc:.3f}  {row.note}".rstrip())


def show_results(run: paths.Run, chosen: list[Path]) -> None:
    """What the notebooks that ran have left, and nothing that is not there or that an earlier call made."""
    report.write_report(run, notebooks())
    submission = run.submission / "submit.zip"
    last = chosen[-1] == notebooks()[-1]
    if last:
        show_scores(run)
    print(f"\nreport:     {run.report}")
    print(f"all runs:   {paths.index_page()}")
    if last and submission.exists():
        print(f"submission: {submission}")


def earlier_settings(options: argparse.Namespace, run: paths.Run, profile: str) -> settings.Settings | None:
    """The settings of a run of which a later part is asked for; else None. Raises SettingsError as `settings.load` does."""
    later = (options.only or options.first or "01").zfill(2) != "01"
    return settings.load(run, profile) if later and run.settings.exists() else None


def choose_data(options: argparse.Namespace, profile: Profile, earlier: settings.Settings | None) -> tuple[Path, str]:
    """The data folder and the reason: a later part of a run goes on with the run's own, unless another is named."""
    if earlier and not options.data:
        return Path(earlier.data), "the run was started with it"
    return dataset.open_folder(options.data, profile.sample_rows, profile.embedded)


def prepare(options: argparse.Namespace) -> tuple[paths.Run, dict[str, object]] | int:
    """Choose data and profile, say why, and check everything: the run and the notebooks' parameters, or an exit code.

    Raises InputError for what a person can put right.
    """
    choice = choose_profile(options.profile, not options.data and dataset.has_raw())
    run = paths.Run(options.run or choice.value)
    earlier = earlier_settings(options, run, choice.value)
    changes = profiles.normalise(choice.value, options.overrides or (earlier.overrides if earlier else ""))
    profile = profiles.load(choice.value, changes)
    folder, reason = choose_data(options, profile, earlier)
    print(f"data:    {folder} ({reason})\nprofile: {profile.name} ({choice.reason})\nrun:     {run.name}", flush=True)
    if changes:
        print(f"set:     {changes}", flush=True)
    models = settings.absolute(options.models) or (earlier.models if earlier else "")
    if options.plan:
        print(plan_ahead(profile, read_folder(folder), models, options.gpu)[0])
        return DONE
    if profile.name == "rehearsal" and not models:
        from utils.models import tiny  # as above

        models = str(tiny.make_models(profile.models))
    settings.check(run, profile.name, changes)
    if earlier:
        settings.check_data(run, earlier, folder)
    raw = read_folder(folder)
    for notice in raw.notices:
        print(f"notice:  {notice}")
    if not check_and_fetch(profile, raw, models, options.gpu):
        return REFUSED
    chosen = settings.Settings(profile.name, str(folder), models, options.hosts, options.shell, overrides=changes)
    settings.save(run, chosen)
    return run, {**vars(chosen), "data": settings.absolute(options.data), "run": run.name, "progress": "lines"}


def main(arguments: list[str]) -> int:
    accept_all_text()
    options = parse(arguments)
    if options.setup:
        return DONE
    try:
        prepared = prepare(options)
    except InputError as error:
        print(error, file=sys.stderr)
        return REFUSED
    if isinstance(prepared, int):
        return prepared
    run, parameters = prepared
    chosen = choose_notebooks(options.first, options.only)
    code = run_notebooks(chosen, run, parameters)
    if code == DONE:
        show_results(run, chosen)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
