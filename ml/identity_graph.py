"""Person graph as integers: identifiers become numbers, edges pairs of numbers.

Here: coding of text, pairs named by rules, the order that ties fall back to. Not here: which
edges hold and which groups they make (`ml.identity`).

Text stays in Arrow: five million edges name eight million ends, and as Python strings those cost
a gigabyte and most of the time.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml.identity_rules import PAIR, LinkRule, Rules

IDENTIFIER = ["identifier_type", "identifier_value"]
# Sorts before every printable character, so keys order by type, then value.
SEPARATOR = "\x1f"
NEVER = np.iinfo(np.int64).max
OPEN = -1
RULE = ["action", *PAIR]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Frame: TypeAlias = pd.DataFrame | pa.Table


class Nodes(NamedTuple):
    """Every identifier once, in no order that means anything."""

    type_names: list[str]
    type_code: Ints
    type: pa.Array
    value: pa.Array
    key: pa.Array
    first_seen: Ints
    is_blocked: Bools

    def rank(self, places: Ints) -> Ints:
        """The rank by (type, value) of the nodes at `places` among themselves."""
        order = pc.array_sort_indices(self.key.take(pa.array(places))).to_numpy()
        rank = np.empty(len(places), dtype=np.int64)
        rank[order] = np.arange(len(places))
        return rank


class Edges(NamedTuple):
    """Ends as places in `Nodes`, as given; `reason` a place in `reasons`, OPEN where none."""

    left: Ints
    right: Ints
    evidence: Ints
    first_seen: Ints
    reason: Ints
    reasons: list[str]
    is_included: Bools
    pairs: pa.Table

    @property
    def is_open(self) -> Bools:
        """Edges that may link: no reason against them, or a rule for them."""
        return self.is_included | (self.reason == OPEN)

    def reason_code(self, name: str) -> int:
        """The place of a reason, listed when it is new."""
        if name not in self.reasons:
            self.reasons.append(name)
        return self.reasons.index(name)


def index(edges: Frame, identifiers: Frame, rules: Rules) -> tuple[Nodes, Edges, Ints]:
    """Nodes, edges with the verdicts known before any graph, and the pairs kept apart.

    edges and identifiers as `ml.identity.resolve` takes them. Returns int[pairs, 2] last. Raises
    ValueError on an identifier without type or value.
    """
    links = pd.DataFrame([(link.action, *_ends(link)) for link in rules.links], columns=RULE)
    is_include = (links["action"] == "include").to_numpy(dtype=bool)
    sources = [(identifiers, IDENTIFIER), (edges, PAIR[:2]), (edges, PAIR[2:])]
    sources += [(links, PAIR[:2]), (links, PAIR[2:])]
    types = [text(frame, names[0]) for frame, names in sources]
    values = [text(frame, names[1]) for frame, names in sources]
    keys = [keyed(kind, value) for kind, value in zip(types, values, strict=True)]
    encoded = pa.concat_arrays(keys).dictionary_encode()
    codes = encoded.indices.to_numpy().astype(np.int64)
    known, left, right, *named = np.split(codes, np.cumsum([len(key) for key in keys])[:-1])
    ruled = np.column_stack(named)
    apart = np.unique(ruled[~is_include], axis=0)
    include = np.unique(ruled[is_include], axis=0)
    first = _first_places(codes, len(encoded.dictionary))
    kinds = pa.concat_arrays(types).take(first)
    nodes = _nodes(encoded.dictionary, kinds, pa.concat_arrays(values).take(first))
    graph = _edges(edges, left, right, include, apart, nodes)
    nodes = _dated(nodes, known, identifiers, graph)
    nodes.is_blocked[include.ravel()] = False
    touches_blocked = nodes.is_blocked[graph.left] | nodes.is_blocked[graph.right]
    graph.reason[touches_blocked & graph.is_open] = graph.reason_code("blocked_value")
    return nodes, graph, apart


def text(frame: Frame, name: str) -> pa.Array:
    """A column as Arrow text in one piece; raises ValueError on a null."""
    column = _column(frame, name)
    if column.null_count:
        raise ValueError(f"null in {name}: an identifier needs a type and a value")
    return column.cast(pa.large_string())


def _ends(link: LinkRule) -> tuple[str, ...]:
    """Both ends in the order of edges: the smaller type, then the smaller value, is left."""
    left, right = (link.left_type, link.left_value), (link.right_type, link.right_value)
    return (*min(left, right), *max(left, right))


def _names(frame: Frame) -> list[str]:
    return frame.column_names if isinstance(frame, pa.Table) else [*map(str, frame.columns)]


def _column(frame: Frame, name: str) -> pa.Array:
    held = frame[name]
    column = held if isinstance(frame, pa.Table) else pa.array(held, from_pandas=True)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def keyed(kind: pa.Array, value: pa.Array) -> pa.Array:
    """Type and value in one text."""
    return pc.binary_join_element_wise(kind, value, pa.scalar(SEPARATOR, pa.large_string()))


def instants(frame: Frame, name: str) -> Ints:
    """Microseconds since 1970; what has no time is later than everything."""
    if isinstance(frame, pa.Table):
        times = _column(frame, name).cast(pa.timestamp("us", tz="UTC"))
        return pc.fill_null(times.cast(pa.int64()), NEVER).to_numpy()
    stamps = pd.to_datetime(frame[name], utc=True).dt.as_unit("us")
    return np.where(stamps.isna(), NEVER, stamps.astype("int64"))


def numbers(frame: Frame, name: str) -> Ints:
    """A column of whole numbers."""
    return np.asarray(frame[name]).astype(np.int64)


def _first_places(codes: Ints, count: int) -> pa.Array:
    first = np.empty(count, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    return pa.array(first)


def _nodes(key: pa.Array, kinds: pa.Array, values: pa.Array) -> Nodes:
    types = kinds.dictionary_encode()
    return Nodes(
        type_names=types.dictionary.to_pylist(),
        type_code=types.indices.to_numpy().astype(np.int64),
        type=kinds,
        value=values,
        key=key,
        first_seen=np.full(len(key), NEVER),
        is_blocked=np.zeros(len(key), dtype=bool),
    )


def _dated(nodes: Nodes, known: Ints, identifiers: Frame, graph: Edges) -> Nodes:
    """With the moments of their own evidence, else of their edges', and the blocked marks."""
    np.minimum.at(nodes.first_seen, known, instants(identifiers, "first_seen_at"))
    undated = nodes.first_seen == NEVER
    if undated.any():
        by_edge = np.full(len(nodes.key), NEVER)
        for end in (graph.left, graph.right):
            np.minimum.at(by_edge, end, graph.first_seen)
        nodes.first_seen[undated] = by_edge[undated]
    if "is_blocked" in _names(identifiers):
        nodes.is_blocked[known[flags(identifiers, "is_blocked")]] = True
    return nodes


def flags(frame: Frame, name: str) -> Bools:
    """A column of marks; null is no mark."""
    marks = _column(frame, name).cast(pa.bool_())
    return pc.fill_null(marks, False).to_numpy(zero_copy_only=False)


def _edges(
    edges: Frame, left: Ints, right: Ints, include: Ints, apart: Ints, nodes: Nodes
) -> Edges:
    """Observed edges, then the pairs of include rules that nobody observed."""
    low, high = np.minimum(left, right), np.maximum(left, right)
    width = len(nodes.key) + 1
    wanted, banned = (part.min(axis=1) * width + part.max(axis=1) for part in (include, apart))
    code = low * width + high
    unseen = include[~np.isin(wanted, code[_among(code, wanted)])]
    rows = len(code) + len(unseen)
    code = np.append(code, unseen.min(axis=1) * width + unseen.max(axis=1))
    is_banned = _among(code, banned)
    reason, reasons = _given_reasons(edges, rows)
    graph = Edges(
        left=np.append(left, unseen[:, 0]),
        right=np.append(right, unseen[:, 1]),
        evidence=_padded(numbers(edges, "evidence_count"), rows, 0),
        first_seen=_padded(instants(edges, "first_seen_at"), rows, NEVER),
        reason=reason,
        reasons=reasons,
        is_included=_among(code, wanted) & ~is_banned,
        pairs=_pairs(edges, unseen, nodes),
    )
    if len(banned):
        graph.reason[is_banned] = graph.reason_code("excluded_by_rule")
    if len(wanted):
        graph.reason[graph.is_included] = graph.reason_code("included_by_rule")
    return graph


def _among(codes: Ints, few: Ints) -> Bools:
    """Which of many codes are among a few: by their hash, where numpy would sort the many."""
    return pd.Series(codes).isin(few).to_numpy()


def _padded(column: Ints, rows: int, value: int) -> Ints:
    return np.append(column, np.full(rows - len(column), value, dtype=np.int64))


def _given_reasons(edges: Frame, rows: int) -> tuple[Ints, list[str]]:
    if "reason" not in _names(edges):
        return np.full(rows, OPEN), []
    encoded = _column(edges, "reason").cast(pa.large_string()).dictionary_encode()
    given = pc.fill_null(encoded.indices, OPEN).to_numpy().astype(np.int64)
    return _padded(given, rows, OPEN), encoded.dictionary.to_pylist()


def _pairs(edges: Frame, unseen: Ints, nodes: Nodes) -> pa.Table:
    """The four names of every edge, as observed."""
    observed = pa.table({name: text(edges, name) for name in PAIR})
    if not len(unseen):
        return observed
    one, other = unseen[:, 0], unseen[:, 1]
    ends = [column.take(pa.array(end)) for end in (one, other) for column in nodes[2:4]]
    return pa.concat_tables([observed, pa.table(dict(zip(PAIR, ends, strict=True)))])
