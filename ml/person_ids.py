"""Ids that persons keep: through growth, merges, splits and rebuilds from nothing.

Here: clusters in, person ids out, with what the ledger and the list of merges must remember.
Not here: who belongs together (`ml.identity`).
"""

import hmac
import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

IDENTIFIER = ["identifier_type", "identifier_value"]
LEDGER = [*IDENTIFIER, "person_id", "founded_at"]
MERGE = ["merge_id", "survivor_person_id", "absorbed_person_id", "merged_at", "evidence"]
UNDONE = ["merge_id", "undone_at", "undone_by"]
ID_LENGTH = 32


@dataclass(frozen=True)
class Assigned:
    """What `assign_ids` found out.

    clusters: the clusters given, with person_id.
    ledger: new rows of identity.person_id_ledger.
    merges: new rows of identity.merges (evidence as JSON text).
    undone: merge_id, undone_at, undone_by ('split' or 'superseded') of merges that no longer hold.
    """

    clusters: pd.DataFrame
    ledger: pd.DataFrame
    merges: pd.DataFrame
    undone: pd.DataFrame


def person_id(key: bytes, identifier_type: str, identifier_value: str) -> str:
    """The id of the person that an identifier founds: 128 bits of HMAC-SHA256 as 32 hex digits."""
    message = f"{identifier_type}|{identifier_value}".encode()
    return hmac.digest(key, message, sha256).hex()[:ID_LENGTH]


def assign_ids(
    clusters: pd.DataFrame,
    ledger: pd.DataFrame,
    merges: pd.DataFrame,
    key: bytes,
    as_of: datetime,
    verdicts: pd.DataFrame | None = None,
) -> Assigned:
    """Give every cluster the id of its oldest founder.

    clusters: `Resolution.clusters`, all or those touched. ledger: identity.person_id_ledger.
    merges: identity.merges, all rows. verdicts: `Resolution.verdicts`, to explain new merges by
    the edges that joined them.

    The ledger holds one row per person ever founded: the identifier that founded it, its id, and
    when that identifier was first seen. For each cluster, look up its identifiers there:

    - none: a new person. Its founder is the identifier with `founding_rank` 0 (first seen, then
      type priority, then type and value); its id is `person_id(key, founder)`; the ledger gets a
      row with the founder's first_seen_at (`as_of` where unknown).
    - one: that person.
    - several: the one founded first (then the smaller founder) survives; each other is absorbed
      into it. Its ledger row stays, so that after a split it returns with its own founder.

    So an id follows its founder, whatever else joins or leaves, and equal clusters and ledger
    give equal ids: a rebuild from nothing but the ledger changes no id. There is at most one
    standing merge per absorbed person; when the survivor is absorbed in its turn the old row is
    'superseded' by a direct one, and when the two founders part it is 'split'. merge_id is a
    hash of both persons and of how often they merged before. A second call with the results of
    the first finds nothing new.
    """
    found = _founders(clusters, ledger)
    fresh = _new_founders(clusters, found, key, as_of)
    ledger_rows = pd.concat([found, fresh], ignore_index=True)
    survivors = ledger_rows.drop_duplicates("cluster_id").set_index("cluster_id")["person_id"]
    codes, labels = pd.factorize(clusters["cluster_id"])
    person_ids = survivors.reindex(labels).array.take(codes)
    absorbed = found.assign(survivor=found["cluster_id"].map(survivors))
    absorbed = absorbed[absorbed["person_id"] != absorbed["survivor"]]
    standing = merges[merges["undone_at"].isna().to_numpy(dtype=bool)]
    new = _new_merges(absorbed, found, standing, merges, as_of, clusters, verdicts)
    return Assigned(
        clusters=clusters.assign(person_id=person_ids),
        ledger=fresh[LEDGER].reset_index(drop=True),
        merges=new,
        undone=_undone(absorbed, found, standing, as_of),
    )


def _founders(clusters: pd.DataFrame, ledger: pd.DataFrame) -> pd.DataFrame:
    """Ledger rows whose identifier is in a cluster, oldest first within each cluster."""
    if ledger.empty:
        return clusters.loc[[], ["cluster_id", *IDENTIFIER]].merge(ledger[LEDGER], on=IDENTIFIER)
    named = clusters[_among(clusters["identifier_value"], ledger["identifier_value"])]
    rows = named[["cluster_id", *IDENTIFIER]].merge(ledger[LEDGER], on=IDENTIFIER)
    return rows.sort_values(["cluster_id", "founded_at", *IDENTIFIER], ignore_index=True)


def _among(values: pd.Series, known: pd.Series) -> NDArray[np.bool_]:
    # In Arrow: pandas looks text up value by value.
    held = pa.array(known, pa.large_string(), from_pandas=True)
    found = pc.is_in(pa.array(values, pa.large_string(), from_pandas=True), value_set=held)
    return found.to_numpy(zero_copy_only=False)


def _new_founders(
    clusters: pd.DataFrame, found: pd.DataFrame, key: bytes, as_of: datetime
) -> pd.DataFrame:
    founds = clusters["founding_rank"] == 0
    is_new = founds & ~_among(clusters["cluster_id"], found["cluster_id"])
    fresh = clusters.loc[is_new, ["cluster_id", *IDENTIFIER, "first_seen_at"]]
    pairs = zip(fresh["identifier_type"], fresh["identifier_value"], strict=True)
    ids = np.array([person_id(key, *pair) for pair in pairs], dtype=object)
    founded_at = pd.to_datetime(fresh["first_seen_at"], utc=True).fillna(pd.Timestamp(as_of))
    return fresh.assign(person_id=ids, founded_at=founded_at).drop(columns="first_seen_at")


def _new_merges(
    absorbed: pd.DataFrame,
    found: pd.DataFrame,
    standing: pd.DataFrame,
    merges: pd.DataFrame,
    as_of: datetime,
    clusters: pd.DataFrame,
    verdicts: pd.DataFrame | None,
) -> pd.DataFrame:
    known = set(_pairs(standing))
    before: dict[tuple[Any, ...], int] = {}
    for pair in _pairs(merges):
        before[pair] = before.get(pair, 0) + 1
    is_new = [pair not in known for pair in _columns(absorbed, "survivor", "person_id")]
    joined = absorbed[np.array(is_new, dtype=bool)]
    involved = found[found["cluster_id"].isin(joined["cluster_id"])]
    founder = {
        person: tuple(pair) for person, *pair in _columns(involved, "person_id", *IDENTIFIER)
    }
    links = _Links(joined["cluster_id"], clusters, verdicts)
    rows = []
    for survivor, absorbed_id in _columns(joined, "survivor", "person_id"):
        number = before.get((survivor, absorbed_id), 0)
        merge_id = sha256(f"{survivor}|{absorbed_id}|{number}".encode()).hexdigest()[:ID_LENGTH]
        ends = founder[survivor], founder[absorbed_id]
        evidence = {
            "survivor_founder": ends[0],
            "absorbed_founder": ends[1],
            "path": links.path(ends[0], ends[1]),
        }
        rows.append((merge_id, survivor, absorbed_id, as_of, json.dumps(evidence)))
    frame = pd.DataFrame(rows, columns=MERGE)
    return frame.sort_values("merge_id", ignore_index=True)


def _undone(
    absorbed: pd.DataFrame, found: pd.DataFrame, standing: pd.DataFrame, as_of: datetime
) -> pd.DataFrame:
    """Standing merges whose absorbed person is in view and not absorbed by that survivor."""
    survivor = dict(_columns(absorbed, "person_id", "survivor"))
    in_view = set(found["person_id"])
    rows = [
        (merge_id, as_of, "superseded" if gone in survivor else "split")
        for merge_id, kept, gone in _columns(standing, *MERGE[:3])
        if gone in in_view and survivor.get(gone) != kept
    ]
    return pd.DataFrame(rows, columns=UNDONE).sort_values("merge_id", ignore_index=True)


def _pairs(merges: pd.DataFrame) -> Iterable[tuple[Any, ...]]:
    return _columns(merges, "survivor_person_id", "absorbed_person_id")


def _columns(frame: pd.DataFrame, *names: str) -> Iterable[tuple[Any, ...]]:
    return zip(*(frame[name].tolist() for name in names), strict=True)


class _Links:
    """Accepted edges of a few clusters, to find the shortest path that joined two founders."""

    def __init__(
        self, cluster_ids: pd.Series, clusters: pd.DataFrame, verdicts: pd.DataFrame | None
    ) -> None:
        self.neighbours: dict[tuple[str, str], list[tuple[str, str]]] = {}
        if verdicts is None or cluster_ids.empty:
            return
        inside = clusters[clusters["cluster_id"].isin(cluster_ids)]
        members = set(_columns(inside, *IDENTIFIER))
        accepted = verdicts[verdicts["verdict"] == "accepted"]
        for row in _columns(accepted, "left_type", "left_value", "right_type", "right_value"):
            left, right = row[:2], row[2:]
            if left in members and right in members:
                self.neighbours.setdefault(left, []).append(right)
                self.neighbours.setdefault(right, []).append(left)

    def path(self, start: tuple[str, str], end: tuple[str, str]) -> list[tuple[str, str]]:
        """Identifiers from `start` to `end`; empty when the edges are not known."""
        came_from: dict[tuple[str, str], tuple[str, str]] = {start: start}
        queue = deque([start])
        while queue and end not in came_from:
            node = queue.popleft()
            for neighbour in sorted(self.neighbours.get(node, ())):
                if neighbour not in came_from:
                    came_from[neighbour] = node
                    queue.append(neighbour)
        if end not in came_from:
            return []
        steps = [end]
        while steps[-1] != start:
            steps.append(came_from[steps[-1]])
        return steps[::-1]
