"""The command `run_all.sh`: help and wrong arguments are answered before anything is set up, from wherever it is called."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from utils import arguments, export, profiles, score, submit
from utils.core import paths, recipe
from utils.core.errors import ProfileError, SettingsError


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which nothing was ever set up, and a link to its command from elsewhere."""
    folder = tmp_path_factory.mktemp("bare")
    for name in ("utils", "notebooks", "data/sample"):
        shutil.copytree(ROOT / name, folder / "project" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("run_all.sh", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / "project")
    (folder / "link").symlink_to(folder / "project" / "run_all.sh")
    return folder


def call(bare: Path, *arguments: object, **variables: str) -> subprocess.CompletedProcess:
    """Through the link, from another folder."""
    words = [bare / "link", *map(str, arguments)]
    environment = os.environ | variables
    return subprocess.run(words, cwd=bare, env=environment, capture_output=True, text=True, check=False)


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
        (["--run", "../a"], "use letters, digits, - and _"),
        (["--rows", "-5"], "use 0 for all rows, or a positive number"),
        (["--data", "nowhere"], "nowhere: no such folder"),
        (["--only", "09"], "use one of 01 02 03"),
        (["--part", "0/2"], "write K/N, as in 1/2"),
        (["--part", "3/2"], "there are 2 parts only"),
        (["--part", "1/2", "--hosts", "a,b"], "--hosts starts the parts by itself"),
        (["--rehearse", "laptop"], "invalid choice: 'laptop'"),
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


# Names that would leave their folder, be it or another's, be none, or be too long for one.
NO_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "/tmp/x",
    "a\\b",
    "a\n",
    "a b",
    "a.b",
    "ü",
    "~",
    "x" * 101,
    "figures",
    "<b>",
    "*a*",
    "=1",
]
NAMES = ["-", "_", "laptop", "notebooks", "index", "x" * 100]


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_is_none_is_refused_by_every_command_and_by_the_run_itself(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A notebook that is opened by hand makes the run of its parameters, whatever they say."""
    with pytest.raises(SettingsError, match="use "):
        paths.Run(name)
    commands = {
        arguments.parse: [],
        submit.main: ["--check"],
        score.main: ["--task", "QC"],
        export.main: ["--task", "QC", "x"],
    }
    for command, others in commands.items():
        words = [f"--run={name}", *others]
        monkeypatch.setattr(sys, "argv", ["command", *words])
        with pytest.raises(SystemExit) as ended:
            command(*([words] if command is arguments.parse else []))
        message = capsys.readouterr().err
        assert ended.value.code == 2 and "argument --run" in message and "use " in message, message


@pytest.mark.parametrize("name", NAMES)
def test_any_other_name_is_a_folder_of_its_own(name: str) -> None:
    assert arguments.parse([f"--run={name}"]).run == name
    run = paths.Run(name)
    assert run.root.resolve().parent == (paths.ROOT / "runs").resolve() and run.submission.parent == paths.SUBMISSIONS


@pytest.mark.parametrize(
    "name", [name for name in NO_NAMES if name not in ("a.b", "figures")] + ["-a", "a-", "_a_", ".a"]
)
def test_a_recipes_name_leaves_no_folder_and_formats_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever names it: a profile's file, the JSON beside a training, the export command."""
    with pytest.raises(ProfileError, match="use letters"):
        recipe.Recipe(name, "qwen")
    recipe.save(recipe.Recipe("qwen3-0.6b", "qwen"), tmp_path / "recipe.json")
    content = json.loads((tmp_path / "recipe.json").read_text())
    (tmp_path / "recipe.json").write_text(json.dumps(content | {"name": name}))
    with pytest.raises(ProfileError, match="use letters"):
        recipe.load(tmp_path / "recipe.json")
    monkeypatch.setattr(sys, "argv", ["export", "--run=a", "--task=QC", f"--recipe={name}", "x"])
    with pytest.raises(SystemExit, match="2"):
        export.main()
    assert "argument --recipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        "laptop.cache=../../x", "laptop.cache=/tmp/x", "laptop.cache=..", "laptop.translation=../x", "laptop.retranslation=../x",
        "e5-small.model=../x", "e5-small.name=../x", "../x.rows=1", "final.../x.rows=1", "laptop.comparison=../x", "laptop.name=../x",
    ],
)  # fmt: skip
def test_no_override_names_a_path(change: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        arguments.parse(["--profile", "laptop", "--set", change])
    assert "../x" in capsys.readouterr().err or change.startswith("laptop.cache")
    with pytest.raises(ProfileError):
        profiles.load("laptop", change)  # as notebook 01 does with its parameters


@pytest.mark.parametrize("name", ["../smoke", "smoke\n", "", "."])
def test_no_profile_is_a_path(name: str) -> None:
    with pytest.raises(ProfileError, match="unknown profile"):
        profiles.load(name)


@pytest.mark.parametrize("part", ["../1", "1/2/../..", "1/2\n", "1/٢", " 1/2"])
def test_no_part_is_a_path(part: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        arguments.parse(["--part", part])


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


ODD = 'it\'s "a" {folder} $HOME --help -h * ü 数'


def test_folders_of_any_name_are_taken(tmp_path: Path) -> None:
    folder = tmp_path / ODD
    folder.mkdir()
    parsed = arguments.parse(["--data", str(folder), "--models", str(folder)])
    assert (parsed.data, parsed.models) == (str(folder), str(folder))


@pytest.mark.parametrize("name", ["~no-such-user/x", "a\0b", "x" * 5000])
def test_a_name_that_no_folder_has_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        arguments.parse(["--models", name])
    assert "no such folder" in capsys.readouterr().err


def test_a_name_that_no_file_can_store_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        arguments.parse(["--data", os.fsdecode(b"caf\xe9")])
    assert "is not UTF-8; rename the file or folder" in capsys.readouterr().err


def test_a_terminal_of_few_characters_gets_every_message(bare: Path) -> None:
    for variables in ({"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}):
        process = call(bare, "--data", "数", **variables)
        assert process.returncode == 2 and "no such folder" in process.stderr, process.stderr
        assert call(bare, "--help", **variables).returncode == 0


# -- the set-up, with a script in the interpreter's place that notes what it is asked to do ------------------------------

STUB = """#!/usr/bin/env bash
case "$*" in
    *import*) exec {python} "$@" ;;
    *utils.arguments*) exit 0 ;;
    *utils.pipeline*) printf '%s\\0' "$@" >{log}.arguments; env -0 >{log}.environment ;;
esac
echo "$*" >>{log}
case "$*" in
    *"-m venv --clear .venv") rm -rf .venv; mkdir -p .venv/bin .venv/lib/python3/site-packages; cp "$0" .venv/bin/python ;;
    *"-m pip --version") test -e .venv/pip ;;
    *"-m pip install"*) touch .venv/pip; test ! -e {log}.offline ;;
    *utils.core.environment) test ! -e {log}.elsewhere ;;
esac
"""
NEW = ["venv", "pip install", "utils.core.environment", "utils.models.weights", "utils.pipeline"]
READY = ["utils.core.environment", "utils.pipeline"]


class SetUp:
    """A project whose interpreter is the stub: what a call asks of it, and how the call ends."""

    def __init__(self, bare: Path) -> None:
        self.bare, self.project, self.log = bare, bare / "project", bare / "log"
        self.stub = bare / "a python"
        self.stub.write_text(STUB.format(python=sys.executable, log=self.log))
        self.stub.chmod(0o755)

    def __call__(self, *words: object, **variables: str) -> tuple[list[str], subprocess.CompletedProcess]:
        self.log.unlink(missing_ok=True)
        process = call(self.bare, *words, PYTHON=str(self.stub), **variables)
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        steps = [next((step for step in NEW if step in line), "") for line in lines]
        return [step for step in steps if step], process


@pytest.fixture
def set_up(bare: Path) -> Iterator[SetUp]:
    yield SetUp(bare)
    shutil.rmtree(bare / "project" / ".venv", ignore_errors=True)
    for path in bare.glob("log*"):
        path.unlink()


def test_a_second_call_sets_nothing_up(set_up: SetUp) -> None:
    steps, process = set_up()
    assert steps == NEW and process.returncode == 0 and "set-up: done" in process.stdout, process.stderr
    steps, process = set_up()
    assert steps == READY and process.stdout == ""


def test_an_interrupted_set_up_goes_on_where_it_stopped(set_up: SetUp) -> None:
    """Without pip, without a network, with half of a package: each heals at the next call."""
    python = set_up.project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    shutil.copy(set_up.stub, python)
    offline = set_up.log.with_name("log.offline")
    offline.touch()
    steps, process = set_up()
    assert steps == ["venv", "pip install"] and process.returncode == 1
    assert "set-up: not finished, the reason stands above" in process.stderr
    half, whole = (set_up.project / ".venv" / "lib" / "python3" / "site-packages" / f"{n}.dist-info" for n in "ab")
    for folder in (half, whole):
        folder.mkdir()
        (folder / "METADATA").touch()
    (whole / "RECORD").touch()
    offline.unlink()
    steps, process = set_up()
    assert steps == NEW[1:] and process.returncode == 0 and whole.exists() and not half.exists()


def test_a_dead_interpreter_is_replaced(set_up: SetUp) -> None:
    set_up()
    python = set_up.project / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/no/such/python")
    assert set_up()[0] == NEW
    shutil.rmtree(set_up.project / ".venv")
    (set_up.project / ".venv").symlink_to("/no/such/folder")
    assert set_up()[0] == NEW


def test_what_cannot_be_made_its_own_is_installed_again(set_up: SetUp) -> None:
    set_up()
    elsewhere = set_up.log.with_name("log.elsewhere")
    elsewhere.touch()
    steps, process = set_up()
    assert (
        steps == ["utils.core.environment"] * 2 + ["pip install", "utils.core.environment"] and process.returncode == 1
    )
    assert not (set_up.project / ".venv" / "requirements.sha256").exists()
    elsewhere.unlink()
    assert set_up()[0] == NEW[1:]


def test_every_word_reaches_the_pipeline_and_the_folders_own_package_comes_first(set_up: SetUp, tmp_path: Path) -> None:
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils" / "__init__.py").write_text("raise ImportError('the wrong package')")
    (tmp_path / "other.py").write_text("")
    words = ["--data", ODD, "--models", "", "--set", "a.b=c", "--run", "x\ny"]
    variables = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONIOENCODING": "ascii",
        "PYTHONHOME": "/none",
        "JUPYTER_PATH": "/none",
    }
    steps, process = set_up(*words, **variables)
    assert steps == NEW and process.returncode == 0, process.stderr
    passed = set_up.log.with_name("log.arguments").read_text().split("\0")[:-1]
    assert passed == ["-m", "utils.pipeline", *words]
    lines = set_up.log.with_name("log.environment").read_text().split("\0")[:-1]
    environment = dict(line.split("=", 1) for line in lines)
    assert environment["PYTHONUTF8"] == "1" and not {"PYTHONIOENCODING", "PYTHONHOME", "JUPYTER_PATH"} & set(
        environment
    )
    assert environment["IPYTHONDIR"] == str(set_up.project / "data" / "cache" / "ipython")
    code = "import other, utils, utils.core; print(utils.__file__)"
    kernel = subprocess.run(
        [sys.executable, "-c", code], cwd=set_up.project / "notebooks", env=environment, capture_output=True, text=True, check=True
    )  # fmt: skip
    assert kernel.stdout.strip() == str(set_up.project / "utils" / "__init__.py")


def test_two_calls_at_once_set_up_once(set_up: SetUp) -> None:
    environment = os.environ | {"PYTHON": str(set_up.stub)}
    calls = [subprocess.Popen([set_up.bare / "link"], env=environment, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(60) for process in calls] == [0, 0]
    assert set_up.log.read_text().count("-m pip install") == 1


def test_no_fitting_python_is_told(bare: Path, tmp_path: Path) -> None:
    for name in ("bash", "dirname", "readlink", "cat", "env"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    process = call(bare, PATH=str(tmp_path), PYTHON="python-that-is-none")
    assert process.returncode == 2 and "Python 3.11 or newer" in process.stderr and "name it: PYTHON=" in process.stderr
    assert stat.S_ISDIR((bare / "project").stat().st_mode) and not (bare / "project" / ".venv").exists()
