"""The plan's arithmetic against what small networks really take, and its counts against full ones."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT

from utils import pipeline, profiles
from utils.core import paths
from utils.core.errors import DeviceError
from utils.core.paths import Run
from utils.core.recipe import pick
from utils.data import folds
from utils.data.raw import read_folder
from utils.experiment.devices import list_devices
from utils.models import build, shapes, tiny, weights
from utils.planning import devices, engines, plan, printout, sampling, schedule
from utils.planning.cost import pack_cost, peak_memory
from utils.planning.timing import Host
from utils.profiles.a100 import A100, NETWORKS
from utils.profiles.base import Final, Profile
from utils.profiles.laptop import LAPTOP
from utils.running import preparation
from utils.training import accelerator, packing, tokens
from utils.training.engines import BUCKET

CANDIDATES = {recipe.name: recipe for recipe in A100.candidates}
NF4 = "--set gemma-3-12b.checkpointing=True --set gemma-3-12b.quantisation=nf4"  # advice that can be pasted
LONG = pytest.mark.long
BOTH = replace(
    LAPTOP,
    finals=(Final("e5-small", 0, (0,)), Final("gemma-3-270m", 0, (0,))),
    held_out_rows=90,
    held_out=2,
    finalists=2,
)
CORES = devices.Device(devices.CPU, 8e9, 1e11, 2, 0.5)


@pytest.fixture(autouse=True)
def quick_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's time is measured in its own test."""
    monkeypatch.setattr(plan, "measure_host", lambda recipe, folder: Host(1e-3, 1e-3, 1e-4))


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("multilingual-e5-small", 256),
        pytest.param("multilingual-e5-small", 512, marks=LONG),
        pytest.param("multilingual-e5-small", 1024, marks=LONG),
        pytest.param("gemma-3-270m", 256, marks=LONG),
        ("gemma-3-270m", 512),
        pytest.param("gemma-3-270m", 1024, marks=LONG),
    ],
)
def test_planned_memory_is_near_the_measured(name: str, tokens: int) -> None:
    """Freed blocks go back to the system at once, so that what is resident is what is alive."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "benchmarks" / "plan.py"), "--memory", name, str(tokens)]
    process = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    memory = json.loads(process.stdout.splitlines()[-1])
    assert 0.85 < memory["planned"] / memory["measured"] < 1.15, memory


def test_more_of_anything_costs_more() -> None:
    recipe, config = CANDIDATES["qwen3-8b"].with_(checkpointing=True), shapes.config("qwen3-8b")
    base = pack_cost(recipe, config, 2048, 60, train=True)
    assert 7.5e9 < base.parameters < 8.2e9
    assert 5.5 < base.flops / 2048 / 7.0e9 < 7  # LoRA with checkpointing: three passes of two operations a weight
    assert pack_cost(recipe.with_(checkpointing=False), config, 2048, 60, True).activations > 5 * base.activations
    assert pack_cost(recipe, config, 4096, 60, True).activations > 1.5 * base.activations
    assert pack_cost(recipe.with_(quantisation="nf4"), config, 2048, 60, True).weights < 0.45 * base.weights
    sharded = pack_cost(recipe.with_(zero_stage=3), config, 2048, 60, True, world=4)
    assert sharded.weights < 0.4 * base.weights and sharded.optimizer < base.optimizer


def test_memory_is_that_of_the_fullest_moment() -> None:
    recipe, config = CANDIDATES["qwen3-8b"].with_(checkpointing=True, score_tokens=256), shapes.config("qwen3-8b")
    train = pack_cost(recipe, config, 2048, 60, train=True).peak
    embeddings = 151_936 * 4096 * 2
    assert peak_memory(recipe, config, 2048, 60) == train
    wide = recipe.with_(score_tokens=131_072)  # more than a step's packs
    score = pack_cost(wide, config, 131_072, 60, train=False).peak
    assert peak_memory(wide, config, 2048, 60) == score > train
    tiny = recipe.with_(zero_stage=3)
    alone, four = (peak_memory(tiny, config, 512, 60, world) for world in (1, 4))
    assert embeddings < four < 0.6 * alone  # scoring is sharded too; the largest weight comes whole
    assert pack_cost(recipe.with_(zero_stage=2), config, 512, 60, True).gradients > BUCKET * 2


def test_downloads_are_counted_in_the_precision_of_their_files(small: Path) -> None:
    planner = open_planner(A100, small)
    assert planner.download("gemma-2-9b") == 4 * 9.24e9 and planner.download("gemma-3-12b") == 2 * 12.19e9
    assert planner.download("gemma-3-12b") == 0  # counted before
    assert planner.download("gemma-3-270m") == 0  # it is here


def test_a_misfit_names_the_settings_to_change(small: Path) -> None:
    texts = sampling.gather_texts(read_folder(small))
    device = devices.Device("t4-16gb", 16e9, 65e12)
    large = next(recipe for recipe in A100.recipes("QC") if recipe.name == "gemma-3-12b")
    planner = plan.Planner(A100, texts, device, "")
    assert f": {NF4} " in planner.misfit(large, 4096, 60)
    assert planner.misfit(large.with_(quantisation="nf4", checkpointing=True), 512, 60) == ""


def test_devices_are_opened_by_name() -> None:
    device, why = devices.open_device("4xa100-80gb")
    assert (device.count, device.memory, why) == (4, 80e9, "named with --gpu")
    assert devices.open_device("2xrtx4090-24gb")[0].count == 2
    for wrong in ("a100", "0xa100-80gb", "x", "4x"):
        with pytest.raises(DeviceError, match="use one of a100-80gb"):
            devices.open_device(wrong)


@pytest.mark.parametrize("task", ["QC", "QI"])
def test_sampled_tokens_are_those_of_a_full_count(task: str, sample_folder: Path) -> None:
    table = sampling.gather_texts(read_folder(sample_folder))[task].train
    recipe = next(recipe for recipe in A100.recipes(task) if recipe.name == "gemma-3-12b")
    tokenizer = build.load_tokenizer(weights.resolve("gemma-3-270m"))
    steps, blocks = (
        sampling.sample_steps(table, recipe, task, 1600),
        sampling.sample_neighbours(table, recipe, task, 1600),
    )
    trained = sampling.encode_parts(table, recipe, task, tokenizer, steps).count(recipe.pack_tokens)
    scored = sampling.encode_parts(table, recipe, task, tokenizer, blocks).count(recipe.score_tokens)
    encoded = tokens.encode(table, task, tokenizer, recipe, encoder=False)
    steps = packing.training_steps(encoded, recipe.with_(epochs=1.0))
    full = sum(packing.count_tokens(encoded, pack) for step in steps for pack in step) / len(table)
    packs = packing.batches(encoded, np.arange(len(table)), recipe.score_tokens)
    read = sum(packing.count_tokens(encoded, pack) for pack in packs) / len(table)
    assert abs(trained.tokens / full - 1) < 0.05 and abs(scored.tokens / read - 1) < 0.05
    assert abs(trained.batches / (sum(map(len, steps)) / len(table)) - 1) < 0.05


def test_the_plan_of_the_a100_run_names_every_step(small: Path) -> None:
    device, why = devices.open_device("4xa100-80gb")
    texts = sampling.gather_texts(read_folder(small))
    chosen = engines.write_engines(engines.choose_engines(A100, texts, device, ""))
    steps = plan.make_plan(profiles.load("a100", "", chosen), texts, device, "")
    text = printout.write_plan(steps, device, why, 1e9)
    assert {step.name for step in steps} >= {recipe.name for recipe in NETWORKS}
    assert re.search(r"qwen(2\.5|3)-14b, final", text) and "total:" in text and "fits:    everything" in text
    assert all(step.hours > 0 and step.cost.peak > 0 for step in steps)
    assert pd.Series([step.notebook for step in steps]).is_monotonic_increasing and len(steps) > 20


def count_answers(folder: Path, task: str) -> int:
    """Rows of dev and test."""
    return sum(len(table) for table in sampling.gather_texts(read_folder(folder))[task].splits.values())


def languages_held_out(folder: Path) -> list[str]:
    train = sampling.gather_texts(read_folder(folder))["QC"].train
    return [folds.languages_of(train)[place] for place in folds.held_out_folds(train, BOTH.held_out)]


def open_planner(profile: Profile, folder: Path, device: devices.Device = CORES) -> plan.Planner:
    return plan.Planner(profile, sampling.gather_texts(read_folder(folder)), device, "")


def test_every_finalist_is_planned_and_the_first_without_languages(small: Path) -> None:
    """Gemma costs more than e5, so it is the champion that is planned for: it alone is trained without languages."""
    steps = plan.make_plan(BOTH, sampling.gather_texts(read_folder(small)), CORES, "")
    last = [step for step in steps if step.notebook == "06"]
    names = ["gemma-3-270m, final", "e5-small, final", "gemma-3-270m, held-out"]
    assert [step.name for step in last] == names * 2
    assert {step.name.split(",")[0] for step in steps if step.notebook == "05"} == {"gemma-3-270m"}
    train = 400 * 4 // 5  # one fold of five, less than the profile's rows
    held_out = last[2]
    assert [step.rows for step in last[:2]] == [train, train] and len(held_out.jobs) == BOTH.held_out == 2
    assert [step.answers for step in last[:2]] == [80 + count_answers(small, "QC")] * 2
    by_language = sampling.gather_texts(read_folder(small))["QC"].train["language"].value_counts()
    assert held_out.answers == sum(by_language[code] for code in languages_held_out(small)) and held_out.disk == 0
    assert held_out.rows == 2 * BOTH.held_out_rows and not held_out.rough
    assert all(step.disk == 4 * step.cost.trained for step in last[:2])


def test_the_plan_prints_the_time_of_jobs_side_by_side_and_their_sum(small: Path) -> None:
    texts = sampling.gather_texts(read_folder(small))
    steps = plan.make_plan(replace(BOTH, held_out_rows=0), texts, CORES, "")
    elapsed, work = schedule.elapsed_hours(steps), sum(step.hours for step in steps)
    assert 0.5 * work <= elapsed < 0.7 * work
    assert work < 1  # so both have two decimals
    text = printout.write_plan(steps, CORES, "as told", 1e12)
    assert f"total:   {elapsed:.2f} hours on 2 x cpu, {work:.2f} hours of work one after the other" in text
    assert "2 trainings side by side, each on a device" in text
    line = next(line for line in text.splitlines() if "held-out" in line)
    assert "~" in line and "rows: an estimate" in text  # English is not there yet
    alone = plan.make_plan(replace(BOTH, workers=1), texts, CORES, "")
    assert schedule.elapsed_hours(alone) == pytest.approx(sum(step.hours for step in alone))
    assert "one after the other" not in printout.write_plan(alone, CORES, "as told", 1e12)


@pytest.mark.parametrize(
    ("finalists", "names"),
    [(1, ["qwen2.5-14b"]), (9, ["qwen2.5-14b", "gemma-3-12b", "xlm-roberta-large"])],
)
def test_the_most_expensive_of_each_family_is_planned_to_the_end(
    small: Path, finalists: int, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """14 billion parameters cost more than 12; three folds of two epochs about as much as one of five in smaller steps."""
    monkeypatch.setattr(plan, "measure_host", lambda recipe, folder: Host(1e-3, 1e-3, 1e-4))
    planner = open_planner(replace(A100, finalists=finalists), small, devices.GPUS["a100-80gb"])
    chosen = [recipe.name for recipe in planner.finalists("QC")]
    alike = {"qwen3-14b": "qwen2.5-14b", "gemma-3-12b-as-reported": "gemma-3-12b"}
    assert [alike.get(name, name) for name in chosen] == names


def test_a_network_on_fewer_rows_than_others_is_no_finalist(small: Path) -> None:
    names = {"QC": [], "QI": []}
    fewer = profiles.load("laptop", "gemma-3-270m.rows=100")
    for profile in (BOTH, replace(BOTH, candidates=fewer.candidates, overridden=fewer.overridden)):
        for task, found in names.items():
            found.append([recipe.name for recipe in open_planner(profile, small).finalists(task)])
    assert list(names.values()) == [[["gemma-3-270m", "e5-small"], ["e5-small"]]] * 2


def test_a_job_has_a_core_or_its_part_of_one(small: Path) -> None:
    recipe = CANDIDATES["xlm-roberta-large"].with_(zero_stage=0)
    alone, shared = open_planner(LAPTOP, small), open_planner(profiles.load("rehearsal"), small)
    assert (alone.workers(recipe), alone.devices(recipe), alone.memory(recipe)) == (2, 1, 8e9)
    one = open_planner(replace(LAPTOP, workers=1), small)
    assert (one.workers(recipe), one.devices(recipe), one.memory(recipe)) == (1, 1, 16e9)
    many = open_planner(replace(LAPTOP, workers=8), small)
    assert (many.workers(recipe), many.devices(recipe), many.memory(recipe)) == (8, 0.25, 2e9)
    sharded = recipe.with_(zero_stage=2)  # DeepSpeed has the machine for itself
    assert (alone.workers(sharded), alone.devices(sharded)) == (1, 1)
    assert (shared.workers(sharded), shared.devices(sharded)) == (1, 2)
    gpus = open_planner(A100, small, replace(devices.GPUS["h200"], count=4))
    assert (gpus.workers(recipe), gpus.devices(recipe), gpus.memory(recipe)) == (4, 1, 141e9)
    assert (gpus.workers(sharded), gpus.devices(sharded), gpus.memory(sharded)) == (1, 4, 141e9)


def test_cores_without_the_memory_are_told_to_work_on_fewer_jobs(small: Path) -> None:
    tight = replace(CORES, memory=1e9)
    planner, gemma = open_planner(LAPTOP, small, tight), pick(LAPTOP.recipes("QC"), ["gemma-3-270m"])[0]
    assert planner.misfit(gemma, 512, 40) == "needs 2 GB of 1: --set laptop.workers=1"
    fewer = open_planner(profiles.load("laptop", "laptop.workers=1"), small, tight)
    assert fewer.misfit(gemma, 512, 40) == ""


def test_cores_are_counted_as_the_run_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for pages in (1, 10**6, 10**9):  # of 4 KB: too little for one job, for one, for any number
        monkeypatch.setattr("os.sysconf", lambda name, pages=pages: pages if name == "SC_PHYS_PAGES" else 4096)
        count, memory = devices.count_cores()
        assert (count, memory) == (len(list_devices()), pages * 4096)


def test_a_cores_peak_leaves_the_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    assert devices.measure_core(2) > 1e9 and torch.get_num_threads() == before


@pytest.fixture
def arguments(small: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments of an a100 run whose data and weights are all there."""
    monkeypatch.setattr(paths, "ROOT", project)
    monkeypatch.setattr(tiny, "REHEARSAL", project / "data" / "generated" / "rehearsal")
    models = tiny.make_models(profiles.load("a100", "profile.candidates=gemma-3-12b").models)
    chosen = ["--profile", "a100", "--candidates", "gemma-3-12b", "--run", "test-refused"]
    return [*chosen, "--data", str(small), "--models", str(models)]


def test_a_gpu_too_small_is_refused_before_anything_runs(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(preparation, "check_accelerator", lambda profile: None)
    assert pipeline.main([*arguments, "--gpu", "t4-16gb"]) == pipeline.REFUSED
    told = capsys.readouterr()
    assert "does not fit:" in told.out and NF4 in told.out and "01_eda" not in told.out
    assert "the plan does not fit this machine" in told.err
    assert not Run("test-refused").root.exists()


def test_a_machine_without_a_gpu_is_refused_before_the_data_is_read(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(preparation, "read_folder", lambda folder: pytest.fail("the data was read"))
    for driver, cuda, reason in (
        ("", "13.0", "no NVIDIA driver answers"),
        ("535.104", "13.0", "driver 535.104 is older than torch .* for CUDA 13.0 needs .580.; update the driver"),
        ("535.104", "12.6", "find no GPU; look at CUDA_VISIBLE_DEVICES"),
        ("590.1", None, "is a build for CPUs"),
    ):
        monkeypatch.setattr(accelerator, "read_driver", lambda driver=driver: driver)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        assert pipeline.main(arguments) == pipeline.REFUSED
        assert re.search(f"profile a100 needs a GPU: .*{reason}", capsys.readouterr().err)


def test_a_full_disk_is_refused_before_anything_runs(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(preparation, "check_accelerator", lambda profile: None)
    monkeypatch.setattr(preparation.shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    assert pipeline.main([*arguments, "--gpu", "4xa100-80gb"]) == pipeline.REFUSED
    text = capsys.readouterr().out
    assert "1.0 GB free; make room" in text and "01_eda" not in text and not Run("test-refused").root.exists()


def test_networks_that_cannot_be_had_are_refused_with_the_command_that_gets_them(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(preparation, "check_accelerator", lambda profile: None)
    command = ["--profile", "a100", "--candidates", "gemma-3-12b", "--data", str(small)]
    assert pipeline.main(command) == pipeline.REFUSED
    told = capsys.readouterr()
    assert "run: hf auth login && hf download google/gemma-3-12b-pt" in told.err and "01_eda" not in told.out
