"""The house keeps its floors: a module imports from lower floors only, so no circle can form."""

import ast
from pathlib import Path

import pytest

from utils.paths import ROOT

FLOORS = (
    {"paths", "schema", "files", "metrics", "progress", "attention", "ranks", "shapes"},
    {"text", "recipe", "settings", "lexicon", "plots", "data", "blend", "packages", "encoders", "decoders", "launch"},
    {"zoo", "engines", "synthesis", "taxonomy", "clean", "submit", "baselines", "tokens", "devices"},
    {"profiles", "weights", "sample", "eda", "folds", "leaderboard", "packing"},
    {"models", "seq2seq", "rehearsal"},
    {"forward", "report", "cost", "translate", "export"},
    {"train", "score", "plan"},
    {"fitting"},
    {"crossfit", "worker"},
    {"tapt", "ensemble"},
    {"road"},
)
MODULES = sorted(path for path in (ROOT / "utils").glob("*.py") if path.stem != "__init__")


def imports(path: Path) -> set[str]:
    """The modules of the package that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "utils":
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("utils."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("utils.")}
    return found


def floor(module: str) -> int:
    return next(number for number, modules in enumerate(FLOORS) if module in modules)


def test_every_module_has_one_floor() -> None:
    assert sorted(path.stem for path in MODULES) == sorted(module for modules in FLOORS for module in modules)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_go_down_only(path: Path) -> None:
    above = {module for module in imports(path) if floor(module) >= floor(path.stem)}
    assert not above, f"{path.stem} imports {above} from its own floor or above"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_environment_no_pickle_no_remote_code(path: Path) -> None:
    text = path.read_text("utf-8")
    forbidden = ["os.environ", "getenv", "import pickle", "torch.load", "trust_remote_code", "joblib"]
    if path.stem == "launch":  # torchrun tells a rank its number in no other way
        forbidden.remove("os.environ")
    assert not [word for word in forbidden if word in text]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_everything_public_is_typed_and_told(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree), f"{path.name} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            assert node.returns is not None, f"{path.name}: {node.name} returns what?"
            untyped = [a.arg for a in node.args.args if a.annotation is None]
            assert not untyped, f"{path.name}: {node.name}({untyped})"
