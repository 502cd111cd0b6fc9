"""Paths of the files of the project and of a run. Nothing is read or written here."""

import re
from dataclasses import dataclass
from pathlib import Path

from utils.core.errors import SettingsError

ROOT = Path(__file__).resolve().parents[2]
RAW = ROOT / "data" / "raw"
SOURCES = ROOT / "data" / "sample"
SAMPLE = ROOT / "data" / "generated" / "sample"
REHEARSAL = ROOT / "data" / "generated" / "rehearsal"
WEIGHTS = ROOT / "data" / "weights"
CACHES = ROOT / "data" / "cache"
TOKENS = CACHES / "tokens"
SUSPECTS = CACHES / "suspects"
NOTEBOOKS = ROOT / "notebooks"
SUBMISSIONS = ROOT / "submissions"
LONGEST_NAME = 100  # of a run: it is a folder's name, and a part of others
TAKEN = ("figures",)  # folders of `submissions` that are no run's


def name_problem(name: str) -> str:
    """Why a text cannot name a run and what to use, or the empty text. No such name leaves its folder or formats a page."""
    if not re.fullmatch(rf"[A-Za-z0-9_-]{{1,{LONGEST_NAME}}}", name):
        return f"use letters, digits, - and _, at most {LONGEST_NAME}"
    return f"submissions/{name} holds something else; use another name" if name in TAKEN else ""


@dataclass(frozen=True)
class Run:
    """The files of one run; a folder's first two digits are the number of the only notebook that writes to it.

    Raises SettingsError for a name that is none, whoever gives it: a command, a notebook's parameters, a job file.
    """

    name: str

    def __post_init__(self) -> None:
        if problem := name_problem(self.name):
            raise SettingsError(f"run {self.name[:LONGEST_NAME]!r}: {problem}")

    @property
    def root(self) -> Path:
        """Folder of the whole run."""
        return ROOT / "runs" / self.name

    @property
    def eda(self) -> Path:
        """Folder of notebook 01."""
        return self.root / "01_eda"

    @property
    def clean(self) -> Path:
        """Folder of notebook 02: the clean tables."""
        return self.root / "02_clean"

    @property
    def folds(self) -> Path:
        """Folder of notebook 03: the fold tables."""
        return self.root / "03_folds"

    @property
    def category_folds(self) -> Path:
        """The fold of each of QC's category groups, for the schemes that go by them: `category_group, category_fold`."""
        return self.folds / "category_folds.parquet"

    @property
    def bakeoff(self) -> Path:
        """Folder of notebook 04."""
        return self.root / "04_bakeoff"

    @property
    def tapt(self) -> Path:
        """Folder of notebook 05."""
        return self.root / "05_tapt"

    @property
    def final(self) -> Path:
        """Folder of notebook 06."""
        return self.root / "06_final"

    def held_out(self, task: str, recipe: str) -> Path:
        """Folder of a final recipe's networks that each never saw one language."""
        return self.final / task / recipe / "held-out"

    @property
    def ensemble(self) -> Path:
        """Folder of notebook 07."""
        return self.root / "07_ensemble"

    @property
    def ensemble_file(self) -> Path:
        """The ensembles of all tasks, as notebook 07 saves them."""
        return self.ensemble / "ensemble.json"

    @property
    def ablations(self) -> Path:
        """Folder of notebook 08."""
        return self.root / "08_ablations"

    @property
    def notebooks(self) -> Path:
        """Folder of the executed notebooks."""
        return self.root / "notebooks"

    @property
    def report(self) -> Path:
        """The HTML page with score table, figures and notebooks."""
        return self.root / "report.html"

    @property
    def settings(self) -> Path:
        """What the run was started with; see `settings.Settings`."""
        return self.root / "run.json"

    def lock(self, part: str = "") -> Path:
        """The file that a call locks while it works on the run, or on its part `K/N`; `parts`: the one that keeps both apart.

        It lies beside the run's folder, which a call that is refused does not make.
        """
        return self.root.with_name(f".{self.name}{f'.{part}'.replace('/', 'of') if part else ''}.lock")

    @property
    def profile(self) -> Path:
        """The fields of the profile that the run was started with; see `profiles.bind`."""
        return self.root / "profile.json"

    @property
    def submission(self) -> Path:
        """Folder of the run's submission."""
        return SUBMISSIONS / self.name

    def clean_table(self, split: str, task: str) -> Path:
        """The clean table of a split and a task: `schema.CLEAN_COLUMNS`."""
        return self.clean / f"{split}_{task}.parquet"

    def expanded_table(self, task: str) -> Path:
        """Training queries in other languages, where a recipe asks for them: `expansion.COLUMNS`."""
        return self.clean / f"expanded_{task}.parquet"

    def fold_table(self, task: str) -> Path:
        """The folds of a task's training rows: `schema.FOLD_COLUMNS`."""
        return self.folds / f"{task}.parquet"


def index_page() -> Path:
    """The page that lays all runs side by side; every folder beside it is a run."""
    return ROOT / "runs" / "index.html"


def raw_file(folder: Path, split: str, task: str) -> Path:
    """The competition's file of a split and a task in a data folder."""
    return folder / f"{split}_{task}.txt"


def solution_folder(folder: Path) -> Path:
    """The folder of a data folder's solutions, which need not be there."""
    return folder / "solution"


def solution_file(folder: Path, split: str, task: str) -> Path:
    """The file with the labels of a dev or test split; a data folder need not have it."""
    return solution_folder(folder) / f"{split}_{task}.txt"


def translations(name: str) -> Path:
    """The cache of translations that a profile names."""
    return ROOT / "data" / "cache" / f"{name}.sqlite"
