"""Fields changed from a shell or a parameters cell: `NAME.FIELD=VALUE`, typed and checked against the profile.

NAME is a candidate of the bake-off (its variants follow in what they share with it), `final.` and a candidate for its final training, or
the profile.
"""

import math
import typing
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal

from utils.core.errors import ProfileError
from utils.core.recipe import Recipe
from utils.models.zoo import ZOO
from utils.profiles.base import Final, Profile

PROFILE, FINAL = (
    "profile",
    "final.",
)  # the profile whatever its name; what stands before a candidate's name for its final training
# What an entry is, not how it is set; and what later steps set themselves.
FIXED = ("name", "family", "kind", "variant_of", "candidate", "tasks", "auxiliary_rows")
BASELINE_FIELDS = ("rows", "answer_rows", "folds", "translation", "max_length", "seed")  # all that a baseline reads
AT_LEAST_ONE = (
    "batch_rows", "share_rows", "pack_tokens", "score_tokens", "lora_rank", "lora_alpha", "finalists", "group_depth", "seeds",
    "ablation_seeds",
)  # fmt: skip
SHARES = ("warmup", "dropout", "lora_dropout", "level_dropout")  # numbers below 1
SELECTION = "candidates"  # of the profile: which networks take part


@dataclass(frozen=True)
class Override:
    """One changed field. `str()` gives its normal form, the same for `1e-4` and `0.0001`."""

    name: str
    field: str
    value: Any

    def __str__(self) -> str:
        value = ",".join(map(str, self.value)) if isinstance(self.value, tuple) else str(self.value)
        return f"{self.name}.{self.field}={value}"


def parse(text: str, profile: Profile) -> list[Override]:
    """The overrides of a text, separated by spaces, each field once (the last wins), in a fixed order.

    Raises ProfileError for an unknown name or field, with the nearest that is known, and for a value of another type or out of range.
    """
    overrides = {}
    for part in text.split():
        key, equals, value = part.partition("=")
        name, _, field = key.rpartition(".")
        if not (equals and name and field and value):
            raise ProfileError(f"--set {part}: write NAME.FIELD=VALUE, for instance e5-small.learning_rate=1e-4")
        name = profile.name if name == PROFILE else name
        types = _settable(name, profile, part)
        if field not in types:
            raise ProfileError(
                f"--set {part}: {name} has no field {field} that can be set; {_nearest(field, list(types))}"
            )
        overrides[name, field] = Override(name, field, _check(field, _read(value, types[field], part), part))
    return [overrides[key] for key in sorted(overrides)]


def join(overrides: list[Override]) -> str:
    """The normal form of overrides as one text, which `parse` reads."""
    return " ".join(map(str, overrides))


def apply(profile: Profile, overrides: list[Override]) -> Profile:
    """The profile with its fields, candidates and finals changed; a selection of candidates comes last."""
    selection = ()
    for override in overrides:
        change = {override.field: override.value}
        if (override.name, override.field) == (profile.name, SELECTION):
            selection = override.value
        elif override.name == profile.name:
            profile = replace(profile, **change)
        elif override.name.startswith(FINAL):
            finals = (replace(f, **change) if FINAL + f.candidate == override.name else f for f in profile.finals)
            profile = replace(profile, finals=tuple(finals))
        else:
            profile = _change_candidate(profile, override)
    return profile.select(list(selection)) if selection else profile


def _change_candidate(profile: Profile, override: Override) -> Profile:
    """A candidate and those of its variants that have the same value in the field, so that they still differ in their idea alone."""
    before = next(getattr(recipe, override.field) for recipe in profile.candidates if recipe.name == override.name)
    changed = {
        recipe.name
        for recipe in profile.candidates
        if recipe.name == override.name
        or (recipe.variant_of == override.name and getattr(recipe, override.field) == before)
    }
    candidates = (r.with_(**{override.field: override.value}) if r.name in changed else r for r in profile.candidates)
    by_task = override.field == "max_length" and override.value == 0
    overridden = profile.overridden | {(name, override.field) for name in changed if not by_task}
    return replace(profile, candidates=tuple(candidates), overridden=overridden)


def _settable(name: str, profile: Profile, part: str) -> dict[str, Any]:
    """Field -> type of what can be set under a name. Raises ProfileError for an unknown one."""
    kinds = {recipe.name: recipe.kind for recipe in profile.candidates}
    finals = [FINAL + final.candidate for final in profile.finals]
    if name == profile.name:
        return _simple(Profile) | {SELECTION: tuple[str, ...]}
    if name in finals:
        return _simple(Final)
    if name in kinds:
        fields = _simple(Recipe)
        return fields if kinds[name] == "classifier" else {field: fields[field] for field in BASELINE_FIELDS}
    known = [*kinds, *finals, profile.name]
    raise ProfileError(f"--set {part}: no candidate, final or profile {name}; {_nearest(name, known)}")


def _simple(holder: type) -> dict[str, Any]:
    hints = typing.get_type_hints(holder)
    plain = {
        name: hint
        for name, hint in hints.items()
        if hint in (int, float, bool, str) or typing.get_origin(hint) is Literal
    }
    folds = {"folds": hints["folds"]} if "folds" in hints else {}
    return {name: hint for name, hint in (plain | folds).items() if name not in FIXED}


def _nearest(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, 3, 0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"use one of {', '.join(known)}"


def _read(text: str, hint: Any, part: str) -> Any:
    """A text as a value of a type. Raises ProfileError."""
    if typing.get_origin(hint) is tuple:
        return tuple(_read(item, typing.get_args(hint)[0], part) for item in text.split(","))
    if typing.get_origin(hint) is Literal:
        choices = {str(choice): choice for choice in typing.get_args(hint)}
        if text not in choices:
            raise ProfileError(f"--set {part}: use one of {', '.join(choices)}")
        return choices[text]
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise ProfileError(f"--set {part}: use true or false")
        return text.lower() == "true"
    try:
        return hint(text)
    except ValueError:
        kind = {int: "a whole number", float: "a number"}[hint]
        raise ProfileError(f"--set {part}: {text!r} is not {kind}") from None


def _check(field: str, value: Any, part: str) -> Any:
    """A value that lies in its field's range. Raises ProfileError."""
    if field == "model" and value not in ZOO:
        raise ProfileError(f"--set {part}: {value} is no model of utils/models/zoo.py; {_nearest(value, list(ZOO))}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        least, most = int(field in AT_LEAST_ONE), 1.0 if field in SHARES else math.inf
        if not least <= value < most:
            raise ProfileError(f"--set {part}: must be at least {least}" + (" and below 1" if field in SHARES else ""))
    return value
