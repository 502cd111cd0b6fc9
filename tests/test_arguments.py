"""The command `run_all.sh`: help and wrong arguments are answered before anything is set up, from wherever it is called."""

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from utils import arguments


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which nothing was ever set up, and a link to its command from elsewhere."""
    folder = tmp_path_factory.mktemp("bare")
    for name in ("utils", "notebooks", "data/sample"):
        shutil.copytree(ROOT / name, folder / "project" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "run_all.sh", folder / "project")
    (folder / "link").symlink_to(folder / "project" / "run_all.sh")
    return folder


def call(bare: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Through the link, from another folder."""
    return subprocess.run([bare / "link", *arguments], cwd=bare, capture_output=True, text=True, check=False)


def test_help_needs_no_environment(bare: Path) -> None:
    process = call(bare, "--help")
    assert process.returncode == 0 and "--set NAME.FIELD=VALUE" in process.stdout and "set-up" not in process.stdout
    assert not (bare / "project" / ".venv").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--profil", "laptp"], "invalid choice: 'laptp'"),
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["--run", "a/b"], "use letters, digits, - and _"),
        (["--rows", "-5"], "use 0 for all rows, or a positive number"),
        (["--data", "nowhere"], "nowhere: no such folder"),
        (["--only", "09"], "use one of 01 02 03"),
        (["--from", "02", "--only", "03"], "not allowed with argument"),
        (["--set", "e5-smal.epochs=2"], "did you mean e5-small"),
        (["--set", "e5-small.epochs=many"], "'many' is not a number"),
        (["--profile", "smoke", "--candidates", "qwen3-8b"], "has no candidate qwen3-8b"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_set_up(bare: Path, words: list[str], reason: str) -> None:
    process = call(bare, *words)
    assert process.returncode == 2 and reason in process.stderr, process.stderr
    assert not (bare / "project" / ".venv").exists()


def test_short_options_are_fields_of_the_profile() -> None:
    parsed = arguments.parse(["--rows", "500", "--candidates", "e5-small", "--set", "e5-small.epochs=2"])
    assert parsed.overrides == "profile.rows=500 profile.candidates=e5-small e5-small.epochs=2"
    assert arguments.parse([]).overrides == ""


def test_an_override_is_checked_against_the_profiles_that_may_be_chosen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ["--set", "gemma-3-12b.epochs=1"]
    monkeypatch.setattr(arguments, "has_raw", lambda: True)  # then a large GPU means a100
    assert arguments.parse(words).overrides == "gemma-3-12b.epochs=1"
    for other in ([*words, "--profile", "laptop"], [*words, "--data", str(tmp_path)]):
        with pytest.raises(SystemExit):
            arguments.parse(other)
