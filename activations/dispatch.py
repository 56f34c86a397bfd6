"""Dispatch: everything that is due at one moment, sent through one provider, each message once.

Belongs here: rounds of reserving, judging and sending, and the summary of a moment.
Keep out: states (`outbox.py`), verdicts (`recheck.py`), one request (`exchange.py`).
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg import Connection

from activations import consent, outbox, pauses, recheck, unanswered, wallet
from activations.consent import Change
from activations.exchange import Desk, Exchanged, Sender, exchange, items
from activations.pace import Pace
from activations.pauses import Standing
from activations.providers import GONE_CODES, OPT_OUT_CODES
from activations.providers.seam import Batch, ItemResult, MessageProvider, Outcome
from activations.recheck import Verdict
from warehouse import Warehouse

# How many messages are looked at in one go. No change of consent commits meanwhile; a round ends
# after the request under way when somebody waits to make one.
BATCH_RESERVATION, SINGLE_RESERVATION = 1000, 25
# How many refused batches of a round are cut in two to find whom the provider means: enough for
# four among a thousand. When everything is refused, the rest fails with the answer it got.
PARTED_BATCHES = 40


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
class _Round:
    batches: tuple[Batch, ...]
    verdicts: tuple[Verdict, ...]
    refused: tuple[ItemResult, ...]


def send_due(
    warehouse: Warehouse,
    now: datetime,
    provider: MessageProvider,
    sender: Sender | None,
    owner: str | None = None,
    pace: Pace | None = None,
) -> SendSummary:
    """Send what is due at `now` on the provider's channel; returns what became of it.

    `now` is business time; `sender` is `http.send` with its client bound, or None for a dry run,
    which renders, records and calls nobody; `owner` tells dispatchers apart that run at once, and
    is otherwise the session's number;
    `pace` is the account's token bucket, None where requests cost nobody anything (stand-ins).
    Safe to run twice at the same moment and from several processes. A limit of the provider,
    its failures or refused credentials end the run; what is left stays due for a later one.
    """
    with warehouse.connect() as connection:
        connection.autocommit = True
        return _send_due(
            Desk(warehouse, connection, now, provider, sender, _owner(connection, owner), pace)
        )


def send_until(
    warehouse: Warehouse,
    after: datetime,
    until: datetime,
    provider: MessageProvider,
    sender: Sender | None,
    set_clock: Callable[[datetime], None],
    owner: str | None = None,
) -> SendSummary:
    """Send at every moment in (after, until] at which something is due; for a simulated day.

    `set_clock` is told each moment before it is played. The moments are asked for anew after
    each one, since sending may plan again.
    """
    total, now = SendSummary(), after
    with warehouse.connect() as connection:
        connection.autocommit = True
        name = _owner(connection, owner)
        while due := outbox.due_times(connection, now, until, provider.name):
            now = due[0]
            set_clock(now)
            total += _send_due(Desk(warehouse, connection, now, provider, sender, name))
    return total


def _owner(connection: Connection[Any], owner: str | None) -> str:
    return owner or f"dispatch {connection.info.backend_pid}"


def _send_due(desk: Desk) -> SendSummary:
    provider, now = desk.provider, desk.now
    lost = outbox.recover(desk.connection, now, provider.name, provider.limits.dedup)["unknown"]
    summary = SendSummary({"unknown": lost} if lost else {})
    standing = pauses.standing(desk.connection, provider.name)
    again = [] if desk.sender is None else unanswered.ask_again(desk, standing)
    summary, has_sent = sum((_told(one) for one in again), summary), bool(again)
    while not (standing := pauses.standing(desk.connection, provider.name)).stops(now):
        size = _size(desk, standing)
        keys = outbox.reserve(desk.connection, now, provider.name, desk.owner, size)
        if not keys:
            break
        done, turned_away = _round(desk, keys, standing)
        summary = sum((_told(one) for one in done), summary + turned_away)
        has_sent = has_sent or bool(done)
    _close(desk, has_sent)
    return summary + SendSummary(stopped=standing.reason if standing.stops(now) else None)


def _round(
    desk: Desk, keys: Sequence[str], standing: Standing
) -> tuple[list[Exchanged], SendSummary]:
    """Judge and send what was reserved, and give back what was not begun."""
    with consent.held_while_sending(desk.connection):
        judged = _admit(desk, keys)
        done = _send(desk, judged.batches, standing)
    _heed_refusals(desk, [result for one in done for result in one.results])
    left = pauses.standing(desk.connection, desk.provider.name).paused_until
    outbox.release(desk.connection, keys, desk.owner, max(left or desk.now, desk.now))
    return done, _turned_away(judged)


def _size(desk: Desk, standing: Standing) -> int:
    if standing.is_probing:
        return 1
    return BATCH_RESERVATION if desk.provider.limits.max_items > 1 else SINGLE_RESERVATION


def _admit(desk: Desk, keys: Sequence[str]) -> _Round:
    """Judge, plan requests, and mark who is in which, all in one transaction."""
    connection, provider = desk.connection, desk.provider
    with connection.transaction():
        judged = recheck.verdicts(connection, keys, desk.now)
        passed = [one.message_key for one in judged if one.reason is None and one.send_at is None]
        found = items(connection, passed)
        refused = [result for item in found if (result := provider.admit(item)) is not None]
        wrong = {result.message_key for result in refused}
        batches = provider.plan([item for item in found if item.message_key not in wrong])
        _turn_away(connection, judged, refused, desk.owner)
        _mark(connection, batches, desk.owner)
    return _Round(tuple(batches), tuple(judged), tuple(refused))


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


def _send(desk: Desk, batches: Sequence[Batch], standing: Standing) -> list[Exchanged]:
    """Send batch by batch, until the account pauses or somebody waits to change consent."""
    done: list[Exchanged] = []
    pending, parted = deque(batches), 0
    while pending and (not done or _may_go_on(desk, standing)):
        outcome = exchange(desk, pending.popleft(), standing, may_part=parted < PARTED_BATCHES)
        if outcome is None:
            continue
        done.append(outcome)
        standing = outcome.standing
        pending.extendleft(reversed(outcome.parts))
        parted += bool(outcome.parts)
    return done


def _may_go_on(desk: Desk, standing: Standing) -> bool:
    if desk.sender is None:
        return True
    if standing.stops(desk.now) or consent.is_awaited(desk.connection):
        return False
    # Another dispatcher may have been told to wait.
    return not pauses.standing(desk.connection, desk.provider.name).stops(desk.now)


def _turned_away(judged: _Round) -> SendSummary:
    odd = [one for one in judged.verdicts if one.reason is not None or one.send_at is not None]
    statuses = Counter("replanned" if one.send_at else "skipped" for one in odd)
    reasons = Counter(str(one.reason) for one in odd if one.reason is not None)
    statuses.update({"failed": len(judged.refused)} if judged.refused else {})
    return SendSummary(dict(statuses), dict(reasons))


def _told(outcome: Exchanged) -> SendSummary:
    reasons = Counter(f"{one.outcome}:{one.code}" for one in outcome.results if _is_odd(one))
    statuses = Counter(outcome.statuses.values())
    return SendSummary(dict(statuses), dict(reasons), int(outcome.has_asked))


def _is_odd(result: ItemResult) -> bool:
    return result.outcome is not Outcome.ACCEPTED


def _heed_refusals(desk: Desk, results: Sequence[ItemResult]) -> None:
    """Write down what a provider itself says: this person opted out, that address is gone."""
    known = OPT_OUT_CODES | GONE_CODES
    codes = {one.message_key: str(one.code) for one in results if one.code in known}
    if not codes:
        return
    connection, now = desk.connection, desk.now
    with connection.transaction():
        rows = connection.execute(
            "select message_key, channel, address_hash from delivery.messages"
            " where message_key = any(%s)",
            [list(codes)],
        ).fetchall()
        said = [
            (row["channel"], row["address_hash"], codes[row["message_key"]] in OPT_OUT_CODES)
            for row in rows
        ]
        consent.suppress(
            desk.warehouse,
            [
                (channel, address, "opted_out" if is_wish else "gone", now)
                for channel, address, is_wish in said
            ],
            connection,
        )
        source = f"{desk.provider.name}:opted_out"
        words = {
            Change(channel, address, "revoked", source, now)
            for channel, address, is_wish in said
            if is_wish
        }
        consent.record(desk.warehouse, words, connection)


def _close(desk: Desk, has_sent: bool) -> None:
    """Settle the money, chain the moment's attempts, let go of tokens."""
    connection, now = desk.connection, desk.now
    with connection.transaction():
        for transaction in wallet.settlements(connection, now):
            wallet.post(desk.warehouse, connection, transaction)
        if has_sent:
            outbox.seal(connection, desk.provider.name, [now], now)
    if desk.pace is not None:
        desk.pace.give_back(connection)
