"""The outbox: a message's states, and who may move it from one to the next.

Belongs here: what is due, leases, the marks before and after a request, recovery after a crash.
Keep out: whether it may still be said (`recheck.py`), requests (`dispatch.py`), webhooks
(`settlement.py`).

planned -> reserved (lease) -> sending (attempt written) -> accepted | unknown | failed | planned.
A crash in `reserved` loses nothing: the lease runs out and the message is planned again. A crash
in `sending` may have been heard by the provider: the message becomes unknown and is never sent
again by itself. Every verb that takes a connection commits its step: give it one in autocommit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from psycopg import Connection, Rollback

from activations import audit
from activations.keys import stable_id
from activations.providers.seam import Batch, ItemResult, Outcome
from activations.settlement import settle
from warehouse import Warehouse

__all__ = [
    "LEASE",
    "begin",
    "due_times",
    "finish",
    "recover",
    "release",
    "reserve",
    "seal",
    "settle",
]

TICK_SECONDS = 300
# Longer than the slowest request (30 s to read) for every request of one reservation.
LEASE = timedelta(minutes=15)
MAX_ATTEMPTS = 5
FIRST_RETRY = timedelta(minutes=5)
AUTH_RETRY = timedelta(minutes=15)
DRY_RUN = "dry_run"


@dataclass(frozen=True)
class Next:
    """Where one result moves a message."""

    status: str
    reason: str | None
    sent_at: datetime | None = None
    next_attempt_at: datetime | None = None


def due_times(
    connection: Connection[Any], after: datetime, until: datetime, provider: str
) -> list[datetime]:
    """The moments in (after, until], on full five minutes, at which a provider has work.

    Messages that are due, retries, and leases that run out. A dispatch may plan again for later
    (quiet hours, retries), so ask anew after each one, with its moment as `after`.
    """
    rows = connection.execute(
        """
        with due as (
            select case
                when status = 'planned' then greatest(send_at, coalesce(next_attempt_at, send_at))
                else coalesce(lease_expires_at, send_at)
            end as due_at
            from delivery.messages
            where status in ('planned', 'reserved', 'sending') and provider = %(provider)s
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


def recover(connection: Connection[Any], now: datetime, provider: str) -> dict[str, int]:
    """Undo what a crash left behind, once its lease is over; counts by new status."""
    with connection.transaction():
        planned = connection.execute(
            "update delivery.messages set status = 'planned', leased_by = null,"
            " lease_expires_at = null, batch_key = null"
            " where status = 'reserved' and provider = %s and lease_expires_at <= %s",
            [provider, now],
        ).rowcount
        lost = connection.execute(
            "update delivery.messages as held set status = 'unknown', leased_by = null,"
            " lease_expires_at = null, reason = 'crashed_while_sending', sent_at = ("
            " select max(attempted_at) from delivery.send_attempts"
            " where send_attempts.message_key = held.message_key)"
            " where status = 'sending' and provider = %s and lease_expires_at <= %s"
            " returning message_key",
            [provider, now],
        ).fetchall()
        crashed = connection.execute(
            "update delivery.send_attempts set outcome = 'unknown', code = 'crashed'"
            " where outcome = 'sending' and message_key = any(%s) returning attempted_at",
            [[row["message_key"] for row in lost]],
        ).fetchall()
        moments = {row["attempted_at"] for row in crashed}
        seal(connection, provider, moments | set(_unsealed(connection, provider, now)), now)
    return {"planned": planned, "unknown": len(lost)}


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
    warehouse: Warehouse, connection: Connection[Any], batch: Batch, owner: str, now: datetime
) -> bool:
    """Commit that a request is about to go out: membership, payload hash, attempts.

    False, and nothing written, when a message of the batch is no longer ours.
    """
    keys = [item.message_key for item in batch.items]
    with connection.transaction() as step:
        rows = connection.execute(
            "update delivery.messages set status = 'sending', attempt_count = attempt_count + 1"
            " where message_key = any(%s) and status = 'reserved' and leased_by = %s"
            " and batch_key = %s returning message_key, attempt_count",
            [keys, owner, batch.key],
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
            }
        )
        warehouse.append("delivery.send_attempts", attempts, connection)
    return len(rows) == len(keys)


def finish(
    connection: Connection[Any], results: Sequence[ItemResult], now: datetime
) -> dict[str, str]:
    """Write what became of each item of a request; returns the new status by message key.

    A result may find its message already `unknown` (its lease ran out): an answer is better
    knowledge and replaces it.
    """
    keys = [result.message_key for result in results]
    with connection.transaction():
        counts = {
            row["message_key"]: row["attempt_count"]
            for row in connection.execute(
                "select message_key, attempt_count from delivery.messages"
                " where message_key = any(%s) and status in ('sending', 'unknown') for update",
                [keys],
            )
        }
        known = [result for result in results if result.message_key in counts]
        moves = [_next(result, counts[result.message_key], now) for result in known]
        _apply(connection, known, moves)
        _note(connection, known, counts)
    return {result.message_key: move.status for result, move in zip(known, moves, strict=True)}


def seal(connection: Any, provider: str, moments: Iterable[datetime], now: datetime) -> None:
    """Chain an audit entry over the attempts of each moment of sending."""
    for at in sorted(set(moments)):
        part = f"{provider}@{audit.moment(at)}"
        audit.append(connection, now, f"send/{provider}", "send", "attempts", part)


def _unsealed(connection: Any, provider: str, now: datetime) -> list[datetime]:
    """Moments of the last day whose entry a crash prevented."""
    rows = connection.execute(
        """
        select distinct attempts.attempted_at
        from delivery.send_attempts as attempts
        inner join delivery.messages using (message_key)
        where
            provider = %(provider)s and attempted_at > %(since)s
            and attempts.outcome <> 'sending'
        """,
        {"provider": provider, "since": now - timedelta(days=1)},
    ).fetchall()
    parts = {f"{provider}@{audit.moment(row['attempted_at'])}": row for row in rows}
    sealed = audit.sealed_parts(connection, "attempts", list(parts))
    return [row["attempted_at"] for part, row in parts.items() if part not in sealed]


def _next(result: ItemResult, attempts: int, now: datetime) -> Next:
    reason = result.code if result.outcome is not Outcome.ACCEPTED else None
    if result.outcome in (Outcome.ACCEPTED, Outcome.DUPLICATE):
        return Next("accepted", None, sent_at=now)
    if result.outcome is Outcome.AMBIGUOUS:
        return Next("unknown", f"no_answer:{reason}", sent_at=now)
    if result.outcome is Outcome.BLOCKED:
        return Next("skipped", DRY_RUN if reason == DRY_RUN else f"blocked:{reason}")
    if result.outcome is Outcome.PERMANENT:
        return Next("failed", f"permanent:{reason}")
    if result.outcome is Outcome.AUTH:
        return Next("planned", f"auth:{reason}", next_attempt_at=now + AUTH_RETRY)
    if attempts >= MAX_ATTEMPTS:
        return Next("failed", f"retries_exhausted:{reason}")
    wait = now + FIRST_RETRY * 2 ** (attempts - 1)
    return Next("planned", f"retry:{reason}", next_attempt_at=max(result.retry_at or wait, now))


def _apply(connection: Any, results: Sequence[ItemResult], moves: Sequence[Next]) -> None:
    columns: Mapping[str, list[Any]] = {
        "key": [result.message_key for result in results],
        "status": [move.status for move in moves],
        "reason": [move.reason for move in moves],
        "sent_at": [move.sent_at for move in moves],
        "again": [move.next_attempt_at for move in moves],
        "ref": [result.provider_ref for result in results],
    }
    connection.execute(
        """
        update delivery.messages as held
        set
            status = news.status, reason = news.reason, sent_at = news.sent_at,
            next_attempt_at = news.again, leased_by = null, lease_expires_at = null,
            provider_message_id = coalesce(news.ref, held.provider_message_id),
            batch_key = case when news.status = 'planned' then null else held.batch_key end
        from unnest(
            %(key)s::text[], %(status)s::text[], %(reason)s::text[],
            %(sent_at)s::timestamptz[], %(again)s::timestamptz[], %(ref)s::text[]
        ) as news (message_key, status, reason, sent_at, again, ref)
        where held.message_key = news.message_key
        """,
        columns,
    )


def _note(connection: Any, results: Sequence[ItemResult], counts: Mapping[str, int]) -> None:
    connection.execute(
        "update delivery.send_attempts as held set outcome = news.outcome, code = news.code"
        " from unnest(%s::text[], %s::text[], %s::text[]) as news (attempt_id, outcome, code)"
        " where held.attempt_id = news.attempt_id",
        [
            [stable_id("attempt", one.message_key, counts[one.message_key]) for one in results],
            [str(one.outcome) for one in results],
            [one.code for one in results],
        ],
    )


def _by_time(row: Mapping[str, Any]) -> tuple[datetime, str]:
    return row["send_at"], row["message_key"]
