"""Profiles: a selection keeps what every bake-off shows; an override changes just what it names, and says what cannot be."""

from dataclasses import replace
from pathlib import Path

import pytest

from utils import profiles
from utils.core import paths
from utils.core.errors import ProfileError, SettingsError
from utils.core.recipe import Recipe, pick
from utils.core.schema import TASKS
from utils.core.settings import Settings
from utils.profiles import overrides
from utils.profiles.a100 import A100
from utils.profiles.base import HELD_OUT, Final, Profile
from utils.profiles.checks import check
from utils.profiles.laptop import LAPTOP


def change(text: str, profile: str = "laptop") -> dict[str, Recipe]:
    return {recipe.name: recipe for recipe in profiles.load(profile, text).recipes("QC")}


def test_a_selection_keeps_the_baselines_and_the_named_candidates() -> None:
    few = profiles.load("a100", "profile.candidates=gemma-3-12b,qwen3-8b")
    names = [recipe.name for recipe in few.candidates]
    baselines = [recipe.name for recipe in A100.candidates if recipe.kind != "classifier"]
    assert names == [*baselines, "qwen3-8b", "gemma-3-12b"] and set(few.members) < set(names)
    assert few.comparison == "gemma-3-12b"
    assert profiles.load("a100", "a100.candidates=qwen3-8b").comparison == "qwen3-8b"
    assert profiles.load("a100") is A100
    assert few.models == ["multilingual-e5-small", "qwen3-8b", "gemma-3-12b", "madlad400-10b-mt", "madlad400-3b-mt"]


def test_what_cannot_be_selected_is_refused() -> None:
    with pytest.raises(ProfileError, match="has no candidate gemma-3-27b; use some of xlm-roberta-large"):
        profiles.load("a100", "profile.candidates=gemma-3-27b")
    both, one = Final("e5-small", 0, (0,)), Final("gemma-3-270m", 0, (0,), tasks=("QC",))
    with pytest.raises(ProfileError, match=r"none of gemma-3-270m may go on .* of QI; add e5-small"):
        replace(LAPTOP, finals=(both, one)).select(["gemma-3-270m"])
    with pytest.raises(ProfileError, match=r"none of e5-small-report-split may go on .* of QC; add e5-small or gemma"):
        profiles.load("laptop", "profile.candidates=e5-small-report-split")
    with pytest.raises(ProfileError, match="unknown profile"):
        profiles.load("h100")


@pytest.mark.parametrize("profile", profiles.PROFILES.values(), ids=lambda profile: profile.name)
def test_every_final_is_of_a_candidate(profile: Profile) -> None:
    names = {recipe.name for recipe in profile.candidates}
    assert {final.candidate for final in profile.finals} <= names and profile.comparison in names
    assert all(profile.eligible(task) for task in TASKS)


def test_an_override_changes_the_candidate_and_what_its_variants_share_with_it() -> None:
    usual, changed = change(""), change("e5-small.learning_rate=1e-4 e5-small.rows=700")
    variants = ["e5-small-no-translation", "e5-small-report-split", "e5-small-unseen-language"]
    for name in ("e5-small", *variants):
        assert changed[name] == usual[name].with_(learning_rate=1e-4, rows=700)
    untouched = set(usual) - {name for name in usual if name.startswith("e5-small")}
    assert all(changed[name] == usual[name] for name in untouched)


@pytest.mark.parametrize("field", ["seed", "query_first", "zero_stage", "max_length", "rows"])
def test_what_is_set_by_hand_is_not_changed_by_the_task(field: str) -> None:
    values = {"seed": 7, "query_first": True, "zero_stage": 3, "max_length": 50, "rows": 33}
    profile = profiles.load("laptop", f"gemma-3-270m.{field}={values[field]}")
    for task in TASKS:
        candidate = next(recipe for recipe in profile.recipes(task) if recipe.name == "gemma-3-270m")
        assert getattr(candidate, field) == values[field]


def test_a_variant_keeps_what_sets_it_apart() -> None:
    """Its scheme and its folds are its own: what is set for the candidate does not reach them."""
    usual, changed = change(""), change("e5-small.folds=3 e5-small.rows=700")
    assert changed["e5-small"].folds == changed["e5-small-report-split"].folds == (3,)
    unseen = "e5-small-unseen-language"
    assert changed[unseen] == usual[unseen].with_(rows=700) and usual[unseen].folds != usual["e5-small"].folds


def test_finals_and_the_profile_can_be_set() -> None:
    profile = profiles.load(
        "laptop", "final.e5-small.rows=900 final.e5-small.folds=0,1,2 laptop.validation_rows=70 profile.offline=false"
    )
    candidate = pick(LAPTOP.recipes("QI"), ["e5-small"])[0]
    final = profile.final(candidate, "QI", tapt=False)
    assert (final.name, final.rows, final.folds) == ("e5-small", 900, (0, 1, 2))
    assert profile.validation_rows == 70 and profile.offline is False


def test_the_finals_are_the_finalists_and_the_baselines_of_the_ensemble() -> None:
    """The champion alone starts on the auxiliary task; the baselines answer the same folds, on all rows."""
    finalists = pick(LAPTOP.recipes("QC"), ["gemma-3-270m", "e5-small"])
    finals = profiles.load("laptop", "final.gemma-3-270m.folds=1,2").final_recipes(finalists, "QC", tapt=True)
    assert [final.name for final in finals] == ["gemma-3-270m", "e5-small", *LAPTOP.members]
    assert [final.auxiliary_rows for final in finals] == [LAPTOP.auxiliary_rows, *[0] * (1 + len(LAPTOP.members))]
    assert all(final.folds == (1, 2) and final.answer_rows == 0 for final in (finals[0], *finals[2:]))


def test_a_final_with_more_seeds_is_several_members_on_the_same_rows() -> None:
    profile = profiles.load("laptop", "final.e5-small.seeds=3")
    finals = profile.final_recipes(pick(profile.recipes("QC"), ["e5-small", "gemma-3-270m"]), "QC", tapt=False)
    assert [final.name for final in finals[:4]] == ["e5-small", "gemma-3-270m", "e5-small-seed-1", "e5-small-seed-2"]
    first = finals[0]
    for number, other in ((1, finals[2]), (2, finals[3])):
        assert other == first.with_(name=f"e5-small-seed-{number}", seed=first.seed + number)
    assert list(profile.held_out_recipes(finals, (1,))) == ["e5-small", *profile.members]
    with pytest.raises(ProfileError, match="must be at least 1"):
        profiles.load("laptop", "final.e5-small.seeds=0")


def test_a_held_out_recipe_is_its_final_without_a_language() -> None:
    finals = LAPTOP.final_recipes(pick(LAPTOP.recipes("QC"), ["gemma-3-270m", "e5-small"]), "QC", tapt=True)
    held_out = LAPTOP.held_out_recipes(finals, (1, 4))
    assert list(held_out) == ["gemma-3-270m", *LAPTOP.members]  # of the networks, the champion alone
    champion, baseline = held_out["gemma-3-270m"], held_out["tfidf"]
    assert (champion.rows, champion.auxiliary_rows, champion.model) == (LAPTOP.held_out_rows, 0, "gemma-3-270m")
    assert baseline.rows == finals[2].rows
    assert {(r.name, r.scheme, r.folds) for r in held_out.values()} == {(HELD_OUT, "leave-language", (1, 4))}
    assert LAPTOP.held_out_recipes(finals, ()) == {}  # too few languages to hold one out
    more = replace(LAPTOP, held_out_networks=2)
    assert list(more.held_out_recipes(finals, (1, 4)))[:2] == ["gemma-3-270m", "e5-small"]


def test_a_task_that_costs_more_has_fewer_rows_for_every_network() -> None:
    profile = replace(LAPTOP, rows_by_task=(("QI", 31),))
    rows = {task: {r.rows for r in profile.recipes(task) if r.kind == "classifier"} for task in TASKS}
    assert rows["QI"] == {31} and 31 not in rows["QC"]
    baselines = [[r.rows for r in profile.recipes(task) if r.kind != "classifier"] for task in TASKS]
    assert baselines[0] == baselines[1]


def test_members_that_are_no_baselines_are_refused() -> None:
    with pytest.raises(ProfileError, match="members e5-small: no baseline of the profile; use some of constant, tfidf"):
        check(replace(LAPTOP, members=("tfidf", "e5-small")))


def test_a_text_has_one_normal_form_which_reads_back() -> None:
    one = overrides.parse("laptop.rows=500 e5-small.learning_rate=0.0001 laptop.rows=600", LAPTOP)
    other = overrides.parse(" e5-small.learning_rate=1e-4  profile.rows=600", LAPTOP)
    text = overrides.join(one)
    assert text == overrides.join(other) == "e5-small.learning_rate=0.0001 laptop.rows=600"
    assert overrides.parse(text, LAPTOP) == one


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("e5-smal.epochs=2", "no candidate, final or profile e5-smal; did you mean e5-small"),
        ("qqqq.epochs=2", "use one of constant, tfidf"),
        ("e5-small.learning=2", "no field learning that can be set; did you mean learning_rate"),
        ("e5-small.name=x", "no field name that can be set"),
        ("e5-small.learning_rate=fast", "'fast' is not a number"),
        ("e5-small.learning_rate=nan", "must be at least 0"),
        ("e5-small.rows=1.5", "'1.5' is not a whole number"),
        ("e5-small.batch_rows=0", "must be at least 1"),
        ("e5-small.folds=0,9", "e5-small: folds 0,9: name each once, between 0 and 4"),
        ("e5-small.folds=1,1", "e5-small: folds 1,1: name each once"),
        ("laptop.fold_count=2 final.e5-small.folds=1,2", "final.e5-small: folds 1,2: name each once, between 0 and 1"),
        ("laptop.seed=5000000000", "seed must be at least 0 and below 2147483648"),
        ("e5-small.seed=4294967295", "e5-small: seed must be at least 0 and below"),
        ("laptop.fold_count=1", "fold_count must be at least 2"),
        ("laptop.comparison=e5", "comparison 'e5' is no candidate; use one of"),
        ("laptop.translation=qwen3-8b", "translation 'qwen3-8b' does not translate; use one of none, glossary, madlad"),
        ("laptop.cache=../x", "use letters, digits, - and _"),
        ("laptop.sample_rows=100", "sample_rows must be at least 200"),
        ("e5-small.model=gemma-3-270m", "of family gemma, not xlm-r; add it to a profile with from_zoo"),
        ("e5-small.pooling=last", "an encoder has mean or first, a decoder has last"),
        ("gemma-3-270m.architecture=bi-encoder", "a decoder reads query and target together"),
        ("e5-small.frozen_layers=13", "multilingual-e5-small has 12 layers"),
        ("gemma-3-270m.quantisation=int8", "8-bit weights are for scoring only"),
        ("e5-small.epochs=0", "epochs must be more than 0"),
        ("e5-small.scheme=report", "its scheme must be query"),
        ("constant.learning_rate=1", "constant has no field learning_rate that can be set"),
        ("e5-small.pooling=max", "use one of mean, first, last"),
        ("e5-small.translation=yes", "use true or false"),
        ("e5-small.model=qwen3-9b", "no model of utils/models/zoo.py; did you mean qwen3-8b"),
        ("e5-small.dropout=1", "at least 0 and below 1"),
        ("e5-small", "write NAME.FIELD=VALUE"),
        ("final.tfidf.rows=3", "no candidate, final or profile final.tfidf"),
    ],
)
def test_what_cannot_be_set_is_refused_with_the_nearest(text: str, reason: str) -> None:
    with pytest.raises(ProfileError, match=reason):
        profiles.load("laptop", text)


def test_a_rehearsal_touches_neither_real_data_nor_the_real_cache() -> None:
    rehearsal, real = profiles.load("rehearsal"), profiles.load("a100")
    assert rehearsal.embedded and not real.embedded and rehearsal.cache != real.cache


def test_a_fold_count_and_the_folds_of_it_are_checked_together() -> None:
    profile = profiles.load("laptop", "laptop.fold_count=10 e5-small.folds=7")
    assert next(recipe for recipe in profile.recipes("QC") if recipe.name == "e5-small").folds == (7,)


def test_a_length_of_zero_stays_that_of_the_task() -> None:
    profile = profiles.load("laptop", "e5-small.max_length=0")
    lengths = {task: next(r.max_length for r in profile.recipes(task) if r.name == "e5-small") for task in TASKS}
    assert lengths == {"QC": 72, "QI": 96}


def test_what_is_wrong_with_a_candidate_is_said_once() -> None:
    with pytest.raises(ProfileError) as refused:
        profiles.load("laptop", "e5-small.epochs=0")
    assert str(refused.value).splitlines() == ["profile laptop: e5-small: epochs must be more than 0"]


# -- a run and the file of its profile -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edited", "named"),
    [
        (replace(LAPTOP, fold_count=4), "fold_count"), (replace(LAPTOP, seed=7, group_depth=2), "group_depth, seed"),
        (replace(LAPTOP, consistency=True), "consistency"), (replace(LAPTOP, second_stage=False), "second_stage"),
        (replace(LAPTOP, finals=LAPTOP.finals[:1]), "finals"), (replace(LAPTOP, candidates=LAPTOP.candidates[:-1]), "candidates"),
        (replace(LAPTOP, candidates=tuple(r.with_(head_rate=9.0) if r.model else r for r in LAPTOP.candidates)), "e5-small.head_rate"),
        (replace(LAPTOP, workers=3, offline=False, cache="other"), ""),
        (replace(LAPTOP, candidates=tuple(recipe.with_(score_tokens=99) for recipe in LAPTOP.candidates)), ""),
    ],
)  # fmt: skip
def test_a_profile_that_was_edited_is_not_mixed_with_what_a_run_has_left(
    edited: Profile, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    run, chosen = paths.Run("a"), Settings("laptop", "/data")
    assert profiles.open_profile(chosen, run) == LAPTOP  # of a run that has kept none
    profiles.bind(run, LAPTOP)
    assert profiles.open_profile(chosen, run) == LAPTOP
    monkeypatch.setitem(profiles.PROFILES, "laptop", edited)
    assert profiles.open_profile(chosen) == edited
    if not named:
        assert profiles.open_profile(chosen, run) == edited
        return
    with pytest.raises(
        SettingsError, match=r"another than run 'a' was started with .*run notebook 01 with it again"
    ) as error:
        profiles.open_profile(chosen, run)
    assert all(name in str(error.value) for name in named.split(", "))
    (run.clean / "train_QC.parquet").parent.mkdir()
    profiles.bind(run, LAPTOP)
    assert run.clean.exists()
    profiles.bind(run, edited)
    assert not run.clean.exists()  # so 02 runs again, too, if 01 alone is told to
    assert profiles.open_profile(chosen, run) == edited
