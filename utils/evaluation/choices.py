"""Choices between candidates on the same validation rows: differences with paired intervals, and what they allow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from utils.core.recipe import Recipe
from utils.data.leaks import check_parts
from utils.evaluation.intervals import (
    auc_of,
    choose_repeats,
    cross_fitted_f1,
    draw_weights,
    paired_differences,
    quantiles,
)
from utils.evaluation.leaderboard import read_oof

NO_TRANSLATION = "-no-translation"  # ends the name of the variant without it
# Tables of `leaderboard.read_oof` of the same rows: with something and without.
Pair = tuple[pd.DataFrame, pd.DataFrame]
DIFFERENCE = ["f1_change", "f1_change_lo", "f1_change_hi", "auc_change", "auc_change_lo", "auc_change_hi"]


def compare(left: pd.DataFrame, right: pd.DataFrame, seed: int) -> dict[str, float]:
    """F1 and AUC of `left` less those of `right`, with paired intervals by query group: the keys of `DIFFERENCE`.

    Both are tables of `leaderboard.read_oof` of the same rows. Raises ValueError where the rows differ.
    """
    return compare_means([(left, right)], seed)


def compare_means(pairs: Sequence[Pair], seed: int) -> dict[str, float]:
    """`compare` of several pairs of tables, one per task, in the mean over them: the competition's score is the mean of its tasks.

    Queries are drawn in each task on their own. What is one choice for both tasks is decided on twice as many rows.
    """
    pairs = [_in_order(pair) for pair in pairs]
    repeats = min(choose_repeats(2 * len(left)) for left, _ in pairs)
    means = []
    for measure in (cross_fitted_f1, auc_of):
        changes = [
            paired_differences(left, right, left["query_group"], measure, repeats, seed + number)
            for number, (left, right) in enumerate(pairs)
        ]
        low, high = quantiles(np.mean([values for _, values in changes], axis=0))
        means += [float(np.mean([difference for difference, _ in changes])), low, high]
    return dict(zip(DIFFERENCE, means, strict=True))


def _in_order(pair: Pair) -> Pair:
    """Both tables in the order of their ids. Raises LeakError where a threshold was fitted on a query that it is evaluated on."""
    left, right = (table.sort_values("id", ignore_index=True) for table in pair)
    for table in (left, right):
        check_parts(table["part"], table["query_group"], "the choice between candidates")
    return left, right


def compare_seeds(pairs: Sequence[Pair], seed: int) -> dict[str, float]:
    """`compare` in the mean over seeds, each a pair of tables of the same rows as all others.

    Every repeat draws the same queries for all seeds, and the seeds, too: neither these queries nor these seeds are all there are.
    Raises ValueError where the rows differ.
    """
    left, right = zip(*map(_in_order, pairs), strict=True)
    if any(table["id"].tolist() != left[0]["id"].tolist() for table in (*left, *right)):
        raise ValueError("seeds are compared on the same rows")
    cluster, rng = left[0]["query_group"], np.random.default_rng(seed)
    repeats, means = min(300, choose_repeats(2 * len(cluster) * len(pairs))), []
    weights = [np.ones(len(cluster)), *draw_weights(cluster, repeats, seed)]
    seeds = [np.arange(len(pairs)), *(rng.integers(len(pairs), size=len(pairs)) for _ in range(repeats))]
    for measure in (cross_fitted_f1, auc_of):
        values = []
        for weight, chosen in zip(weights, seeds, strict=True):
            own = {
                number: measure(left[number], weight) - measure(right[number], weight)
                for number in set(chosen.tolist())
            }
            values.append(float(np.mean([own[number] for number in chosen.tolist()])))
        means += [values[0], *quantiles(values[1:])]
    return dict(zip(DIFFERENCE, means, strict=True))


def compare_variants_in_mean(
    recipes: Mapping[str, Sequence[Recipe]], name: str, train: Mapping[str, pd.DataFrame], folder: Path, seed: int
) -> pd.DataFrame:
    """`compare_variants` in the mean over the tasks; a variant that is not compared in each of them is left out.

    `recipes` and `train` are by task; the tables lie in `folder/<task>/<recipe>`.
    """
    pairs: dict[str, list[Pair]] = {}
    for task, own in recipes.items():
        for variant, other in _variants(own, name, train[task], folder / task, seed).items():
            pairs.setdefault(variant, []).append((read_oof(folder / task / name, train[task], seed), other))
    rows = {variant: compare_means(both, seed) for variant, both in pairs.items() if len(both) == len(recipes)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=DIFFERENCE).rename_axis("variant")


def compare_variants(
    recipes: Sequence[Recipe], name: str, train: pd.DataFrame, folder: Path, seed: int
) -> pd.DataFrame:
    """What each idea of a candidate brings: the candidate less its variant, for variants validated on the same rows.

    One row per variant, with the keys of `DIFFERENCE`; a variant without results, or on other rows, is left out.
    """
    variants = _variants(recipes, name, train, folder, seed)
    base = read_oof(folder / name, train, seed)
    rows = {variant: compare(base, other, seed) for variant, other in variants.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=DIFFERENCE).rename_axis("variant")


def _variants(
    recipes: Sequence[Recipe], name: str, train: pd.DataFrame, folder: Path, seed: int
) -> dict[str, pd.DataFrame]:
    """Variant of a candidate -> its out-of-fold table, where it was validated on the candidate's rows."""
    ids = set(read_oof(folder / name, train, seed)["id"])
    names = [recipe.name for recipe in recipes if recipe.variant_of == name]
    finished = [variant for variant in names if (folder / variant / "oof.parquet").exists()]
    found = {variant: read_oof(folder / variant, train, seed) for variant in finished}
    return {variant: table for variant, table in found.items() if set(table["id"]) == ids}


class Finalists(NamedTuple):
    """The candidates for the final training, the champion first, and the champion's lead over others."""

    names: list[str]
    leads: pd.DataFrame


def gather(ideas: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The tasks' tables of `compare_variants` as one, with the task in its index; empty where nothing was compared."""
    compared = {task: changes for task, changes in ideas.items() if len(changes)}
    return pd.concat(compared) if compared else pd.DataFrame(columns=DIFFERENCE)


def choose_finalists(
    board: pd.DataFrame, task: str, names: Sequence[str], count: int, train: pd.DataFrame, folder: Path, seed: int
) -> Finalists:
    """The candidates for the final training, the champion first, and the champion's lead over the best of each other family.

    The champion has the highest cross-fitted F1 (then AUC) of the candidates in `names` that were trained on the most rows.
    The best of another family goes on, too, where the champion's lead over it is not clear (`is_adopted`), at most `count` in all.
    Raises ValueError if none of them is on the leaderboard.
    """
    rows = board[(board["task"] == task) & (board["scheme"] == "query") & board["recipe"].isin(names)]
    if rows.empty:
        raise ValueError(f"{task}: none of {', '.join(names)} is on the leaderboard; run notebook 04 with one of them")
    rows = rows.sort_values(["f1", "auc"], ascending=False)
    alike = rows[rows["rows"] == rows["rows"].max()]
    champion = alike.iloc[0]
    own, leads, finalists = read_oof(folder / champion["recipe"], train, seed), {}, [str(champion["recipe"])]
    others = alike[alike["family"] != champion["family"]].drop_duplicates("family")
    for name in others["recipe"]:
        other = read_oof(folder / name, train, seed)
        if set(other["id"]) != set(own["id"]):
            print(
                f"notice: {task}: {name} was validated on other rows than {champion['recipe']}, so they are not compared"
            )
            continue
        leads[name] = compare(own, other, seed)
        if not is_adopted(leads[name]):
            finalists.append(str(name))
    return Finalists(
        finalists[:count], pd.DataFrame.from_dict(leads, orient="index", columns=DIFFERENCE).rename_axis("runner-up")
    )


def is_adopted(change: "pd.Series[float] | dict[str, float]") -> bool:
    """Whether a difference is adopted: the interval of F1 or that of AUC lies above zero, and neither lies below.

    What a training changes is the order of the rows, which AUC sees on a few hundred rows already; F1 at one threshold needs many more.
    """
    measures = ("f1_change", "auc_change")
    above = any(change[f"{measure}_lo"] > 0 for measure in measures)
    return above and not any(change[f"{measure}_hi"] < 0 for measure in measures)


def is_noise(change: "pd.Series[float] | dict[str, float]") -> bool:
    """Whether both intervals of a difference include zero."""
    return all(change[f"{measure}_lo"] <= 0 <= change[f"{measure}_hi"] for measure in ("f1_change", "auc_change"))


def explain(board: pd.DataFrame, task: str, finalists: Finalists) -> str:
    """The finalists, the champion's scores, and its lead over the runner-up of another family, said to be noise where it may be."""
    names, leads = finalists
    champion = board[board["task"] == task].set_index("recipe").loc[names[0]]
    text = (
        f"{', '.join(names)} into the final training. {names[0]} leads with F1 {champion['f1']:.3f} "
        f"[{champion['f1_lo']:.3f}, {champion['f1_hi']:.3f}] and AUC {champion['auc']:.3f}"
    )
    for name, lead in leads.iterrows():
        text += f"; {show_change(lead)} over {name}"
    return text + "."


def apply_ideas(finalists: Sequence[Recipe], ideas: pd.DataFrame, name: str) -> list[Recipe]:
    """The finalists with translation where its gain was shown on candidate `name`, and without it where it was not.

    `ideas` is of `compare_variants`. Where translation was not compared, the finalists stay as they are.
    """
    variant = f"{name}{NO_TRANSLATION}"
    if variant not in ideas.index:
        return list(finalists)
    return [finalist.with_(translation=is_adopted(ideas.loc[variant])) for finalist in finalists]


def explain_ideas(ideas: pd.DataFrame, name: str) -> str:
    """What translation brings and whether the finals use it; empty where it was not compared."""
    variant = f"{name}{NO_TRANSLATION}"
    if variant not in ideas.index:
        return ""
    change = ideas.loc[variant]
    verdict = "with" if is_adopted(change) else "without"
    return f"Translation brings {name} {show_change(change)}: the finals train {verdict} it."


def show_change(change: "pd.Series[float] | dict[str, float]") -> str:
    """A difference in words: F1 and AUC with their intervals, and that it is noise where both include zero."""
    parts = []
    for name in ("f1", "auc"):
        middle, low, high = (change[f"{name}_change{end}"] for end in ("", "_lo", "_hi"))
        parts.append(f"{middle:+.4f} {name.upper()} [{low:+.4f}, {high:+.4f}]")
    return " and ".join(parts) + (" (inside the noise)" if is_noise(change) else "")
