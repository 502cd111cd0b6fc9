"""The tables of all members and candidates in, one answer for each row and the scores of all of them out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from utils.core.paths import Run
from utils.core.recipe import fold_folders, load_all, read_facts
from utils.core.schema import CLEAN_COLUMNS, FOLD_COLUMNS, SCORE_COLUMNS, ordered
from utils.data.groups import query_groups
from utils.data.leaks import check_unseen
from utils.data.tables import read_table
from utils.ensemble import decide
from utils.ensemble.decide import SEEN, UNSEEN, Ensemble, Scale
from utils.ensemble.second_stage import TEXTS
from utils.evaluation import leaderboard
from utils.evaluation.intervals import excludes_zero
from utils.evaluation.thresholds import best_threshold, fit_threshold

Tables = dict[str, pd.DataFrame]  # split -> table
Members = dict[str, Tables]  # recipe -> its tables
BASELINE_NAMES = ("tfidf", "overlap", "wordpairs", "zeroshot")
ENSEMBLE = "ensemble"  # its name among the recipes
# held-out: languages that a network of the member never saw; related: queries with like ones in its training
SPLITS = ("oof", "related", "held-out", "dev", "test")
RELATED = "related"  # the split of these rows, which are withheld from training
LEAST_RELATED = 50  # rows; fewer say nothing


def load_members(run: Run, task: str) -> Members:
    """The tables `id, language, label, probability, fold` of the finally trained recipes, the champion first.

    Raises DataError for a table without one of these columns.
    """
    members = {}
    for recipe in load_all(run.tapt / "final" / task):
        folder = run.final / task / recipe.name
        files = {split: folder / f"{split}.parquet" for split in ("oof", "related", "dev", "test")}
        files["held-out"] = run.held_out(task, recipe.name) / "oof.parquet"
        found = {split: read_table(path, SCORE_COLUMNS) for split, path in files.items() if path.exists()}
        if found:  # a baseline that could not be fitted has none
            members[recipe.name] = found
    return members


def of_split(members: Members, split: str) -> Tables:
    """Recipe -> its table of one split; recipes without the split are left out."""
    return {name: tables[split] for name, tables in members.items() if split in tables}


def measure_scales(run: Run, task: str, members: Members) -> dict[str, Scale]:
    """Member -> what its mean over folds needs before calibration (`decide.widen`), measured on the test rows."""
    scales = {}
    for name, tables in members.items():
        paths = [own / "test.parquet" for own in fold_folders(run.final / task / name)]
        scales[name] = decide.widen([read_table(path) for path in paths if path.exists()], tables["test"])
    return scales


def match_scales(members: Members, languages: tuple[str, ...]) -> dict[str, Scale]:
    """Member -> what its answers need where a language is unseen (`decide.match`), measured on the test rows of such languages.

    `languages` are those of the training data. A member without held-out answers has none.
    """
    scales = {}
    for name, tables in members.items():
        if "held-out" in tables:
            test = tables["test"]
            scales[name] = decide.match(tables["held-out"], test[~test["language"].isin(languages)])
    return scales


def load_texts(run: Run, task: str) -> Tables:
    """Split -> the texts of its rows, by which a second stage knows what belongs together; rows out of fold are `train`'s."""
    files = {split: run.clean_table(split, task) for split in ("train", "dev", "test")}
    tables = {split: read_table(path, TEXTS)[TEXTS] for split, path in files.items() if path.exists()}
    return tables | {RELATED: tables["train"]}


def answer(members: Members, ensemble: Ensemble, texts: Tables, splits: Sequence[str] = ("dev", "test")) -> Tables:
    """Split -> the ensemble's table with `probability`, `threshold` and `prediction`, of those splits that members answer.

    `texts` is of `load_texts`.
    """
    there = [split for split in splits if of_split(members, split)]
    return {split: decide.answer(of_split(members, split), ensemble, texts[split]) for split in there}


def show_choices(ensembles: dict[str, Ensemble]) -> pd.DataFrame:
    """What was compared for each task, with its gain in F1, the interval of it, and whether it was adopted."""
    rows = {
        (task, name): evidence | {"adopted": excludes_zero(evidence)}
        for task, ensemble in ensembles.items()
        for name, evidence in ensemble.choices.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["task", "choice"])


def share_related(run: Run, task: str) -> float:
    """Share of the test rows in training languages whose query has a like one in training (`groups.query_groups`)."""
    folds = read_table(run.fold_table(task), FOLD_COLUMNS)
    train, test = (read_table(run.clean_table(split, task)) for split in ("train", "test"))
    train = train[train["id"].isin(folds["id"])]
    columns = ["query", "query_en", "target"]
    group = query_groups(pd.concat([train[columns], test[columns]], ignore_index=True)).to_numpy()
    related = pd.Series(group[len(train) :]).isin(set(group[: len(train)])).to_numpy()
    seen = test["language"].isin(train["language"].unique()).to_numpy()
    return float(related[seen].mean()) if seen.any() else 0.0


def with_texts(run: Run, task: str, table: pd.DataFrame) -> pd.DataFrame:
    """A table of test answers with the raw `origin_query` and `target` that were answered, joined by id."""
    test = read_table(run.clean_table("test", task), CLEAN_COLUMNS)
    return table.merge(test[["id", "origin_query", "target"]], on="id", how="left", validate="one_to_one")


def count_rows(members: Members) -> pd.DataFrame:
    """Number of rows by split (index) and member (column)."""
    counts = {name: {split: len(table) for split, table in tables.items()} for name, tables in members.items()}
    table = pd.DataFrame({name: pd.Series(count) for name, count in counts.items()})
    return table.reindex([split for split in SPLITS if split in table.index])


def show_weights(ensemble: Ensemble, members: Members) -> pd.DataFrame:
    """Every member's weight by decision with its 95 % interval, 0 where it adds nothing; unseen languages may have fewer members."""
    rows = []
    for kind, decision in ensemble.decisions.items():
        for name in members:
            low, high = decision.intervals.get(name, (np.nan, np.nan))
            row = {"languages": kind, "member": name, "weight": decision.weights.get(name, 0.0), "lo": low, "hi": high}
            rows += [row] if name in decision.intervals else []
    return pd.DataFrame(rows).set_index(["languages", "member"])


def load_clusters(run: Run, task: str) -> dict[str, pd.Series]:
    """Split -> series id -> query group, the clusters of the bootstrap; train's are those of the folds."""
    clusters = {"train": read_table(run.fold_table(task), FOLD_COLUMNS).set_index("id")["query_group"]}
    for split in ("dev", "test"):
        path = run.clean_table(split, task)
        if path.exists():
            table = read_table(path)
            clusters[split] = pd.Series(query_groups(table).to_numpy(), index=table["id"])
    return clusters


def training_languages(run: Run, task: str) -> tuple[str, ...]:
    """The languages of the rows that were split into folds, in the fixed order."""
    folds = read_table(run.fold_table(task), FOLD_COLUMNS)
    train = read_table(run.clean_table("train", task))
    return tuple(ordered(train.loc[train["id"].isin(folds["id"]), "language"].unique().tolist()))


def load_recipes(run: Run, tasks: list[str]) -> dict[str, Any]:
    """Task -> the saved recipes of its final trainings with the facts beside them, for `recipe.json` of a submission."""
    recipes = {}
    for task in tasks:
        names = [recipe.name for recipe in load_all(run.tapt / "final" / task)]
        recipes[task] = [read_facts(run.final / task / name / "recipe.json") for name in names]
    return recipes


def estimate(honest: Tables, test: pd.DataFrame, clusters: pd.Series, related_share: float = 0.0) -> pd.DataFrame:
    """Out-of-fold rows weighted as the test file's rows are: languages of the training data by `query`, all others by
    `leave-language` validation.

    `honest` is of `crossfitting.fit_ensemble`, with a table `related` where rows were withheld: they stand for the share
    of the test's rows whose query has a like one in training, which `query` validation has none of. A language of the
    training data weighs what its test rows do; each held-out language weighs an equal part of the unseen ones' test rows.
    Returns the rows with `weight`, `kind` and `query_group`; a test file without unseen languages, or a run without
    held-out ones, has one kind. Raises LeakError where the ensemble was fitted on a withheld row's query.
    """
    counts = test["language"].value_counts()
    seen = honest[SEEN]
    unseen_rows = int(counts[~counts.index.isin(seen["language"].unique())].sum())
    parts = [seen.assign(kind=SEEN, weight=_weights(seen["language"], counts))]
    if RELATED in honest and len(honest[RELATED]) >= LEAST_RELATED:
        related = honest[RELATED]
        check_unseen(seen["id"].map(clusters), related["id"].map(clusters), "the ensemble")
        shares = (counts * related_share).where(counts.index.isin(related["language"].unique()), 0.0)
        parts[0]["weight"] = _weights(seen["language"], counts - shares)
        parts.append(related.assign(kind=SEEN, weight=_weights(related["language"], shares)))
    if UNSEEN in honest and unseen_rows:
        held_out = honest[UNSEEN]
        languages = held_out["language"].unique()
        shares = pd.Series(unseen_rows / len(languages), index=languages)
        weights = _weights(held_out["language"], shares)
        # Marked (`es*`): these rows' networks never saw their language, while those of the other rows did.
        parts.append(held_out.assign(kind=UNSEEN, weight=weights, language=held_out["language"] + "*"))
    # Rows of a kind that the test lacks do not count; where it shares no language at all, seen rows are all there is.
    counted = [part for part in parts if part["weight"].any()] or [parts[0].assign(weight=1.0)]
    rows = pd.concat(counted, ignore_index=True)
    return rows.assign(query_group=rows["id"].map(clusters))


def _weights(language: pd.Series, totals: pd.Series) -> pd.Series:
    """A weight for each row, so that a language's rows together weigh its total."""
    return language.map(totals).fillna(0.0) / language.map(language.value_counts())


def with_labels(table: pd.DataFrame, solution: pd.DataFrame | None) -> pd.DataFrame | None:
    """A table with its labels, joined by id; None where there are none."""
    if "label" in table:
        return table
    return None if solution is None else table.merge(solution, on="id", how="inner", validate="one_to_one")


@dataclass(frozen=True)
class _Scorer:
    """Scores tables of one task by language, in the columns of `scores.csv`."""

    task: str
    clusters: dict[str, pd.Series]
    solution: Tables
    seed: int

    def score(self, name: str, split: str, table: pd.DataFrame, trained_on: set[str]) -> pd.DataFrame:
        """One recipe's rows of one split, `prediction` and `threshold` given; an empty table where there are no labels.

        `trained_on` holds the languages of the recipe's training rows.
        """
        rows = with_labels(table, self.solution.get(split))
        if rows is None or rows.empty:
            return pd.DataFrame()
        if "query_group" not in rows:
            rows = rows.assign(query_group=rows["id"].map(self.clusters["train" if split == "oof" else split]))
        rule = fit_threshold if name == ENSEMBLE else best_threshold
        scores = leaderboard.by_language(rows, trained_on, self.seed, rule)
        if split == "estimate":
            scores = scores[scores["language"].isin(leaderboard.POOLED)]
        masks = {row.language: _mask(rows, row.language, trained_on) for row in scores.itertuples()}
        scores["threshold"] = [rows.loc[masks[language], "threshold"].mean() for language in scores["language"]]
        for place, (column, value) in enumerate({"recipe": name, "task": self.task, "split": split}.items()):
            scores.insert(place, column, value)
        return scores


def _mask(rows: pd.DataFrame, language: str, trained_on: set[str]) -> pd.Series:
    """The rows of a language, or of a pool of them."""
    if language == "all":
        return pd.Series(True, index=rows.index)
    in_training = rows["language"].isin(trained_on)
    return {"seen": in_training, "unseen": ~in_training}.get(language, rows["language"] == language)


def score_everything(
    run: Run, task: str, answers: Tables, honest: Tables, clusters: dict[str, pd.Series], solution: Tables, seed: int
) -> pd.DataFrame:
    """The rows of `scores.csv` for one task: the ensemble and each candidate of notebook 04, by split and language.

    `answers` holds the ensemble's dev and test tables, `honest` its cross-fitted ones. A candidate's test threshold is
    the best out-of-fold one. A candidate that answered only a part of the test rows is scored on it. `solution` maps
    split -> `id, label`. Raises DataError where a table of a candidate is missing.
    """
    train = read_table(run.clean_table("train", task)).merge(read_table(run.fold_table(task)), on="id")
    scorer, languages = _Scorer(task, clusters, solution, seed), set(train["language"])
    share = share_related(run, task) if RELATED in honest else 0.0
    expected = estimate(honest, answers["test"], clusters["train"], share)
    answered = {"oof": honest[SEEN], "estimate": expected, **answers}
    parts = [scorer.score(ENSEMBLE, split, table, languages) for split, table in answered.items()]
    board = pd.read_csv(run.bakeoff / "leaderboard.csv")
    for name in board.loc[board["task"] == task, "recipe"]:
        folder = run.bakeoff / task / name
        oof = leaderboard.read_oof(folder, train, seed)
        own = leaderboard.training_languages(folder, oof, train)
        threshold = board.loc[(board["task"] == task) & (board["recipe"] == name), "threshold"].iloc[0]
        parts.append(scorer.score(name, "oof", oof, own))
        table = read_table(folder / "test.parquet")
        prediction = (table["probability"] >= threshold).astype(int)
        parts.append(scorer.score(name, "test", table.assign(prediction=prediction, threshold=threshold), own))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)
