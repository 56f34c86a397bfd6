"""Cutting a graph that breaks rules: Kruskal's algorithm with unions that may be refused.

Here: integers and limits. Not here: what a node or a limit means (`ml.identity` knows).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Limits:
    """What no group may exceed.

    weights: int[nodes, limits], what each node adds to each limited quantity.
    ceilings: int[limits].
    is_shared_by_included: bool[limits], quantities that an included edge does not add up but
        joins into one (the greater of both).
    apart: int[pairs, 2], nodes that never share a group.
    """

    weights: NDArray[np.int64]
    ceilings: NDArray[np.int64]
    is_shared_by_included: NDArray[np.bool_]
    apart: NDArray[np.int64]


@dataclass(frozen=True)
class Cut:
    """group: int[nodes], the root of each node. refused: int[edges], -1 where the edge lies
    inside a group, else the index of the limit it would break, or `len(ceilings)` for a pair
    that must stay apart."""

    group: NDArray[np.int64]
    refused: NDArray[np.int64]


class _Forest:
    """Disjoint groups with what each of them holds; path halving, union by size."""

    def __init__(self, limits: Limits) -> None:
        count = len(limits.weights)
        self.parent = list(range(count))
        self.size = [1] * count
        self.holds: list[list[int]] = limits.weights.tolist()
        self.ceilings: list[int] = limits.ceilings.tolist()
        self.is_shared: list[bool] = limits.is_shared_by_included.tolist()
        self.foes: dict[int, list[int]] = {}
        for left, right in limits.apart.tolist():
            self.foes.setdefault(left, []).append(right)
            self.foes.setdefault(right, []).append(left)

    def find(self, node: int) -> int:
        parent = self.parent
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def objection(self, left: int, right: int, is_included: bool) -> int:
        """The limit that uniting two roots would break, -1 if none."""
        if self.foes and any(self.find(foe) == right for foe in self.foes.get(left, ())):
            return len(self.ceilings)
        if is_included:
            return -1
        both = zip(self.holds[left], self.holds[right], self.ceilings, strict=True)
        for index, (mine, theirs, ceiling) in enumerate(both):
            # An included edge may have passed the ceiling already: then it only must not grow.
            if mine and theirs and mine + theirs > ceiling:
                return index
        return -1

    def unite(self, left: int, right: int, is_included: bool) -> None:
        if self.size[left] < self.size[right]:
            left, right = right, left
        self.parent[right] = left
        self.size[left] += self.size[right]
        holds, added = self.holds[left], self.holds[right]
        for index, amount in enumerate(added):
            joins = is_included and self.is_shared[index]
            holds[index] = max(holds[index], amount) if joins else holds[index] + amount
        if right in self.foes:
            self.foes[left] = self.foes.get(left, []) + self.foes.pop(right)


def cut(
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    is_included: NDArray[np.bool_],
    limits: Limits,
) -> Cut:
    """Unite the ends of each edge, in the given order (strongest first), unless a limit breaks.

    left, right: int[edges]. Included edges must come first and answer to `apart` alone.
    Because groups only grow, a refused pair would be refused later too: the partition depends
    on the order of the edges and on nothing else. O(edges x limits).
    """
    forest = _Forest(limits)
    refused = np.full(len(left), -1, dtype=np.int64)
    triples = zip(left.tolist(), right.tolist(), is_included.tolist(), strict=True)
    for index, (one, other, included) in enumerate(triples):
        mine, theirs = forest.find(one), forest.find(other)
        if mine == theirs:
            continue
        limit = forest.objection(mine, theirs, included)
        if limit < 0:
            forest.unite(mine, theirs, included)
        else:
            refused[index] = limit
    group = np.array([forest.find(node) for node in range(len(forest.parent))], dtype=np.int64)
    return Cut(group, refused)
