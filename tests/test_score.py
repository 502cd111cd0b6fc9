"""A run's final ensemble on new pairs: a decoder answers a line alone as it answers it in a pack."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import Shell, open_environment

from utils import export, profiles, score
from utils.core import paths, recipe, settings
from utils.data.pairs import read_pairs
from utils.ensemble import decide
from utils.experiment import answer as answer_module
from utils.experiment.answer import answer_anywhere, translate
from utils.models import build, trained
from utils.training.ranks import Topology
from utils.translation import backends, cache

DECODER = recipe.Recipe(
    "tiny-gemma", "gemma", "gemma-3-270m", folds=(0, 1), pooling="last", query_first=False, lora_rank=4, max_length=64,
    score_tokens=160, seed=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tiny_gemma: Path, project: Path) -> Iterator[paths.Run]:
    """A run whose ensemble is two folds of a tiny random Gemma, its adapters not zero."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", project)
        run = paths.Run("test-score")
        changes = profiles.normalise("laptop", "laptop.translation=none laptop.retranslation=glossary")
        settings.save(run, settings.Settings("laptop", str(tiny_gemma), str(tiny_gemma), overrides=changes))
        folder = run.final / "QC" / DECODER.name
        recipe.save(DECODER, folder / "recipe.json")
        for fold in DECODER.folds:
            network = trained.make_trainable(build.load_network(DECODER, tiny_gemma / DECODER.model), DECODER)
            with torch.no_grad():
                for name, parameter in network.named_parameters():
                    if "lora_B" in name or "score" in name:
                        torch.nn.init.normal_(parameter, std=0.3)
            trained.save_trained(network, folder / f"fold{fold}")
        decision = decide.Decision({DECODER.name: 1.0}, {}, (1.0, 0.0), 0.5)
        ensemble = decide.Ensemble(("en",), {decide.SEEN: decision, decide.UNSEEN: decision})
        decide.save_ensembles({"QC": ensemble}, "none", run.ensemble_file)
        yield run


PAIRS = [
    {"id": number, "language": language, "origin_query": f"{query} {number % 3}", "category_path": path}
    for (language, query) in (("en", "red shoe"), ("es", "Acero inoxidable"))
    for number, path in enumerate(["home,kitchen,plates", "home,kitchen,cups", "sport", "home,kitchen,plates", "", "home"] * 2)
]  # fmt: skip


def write(pairs: list[dict]) -> str:
    return "".join(json.dumps(pair) + "\n" for pair in pairs)


def answer(run: paths.Run, pairs: list[dict], weights: str = "") -> list[dict]:
    text = answer_anywhere(write(pairs).encode(), "pairs", run, "QC", weights, Topology())
    return [json.loads(line) for line in text.splitlines()]


def largest_difference(left: list[dict], right: list[dict]) -> float:
    return max(abs(one["probability"] - other["probability"]) for one, other in zip(left, right, strict=True))


def test_one_line_at_a_time_equals_all_at_once(run: paths.Run) -> None:
    together = answer(run, PAIRS)
    assert [{key: line[key] for key in PAIRS[0]} for line in together] == PAIRS
    by_pair: dict[tuple[str, str], set[float]] = {}
    for line in together:
        by_pair.setdefault((line["origin_query"], line["category_path"]), set()).add(line["probability"])
    assert (
        all(len(values) == 1 for values in by_pair.values()) and len(by_pair) == len(set.union(*by_pair.values())) == 10
    )
    for number in (1, 4):  # the second has an empty category
        alone = answer(run, PAIRS[number : number + 1])
        assert largest_difference(alone, together[number : number + 1]) < 1e-4


def test_processes_share_the_rows(run: paths.Run, shell: Shell) -> None:
    together = answer(run, PAIRS)
    process = shell(
        "python", "-m", "utils.score", "--run", run.name, "--task", "QC", "--ranks", "2", input=write(PAIRS)
    )
    assert process.returncode == 0 and f"{len(PAIRS)} rows in" in process.stderr, process.stderr
    shared = [json.loads(line) for line in process.stdout.splitlines()]
    assert [line["id"] for line in shared] == [line["id"] for line in together]
    assert largest_difference(shared, together) < 1e-4


def tables(run: paths.Run, pairs: list[dict]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The pairs with `query_en`, as the score command translates them and as notebook 02 does."""
    table = read_pairs(write(pairs).encode(), "QC", "pairs").table
    first, second = backends.open_backend("none"), backends.open_second("glossary")
    as_notebook, _ = cache.translate_tables(
        {("test", "QC"): table}, first, second, run.root / "other.sqlite", bar=False
    )
    return translate(table, run, "QC"), as_notebook["test", "QC"]


def test_pairs_are_translated_as_notebook_02_does_it(run: paths.Run) -> None:
    here, there = tables(run, PAIRS)
    assert here["query_en"].tolist() == there["query_en"].tolist()
    assert set(here["query_en"]) == {f"{query} {n}" for query in ("red shoe", "rustproof steel") for n in range(3)}


def test_a_translator_is_opened_only_for_what_the_cache_lacks(run: paths.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a translator was asked")

    expected = answer(run, PAIRS)  # all is in the cache now
    english = [pair for pair in PAIRS if pair["language"] == "en"]
    for name in ("copy_backend", "glossary_backend"):
        original = getattr(backends, name)
        monkeypatch.setattr(backends, name, lambda *a, original=original: replace(original(*a), translate=refuse))
    assert answer(run, PAIRS) == expected
    monkeypatch.setattr(backends, "open_backend", refuse)  # English needs not even that
    assert len(answer(run, english)) == len(english)


def test_the_ranks_of_a_job_translate_nothing(run: paths.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, jobs = answer(run, PAIRS), []

    def run_ranks(job: Path, topology: Topology, style: str) -> None:
        jobs.append(job)
        with monkeypatch.context() as patch:
            patch.setattr(cache, "translate_rows", None)
            answer_module.run_job(job)

    monkeypatch.setattr(answer_module, "run_ranks", run_ranks)
    text = answer_anywhere(write(PAIRS).encode(), "pairs", run, "QC", "", Topology(ranks=2))
    assert [json.loads(line) for line in text.splitlines()] == expected and len(jobs) == 1


@pytest.fixture
def command(
    run: paths.Run, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., tuple[int, str, str]]:
    """The command in this process: exit code, standard output, standard error."""

    def call(lines: str, *options: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["score", "--run", run.name, "--task", "QC", *map(str, options)])
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(lines.encode())))
        try:
            code = score.main()
        except SystemExit as error:
            code = int(str(error.code))
        output, errors = capsysbinary.readouterr()
        return code, output.decode(), errors.decode()

    return call


Command = Callable[..., tuple[int, str, str]]
SPANISH = write([{"language": "es", "origin_query": "botas", "category_path": "sport"}])


@pytest.mark.parametrize("empty", ["", "\n \n"])
def test_no_lines_are_no_rows(command: Command, tmp_path: Path, empty: str) -> None:
    code, output, errors = command(empty, "--output", tmp_path / "out")
    assert (code, output) == (0, "") and errors.startswith("0 rows in") and (tmp_path / "out").read_bytes() == b""


def test_answers_are_utf_8_whatever_the_terminal_is(run: paths.Run, project: Path) -> None:
    pair = {"language": "ja", "origin_query": "赤い靴 – ü", "category_path": "sport"}
    environment = open_environment(project) | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    words = [sys.executable, "-m", "utils.score", "--run", run.name, "--task", "QC"]
    done = subprocess.run(
        words, cwd=project, env=environment, input=json.dumps(pair).encode(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {key: json.loads(done.stdout)[key] for key in pair} == pair and "赤い靴".encode() in done.stdout


def test_other_keys_come_back_as_they_were_or_are_refused_first(command: Command) -> None:
    line = SPANISH.strip()[:-1] + ', "note": "\\ud800 ü", "\\ud83d\\ude00": [null, 1.50, {"a": true}]'
    code, output, errors = command(line + "}\n")
    assert code == 0, errors
    answered = json.loads(output)
    assert answered["note"] == "\ud800 ü" and answered["😀"] == [None, 1.5, {"a": True}]
    code, output, errors = command(SPANISH + line + ', "size": 1e999}\n')
    assert (code, output) == (2, "") and errors.startswith("stdin:2: "), errors


def test_a_broken_cache_is_named_or_begun_anew(command: Command) -> None:
    file = paths.translations("translations")
    file.unlink(missing_ok=True)
    file.mkdir()
    code, output, errors = command(SPANISH)
    assert (code, output) == (2, "") and errors.startswith(f"{file}:1: is a folder")
    file.rmdir()
    file.write_bytes(b"garbage" * 99)
    code, output, errors = command(SPANISH)
    assert code == 0 and output.count("\n") == 1 and "a new cache is begun" in errors


def test_what_a_person_can_put_right_ends_with_2(command: Command, run: paths.Run, tmp_path: Path) -> None:
    for options, reason in (
        (("--input", tmp_path), "no such file"),
        (("--output", tmp_path), "is a folder; name a file"),
        (("--ranks", "-1"), "use 0 for one per GPU"),
    ):
        code, _, errors = command(SPANISH, *options)
        assert code == 2 and reason in errors
    recipe_file = run.final / "QC" / DECODER.name / "recipe.json"
    recipe.save(DECODER.with_(model="qwen3-8b"), recipe_file)
    code, _, errors = command(SPANISH)
    recipe.save(DECODER, recipe_file)
    assert code == 2 and errors.strip().endswith("run: hf download Qwen/Qwen3-8B-Base")
    ensembles = run.ensemble_file.read_text()
    run.ensemble_file.write_text(ensembles[:20])
    code, _, errors = command(SPANISH)
    run.ensemble_file.write_text(ensembles)
    assert code == 2 and "--from 07 writes it" in errors


@pytest.mark.parametrize("weights", ["int8", "nf4"])
def test_weights_of_few_bits_answer_nearly_the_same(run: paths.Run, weights: str) -> None:
    assert 0 < largest_difference(answer(run, PAIRS, weights), answer(run, PAIRS)) < 0.3


def test_an_exported_fold_opens_as_the_stock_class(run: paths.Run, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    fold = DECODER.folds[-1]
    assert export.export(run, "QC", DECODER.name, fold, tmp_path / "plain") == "Gemma3TextForSequenceClassification"
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path / "plain").eval()
    assert type(stock).__module__.startswith("transformers.")
    base = Path(settings.load(run).models) / DECODER.model
    ours = build.load_scorer(DECODER, base, run.final / "QC" / DECODER.name / f"fold{fold}")
    ids = build.load_tokenizer(tmp_path / "plain")("red shoe", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        assert (stock(input_ids=ids).logits - ours(input_ids=ids).logits).abs().max() < 1e-5


def test_a_training_that_is_not_there_is_refused(run: paths.Run, shell: Shell, tmp_path: Path) -> None:
    refused = shell("python", "-m", "utils.export", "--run", run.name, "--task", "QI", tmp_path / "none")
    assert refused.returncode == 2 and "no final training" in refused.stderr
