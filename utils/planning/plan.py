"""The cost of a profile on a data folder, before anything runs: rows, tokens, work, memory, disk and hours of every step.

Rows are packed as the training will pack them; tokens are counted on an even sample of the steps and packs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from utils.core.recipe import Recipe
from utils.core.schema import AUXILIARY, TASKS
from utils.models import shapes, weights
from utils.models.zoo import ZOO
from utils.planning.cost import Cost, pack_cost
from utils.planning.devices import Device
from utils.planning.sampling import SAMPLE, Texts, encode_parts, open_tokenizer, sample_neighbours, sample_steps
from utils.profiles.base import Profile

DECODING = 0.10  # share of the peak that a translator reaches, as it writes one token at a time
ROUND = 256  # the largest pack is rounded up to a multiple of so many tokens
CONTEXT = 1.5e9  # bytes that the driver and its libraries take on a GPU
SPARE = 1.05  # factor for memory that an allocator cannot use


@dataclass(frozen=True)
class Step:
    """One line of the plan. Tokens and work (FLOP) are of all its folds, training and scoring; memory of one process."""

    notebook: str
    name: str
    task: str
    rows: int  # training rows times epochs, of all folds
    answers: int  # rows scored, of all folds
    queries: int  # distinct queries among the training rows of a fold
    tokens: float
    flops: float
    cost: Cost
    hours: float
    estimate: bool  # tokens are counted with another model's tokenizer
    disk: float  # bytes of downloaded weights and of trained parameters
    misfit: str = ""  # why it does not fit the device, and the setting that makes it fit; empty = it fits


@dataclass
class _Planner:
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

    @property
    def world(self) -> int:
        """Number of processes of a training."""
        return self.device.count if self.profile.ranks == 0 else self.profile.ranks

    def _once(self, key: tuple, make: Callable[[], Any]) -> Any:
        """The value of a key, made on its first use."""
        if key not in self.cache:
            self.cache[key] = make()
        return self.cache[key]

    def tokens(self, recipe: Recipe, task: str) -> tuple[float, int, float, bool]:
        """Tokens per row in training, tokens of the largest pack, tokens per row in scoring, and whether they are an estimate."""
        tokenizer, stand_in = self._once(("tokenizer", recipe.model), lambda: open_tokenizer(recipe.model, self.folder))
        table = self.texts[task].train
        fields = (recipe.query_first, recipe.translation)
        encoding = (task, *fields, id(tokenizer), recipe.architecture, recipe.max_length, recipe.sequence_tokens)
        layout = (task, recipe.query_first, recipe.share_rows, recipe.batch_rows, recipe.seed)
        steps = self._once(("steps", layout), lambda: sample_steps(table, recipe, task))
        blocks = self._once(("blocks", task, *fields), lambda: sample_neighbours(table, recipe, task))
        train_parts, score_parts = (
            self._once((encoding, name), lambda parts=parts: encode_parts(table, recipe, task, tokenizer, parts))
            for name, parts in ((layout, steps), ("blocks", blocks))
        )
        train_tokens, largest = self._once(
            ("train", encoding, layout, recipe.pack_tokens), lambda: train_parts.tokens(recipe.pack_tokens)
        )
        score_tokens, _ = self._once(
            ("score", encoding, recipe.score_tokens), lambda: score_parts.tokens(recipe.score_tokens)
        )
        return train_tokens, largest, score_tokens, stand_in

    def rows(self, recipe: Recipe, task: str) -> tuple[int, int]:
        """Number of training rows of a fold, and of their distinct queries."""
        table = self.texts[task].train
        total = min(len(table), self.profile.rows or len(table))
        count = total * (self.profile.fold_count - 1) // self.profile.fold_count
        count = min(count, recipe.rows or count)
        return count, round(table["query"].nunique() * count / len(table))

    def answers(self, recipe: Recipe, task: str, splits: tuple[str, ...], validation_rows: int) -> int:
        """Number of rows that one fold's network scores: of the splits, and at most `validation_rows` (0 = all) of its fold."""
        table, tables = self.texts[task].train, self.texts[task].splits
        oof = min(len(table), self.profile.rows or len(table)) // self.profile.fold_count
        counts = [
            min(len(tables[split]), recipe.answer_rows or len(tables[split])) for split in splits if split in tables
        ]
        return sum(counts) + min(oof, validation_rows or oof)

    def step(
        self, notebook: str, name: str, recipe: Recipe, task: str, splits: tuple[str, ...], validation_rows: int
    ) -> Step:
        """The step of one recipe over its folds: training in one stage or two, and scoring."""
        rows, queries = self.rows(recipe, task)
        train_tokens, largest, score_tokens, stand_in = self.tokens(recipe, task)
        largest = -(-largest // ROUND) * ROUND
        answers = self.answers(recipe, task, splits, validation_rows)
        row = max(1, round(score_tokens))
        cost = self.cost(recipe, largest, row)
        work = cost.flops / largest * train_tokens * rows * recipe.epochs
        tokens = train_tokens * rows * recipe.epochs
        if recipe.auxiliary_rows and (auxiliary := AUXILIARY[task]) in self.texts:
            row_tokens, *_ = self.tokens(recipe, auxiliary)
            extra = min(recipe.auxiliary_rows, len(self.texts[auxiliary].train)) * recipe.epochs * row_tokens
            work, tokens = work + cost.flops / largest * extra, tokens + extra
        scoring = pack_cost(recipe, self._shape(recipe), max(row, min(recipe.score_tokens, 4096)), row, train=False)
        work += scoring.flops / max(row, min(recipe.score_tokens, 4096)) * score_tokens * answers
        folds = len(recipe.folds)
        hours = folds * work / (self.device.peak * self.device.utilisation * self.world) / 3600
        return Step(
            notebook, name, task, int(folds * rows * recipe.epochs), folds * answers, queries,
            folds * (tokens + score_tokens * answers), folds * work, cost, hours, stand_in,
            self.disk(recipe, cost, keep=notebook == "06"), self.misfit(recipe, largest, row),
        )  # fmt: skip

    def disk(self, recipe: Recipe, cost: Cost, keep: bool) -> float:
        """Bytes of disk of a recipe: its network, if not yet on this machine, and with `keep` each fold's trained parameters."""
        return self.download(recipe.model) + keep * len(recipe.folds) * 4 * cost.trained

    def download(self, name: str) -> float:
        """Bytes to download for a network, in 16 bits; 0 where its weights are here or a former call has counted them."""
        if name in self.downloads:
            return 0
        self.downloads.add(name)
        if self.folder and weights.is_converted(Path(self.folder) / name):
            return 0
        try:
            weights.resolve(name, self.folder, offline=True)
        except weights.WeightsError:
            return 2 * ZOO[name].parameters
        return 0

    def _shape(self, recipe: Recipe) -> Any:
        """The configuration of a recipe's network."""
        return shapes.config(recipe.model, self.folder)

    def cost(self, recipe: Recipe, largest: int, row: int) -> Cost:
        """The cost of a training pack of `largest` tokens in rows of about `row` tokens."""
        return pack_cost(recipe, self._shape(recipe), largest, row, train=True, world=self.world)

    def need(self, cost: Cost) -> float:
        """Bytes of one device's memory, with what the driver and the allocator take."""
        return cost.peak * SPARE + (CONTEXT if self.device.name != "cpu" else 0)

    def misfit(self, recipe: Recipe, largest: int, row: int) -> str:
        """Why a training does not fit the device, and the first setting that makes it fit; empty where it fits."""
        need = self.need(self.cost(recipe, largest, row))
        if need <= self.device.memory:
            return ""
        half = {"pack_tokens": size} if (size := max(512, largest // 2)) < largest else {}
        settings: list[dict[str, Any]] = [
            {},
            *({"pack_tokens": size} for size in (largest // 2, largest // 4) if size >= 512),
            {"quantisation": "nf4", "zero_stage": 2} | half,
            {"zero_stage": 3} | half,
            {"zero_stage": 3, "offload": True} | half,
        ]
        shortage = f"needs {need / 1e9:.0f} GB of {self.device.memory / 1e9:.0f}"
        for setting in settings:
            changes = setting if recipe.checkpointing else {"checkpointing": True} | setting
            smaller = self.need(self.cost(recipe.with_(**changes), changes.get("pack_tokens", largest), row))
            if smaller <= self.device.memory:
                advice = " ".join(f"--set {recipe.name}.{field}={value}" for field, value in changes.items())
                return f"{shortage}: {advice} (then {smaller / 1e9:.0f} GB)"
        return f"{shortage}: no setting is enough; take a larger GPU or a smaller model"

    def arms(self, champion: Recipe, task: str) -> dict[str, Recipe]:
        """The arms of the TAPT comparison by name, as `experiment.tapt.make_arms` makes them; none without an auxiliary task."""
        if AUXILIARY[task] not in self.texts:
            return {}
        direct, total = self.profile.direct_arm(champion), len(self.texts[AUXILIARY[task]].train)
        auxiliary = self.profile.auxiliary_rows or total
        longer = 1 + min(auxiliary, total) / max(1, self.rows(direct, task)[0])
        return {
            "direct": direct,
            "direct-longer": direct.with_(epochs=direct.epochs * longer),
            "tapt": direct.with_(auxiliary_rows=auxiliary),
        }

    def translation(self) -> list[Step]:
        """The step that translates the distinct non-English queries; none where the profile translates with a word list."""
        name = self.profile.translation
        if name not in ZOO:
            return []
        parts = [
            table[["language", "query"]]
            for texts in self.texts.values()
            for table in (texts.train, *texts.splits.values())
        ]
        distinct = pd.concat(parts).query("language != 'en'").drop_duplicates()
        tokenizer, _ = open_tokenizer(name, self.folder)
        sample = distinct.sample(min(len(distinct), SAMPLE), random_state=0)["query"].tolist()
        mean = np.mean([len(ids) for ids in tokenizer(sample)["input_ids"]])
        tokens = 2 * mean * len(distinct)  # read, and written
        # Two operations per weight of the encoder or of the decoder, half of the network.
        flops = tokens * ZOO[name].parameters
        cost = Cost(int(ZOO[name].parameters), 0, 2 * ZOO[name].parameters, 0, 0, 1e9, flops)
        hours = flops / (self.device.peak * DECODING * self.world) / 3600
        queries, disk = len(distinct), sum(map(self.download, filter(None, (name, self.profile.retranslation))))
        return [Step("02", name, "all", 0, queries, queries, tokens, flops, cost, hours, True, disk)]


def make_plan(profile: Profile, texts: dict[str, Texts], device: Device, folder: str) -> list[Step]:
    """Every step of a profile that computes with a network, in the pipeline's order.

    `folder` holds local weights (empty: none). The bake-off's champion is not known beforehand: TAPT and the final training
    are planned for the profile's `comparison`. Raises WeightsError for a model without a shape in the zoo and without weights.
    """
    planner = _Planner(profile, texts, device, folder)
    steps = planner.translation()
    tasks = [task for task in TASKS if task in texts]
    for task in tasks:
        for recipe in profile.recipes(task):
            if recipe.kind == "classifier":
                steps.append(planner.step("04", recipe.name, recipe, task, ("test",), profile.validation_rows))
    champions = {task: next(r for r in profile.recipes(task) if r.name == profile.comparison) for task in tasks}
    for task, champion in champions.items():
        for name, arm in planner.arms(champion, task).items():
            steps.append(planner.step("05", f"{champion.name}, {name}", arm, task, ("test",), profile.validation_rows))
    for task, champion in champions.items():
        final = profile.final(champion, task, tapt=AUXILIARY[task] in texts)
        steps.append(planner.step("06", f"{final.name}, final", final, task, ("dev", "test"), 0))
    return steps
