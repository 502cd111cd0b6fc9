"""Queries that ask for the same thing are one group: equal text, equal English, or nearly the same list of targets."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix, triu
from scipy.sparse.csgraph import connected_components

LEAST_TARGETS = 3  # distinct targets that a query needs before its list says anything
LEAST_JACCARD = 0.5  # from which on two lists of targets are nearly the same
BLOCK = 20_000  # queries compared at once with all others, which bounds memory

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
    out. Two such lists can only be so similar if they share two targets, so it suffices to look at pairs of targets: two
    queries that share n of them share n (n - 1) / 2 pairs, from which n follows.
    """
    lists = pd.DataFrame({"query": query, "target": target})
    lists = lists[lists["target"] >= 0].drop_duplicates()
    sizes = lists.groupby("query")["target"].transform("size")
    lists = lists[sizes >= LEAST_TARGETS]
    if lists.empty:
        return np.empty((0, 2), dtype=np.int64)
    incidence, queries = _pair_incidence(lists)
    lengths = lists.groupby("query").size().loc[queries].to_numpy()
    found = []
    for start in range(0, len(queries), BLOCK):
        shared = triu(incidence[start : start + BLOCK] @ incidence.T, k=start + 1).tocoo()
        common = (1 + np.sqrt(1 + 8 * shared.data)) / 2
        left, right = shared.row + start, shared.col
        similar = common / (lengths[left] + lengths[right] - common) >= LEAST_JACCARD - 1e-9
        found.append(np.stack([queries[left[similar]], queries[right[similar]]], axis=1))
    return np.concatenate(found)


def _pair_incidence(lists: pd.DataFrame) -> tuple[csr_matrix, NDArray[np.int64]]:
    """Which query has which pair of targets, `[queries, pairs]`, without pairs of one query alone; and the queries' numbers."""
    both = lists.merge(lists, on="query", suffixes=("", "_other"))
    both = both[both["target"] < both["target_other"]]
    pair = both["target"].to_numpy() * (int(lists["target"].max()) + 1) + both["target_other"].to_numpy()
    _, pair, counts = np.unique(pair, return_inverse=True, return_counts=True)
    keep = counts[pair] > 1
    row, queries = pd.factorize(both["query"], sort=True)
    shape = (len(queries), len(counts))
    matrix = coo_matrix((np.ones(int(keep.sum()), dtype=np.int32), (row[keep], pair[keep])), shape=shape)
    return matrix.tocsr(), np.asarray(queries)
