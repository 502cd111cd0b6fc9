"""The road from a shell: check the arguments and the data, run the notebooks headlessly, print the score table.

python -m utils.road [--profile ...] [--data DIR] ...      (./run_all.sh does the set-up first)
"""

import argparse
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from utils import data, leaderboard, paths, profiles, report, sample, settings, weights
from utils.schema import TASK_NAMES
from utils.zoo import ZOO

DONE, FAILED, REFUSED = 0, 1, 2
LARGE_GPU = 70e9  # bytes of memory from which on the a100 profile is chosen by itself


@dataclass(frozen=True)
class Choice:
    """A chosen value and the reason, printed before anything runs."""

    value: str
    reason: str


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./run_all.sh", description="From raw queries to a submission, in seven notebooks."
    )
    parser.add_argument(
        "--profile", choices=list(profiles.PROFILES), help="default: a100 with data/raw and a large GPU, else laptop"
    )
    parser.add_argument("--data", default="", metavar="DIR", help="a folder with the competition's files")
    parser.add_argument("--run", metavar="NAME", help="name of the run (default: the profile)")
    parser.add_argument("--rows", type=int, default=-1, metavar="N", help="at most N training rows a task; 0 = all")
    parser.add_argument("--models", default="", metavar="DIR", help="a folder of local weights, looked into first")
    parser.add_argument("--hosts", default="", metavar="A,B", help="machines that train together, this one first")
    parser.add_argument(
        "--shell", default="ssh", metavar="CMD", help="runs a command on another machine (default: ssh)"
    )
    steps = parser.add_mutually_exclusive_group()
    steps.add_argument("--from", dest="first", metavar="NN", help="start at notebook NN (01 ... 07)")
    steps.add_argument("--only", metavar="NN", help="run notebook NN alone")
    parser.add_argument("--plan", action="store_true", help="print what each step will cost, and run nothing")
    parser.add_argument("--gpu", default="", metavar="NAME", help="with --plan: the device to plan for (4xa100-80gb)")
    parser.add_argument("--setup", action="store_true", help="set the environment up and stop")
    asked = parser.parse_args(arguments)
    if asked.run is not None and not re.fullmatch(r"[A-Za-z0-9_-]+", asked.run):
        parser.error(f"--run {asked.run!r}: use letters, digits, - and _")
    if asked.rows < -1:
        parser.error(f"--rows {asked.rows}: use 0 for all rows, or a positive number")
    for name, folder in (("--data", asked.data), ("--models", asked.models)):
        if folder and not Path(settings.absolute(folder)).is_dir():
            parser.error(f"{name} {folder}: no such folder")
    known = [path.stem[:2] for path in notebooks()]
    for name in (asked.first, asked.only):
        if name and name.zfill(2) not in known:
            parser.error(f"notebook {name}: use one of {' '.join(known)}")
    return asked


def notebooks() -> list[Path]:
    """The numbered notebooks in order."""
    return sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def choose_profile(named: str | None, folder: Path) -> Choice:
    if named:
        return Choice(named, "named with --profile")
    if folder != paths.RAW:
        return Choice("laptop", "the data is not data/raw")
    import torch

    if not torch.cuda.is_available():
        return Choice("laptop", "no CUDA device is found")
    memory = torch.cuda.get_device_properties(0).total_memory
    if memory < LARGE_GPU:
        return Choice("laptop", f"the CUDA device has {memory / 1e9:.0f} GB, a100 needs {LARGE_GPU / 1e9:.0f}")
    return Choice("a100", f"data/raw is there and the CUDA device has {memory / 1e9:.0f} GB")


def named_models(profile: profiles.Profile) -> list[str]:
    """Every network that a profile reads, the translator's included."""
    names = [recipe.model for recipe in profile.ladder if recipe.model]
    translators = [name for name in (profile.translation, profile.retranslation) if name in ZOO]
    return list(dict.fromkeys([*names, *translators]))


def check_weights(profile: profiles.Profile, models: str) -> None:
    """Find every network of the profile, and hold it against the rule of 15 billion, before hours are spent."""
    for name in named_models(profile):
        if models and weights.is_converted(Path(models) / name):
            continue
        folder = weights.resolve(name, models, profile.offline)
        weights.check_size(name, weights.count_parameters(folder))


def plan_ahead(profile: profiles.Profile, folder: Path, models: str, gpu: str) -> tuple[str, bool]:
    """The plan of a profile on a data folder as text, and whether all of it fits the device and the disk."""
    from utils import plan  # with torch and all that it needs: not for every start of the road

    device, why = plan.open_device(gpu)
    disk = plan.disk_needed(profile, models)
    steps = plan.make_plan(profile, plan.read_texts(folder), device, models)
    fits = not any(step.misfit for step in steps) and disk < shutil.disk_usage(paths.ROOT).free
    return plan.write_plan(steps, device, why, disk), fits


def run_notebook(path: Path, run: paths.Run, parameters: dict[str, object]) -> None:
    """Execute one notebook with those of the parameters that it takes; the copy lies in `runs/<run>/notebooks/`."""
    import papermill

    taken = papermill.inspect_notebook(str(path))
    run.notebooks.mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(
        str(path),
        str(run.notebooks / path.name),
        parameters={name: value for name, value in parameters.items() if name in taken},
        cwd=str(paths.NOTEBOOKS),
        progress_bar=False,
        stdout_file=sys.stdout,
        extra_arguments=["--IPKernelApp.log_level=40"],  # the kernel talks to this machine alone; no need to warn of it
    )


def show_scores(run: paths.Run) -> None:
    """The score table: the ensemble beside the rungs, on test where there is a solution, else out of fold."""
    file = run.ensemble / "scores.csv"
    if not file.exists():
        return
    scores = pd.read_csv(file, keep_default_na=False, na_values=[""])
    for task in scores["task"].unique():
        split, rows = leaderboard.headline(scores, task)
        print(f"\n{task} ({TASK_NAMES[task]}), {split}: F1 of the positive class, 95 % by query")
        for row in rows.itertuples():
            interval = f"[{row.f1_lo:.3f}, {row.f1_hi:.3f}]"
            print(f"  {row.recipe:<28} {row.f1:.4f}  {interval}  AUC {row.auc:.3f}  {row.note}".rstrip())


def walk(asked: argparse.Namespace, chosen: list[Path], run: paths.Run, parameters: dict[str, object]) -> int:
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
            print(
                f"[{number}/{total}] {path.stem} failed; its notebook lies in {run.notebooks / path.name}",
                file=sys.stderr,
            )
            return FAILED
        print(f"[{number}/{total}] {path.stem} ... {time.monotonic() - start:.0f} s", flush=True)
    return DONE


def main(arguments: list[str]) -> int:
    asked = parse(arguments)
    if asked.setup:
        return DONE
    try:
        named = profiles.PROFILES.get(asked.profile or "laptop", profiles.LAPTOP)
        folder, reason = sample.open_folder(asked.data, named.sample_rows)
        profile_choice = choose_profile(asked.profile, folder)
        profile = profiles.load(profile_choice.value, asked.rows)
        run = paths.Run(asked.run or profile.name)
        print(
            f"data:    {folder} ({reason})\nprofile: {profile.name} ({profile_choice.reason})\nrun:     {run.name}",
            flush=True,
        )
        models = settings.absolute(asked.models)
        if asked.plan:
            print(plan_ahead(profile, folder, models, asked.gpu)[0])
            return DONE
        if profile.name == "rehearsal" and not models:
            from utils import rehearsal  # as above

            models = str(rehearsal.make_models(named_models(profile)))
        settings.keep(run, settings.Settings(profile.name, str(folder), models, asked.hosts, asked.shell))
        raw = data.read_folder(folder)
        for notice in raw.notices:
            print(f"notice:  {notice}")
        check_weights(profile, models)
        if profile.name == "a100":
            told, fits = plan_ahead(profile, folder, models, asked.gpu)
            print(told, flush=True)
            if not fits:
                return REFUSED
    except (data.DataError, settings.SettingsError, weights.WeightsError) as error:
        print(error, file=sys.stderr)
        return REFUSED
    start = (asked.only or asked.first or "01").zfill(2)
    chosen = [path for path in notebooks() if (path.stem[:2] == start if asked.only else path.stem[:2] >= start)]
    parameters = {
        "profile": profile.name,
        "run": run.name,
        "data": str(folder),
        "rows": asked.rows,
        "models": models,
        "hosts": asked.hosts,
        "shell": asked.shell,
        "progress": "lines",
    }
    code = walk(asked, chosen, run, parameters)
    if code == DONE:
        report.write_report(run, notebooks())
        show_scores(run)
        print(f"\nreport:     {run.report}\nsubmission: {run.submission / 'submit.zip'}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
