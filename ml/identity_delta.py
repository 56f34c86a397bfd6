"""What a day changes in the person graph, without looking at the rest of it.

Here: which clusters new evidence can touch, and how little of them has to be read to know the
outcome. Not here: how a graph is resolved (`ml.identity`), reading and writing (the wiring).

A cluster that no rule cut is one node, whatever lies inside: new evidence within it changes
nothing, and with new identifiers it grows. It is enough to count them. Only where two persons
meet, where a rule cuts, cut before, or marks an identifier anew, are the edges read again and
resolved. The result is that of resolving everything (tests/ml/test_identity_delta.py).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ml.identity import resolve
from ml.identity_graph import IDENTIFIER, SEPARATOR, Bools, Ints
from ml.identity_rules import PAIR, LinkRule, Rules

CLUSTER = [*IDENTIFIER, "cluster_id", "component_id"]
VERDICT = [*PAIR, "verdict", "reason"]


@dataclass(frozen=True)
class Sketch:
    """The day's evidence over clusters as single nodes.

    nodes: identifier_type, identifier_value, key, cluster_id, component_id, is_held, group; one
        row per identifier that the day names. edges: the day's, with the group of their ends;
        -1 for those that link nobody. is_again: bool[groups], to be resolved from their edges.
    """

    nodes: pd.DataFrame
    edges: pd.DataFrame
    is_again: Bools

    @property
    def grown(self) -> list[str]:
        """Ids of the clusters that get identifiers and nothing else."""
        return _present(self._simple()["cluster_id"])

    @property
    def again(self) -> "Again":
        """What has to be read to resolve the rest."""
        nodes = self.nodes[self.is_again[self.nodes["group"]]]
        is_cut = nodes["component_id"].notna()
        return Again(
            clusters=_present(nodes.loc[~is_cut, "cluster_id"]),
            components=_present(nodes.loc[is_cut, "component_id"]),
            loose=nodes.loc[nodes["cluster_id"].isna(), IDENTIFIER],
        )

    def _simple(self) -> pd.DataFrame:
        """Nodes of groups that hold something new and need no edges."""
        is_new = ~self.nodes["is_held"]
        has_new = np.bincount(self.nodes["group"], weights=is_new, minlength=len(self.is_again)) > 0
        return self.nodes[(has_new & ~self.is_again)[self.nodes["group"]]]


@dataclass(frozen=True)
class Again:
    """Clusters and components whose members and edges have to be read; identifiers outside."""

    clusters: list[str]
    components: list[str]
    loose: pd.DataFrame


def named(edges: pd.DataFrame, identifiers: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """Every identifier that the day's evidence or a rule names: identifier_type and _value."""
    links = pd.DataFrame([vars(link) for link in rules.links], columns=["action", *PAIR])
    parts = [identifiers[IDENTIFIER]]
    for frame in (edges, links):
        parts += [frame[PAIR[:2]], frame[PAIR[2:]]]
    whole = pd.concat([part.set_axis(IDENTIFIER, axis=1).astype("str") for part in parts])
    return whole.drop_duplicates(ignore_index=True)


def sketch(
    edges: pd.DataFrame, identifiers: pd.DataFrame, held: pd.DataFrame, rules: Rules
) -> Sketch:
    """Group the day's evidence over the clusters that it touches.

    edges: the changed rows of identity.int_edges_observed, and all edges of identifiers that are
        judged anew. identifiers: those new or judged anew. held: what ml.identity_clusters says
        of `named(edges, identifiers, rules)`.
    """
    nodes = _nodes(edges, identifiers, held, rules)
    place = pd.Series(np.arange(len(nodes)), index=nodes["key"])
    left, right = (place.loc[_key(edges, ends)].to_numpy() for ends in (PAIR[:2], PAIR[2:]))
    ruled = nodes["is_ruled"].to_numpy()
    touches_rule = ruled[left] | ruled[right]
    links = edges["reason"].isna().to_numpy() | touches_rule
    code, labels = pd.factorize(_label(nodes))
    group = _groups(code[left[links]], code[right[links]], len(labels))[code]
    is_again = np.zeros(group.max(initial=-1) + 1, dtype=bool)
    judged = place.loc[_key(identifiers, IDENTIFIER)].to_numpy()
    judged = judged[nodes["is_held"].to_numpy()[judged]]
    for places in (judged, left[touches_rule], right[touches_rule]):
        is_again[group[places]] = True
    is_again[group[nodes["component_id"].notna() & np.isin(group, group[left[links]])]] = True
    persons = nodes.assign(group=group).dropna(subset="cluster_id")
    persons = persons.drop_duplicates(["group", "label"])
    is_again |= np.bincount(persons["group"], minlength=len(is_again)) > 1
    return Sketch(
        nodes=nodes.assign(group=group),
        edges=edges.assign(group=np.where(links, group[left], -1)),
        is_again=is_again,
    )


def _nodes(
    edges: pd.DataFrame, identifiers: pd.DataFrame, held: pd.DataFrame, rules: Rules
) -> pd.DataFrame:
    everything = named(edges, identifiers, rules)
    nodes = everything.merge(held[CLUSTER], on=IDENTIFIER, how="left", indicator="is_held")
    nodes["is_held"] = (nodes["is_held"] == "both").to_numpy()
    nodes["key"] = _key(nodes, IDENTIFIER)
    listed = {f"{kind}{SEPARATOR}{value}" for pair in rules.links for kind, value in _ends(pair)}
    nodes["is_ruled"] = nodes["key"].isin(listed)
    nodes["label"] = _label(nodes)
    return nodes


def _ends(link: LinkRule) -> list[tuple[str, str]]:
    return [(link.left_type, link.left_value), (link.right_type, link.right_value)]


def _key(frame: pd.DataFrame, ends: list[str]) -> pd.Series:
    return frame[ends[0]].astype("str") + SEPARATOR + frame[ends[1]].astype("str")


def _label(nodes: pd.DataFrame) -> pd.Series:
    return nodes["component_id"].fillna(nodes["cluster_id"]).fillna(nodes["key"])


def _groups(left: Ints, right: Ints, count: int) -> Ints:
    matrix = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(count, count))
    return connected_components(matrix, directed=False)[1].astype(np.int64)


def _present(column: pd.Series) -> list[str]:
    return sorted(column.dropna().unique())


@dataclass(frozen=True)
class Outcome:
    """What the day's resolution says of every identifier and edge that it looked at.

    clusters: cluster_id, identifier_type, identifier_value, first_seen_at, founding_rank,
        component_id of the clusters that may need a person id. grown: identifiers that joined a
        person (cluster_id, identifier_type, identifier_value). outside: identifiers of nobody.
    considered: the pairs looked at. exceptions: the verdicts on them that are not simply
        "accepted". accepted: accepted edges between members of `clusters`, to explain merges.
    """

    clusters: pd.DataFrame
    grown: pd.DataFrame
    outside: pd.DataFrame
    considered: pd.DataFrame
    exceptions: pd.DataFrame
    verdicts: pd.DataFrame
    cut_count: int


@dataclass(frozen=True)
class Growth:
    """Simple groups resolved: the sketch without those that broke a rule, and the rows."""

    sketch: Sketch
    clusters: pd.DataFrame
    grown: pd.DataFrame
    outside: pd.DataFrame


def grow(drawn: Sketch, identifiers: pd.DataFrame, members: pd.DataFrame, rules: Rules) -> Growth:
    """Resolve the groups that need no edges; those that break a rule are marked `is_again`.

    members: the rows of ml.identity_clusters of `drawn.grown`. Each cluster stands as a star of
    its members: that is one component, and holds what it holds, like the real one.
    """
    simple = drawn._simple()
    fresh = simple[~simple["is_held"]]
    edges = drawn.edges[drawn.edges["group"].isin(fresh["group"])]
    known = identifiers[[*IDENTIFIER, "first_seen_at", "reason"]]
    known = fresh[IDENTIFIER].merge(known, on=IDENTIFIER, how="left")
    resolved = resolve(
        pd.concat([edges[[*PAIR, "evidence_count", "first_seen_at"]], _stars(members)]),
        pd.concat([_judged(known), members[IDENTIFIER].assign(is_blocked=False)]),
        Rules(rules.types, (), rules.largest_person, rules.unlisted),
    )
    rows = resolved.clusters.merge(
        members[[*IDENTIFIER, "cluster_id"]].rename(columns={"cluster_id": "person"}),
        on=IDENTIFIER,
        how="left",
    )
    broken = _key(rows[rows["component_id"].notna()], IDENTIFIER)
    is_again = drawn.is_again.copy()
    is_again[simple.loc[_among(simple["key"], broken), "group"]] = True
    rows = rows[rows["component_id"].isna()]
    person = rows["cluster_id"].map(
        rows.dropna(subset="person").groupby("cluster_id")["person"].first()
    )
    return Growth(
        sketch=Sketch(drawn.nodes, drawn.edges, is_again),
        clusters=rows[person.isna()].drop(columns="person"),
        grown=rows.assign(cluster_id=person)[person.notna() & rows["person"].isna()],
        outside=resolved.outside.to_pandas(),
    )


def _stars(members: pd.DataFrame) -> pd.DataFrame:
    """Edges from the first member of each cluster to its others."""
    hubs = members.drop_duplicates("cluster_id")
    rays = members[members.duplicated("cluster_id")]
    joined = rays.merge(hubs, on="cluster_id", suffixes=("_ray", "_hub"))
    ends = [f"{name}{end}" for end in ("_hub", "_ray") for name in IDENTIFIER]
    stars = joined[ends].set_axis(PAIR, axis=1)
    return stars.assign(evidence_count=1, first_seen_at=None)


def _judged(identifiers: pd.DataFrame) -> pd.DataFrame:
    marked = identifiers[[*IDENTIFIER, "first_seen_at"]]
    return marked.assign(is_blocked=identifiers["reason"].notna())


def settle(
    growth: Growth,
    members: pd.DataFrame,
    identifiers: pd.DataFrame,
    edges: pd.DataFrame,
    rules: Rules,
) -> Outcome:
    """Resolve what had to be read again, and put all together.

    members: the rows of ml.identity_clusters of `growth.sketch.again`. identifiers and edges: the
    observed rows of those members and of the loose identifiers; of edges, those whose left end
    is one of them.
    """
    drawn = growth.sketch
    whole = pd.concat([members[IDENTIFIER], drawn.again.loose]).drop_duplicates()
    inside = _key(whole, IDENTIFIER)
    edges = edges[_among(_key(edges, PAIR[:2]), inside) & _among(_key(edges, PAIR[2:]), inside)]
    known = whole.merge(identifiers, on=IDENTIFIER, how="left")
    links = tuple(link for link in rules.links if _among(pd.Series(_keys_of(link)), inside).any())
    resolved = resolve(
        edges, _judged(known), Rules(rules.types, links, rules.largest_person, rules.unlisted)
    )
    both = drawn.edges.merge(edges[PAIR], on=PAIR, how="left", indicator="is_read")
    rest = both[both["is_read"] == "left_only"]
    closed = rest[rest["group"] < 0].assign(verdict="rejected")
    return Outcome(
        clusters=pd.concat([growth.clusters, _inside(resolved.clusters, inside)]),
        grown=growth.grown,
        outside=pd.concat([growth.outside, _inside(resolved.outside.to_pandas(), inside)]),
        considered=pd.concat([resolved.verdicts[PAIR], rest[PAIR], *_both_ways(links)]),
        exceptions=pd.concat([resolved.exceptions.to_pandas(), closed[VERDICT]]),
        verdicts=resolved.verdicts,
        cut_count=resolved.cut_count,
    )


def _inside(rows: pd.DataFrame, inside: pd.Series) -> pd.DataFrame:
    # The other end of a rule that parts two persons comes with the rule, not with its person.
    return rows[_among(_key(rows, IDENTIFIER), inside)]


def _among(keys: pd.Series, known: pd.Series) -> Bools:
    # In Arrow: pandas looks text up value by value.
    values = pa.array(known, pa.large_string(), from_pandas=True)
    held = pc.is_in(pa.array(keys, pa.large_string(), from_pandas=True), value_set=values)
    return held.to_numpy(zero_copy_only=False)


def _both_ways(links: tuple[LinkRule, ...]) -> list[pd.DataFrame]:
    """A pair that only a rule named may be observed the other way round."""
    pairs = [(_ends(link), _ends(link)[::-1]) for link in links]
    rows = [(*one, *other) for both in pairs for one, other in both]
    return [pd.DataFrame(rows, columns=PAIR)] if rows else []


def _keys_of(link: LinkRule) -> list[str]:
    return [f"{kind}{SEPARATOR}{value}" for kind, value in _ends(link)]
