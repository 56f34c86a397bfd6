"""Person graph: which identifiers belong to one person.

Here: verdicts on observed edges and the clusters that the accepted ones make. Not here: which
identifier is shared or blocked (dbt says so in `reason` and `is_blocked`), what the rules are
(`ml.identity_rules`), how text becomes numbers (`ml.identity_graph`), what a day changes
(`ml.identity_delta`), the ids that persons keep (`ml.person_ids`), links by likeness of names.
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ml.graph_cut import Limits, cut
from ml.identity_graph import IDENTIFIER, NEVER, OPEN, Bools, Edges, Frame, Ints, Nodes, index
from ml.identity_rules import Rules


@dataclass(frozen=True)
class Resolution:
    """Verdicts and clusters, both in an order taken from the data alone.

    cluster_table: cluster_id, identifier_type, identifier_value, first_seen_at, founding_rank
        (0 = the identifier that founds the person), component_id (what the clusters that were
        cut from one component share, null where nothing was cut); one row per identifier not
        blocked.
    outside: identifier_type, identifier_value of the blocked identifiers.
    cut_count: components that broke a rule and were cut.
    """

    nodes: Nodes
    edges: Edges
    cluster_table: pa.Table
    outside: pa.Table
    cut_count: int
    _position: Ints

    @cached_property
    def clusters(self) -> pd.DataFrame:
        """`cluster_table` as a pandas frame."""
        return self.cluster_table.to_pandas()

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """left_type, left_value, right_type, right_value, verdict, reason; one row per observed
        edge and per include rule that nobody observed."""
        return self._verdicts(np.arange(len(self.edges.left))).to_pandas()

    @cached_property
    def exceptions(self) -> pa.Table:
        """The verdicts that are not simply "accepted": rejected, or accepted by a rule."""
        return self._verdicts(np.flatnonzero(self.edges.reason != OPEN))

    def summary(self) -> dict[str, int]:
        """Counts for metadata: clusters, the largest, components cut, edges by verdict."""
        ids = self.cluster_table["cluster_id"].combine_chunks().dictionary_encode()
        sizes = np.bincount(ids.indices.to_numpy()) if len(ids) else np.zeros(0, np.int64)
        open_count = int(self.edges.is_open.sum())
        reasons = self.edges.reason[~self.edges.is_open]
        return {
            "identifiers": self.cluster_table.num_rows,
            "clusters": len(sizes),
            "largest_cluster": int(sizes.max()) if len(sizes) else 0,
            "components_cut": self.cut_count,
            "edges_accepted": open_count,
            **{
                f"rejected_{self.edges.reasons[code]}": int(count)
                for code, count in zip(*np.unique(reasons, return_counts=True), strict=True)
            },
        }

    def _verdicts(self, edges: Ints) -> pa.Table:
        ends = self._position[np.stack([self.edges.left[edges], self.edges.right[edges]])]
        places = edges[np.lexsort((ends.max(axis=0), ends.min(axis=0)))]
        names = pa.array([*self.edges.reasons, None], pa.large_string())
        is_open = pa.array(self.edges.is_open[places])
        reason = self.edges.reason[places]
        return (
            self.edges.pairs.take(pa.array(places))
            .append_column("verdict", pc.if_else(is_open, "accepted", "rejected"))
            .append_column("reason", names.take(pa.array(reason % len(names))))
        )


def resolve(edges: Frame, identifiers: Frame, rules: Rules) -> Resolution:
    """Partition identifiers into persons, with a verdict on every edge.

    edges: identity.int_edges_observed (the pair, evidence_count, first_seen_at and, where dbt
        rejects the edge, `reason`), one row per pair. identifiers:
        identity.int_identifiers_observed (identifier_type, identifier_value, first_seen_at,
        optionally is_blocked); an identifier that only edges name counts as seen with them.
        Both as pandas frames or as Arrow tables, which are several times faster.

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
    nodes, graph, apart = index(edges, identifiers, rules)
    component = _components(graph, len(nodes.key))
    broken = _broken(component, nodes, apart, rules)
    label = component
    if broken.any():
        label = _cut_broken(component, broken, nodes, graph, apart, rules)
    members, position = _ordered(label, nodes, rules)
    kept = np.flatnonzero(nodes.is_blocked)
    outside = kept[np.argsort(nodes.rank(kept))]
    position[outside] = len(members) + np.arange(len(outside))
    return Resolution(
        nodes=nodes,
        edges=graph,
        cluster_table=_cluster_table(members, label, component, broken, nodes),
        outside=pa.table(_named(nodes, outside)),
        cut_count=int(broken.sum()),
        _position=position,
    )


def _components(graph: Edges, count: int) -> Ints:
    ends = graph.left[graph.is_open], graph.right[graph.is_open]
    matrix = coo_array((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(count, count))
    return connected_components(matrix, directed=False)[1].astype(np.int64)


def _broken(component: Ints, nodes: Nodes, apart: Ints, rules: Rules) -> Bools:
    """bool[components]: which of them break a limit."""
    count, kinds = int(component.max(initial=-1)) + 1, max(1, len(nodes.type_names))
    flat = np.bincount(component * kinds + nodes.type_code, minlength=count * kinds)
    held = flat.reshape(count, kinds)
    broken = np.zeros(count, dtype=bool)
    size = np.zeros(count, dtype=np.int64)
    for code, name in enumerate(nodes.type_names):
        rule = rules.of(name)
        if rule.ceiling is not None:
            broken |= held[:, code] > rule.ceiling
        if rule.counts_in_size:
            size += held[:, code]
    broken |= size > rules.largest_person
    one, other = component[apart[:, 0]], component[apart[:, 1]]
    broken[one[one == other]] = True
    return broken


def _limits(members: Ints, nodes: Nodes, apart: Ints, rules: Rules) -> tuple[Limits, list[str]]:
    """What a person may hold, and the reason for a refusal by each limit."""
    weights, ceilings, shared, reasons = [], [], [], []
    own = nodes.type_code[members]
    for code in sorted(range(len(nodes.type_names)), key=lambda c: nodes.type_names[c]):
        rule = rules.of(nodes.type_names[code])
        if rule.ceiling is None:
            continue
        weights.append(own == code)
        ceilings.append(rule.ceiling)
        shared.append(rule.is_unique)
        prefix = "second" if rule.ceiling == 1 else "too_many"
        reasons.append(f"{prefix}_{nodes.type_names[code]}")
    counted = np.array([rules.of(name).counts_in_size for name in nodes.type_names], dtype=bool)
    weights.append(counted[own])
    place = np.full(len(nodes.key), -1, dtype=np.int64)
    place[members] = np.arange(len(members))
    kept_apart = place[apart]
    limits = Limits(
        weights=np.column_stack(weights).astype(np.int64),
        ceilings=np.array([*ceilings, rules.largest_person], dtype=np.int64),
        is_shared_by_included=np.array([*shared, False]),
        apart=kept_apart[(kept_apart >= 0).all(axis=1)],
    )
    return limits, [*reasons, "person_too_large", "excluded_by_rule"]


def _cut_broken(
    component: Ints, broken: Bools, nodes: Nodes, graph: Edges, apart: Ints, rules: Rules
) -> Ints:
    """Labels after the cut; writes the reason of each refused edge into `graph.reason`."""
    members = np.flatnonzero(broken[component])
    rank = np.full(len(component), -1, dtype=np.int64)
    rank[members] = nodes.rank(members)
    edges = np.flatnonzero(graph.is_open & broken[component[graph.left]])
    edges = edges[_strongest_first(edges, rank, nodes, graph, rules)]
    limits, reasons = _limits(members, nodes, apart, rules)
    place = np.full(len(component), -1, dtype=np.int64)
    place[members] = np.arange(len(members))
    result = cut(
        place[graph.left[edges]], place[graph.right[edges]], graph.is_included[edges], limits
    )
    is_refused = result.refused >= 0
    codes = np.array([graph.reason_code(name) for name in reasons], dtype=np.int64)
    graph.reason[edges[is_refused]] = codes[result.refused[is_refused]]
    graph.is_included[edges[is_refused]] = False
    relabelled = component.copy()
    relabelled[members] = len(broken) + result.group
    return relabelled


def _strongest_first(edges: Ints, rank: Ints, nodes: Nodes, graph: Edges, rules: Rules) -> Ints:
    both = np.stack([graph.left[edges], graph.right[edges]])
    ends, names = _priorities(nodes, rules)[both], rank[both]
    return np.lexsort(
        (
            names.max(axis=0),
            names.min(axis=0),
            graph.first_seen[edges],
            -graph.evidence[edges],
            ends.min(axis=0),
            ends.max(axis=0),
            ~graph.is_included[edges],
        )
    )


def _priorities(nodes: Nodes, rules: Rules) -> Ints:
    by_type = np.array([rules.of(name).priority for name in nodes.type_names], dtype=np.int64)
    return by_type[nodes.type_code]


def _ordered(label: Ints, nodes: Nodes, rules: Rules) -> tuple[Ints, Ints]:
    """Nodes not blocked, cluster by cluster in the order of their ids, founder first; and the
    place of each in that order."""
    kept = np.flatnonzero(~nodes.is_blocked)
    own = label[kept]
    seen, priority = nodes.first_seen[kept], _priorities(nodes, rules)[kept]
    order = np.lexsort((priority, seen, own))
    same = np.zeros(len(kept) + 1, dtype=bool)
    same[1:-1] = True
    for column in (own, seen, priority):
        same[1:-1] &= np.diff(column[order]) == 0
    tied = np.flatnonzero(same[:-1] | same[1:])
    run = np.cumsum(~same[:-1])[tied]
    order[tied] = order[tied[np.lexsort((nodes.rank(kept[order[tied]]), run))]]
    members = kept[order]
    starts = np.flatnonzero(np.diff(label[members], prepend=-1))
    digests = b"".join(
        _digest(key) for key in nodes.key.take(pa.array(members[starts])).to_pylist()
    )
    halves = np.frombuffer(digests, dtype=">u8").reshape(-1, 2)
    place = np.empty(len(starts), dtype=np.int64)
    place[np.lexsort((halves[:, 1], halves[:, 0]))] = np.arange(len(starts))
    sizes = np.diff(np.append(starts, len(members)))
    members = members[np.argsort(np.repeat(place, sizes), kind="stable")]
    position = np.full(len(label), -1, dtype=np.int64)
    position[members] = np.arange(len(members))
    return members, position


def _cluster_table(
    members: Ints, label: Ints, component: Ints, broken: Bools, nodes: Nodes
) -> pa.Table:
    """Members of each cluster, founder first; the cluster's id is a hash of its founder."""
    starts = np.flatnonzero(np.diff(label[members], prepend=-1))
    sizes = np.diff(np.append(starts, len(members)))
    founders = nodes.key.take(pa.array(members[starts])).to_pylist()
    ids = pa.array([_digest(key).hex() for key in founders], pa.large_string())
    seen = nodes.first_seen[members]
    return pa.table(
        {
            "cluster_id": ids.take(pa.array(np.repeat(np.arange(len(starts)), sizes))),
            **_named(nodes, members),
            "first_seen_at": pa.array(seen, mask=seen == NEVER).cast(pa.timestamp("us", tz="UTC")),
            "founding_rank": np.arange(len(members)) - np.repeat(starts, sizes),
            "component_id": _component_ids(component[members], members, broken, nodes),
        }
    )


def _component_ids(own: Ints, members: Ints, broken: Bools, nodes: Nodes) -> pa.Array:
    """A hash of the first identifier of each component that broke a rule; null for the others."""
    cut_ones = np.flatnonzero(broken[own])
    rank = nodes.rank(members[cut_ones])
    order = cut_ones[np.lexsort((rank, own[cut_ones]))]
    first = order[np.diff(own[order], prepend=-1) != 0]
    name = np.full(len(broken), len(first), dtype=np.int64)
    name[own[first]] = np.arange(len(first))
    keys = nodes.key.take(pa.array(members[first])).to_pylist()
    ids = pa.array([*(_digest(key).hex() for key in keys), None], pa.large_string())
    return ids.take(pa.array(name[own]))


def _named(nodes: Nodes, places: Ints) -> dict[str, pa.Array]:
    taken = pa.array(places)
    return dict(zip(IDENTIFIER, (nodes.type.take(taken), nodes.value.take(taken)), strict=True))


def _digest(key: str) -> bytes:
    return blake2b(key.encode(), digest_size=16).digest()
