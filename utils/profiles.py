"""The columns of literals: what each profile chooses, and nothing else. One road, other numbers."""

from dataclasses import dataclass, replace

from utils.recipe import Recipe
from utils.schema import TASKS
from utils.zoo import ZOO

MAX_LENGTH = {"QC": 72, "QI": 96}
# A decoder reads the query last, with the target before it (measured by benchmarks/sharing.py).
QUERY_FIRST = {"QC": False, "QI": False}
# Under DeepSpeed: titles are long and share little, so their activations want the memory that dealt-out weights leave.
ZERO_STAGE = {"QC": 2, "QI": 3}


class ProfileError(ValueError):
    """A profile or a rung that is not there; the text names those that are."""


@dataclass(frozen=True)
class Final:
    """A rung that may be trained to the end, and on what: training rows (0 = all), folds, epochs; and for which tasks."""

    rung: str
    rows: int
    folds: tuple[int, ...]
    epochs: float = 1.0
    tasks: tuple[str, ...] = TASKS


@dataclass(frozen=True)
class Profile:
    """Literals of one profile. Rows are training rows a task unless said otherwise; 0 = all."""

    name: str
    rows: int  # training rows that are dealt into folds
    fold_count: int
    group_depth: int  # levels of a category path that make a group
    translation: str  # a backend of `translate`
    judge_rows: int  # judged rows a fold in the bake-off and in TAPT
    ladder: tuple[Recipe, ...]  # the bake-off, from the constant upwards
    skipped: tuple[tuple[str, str], ...]  # rungs that cannot run here, and why
    comparison: str  # the rung whose variants test the report's ideas
    finals: tuple[Final, ...]  # the rungs that may go on to the final training
    finalists: int  # so many of them do at most, each the best of its family
    fewer_rows: tuple[tuple[str, str, int], ...]  # (rung, task, training rows) where one task costs a rung more
    tapt_rows: int  # teachers of an arm of the TAPT comparison
    sister_rows: int  # rows of the sister task in stage 1
    offline: bool  # never ask the hub
    retranslation: str = ""  # a second backend, for what the first leaves as it was
    ranks: int = 1  # processes a machine that train together; 0 = one a visible GPU
    sample_rows: int = 8000  # size of the embedded data, where it is used
    seed: int = 2025

    def recipes(self, task: str) -> tuple[Recipe, ...]:
        """The bake-off's recipes of a task. In QI the report's split shares no query, so it is no rung of its own."""
        rungs = (recipe for recipe in self.ladder if not (task == "QI" and recipe.scheme == "report"))
        fewer = {rung: rows for rung, of, rows in self.fewer_rows if of == task}
        return tuple(
            _for_task(recipe, task).with_(seed=self.seed, rows=fewer.get(recipe.name, recipe.rows)) for recipe in rungs
        )

    @property
    def models(self) -> list[str]:
        """Every network that the profile reads, the translators included."""
        named = [recipe.model for recipe in self.ladder if recipe.model]
        return list(dict.fromkeys([*named, *(name for name in (self.translation, self.retranslation) if name in ZOO)]))

    def narrow(self, rungs: str) -> "Profile":
        """The same profile with a ladder of its baselines and of the named rungs (`a,b`); empty keeps all.

        Raises ProfileError for a name that is no rung, and where none of the rungs may go on to the final training of a task.
        """
        named = [name.strip() for name in rungs.split(",") if name.strip()]
        if not named:
            return self
        known = [recipe.name for recipe in self.ladder if recipe.kind == "classifier"]
        if unknown := [name for name in named if name not in known]:
            raise ProfileError(f"profile {self.name} has no rung {', '.join(unknown)}; use some of {', '.join(known)}")
        able = {task: set(self.able(task)) for task in TASKS}
        if short := [task for task, names in able.items() if not names & set(named)]:
            last = " or ".join(sorted(able[short[0]]))
            raise ProfileError(f"none of the rungs {rungs} may go on to the final training of {short[0]}; add {last}")
        ladder = tuple(recipe for recipe in self.ladder if recipe.kind != "classifier" or recipe.name in named)
        kept = next(recipe.name for recipe in ladder if recipe.name in named)
        return replace(self, ladder=ladder, comparison=self.comparison if self.comparison in named else kept)

    def able(self, task: str) -> list[str]:
        """The rungs that may go on to the final training of a task."""
        return [final.rung for final in self.finals if task in final.tasks]

    def tapt(self, champion: Recipe) -> Recipe:
        """The direct arm of the TAPT comparison: the champion on few rows."""
        return champion.with_(rows=self.tapt_rows, sister_rows=0)

    def final(self, finalist: Recipe, task: str, tapt: bool) -> Recipe:
        """The final recipe: a finalist on all rows that the profile allows, after stage 1 where TAPT has won."""
        last = next(final for final in self.finals if final.rung == finalist.name and task in final.tasks)
        sister = self.sister_rows if tapt else 0
        return finalist.with_(rows=last.rows, folds=last.folds, epochs=last.epochs, sister_rows=sister, answer_rows=0)


def _for_task(recipe: Recipe, task: str) -> Recipe:
    """What hangs on the task: the length where the recipe leaves it open, the order of a decoder's fields, ZeRO's stage."""
    first = QUERY_FIRST[task] if recipe.pooling == "last" else recipe.query_first
    stage = ZERO_STAGE[task] if recipe.zero_stage else 0
    return recipe.with_(max_length=recipe.max_length or MAX_LENGTH[task], query_first=first, zero_stage=stage)


BASELINES = (
    Recipe("constant", "baseline", kind="constant"),
    Recipe("tfidf", "baseline", kind="tfidf"),
    Recipe("overlap", "baseline", kind="overlap"),
)

E5 = Recipe(
    "e5-small", "xlm-r", "multilingual-e5-small", max_length=0, pooling="towers", tuning="full", learning_rate=6e-5,
    head_rate=20.0, frozen_layers=6, rows=500, answer_rows=400, batch_rows=16,
)  # fmt: skip
GEMMA_SMALL = Recipe(
    "gemma-3-270m", "gemma", "gemma-3-270m", max_length=0, pooling="last", tuning="lora", learning_rate=5e-4, rows=600, answer_rows=200,
    batch_rows=16, share_rows=8, pack_tokens=512, score_tokens=2304, lane_tokens=256,
)  # fmt: skip


def _comparisons(recipe: Recipe, language_fold: int, rows: int = 0, answer_rows: int = 0) -> tuple[Recipe, ...]:
    """The report's own comparisons as rungs: without translation, on the report's split, on a language left out."""
    few = replace(recipe, rows=rows, answer_rows=answer_rows)
    return (
        replace(few, name=f"{recipe.name}-no-translation", translation=False),
        replace(few, name=f"{recipe.name}-report-split", scheme="report"),
        replace(few, name=f"{recipe.name}-unseen-language", scheme="leave-language", folds=(language_fold,)),
    )


def _zeroshot(rows: int) -> Recipe:
    return Recipe("zeroshot", "baseline", "multilingual-e5-small", kind="zeroshot", rows=rows, max_length=0)


NO_QWEN = ("qwen", "no package carries Qwen's weights; give a folder with --models, or use the a100 profile")

LAPTOP = Profile(
    name="laptop",
    rows=8000,
    fold_count=5,
    group_depth=3,
    translation="glossary",
    judge_rows=400,
    ladder=(*BASELINES, _zeroshot(300), E5, *_comparisons(E5, 2, 250, 400), GEMMA_SMALL),
    skipped=(NO_QWEN,),
    comparison="e5-small",
    finals=(
        Final("gemma-3-270m", 1400, (0,), tasks=("QC",)),
        Final("e5-small", 3000, (0, 1)),
    ),
    finalists=1,
    fewer_rows=(("gemma-3-270m", "QI", 150),),  # titles hardly repeat: a row costs a decoder three times as much
    tapt_rows=100,
    sister_rows=100,
    offline=True,
)

SMOKE = replace(
    LAPTOP,
    name="smoke",
    sample_rows=800,
    rows=800,
    judge_rows=40,
    ladder=tuple(
        replace(rung, rows=min(rung.rows, 24), answer_rows=min(rung.answer_rows, 24), batch_rows=8)
        for rung in LAPTOP.ladder
        if rung.translation  # that comparison says nothing on so few rows, and costs as much as any
    ),
    tapt_rows=24,
    sister_rows=24,
    finals=tuple(replace(final, rows=48) for final in LAPTOP.finals),
    finalists=2,  # so that a decoder, too, walks the road to its end
    fewer_rows=(),
)

# The literals that made the published score: 2 epochs, constant schedule, 32 rows a step (arXiv 2510.25428, its code).
LARGE = Recipe(
    "large", "gemma", max_length=256, pooling="last", tuning="lora", lora_rank=16, lora_alpha=32, lora_dropout=0.0,
    learning_rate=1e-5, schedule="constant", warmup=0.0, epochs=2.0, batch_rows=32, share_rows=8, score_tokens=16384,
    lane_tokens=2048, checkpointing=True, zero_stage=2, folds=(0,),
)  # fmt: skip


def _rung(name: str, recipe: Recipe = LARGE) -> Recipe:
    """A model of the zoo as a rung: what hangs on its architecture comes from its line there."""
    model = ZOO[name]
    return replace(
        recipe, name=name, model=name, family=model.family, attention=model.attention, precision=model.precision,
        pack_tokens=model.pack_tokens,
    )  # fmt: skip


# The report's bake-off; what it calls Qwen2-7B and 14B are Qwen2.5, its Qwen3-7B is Qwen3-8B.
XLMR = _rung("xlm-roberta-large", replace(LARGE, pooling="first", tuning="full", dropout=0.1))
DECODERS = tuple(
    _rung(name)
    for name in ("qwen3-0.6b", "qwen2.5-7b", "qwen3-8b", "qwen2.5-14b", "qwen3-14b", "gemma-2-9b", "gemma-3-12b")
)
GEMMA_12B = DECODERS[-1]
# What the report says of its training, where its code did something else: 5 epochs, a linear fall, 8 rows a step.
AS_REPORTED = replace(GEMMA_12B, name="gemma-3-12b-as-reported", epochs=5.0, schedule="linear", batch_rows=8)
RUNGS = (XLMR, *DECODERS, AS_REPORTED)

A100 = Profile(
    name="a100",
    rows=0,
    fold_count=5,
    group_depth=3,
    translation="madlad400-10b-mt",
    retranslation="madlad400-3b-mt",
    judge_rows=0,
    ladder=(*BASELINES, _zeroshot(20_000), *RUNGS, *_comparisons(GEMMA_12B, 2)),
    skipped=(),
    comparison="gemma-3-12b",
    finals=tuple(Final(rung.name, 0, (0, 1, 2), rung.epochs) for rung in RUNGS),
    finalists=1,
    fewer_rows=(),
    tapt_rows=0,
    sister_rows=340_000,
    offline=False,
    ranks=0,
)


def _in_small(recipe: Recipe) -> Recipe:
    """A rung on few rows, with the one literal changed that a CPU cannot run: FlexAttention has no backward pass there."""
    kernel = "eager" if recipe.attention == "flex_attention" else recipe.attention
    return replace(recipe, rows=FEW, answer_rows=FEW, attention=kernel)


FEW = 48  # rows of a rehearsed training
REHEARSAL = replace(
    A100,
    name="rehearsal",
    sample_rows=400,
    rows=400,
    judge_rows=FEW,
    ladder=tuple(_in_small(recipe) for recipe in A100.ladder),
    finals=tuple(replace(final, rows=FEW) for final in A100.finals),
    tapt_rows=FEW,
    sister_rows=FEW,
    offline=True,
    ranks=2,
)

PROFILES = {profile.name: profile for profile in (LAPTOP, A100, SMOKE, REHEARSAL)}


def load(name: str, rows: int = -1, rungs: str = "") -> Profile:
    """The profile of a name; `rows` of 0 or more overrides how many training rows are dealt into folds, `rungs` narrows the ladder.

    Raises ProfileError naming the profiles, or the rungs, that there are.
    """
    if name not in PROFILES:
        raise ProfileError(f"unknown profile {name!r}; use one of {', '.join(PROFILES)}")
    profile = PROFILES[name].narrow(rungs)
    return replace(profile, rows=rows) if rows >= 0 else profile
