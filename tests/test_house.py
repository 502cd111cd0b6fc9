"""The house's rules: wings that import in one direction, files and functions of a size that is read at once, nothing unsafe."""

import ast
import json
import re
import sys
from importlib.metadata import packages_distributions
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
def test_no_environment_no_remote_code(path: Path) -> None:
    text = path.read_text("utf-8")
    forbidden = ["os.environ", "getenv", "trust_remote_code"]
    if path.stem == "supervisor":  # torchrun tells a rank its number in no other way
        forbidden.remove("os.environ")
    assert not [word for word in forbidden if word in text]


BENCHMARKS, PAGES = sorted((ROOT / "benchmarks").glob("*.py")), sorted((ROOT / "notebooks").glob("*.ipynb"))
# What runs text or a file as code, wherever it is imported from; and arguments that would allow it.
IMPORTED = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "runpy"}
CALLED = {"eval", "exec", "compile", "__import__", "input", "breakpoint"}
READ = {"torch.load", "np.load", "numpy.load", "os.system", "os.popen", "torch.hub", "torch.package"}
NAMED = {"read_pickle", "to_pickle", "allow_pickle", "load_checkpoint", "save_checkpoint", "trust_remote_code", "shell"}


def running_code(source: str) -> set[str]:
    """What of a source may run something else than itself."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.split(".")[0] in IMPORTED}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in IMPORTED:
            found.add(str(node.module))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLED:
            found.add(node.func.id)
        elif isinstance(node, ast.Attribute) and (ast.unparse(node) in READ or node.attr in NAMED - {"shell"}):
            found.add(ast.unparse(node))
        elif isinstance(node, ast.keyword) and node.arg in NAMED:
            truth = isinstance(node.value, ast.Constant) and node.value.value is True
            found |= {str(node.arg)} if node.arg != "shell" or truth else set()
    return found


def source_of(path: Path) -> str:
    """The code of a module or of a notebook."""
    if path.suffix == ".py":
        return path.read_text("utf-8")
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@pytest.mark.parametrize("path", [*MODULES, *BENCHMARKS, *PAGES], ids=lambda path: path.stem)
def test_nothing_is_read_or_run_as_code(path: Path) -> None:
    assert not running_code(source_of(path))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from joblib import load", "import torch\ntorch.load('a', weights_only=True)", "eval('1')", "exec(text)",
        "np.load('a')", "read(allow_pickle=True)", "pd.read_pickle('a')", "import yaml", "run('ls', shell=True)",
        "AutoModel.from_pretrained('a', trust_remote_code=True)",
    ],
)  # fmt: skip
def test_what_runs_code_is_found(source: str) -> None:
    assert running_code(source) and not running_code("model.eval(); frame.query('a == 1'); start(shell='ssh')")


def test_networks_are_read_from_safetensors_alone() -> None:
    """Every `from_pretrained` of a network says so; configs and tokenizers have no such argument, adapters are checked before."""
    others = {"AutoConfig", "AutoTokenizer", "PeftModel"}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr == "from_pretrained" and ast.unparse(node.func.value) not in others:
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert given.get("use_safetensors") == "True" or "gguf_file" in given, ast.unparse(node)


def test_all_csv_files_are_written_by_one_verb() -> None:
    """It lets no text begin a formula."""
    writers = {
        path.name for path in [*MODULES, *BENCHMARKS, *PAGES] if re.search(r"to_csv\(|csv\.writer", source_of(path))
    }
    assert writers == {"tables.py"}


WRITERS = {
    "to_parquet",
    "to_csv",
    "write_text",
    "write_bytes",
    "savefig",
    "save_file",
    "save_pretrained",
    "save",
    "dump",
    "touch",
}
OWN_VERBS = (
    "",
    "files",
    "settings",
    "recipe",
    "decide",
    "clean",
    "trained",
    "expansion",
)  # modules whose verbs may be called alike
# Who may write to a file that has its name already: weights that are whole once a last file says so, a user's export, logs, locks.
IN_PLACE = {
    "core/files.py": {"open"}, "models/trained.py": {"save_pretrained"}, "models/conversions.py": {"save_file", "save_pretrained"},
    "models/tiny.py": {"save_pretrained"}, "export.py": {"save_pretrained"}, "running/lock.py": {"open"}, "training/launch.py": {"open"},
    "training/supervisor.py": {"open"}, "evaluation/figure.py": {"savefig"}, "data/tables.py": {"to_csv"},
}  # fmt: skip


def writers_in_place(source: str) -> set[str]:
    """Calls that write a file outside of `write_with`, which gives a file its name once it is whole."""
    tree = ast.parse(source)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    whole = {node for call in calls if called(call) == "write_with" for part in call.args for node in ast.walk(part)}
    return {called(call) for call in calls if call not in whole and writes_file(call)}


def called(call: ast.Call) -> str:
    """The last part of what is called."""
    return ast.unparse(call.func).rpartition(".")[2]


def writes_file(call: ast.Call) -> bool:
    """Whether a call is a library's that writes, not a verb of this project, which uses `write_with` itself."""
    if called(call) == "open":
        modes = [
            part.value
            for part in [*call.args, *(word.value for word in call.keywords)]
            if isinstance(part, ast.Constant)
        ]
        return any(re.fullmatch(r"[rwax]b?t?\+?b?", str(mode)) and set(str(mode)) & set("wax+") for mode in modes)
    owner = ast.unparse(call.func).rpartition(".")[0]
    return called(call) in WRITERS and (owner not in OWN_VERBS or called(call) == "save_file")


@pytest.mark.parametrize("path", [*MODULES, *PAGES], ids=lambda path: path.stem)
def test_files_get_their_names_once_they_are_whole(path: Path) -> None:
    name = str(path.relative_to(ROOT / "utils")) if path.suffix == ".py" else path.name
    assert writers_in_place(source_of(path)) == IN_PLACE.get(name, set())


@pytest.mark.parametrize(
    "source",
    [
        "table.to_parquet(path)", "path.write_text(text)", "path.open('wb')", "open(path, mode='a')", "figure.savefig(path)",
        "save_file(tensors, path)", "np.save(path, array)", "json.dump(rows, file)", "write_with(path, make); table.to_csv(path)",
    ],
)  # fmt: skip
def test_what_writes_in_place_is_found(source: str) -> None:
    assert writers_in_place(source)
    assert not writers_in_place(
        "write_with(path, lambda part: table.to_parquet(part)); path.open(); settings.save(run); write_text(a, b)"
    )


def test_every_requirement_is_pinned() -> None:
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines()]
    packages = [line for line in lines if line and line != "-e ."]
    assert len(packages) > 20 and not [line for line in packages if not re.fullmatch(r"[a-z0-9_-]+==\d+(\.\d+)+", line)]
    pinned, installed = {line.split("==")[0].replace("-", "_") for line in packages}, packages_distributions()
    imported = set.union(*(packages_of(path) for path in MODULES)) - sys.stdlib_module_names - {"utils"}
    assert len(imported) > 15
    assert {installed[module][0].lower().replace("-", "_") for module in imported} <= pinned


def packages_of(path: Path) -> set[str]:
    """The packages that a file imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    names = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names}


def test_nobody_is_told_to_open_jupyter_to_others() -> None:
    """Its token, its password and the address of this machine alone are its defaults, and nothing here says otherwise."""
    words = r"--ip\b|0\.0\.0\.0|allow[_-](root|origin|remote_access)|disable_check_xsrf|(token|password)\s*=\s*['\"]{2}"
    assert all(re.search(words, line) for line in ("lab --ip=x", "lab --allow-root", "IdentityProvider.token = ''"))
    kinds = (".py", ".sh", ".md", ".ipynb", ".toml", ".txt", ".json", ".yaml", ".yml", "")
    folders = [ROOT / name for name in ("utils", "tests", "notebooks", "benchmarks", ".ci")]
    files = [path for folder in folders for path in folder.rglob("*")] + [*ROOT.iterdir(), ROOT / "data" / "README.md"]
    files = [path for path in files if path.suffix in kinds and path.is_file() and path != Path(__file__)]
    texts = {path: path.read_text("utf-8") for path in files}
    assert "jupyter lab" in texts[ROOT / "README.md"]
    assert not {str(path): match[0] for path, text in texts.items() if (match := re.search(words, text))}
    assert not [path for path in texts if path.name.startswith("jupyter_")]


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
