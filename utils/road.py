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
    parser.add_argument("--rungs", default="", metavar="A,B", help="of the bake-off's networks these alone")
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


def plan_ahead(profile: profiles.Profile, folder: Path, models: str, gpu: str) -> tuple[str, bool]:
    """The plan of a profile on a data folder as text, and whether all of it fits the device and the disk."""
    from utils import devices, plan  # with torch and all that it needs: not for every start of the road

    device, why = devices.open_device(gpu)
    steps, free = plan.make_plan(profile, plan.read_texts(folder), device, models), shutil.disk_usage(paths.ROOT).free
    fits = not any(step.misfit for step in steps) and plan.disk_needed(steps) < free
    return plan.write_plan(steps, device, why, free), fits


def is_affordable(profile: profiles.Profile, folder: Path, models: str, gpu: str) -> bool:
    """Whether all that a profile needs can be had: networks within the rule, and for a100 memory and disk; then fetch the networks.

    What refuses comes before what takes long. Raises WeightsError.
    """
    networks = [name for name in profile.models if not weights.is_converted(Path(models or ".") / name)]
    for name in networks:
        weights.check(name, models, profile.offline)
    if profile.name == "a100":
        told, fits = plan_ahead(profile, folder, models, gpu)
        print(told, flush=True)
        if not fits:
            return False
    for name in networks:
        weights.resolve(name, models, profile.offline)
    return True


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
        profile = profiles.load(profile_choice.value, asked.rows, asked.rungs)
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

            models = str(rehearsal.make_models(profile.models))
        settings.check(run, profile.name)
        for notice in data.read_folder(folder).notices:
            print(f"notice:  {notice}")
        if not is_affordable(profile, folder, models, asked.gpu):
            return REFUSED
        settings.keep(run, settings.Settings(profile.name, str(folder), models, asked.hosts, asked.shell))
    except (data.DataError, settings.SettingsError, weights.WeightsError, profiles.ProfileError) as error:
        print(error, file=sys.stderr)
        return REFUSED
    start = (asked.only or asked.first or "01").zfill(2)
    chosen = [path for path in notebooks() if (path.stem[:2] == start if asked.only else path.stem[:2] >= start)]
    parameters = {
        "profile": profile.name,
        "run": run.name,
        "data": str(folder),
        "rows": asked.rows,
        "rungs": asked.rungs,
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
