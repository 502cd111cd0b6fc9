"""What a profile will cost on given data, before a cent is spent: rows, tokens, work, memory, disk and hours of every step.

Rows are laid out as the training will lay them out; of these steps and packs an even sample is tokenised.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from utils import clean, data, models, packing, shapes, weights
from utils.cost import Cost, pack_cost
from utils.devices import Device
from utils.profiles import Profile
from utils.recipe import Recipe
from utils.schema import SISTER, TASKS
from utils.text import query_field, target_field
from utils.tokens import Encoded, encode
from utils.zoo import STAND_IN, TOKENIZERS, ZOO

SAMPLE = 20_000  # distinct queries that are tokenised
BLOCK = 400  # neighbours in the order of scoring that are tokenised together
DECODING = 0.10  # of the peak, where a translator writes one token at a time
ROUND = 256  # tokens to which a largest pack is rounded up
CONTEXT = 1.5e9  # bytes that the driver and its libraries take on a GPU
SPARE = 1.05  # what an allocator cannot use


@dataclass(frozen=True)
class Step:
    """One line of the plan. Tokens and work are of all its trainings and answers; memory of one process."""

    notebook: str
    name: str
    task: str
    rows: int  # trained on, epochs counted
    answers: int
    queries: int  # distinct, among those trained on
    tokens: float
    flops: float
    cost: Cost
    hours: float
    estimate: bool  # another model's tokenizer has counted
    disk: float  # bytes that stay: weights fetched for it, what it has trained
    misfit: str = ""


# -- rows and tokens ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Texts:
    """A task's clean rows, all splits that are there."""

    train: pd.DataFrame
    asked: dict[str, pd.DataFrame]


def read_texts(folder: Path) -> dict[str, Texts]:
    """Task -> its rows. Their English is not there yet: each foreign query is lent an English one of the same data."""
    raw = data.read_folder(folder)
    found = {}
    for task in raw.tasks:
        tables = {}
        for split in ("train", "dev", "test"):
            if (split, task) in raw.tables:
                table, _ = clean.clean_table(raw.tables[split, task], train=split == "train")
                tables[split] = table.assign(query_en=_lend_english(table))
        found[task] = Texts(tables.pop("train"), tables)
    return found


def _lend_english(table: pd.DataFrame) -> pd.Series:
    """An English query for each foreign one, always the same for the same; a text of its own where there is none."""
    pool = table.loc[table["language"] == "en", "query"].drop_duplicates().to_numpy()
    lent = "in english " + table["query"]
    if len(pool):
        numbers = pd.factorize(table["query"])[0] * 7919 % len(pool)
        lent = pd.Series(pool[numbers], index=table.index)
    return table["query"].where(table["language"] == "en", lent)


def _leaders(table: pd.DataFrame, recipe: Recipe, task: str) -> np.ndarray:
    """Numbers of the field that stands first, as `encode` would number them."""
    return pd.factorize(table["query"] if recipe.query_first else table["target"], use_na_sentinel=False)[0]


def _few(parts: list[np.ndarray], queries: np.ndarray, count: int) -> list[np.ndarray]:
    """Evenly spaced parts that hold about `count` distinct queries together."""
    each = np.mean([len(np.unique(queries[part])) for part in parts[:: max(1, len(parts) // 50)]])
    number = min(len(parts), max(1, round(count / max(1.0, float(each)))))
    return [parts[int((place + 0.5) * len(parts) / number)] for place in range(number)]


def some_steps(table: pd.DataFrame, recipe: Recipe, task: str, count: int = SAMPLE) -> list[np.ndarray]:
    """Evenly spaced steps of one epoch, laid out as the training will lay them out."""
    group, rng = _leaders(table, recipe, task), np.random.default_rng(recipe.seed)
    order = packing.deal(group, recipe.share_rows, rng)
    steps = packing.fill_steps(order, group, recipe.batch_rows, recipe.share_rows)
    return _few(steps, pd.factorize(table["query"])[0], count)


def some_neighbours(table: pd.DataFrame, recipe: Recipe, task: str, count: int = SAMPLE) -> list[np.ndarray]:
    """Evenly spaced blocks of neighbours in the order of scoring, as one part: tries of all blocks come together in a pack."""
    first = [target_field(text, task) for text in table["target"]]
    second = [query_field(*pair, recipe.translation) for pair in zip(table["query"], table["query_en"], strict=True)]
    if recipe.query_first:
        first, second = second, first
    order = np.array(sorted(range(len(table)), key=lambda row: (first[row], second[row])))
    blocks = [order[at : at + BLOCK] for at in range(0, len(order), BLOCK)]
    return [np.concatenate(_few(blocks, pd.factorize(table["query"])[0], count))]


@dataclass(frozen=True)
class Parts:
    """Sampled parts of a table as token ids, each packed for itself: steps of an epoch, or the rows that are scored."""

    encoded: Encoded
    ends: list[int]  # where each part ends

    def tokens(self, budget: int) -> tuple[float, int]:
        """Tokens a row that packs of at most `budget` tokens compute, and those of the largest pack."""
        packs = [
            packing.count_tokens(self.encoded, pack)
            for start, end in zip([0, *self.ends], self.ends, strict=False)
            for pack in packing.batches(self.encoded, np.arange(start, end), budget)
        ]
        return sum(packs) / self.ends[-1], max(packs)


def encode_parts(table: pd.DataFrame, recipe: Recipe, task: str, tokenizer: Any, parts: list[np.ndarray]) -> Parts:
    rows = table.iloc[np.concatenate(parts)]
    encoded = encode(rows, task, tokenizer, recipe, ZOO[recipe.model].family == "xlm-r")
    return Parts(encoded, np.cumsum([len(part) for part in parts]).tolist())


def open_tokenizer(name: str, folder: str) -> tuple[Any, bool]:
    """A model's tokenizer, and whether another's stands in for it."""
    try:
        return models.load_tokenizer(weights.resolve(name, folder, offline=True)), False
    except weights.WeightsError:
        family = ZOO[name].family
        near = TOKENIZERS.get(family, STAND_IN)
        return models.load_tokenizer(weights.resolve(near)), not (family == "gemma" and name.startswith("gemma-3"))


# -- steps ------------------------------------------------------------------------------------------------------------------


@dataclass
class _Planner:
    """Plans one profile on given texts; what was counted once is not counted again."""

    profile: Profile
    texts: dict[str, Texts]
    device: Device
    folder: str

    def __post_init__(self) -> None:
        self.counted: dict[tuple, Any] = {}
        self.named: set[str] = set()

    @property
    def world(self) -> int:
        return self.device.count if self.profile.ranks == 0 else self.profile.ranks

    def _once(self, key: tuple, make: Callable[[], Any]) -> Any:
        if key not in self.counted:
            self.counted[key] = make()
        return self.counted[key]

    def tokens(self, recipe: Recipe, task: str) -> tuple[float, int, float, bool]:
        """Tokens a row in training, its largest pack, tokens a row in scoring, and whether another's tokenizer counted."""
        tokenizer, stand_in = self._once(("tokenizer", recipe.model), lambda: open_tokenizer(recipe.model, self.folder))
        table = self.texts[task].train
        fields = (recipe.query_first, recipe.translation)
        read = (task, *fields, id(tokenizer), recipe.pooling, recipe.max_length, recipe.lane_tokens)
        dealt = (task, recipe.query_first, recipe.share_rows, recipe.batch_rows, recipe.seed)
        steps = self._once(("steps", dealt), lambda: some_steps(table, recipe, task))
        blocks = self._once(("blocks", task, *fields), lambda: some_neighbours(table, recipe, task))
        taught, asked = (
            self._once((read, name), lambda parts=parts: encode_parts(table, recipe, task, tokenizer, parts))
            for name, parts in ((dealt, steps), ("blocks", blocks))
        )
        each, largest = self._once(
            ("train", read, dealt, recipe.pack_tokens), lambda: taught.tokens(recipe.pack_tokens)
        )
        scored, _ = self._once(("score", read, recipe.score_tokens), lambda: asked.tokens(recipe.score_tokens))
        return each, largest, scored, stand_in

    def rows(self, recipe: Recipe, task: str) -> tuple[int, int]:
        """Training rows a fold, and their distinct queries."""
        table = self.texts[task].train
        dealt = min(len(table), self.profile.rows or len(table))
        taught = dealt * (self.profile.fold_count - 1) // self.profile.fold_count
        taught = min(taught, recipe.rows or taught)
        return taught, round(table["query"].nunique() * taught / len(table))

    def answers(self, recipe: Recipe, task: str, splits: tuple[str, ...], judged: int) -> int:
        """Rows that one fold's network answers."""
        table, asked = self.texts[task].train, self.texts[task].asked
        oof = min(len(table), self.profile.rows or len(table)) // self.profile.fold_count
        few = [min(len(asked[split]), recipe.answer_rows or len(asked[split])) for split in splits if split in asked]
        return sum(few) + min(oof, judged or oof)

    def step(self, notebook: str, name: str, recipe: Recipe, task: str, splits: tuple[str, ...], judged: int) -> Step:
        """One recipe over its folds: training, in one stage or two, and answers."""
        rows, queries = self.rows(recipe, task)
        each, largest, scored, stand_in = self.tokens(recipe, task)
        largest = -(-largest // ROUND) * ROUND
        answers = self.answers(recipe, task, splits, judged)
        row = max(1, round(scored))
        cost = self.cost(recipe, largest, row)
        work = cost.flops / largest * each * rows * recipe.epochs
        tokens = each * rows * recipe.epochs
        if recipe.sister_rows and (sister := SISTER[task]) in self.texts:
            first, *_ = self.tokens(recipe, sister)
            extra = min(recipe.sister_rows, len(self.texts[sister].train)) * recipe.epochs * first
            work, tokens = work + cost.flops / largest * extra, tokens + extra
        scoring = pack_cost(recipe, self._shape(recipe), max(row, min(recipe.score_tokens, 4096)), row, train=False)
        work += scoring.flops / max(row, min(recipe.score_tokens, 4096)) * scored * answers
        folds = len(recipe.folds)
        hours = folds * work / (self.device.peak * self.device.utilisation * self.world) / 3600
        return Step(
            notebook, name, task, int(folds * rows * recipe.epochs), folds * answers, queries, folds * (tokens + scored * answers),
            folds * work, cost, hours, stand_in, self.disk(recipe, cost, keep=notebook == "06"), self.misfit(recipe, largest, row),
        )  # fmt: skip

    def disk(self, recipe: Recipe, cost: Cost, keep: bool) -> float:
        """Bytes that a recipe leaves: its network, where it is to be fetched, and what each fold has trained, where that is kept."""
        return self.fetched(recipe.model) + keep * len(recipe.folds) * 4 * cost.trained

    def fetched(self, name: str) -> float:
        """Bytes of a network that is not here yet; 0 when it was asked for before."""
        if name in self.named:
            return 0
        self.named.add(name)
        if self.folder and weights.is_converted(Path(self.folder) / name):
            return 0
        try:
            weights.resolve(name, self.folder, offline=True)
        except weights.WeightsError:
            return 2 * ZOO[name].parameters
        return 0

    def _shape(self, recipe: Recipe) -> Any:
        return shapes.config(recipe.model)

    def cost(self, recipe: Recipe, largest: int, row: int) -> Cost:
        return pack_cost(recipe, self._shape(recipe), largest, row, train=True, world=self.world)

    def need(self, cost: Cost) -> float:
        return cost.peak * SPARE + (CONTEXT if self.device.name != "cpu" else 0)

    def misfit(self, recipe: Recipe, largest: int, row: int) -> str:
        """Why a training does not fit, and the first knob that makes it; empty where it fits."""
        need = self.need(self.cost(recipe, largest, row))
        if need <= self.device.memory:
            return ""
        knobs = [
            ("checkpointing=True", {"checkpointing": True}, largest),
            *(
                (f"pack_tokens={size}", {"checkpointing": True}, size)
                for size in (largest // 2, largest // 4)
                if size >= 512
            ),
            (
                "quantisation='nf4', zero_stage=2",
                {"checkpointing": True, "quantisation": "nf4", "zero_stage": 2},
                largest // 2,
            ),
            ("zero_stage=3", {"checkpointing": True, "zero_stage": 3}, largest // 2),
            ("zero_stage=3, offload=True", {"checkpointing": True, "zero_stage": 3, "offload": True}, largest // 2),
        ]
        for knob, changes, size in knobs:
            eased = self.need(self.cost(recipe.with_(**changes), max(512, size), row))
            if eased <= self.device.memory:
                return f"needs {need / 1e9:.0f} GB of {self.device.memory / 1e9:.0f}: set {knob} (then {eased / 1e9:.0f} GB)"
        return f"needs {need / 1e9:.0f} GB of {self.device.memory / 1e9:.0f}: no knob is enough; take a larger GPU or a smaller model"

    def arms(self, champion: Recipe, task: str) -> dict[str, Recipe]:
        """The arms of the TAPT comparison, as `tapt.arms` makes them; none without the sister task."""
        if SISTER[task] not in self.texts:
            return {}
        direct, there = self.profile.tapt(champion), len(self.texts[SISTER[task]].train)
        sister = self.profile.sister_rows or there
        longer = 1 + min(sister, there) / max(1, self.rows(direct, task)[0])
        return {
            "direct": direct,
            "direct-longer": direct.with_(epochs=direct.epochs * longer),
            "tapt": direct.with_(sister_rows=sister),
        }

    def translation(self) -> list[Step]:
        """One pass over the distinct queries that are not English, by the translator's size; none for a word list."""
        name = self.profile.translation
        if name not in ZOO:
            return []
        parts = [
            t[["language", "query"]] for texts in self.texts.values() for t in (texts.train, *texts.asked.values())
        ]
        distinct = pd.concat(parts).query("language != 'en'").drop_duplicates()
        tokenizer, _ = open_tokenizer(name, self.folder)
        few = distinct.sample(min(len(distinct), SAMPLE), random_state=0)["query"].tolist()
        each = np.mean([len(ids) for ids in tokenizer(few)["input_ids"]])
        tokens = 2 * each * len(distinct)  # read, and written
        flops = tokens * ZOO[name].parameters  # of an encoder and a decoder, a token sees one half
        cost = Cost(int(ZOO[name].parameters), 0, 2 * ZOO[name].parameters, 0, 0, 1e9, flops)
        hours = flops / (self.device.peak * DECODING * self.world) / 3600
        queries, disk = len(distinct), sum(map(self.fetched, filter(None, (name, self.profile.retranslation))))
        return [Step("02", name, "all", 0, queries, queries, tokens, flops, cost, hours, True, disk)]


def make_plan(profile: Profile, texts: dict[str, Texts], device: Device, folder: str) -> list[Step]:
    """Every step of a profile that computes with a network, in the road's order.

    Which rung wins is not known beforehand: TAPT and the final training are planned for the profile's `comparison`.
    """
    planner = _Planner(profile, texts, device, folder)
    steps = planner.translation()
    tasks = [task for task in TASKS if task in texts]
    for task in tasks:
        for recipe in profile.recipes(task):
            if recipe.kind == "classifier":
                steps.append(planner.step("04", recipe.name, recipe, task, ("test",), profile.judge_rows))
    champions = {task: next(r for r in profile.recipes(task) if r.name == profile.comparison) for task in tasks}
    for task, champion in champions.items():
        for name, arm in planner.arms(champion, task).items():
            steps.append(planner.step("05", f"{champion.name}, {name}", arm, task, ("test",), profile.judge_rows))
    for task, champion in champions.items():
        final = profile.final(champion, task, tapt=SISTER[task] in texts)
        steps.append(planner.step("06", f"{final.name}, final", final, task, ("dev", "test"), 0))
    return steps


# -- what is printed ----------------------------------------------------------------------------------------------------------


def disk_needed(steps: list[Step]) -> float:
    """Bytes that a plan takes at most: all that stays, and one checkpoint (weights and AdamW's two moments) of the largest training."""
    return sum(step.disk for step in steps) + 12 * max((step.cost.trained for step in steps), default=0)


def write_plan(steps: list[Step], device: Device, why: str, free: float) -> str:
    """The plan as lines: a step each, the total, and what does not fit, with the knob that would make it fit."""
    lines = [
        f"device:  {device.count} x {device.name}, {device.memory / 1e9:.0f} GB, peak {device.peak / 1e12:.3g} TFLOP/s ({why})",
        f"stated:  {device.utilisation:.0%} of the peak in training and scoring, {DECODING:.0%} in translation; foreign queries are"
        " lent English ones of the same data",
        "",
        f"{'nb':<3}{'step':<32}{'task':<5}{'rows':>10}{'answers':>10}{'queries':>9}{'tokens':>9}{'PFLOP':>10}"
        f"{'weights':>9}{'grad':>7}{'optim':>7}{'activ':>7}{'peak GB':>9}{'disk GB':>9}{'hours':>9}",
    ]
    for step in steps:
        parts = step.cost
        memory = "".join(
            f"{value / 1e9:>{width}.1f}"
            for value, width in zip(
                (parts.weights, parts.gradients, parts.optimizer, parts.activations, parts.peak),
                (9, 7, 7, 7, 9),
                strict=True,
            )
        )
        tokens = f"{'~' if step.estimate else ''}{step.tokens / 1e6:.1f}M"
        lines.append(
            f"{step.notebook:<3}{step.name:<32}{step.task:<5}{step.rows:>10,}{step.answers:>10,}{step.queries:>9,}{tokens:>9}"
            f"{step.flops / 1e15:>10,.2f}{memory}{step.disk / 1e9:>9.1f}{step.hours:>9.2f}"
        )
    hours, disk = sum(step.hours for step in steps), disk_needed(steps)
    lines += [
        "",
        f"in all:  {hours:.1f} hours on {device.count} x {device.name}, {hours * device.count:.0f} device-hours",
        f"disk:    {disk / 1e9:.1f} GB for weights to fetch, adapters and a checkpoint, {free / 1e9:.1f} GB free"
        + ("" if disk < free else "; make room, or name a folder of weights with --models"),
    ]
    if any(step.estimate for step in steps):
        lines.append("~        counted with another model's tokenizer, as its own is not here")
    misfits = [f"  {step.notebook} {step.name} {step.task}: {step.misfit}" for step in steps if step.misfit]
    lines += ["fits:    everything" if not misfits else "does not fit:", *misfits]
    return "\n".join(lines)
