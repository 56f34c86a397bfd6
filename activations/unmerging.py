"""A merge undone: what delivery must take back.

Belongs here: marking the merge, skipping what was planned for the person who never was, giving
experiment groups back. Keep out: which evidence parts the two (`ml.identity_changes`), the person
graph (the next build makes it anew).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from activations import assignments, audit, programs
from warehouse import Warehouse

REASON = "merge_undone"
# What nobody has begun to send. Of the survivor it was chosen from the facts of two persons.
SKIP = """
    update delivery.messages as messages
    set status = 'skipped', reason = %(reason)s, leased_by = null, lease_expires_at = null
    from delivery.decisions as decisions
    where
        messages.decision_id = decisions.decision_id
        and messages.person_id = %(survivor)s
        and decisions.as_of >= %(merged_at)s
        and (messages.status in ('planned', 'held') or (messages.status = 'reserved'
            and messages.batch_key is null))
    returning messages.message_key
"""


Node = tuple[str, str]


class UnmergeError(ValueError):
    """A merge that cannot be undone; the text says why and what to do."""


@dataclass(frozen=True)
class Merge:
    """One row of identity.merges that stands."""

    merge_id: str
    survivor: str
    absorbed: str
    merged_at: datetime
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Undone:
    """What undoing a merge changed in delivery."""

    messages_skipped: int
    assignments_restored: int


def listed(warehouse: Warehouse, limit: int) -> list[dict[str, Any]]:
    """Standing merges, the latest first: ids, when, and the kinds of identifiers on the way."""
    return warehouse.rows(
        "select merge_id, merged_at, survivor_person_id as survivor,"
        " absorbed_person_id as absorbed, (select string_agg(step ->> 0, ' - ' order by place)"
        " from jsonb_array_elements(evidence -> 'path') with ordinality as steps (step, place))"
        " as path from identity.merges where undone_at is null"
        " order by merged_at desc, merge_id limit %(limit)s",
        limit=limit,
    )


def standing(connection: Any, prefix: str) -> Merge:
    """The merge whose id begins with `prefix`.

    Raises UnmergeError when there is none, when several begin so, or when it does not stand.
    """
    rows = connection.execute(
        "select * from identity.merges where starts_with(merge_id, %s) order by merge_id limit 2",
        [prefix],
    ).fetchall()
    if len(rows) != 1:
        found = "no merge begins" if not rows else "several merges begin"
        raise UnmergeError(f"{found} with {prefix}; `loopdrive identity merges` lists them")
    row = rows[0]
    if row["undone_at"] is not None:
        how = {
            "superseded": "was taken over by a later merge: undo that one",
            "split": "fell apart by itself",
        }
        said = how.get(row["undone_by"], f"was undone by {row['undone_by']}")
        raise UnmergeError(f"merge {row['merge_id']} {said}")
    return Merge(
        row["merge_id"], row["survivor_person_id"], row["absorbed_person_id"], row["merged_at"],
        row["evidence"],
    )  # fmt: skip


# The identifiers that left the absorbed person last, and those that the survivor had by then.
SIDES = """
    with gone as (
        select resolution, identifier_type, identifier_value
        from ml.identity_moves
        where
            from_person_id = %(absorbed)s
            and resolution = (
                select max(resolution) from ml.identity_moves where from_person_id = %(absorbed)s
            )
    )

    select true as is_absorbed, identifier_type, identifier_value from gone
    union all
    select false, identifier_type, identifier_value
    from ml.identity_clusters
    where
        cluster_id = %(survivor)s
        and resolution < (select min(resolution) from gone)
        and (identifier_type, identifier_value) not in (
            select identifier_type, identifier_value from gone
        )
    order by 1, 2, 3
"""
EDGES = """
    select edges.left_type, edges.left_value, edges.right_type, edges.right_value, edges.reason
    from ml.identity_clusters as lefts
    inner join identity.edges as edges
        on
            lefts.identifier_type = edges.left_type
            and lefts.identifier_value = edges.left_value
    inner join ml.identity_clusters as rights
        on
            edges.right_type = rights.identifier_type
            and edges.right_value = rights.identifier_value
    where lefts.cluster_id = %(survivor)s and rights.cluster_id = %(survivor)s
    order by 1, 2, 3, 4
"""


@dataclass(frozen=True)
class Parties:
    """What is known of both sides of a merge, as frames for `ml.identity_changes.parting`.

    survivor, absorbed: identifiers held when they merged; founders: of the one and the other;
    edges: within the merged person, with their reasons.
    """

    founders: tuple[Node, Node]
    survivor: set[Node]
    absorbed: set[Node]
    edges: list[dict[str, Any]]


def parties(connection: Any, merge: Merge) -> Parties:
    """Read both sides of a merge."""
    params = {"survivor": merge.survivor, "absorbed": merge.absorbed}
    sides: dict[bool, set[Node]] = {True: set(), False: set()}
    for row in connection.execute(SIDES, params):
        sides[row["is_absorbed"]].add((row["identifier_type"], row["identifier_value"]))
    kinds = ("survivor_founder", "absorbed_founder")
    one, other = ((str(kind), str(value)) for kind, value in (merge.evidence[k] for k in kinds))
    edges = connection.execute(EDGES, params).fetchall()
    return Parties((one, other), sides[False], sides[True], edges)


def undo(connection: Any, merge: Merge, at: datetime, by: str) -> Undone:
    """Mark the merge, and take back what delivery planned and drew because of it.

    The survivor's open messages decided since the merge are skipped as `merge_undone`, wherever
    they were addressed; what the absorbed person was planned before it is theirs again. An
    experiment group that the survivor had from the absorbed person goes back to the survivor's own
    draw; `contaminated_by` stays, since both lived under it.
    """
    connection.execute(
        "update identity.merges set undone_at = %s, undone_by = %s where merge_id = %s",
        [at, by, merge.merge_id],
    )
    params = {"reason": REASON, "survivor": merge.survivor, "merged_at": merge.merged_at}
    skipped = [row["message_key"] for row in connection.execute(SKIP, params).fetchall()]
    connection.execute(
        "update delivery.reviews set decided_at = %s, decided_by = %s, decision = 'rejected',"
        " note = %s where subject_id = any(%s) and decided_at is null",
        [at, by, REASON, skipped],
    )
    restored = _restore_assignments(connection, merge)
    audit.append(connection, at, by, "undone", "merge", merge.merge_id)
    return Undone(len(skipped), restored)


def _restore_assignments(connection: Any, merge: Merge) -> int:
    """Groups that came with the absorbed person; the survivor's own draw is by hash, for ever."""
    rows = connection.execute(
        "select program from delivery.assignments as own inner join delivery.assignments as theirs"
        " using (program) where own.person_id = %s and theirs.person_id = %s"
        " and own.contaminated_by is not null and own.assignment = theirs.assignment",
        [merge.survivor, merge.absorbed],
    ).fetchall()
    count = 0
    for row in rows:
        drawn = assignments.draw(programs.load(row["program"]), merge.survivor)
        count += connection.execute(
            "update delivery.assignments set assignment = %s"
            " where program = %s and person_id = %s and assignment <> %s",
            [drawn, row["program"], merge.survivor, drawn],
        ).rowcount
    return count
