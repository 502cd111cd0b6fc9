"""Queries that ask for the same thing are one group: equal text, equal English, or nearly the same list of targets."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix, triu
from scipy.sparse.csgraph import connected_components

LEAST_TARGETS = 3  # distinct targets that a query needs before its list says anything
LEAST_JACCARD = 0.5  # from which on two lists of targets are nearly the same
BLOCK = 2000  # queries whose candidates are found at once, which bounds memory
COMPARED = 10_000_000  # targets of pairs of queries compared at once
LONG = 100  # targets; a longer list is found by single targets, as pairs of them would be its length squared

Pairs = NDArray[np.int64]  # [pairs, 2]


def query_groups(table: pd.DataFrame) -> pd.Series:
    """The group of each row, named by the first query of the table that belongs to it.

    Two rows are in one group where their cleaned `query` is equal, where their `query_en` is equal (an English query is its own),
    or where their queries' lists of `target` have a Jaccard index of at least .5 over three targets or more each; and where a chain
    of such pairs joins them. So no query stands on both sides of a split, nor does a translation of it.
    """
    query, names = pd.factorize(table["query"])
    english, _ = pd.factorize(table["query_en"].mask(table["query_en"] == ""))  # -1: no English, which joins nothing
    linked = english >= 0
    by_english = np.stack([query[linked], len(names) + english[linked]], axis=1)
    pairs = np.concatenate([by_english, similar_lists(query, pd.factorize(table["target"])[0])])
    size = len(names) + int(english.max(initial=-1)) + 1
    ones = np.ones(len(pairs), dtype=np.int8)
    _, component = connected_components(coo_matrix((ones, pairs.T), shape=(size, size)), directed=False)
    component = component[: len(names)]
    _, first = np.unique(component, return_index=True)  # queries are numbered in the order of the table
    return pd.Series(names[first[component]][query], index=table.index)


def similar_lists(query: NDArray[np.int64], target: NDArray[np.int64]) -> Pairs:
    """Pairs of queries whose lists of distinct targets have a Jaccard index of at least `LEAST_JACCARD`.

    `query` and `target` number each row's texts, `[rows]`; a target of -1 is none. Lists of fewer than `LEAST_TARGETS` are left
    out. Two such lists have at least two targets in common, among the rarest of each: only queries that share such a pair of
    targets are compared (prefix filtering, Chaudhuri et al. 2006).
    """
    lists = pd.DataFrame({"query": query, "target": target})
    lists = lists[lists["target"] >= 0].drop_duplicates()
    lists = lists.assign(size=lists.groupby("query")["target"].transform("size"))
    lists = lists[lists["size"] >= LEAST_TARGETS]
    if lists.empty:
        return np.empty((0, 2), dtype=np.int64)
    row, numbers = pd.factorize(lists["query"], sort=True)
    ones = np.ones(len(lists), dtype=np.int32)
    everything = coo_matrix((ones, (row, lists["target"])), shape=(len(numbers), int(target.max()) + 1)).tocsr()
    lengths = np.diff(everything.indptr)
    shared = _rare_pairs(lists.assign(query=row), len(numbers))
    found = []
    for start in range(0, len(numbers), BLOCK):
        candidates = triu(shared[start : start + BLOCK] @ shared.T, k=start + 1).tocoo()
        targets = int(lengths[candidates.row + start].sum() + lengths[candidates.col].sum())
        for part in np.array_split(np.arange(candidates.nnz), targets // COMPARED + 1):
            left, right = candidates.row[part] + start, candidates.col[part]
            common = np.asarray(everything[left].multiply(everything[right]).sum(axis=1)).ravel()
            similar = common >= LEAST_JACCARD * (lengths[left] + lengths[right] - common)
            found.append(np.stack([left[similar], right[similar]], axis=1))
    return np.asarray(numbers)[np.concatenate(found)]


def _rare_pairs(lists: pd.DataFrame, queries: int) -> csr_matrix:
    """Which query has which pair of its rarest targets, or which of them where its list is long, `[queries, pairs and targets]`.

    A list of n targets is similar only to lists that share at least a = (n + m) / 3 targets with it, where m, the
    other's length, is at least `LEAST_TARGETS` and n / 2. The two rarest of these are among its n - a + 2 rarest. Lists of more than
    half of `LONG` have single targets, too, for the long ones that they may be similar to. What one query alone has is left out.
    """
    frequency = lists.groupby("target")["query"].transform("size")
    lists = lists.assign(frequency=frequency).sort_values(["query", "frequency", "target"])
    least = np.ceil((lists["size"] + np.maximum(LEAST_TARGETS, np.ceil(lists["size"] / 2))) / 3)
    rare = lists[(lists.groupby("query").cumcount() < lists["size"] - least + 2) & (lists["frequency"] > 1)]
    short, single = rare[rare["size"] <= LONG], rare[rare["size"] > LONG // 2]
    both = short.merge(short, on="query", suffixes=("", "_other"))
    both = both[both["target"] < both["target_other"]]
    pair = both["target"].to_numpy() * (int(lists["target"].max()) + 1) + both["target_other"].to_numpy()
    query = np.concatenate([both["query"].to_numpy(), single["query"].to_numpy()])
    _, column, counts = np.unique(
        np.concatenate([pair, -1 - single["target"].to_numpy()]), return_inverse=True, return_counts=True
    )
    keep = counts[column] > 1
    where = (query[keep], column[keep])
    return coo_matrix((np.ones(int(keep.sum()), dtype=np.int32), where), shape=(queries, len(counts))).tocsr()
