"""The classes that a profile is made of; their values are in one file per profile."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from utils.core.errors import ProfileError
from utils.core.recipe import Recipe
from utils.core.schema import TASKS
from utils.models.zoo import ZOO

MAX_LENGTH = {"QC": 72, "QI": 96}
# A decoder reads the query last, with the target before it (measured by benchmarks/sharing.py).
QUERY_FIRST = {"QC": False, "QI": False}

HELD_OUT = "held-out"  # the name of a final recipe without one language

BASELINES = (
    Recipe("constant", "baseline", kind="constant"),
    Recipe("tfidf", "baseline", kind="tfidf"),
    Recipe("overlap", "baseline", kind="overlap"),
    Recipe("wordpairs", "baseline", kind="wordpairs"),
)


@dataclass(frozen=True)
class Final:
    """A candidate that may be trained to the end, and on what: training rows (0 = all), folds, epochs; for which tasks; how often,
    each time with another seed, where several networks are to be members (where rows are capped, each draws its own).
    """

    candidate: str
    rows: int
    folds: tuple[int, ...]
    epochs: float = 0.0  # 0 = as in the bake-off
    tasks: tuple[str, ...] = TASKS
    seeds: int = 1


@dataclass(frozen=True)
class Profile:
    """The settings of one profile. Rows are training rows per task unless said otherwise; 0 = all."""

    name: str
    rows: int  # training rows that are split into folds
    fold_count: int
    group_depth: int  # levels of a category path that make a group
    translation: str  # none, glossary, or a translator of the zoo
    validation_rows: int  # validation rows per fold in the bake-off and in TAPT
    candidates: tuple[Recipe, ...]  # of the bake-off, from the constant upwards
    skipped: tuple[tuple[str, str], ...]  # families that cannot run here, and why
    comparison: str  # the candidate whose variants test the report's ideas
    finals: tuple[Final, ...]  # the candidates that may go on to the final training
    finalists: int  # so many of them do at most, each the best of its family
    rows_by_task: tuple[
        tuple[str, int], ...
    ]  # (task, training rows of each network of its bake-off) where one costs more
    tapt_rows: int  # training rows of an arm of the TAPT comparison
    auxiliary_rows: int  # rows of the auxiliary task in stage 1
    offline: bool  # never ask the hub
    members: tuple[str, ...] = (
        "tfidf",
        "overlap",
        "wordpairs",
        "zeroshot",
    )  # baselines that go into the ensemble beside the networks
    ablation_rows: int = 300  # training rows of each arm of notebook 08
    ablation_validation_rows: int = 600  # validation rows of each
    ablation_seeds: int = 3  # so many times is each arm trained
    second_stage: bool = True  # over the rows of a query, in the ensemble; adopted where its gain is sure
    consistency: bool = (
        False  # of a query's paths, in the ensemble: none more relevant than the one above; adopted likewise
    )
    held_out: int = 2  # training languages that are held out in turn, to learn what unseen languages need
    held_out_rows: int = 0  # training rows of a network without such a language
    held_out_validation_rows: int = 0  # rows of such a language that it answers
    held_out_networks: int = 1  # so many finalists are trained without it, the champion first
    related_rows: int = 0  # rows withheld from the final training, whose queries have like ones in it: for the estimate
    retranslation: str = ""  # a second translator, for what the first leaves as it was
    ranks: int = 1  # processes per machine of a training that several share; 0 = one per visible GPU
    workers: int = 0  # trainings side by side; 0 = one per GPU, else one per core
    engine: Literal["auto", "fixed"] = (
        "fixed"  # auto: the plan chooses what fits the devices; fixed: as the recipes say
    )
    quantise: bool = False  # with auto: 4 bits are tried before a training is sharded over devices
    sample_rows: int = 8000  # size of the embedded data, where it is used
    embedded: bool = False  # use the embedded data whatever lies in data/raw
    cache: str = "translations"  # name of the translation cache in data/cache
    seed: int = 2025
    overridden: frozenset[tuple[str, str]] = frozenset()  # (candidate, field) set by hand: no task changes it

    def recipes(self, task: str) -> tuple[Recipe, ...]:
        """The bake-off's recipes of a task. In QI the report's split keeps queries together, so it is no candidate of its own."""
        fewer = dict(self.rows_by_task).get(task)
        recipes = []
        for recipe in self.candidates:
            rows = fewer if fewer and recipe.kind == "classifier" else recipe.rows
            changes = by_task(recipe, task) | {"seed": self.seed, "rows": rows}
            fixed = {field for name, field in self.overridden if name == recipe.name}
            recipes.append(recipe.with_(**{field: value for field, value in changes.items() if field not in fixed}))
        return tuple(recipe for recipe in recipes if not (task == "QI" and recipe.scheme in ("report", "strict")))

    @property
    def models(self) -> list[str]:
        """Every network that the profile reads, the translators included."""
        named = [recipe.model for recipe in self.candidates if recipe.model]
        translators = [name for name in (self.translation, self.retranslation) if name in ZOO]
        return list(dict.fromkeys([*named, *translators]))

    @property
    def compared(self) -> list[str]:
        """The candidate whose variants test the report's ideas, and these variants."""
        variants = [recipe.name for recipe in self.candidates if recipe.variant_of == self.comparison]
        return [self.comparison, *variants]

    @property
    def expands(self) -> bool:
        """Whether a candidate trains on queries in more languages than the training rows have."""
        return any(recipe.expansion for recipe in self.candidates)

    def eligible(self, task: str) -> list[str]:
        """The candidates that may go on to the final training of a task."""
        return [final.candidate for final in self.finals if task in final.tasks]

    def select(self, names: list[str]) -> "Profile":
        """The same profile with its baselines and, of its networks, the named ones alone.

        Raises ProfileError for an unknown name, and where none of them may go on to the final training of a task.
        """
        known = [recipe.name for recipe in self.candidates if recipe.kind == "classifier"]
        if unknown := [name for name in names if name not in known]:
            raise ProfileError(
                f"profile {self.name} has no candidate {', '.join(unknown)}; use some of {', '.join(known)}"
            )
        for task in TASKS:
            if not set(self.eligible(task)) & set(names):
                fitting = " or ".join(sorted(set(self.eligible(task))))
                raise ProfileError(
                    f"none of {', '.join(names)} may go on to the final training of {task}; add {fitting}"
                )
        chosen = tuple(recipe for recipe in self.candidates if recipe.kind != "classifier" or recipe.name in names)
        first = next(recipe.name for recipe in chosen if recipe.name in names)
        return replace(self, candidates=chosen, comparison=self.comparison if self.comparison in names else first)

    def direct_arm(self, champion: Recipe) -> Recipe:
        """The direct arm of the TAPT comparison: the champion on few rows."""
        return champion.with_(rows=self.tapt_rows, auxiliary_rows=0)

    def final_recipes(self, finalists: list[Recipe], task: str, tapt: bool) -> list[Recipe]:
        """The ensemble's recipes: each finalist's final, the champion first, then the same with other seeds, then the baselines on all
        rows of the same folds.

        The champion alone starts on the auxiliary task, where TAPT is adopted.
        """
        firsts = [self.final(finalist, task, tapt and finalist == finalists[0]) for finalist in finalists]
        others = [
            recipe.with_(name=f"{recipe.name}-seed-{number}", seed=recipe.seed + number)
            for recipe in firsts for number in range(1, self._final_of(recipe.name, task).seeds)
        ]  # fmt: skip
        networks = firsts + others
        baselines = [recipe for recipe in self.recipes(task) if recipe.name in self.members]
        return networks + [recipe.with_(folds=networks[0].folds, answer_rows=0) for recipe in baselines]

    def held_out_recipes(self, finals: list[Recipe], folds: tuple[int, ...]) -> dict[str, Recipe]:
        """Final recipe -> the same without one language at a time, `folds` of the scheme leave-language; finalists
        beyond the profile's number have none.
        """
        networks = [recipe.name for recipe in finals if recipe.kind == "classifier"][: self.held_out_networks]
        recipes = {}
        for recipe in finals:
            rows = self.held_out_rows if recipe.kind == "classifier" else recipe.rows
            if folds and (recipe.kind != "classifier" or recipe.name in networks):
                changes = {
                    "name": HELD_OUT,
                    "variant_of": recipe.name,
                    "scheme": "leave-language",
                    "folds": folds,
                    "rows": rows,
                }
                recipes[recipe.name] = recipe.with_(**changes, auxiliary_rows=0)
        return recipes

    def _final_of(self, candidate: str, task: str) -> Final:
        return next(final for final in self.finals if final.candidate == candidate and task in final.tasks)

    def final(self, finalist: Recipe, task: str, tapt: bool) -> Recipe:
        """The final recipe: a finalist on all rows that the profile allows, after stage 1 where TAPT is adopted."""
        final = self._final_of(finalist.name, task)
        auxiliary = self.auxiliary_rows if tapt else 0
        epochs = final.epochs or finalist.epochs
        return finalist.with_(
            rows=final.rows, folds=final.folds, epochs=epochs, auxiliary_rows=auxiliary, answer_rows=0
        )


def by_task(recipe: Recipe, task: str) -> dict[str, Any]:
    """Fields that hang on the task: the length where the recipe leaves it open, the order of a decoder's fields."""
    length = max(MAX_LENGTH.values()) if recipe.joint else MAX_LENGTH[task]
    return {
        "max_length": recipe.max_length or length,
        "query_first": QUERY_FIRST[task] if recipe.pooling == "last" else recipe.query_first,
    }


def zeroshot(rows: int, answer_rows: int = 0) -> Recipe:
    """The cosine of e5's vectors, tuned on so many rows; it answers at most `answer_rows` of dev and of test (0 = all)."""
    return Recipe(
        "zeroshot",
        "baseline",
        "multilingual-e5-small",
        kind="zeroshot",
        rows=rows,
        answer_rows=answer_rows,
        max_length=0,
    )


def from_zoo(name: str, template: Recipe) -> Recipe:
    """A model of the zoo as a candidate: what hangs on its architecture comes from its line there."""
    model = ZOO[name]
    return template.with_(
        name=name, model=name, family=model.family, precision=model.precision, pack_tokens=model.pack_tokens,
    )  # fmt: skip


def variants(recipe: Recipe, language_fold: int) -> tuple[Recipe, ...]:
    """The report's ideas as candidates, on as many rows: without translation, on the report's split, on a language left out."""
    name = recipe.name
    variant = recipe.with_(variant_of=name)
    return (
        variant.with_(name=f"{name}-no-translation", translation=False),
        variant.with_(name=f"{name}-report-split", scheme="report"),
        variant.with_(name=f"{name}-unseen-language", scheme="leave-language", folds=(language_fold,)),
    )
