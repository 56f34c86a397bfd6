"""The outbox: a message's states, and who may move it from one to the next.

Belongs here: what is due, leases, the marks before a request, recovery after a crash, seals.
Keep out: whether it may still be said (`recheck.py`), requests (`exchange.py`), what answers
mean (`outcomes.py`), webhooks (`settlement.py`).

planned -> reserved (lease) -> sending (attempt written) -> accepted | unknown | failed | planned.
A crash in `reserved` loses nothing: the lease runs out and the message is planned again. A crash
in `sending` may have been heard by the provider: the message becomes unknown. Where the provider
knows keys it has a `next_attempt_at` then, and the same request goes again under the same key
(`unanswered.py`); elsewhere it is never sent again by itself.
Every verb that takes a connection commits its step: give it one in autocommit.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from psycopg import Connection, Rollback

from activations import audit
from activations.keys import stable_id
from activations.providers.seam import Batch
from warehouse import Warehouse

TICK_SECONDS = 300
# Longer than the slowest request (30 s to read) for every request of one reservation.
LEASE = timedelta(minutes=15)
# How long before a provider forgets a key the last question under it is asked.
KEY_MARGIN = timedelta(hours=1)
# Why a message is in a smaller request than at first: the larger one was refused whole.
PARTED = "refused_together"


def due_times(
    connection: Connection[Any], after: datetime, until: datetime, provider: str
) -> list[datetime]:
    """The moments in (after, until], on full five minutes, at which a provider has work.

    Messages that are due, retries, lost answers to ask for, and leases that run out. A dispatch
    may plan again for later (quiet hours, retries), so ask anew after each one, with its moment
    as `after`.
    """
    rows = connection.execute(
        """
        with due as (
            select case
                when status = 'planned' then greatest(send_at, coalesce(next_attempt_at, send_at))
                when status = 'unknown' then coalesce(lease_expires_at, next_attempt_at)
                else coalesce(lease_expires_at, send_at)
            end as due_at
            from delivery.messages
            where
                provider = %(provider)s
                and (
                    status in ('planned', 'reserved', 'sending')
                    or (status = 'unknown' and next_attempt_at is not null)
                )
        ),

        ticks as (
            select to_timestamp(
                greatest(
                    ceil(extract(epoch from due_at) / %(tick)s),
                    floor(extract(epoch from %(after)s::timestamptz) / %(tick)s) + 1
                )::bigint * %(tick)s
            ) as tick
            from due
            where due_at <= %(until)s
        )

        select distinct tick from ticks where tick <= %(until)s order by tick
        """,
        {"tick": TICK_SECONDS, "after": after, "until": until, "provider": provider},
    ).fetchall()
    return [row["tick"].astimezone(UTC) for row in rows]


def recover(
    connection: Connection[Any], now: datetime, provider: str, dedup: timedelta | None = None
) -> dict[str, int]:
    """Undo what a crash left behind, once its lease is over; counts by new status.

    `dedup` is how long the provider recognises a key, None where it knows none.
    """
    with connection.transaction():
        planned = connection.execute(
            "update delivery.messages set status = 'planned', leased_by = null,"
            " lease_expires_at = null, batch_key = null"
            " where status = 'reserved' and provider = %s and lease_expires_at <= %s",
            [provider, now],
        ).rowcount
        connection.execute(
            "update delivery.messages set leased_by = null, lease_expires_at = null"
            " where status = 'unknown' and provider = %s and next_attempt_at is not null"
            " and lease_expires_at <= %s",
            [provider, now],
        )
        lost = _lost(connection, now, provider, dedup)
        connection.execute(
            "update delivery.send_attempts set outcome = 'unknown', code = 'crashed',"
            " is_sealed = false where outcome = 'sending' and message_key = any(%s)",
            [lost],
        )
        seal(connection, provider, _unsealed(connection, provider), now)
    return {"planned": planned, "unknown": len(lost)}


def _lost(connection: Any, now: datetime, provider: str, dedup: timedelta | None) -> list[str]:
    """Messages whose dispatcher died during the request; they are unknown from now on."""
    rows = connection.execute(
        """
        with asked as (
            select
                messages.message_key, max(attempts.attempted_at) as last_at,
                min(attempts.attempted_at) filter (
                    where attempts.batch_key = messages.batch_key
                ) as first_at
            from delivery.messages as messages
            inner join delivery.send_attempts as attempts using (message_key)
            where
                messages.status = 'sending' and messages.provider = %(provider)s
                and messages.lease_expires_at <= %(now)s
            group by messages.message_key
        )

        update delivery.messages as held
        set
            status = 'unknown', leased_by = null, lease_expires_at = null,
            reason = 'crashed_while_sending', sent_at = asked.last_at,
            next_attempt_at = case
                when asked.first_at + %(window)s::interval > %(now)s then %(now)s::timestamptz
            end
        from asked
        where held.message_key = asked.message_key and held.status = 'sending'
        returning held.message_key
        """,
        {"provider": provider, "now": now, "window": window(dedup)},
    )
    return [row["message_key"] for row in rows]


def window(dedup: timedelta | None) -> timedelta | None:
    """How long a request may go again under its key after it first went."""
    return None if dedup is None else max(dedup - KEY_MARGIN, dedup / 2)


def reserve(
    connection: Connection[Any], now: datetime, provider: str, owner: str, limit: int
) -> list[str]:
    """Lease up to `limit` due messages, the earliest first; returns their keys in that order.

    Two dispatchers never get the same message: a row that one of them holds is skipped.
    """
    with connection.transaction():
        rows = connection.execute(
            """
            with due as (
                select message_key
                from delivery.messages
                where
                    status = 'planned' and provider = %(provider)s and send_at <= %(now)s
                    and coalesce(next_attempt_at, send_at) <= %(now)s
                order by send_at, message_key
                limit %(limit)s
                for update skip locked
            )

            update delivery.messages as held
            set status = 'reserved', leased_by = %(owner)s, lease_expires_at = %(until)s
            from due
            where held.message_key = due.message_key
            returning held.message_key, held.send_at
            """,
            {
                "provider": provider,
                "now": now,
                "limit": limit,
                "owner": owner,
                "until": now + LEASE,
            },
        ).fetchall()
    return [row["message_key"] for row in sorted(rows, key=_by_time)]


def release(connection: Any, keys: Sequence[str], owner: str, again_at: datetime) -> int:
    """Plan again what was leased and never begun; returns how many."""
    return connection.execute(
        "update delivery.messages set status = 'planned', leased_by = null,"
        " lease_expires_at = null, batch_key = null, next_attempt_at = %s"
        " where status = 'reserved' and leased_by = %s and message_key = any(%s)",
        [again_at, owner, list(keys)],
    ).rowcount


def begin(
    warehouse: Warehouse,
    connection: Connection[Any],
    batch: Batch,
    owner: str,
    now: datetime,
    keys: Sequence[str] | None = None,
) -> bool:
    """Commit that a request is about to go out: membership, payload hash, attempts.

    `keys` are those of its messages that still wait for an answer, where it goes again. False,
    and nothing written, when one of them is no longer ours.
    """
    held = "reserved" if keys is None else "unknown"
    keys = [item.message_key for item in batch.items] if keys is None else list(keys)
    with connection.transaction() as step:
        rows = connection.execute(
            "update delivery.messages set status = 'sending', attempt_count = attempt_count + 1"
            " where message_key = any(%s) and status = %s and leased_by = %s"
            " and batch_key = %s returning message_key, attempt_count",
            [keys, held, owner, batch.key],
        ).fetchall()
        if len(rows) != len(keys):
            raise Rollback(step)
        counts = {row["message_key"]: row["attempt_count"] for row in rows}
        attempts = pa.table(
            {
                "attempt_id": [stable_id("attempt", key, counts[key]) for key in keys],
                "message_key": keys,
                "batch_key": [batch.key] * len(keys),
                "attempted_at": pa.array([now] * len(keys), pa.timestamp("us", tz="UTC")),
                "outcome": ["sending"] * len(keys),
                "detail": [f"sha256 {batch.sha256}"] * len(keys),
                "is_sealed": [False] * len(keys),
            }
        )
        warehouse.append("delivery.send_attempts", attempts, connection)
    return len(rows) == len(keys)


def part(connection: Connection[Any], batch: Batch, parts: Sequence[Batch], owner: str) -> bool:
    """Reserve anew, for smaller requests, the messages of one that was refused whole.

    False, and nothing written, when one of them is no longer ours.
    """
    pairs = [(item.message_key, smaller.key) for smaller in parts for item in smaller.items]
    with connection.transaction() as step:
        moved = connection.execute(
            "update delivery.messages as held"
            " set status = 'reserved', reason = %s, batch_key = news.batch_key"
            " from unnest(%s::text[], %s::text[]) as news (message_key, batch_key)"
            " where held.message_key = news.message_key and held.status = 'sending'"
            " and held.leased_by = %s and held.batch_key = %s",
            [PARTED, [key for key, _ in pairs], [key for _, key in pairs], owner, batch.key],
        ).rowcount
        if moved != len(batch.items):
            raise Rollback(step)
        connection.execute(
            "update delivery.send_attempts set outcome = 'retry', code = %s"
            " where batch_key = %s and outcome = 'sending' and message_key = any(%s)",
            [PARTED, batch.key, [key for key, _ in pairs]],
        )
    return moved == len(batch.items)


def seal(connection: Any, provider: str, moments: Iterable[datetime], now: datetime) -> None:
    """Chain an audit entry over the answered attempts of each moment of sending."""
    for at in sorted(set(moments)):
        connection.execute(
            "update delivery.send_attempts as held set is_sealed = true"
            " from delivery.messages where messages.message_key = held.message_key"
            " and messages.provider = %s and held.attempted_at = %s and not held.is_sealed"
            " and held.outcome <> 'sending'",
            [provider, at],
        )
        part = f"{provider}@{audit.moment(at)}"
        audit.append(connection, now, f"send/{provider}", "send", "attempts", part)


def _unsealed(connection: Any, provider: str) -> list[datetime]:
    """Moments of answered attempts whose entry a crash prevented."""
    rows = connection.execute(
        "select distinct attempts.attempted_at from delivery.send_attempts as attempts"
        " inner join delivery.messages using (message_key)"
        " where messages.provider = %s and not attempts.is_sealed"
        " and attempts.outcome <> 'sending'",
        [provider],
    )
    return [row["attempted_at"] for row in rows]


def _by_time(row: Mapping[str, Any]) -> tuple[datetime, str]:
    return row["send_at"], row["message_key"]
