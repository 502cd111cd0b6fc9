"""A run's final ensemble on new pairs: a decoder answers a line alone as it answers it in a pack."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from utils import blend, models, paths, recipe, settings

RUN = paths.Run("test-score-decoder")
DECODER = recipe.Recipe(
    "tiny-gemma", "gemma", "gemma-3-270m", folds=(0, 1), pooling="last", query_first=False, lora_rank=4, max_length=64,
    score_tokens=160, seed=3,
)  # fmt: skip
Shell = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="module")
def run(tiny_gemma: Path) -> Iterator[paths.Run]:
    """A run whose ensemble is two folds of a tiny random Gemma, its adapters not zero."""
    base = tiny_gemma / DECODER.model
    settings.keep(RUN, settings.Settings("laptop", str(tiny_gemma), str(tiny_gemma)))
    place = RUN.final / "QC" / DECODER.name
    recipe.save(DECODER, place / "recipe.json")
    for fold in DECODER.folds:
        network = models.make_trainable(models.load_network(DECODER, base), DECODER)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if "lora_B" in name or "score" in name:
                    torch.nn.init.normal_(parameter, std=0.5)
        models.save_trained(network, place / f"fold{fold}")
    found = blend.Blend({DECODER.name: 1.0}, {DECODER.name: (1.0, 0.0)}, 0.5, {})
    blend.save_blends({"QC": found}, "none", RUN.ensemble_file)
    yield RUN
    shutil.rmtree(RUN.root)


PAIRS = [
    {"id": number, "language": "en", "origin_query": f"red shoe {number % 3}", "category_path": path}
    for number, path in enumerate(["home,kitchen,plates", "home,kitchen,cups", "sport", "home,kitchen,plates", "", "home"] * 3)
]  # fmt: skip


def ask(shell: Shell, run: paths.Run, pairs: list[dict], *options: str) -> list[dict]:
    text = "".join(json.dumps(pair) + "\n" for pair in pairs)
    done = shell("python", "-m", "utils.score", "--run", run.name, "--task", "QC", *options, input=text)
    assert done.returncode == 0, done.stderr
    assert f"{len(pairs)} rows in" in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_one_line_at_a_time_equals_all_at_once(run: paths.Run, shell: Shell) -> None:
    together = ask(shell, run, PAIRS)
    assert [{key: line[key] for key in PAIRS[0]} for line in together] == PAIRS
    by_pair: dict[tuple[str, str], set[float]] = {}
    for line in together:
        by_pair.setdefault((line["origin_query"], line["category_path"]), set()).add(line["probability"])
    assert all(len(found) == 1 for found in by_pair.values()) and len(set.union(*by_pair.values())) == 5
    for number in (1, 4):  # the second has an empty category
        alone = ask(shell, run, PAIRS[number : number + 1])[0]
        assert abs(alone["probability"] - together[number]["probability"]) < 1e-4


def test_processes_share_the_rows(run: paths.Run, shell: Shell) -> None:
    together, shared = ask(shell, run, PAIRS), ask(shell, run, PAIRS, "--ranks", "2")
    assert [line["id"] for line in shared] == [line["id"] for line in together]
    apart = [abs(one["probability"] - other["probability"]) for one, other in zip(shared, together, strict=True)]
    assert max(apart) < 1e-4


@pytest.mark.parametrize("kept", ["int8", "nf4"])
def test_weights_of_few_bits_answer_nearly_the_same(run: paths.Run, shell: Shell, kept: str) -> None:
    full, small = ask(shell, run, PAIRS), ask(shell, run, PAIRS, "--weights", kept)
    apart = [abs(one["probability"] - other["probability"]) for one, other in zip(small, full, strict=True)]
    assert 0 < max(apart) < 0.3


def test_an_exported_fold_opens_as_the_stock_class(run: paths.Run, shell: Shell, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    options = ("--run", run.name, "--task", "QC", "--recipe", DECODER.name, "--fold", str(DECODER.folds[-1]))
    done = shell("python", "-m", "utils.export", *options, str(tmp_path / "plain"))
    assert done.returncode == 0, done.stderr
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path / "plain").eval()
    assert type(stock).__module__.startswith("transformers.")
    place = run.final / "QC" / DECODER.name / f"fold{DECODER.folds[-1]}"
    base = Path(settings.load(run).models) / DECODER.model
    ours = models.load_scorer(DECODER, base, place)
    ids = models.load_tokenizer(tmp_path / "plain")("red shoe", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        assert (stock(input_ids=ids).logits - ours(input_ids=ids).logits).abs().max() < 1e-5
    refused = shell("python", "-m", "utils.export", "--run", run.name, "--task", "QI", str(tmp_path / "none"))
    assert refused.returncode == 2 and "no final training" in refused.stderr
