"""A run keeps the profile, the overrides and the data that it was started with."""

from pathlib import Path

import pytest

from utils.core import paths, settings
from utils.core.errors import SettingsError
from utils.core.settings import Settings

OVERRIDES = "e5-small.learning_rate=0.0001 profile.rows=600"
NO_DATA = settings.hash_data(Path("/data"))  # a folder that is not there
SETTINGS = Settings("laptop", "/data", "/models", "a,b", "ssh -p 22", NO_DATA, OVERRIDES)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> paths.Run:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return paths.Run("small")


def test_saved_settings_are_loaded_again(run: paths.Run, tmp_path: Path) -> None:
    assert settings.save(run, SETTINGS) == SETTINGS
    assert run.settings == tmp_path / "runs" / "small" / "run.json" and run.settings.exists()
    assert settings.load(run) == settings.load(run, "laptop") == SETTINGS


def test_a_new_run_passes_every_check_but_cannot_be_loaded(run: paths.Run) -> None:
    settings.check(run, "laptop")
    settings.check(run, "a100", OVERRIDES)
    with pytest.raises(SettingsError, match=r"'small' does not exist yet; .*--run small"):
        settings.load(run)
    assert not run.root.exists()


def test_another_profile_is_refused(run: paths.Run) -> None:
    settings.save(run, SETTINGS)
    message = r"started with profile laptop, not a100; name that one \(--profile laptop\), or .*\(--run NAME\) or remove runs/small"
    with pytest.raises(SettingsError, match=message):
        settings.load(run, "a100")
    with pytest.raises(SettingsError, match=message):
        settings.check(run, "a100")
    with pytest.raises(SettingsError, match=message):
        settings.check(run, "a100", OVERRIDES)


def test_other_overrides_are_refused(run: paths.Run) -> None:
    settings.save(run, SETTINGS)
    with pytest.raises(
        SettingsError, match=r"started with e5-small\.learning_rate=0\.0001 .*, not with profile\.rows=7;"
    ):
        settings.check(run, "laptop", "profile.rows=7")
    with pytest.raises(SettingsError, match=r"started with e5-small.*, not with no overrides;"):
        settings.check(run, "laptop", "")
    settings.check(run, "laptop", OVERRIDES)


def test_overrides_none_accepts_any(run: paths.Run) -> None:
    settings.save(run, SETTINGS)
    settings.check(run, "laptop", None)
    settings.check(run, "laptop")


def test_saving_again_may_change_anything_but_profile_and_overrides(run: paths.Run) -> None:
    settings.save(run, Settings("laptop", "/data"))
    with pytest.raises(SettingsError, match="not a100"):
        settings.save(run, Settings("a100", "/data"))
    with pytest.raises(SettingsError, match="started with no overrides, not with profile"):
        settings.save(run, Settings("laptop", "/data", overrides="profile.rows=7"))
    assert settings.load(run) == Settings("laptop", "/data", data_hash=NO_DATA)
    moved = Settings("laptop", "/other", "/models", "a,b", "rsh", NO_DATA)
    settings.save(run, moved)
    assert settings.load(run) == moved


def test_a_run_goes_on_with_its_own_data_alone(run: paths.Run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "train_QC.txt").write_text("one")
    (data / "notes.txt").write_text("no file of the competition")
    begun = settings.save(run, Settings("laptop", str(data)))
    assert settings.reopen(run, "laptop") == begun and len(begun.data_hash) == 16
    (data / "notes.txt").write_text("changed")
    assert settings.reopen(run) == begun
    for name, content in (("train_QC.txt", "two"), ("train_QC.txt", "one"), ("dev_QC.txt", "")):
        (data / name).write_text(content)
        if content != "one":
            with pytest.raises(SettingsError, match=r"was started with other data .* run notebook 01 with it again"):
                settings.reopen(run)
    assert settings.load(run) == begun  # what reads no data goes on
    settings.save(run, Settings("laptop", str(data)))
    assert settings.reopen(run).data_hash != begun.data_hash


def test_relative_folders_are_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert settings.absolute("") == ""
    assert settings.absolute("data/../raw") == str(tmp_path.resolve() / "raw")
    assert settings.absolute(str(tmp_path / "x")) == str(tmp_path.resolve() / "x")
    assert settings.absolute("~/data") == str(tmp_path.resolve() / "home" / "data")


# What later notebooks read of earlier ones, and what stays: trainings, which name the rows that they are of.
READ = (
    "02_clean/train_QI.parquet", "02_clean/report.json", "03_folds/QI.parquet", "04_bakeoff/leaderboard.csv",
    "04_bakeoff/finalists/QI/1.json",
    "04_bakeoff/QI/a/oof.parquet", "04_bakeoff/QI/a/recipe.json", "05_tapt/final/QI/1.json", "05_tapt/QI/direct/oof.parquet",
    "05_tapt/QI/direct/recipe.json", "06_final/QI/a/dev.parquet", "06_final/QI/a/related.parquet", "06_final/QI/a/recipe.json",
    "06_final/QI/a/held-out/oof.parquet", "06_final/QI/a/held-out/recipe.json", "07_ensemble/ensemble.json",
)  # fmt: skip
KEPT = (
    "04_bakeoff/QI/a/fold0/oof.parquet", "04_bakeoff/QI/a/fold0/facts.json", "06_final/QI/a/fold0/trained.json",
    "06_final/QI/a/fold0/trained.safetensors", "06_final/QI/a/held-out/fold1/oof.parquet", "run.json", "notebooks/01_eda.ipynb",
)  # fmt: skip


def test_what_was_made_of_other_data_is_forgotten(run: paths.Run, tmp_path: Path) -> None:
    """So no later part of the run goes on with it, whichever notebooks ran in between."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "train_QI.txt").write_text("one")
    settings.save(run, Settings("laptop", str(data)))
    for name in (*READ, *KEPT[:5], KEPT[6]):
        (run.root / name).parent.mkdir(parents=True, exist_ok=True)
        (run.root / name).write_text("{}")
    settings.save(run, Settings("laptop", str(data), "/models"))
    assert all((run.root / name).exists() for name in (*READ, *KEPT))
    (data / "train_QI.txt").write_text("two")
    settings.save(run, Settings("laptop", str(data)))
    assert not [name for name in READ if (run.root / name).exists()]
    assert all((run.root / name).exists() for name in KEPT)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"profile": "laptop"}', '{"profile": "a", "data": "b", "other": 1}']
)
def test_settings_that_cannot_be_read_are_named(run: paths.Run, content: str) -> None:
    run.root.mkdir(parents=True)
    run.settings.write_text(content)
    with pytest.raises(SettingsError, match=r"run\.json: cannot be read .*; remove it and run notebook 01 again"):
        settings.load(run)
