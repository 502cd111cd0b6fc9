"""Category path -> levels, groups and siblings, although category names contain commas themselves."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd

from utils.core.paths import Run
from utils.data.tables import read_table
from utils.data.text import normalise_query

# A comma separates two levels unless a space follows; names such as `kitchen,dining & bar` contain bare commas too.
_SEPARATOR = re.compile(r",(?! )")


@dataclass(frozen=True)
class Taxonomy:
    """The category tree of a set of paths. `merged`: nodes whose only child is the rest of their own name."""

    merged: frozenset[tuple[str, ...]]
    siblings_of: dict[tuple[str, ...], frozenset[tuple[str, ...]]] = field(default_factory=dict, repr=False)

    def levels(self, path: str | None) -> tuple[str, ...]:
        """The levels of a category path; joined by "," they are the clean path again."""
        parts = _split(path)
        levels: list[str] = []
        is_continued = False
        for depth, part in enumerate(parts, start=1):
            if is_continued:
                levels[-1] += "," + part
            else:
                levels.append(part)
            is_continued = parts[:depth] in self.merged and depth < len(parts)
        return tuple(levels)

    def group(self, path: str | None, depth: int) -> str:
        """The first `depth` levels as one text: the category group that is never split over folds."""
        return ",".join(self.levels(path)[:depth])

    def siblings(self, path: str | None) -> frozenset[str]:
        """The other paths with the same parent."""
        parts = self.levels(path)
        return frozenset(",".join(p) for p in self.siblings_of.get(parts[:-1], frozenset()) if p != parts)


def _split(path: str | None) -> tuple[str, ...]:
    """The parts of a clean path between separators, before names are merged."""
    return tuple(_SEPARATOR.split(normalise_query(path)))


def parse(paths: Iterable[str | None]) -> Taxonomy:
    """Build the tree of all paths, then merge unary chains.

    A node that is never a leaf and has a single child is not a level of its own: `arts` in `arts,crafts & sewing,...`.
    One path is no evidence of that, so a node must occur in at least two distinct paths.
    """
    distinct = {_split(path) for path in paths}
    children: dict[tuple[str, ...], set[str]] = defaultdict(set)
    path_counts: dict[tuple[str, ...], int] = defaultdict(int)
    for parts in distinct:
        for depth in range(1, len(parts)):
            children[parts[:depth]].add(parts[depth])
            path_counts[parts[:depth]] += 1
    merged = {
        node for node, names in children.items() if len(names) == 1 and node not in distinct and path_counts[node] > 1
    }
    tree = Taxonomy(frozenset(merged))
    by_parent: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    for parts in distinct:
        levels = tree.levels(",".join(parts))
        by_parent[levels[:-1]].add(levels)
    return Taxonomy(tree.merged, {parent: frozenset(levels) for parent, levels in by_parent.items()})


def show_levels(tree: Taxonomy, paths: Iterable[str | None]) -> dict[str, str]:
    """Distinct path -> its levels, joined by ` > `."""
    return {str(path): " > ".join(tree.levels(path)) for path in dict.fromkeys(paths)}


def read_tree(run: Run, task: str) -> Taxonomy | None:
    """The tree of QC's clean paths of all splits (paths are inputs, not labels). None for QI, whose targets are titles.

    Raises DataError if a table cannot be read.
    """
    if task != "QC":
        return None
    return parse(pd.concat([read_table(path)["target"] for path in sorted(run.clean.glob("*_QC.parquet"))]))
