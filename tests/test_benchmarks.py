"""The packing benchmark: its printed lines, unknown cases, the choice of batches, and the large network in a small shape."""

import importlib
import json
from types import ModuleType

import numpy as np
import pytest
import torch

from utils.core.paths import ROOT
from utils.training import tries

COMMAND = ROOT / "benchmarks" / "packing.py"  # the copy of the project has no benchmarks


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark's module of this name, imported as the command imports it."""
    monkeypatch.syspath_prepend(COMMAND.parent)
    return importlib.import_module("cases")


@pytest.mark.long
def test_lines_hold_what_others_rely_on(shell) -> None:
    done = shell("python", COMMAND, "--quick", "--only", "QC-K8")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["name"], line["against"]) for line in lines] == [
        ("train", "seed"),
        ("score", "seed"),
        ("score", "sorted64"),
    ]
    for line in lines:
        assert line["case"] == "QC-K8" and line["unit"] == "rows/s" and line["repetitions"] == 2
        assert line["ratio_min"] <= line["ratio"] <= line["ratio_max"]
        mean = line["ours"] / line["theirs"]  # of two pairs: it lies between their ratios, but for rounding
        assert 0.98 * line["ratio_min"] <= mean <= 1.02 * line["ratio_max"]
        assert line["tokens_ours"] < line["tokens_theirs"]
        assert line["utilisation_ours"] > 0  # how much it is, a busy machine cannot tell


def test_an_unknown_case_is_refused(shell) -> None:
    done = shell("python", COMMAND, "--only", "QC-K3")
    assert done.returncode != 0 and "QC-K3" in done.stderr and "QC-K8" in done.stderr


@pytest.mark.parametrize("quantisation", ["none", "nf4"])
def test_a_network_of_a_shape_reads_packs(cases: ModuleType, gemma, quantisation: str) -> None:
    shape = {
        "vocab_size": 40, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": 32, "sliding_window": 8,
    }  # fmt: skip
    network = cases.large_network(shape, cases.DECODER.with_(quantisation=quantisation), gemma)
    linear = type(network.model.layers[0].mlp.up_proj).__name__
    assert linear == ("Linear4bit" if quantisation == "nf4" else "Linear")
    rows = [(1, 2, 3), (1, 2, 4, 5)]
    with torch.no_grad():
        trie = network.train()(**tries.build_batch(rows)).logits
        alone = torch.cat([network(input_ids=torch.tensor([row])).logits for row in rows])
    assert trie.dtype == torch.bfloat16 and (trie - alone).abs().max() < 0.05 * (1 + alone.abs().max())


def test_batches_are_taken_evenly(cases: ModuleType) -> None:
    batches = [np.full(4, number) for number in range(100)]
    assert cases.evenly(batches, 4).tolist() == [50] * 4
    assert sorted(set(cases.evenly(batches, 40).tolist())) == list(range(5, 100, 10))


@pytest.mark.long
def test_one_command_measures_a_machine_and_says_what_it_is(shell, tmp_path) -> None:
    """Without a GPU it measures a narrow network; what the time does not reach is said, not left out in silence."""
    done = shell("python", ROOT / "benchmarks" / "gpu.py", "--minutes", "0.25", "--out", tmp_path / "lines.jsonl")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "a narrow network, as deep as gemma-3-12b" in done.stdout.splitlines()[0]
    lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    first, measured = lines[0], [line for line in lines if "error" not in line]
    assert (first["measure"], first["task"], first["packing"]) == ("train", "QC", "tries") and first["step_seconds"] > 0
    assert first["planned_seconds"] > 0 and first["tokens_per_step"] > 32
    assert all("give it more --minutes" in line["error"] for line in lines if line not in measured)
    assert {line["measure"] for line in lines} == {"train", "score", "packs", "memory"} and len(measured) < len(lines)
