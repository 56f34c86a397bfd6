"""Person graph: which identifiers belong to one person.

Here: verdicts on observed edges and the clusters that the accepted ones make. Not here: which
identifier is shared or blocked (dbt says so in `reason` and `is_blocked`), what the rules are
(`ml.identity_rules`), the ids that persons keep (`ml.person_ids`), links by likeness of names.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ml.graph_cut import Limits, cut
from ml.identity_rules import PAIR, Rules

IDENTIFIER = ["identifier_type", "identifier_value"]
# Sorts before every printable character, so keys order by type, then value.
_SEPARATOR = "\x1f"
_NEVER = np.iinfo(np.int64).max

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Texts = NDArray[np.object_]


@dataclass(frozen=True)
class Resolution:
    """Verdicts and clusters, both in an order taken from the data alone.

    verdicts: left_type, left_value, right_type, right_value, verdict, reason; one row per
        observed edge and per include rule that nobody observed.
    clusters: cluster_id, identifier_type, identifier_value, first_seen_at, founding_rank
        (0 = the identifier that founds the person); one row per identifier not blocked.
    cut_count: components that broke a rule and were cut.
    """

    verdicts: pd.DataFrame
    clusters: pd.DataFrame
    cut_count: int

    def summary(self) -> dict[str, int]:
        """Counts for metadata: clusters, the largest, components cut, edges by verdict."""
        sizes = self.clusters["cluster_id"].value_counts()
        rejected = self.verdicts.loc[self.verdicts["verdict"] == "rejected", "reason"]
        return {
            "identifiers": len(self.clusters),
            "clusters": len(sizes),
            "largest_cluster": int(sizes.max()) if len(sizes) else 0,
            "components_cut": self.cut_count,
            "edges_accepted": len(self.verdicts) - len(rejected),
            **{f"rejected_{reason}": int(n) for reason, n in rejected.value_counts().items()},
        }


class _Nodes(NamedTuple):
    """Every identifier once, in the order of (type, value)."""

    type_names: list[str]
    type_code: Ints
    value: Texts
    key: Texts
    first_seen: Ints
    is_blocked: Bools


class _Edges(NamedTuple):
    """Ends as places in `_Nodes`, `low` the smaller; `reason` is None where still open."""

    low: Ints
    high: Ints
    is_flipped: Bools
    evidence: Ints
    first_seen: Ints
    reason: Texts
    is_included: Bools

    @property
    def is_open(self) -> Bools:
        return self.is_included | pd.isna(self.reason)


def resolve(edges: pd.DataFrame, identifiers: pd.DataFrame, rules: Rules) -> Resolution:
    """Partition identifiers into persons, with a verdict on every edge.

    edges: identity.int_edges_observed (the pair, evidence_count, first_seen_at and, where dbt
        rejects the edge, `reason`), one row per pair. identifiers:
        identity.int_identifiers_observed (identifier_type, identifier_value, first_seen_at,
        optionally is_blocked); an identifier that only edges name counts as seen with them.

    1. An exclude rule rejects its edge; an include rule accepts its edge, whatever else speaks
       against it; an edge with a reason, or to a blocked identifier, is rejected.
    2. Connected components of the rest. One that breaks no rule (at most one identifier of a
       unique type, at most `max_per_person` of the others, at most `largest_person` counted
       identifiers, no two ends of an exclude rule) is a cluster.
    3. The others are cut by Kruskal's algorithm over their edges, strongest first: include
       rules, then by the priority of the weaker end, of the stronger end, evidence (more
       first), first seen (earlier first), the identifiers. A union that would break a rule is
       refused, and its edge rejected with that rule as the reason. Groups only grow, so step 2
       is what step 3 would give, and a refused pair stays apart.

    So nothing depends on the order of rows or on which end is called left. Identifiers of a
    unique type that an include rule joins count as one; an exclude rule beats an include rule
    and keeps its ends apart over every path. Blocked identifiers are in no cluster, unless an
    include rule names them. Raises ValueError on an identifier without type or value.
    """
    nodes, graph, apart = _index(edges, identifiers, rules)
    label = _components(graph, len(nodes.key))
    limits, reasons = _limits(nodes, rules, apart)
    broken = _broken(label, limits)
    if broken.any():
        label = _cut_broken(label, broken, nodes, graph, limits, reasons, rules)
    return Resolution(
        verdicts=_verdict_frame(nodes, graph),
        clusters=_cluster_frame(label, nodes, rules),
        cut_count=int(broken.sum()),
    )


def _index(
    edges: pd.DataFrame, identifiers: pd.DataFrame, rules: Rules
) -> tuple[_Nodes, _Edges, Ints]:
    """Nodes, edges with the verdicts known before any graph, and the pairs kept apart."""
    links = pd.DataFrame([vars(link) for link in rules.links], columns=["action", *PAIR])
    is_include = (links["action"] == "include").to_numpy(dtype=bool)
    sources = [(identifiers, IDENTIFIER), (edges, PAIR[:2]), (edges, PAIR[2:])]
    sources += [(links, PAIR[:2]), (links, PAIR[2:])]
    keys = [_keys(frame, names) for frame, names in sources]
    codes, sorted_keys = _sorted_codes(pa.concat_arrays(keys))
    known, left, right, *named = np.split(codes, np.cumsum([len(key) for key in keys])[:-1])
    pairs = np.sort(np.column_stack(named), axis=1)
    apart = np.unique(pairs[~is_include], axis=0)
    include = np.unique(pairs[is_include], axis=0)
    graph = _graph(edges, np.column_stack([left, right]), include, apart)
    nodes = _nodes(sorted_keys, known, identifiers, graph)
    nodes.is_blocked[include.ravel()] = False
    touches_blocked = nodes.is_blocked[graph.low] | nodes.is_blocked[graph.high]
    graph.reason[touches_blocked & graph.is_open] = "blocked_value"
    return nodes, graph, apart


def _keys(frame: pd.DataFrame, names: list[str]) -> pa.Array:
    # One chunk each: pandas may hold text in several, or in none when the frame is empty.
    columns = [
        pa.chunked_array([], pa.string()).combine_chunks()
        if frame.empty
        else pa.array(frame[name].to_numpy(dtype=object), type=pa.string(), from_pandas=True)
        for name in names
    ]
    if any(column.null_count for column in columns):
        raise ValueError(f"null in {' or '.join(names)}: an identifier needs a type and a value")
    return pc.binary_join_element_wise(*columns, _SEPARATOR)


def _sorted_codes(keys: pa.Array) -> tuple[Ints, pa.Array]:
    """Codes of `keys` that sort as the keys do, and the distinct keys in that order."""
    encoded = keys.dictionary_encode()
    order = pc.array_sort_indices(encoded.dictionary).to_numpy().astype(np.int64)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[encoded.indices.to_numpy()], encoded.dictionary.take(pa.array(order))


def _graph(edges: pd.DataFrame, observed: Ints, include: Ints, apart: Ints) -> _Edges:
    """Observed edges, then the pairs of include rules that nobody observed."""
    pairs = np.sort(observed, axis=1)
    width = int(max(pairs.max(initial=0), include.max(initial=0), apart.max(initial=0))) + 1
    seen, wanted, banned = (part[:, 0] * width + part[:, 1] for part in (pairs, include, apart))
    unseen = include[~np.isin(wanted, seen)]
    both = np.concatenate([pairs, unseen])
    code = both[:, 0] * width + both[:, 1]
    reason = np.full(len(both), None, dtype=object)
    if "reason" in edges:
        given = edges["reason"].to_numpy(dtype=object)
        reason[: len(pairs)][pd.notna(given)] = given[pd.notna(given)]
    is_banned = np.isin(code, banned)
    reason[is_banned] = "excluded_by_rule"
    is_included = np.isin(code, wanted) & ~is_banned
    reason[is_included] = "included_by_rule"
    return _Edges(
        low=both[:, 0],
        high=both[:, 1],
        is_flipped=np.append(observed[:, 0] > observed[:, 1], np.zeros(len(unseen), bool)),
        evidence=np.append(edges["evidence_count"].to_numpy(np.int64), np.zeros(len(unseen), int)),
        first_seen=np.append(_instants(edges["first_seen_at"]), np.full(len(unseen), _NEVER)),
        reason=reason,
        is_included=is_included,
    )


def _instants(column: pd.Series) -> Ints:
    """Microseconds since 1970; what has no time is later than everything."""
    times = pd.to_datetime(column, utc=True).dt.as_unit("us")
    return np.where(times.isna(), _NEVER, times.astype("int64"))


def _nodes(keys: pa.Array, known: Ints, identifiers: pd.DataFrame, graph: _Edges) -> _Nodes:
    split = pc.split_pattern(keys, _SEPARATOR, max_splits=1)
    types = pc.list_element(split, 0).dictionary_encode()
    own = np.full(len(keys), _NEVER)
    np.minimum.at(own, known, _instants(identifiers["first_seen_at"]))
    by_edge = np.full(len(keys), _NEVER)
    for end in (graph.low, graph.high):
        np.minimum.at(by_edge, end, graph.first_seen)
    is_blocked = np.zeros(len(keys), dtype=bool)
    if "is_blocked" in identifiers:
        is_blocked[known[identifiers["is_blocked"].fillna(False).to_numpy(dtype=bool)]] = True
    return _Nodes(
        type_names=types.dictionary.to_pylist(),
        type_code=types.indices.to_numpy().astype(np.int64),
        value=pc.list_element(split, 1).to_numpy(zero_copy_only=False),
        key=keys.to_numpy(zero_copy_only=False),
        first_seen=np.where(own == _NEVER, by_edge, own),
        is_blocked=is_blocked,
    )


def _components(graph: _Edges, count: int) -> Ints:
    ends = graph.low[graph.is_open], graph.high[graph.is_open]
    matrix = coo_array((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(count, count))
    return connected_components(matrix, directed=False)[1].astype(np.int64)


def _limits(nodes: _Nodes, rules: Rules, apart: Ints) -> tuple[Limits, list[str]]:
    """What a person may hold, and the reason for a refusal by each limit."""
    weights, ceilings, shared, reasons = [], [], [], []
    for code in sorted(range(len(nodes.type_names)), key=lambda c: nodes.type_names[c]):
        rule = rules.of(nodes.type_names[code])
        if rule.ceiling is None:
            continue
        weights.append(nodes.type_code == code)
        ceilings.append(rule.ceiling)
        shared.append(rule.is_unique)
        prefix = "second" if rule.ceiling == 1 else "too_many"
        reasons.append(f"{prefix}_{nodes.type_names[code]}")
    counted = np.array([rules.of(name).counts_in_size for name in nodes.type_names], dtype=bool)
    weights.append(counted[nodes.type_code])
    limits = Limits(
        weights=np.column_stack(weights).astype(np.int64),
        ceilings=np.array([*ceilings, rules.largest_person], dtype=np.int64),
        is_shared_by_included=np.array([*shared, False]),
        apart=apart,
    )
    return limits, [*reasons, "person_too_large", "excluded_by_rule"]


def _broken(label: Ints, limits: Limits) -> Bools:
    """bool[components]: which of them break a limit."""
    count = int(label.max(initial=-1)) + 1
    broken = np.zeros(count, dtype=bool)
    for held, ceiling in zip(limits.weights.T, limits.ceilings, strict=True):
        broken |= np.bincount(label, weights=held, minlength=count) > ceiling
    one, other = label[limits.apart[:, 0]], label[limits.apart[:, 1]]
    broken[one[one == other]] = True
    return broken


def _cut_broken(
    label: Ints,
    broken: Bools,
    nodes: _Nodes,
    graph: _Edges,
    limits: Limits,
    reasons: list[str],
    rules: Rules,
) -> Ints:
    """Labels after the cut; writes the reason of each refused edge into `graph.reason`."""
    members = np.flatnonzero(broken[label])
    place = np.full(len(label), -1, dtype=np.int64)
    place[members] = np.arange(len(members))
    edges = np.flatnonzero(graph.is_open & broken[label[graph.low]])
    edges = edges[_strongest_first(edges, nodes, graph, rules)]
    apart = place[limits.apart]
    within = Limits(
        weights=limits.weights[members],
        ceilings=limits.ceilings,
        is_shared_by_included=limits.is_shared_by_included,
        apart=apart[(apart >= 0).all(axis=1)],
    )
    result = cut(
        place[graph.low[edges]], place[graph.high[edges]], graph.is_included[edges], within
    )
    is_refused = result.refused >= 0
    graph.reason[edges[is_refused]] = np.array(reasons, dtype=object)[result.refused[is_refused]]
    graph.is_included[edges[is_refused]] = False
    relabelled = label.copy()
    relabelled[members] = len(broken) + result.group
    return relabelled


def _strongest_first(edges: Ints, nodes: _Nodes, graph: _Edges, rules: Rules) -> Ints:
    priority = np.array([rules.of(name).priority for name in nodes.type_names], dtype=np.int64)
    ends = priority[nodes.type_code[np.stack([graph.low[edges], graph.high[edges]])]]
    return np.lexsort(
        (
            graph.high[edges],
            graph.low[edges],
            graph.first_seen[edges],
            -graph.evidence[edges],
            ends.min(axis=0),
            ends.max(axis=0),
            ~graph.is_included[edges],
        )
    )


def _verdict_frame(nodes: _Nodes, graph: _Edges) -> pd.DataFrame:
    order = np.lexsort((graph.high, graph.low))
    names = np.array(nodes.type_names, dtype=object)
    left = np.where(graph.is_flipped, graph.high, graph.low)[order]
    right = np.where(graph.is_flipped, graph.low, graph.high)[order]
    return pd.DataFrame(
        {
            "left_type": names[nodes.type_code[left]],
            "left_value": nodes.value[left],
            "right_type": names[nodes.type_code[right]],
            "right_value": nodes.value[right],
            "verdict": np.where(graph.is_open[order], "accepted", "rejected"),
            "reason": graph.reason[order],
        }
    )


def _cluster_frame(label: Ints, nodes: _Nodes, rules: Rules) -> pd.DataFrame:
    """Members of each cluster, founder first; the cluster's id is a hash of its founder."""
    kept = np.flatnonzero(~nodes.is_blocked)
    priority = np.array([rules.of(name).priority for name in nodes.type_names], dtype=np.int64)
    age = (kept, priority[nodes.type_code[kept]], nodes.first_seen[kept])
    members = kept[np.lexsort((*age, label[kept]))]
    starts = np.flatnonzero(np.diff(label[members], prepend=-1))
    sizes = np.diff(np.append(starts, len(members)))
    ids = [_cluster_id(key) for key in nodes.key[members[starts]].tolist()]
    seen = pd.Series(nodes.first_seen[members])
    frame = pd.DataFrame(
        {
            "cluster_id": np.repeat(np.array(ids, dtype=object), sizes),
            "identifier_type": np.array(nodes.type_names, dtype=object)[nodes.type_code[members]],
            "identifier_value": nodes.value[members],
            "first_seen_at": pd.to_datetime(seen.mask(seen == _NEVER), unit="us", utc=True),
            "founding_rank": np.arange(len(members)) - np.repeat(starts, sizes),
        }
    )
    return frame.sort_values(["cluster_id", "founding_rank"], ignore_index=True)


def _cluster_id(founder_key: str) -> str:
    return blake2b(founder_key.encode(), digest_size=16).hexdigest()
