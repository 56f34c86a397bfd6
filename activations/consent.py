"""Consent: the latest word for each address and channel, and the lock that orders words and sends.

Belongs here: reading what was granted, recording a change, suppressing an address.
Keep out: asking for consent (gateway), what follows from it (`guardrails.py`, `recheck.py`).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from activations import audit
from warehouse import Warehouse

# Senders hold it shared around check and request; a change of consent takes it alone. So a
# revoke commits either before the check, which sees it, or after the request has ended.
CONSENT_LOCK = 0x10095D85

HASH = "encode(sha256(convert_to(points.address, 'UTF8')), 'hex')"
# The latest word per channel and address; of two at one moment the one that is not a grant.
# A revoke counts as soon as it is committed, whatever time it carries, when `hears_all`.
LATEST = """
    select distinct on (channel, address_hash) channel, address_hash, status, regulation
    from (
        select channel, address_hash, status, regulation, recorded_at
        from marts.consents
        where
            scope = 'marketing' and recorded_at <= %(at)s
            and address_hash = any(%(hashes)s)
        union all
        select channel, address_hash, status, null as regulation, recorded_at
        from delivery.consent_changes
        where
            scope = 'marketing' and address_hash = any(%(hashes)s)
            and (recorded_at <= %(at)s or (%(hears_all)s and status = 'revoked'))
    ) as words
    order by channel, address_hash, recorded_at desc, status = 'granted'
"""
SUPPRESSED = """
    select channel, address_hash from delivery.suppressions
    where address_hash = any(%(hashes)s) and (since_at <= %(at)s or %(hears_all)s)
"""
# 47 CFR 64.1200(a)(2), (f)(9): marketing texts to numbers of the United States need prior express
# written consent, so the grant must say that it was asked for under the TCPA. A number does not
# tell where in the +1 plan its bearer lives: all of it is held to this.
WRITTEN = """(
    points.channel <> 'sms' or points.address not like '+1%%'
    or coalesce(latest.regulation, '') ilike 'tcpa%%'
)"""
# Topics somebody gave up while they still agree to the channel: the program's own scope.
TOPICS = """
    select distinct on (channel, address_hash, scope) channel, address_hash, scope, status
    from delivery.consent_changes
    where
        scope like 'marketing:%%' and address_hash = any(%(hashes)s)
        and (recorded_at <= %(at)s or (%(hears_all)s and status = 'revoked'))
    order by channel, address_hash, scope, recorded_at desc, status = 'granted'
"""


def topic_scope(program: str) -> str:
    """The scope of consent that covers one program's messages and no other's."""
    return f"marketing:{program}"


@dataclass(frozen=True)
class Change:
    """One word about one address."""

    channel: str
    address_hash: str
    status: str
    source: str
    recorded_at: datetime
    scope: str = "marketing"


@contextmanager
def held_while_sending(connection: Any) -> Iterator[None]:
    """No change of consent commits inside; senders do not exclude each other.

    The lock is the session's: it goes with the connection, should the process die.
    """
    connection.execute("select pg_advisory_lock_shared(%s)", [CONSENT_LOCK])
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute("select pg_advisory_unlock_shared(%s)", [CONSENT_LOCK])


def is_awaited(connection: Any) -> bool:
    """Whether somebody waits to change consent while senders hold it."""
    row = connection.execute(
        "select exists (select from pg_locks where locktype = 'advisory' and not granted"
        " and classid = 0 and objid = %s and objsubid = 1 and database = ("
        " select oid from pg_database where datname = current_database())) as is_awaited",
        [CONSENT_LOCK],
    ).fetchone()
    return bool(row["is_awaited"])


def record(warehouse: Warehouse, changes: Iterable[Change], connection: Any = None) -> int:
    """Write changes of consent, each once; returns how many were new.

    When this returns and the transaction commits, no later request goes to a revoked address.
    """
    if connection is None:
        with warehouse.transaction() as own:
            return record(warehouse, changes, own)
    rows = sorted(changes, key=lambda one: (one.recorded_at, one.channel, one.address_hash))
    if not rows:
        return 0
    connection.execute("select pg_advisory_xact_lock(%s)", [CONSENT_LOCK])
    keys = ["channel", "address_hash", "scope", "source", "recorded_at"]
    table = pa.table({name: [getattr(row, name) for row in rows] for name in [*keys, "status"]})
    inserted = warehouse.insert_missing("delivery.consent_changes", table, keys, connection)
    if inserted:
        days = {row.recorded_at.astimezone(UTC).date(): row.recorded_at for row in rows}
        for day, at in sorted(days.items()):
            audit.append(connection, at, "consent", "record", "consent", str(day))
    return inserted


def suppress(
    warehouse: Warehouse, rows: Iterable[tuple[str, str, str, datetime]], connection: Any
) -> int:
    """Suppress addresses: (channel, address_hash, reason, since_at); the first reason stays."""
    first: dict[tuple[str, str], tuple[str, datetime]] = {}
    for channel, address, reason, since in sorted(rows, key=lambda row: (row[3], row[2])):
        first.setdefault((channel, address), (reason, since))
    if not first:
        return 0
    connection.execute("select pg_advisory_xact_lock(%s)", [CONSENT_LOCK])
    table = pa.table(
        {
            "channel": [channel for channel, _ in first],
            "address_hash": [address for _, address in first],
            "reason": [reason for reason, _ in first.values()],
            "since_at": [since for _, since in first.values()],
        }
    )
    keys = ["channel", "address_hash"]
    return warehouse.insert_missing("delivery.suppressions", table, keys, connection)


def best_addresses(
    connection: Any, person_ids: list[str], at: datetime, program: str = ""
) -> list[dict[str, Any]]:
    """One address hash per person and channel: a usable one first, then the primary one.

    Rows: person_id, channel, address_hash, is_granted, is_written (no law asks for more than was
    granted), is_refused (this program's topic was given up), is_suppressed.
    """
    hashes = connection.execute(
        f"select {HASH} as hashed from identity.contact_points as points"
        " where points.person_id = any(%s)",
        [person_ids],
    ).fetchall()
    return connection.execute(
        f"""
        with latest as ({LATEST}), suppressed as ({SUPPRESSED}), topics as ({TOPICS}),
        known as (
            select
                points.person_id, points.channel, points.is_primary, points.address,
                {HASH} as address_hash,
                coalesce(latest.status = 'granted', false) as is_granted,
                {WRITTEN} as is_written,
                coalesce(topics.status = 'revoked', false) as is_refused,
                suppressed.channel is not null as is_suppressed
            from identity.contact_points as points
            left join latest
                on points.channel = latest.channel and {HASH} = latest.address_hash
            left join topics
                on
                    points.channel = topics.channel and {HASH} = topics.address_hash
                    and topics.scope = %(scope)s
            left join suppressed
                on points.channel = suppressed.channel and {HASH} = suppressed.address_hash
            where points.person_id = any(%(persons)s)
        )
        select distinct on (person_id, channel)
            person_id, channel, address_hash, is_granted, is_written, is_refused, is_suppressed
        from known
        order by
            person_id, channel,
            (is_granted and is_written and not is_refused and not is_suppressed) desc,
            is_primary desc, address
        """,
        {
            "persons": person_ids,
            "hashes": [row["hashed"] for row in hashes],
            "at": at,
            "hears_all": False,
            "scope": topic_scope(program),
        },
    ).fetchall()
