"""A run's final ensemble on new pairs: a decoder answers a line alone as it answers it in a pack."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import Shell

from utils import export
from utils.core import paths, recipe, settings
from utils.evaluation import decide
from utils.experiment.answer import answer_anywhere
from utils.models import build, trained
from utils.training.ranks import Topology

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
        settings.save(run, settings.Settings("laptop", str(tiny_gemma), str(tiny_gemma)))
        folder = run.final / "QC" / DECODER.name
        recipe.save(DECODER, folder / "recipe.json")
        for fold in DECODER.folds:
            network = trained.make_trainable(build.load_network(DECODER, tiny_gemma / DECODER.model), DECODER)
            with torch.no_grad():
                for name, parameter in network.named_parameters():
                    if "lora_B" in name or "score" in name:
                        torch.nn.init.normal_(parameter, std=0.5)
            trained.save_trained(network, folder / f"fold{fold}")
        ensemble = decide.Ensemble({DECODER.name: 1.0}, {DECODER.name: (1.0, 0.0)}, 0.5, {}, {})
        decide.save_ensembles({"QC": ensemble}, "none", run.ensemble_file)
        yield run


PAIRS = [
    {"id": number, "language": "en", "origin_query": f"red shoe {number % 3}", "category_path": path}
    for number, path in enumerate(["home,kitchen,plates", "home,kitchen,cups", "sport", "home,kitchen,plates", "", "home"] * 3)
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
    assert all(len(values) == 1 for values in by_pair.values()) and len(set.union(*by_pair.values())) == 5
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
