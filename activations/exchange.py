"""An exchange: one request to a provider, marked before it leaves and written down after.

Belongs here: the order of mark, token, request, outcome and pause, and what a dispatcher holds.
Keep out: which messages go (`dispatch.py`), which go again (`unanswered.py`), wire formats.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from psycopg import Connection

from activations import outbox, outcomes, pauses
from activations.http import Answer, Request
from activations.outcomes import DRY_RUN
from activations.pace import Pace
from activations.pauses import Standing
from activations.providers.seam import Batch, Item, ItemResult, MessageProvider, Outcome
from warehouse import Warehouse

Sender = Callable[[Request], Answer]
# A server that restarts is back within seconds; an answer that we have is worth waiting for.
FINISH_ATTEMPTS, FINISH_SECONDS = 20, 0.5


@dataclass(frozen=True)
class Desk:
    """One dispatcher at work at one moment. The connection commits step by step."""

    warehouse: Warehouse
    connection: Connection[Any]
    now: datetime
    provider: MessageProvider
    sender: Sender | None
    owner: str
    pace: Pace | None = None


@dataclass(frozen=True)
class Exchanged:
    """What one request brought: results, new statuses by message, the account's standing.

    `parts` are smaller requests that take the place of one that was refused whole.
    """

    results: Sequence[ItemResult] = ()
    statuses: dict[str, str] = field(default_factory=dict)
    standing: Standing = field(default_factory=Standing)
    has_asked: bool = False
    parts: tuple[Batch, ...] = ()


def exchange(
    desk: Desk,
    batch: Batch,
    before: Standing,
    keys: Sequence[str] | None = None,
    may_part: bool = False,
) -> Exchanged | None:
    """Send one batch; None, and nothing is asked, when a message of it is no longer ours.

    `keys` are the messages that still wait, where a request goes again under its key. With
    `may_part` a batch that was refused whole on account of some comes back as smaller ones.
    """
    if desk.pace is not None and desk.sender is not None:
        desk.pace.take(desk.connection)
    if not outbox.begin(desk.warehouse, desk.connection, batch, desk.owner, desk.now, keys):
        return None
    if desk.sender is None:
        results = [
            ItemResult(item.message_key, Outcome.BLOCKED, code=DRY_RUN) for item in batch.items
        ]
        return Exchanged(results, _finish(desk, results), before)
    answer = desk.sender(desk.provider.request(batch))
    results = desk.provider.parse(batch, answer, desk.now)
    parts = desk.provider.split(batch, results) if may_part else []
    is_parted = bool(parts) and outbox.part(desk.connection, batch, parts, desk.owner)
    statuses = {} if is_parted else _finish(desk, results)
    after = pauses.heed(desk.connection, desk.provider, before, answer, results, desk.now)
    if is_parted:
        return Exchanged((), {}, after, has_asked=True, parts=tuple(parts))
    return Exchanged(results, statuses, after, has_asked=True)


def items(connection: Any, keys: Sequence[str]) -> list[Item]:
    """The rendered messages of some keys, in the order of their keys."""
    rows = connection.execute(
        "select body from delivery.payloads where message_key = any(%s) order by message_key",
        [list(keys)],
    )
    return [
        Item(**row["body"] | {"headers": tuple(tuple(pair) for pair in row["body"]["headers"])})
        for row in rows
    ]


def _finish(desk: Desk, results: Sequence[ItemResult]) -> dict[str, str]:
    """Write the results; where the server went away meanwhile, on a connection of their own.

    The error is raised all the same: with the connection went the lock that keeps revokes out.
    """
    dedup = desk.provider.limits.dedup
    try:
        return outcomes.finish(desk.connection, results, desk.now, dedup)
    except psycopg.OperationalError:
        for _ in range(FINISH_ATTEMPTS):
            try:
                with desk.warehouse.connect() as connection:
                    outcomes.finish(connection, results, desk.now, dedup)
                break
            except psycopg.OperationalError:
                time.sleep(FINISH_SECONDS)
        raise
