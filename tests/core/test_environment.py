"""A copied or moved folder: its environment starts its own interpreter and imports its own package, not the first folder's."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from utils.core import environment

FINDER = """import sys
from importlib.util import spec_from_file_location
MAPPING: dict[str, str] = {mapping!r}
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return spec_from_file_location(name, MAPPING[name] + "/__init__.py") if name in MAPPING else None
def install():
    sys.meta_path.append(Finder)
"""
PARTS = (
    "utils/__init__.py",
    "utils/core/__init__.py",
    *(f"utils/core/{n}.py" for n in ("errors", "paths", "files", "environment")),
)


def site_of(folder: Path) -> Path:
    return next((folder / ".venv" / "lib").glob("python*/site-packages"))


def python_of(folder: Path) -> Path:
    return folder / ".venv" / "bin" / "python"


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A project with an environment in which it is installed as pip does it, and two scripts."""
    folder = tmp_path / "first folder"
    for name in PARTS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(environment.ROOT / name, folder / name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    site, record = site_of(folder), f"{environment.NAME}-0.1.0.dist-info"
    module = f"__editable___{environment.NAME}_0_1_0_finder"
    (site / f"{module}.py").write_text(FINDER.format(mapping={"utils": str(folder / "utils")}))
    (site / f"__editable__.{environment.NAME}-0.1.0.pth").write_text(f"import {module}; {module}.install()")
    (site / record).mkdir()
    (site / record / "direct_url.json").write_text(json.dumps({"url": folder.as_uri()}))
    for name, head in (
        ("short", f"#!{tmp_path}/other/.venv/bin/python3\n"),
        ("long", f"#!/bin/sh\n'''exec' \"{python_of(folder)}\" \"$0\" \"$@\"\n' '''\n"),
        ("foreign", "#!/usr/bin/python3\n"),
    ):
        script = folder / ".venv" / "bin" / name
        script.write_text(head + "import sys\nprint(sys.prefix, sys.argv[1:])\n")
        script.chmod(0o755)
    return folder


def heal(folder: Path) -> subprocess.CompletedProcess:
    """The command, as the set-up calls it."""
    return subprocess.run(
        [".venv/bin/python", "-m", "utils.core.environment"], cwd=folder, capture_output=True, text=True, check=False
    )


def imported(folder: Path) -> str:
    """Where the environment imports the project from, in a kernel's place."""
    code = "import utils.core.paths as p; print(p.ROOT)"
    done = subprocess.run([python_of(folder), "-I", "-c", code], cwd="/", capture_output=True, text=True, check=True)
    return done.stdout.strip()


def prefix(folder: Path, script: str) -> str:
    """The environment in which a script runs."""
    command = [folder / ".venv" / "bin" / script, "a b"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("name", ["second", 'it\'s a "{second}" $HOME ü 数', "deep/" * 50 + "second"])
@pytest.mark.parametrize("moved", [False, True], ids=["copied", "moved"])
def test_the_environment_of_another_place_is_made_its_own(first: Path, tmp_path: Path, name: str, moved: bool) -> None:
    second = tmp_path / name
    second.parent.mkdir(parents=True, exist_ok=True)
    first.rename(second) if moved else shutil.copytree(first, second, symlinks=True)
    if not moved:
        assert imported(second) == str(first)  # what would run in silence
    healed = heal(second)
    assert healed.returncode == 0 and healed.stdout.startswith(
        f"set-up: .venv was copied or moved with its folder (from {first})"
    )
    assert imported(second) == str(second)
    for script in ("short", "long"):
        assert prefix(second, script) == f"{second}/.venv ['a b']"
    assert (second / ".venv" / "bin" / "foreign").read_text().startswith("#!/usr/bin/python3\n")
    assert str(second) in (second / ".venv" / "bin" / "activate").read_text()
    again = heal(second)
    assert (again.returncode, again.stdout) == (0, "")
    if not moved:
        assert imported(first) == str(first)


def test_a_folder_of_its_own_is_left_alone_and_so_is_a_shared_environment(first: Path, tmp_path: Path) -> None:
    heal(first)
    assert heal(first).stdout == ""
    shared = tmp_path / "shared"
    shutil.copytree(first / "utils", shared / "utils")
    (shared / ".venv").symlink_to(first / ".venv")
    before = {path: path.read_bytes() for path in (first / ".venv" / "bin").iterdir() if not path.is_symlink()}
    healed = heal(shared)
    assert (healed.returncode, healed.stdout) == (0, "") and imported(shared) == str(first)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("text", [None, "{", "[]", '{"url": 3}'])
def test_without_an_installation_one_is_asked_for(first: Path, text: str | None) -> None:
    record = next(site_of(first).glob("*.dist-info/direct_url.json"))
    record.unlink() if text is None else record.write_text(text)
    assert heal(first).returncode == 1


def test_what_cannot_be_healed_is_installed_again(first: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    shutil.copytree(first, second, symlinks=True)
    next(site_of(second).glob("__editable__*.pth")).write_text("")
    assert heal(second).returncode == 1
