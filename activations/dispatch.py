"""Dispatch: everything that is due at one moment, sent through one provider, each message once.

Belongs here: the order of steps around a request, and the summary of a moment.
Keep out: states (`outbox.py`), verdicts (`recheck.py`), wire formats (`providers/`).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg import Connection

from activations import consent, outbox, recheck, wallet
from activations.consent import Change
from activations.http import Answer, Request
from activations.providers.seam import Batch, Item, ItemResult, MessageProvider, Outcome
from activations.recheck import Verdict
from warehouse import Warehouse

Sender = Callable[[Request], Answer]
# How many messages are looked at in one go. No change of consent commits meanwhile, so where a
# message is a request the number stays small enough for a webhook to be answered in time.
BATCH_RESERVATION, SINGLE_RESERVATION = 1000, 25
# The provider itself says that the person opted out.
OPT_OUT_CODES = frozenset({"21610"})


@dataclass(frozen=True)
class SendSummary:
    """What happened at one moment: messages by new status, and by reason where there is one."""

    by_status: Mapping[str, int] = field(default_factory=dict)
    by_reason: Mapping[str, int] = field(default_factory=dict)
    requests: int = 0
    stopped: str | None = None

    def __add__(self, other: "SendSummary") -> "SendSummary":
        return SendSummary(
            Counter(self.by_status) + Counter(other.by_status),
            Counter(self.by_reason) + Counter(other.by_reason),
            self.requests + other.requests,
            self.stopped or other.stopped,
        )


@dataclass(frozen=True)
class _Desk:
    """One dispatcher at work at one moment. The connection commits step by step."""

    warehouse: Warehouse
    connection: Connection[Any]
    now: datetime
    provider: MessageProvider
    sender: Sender | None
    owner: str


@dataclass(frozen=True)
class _Round:
    batches: tuple[Batch, ...]
    verdicts: tuple[Verdict, ...]
    refused: tuple[ItemResult, ...]


def send_due(
    warehouse: Warehouse,
    now: datetime,
    provider: MessageProvider,
    sender: Sender | None,
    owner: str = "dispatch",
) -> SendSummary:
    """Send what is due at `now` on the provider's channel; returns what became of it.

    `now` is business time; `sender` is `http.send` with its client bound, or None for a dry run,
    which renders, records and calls nobody; `owner` tells dispatchers apart that run at once.
    Safe to run twice at the same moment and from several processes. Credentials that a provider
    refuses stop the round; its messages stay due.
    """
    with warehouse.connect() as connection:
        connection.autocommit = True
        return _send_due(_Desk(warehouse, connection, now, provider, sender, owner))


def send_until(
    warehouse: Warehouse,
    after: datetime,
    until: datetime,
    provider: MessageProvider,
    sender: Sender | None,
    set_clock: Callable[[datetime], None],
    owner: str = "dispatch",
) -> SendSummary:
    """Send at every moment in (after, until] at which something is due; for a simulated day.

    `set_clock` is told each moment before it is played. The moments are asked for anew after
    each one, since sending may plan again.
    """
    total, now = SendSummary(), after
    with warehouse.connect() as connection:
        connection.autocommit = True
        while due := outbox.due_times(connection, now, until, provider.name):
            now = due[0]
            set_clock(now)
            total += _send_due(_Desk(warehouse, connection, now, provider, sender, owner))
    return total


def _send_due(desk: "_Desk") -> SendSummary:
    provider, now = desk.provider, desk.now
    lost = outbox.recover(desk.connection, now, provider.name)["unknown"]
    summary = SendSummary({"unknown": lost} if lost else {})
    size = BATCH_RESERVATION if provider.limits.max_items > 1 else SINGLE_RESERVATION
    has_sent, keys = False, list[str]()
    while summary.stopped is None:
        keys = outbox.reserve(desk.connection, now, provider.name, desk.owner, size)
        if not keys:
            break
        with consent.held_while_sending(desk.connection):
            done, results = _send(desk, _admit(desk, keys))
        _heed_opt_outs(desk, results)
        has_sent = has_sent or bool(results)
        summary = summary + done
    _close(desk, keys, has_sent)
    return summary


def _admit(desk: _Desk, keys: Sequence[str]) -> _Round:
    """Judge, plan requests, and mark who is in which, all in one transaction."""
    connection, provider = desk.connection, desk.provider
    with connection.transaction():
        judged = recheck.verdicts(connection, keys, desk.now)
        passed = [one.message_key for one in judged if one.reason is None and one.send_at is None]
        items = _items(connection, passed)
        refused = [result for item in items if (result := provider.admit(item)) is not None]
        wrong = {result.message_key for result in refused}
        batches = provider.plan([item for item in items if item.message_key not in wrong])
        _turn_away(connection, judged, refused, desk.owner)
        _mark(connection, batches, desk.owner)
    return _Round(tuple(batches), tuple(judged), tuple(refused))


def _items(connection: Any, keys: Sequence[str]) -> list[Item]:
    rows = connection.execute(
        "select body from delivery.payloads where message_key = any(%s) order by message_key",
        [list(keys)],
    )
    return [
        Item(**row["body"] | {"headers": tuple(tuple(pair) for pair in row["body"]["headers"])})
        for row in rows
    ]


def _turn_away(
    connection: Any, judged: Sequence[Verdict], refused: Sequence[ItemResult], owner: str
) -> None:
    changes = [
        (one.message_key, "planned" if one.send_at else "skipped", one.reason, one.send_at)
        for one in judged
        if one.reason is not None or one.send_at is not None
    ]
    changes += [(one.message_key, "failed", f"permanent:{one.code}", None) for one in refused]
    connection.execute(
        "update delivery.messages as held set status = news.status, reason = news.reason,"
        " send_at = coalesce(news.send_at, held.send_at), leased_by = null,"
        " lease_expires_at = null"
        " from unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[])"
        " as news (message_key, status, reason, send_at)"
        " where held.message_key = news.message_key and held.leased_by = %s",
        [*([change[column] for change in changes] for column in range(4)), owner],
    )


def _mark(connection: Any, batches: Sequence[Batch], owner: str) -> None:
    pairs = [(item.message_key, batch.key) for batch in batches for item in batch.items]
    connection.execute(
        "update delivery.messages as held set batch_key = news.batch_key"
        " from unnest(%s::text[], %s::text[]) as news (message_key, batch_key)"
        " where held.message_key = news.message_key and held.leased_by = %s",
        [[key for key, _ in pairs], [batch for _, batch in pairs], owner],
    )


def _send(desk: _Desk, plan: _Round) -> tuple[SendSummary, list[ItemResult]]:
    statuses = Counter(
        "replanned" if one.send_at else "skipped"
        for one in plan.verdicts
        if one.reason is not None or one.send_at is not None
    )
    reasons = Counter(str(one.reason) for one in plan.verdicts if one.reason is not None)
    statuses.update({"failed": len(plan.refused)} if plan.refused else {})
    everything: list[ItemResult] = []
    requests, stopped = 0, None
    for batch in plan.batches:
        if stopped is not None or not _begin(desk, batch):
            continue
        requests += desk.sender is not None
        results = _ask(desk, batch)
        statuses.update(outbox.finish(desk.connection, results, desk.now).values())
        reasons.update(f"{one.outcome}:{one.code}" for one in results if _is_odd(one))
        everything += results
        if any(result.outcome is Outcome.AUTH for result in results):
            stopped = f"{desk.provider.name} refuses our credentials"
    return SendSummary(dict(statuses), dict(reasons), requests, stopped), everything


def _begin(desk: _Desk, batch: Batch) -> bool:
    return outbox.begin(desk.warehouse, desk.connection, batch, desk.owner, desk.now)


def _ask(desk: _Desk, batch: Batch) -> list[ItemResult]:
    if desk.sender is None:
        return [
            ItemResult(item.message_key, Outcome.BLOCKED, code=outbox.DRY_RUN)
            for item in batch.items
        ]
    answer = desk.sender(desk.provider.request(batch))
    return desk.provider.parse(batch, answer, desk.now)


def _is_odd(result: ItemResult) -> bool:
    return result.outcome is not Outcome.ACCEPTED


def _heed_opt_outs(desk: _Desk, results: Sequence[ItemResult]) -> None:
    keys = [one.message_key for one in results if one.code in OPT_OUT_CODES]
    if not keys:
        return
    connection, now = desk.connection, desk.now
    with connection.transaction():
        rows = connection.execute(
            "select channel, address_hash from delivery.messages where message_key = any(%s)",
            [keys],
        ).fetchall()
        source = f"{desk.provider.name}:opted_out"
        consent.suppress(
            desk.warehouse,
            [(row["channel"], row["address_hash"], "opted_out", now) for row in rows],
            connection,
        )
        words = {
            Change(row["channel"], row["address_hash"], "revoked", source, now) for row in rows
        }
        consent.record(desk.warehouse, words, connection)


def _close(desk: _Desk, left: Sequence[str], has_sent: bool) -> None:
    """Give back what was leased and not begun, settle the money, chain the moment's attempts."""
    connection, now = desk.connection, desk.now
    with connection.transaction():
        outbox.release(connection, left, desk.owner, now + outbox.AUTH_RETRY)
        for transaction in wallet.settlements(connection, now):
            wallet.post(desk.warehouse, connection, transaction)
        if has_sent:
            outbox.seal(connection, desk.provider.name, [now], now)
