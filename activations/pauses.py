"""Pauses: when a provider's account is left alone, by its own word or because it fails.

Belongs here: rate limits and failures that answers tell, shared by all dispatchers of a workspace
through delivery.provider_pauses; the circuit breaker.
Keep out: the pace between two requests (`pace.py`), when one message goes again (`outcomes.py`).

The breaker opens after five requests in a row that failed on the provider's side, for 5 minutes,
then twice as long each time up to an hour; when it is over one message goes first, and an answer
closes it. All times are business time: a run that meets a pause ends, and a later one goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from activations.http import Answer, TransportError
from activations.outcomes import AUTH_RETRY
from activations.providers.seam import ItemResult, MessageProvider, Outcome

BREAK_AFTER = 5
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=5), timedelta(hours=1)
# A limit that names no time of its own.
LIMIT_PAUSE = timedelta(minutes=5)
# A provider that asks for more than a day has told us something else than a rate.
LONGEST_LIMIT = timedelta(days=1)


@dataclass(frozen=True)
class Standing:
    """How an account stands: failures in a row, and until when it is left alone and why."""

    failure_count: int = 0
    paused_until: datetime | None = None
    reason: str = ""

    def stops(self, now: datetime) -> bool:
        """Whether nothing may be asked at `now`."""
        return self.paused_until is not None and self.paused_until > now

    @property
    def is_probing(self) -> bool:
        """Whether the next request only finds out if the provider is back."""
        return self.failure_count >= BREAK_AFTER


def standing(connection: Any, provider: str) -> Standing:
    """How the provider's account stands now."""
    row = connection.execute(
        "select failure_count, paused_until, reason from delivery.provider_pauses"
        " where provider = %s",
        [provider],
    ).fetchone()
    return Standing(**row) if row else Standing()


def heed(
    connection: Any,
    provider: MessageProvider,
    before: Standing,
    answer: Answer,
    results: Sequence[ItemResult],
    now: datetime,
) -> Standing:
    """Take up what an answer says about the account; returns how it stands from now on."""
    limit = _limit(provider, answer, results, now)
    if limit is not None:
        return _pause(connection, provider.name, 0, *limit)
    if any(result.outcome is Outcome.AUTH for result in results):
        reason = f"{provider.name} refuses our credentials"
        return _pause(connection, provider.name, 0, now + AUTH_RETRY, reason)
    if isinstance(answer, TransportError) or answer.status >= 500:
        return _failed(connection, provider, answer, now)
    if before.failure_count or before.paused_until is not None:
        connection.execute(
            "delete from delivery.provider_pauses where provider = %s"
            " and (paused_until is null or paused_until <= %s)",
            [provider.name, now],
        )
    return Standing()


def _limit(
    provider: MessageProvider, answer: Answer, results: Sequence[ItemResult], now: datetime
) -> tuple[datetime, str] | None:
    """Until when the account takes no more, by its status or its headers.

    A limit that holds for one person alone is in that message's result, not in these.
    """
    if isinstance(answer, TransportError) or answer.status >= 500:
        return None
    rate = provider.rate(answer, now)
    until = rate.resume_at
    if answer.status == 429 and until is None:
        told = [at for one in results if (at := one.retry_at) is not None]
        until = max(told, default=now + LIMIT_PAUSE)
    is_limited = answer.status >= 400 or rate.remaining == 0
    if until is None or until <= now or not is_limited:
        return None
    return min(until, now + LONGEST_LIMIT), f"{provider.name} takes no more for now"


def _failed(connection: Any, provider: MessageProvider, answer: Answer, now: datetime) -> Standing:
    """Count a failure; pause where the provider says until when, or where it is one too many."""
    told = None if isinstance(answer, TransportError) else provider.rate(answer, now).resume_at
    code = answer.reason if isinstance(answer, TransportError) else str(answer.status)
    reason = f"{provider.name} fails: {code}"
    row = connection.execute(
        "insert into delivery.provider_pauses as held values (%s, 1, null, %s)"
        " on conflict (provider) do update set failure_count = held.failure_count + 1,"
        " reason = excluded.reason returning failure_count",
        [provider.name, reason],
    ).fetchone()
    count = int(row["failure_count"])
    until = told
    if count >= BREAK_AFTER:
        pause = FIRST_PAUSE * 2 ** min(count - BREAK_AFTER, 8)
        until = max(until or now, now + min(pause, LONGEST_PAUSE))
    if until is None or until <= now:
        return Standing(count, None, reason)
    return _pause(connection, provider.name, count, min(until, now + LONGEST_LIMIT), reason)


def _pause(connection: Any, provider: str, failures: int, until: datetime, reason: str) -> Standing:
    connection.execute(
        "insert into delivery.provider_pauses as held values (%s, %s, %s, %s)"
        " on conflict (provider) do update set paused_until ="
        " greatest(held.paused_until, excluded.paused_until),"
        " failure_count = excluded.failure_count, reason = excluded.reason",
        [provider, failures, until, reason],
    )
    return Standing(failures, until, reason)
