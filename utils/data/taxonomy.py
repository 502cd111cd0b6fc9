"""Category path -> levels, groups and siblings, although category names contain commas themselves."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd

from utils.core.paths import Run
from utils.data.tables import read_table
from utils.data.text import normalise_query, split_path

Levels = tuple[str, ...]
Nodes = dict[tuple[int, str], int]  # a node's parent and name -> its number; the root is 0


@dataclass(frozen=True)
class Taxonomy:
    """The category tree of a set of paths: its `nodes`, and which are `merged`, as their only child is the rest of their own name.

    `parsed` keeps the levels of each raw path, which is cleaned and split once.
    """

    nodes: Nodes = field(repr=False)
    merged: frozenset[int]
    siblings_of: dict[Levels, frozenset[Levels]] = field(default_factory=dict, repr=False)
    parsed: dict[str | None, Levels] = field(default_factory=dict, repr=False, compare=False)

    def levels(self, path: str | None) -> Levels:
        """The clean levels of a raw category path; joined by "," they are the clean path."""
        path = path if isinstance(path, str) else None
        if path not in self.parsed:
            self.parsed[path] = _merge(_split(path), self.nodes, self.merged)
        return self.parsed[path]

    def group(self, path: str | None, depth: int) -> str:
        """The first `depth` levels as one text: the category group that is never split over folds."""
        return ",".join(self.levels(path)[:depth])

    def siblings(self, path: str | None) -> frozenset[str]:
        """The other clean paths with the same parent."""
        parts = self.levels(path)
        return frozenset(",".join(p) for p in self.siblings_of.get(parts[:-1], frozenset()) if p != parts)

    def parent(self, path: str | None) -> str:
        """The clean path one level up; empty for a top level."""
        return ",".join(self.levels(path)[:-1])

    def drop_level(self, path: str | None, place: int) -> str:
        """The clean path without the level at `place`, which counts from 0 modulo the levels above the last; a top level stays."""
        levels = self.levels(path)
        above = len(levels) - 1
        return ",".join(levels[: place % above] + levels[place % above + 1 :] if above else levels)

    def mark(self, path: str | None) -> str:
        """The clean path with a number before each level, `[1] toys & hobbies,[2] rc trucks`: names that hold commas stay one level."""
        return ",".join(f"[{depth}] {level}" for depth, level in enumerate(self.levels(path), start=1))

    def sibling_count(self, path: str | None) -> int:
        """The number of `siblings`, without making their texts."""
        parts = self.levels(path)
        others = self.siblings_of.get(parts[:-1], frozenset())
        return len(others) - (parts in others)


def _split(path: str | None) -> Levels:
    """The clean parts of a raw path between separators, before names are merged.

    A path is split before it is cleaned: a comma of another form (`，`) stands in a name, whatever cleaning makes of it.
    """
    return tuple(normalise_query(part) for part in split_path(path))


def _merge(parts: Levels, nodes: Nodes, merged: frozenset[int]) -> Levels:
    """The levels that the parts of a path form: a part whose node is `merged` goes on in the next one."""
    levels: list[list[str]] = []
    node, is_continued = 0, False
    for depth, part in enumerate(parts, start=1):
        if is_continued:
            levels[-1].append(part)
        else:
            levels.append([part])
        node = nodes.get((node, part), -1)
        is_continued = node in merged and depth < len(parts)
    return tuple(map(",".join, levels))


def parse(paths: Iterable[str | None]) -> Taxonomy:
    """Build the tree of all raw paths, then merge unary chains.

    A node that is never a leaf and has a single child is not a level of its own: `arts` in `arts,crafts & sewing,...`.
    One path is no evidence of that, so a node must occur in at least two distinct paths.
    """
    parts_of = {path: _split(path) for path in {path if isinstance(path, str) else None for path in paths}}
    distinct = set(parts_of.values())
    nodes: Nodes = {}
    path_counts: Counter[int] = Counter()
    leaves = set()
    for parts in sorted(distinct):  # so that the numbers are the same in every process
        node = 0
        for part in parts:
            path_counts[node] += 1
            node = nodes.setdefault((node, part), len(nodes) + 1)
        leaves.add(node)
    children = Counter(parent for parent, _ in nodes if parent)
    merged = frozenset(
        node for node, count in children.items() if count == 1 and node not in leaves and path_counts[node] > 1
    )
    parsed = {path: _merge(parts, nodes, merged) for path, parts in parts_of.items()}
    by_parent: dict[Levels, set[Levels]] = defaultdict(set)
    for levels in parsed.values():
        by_parent[levels[:-1]].add(levels)
    return Taxonomy(nodes, merged, {parent: frozenset(levels) for parent, levels in by_parent.items()}, parsed)


def show_levels(tree: Taxonomy, paths: Iterable[str | None]) -> dict[str, str]:
    """Distinct path -> its levels, joined by ` > `."""
    return {str(path): " > ".join(tree.levels(path)) for path in dict.fromkeys(paths)}


def read_tree(run: Run, task: str) -> Taxonomy | None:
    """The tree of QC's clean paths of all splits (paths are inputs, not labels). None for QI, whose targets are titles, and
    where the data holds no QC.

    Raises DataError if a table cannot be read.
    """
    files = sorted(run.clean.glob("*_QC.parquet"))
    if task != "QC" or not files:
        return None
    return parse(pd.concat([read_table(path)["target"] for path in files]))
