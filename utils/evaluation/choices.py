"""Choices between candidates on the same validation rows: differences with paired intervals, and what they allow."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from utils.core.recipe import Recipe
from utils.evaluation.intervals import auc_of, cross_fitted_f1, paired_difference
from utils.evaluation.leaderboard import read_oof

NO_TRANSLATION = "-no-translation"  # ends the name of the variant without it
DIFFERENCE = ["f1_change", "f1_change_lo", "f1_change_hi", "auc_change", "auc_change_lo", "auc_change_hi"]


def compare(left: pd.DataFrame, right: pd.DataFrame, seed: int) -> dict[str, float]:
    """F1 and AUC of `left` less those of `right`, with paired intervals by query group: the keys of `DIFFERENCE`.

    Both are tables of `leaderboard.read_oof` of the same rows. Raises ValueError where the rows differ.
    """
    left, right = (table.sort_values("id", ignore_index=True) for table in (left, right))
    values = []
    for measure in (cross_fitted_f1, auc_of):
        interval = paired_difference(left, right, left["query_group"], measure, seed)
        values += [interval["difference"], interval["lo"], interval["hi"]]
    return dict(zip(DIFFERENCE, values, strict=True))


def compare_variants(
    recipes: Sequence[Recipe], name: str, train: pd.DataFrame, folder: Path, seed: int
) -> pd.DataFrame:
    """What each idea of a candidate brings: the candidate less its variant, for variants validated on the same rows.

    One row per variant, with the keys of `DIFFERENCE`; a variant without results, or on other rows, is left out.
    """
    base, rows = read_oof(folder / name, train, seed), {}
    for variant in recipes:
        if variant.variant_of != name or not (folder / variant.name / "oof.parquet").exists():
            continue
        other = read_oof(folder / variant.name, train, seed)
        if set(other["id"]) == set(base["id"]):
            rows[variant.name] = compare(base, other, seed)
    return pd.DataFrame.from_dict(rows, orient="index", columns=DIFFERENCE).rename_axis("variant")


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
