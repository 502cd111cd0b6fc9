"""640,000 rows, as the competition has them, through cleaning, folds, submission and check: in less than 3 GB."""

import sys
from pathlib import Path

import pytest
from conftest import Shell, is_long_run

pytestmark = pytest.mark.skipif(not is_long_run(), reason="takes minutes: --long")
ROWS, MOST = 320_000, 3e9  # training rows a task; bytes
# Runs a command and prints the largest memory of its processes together, in bytes; a page that several share counts once.
MEASURE = """
import contextlib, psutil, subprocess, sys, time
call, peak = psutil.Popen(sys.argv[1:], stdin=subprocess.DEVNULL), 0
while call.poll() is None:
    held = 0
    with contextlib.suppress(psutil.Error):
        for process in [call, *call.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                held += process.memory_full_info().pss
    peak = max(peak, held)
    time.sleep(0.05)
print("peak", peak)
sys.exit(call.returncode)
"""
SUBMIT = """
import sys
from pathlib import Path
from utils import submit
from utils.data.raw import read_folder
data, folder = Path(sys.argv[1]), Path(sys.argv[2])
tables = read_folder(data).tables
answers = {task: tables["test", task].assign(prediction=lambda table: table["id"] % 2) for task in ("QC", "QI")}
submit.write_submission(answers, data, folder)
submit.require_valid(folder, data)
print("rows", sum(map(len, answers.values())))
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, shell: Shell) -> Path:
    """A data folder of so many rows."""
    folder = tmp_path_factory.mktemp("many")
    assert shell("python", "-m", "utils.sample", "--rows", ROWS, folder).returncode == 0
    return folder


def measure(shell: Shell, *command: object) -> float:
    """The largest memory of a command's processes, in bytes. Raises AssertionError where it fails."""
    done = shell("python", "-c", MEASURE, *command)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    peak = float(done.stdout.rsplit("peak ", 1)[1])
    print(f"{' '.join(map(str, command))[:80]}: {peak / 1e9:.2f} GB")
    return peak


def test_cleaning_and_folds(many: Path, shell: Shell) -> None:
    """Each number alone; the first notebook draws figures of all rows, too."""
    call = ("./run_all.sh", "--profile", "laptop", "--run", "many", "--data", many)
    assert max(measure(shell, *call, "--only", number) for number in ("01", "02", "03")) < MOST


def test_submission_and_check(many: Path, tmp_path: Path, shell: Shell) -> None:
    """As many rows to answer as there are to train on."""
    data = tmp_path / "questions"
    data.mkdir()
    for task in ("QC", "QI"):
        (data / f"train_{task}.txt").symlink_to(many / f"train_{task}.txt")
        (data / f"test_{task}.txt").symlink_to(many / f"train_{task}.txt")
    assert measure(shell, sys.executable, "-c", SUBMIT, data, tmp_path / "answers") < MOST
