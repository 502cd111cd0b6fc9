"""The cost of a profile on a data folder, before anything runs: rows, tokens, work, memory, disk and hours of every step.

Rows are packed as the training will pack them; tokens are counted on an even sample of the steps and packs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.core.recipe import ADDED, Recipe
from utils.core.schema import AUXILIARY, TASKS
from utils.models import shapes, weights
from utils.models.zoo import ZOO
from utils.planning.cost import Cost, pack_cost, peak_memory
from utils.planning.devices import CPU, Device
from utils.planning.remedies import remedies
from utils.planning.rows import FoldRows, TaskRows
from utils.planning.sampling import (
    Layout,
    Texts,
    encode_parts,
    open_tokenizer,
    sample_neighbours,
    sample_steps,
)
from utils.planning.schedule import Step
from utils.planning.timing import Host, Load, measure_host, scale_host, scoring_seconds, training_seconds
from utils.planning.translation import plan_translation
from utils.profiles.base import HELD_OUT, Profile

CONTEXT = 1.5e9  # bytes that the driver and its libraries take on a GPU
SPARE = 1.05  # factor for memory that an allocator cannot use


@dataclass
class Planner:
    """Plans the steps of one profile on a data folder's texts; counts are cached.

    `folder` holds local weights (empty: none).
    """

    profile: Profile
    texts: dict[str, Texts]
    device: Device
    folder: str

    def __post_init__(self) -> None:
        self.cache: dict[tuple, Any] = {}
        self.downloads: set[str] = set()  # models whose disk a former step counts

    def world(self, recipe: Recipe) -> int:
        """Number of processes of a training: one, unless the recipe shards it."""
        if recipe.zero_stage == 0:
            return 1
        return self.profile.ranks or (1 if self.device.name == CPU else self.device.count)

    def workers(self, recipe: Recipe) -> int:
        """Number of trainings side by side: one a device, of those that are one process each."""
        if recipe.zero_stage > 0:
            return 1
        return self.profile.workers or self.device.count

    def devices(self, recipe: Recipe) -> float:
        """Devices that a training has: those of its processes, or a part of one."""
        return min(self.world(recipe), self.device.count / self.workers(recipe))

    def host(self, recipe: Recipe) -> Host:
        """The host's time of a training's network."""
        return self._once(("host", recipe), lambda: scale_host(measure_host(recipe, self.folder), recipe, self.device))

    def memory(self, recipe: Recipe) -> float:
        """Bytes that a process of a training has: a device's or a part of one's, on a CPU its share of the machine's."""
        share = self.device.count / max(self.world(recipe), self.workers(recipe))
        return self.device.memory * (share if self.device.name == CPU else min(1.0, share))

    def _once(self, key: tuple, make: Callable[[], Any]) -> Any:
        """The value of a key, made on its first use."""
        if key not in self.cache:
            self.cache[key] = make()
        return self.cache[key]

    def layout(self, recipe: Recipe, task: str) -> Layout:
        """How a recipe's rows of a task are laid out in training and in scoring."""
        tokenizer, stand_in = self._once(("tokenizer", recipe.model), lambda: open_tokenizer(recipe.model, self.folder))
        table = self.texts[task].train
        fields = (recipe.query_first, recipe.translation)
        encoding = (
            task,
            *fields,
            id(tokenizer),
            recipe.architecture,
            recipe.max_length,
            recipe.packing,
            recipe.sequence_tokens,
        )
        layout = (task, recipe.query_first, recipe.share_rows, recipe.batch_rows, recipe.seed)
        steps = self._once(("steps", layout), lambda: sample_steps(table, recipe, task))
        blocks = self._once(("blocks", task, *fields), lambda: sample_neighbours(table, recipe, task))
        train_parts, score_parts = (
            self._once((encoding, name), lambda parts=parts: encode_parts(table, recipe, task, tokenizer, parts))
            for name, parts in ((layout, steps), ("blocks", blocks))
        )
        train = self._once(
            ("train", encoding, layout, recipe.pack_tokens), lambda: train_parts.count(recipe.pack_tokens)
        )
        score = self._once(("score", encoding, recipe.score_tokens), lambda: score_parts.count(recipe.score_tokens))
        return Layout(train, score, stand_in)

    def split(self, task: str) -> TaskRows:
        """A task's rows as they are split into folds."""
        return self._once(("split", task), lambda: TaskRows(self.texts[task], task, self.profile))

    def folds(self, recipe: Recipe, task: str, validation_rows: int = 0) -> list[FoldRows]:
        """Rows of each of a recipe's folds; without folds that these rows do not have, which the run leaves out too."""
        counts = []
        for fold in recipe.folds:
            key = (recipe.scheme, fold, validation_rows)
            counts.append(self._once(("rows", task, *key), lambda key=key: self.split(task).count(*key)))
        return [count.cap(recipe.rows) for count in counts if count]

    def answers(self, recipe: Recipe, task: str, splits: tuple[str, ...]) -> int:
        """Number of rows of some splits that one fold's network scores."""
        sizes = [len(self.texts[task].splits.get(split, ())) for split in splits]
        return sum(min(size, recipe.answer_rows or size) for size in sizes)

    def step(
        self, notebook: str, name: str, recipe: Recipe, task: str, splits: tuple[str, ...], validation_rows: int, keep: bool = False
    ) -> list[Step]:  # fmt: skip
        """The step of one recipe over its folds: training in one stage or two, and scoring; none where the rows have no such fold.

        With `keep` the trained parameters stay on the disk.
        """
        folds = self.folds(recipe, task, validation_rows)
        if not folds:
            return []
        layout = self.layout(recipe, task)
        largest, row = layout.sizes()
        cost, pack = self.cost(recipe, largest, row), max(row, recipe.score_tokens)
        scoring = pack_cost(recipe, self._shape(recipe), pack, row, train=False, world=self.world(recipe))
        answers = [self.answers(recipe, task, splits) + fold.validation for fold in folds]
        trained = [self._training_load(recipe, task, fold.train, cost, largest) for fold in folds]
        scored = [Load(n * layout.score.batches, n * layout.score.tokens, scoring, pack) for n in answers]
        host, devices = self.host(recipe), self.devices(recipe)
        seconds = [
            training_seconds(train, recipe, host, self.device, devices)
            + scoring_seconds(score, recipe, host, self.device, devices)
            for train, score in zip(trained, scored, strict=True)
        ]
        loads = [*trained, *scored]
        return [
            Step(
                notebook, name, task, round(sum(fold.train for fold in folds) * recipe.epochs), sum(answers),
                round(np.mean([fold.queries for fold in folds])), sum(load.tokens for load in loads),
                sum(load.flops for load in loads), cost,
                tuple(second / 3600 for second in seconds), self.workers(recipe), layout.stand_in,
                self.download(recipe.model) + keep * len(folds) * 4 * cost.trained, self.misfit(recipe, largest, row),
                any(fold.estimate for fold in folds), host.micro_batch, self.peak(recipe, largest, row),
            )
        ]  # fmt: skip

    def _training_load(self, recipe: Recipe, task: str, rows: int, cost: Cost, pack: int) -> Load:
        """What a fold's training computes; stage 1, where there is one, has as many epochs."""
        rows = round(rows * (1 + sum(getattr(recipe, share) for share in ADDED)))
        stages, auxiliary = [(rows, self.layout(recipe, task).train)], AUXILIARY[task]
        if recipe.auxiliary_rows and auxiliary in self.texts:
            first = min(recipe.auxiliary_rows, len(self.texts[auxiliary].train))
            stages.append((first, self.layout(recipe, auxiliary).train))
        tokens, batches = (sum(count * getattr(c, name) for count, c in stages) for name in ("tokens", "batches"))
        steps = sum(count for count, _ in stages) / recipe.batch_rows
        return Load(batches * recipe.epochs, tokens * recipe.epochs, cost, pack, steps * recipe.epochs)

    def download(self, name: str) -> float:
        """Bytes to download for a network, as the hub has it; 0 where its weights are here or a former call has counted them."""
        if name in self.downloads:
            return 0
        self.downloads.add(name)
        if self.folder and weights.is_converted(Path(self.folder) / name):
            return 0
        try:
            weights.resolve(name, self.folder, offline=True)
        except weights.WeightsError:
            return ZOO[name].stored_bytes * ZOO[name].parameters
        return 0

    def _shape(self, recipe: Recipe) -> Any:
        """The configuration of a recipe's network."""
        return shapes.config(recipe.model, self.folder)

    def cost(self, recipe: Recipe, largest: int, row: int) -> Cost:
        """The cost of a training pack of `largest` tokens in rows of about `row` tokens."""
        return pack_cost(recipe, self._shape(recipe), largest, row, train=True, world=self.world(recipe))

    def peak(self, recipe: Recipe, largest: int, row: int) -> float:
        """Bytes of the fullest moment of a process of a training, or of its scoring."""
        return peak_memory(recipe, self._shape(recipe), largest, row, self.world(recipe))

    def need(self, recipe: Recipe, largest: int, row: int) -> float:
        """Bytes of one device's memory, with what the driver and the allocator take."""
        return self.peak(recipe, largest, row) * SPARE + (CONTEXT if self.device.name != CPU else 0)

    def misfit(self, recipe: Recipe, largest: int, row: int) -> str:
        """Why a training does not fit the device, and the first setting that makes it fit; empty where it fits."""
        need, memory = self.need(recipe, largest, row), self.memory(recipe)
        if need <= memory:
            return ""
        shortage = f"needs {need / 1e9:.0f} GB of {memory / 1e9:.0f}"
        if (fitting := int(memory * self.workers(recipe) // need)) and self.workers(recipe) > 1:
            return f"{shortage}: --set {self.profile.name}.workers={fitting}"
        name = recipe.variant_of if recipe.name == HELD_OUT else recipe.name
        for changes in remedies(recipe, largest):
            smaller, room = self.with_changes(recipe, changes, largest, row)
            if smaller <= room:
                advice = " ".join(f"--set {name}.{field}={value}" for field, value in changes.items())
                return f"{shortage}: {advice} (then {smaller / 1e9:.0f} GB)"
        return f"{shortage}: no setting is enough; take a larger GPU or a smaller model"

    def with_changes(self, recipe: Recipe, changes: dict[str, Any], largest: int, row: int) -> tuple[float, float]:
        """Bytes that a process of a changed recipe needs, and those that it has."""
        changed = recipe.with_(**changes)
        pack = min(largest, changes.get("pack_tokens", largest))
        return self.need(changed, pack, row), self.memory(changed)

    def bakeoff(self, task: str) -> list[Step]:
        """The networks of the bake-off."""
        recipes = [recipe for recipe in self.profile.recipes(task) if recipe.kind == "classifier"]
        rows = self.profile.validation_rows
        return [step for recipe in recipes for step in self.step("04", recipe.name, recipe, task, ("test",), rows)]

    def finalists(self, task: str) -> list[Recipe]:
        """The most expensive networks that the bake-off may choose, the dearest first: one of a family, of those on the most rows."""
        names, hours, by_family = self.profile.eligible(task), {}, {}
        allowed = [r for r in self.profile.recipes(task) if r.name in names and r.kind == "classifier"]
        rows = {recipe.name: self.folds(recipe, task)[0].train for recipe in allowed}
        for recipe in allowed:
            if rows[recipe.name] == max(rows.values()):
                final = self.profile.final(recipe, task, tapt=False)
                hours[recipe] = sum(step.hours for step in self.step("06", "", final, task, ("dev", "test"), 0))
        for recipe in sorted(hours, key=lambda recipe: -hours[recipe]):
            by_family.setdefault(recipe.family, recipe)
        return list(by_family.values())[: self.profile.finalists]

    def tapt(self, champion: Recipe, task: str) -> list[Step]:
        """The arms of the TAPT comparison, as `experiment.tapt.make_arms` makes them; none without an auxiliary task."""
        if AUXILIARY[task] not in self.texts:
            return []
        direct, total = self.profile.direct_arm(champion), len(self.texts[AUXILIARY[task]].train)
        auxiliary, rows = self.profile.auxiliary_rows or total, self.profile.validation_rows
        longer = 1 + min(auxiliary, total) / self.folds(direct, task)[0].train
        arms = {
            "direct": direct,
            "direct-longer": direct.with_(epochs=direct.epochs * longer),
            "tapt": direct.with_(auxiliary_rows=auxiliary),
        }
        steps = (self.step("05", f"{champion.name}, {name}", arm, task, (), rows) for name, arm in arms.items())
        return [step for found in steps for step in found]

    def finals(self, finalists: list[Recipe], task: str) -> list[Step]:
        """The final trainings, the first one after stage 1, and those without one language at a time."""
        recipes = self.profile.final_recipes(finalists, task, tapt=AUXILIARY[task] in self.texts)
        networks = [recipe for recipe in recipes if recipe.kind == "classifier"]
        steps, rows = [], self.profile.held_out_validation_rows
        for final in networks:
            steps += self.step("06", f"{final.name}, final", final, task, ("dev", "test"), 0, keep=True)
        held_out = self.profile.held_out_recipes(networks, self.split(task).languages(self.profile.held_out))
        for name, recipe in held_out.items():
            steps += self.step("06", f"{name}, {HELD_OUT}", recipe, task, (), rows)
        return steps


def make_plan(profile: Profile, texts: dict[str, Texts], device: Device, folder: str) -> list[Step]:
    """Every step of a profile that trains a network, in the pipeline's order.

    `folder` holds local weights (empty: none). The bake-off's choice is not known beforehand: TAPT and the final trainings are planned for
    the most expensive that it may choose. Raises WeightsError for a model without a shape in the zoo and without weights.
    """
    planner = Planner(profile, texts, device, folder)
    tasks = [task for task in TASKS if task in texts]
    steps = plan_translation(planner.profile, texts, device, folder, planner.download)
    steps += [step for task in tasks for step in planner.bakeoff(task)]
    finalists = {task: planner.finalists(task) for task in tasks}
    steps += [step for task in tasks for step in planner.tapt(finalists[task][0], task)]
    return steps + [step for task in tasks for step in planner.finals(finalists[task], task)]
