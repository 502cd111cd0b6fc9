"""What must hold of a profile, whoever wrote it: a file of this folder, or a shell's `--set`."""

import re
from collections.abc import Iterator

from utils.core.errors import ProfileError
from utils.core.recipe import Recipe
from utils.core.schema import TASKS
from utils.models.zoo import ZOO
from utils.profiles.base import Profile

MOST_SEED = 2**31  # numpy's seeds end at 2**32, and a final training with several seeds counts on from its first
LEAST_SAMPLE = 200  # rows of the embedded data: fewer cannot be split into folds


def check(profile: Profile) -> None:
    """Raises ProfileError with everything that does not fit together, one line each."""
    problems = [*_profile_problems(profile)]
    by_name = {recipe.name: list(_recipe_problems(recipe, profile.fold_count)) for recipe in profile.candidates}
    for recipe in profile.candidates:
        base = by_name.get(recipe.variant_of, [])  # what is wrong with a variant's base is said once
        problems += [f"{recipe.name}: {problem}" for problem in by_name[recipe.name] if problem not in base]
    for final in profile.finals:
        problems += [f"final.{final.candidate}: {text}" for text in _fold_problems(final.folds, profile.fold_count)]
    if problems:
        raise ProfileError("\n".join(f"profile {profile.name}: {problem}" for problem in problems))


def _profile_problems(profile: Profile) -> Iterator[str]:
    names = [recipe.name for recipe in profile.candidates]
    if not 0 <= profile.seed < MOST_SEED:
        yield f"seed must be at least 0 and below {MOST_SEED}"
    if profile.fold_count < 2:
        yield "fold_count must be at least 2: one fold validates, the others train"
    if profile.sample_rows < LEAST_SAMPLE:
        yield f"sample_rows must be at least {LEAST_SAMPLE}"
    if not re.fullmatch(r"[A-Za-z0-9_-]+", profile.cache):
        yield f"cache {profile.cache!r}: use letters, digits, - and _"
    if profile.comparison not in names:
        yield f"comparison {profile.comparison!r} is no candidate; use one of {', '.join(names)}"
    translators = ["none", "glossary", *(name for name, model in ZOO.items() if model.translates)]
    for field in ("translation", "retranslation"):
        value = getattr(profile, field)
        if value not in translators and not (field == "retranslation" and not value):
            yield f"{field} {value!r} does not translate; use one of {', '.join(translators)}"
    for task in TASKS:
        if not set(profile.eligible(task)) & set(names):
            yield f"no candidate may go on to the final training of {task}; add a Final"
    finals = {final.candidate for final in profile.finals} | {profile.comparison}
    for recipe in profile.candidates:
        if recipe.name in finals and recipe.scheme != "query":
            yield f"{recipe.name} may be trained to the end, so its scheme must be query; vary the scheme in a variant"
    baselines = [recipe.name for recipe in profile.candidates if recipe.kind != "classifier"]
    if unknown := [name for name in profile.members if name not in baselines]:
        yield f"members {', '.join(unknown)}: no baseline of the profile; use some of {', '.join(baselines)}"


def _recipe_problems(recipe: Recipe, fold_count: int) -> Iterator[str]:
    if not 0 <= recipe.seed < MOST_SEED:
        yield f"seed must be at least 0 and below {MOST_SEED}"
    if recipe.scheme != "leave-language":  # whose folds are languages
        yield from _fold_problems(recipe.folds, fold_count)
    if recipe.kind != "classifier":
        return
    if recipe.model not in ZOO:
        yield f"model {recipe.model!r} is not in utils/models/zoo.py; add a line there"
        return
    model = ZOO[recipe.model]
    if model.translates or model.family != recipe.family:
        yield f"model {recipe.model} is of family {model.family}, not {recipe.family}; add it to a profile with from_zoo"
    elif (recipe.pooling == "last") == model.encoder:
        yield f"pooling {recipe.pooling} does not fit; an encoder has mean or first, a decoder has last"
    elif recipe.architecture == "bi-encoder" and not model.encoder:
        yield "a decoder reads query and target together; set architecture to cross-encoder"
    layers = (model.shape or {}).get("num_hidden_layers", recipe.frozen_layers)
    if recipe.frozen_layers > layers:
        yield f"frozen_layers is {recipe.frozen_layers}, {recipe.model} has {layers} layers"
    if recipe.quantisation == "int8":
        yield "8-bit weights are for scoring only; set quantisation to nf4 or none"
    if recipe.epochs == 0:
        yield "epochs must be more than 0"


def _fold_problems(folds: tuple[int, ...], fold_count: int) -> Iterator[str]:
    if not folds or len(set(folds)) < len(folds) or not all(0 <= fold < fold_count for fold in folds):
        yield f"folds {','.join(map(str, folds))}: name each once, between 0 and {fold_count - 1}"
