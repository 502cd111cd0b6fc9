"""The embedded data: the competition's format and traps, the same bytes for the same seed."""

import csv
import itertools
import json
import shutil
from pathlib import Path

import pytest

from utils.core.errors import DataError
from utils.core.paths import SOURCES
from utils.core.schema import LANGUAGES, SPLITS, TARGET_KEY, TASKS
from utils.data import leaks
from utils.data.raw import Raw, read_folder, read_solution
from utils.data.taxonomy import parse
from utils.sample import dataset, lexicon, synthesis
from utils.translation import backends


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    dataset.make_sample(folder)
    return folder


@pytest.fixture(scope="module")
def data(folder: Path) -> Raw:
    return read_folder(folder)


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_the_lexicon_is_as_large_as_promised() -> None:
    words = lexicon.load(SOURCES)
    assert len(words.products) >= 240
    assert len({product.paths[0][0] for product in words.products.values()}) >= 20
    for product in words.products.values():
        assert all(len(product.terms[code]) >= 2 for code in LANGUAGES), product.key
        assert all(2 <= len(path) <= 5 for path in product.paths), product.key
        assert set(product.related) <= set(words.products), product.key


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("products.csv", "type,paths", "kind,paths", "products.csv:1: column type is missing"),
        ("products.csv", "knitting_yarn", "knitting_yarm", "products.csv:2: product type knitting_yarm is unknown"),
        ("products.csv", "|size|", "|seize|", "products.csv:2: kind of attribute seize is unknown; fix the spelling"),
        ("attributes.csv", "black,black", "black", "attributes.csv:2: 14 fields instead of 15"),
        ("spellings.csv", "\nen,", "\neng,", "spellings.csv:2: language eng is unknown"),
        ("strays.csv", "running_shoes,", "walking_shoe,", "strays.csv:2: product type walking_shoe is unknown"),
        ("brands.csv", "Velkano,", '"Velkano,', "brands.csv:2: not valid CSV"),
    ],
)
def test_a_row_that_goes_with_no_other_is_named(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    folder = shutil.copytree(SOURCES, tmp_path / "sources")
    text = (folder / file).read_text("utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(DataError) as error:
        lexicon.load(folder)
    assert message in str(error.value)


def test_the_glossary_knows_about_two_thirds_of_the_words() -> None:
    words = lexicon.load(SOURCES)
    with (SOURCES / "glossary.csv").open(encoding="utf-8", newline="") as file:
        known = {(row["language"], row["term"]) for row in csv.DictReader(file)}
    foreign = {
        (code, term.lower())
        for p in words.products.values()
        for code in LANGUAGES
        if code != "en"
        for term in p.terms[code]
    }
    assert 0.58 < len(foreign & known) / len(foreign) < 0.72


def test_sizes_languages_and_rates_are_the_competitions(data: Raw, folder: Path) -> None:
    means = {"QC": 0.6895, "QI": 0.6243}
    for task in TASKS:
        assert [len(data.tables[split, task]) for split in SPLITS] == [8000, 2000, 2000]
        assert set(data.tables["train", task]["language"]) == set(dataset.LAYOUT[task, "train"])
        assert set(data.tables["test", task]["language"]) == set(dataset.LAYOUT[task, "held out"])
        assert abs(data.tables["train", task]["label"].mean() - means[task]) < 0.015
        solution = read_solution(folder, "test", task)
        assert abs(solution["label"].mean() - means[task]) < 0.03
    per_query = {
        task: len(data.tables["test", task]) / data.tables["test", task]["origin_query"].nunique() for task in TASKS
    }
    assert 2.1 < per_query["QC"] < 2.9 and 3.5 < per_query["QI"] < 4.5


def test_rows_look_as_the_organisers_write_them(folder: Path) -> None:
    for task in TASKS:
        for split in SPLITS:
            rows = read(folder / f"{split}_{task}.txt")
            keys = ["id", "task", "language", "origin_query", TARGET_KEY[task]] + (
                ["label"] if split == "train" else []
            )
            assert all(list(row) == keys for row in rows)
            order = [(row["language"], row["origin_query"], row[TARGET_KEY[task]] or "") for row in rows]
            assert order == sorted(order)
    labels = {type(row["label"]) for row in read(folder / "train_QC.txt")}
    assert labels == {int, str}


def test_the_traps_are_set(data: Raw) -> None:
    queries = data.tables["train", "QI"]["origin_query"]
    for trap in ('\\\\"', "\u3000", "\u200b", "  ", "^-", "^% ", "[\u0400-\u04ff]"):
        assert queries.str.contains(trap, regex=True).any(), trap
    titles = data.tables["train", "QI"]["target"]
    assert titles.isna().any() and (queries.str.strip(" \u200b") == "").any()
    lengths = titles.dropna().str.len()
    assert lengths.between(120, 128).mean() > 0.15 and 128 < lengths.max() <= 309
    paths = data.tables["train", "QC"]["target"]
    assert paths.str.contains(", ").mean() > 0.05 and paths.str.contains("arts,crafts & sewing").any()
    tree = parse(paths)
    crafts = [path for path in paths.unique() if path.startswith("arts,crafts & sewing,")]
    assert len(crafts) > 5 and {tree.levels(path)[0] for path in crafts} == {"arts,crafts & sewing"}
    path = "arts,crafts & sewing,knitting & crochet,skeins & balls"
    assert path in crafts
    assert tree.levels(path) == ("arts,crafts & sewing", "knitting & crochet", "skeins & balls")
    depths = {len(tree.levels(path)) for path in paths.unique()}
    assert depths >= {2, 3, 4}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        dataset.make_sample(tmp_path / name, rows=300, seed=3)
    dataset.make_sample(tmp_path / "c", rows=300, seed=4)
    left, right, other = ((tmp_path / name / "train_QC.txt").read_bytes() for name in "abc")
    assert left == right != other


def test_the_command_writes_a_folder_and_refuses_too_few_rows(shell, tmp_path: Path) -> None:
    process = shell("python", "-m", "utils.sample", "--rows", "300", str(tmp_path / "sample"))
    assert process.returncode == 0 and (tmp_path / "sample" / "solution" / "test_QI.txt").exists()
    refused = shell("python", "-m", "utils.sample", "--rows", "10", str(tmp_path / "refused"))
    assert refused.returncode == 2 and "too few" in refused.stderr


def test_the_glossary_translates_without_spaces_between_words() -> None:
    terms = {"赤い": "red", "靴": "shoes", "靴ひも": "laces"}
    assert backends.look_up("赤い靴ひもセット", terms, 3, unspaced=True) == "red laces セット"
    assert backends.look_up("rojo rojos", {"rojo": "red"}, 4, unspaced=False) == "red rojos"


def test_data_raw_is_found_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Path) -> None:
    monkeypatch.setattr(dataset, "RAW", tmp_path / "raw")
    assert not dataset.has_raw()
    shutil.copytree(small, tmp_path / "raw")
    assert dataset.open_folder("", 800) == (tmp_path / "raw", "the competition's files are in data/raw")
    monkeypatch.setattr(dataset, "SAMPLE", tmp_path / "sample")
    folder, reason = dataset.open_folder("", 400, embedded=True)
    assert folder == tmp_path / "sample-400" and "data of its own" in reason


def test_planted_labels_are_those_that_were_turned_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The makers' targets say here whether they were made to be relevant."""
    numbers = itertools.count()
    for kind in ("category", "title"):
        monkeypatch.setattr(synthesis.Maker, kind, lambda self, need, relevant: f"{int(relevant)} {next(numbers)}")
    for task in TASKS:
        rows = [row for _, row in dataset._make_rows(lexicon.load(SOURCES), task, "train", 2000, 7)[1] if row.target]
        assert [row.is_wrong for row in rows] == [row.label != int(row.target[0]) for row in rows]
        assert 0.03 < sum(row.is_wrong for row in rows) / len(rows) < 0.07


def test_planted_labels_are_known_for_the_embedded_data_alone(tmp_path: Path) -> None:
    dataset.make_sample(tmp_path, rows=400)
    assert dataset.find_planted(tmp_path, "QC") is None
    (tmp_path / dataset.MADE).write_text(json.dumps({"rows": 400}))
    rows = dataset._make_rows(lexicon.load(SOURCES), "QC", "train", 400, 2025)[1]
    planted = {number for number, (_, row) in enumerate(rows, start=1) if row.is_wrong}
    seal = leaks.seal_solution(tmp_path)
    assert dataset.find_planted(tmp_path, "QC") == planted  # without a look at the solution
    seal.lift()
    written = [
        (row["origin_query"], row["category_path"], int(row["label"])) for row in read(tmp_path / "train_QC.txt")
    ]
    assert written == [tuple(row)[:3] for _, row in rows]
