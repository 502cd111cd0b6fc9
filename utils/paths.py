"""Where each file of the project and of a run lies. No input or output happens here."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RAW = ROOT / "data" / "raw"
SOURCES = ROOT / "data" / "sample"
SAMPLE = ROOT / "data" / "generated" / "sample"
REHEARSAL = ROOT / "data" / "generated" / "rehearsal"
WEIGHTS = ROOT / "data" / "weights"
TRANSLATIONS = ROOT / "data" / "cache" / "translations.sqlite"
TOKENS = ROOT / "data" / "cache" / "tokens"
NOTEBOOKS = ROOT / "notebooks"
SUBMISSIONS = ROOT / "submissions"


@dataclass(frozen=True)
class Run:
    """The files of one run; the first two digits of a folder name the notebook that alone writes it."""

    name: str

    @property
    def root(self) -> Path:
        return ROOT / "runs" / self.name

    @property
    def eda(self) -> Path:
        return self.root / "01_eda"

    @property
    def clean(self) -> Path:
        return self.root / "02_clean"

    @property
    def folds(self) -> Path:
        return self.root / "03_folds"

    @property
    def bakeoff(self) -> Path:
        return self.root / "04_bakeoff"

    @property
    def tapt(self) -> Path:
        return self.root / "05_tapt"

    @property
    def final(self) -> Path:
        return self.root / "06_final"

    @property
    def ensemble(self) -> Path:
        return self.root / "07_ensemble"

    @property
    def ensemble_file(self) -> Path:
        return self.ensemble / "ensemble.json"

    @property
    def notebooks(self) -> Path:
        return self.root / "notebooks"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def settings(self) -> Path:
        return self.root / "run.json"

    @property
    def submission(self) -> Path:
        return SUBMISSIONS / self.name

    def clean_table(self, split: str, task: str) -> Path:
        return self.clean / f"{split}_{task}.parquet"

    def fold_table(self, task: str) -> Path:
        return self.folds / f"{task}.parquet"


def raw_file(folder: Path, split: str, task: str) -> Path:
    """The competition's file of a split and a task, in a data folder."""
    return folder / f"{split}_{task}.txt"


def solution_file(folder: Path, split: str, task: str) -> Path:
    """The file with a split's labels, where a data folder has one."""
    return folder / "solution" / f"{split}_{task}.txt"
