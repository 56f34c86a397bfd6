"""Link proposals: contacts that may be one person, and what becomes of the proposal.

Belongs here: keeping proposals, accepting the sure ones by rule, opening reviews for the others,
applying what a person decided. Keep out: how likely a link is (`ml.likeness`), which links the
guards allow (`ml.identity_changes`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from activations import link_rules
from activations.keys import stable_id
from activations.link_rules import Identifier
from warehouse import Warehouse

TABLE = "identity.link_proposals"
KEYS = ["left_contact_id", "right_contact_id"]
# Whose word an accepted link is, in identity.link_rules.created_by.
ORIGIN = "contact_links"
CONTACT = "crm_contact_id"
# How `loopdrive review list` tells a proposal: ids of contacts, no names.
TOLD = (
    "'contacts ' || proposals.left_contact_id || ' and ' || proposals.right_contact_id"
    " || ' are one person with probability ' || round(proposals.match_probability::numeric, 3)"
    " || ': ' || (select string_agg(field.key || ' ' || (field.value ->> 'level') || ' '"
    " || to_char((field.value ->> 'bits')::numeric, 'FMSG990.0'), ', ' order by field.key)"
    " from jsonb_each(proposals.explanation -> 'fields') as field"
    " where field.value ->> 'level' <> 'unknown')"
)


@dataclass(frozen=True)
class Kept:
    """What `keep` did: links that became rules, and ids of the proposals that wait."""

    accepted: int
    waiting: list[str]


def keep(
    warehouse: Warehouse, links: Sequence[Mapping[str, Any]], accepted: float, at: datetime
) -> Kept:
    """Add proposals that nobody has decided, in one transaction.

    links: left_contact_id < right_contact_id, match_probability, explanation (JSON text). At
    `accepted` or more a link becomes an include rule at once; below, it waits: open a review for
    it. What was decided before stays decided; what still waits takes the new probability.
    """
    with warehouse.transaction() as connection:
        decided = _decided(connection)
        fresh = [link for link in links if (link[KEYS[0]], link[KEYS[1]]) not in decided]
        rows = [_row(link, accepted, at) for link in fresh]
        if rows:
            table = pa.Table.from_pylist(rows, schema=SCHEMA)
            warehouse.upsert(TABLE, table, KEYS, connection)
        sure = [row for row in rows if row["status"] == "accepted"]
        for row in sure:
            _include(connection, row, ORIGIN, f"match probability {row['match_probability']}", at)
        connection.execute(
            "update delivery.reviews set decided_at = %s, decided_by = %s, decision = 'approved'"
            " where subject_id = any(%s) and decided_at is null",
            [at, ORIGIN, [row["proposal_id"] for row in sure]],
        )
    return Kept(len(sure), [row["proposal_id"] for row in rows if row["status"] == "proposed"])


def withdraw(
    connection: Any, pairs: Sequence[tuple[str, str]], by: str, reason: str, at: datetime
) -> int:
    """End accepted links between contacts: the proposal is rejected, its rule deleted."""
    count = 0
    for pair in pairs:
        left, right = sorted(pair)
        count += connection.execute(
            "update identity.link_proposals set status = 'rejected', decided_by = %s,"
            " decided_at = %s where left_contact_id = %s and right_contact_id = %s"
            " and status = 'accepted'",
            [f"{by}: {reason}", at, left, right],
        ).rowcount
        rule = stable_id("link_rule", "include", CONTACT, left, CONTACT, right)
        link_rules.withdraw(connection, [rule], by, at)
    return count


def decide(connection: Any, proposal_id: str, decision: str, by: str, at: datetime) -> bool:
    """Apply a person's word on a proposal; False when there is none of this id."""
    row = connection.execute(
        "update identity.link_proposals set status = %s, decided_by = %s, decided_at = %s"
        " where proposal_id = %s and status = 'proposed' returning *",
        ["accepted" if decision == "approved" else "rejected", by, at, proposal_id],
    ).fetchone()
    if row is not None and decision == "approved":
        text = f"approved at match probability {row['match_probability']}"
        _include(connection, row, by, text, at)
    return row is not None


def _decided(connection: Any) -> set[tuple[str, str]]:
    rows = connection.execute(
        "select left_contact_id, right_contact_id from identity.link_proposals"
        " where status <> 'proposed'"
    ).fetchall()
    return {(row["left_contact_id"], row["right_contact_id"]) for row in rows}


SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in KEYS),
        ("match_probability", pa.float64()),
        ("explanation", pa.string()),
        ("status", pa.string()),
        ("decided_by", pa.string()),
        ("decided_at", pa.timestamp("us", tz="UTC")),
        ("proposal_id", pa.string()),
    ]
)


def _row(link: Mapping[str, Any], accepted: float, at: datetime) -> dict[str, Any]:
    is_sure = link["match_probability"] >= accepted
    return {
        **{name: link[name] for name in (*KEYS, "match_probability", "explanation")},
        "status": "accepted" if is_sure else "proposed",
        "decided_by": ORIGIN if is_sure else None,
        "decided_at": at if is_sure else None,
        "proposal_id": stable_id("link_proposal", *(link[name] for name in KEYS)),
    }


def _include(connection: Any, row: Mapping[str, Any], by: str, text: str, at: datetime) -> None:
    ends = Identifier(CONTACT, row[KEYS[0]]), Identifier(CONTACT, row[KEYS[1]])
    link_rules.say(connection, "include", ends, by, text, at)
