"""The house's rules: wings that import in one direction, files and functions of a size that is read at once, nothing unsafe."""

import ast
from pathlib import Path

import pytest

from utils.core.paths import ROOT

# A wing may import itself and those that stand below it, never its own height or above.
HEIGHTS = (
    {"core"},
    {"data", "models"},
    {"sample", "training", "evaluation"},
    {"ensemble", "translation", "profiles"},
    {"experiment", "planning"},
    {"running", "ablations"},
    {"arguments", "pipeline", "score", "submit", "export"},
)
MODULES = sorted((ROOT / "utils").rglob("*.py"))
TOP = sorted({path.relative_to(ROOT / "utils").parts[0].removesuffix(".py") for path in MODULES} - {"__init__"})


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def wing_of(module: str) -> str:
    return module.split(".")[1]


def imports(path: Path) -> set[str]:
    """Modules of the project that a file imports, wherever in it."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "utils":
            modules |= {f"utils.{name.name}" for name in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("utils."):
            modules.add(str(node.module))
        elif isinstance(node, ast.Import):
            modules |= {name.name for name in node.names if name.name.startswith("utils.")}
    return modules


def height(wing: str) -> int:
    return next(number for number, wings in enumerate(HEIGHTS) if wing in wings)


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)]


def test_every_wing_has_its_height() -> None:
    assert sorted(wing for wings in HEIGHTS for wing in wings) == TOP


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent != ROOT / "utils"], ids=name_of)
def test_wings_import_downwards_only(path: Path) -> None:
    own = wing_of(name_of(path))
    above = {module for module in imports(path) if wing_of(module) != own and height(wing_of(module)) >= height(own)}
    assert not above, f"{name_of(path)} imports {sorted(above)}"


def test_no_two_modules_import_each_other() -> None:
    arrows = {name_of(path): imports(path) for path in MODULES if path.stem != "__init__"}
    circles = [(one, other) for one, others in arrows.items() for other in others if one in arrows.get(other, set())]
    assert not circles


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_environment_no_pickle_no_remote_code(path: Path) -> None:
    text = path.read_text("utf-8")
    forbidden = ["os.environ", "getenv", "import pickle", "torch.load", "trust_remote_code", "joblib"]
    if path.stem == "supervisor":  # torchrun tells a rank its number in no other way
        forbidden.remove("os.environ")
    assert not [word for word in forbidden if word in text]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_and_functions_are_read_at_once(path: Path) -> None:
    count = len(path.read_text("utf-8").splitlines())
    least = 15 if path.stem not in ("__init__", "__main__") else 1
    assert least <= count <= 300, f"{count} lines"
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions(path) if f.end_lineno - f.lineno + 1 > 45}
    assert not long


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_everything_public_is_typed_and_explained(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree), "no docstring"
    public = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    for node in public:
        if node.name.startswith("_") or node.name == "main":
            continue
        assert ast.get_docstring(node), f"{node.name} has no docstring"
        if isinstance(node, ast.FunctionDef):
            assert node.returns is not None, f"{node.name} returns what?"
            assert not [a.arg for a in node.args.args if a.annotation is None], f"{node.name} has untyped arguments"


def test_a_wing_says_in_one_sentence_what_it_is_for() -> None:
    for wing in {wing for wings in HEIGHTS[:-1] for wing in wings}:
        tree = ast.parse((ROOT / "utils" / wing / "__init__.py").read_text("utf-8"))
        text = ast.get_docstring(tree) or ""
        assert len(text.splitlines()) == 1 and text.endswith("."), wing
        assert len(list((ROOT / "utils" / wing).glob("[a-z]*.py"))) <= 12, wing
