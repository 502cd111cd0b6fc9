"""The environment of this folder, `.venv`: whether it is the folder's own, and what makes that of a copied or moved folder its own.

python -m utils.core.environment      a part of the set-up: exit code 0 where `.venv` is this folder's, 1 where it must be installed again
"""

import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from urllib.parse import unquote, urlsplit
from venv import EnvBuilder

from utils.core.files import write_text, write_with
from utils.core.paths import ROOT

NAME = "product_search_relevance"  # the project's distribution, as its files are named
# The head of an installed script: its interpreter, or a shell that starts one whose path is long or holds spaces.
_HEAD = re.compile(rb"""#!([^\n]*/python[\d.]*)\n|#!/bin/sh\n'''exec' "([^\n]*/python[\d.]*)" "\$0" "\$@"\n' '''\n""")
LONGEST_HEAD = 127  # bytes of a first line that every Linux reads


def find_editable(site: Path) -> Path | None:
    """The folder from which the environment with this `site-packages` imports the project; None where it is not installed."""
    for record in site.glob(f"{NAME}-*.dist-info/direct_url.json"):
        try:
            return Path(unquote(urlsplit(json.loads(record.read_text("utf-8"))["url"]).path))
        except (OSError, ValueError, KeyError, TypeError):
            return None
    return None


def belongs(root: Path, installed: Path) -> bool:
    """Whether a folder's `.venv` was made for it: the one of the folder that it imports is the same, on a shared disk or through a link."""
    try:
        return (installed / ".venv").samefile(root / ".venv")
    except OSError:
        return False


def heal_scripts(venv: Path) -> int:
    """Let the environment's scripts start its own interpreter, not that of the folder they were copied from; how many did not."""
    python, count = f"{venv}/bin/python", 0
    quoted = re.sub(r'(["$`\\])', r"\\\1", python)
    plain = len(python.encode()) + 3 < LONGEST_HEAD and not re.search(r"\s", python)
    head = (f"#!{python}\n" if plain else f"#!/bin/sh\n'''exec' \"{quoted}\" \"$0\" \"$@\"\n' '''\n").encode()
    for script in sorted((venv / "bin").iterdir()):
        if script.is_symlink() or not script.is_file():
            continue
        with script.open("rb") as file:
            match = _HEAD.match(file.read(10_000))
        if match is None or b"/.venv/bin/" not in match[0] or match[0] == head:
            continue
        mode, body = script.stat().st_mode, script.read_bytes()[match.end() :]
        write_with(script, lambda temporary, body=body: temporary.write_bytes(head + body))
        script.chmod(mode)
        count += 1
    if count:  # then those that activate it name the other folder too
        builder = EnvBuilder()
        builder.setup_scripts(builder.ensure_directories(str(venv)))
    return count


def heal_editable(root: Path, installed: Path, site: Path) -> None:
    """Let the environment import the project from `root` instead of the folder where it was installed."""
    pairs = [(repr(str(installed / "utils")), repr(str(root / "utils"))), (str(installed), str(root))]
    for path in site.glob(f"__editable__*{NAME}*"):
        text = path.read_text("utf-8")
        # A finder holds the folder as a literal of Python, a path file as it is.
        old, new = pairs[0] if path.suffix == ".py" else pairs[1]
        write_text(path, text.replace(old, new))
    for record in site.glob(f"{NAME}-*.dist-info/direct_url.json"):
        write_text(record, json.dumps({"dir_info": {"editable": True}, "url": root.as_uri()}))


def imports_from(root: Path, python: Path) -> bool:
    """Whether an interpreter imports the project from a folder, wherever it is started and whatever its variables say."""
    code = "import utils.core.paths; print(utils.core.paths.ROOT)"
    done = subprocess.run([python, "-I", "-X", "utf8", "-c", code], cwd="/", capture_output=True, check=False)
    return done.returncode == 0 and done.stdout.decode("utf-8", "replace").rstrip("\n") == str(root)


def main() -> int:
    """The command: heal what a copy or a move has broken. Exit code 0, or 1 where an installation is needed."""
    site, venv = Path(sysconfig.get_path("purelib")), (ROOT / ".venv").resolve()
    installed = find_editable(site)
    if installed is None:
        return 1
    if heal_scripts(venv) or not belongs(ROOT, installed):
        print(f"set-up: .venv was copied or moved with its folder (from {installed}); it is made this folder's own")
    if belongs(ROOT, installed):
        return 0
    heal_editable(ROOT, installed, site)
    return 0 if imports_from(ROOT, venv / "bin" / "python") else 1


if __name__ == "__main__":
    sys.exit(main())
