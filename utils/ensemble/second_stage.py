"""A second stage: what a row's answer says beside the answers to the other rows of its query.

How many paths or titles a query has, where a row stands among them, what its parent path, its child paths and the same pair in
another language got: a logistic regression on these, after the second stages of KDD Cup 2022 (Amazon's product search). It is
fitted on out-of-fold answers of whole queries. It needs no label of the rows that it answers, but it does need all rows of a
query at once: a pair that is scored alone is a query of one row.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

Array = NDArray[np.float64]
Index = NDArray[np.int64]
TEXTS = ["id", "query", "query_en", "target"]  # the columns that say which rows belong together
NONE = -1  # the parent of a row whose query has none of its ancestors
FEATURES = (
    "own", "single", "rows", "mean of others", "below the highest", "above the lowest", "rank", "lead", "parent", "has parent",
    "highest child", "children", "twins", "has twins",
)  # fmt: skip


class Relations(NamedTuple):
    """Which rows of a table belong together, each `[rows]`: numbers of groups and, for `parent`, of a row (`NONE` = none)."""

    query: Index  # rows of one query
    pair: Index  # rows of one pair of English query and target, in whatever language
    parent: Index  # the row of the same query with the nearest path above this one's


def relate(ids: pd.Series, texts: pd.DataFrame) -> Relations:
    """The relations of the rows `ids`, in their order, by their texts: `TEXTS`, of a whole split.

    Only rows that are among `ids` are related. Raises ValueError for an id without text.
    """
    if missing := set(ids) - set(texts["id"]):
        raise ValueError(f"{len(missing)} rows have no text, among them id {min(missing)}; run notebook 02 again")
    rows = texts.set_index("id")[TEXTS[1:]].loc[ids].fillna("")
    query = pd.factorize(rows["query"])[0]
    pair = rows.groupby(["query_en", "target"], sort=False).ngroup().to_numpy()
    return Relations(query, pair, _find_parents(query, rows))


def _find_parents(query: Index, rows: pd.DataFrame) -> Index:
    """For each row that of the same query whose target is the longest beginning of its own, up to a comma.

    `rows` are texts by id; of rows with the same query and target the one with the first English and id is taken, whatever their
    order: rows that also share their English are answered alike.
    """
    keys = [(number, f"{target},") for number, target in zip(query.tolist(), rows["target"], strict=True)]
    english = pd.factorize(rows["query_en"], sort=True)[0]
    last_first = np.lexsort((rows.index.to_numpy(), english))[::-1].tolist()
    first = {keys[row]: row for row in last_first}
    parent: dict[tuple[int, str], int] = {}
    above: list[tuple[int, str]] = []  # sorted, all that begins with a text follows it: these are the open ones
    for number, text in sorted(first):
        while above and not (above[-1][0] == number and text.startswith(above[-1][1])):
            above.pop()
        parent[number, text] = first[above[-1]] if above else NONE
        above.append((number, text))
    return np.array([parent[key] for key in keys], dtype=np.int64)


def measure(own: Array, relations: Relations) -> Array:
    """The features of rows with log-odds `own` `[rows]`: `[rows, FEATURES]`."""
    count = np.bincount(relations.query)[relations.query]
    highest, lowest = _extreme(own, relations.query, np.maximum), _extreme(own, relations.query, np.minimum)
    is_child = relations.parent != NONE
    children = np.bincount(relations.parent[is_child], minlength=len(own))
    best_child = np.full(len(own), -np.inf)
    np.maximum.at(best_child, relations.parent[is_child], own[is_child])
    rank, second = _rank(own, relations.query)
    twins = np.bincount(relations.pair)[relations.pair]
    columns = (
        own, count == 1, np.log(count), _mean_of_others(own, relations.query), own - highest, own - lowest, rank,
        np.where((own == highest) & (count > 1), own - second, 0.0),
        np.where(is_child, own[relations.parent], 0.0), is_child,
        np.where(children > 0, best_child, 0.0), np.log1p(children), _mean_of_others(own, relations.pair), np.log(twins),
    )  # fmt: skip
    return np.column_stack(columns).astype(float)


def _extreme(values: Array, group: Index, choose: np.ufunc) -> Array:
    """The highest (or lowest) value of each row's group."""
    found = np.full(group.max(initial=-1) + 1, -np.inf if choose is np.maximum else np.inf)
    choose.at(found, group, values)
    return found[group]


def _mean_of_others(values: Array, group: Index) -> Array:
    """The mean of the other rows of each row's group; 0 where there are none."""
    count = np.bincount(group)[group]
    return np.where(count > 1, (np.bincount(group, values)[group] - values) / np.maximum(1, count - 1), 0.0)


def _rank(own: Array, query: Index) -> tuple[Array, Array]:
    """Where a row stands in its query, from -.5 (highest) to .5, ties in the middle; and the second highest value of its query."""
    table = pd.DataFrame({"query": query, "own": own})
    group = table.groupby("query")["own"]
    count = group.transform("size").to_numpy()
    rank = (group.rank(ascending=False, method="average").to_numpy() - 1) / np.maximum(1, count - 1) - 0.5
    ordered = table.sort_values(["query", "own"], ascending=[True, False])
    second = ordered.groupby("query")["own"].nth(1)
    by_query = pd.Series(second.to_numpy(), index=ordered.loc[second.index, "query"])
    return np.where(count > 1, rank, 0.0), by_query.reindex(query).fillna(0.0).to_numpy()


@dataclass(frozen=True)
class SecondStage:
    """A weight for each of `FEATURES`, and an intercept: log-odds."""

    weights: dict[str, float]
    intercept: float

    def log_odds(self, own: Array, relations: Relations) -> Array:
        """The second stage's log-odds `[rows]` of rows with log-odds `own` `[rows]`."""
        return measure(own, relations) @ np.array([self.weights[name] for name in FEATURES]) + self.intercept


@threadpool_limits.wrap(limits=1)  # with more the weights would hang on their number
def fit_second_stage(own: Array, relations: Relations, label: ArrayLike) -> SecondStage | None:
    """Fit it on labelled rows of whole queries; None where all labels are the same."""
    label = np.asarray(label)
    if len(np.unique(label)) < 2:
        return None
    scaler = StandardScaler()
    model = LogisticRegression(max_iter=2000).fit(scaler.fit_transform(measure(own, relations)), label)
    weights = model.coef_[0] / scaler.scale_
    intercept = float(model.intercept_[0] - weights @ scaler.mean_)
    return SecondStage(dict(zip(FEATURES, weights.tolist(), strict=True)), intercept)
