"""Category text -> levels, groups and siblings, although names hold commas themselves."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from utils.text import normalise_query

# A comma parts two levels unless a space follows; names such as `kitchen,dining & bar` hold bare commas too.
_SEPARATOR = re.compile(r",(?! )")


@dataclass(frozen=True)
class Taxonomy:
    """The tree over all paths seen. `merged` are the nodes whose only child belongs to their own name."""

    merged: frozenset[tuple[str, ...]]
    siblings_of: dict[tuple[str, ...], frozenset[tuple[str, ...]]] = field(default_factory=dict, repr=False)

    def levels(self, path: str | None) -> tuple[str, ...]:
        """The levels of a category text; joined by "," they give the cleaned text back."""
        parts = _split(path)
        levels: list[str] = []
        open_name = False
        for depth, part in enumerate(parts, start=1):
            if open_name:
                levels[-1] += "," + part
            else:
                levels.append(part)
            open_name = parts[:depth] in self.merged and depth < len(parts)
        return tuple(levels)

    def group(self, path: str | None, depth: int) -> str:
        """The first `depth` levels as one text: the unit that a fold keeps together."""
        return ",".join(self.levels(path)[:depth])

    def siblings(self, path: str | None) -> frozenset[str]:
        """The other paths that share this path's parent."""
        parts = self.levels(path)
        return frozenset(",".join(p) for p in self.siblings_of.get(parts[:-1], frozenset()) if p != parts)


def _split(path: str | None) -> tuple[str, ...]:
    return tuple(_SEPARATOR.split(normalise_query(path)))


def parse(paths: Iterable[str | None]) -> Taxonomy:
    """Build the tree over all paths, then merge unary chains.

    A node that is never a leaf and whose only child is always the same one is no level of its own: `arts` in
    `arts,crafts & sewing,...`. A single path says nothing of that, so a node must be seen in two paths at least.
    """
    distinct = {_split(path) for path in paths}
    children: dict[tuple[str, ...], set[str]] = defaultdict(set)
    seen: dict[tuple[str, ...], int] = defaultdict(int)
    for parts in distinct:
        for depth in range(1, len(parts)):
            children[parts[:depth]].add(parts[depth])
            seen[parts[:depth]] += 1
    unary = {node for node, below in children.items() if len(below) == 1 and node not in distinct and seen[node] > 1}
    tree = Taxonomy(frozenset(unary))
    by_parent: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    for parts in distinct:
        levels = tree.levels(",".join(parts))
        by_parent[levels[:-1]].add(levels)
    return Taxonomy(tree.merged, {parent: frozenset(below) for parent, below in by_parent.items()})
