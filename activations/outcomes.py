"""Outcomes: where the answer to a request moves each of its messages.

Belongs here: results into states, retries with their times, the notes on attempts.
Keep out: the marks before a request (`outbox.py`), error tables (`providers/`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection

from activations.keys import stable_id
from activations.outbox import PARTED, seal, window
from activations.providers.seam import ItemResult, Outcome

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


@dataclass(frozen=True)
class Asked:
    """What is known of a message in a request: attempts, and since when its key is in use.

    `lost_at` is when a request under the same key first went without an answer; `is_late` says
    that nobody waited for this answer any more, `is_parted` that the attempt before was no try of
    its own: the request was too large to be judged.
    """

    attempts: int
    lost_at: datetime | None
    is_late: bool
    is_parted: bool = False


def finish(
    connection: Connection[Any],
    results: Sequence[ItemResult],
    now: datetime,
    dedup: timedelta | None = None,
) -> dict[str, str]:
    """Write what became of each item of a request; returns the new status by message key.

    A result may find its message already `unknown` (its lease ran out): an answer is better
    knowledge and replaces it. `dedup` as in `recover`.
    """
    with connection.transaction():
        asked = _asked(connection, [result.message_key for result in results], dedup is not None)
        known = [result for result in results if result.message_key in asked]
        moves = [_next(result, asked[result.message_key], now, dedup) for result in known]
        _apply(connection, known, moves)
        late = [
            stable_id("attempt", key, one.attempts) for key, one in asked.items() if one.is_late
        ]
        covered = _covered(connection, late)
        _note(connection, known, asked)
        for provider, moment in covered:
            seal(connection, provider, [moment], now)
    return {result.message_key: move.status for result, move in zip(known, moves, strict=True)}


def _asked(connection: Any, keys: Sequence[str], has_key: bool) -> dict[str, Asked]:
    """What is known of the messages that wait for an answer; the rest is left out."""
    rows = connection.execute(
        "select message_key, attempt_count, status, reason from delivery.messages"
        " where message_key = any(%s) and status in ('sending', 'unknown')"
        " order by message_key for update",
        [list(keys)],
    ).fetchall()
    lost = _lost_at(connection, [row["message_key"] for row in rows]) if has_key else {}
    return {
        row["message_key"]: Asked(
            row["attempt_count"],
            lost.get(row["message_key"]),
            is_late=row["status"] == "unknown",
            is_parted=row["reason"] == PARTED,
        )
        for row in rows
    }


def _lost_at(connection: Any, keys: Sequence[str]) -> dict[str, datetime]:
    """When a request under the key that a message has now first went without an answer."""
    rows = connection.execute(
        "select messages.message_key, min(lost.attempted_at) as lost_at"
        " from delivery.messages as messages"
        " inner join delivery.send_attempts as lost using (message_key, batch_key)"
        " where messages.message_key = any(%s) and lost.outcome in ('ambiguous', 'unknown')"
        " group by messages.message_key",
        [list(keys)],
    )
    return {row["message_key"]: row["lost_at"] for row in rows}


def _covered(connection: Any, attempts: Sequence[str]) -> list[tuple[str, datetime]]:
    """Provider and moment of those attempts that the audit log covers as they are now."""
    if not attempts:
        return []
    rows = connection.execute(
        "select distinct messages.provider, attempts.attempted_at"
        " from delivery.send_attempts as attempts"
        " inner join delivery.messages as messages using (message_key)"
        " where attempts.attempt_id = any(%s) and attempts.is_sealed order by 1, 2",
        [list(attempts)],
    )
    return [(row["provider"], row["attempted_at"]) for row in rows]


def _next(result: ItemResult, asked: Asked, now: datetime, dedup: timedelta | None) -> Next:
    reason = result.code if result.outcome is not Outcome.ACCEPTED else None
    if result.outcome in (Outcome.ACCEPTED, Outcome.DUPLICATE):
        return Next("accepted", None, sent_at=now)
    if result.outcome is Outcome.BLOCKED:
        return Next("skipped", DRY_RUN if reason == DRY_RUN else f"blocked:{reason}")
    if result.outcome is Outcome.PERMANENT:
        return Next("failed", f"permanent:{reason}")
    again = result.retry_at or _wait(result.outcome, asked.attempts, now)
    if result.outcome is Outcome.AMBIGUOUS or asked.lost_at is not None:
        return _unanswered(f"no_answer:{reason}", asked, max(again, now), now, dedup)
    if result.outcome is Outcome.AUTH:
        return Next("planned", f"auth:{reason}", next_attempt_at=again)
    if asked.attempts >= MAX_ATTEMPTS and not asked.is_parted:
        return Next("failed", f"retries_exhausted:{reason}")
    return Next("planned", f"retry:{reason}", next_attempt_at=max(again, now))


def _wait(outcome: Outcome, attempts: int, now: datetime) -> datetime:
    if outcome is Outcome.AUTH:
        return now + AUTH_RETRY
    return now + FIRST_RETRY * 2 ** min(attempts - 1, MAX_ATTEMPTS)


def _unanswered(
    reason: str, asked: Asked, again: datetime, now: datetime, dedup: timedelta | None
) -> Next:
    """Unknown; to be asked again while its key is remembered, where the provider knows keys."""
    since = asked.lost_at or now
    may_ask = window(dedup)
    is_open = may_ask is not None and again < since + may_ask and asked.attempts < MAX_ATTEMPTS
    return Next("unknown", reason, sent_at=since, next_attempt_at=again if is_open else None)


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


def _note(connection: Any, results: Sequence[ItemResult], asked: Mapping[str, Asked]) -> None:
    """Write the outcomes of attempts, which the audit log does not cover yet."""
    connection.execute(
        "update delivery.send_attempts as held"
        " set outcome = news.outcome, code = news.code, is_sealed = false"
        " from unnest(%s::text[], %s::text[], %s::text[]) as news (attempt_id, outcome, code)"
        " where held.attempt_id = news.attempt_id",
        [
            [
                stable_id("attempt", one.message_key, asked[one.message_key].attempts)
                for one in results
            ],
            [str(one.outcome) for one in results],
            [one.code for one in results],
        ],
    )
