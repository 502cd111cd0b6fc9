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

PROFILE, FINAL = "profile", "final."  # names in an override's normal form
FIXED = ("name", "family", "kind", "variant_of", "candidate", "tasks")  # what an entry is, not how it is set
AT_LEAST_ONE = (
    "batch_rows", "share_rows", "pack_tokens", "score_tokens", "lora_rank", "lora_alpha", "fold_count", "finalists", "group_depth",
)  # fmt: skip
SHARES = ("warmup", "dropout", "lora_dropout")  # numbers below 1
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
        name = PROFILE if name == profile.name else name
        types = _settable(name, profile, part)
        if field not in types:
            raise ProfileError(
                f"--set {part}: {name} has no field {field} that can be set; {_nearest(field, list(types))}"
            )
        overrides[name, field] = Override(name, field, _check(field, _read(value, types[field], part), profile, part))
    return [overrides[key] for key in sorted(overrides)]


def join(overrides: list[Override]) -> str:
    """The normal form of overrides as one text, which `parse` reads."""
    return " ".join(map(str, overrides))


def apply(profile: Profile, overrides: list[Override]) -> Profile:
    """The profile with its fields, candidates and finals changed; a selection of candidates comes last."""
    for override in overrides:
        change = {override.field: override.value}
        if override.name == PROFILE:
            profile = profile if override.field == SELECTION else replace(profile, **change)
        elif override.name.startswith(FINAL):
            finals = (replace(f, **change) if FINAL + f.candidate == override.name else f for f in profile.finals)
            profile = replace(profile, finals=tuple(finals))
        else:
            profile = _change_candidate(profile, override)
    selections = [override.value for override in overrides if (override.name, override.field) == (PROFILE, SELECTION)]
    return profile.select(list(selections[0])) if selections else profile


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
    overridden = profile.overridden | {(name, override.field) for name in changed}
    return replace(profile, candidates=tuple(candidates), overridden=overridden)


def _settable(name: str, profile: Profile, part: str) -> dict[str, Any]:
    """Field -> type of what can be set under a name."""
    candidates = [recipe.name for recipe in profile.candidates]
    finals = [FINAL + final.candidate for final in profile.finals]
    if name == PROFILE:
        return _simple(Profile) | {SELECTION: tuple[str, ...]}
    if name in finals:
        return _simple(Final)
    if name in candidates:
        return _simple(Recipe)
    raise ProfileError(
        f"--set {part}: no candidate, final or profile {name}; {_nearest(name, [*candidates, *finals, profile.name])}"
    )


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
        return _read(text.capitalize(), Literal[True, False], part)
    try:
        return hint(text)
    except ValueError:
        kind = {int: "a whole number", float: "a number"}[hint]
        raise ProfileError(f"--set {part}: {text!r} is not {kind}") from None


def _check(field: str, value: Any, profile: Profile, part: str) -> Any:
    """A value that makes sense in its field. Raises ProfileError."""
    if field == "model" and value not in ZOO:
        raise ProfileError(f"--set {part}: {value} is no model of utils/models/zoo.py; {_nearest(value, list(ZOO))}")
    if field == "folds" and not all(0 <= fold < profile.fold_count for fold in value):
        raise ProfileError(f"--set {part}: folds lie between 0 and {profile.fold_count - 1}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        least, most = int(field in AT_LEAST_ONE), 1.0 if field in SHARES else math.inf
        if not least <= value < most:
            raise ProfileError(f"--set {part}: must be at least {least}" + (" and below 1" if field in SHARES else ""))
    return value
