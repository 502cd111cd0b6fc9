"""The whole pipeline: check the data and what it will cost, run the notebooks headlessly, print the score table.

python -m utils.pipeline [--profile ...] [--data DIR] ...      (./run_all.sh does the set-up first)
"""

import argparse
import sys
import time
from pathlib import Path

import pandas as pd

from utils.arguments import notebooks, parse
from utils.core import paths
from utils.core.errors import InputError, PartDone
from utils.core.files import explain_disk
from utils.core.schema import TASK_NAMES
from utils.core.settings import split_hosts
from utils.core.streams import accept_all_text
from utils.evaluation import leaderboard, report
from utils.running import doctor, parts
from utils.running.interruptions import Interruption, heed_signals
from utils.running.preparation import prepare

DONE, FAILED, REFUSED = 0, 1, 2
PART, INTERRUPTED = -1, -2  # how notebooks may end besides: exit codes DONE and FAILED
INPUT_ERRORS = {kind.__name__ for kind in (InputError, *InputError.__subclasses__())}  # as a notebook names them


def run_notebook(path: Path, run: paths.Run, parameters: dict[str, object]) -> None:
    """Execute one notebook with those of the parameters that it takes; the copy lies in `runs/<run>/notebooks/`."""
    import papermill

    copied = run.notebooks / copy_name(path, str(parameters["part"]))
    # papermill reads braces in a path as parameters
    source, copy = (str(file).replace("{", "{{").replace("}", "}}") for file in (path, copied))
    taken = papermill.inspect_notebook(source)
    with explain_disk(copied):
        run.notebooks.mkdir(parents=True, exist_ok=True)
        papermill.execute_notebook(
            source,
            copy,
            parameters={name: value for name, value in parameters.items() if name in taken},
            cwd=str(paths.NOTEBOOKS),
            progress_bar=False,
            stdout_file=sys.stdout,
            extra_arguments=[
                "--IPKernelApp.log_level=40"
            ],  # the kernel talks to this machine alone; no need to warn of it
        )


def copy_name(path: Path, part: str) -> str:
    """The name of a notebook's executed copy; several parts of it have a copy each."""
    return f"{path.stem}.part{part.replace('/', 'of')}.ipynb" if part else path.name


def run_notebooks(chosen: list[Path], run: paths.Run, parameters: dict[str, object], interruption: Interruption) -> int:
    """Execute notebooks in order and say how long each took; the exit code, PART or INTERRUPTED."""
    total, part = len(notebooks(optional=chosen[-1] not in notebooks())), str(parameters["part"])
    hosts = split_hosts(str(parameters["hosts"]))
    for path in chosen:
        number, start = int(path.stem[:2]), time.monotonic()
        print(f"[{number}/{total}] {path.stem} ...", flush=True)
        try:
            if len(hosts) > 1 and trains(path):
                parts.run_parts(path, hosts, str(parameters["shell"]), name_run(run, parameters))
            run_notebook(path, run, parameters)
        except (Exception, KeyboardInterrupt) as error:  # whatever a cell raised: its notebook shows it
            if interruption.signal:  # an error then comes of the kernel's end
                print(interruption.describe(f" in {path.stem}"), file=sys.stderr)
                return INTERRUPTED
            kind, text = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", error)
            if kind == PartDone.__name__:
                print(f"[{number}/{total}] {path.stem}: {text}", flush=True)
                return PART
            print(f"{kind}: {text}", file=sys.stderr)
            place = run.notebooks / copy_name(path, part)
            print(f"[{number}/{total}] {path.stem} failed; its notebook lies in {place}", file=sys.stderr)
            return REFUSED if kind in INPUT_ERRORS else FAILED
        print(f"[{number}/{total}] {path.stem} ... {time.monotonic() - start:.0f} s", flush=True)
    return DONE


def trains(path: Path) -> bool:
    """Whether a notebook has trainings that machines may share: those that take the parameter `part`."""
    import papermill

    return "part" in papermill.inspect_notebook(str(path))


def name_run(run: paths.Run, parameters: dict[str, object]) -> list[str]:
    """The pipeline's arguments that name a run which has begun."""
    models = ["--models", str(parameters["models"])] if parameters["models"] else []
    return [f"--run={run.name}", "--profile", str(parameters["profile"]), *models]


def choose_notebooks(first: str | None, only: str | None) -> list[Path]:
    """The notebooks from a number on, or that number alone."""
    number = (only or first or "01").zfill(2)
    if only:
        return [path for path in notebooks(optional=True) if path.stem[:2] == number]
    return [path for path in notebooks() if path.stem[:2] >= number]


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
    report.write_report(run, notebooks(optional=True))
    submission = run.submission / "submit.zip"
    last = chosen[-1] == notebooks()[-1]
    if last:
        show_scores(run)
    print(f"\nreport:     {run.report}")
    print(f"all runs:   {paths.index_page()}")
    if last and submission.exists():
        print(f"submission: {submission}")


def run(options: argparse.Namespace, interruption: Interruption) -> int:
    """Prepare a run, execute its notebooks and show what they have left; the exit code. Raises InputError."""
    prepared = prepare(options)
    if prepared is None:
        return DONE
    chosen = choose_notebooks(options.first, options.only)
    code = run_notebooks(chosen, prepared.run, prepared.parameters, interruption)
    if code == DONE:
        show_results(prepared.run, chosen)
    elif code == FAILED:
        report.write_report(prepared.run, notebooks(optional=True), [str(finding) for finding in doctor.examine()])
    return {PART: DONE, INTERRUPTED: FAILED}.get(code, code)


def main(arguments: list[str]) -> int:
    accept_all_text()
    options = parse(arguments)
    if options.setup:
        return DONE
    if options.doctor:
        return doctor.main()
    with heed_signals() as interruption:
        try:
            return run(options, interruption)
        except InputError as error:
            print(error, file=sys.stderr)
            return REFUSED
        except KeyboardInterrupt:
            print(interruption.describe(), file=sys.stderr)
            return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
