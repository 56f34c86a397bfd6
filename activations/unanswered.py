"""Unanswered requests: the same bytes under the same key, while the provider remembers the key.

Belongs here: finding them, making them again from what was kept, giving them up.
Keep out: providers without keys; theirs are settled by webhook or look-up (`settlement.py`).

A batch is asked again whole or not at all: its membership is part of what the key stands for. So
when one of its members may not hear from us any more, it is not asked, and stays unknown.
"""

from dataclasses import dataclass
from datetime import datetime

from activations import consent, recheck
from activations.exchange import Desk, Exchanged, exchange, items
from activations.outbox import LEASE, window
from activations.pauses import Standing
from activations.providers.seam import Batch


@dataclass(frozen=True)
class Unanswered:
    """A request that went out: its key, those still waiting, and all that were in it."""

    batch_key: str
    waiting: tuple[str, ...]
    members: tuple[str, ...]
    first_at: datetime


def ask_again(desk: Desk, standing: Standing) -> list[Exchanged]:
    """Ask for every lost answer that is due and may still be asked for."""
    done: list[Exchanged] = []
    while not standing.stops(desk.now) and (held := _lease(desk)) is not None:
        with consent.held_while_sending(desk.connection):
            outcome = _again(desk, held, standing)
        if outcome is not None:
            done.append(outcome)
            standing = outcome.standing
    return done


def _again(desk: Desk, held: Unanswered, standing: Standing) -> Exchanged | None:
    with desk.connection.transaction():
        judged = recheck.verdicts(desk.connection, held.members, desk.now)
        objection = next((one.reason for one in judged if one.reason is not None), None)
        later = max((one.send_at for one in judged if one.send_at is not None), default=None)
        batch = _same(desk, held)
        may_ask = window(desk.provider.limits.dedup)
        if may_ask is None or (later or desk.now) >= held.first_at + may_ask:
            objection = objection or "key_forgotten"
        if batch is None:
            objection = "payload_changed"
        if objection is not None or later is not None:
            _put_back(desk, held, None if objection else later, objection)
            return None
    return exchange(desk, batch, standing, held.waiting) if batch is not None else None


def _lease(desk: Desk) -> Unanswered | None:
    """Take one request whose answer was lost, if one is due."""
    with desk.connection.transaction():
        row = desk.connection.execute(
            """
            with due as (
                select batch_key
                from delivery.messages
                where
                    status = 'unknown' and provider = %(provider)s
                    and next_attempt_at <= %(now)s and leased_by is null
                order by next_attempt_at, batch_key
                limit 1
            ),

            leased as (
                update delivery.messages as held
                set leased_by = %(owner)s, lease_expires_at = %(until)s
                from due
                where
                    held.batch_key = due.batch_key and held.status = 'unknown'
                    and held.provider = %(provider)s
                    and held.leased_by is null and held.next_attempt_at is not null
                returning held.message_key, held.batch_key
            )

            select min(batch_key) as batch_key, array_agg(message_key order by message_key) as keys
            from leased
            """,
            {
                "provider": desk.provider.name, "now": desk.now, "owner": desk.owner,
                "until": desk.now + LEASE,
            },
        ).fetchone()  # fmt: skip
        if row is None or row["batch_key"] is None:
            return None
        asked = desk.connection.execute(
            "select array_agg(distinct message_key) as keys, min(attempted_at) as first_at"
            " from delivery.send_attempts where batch_key = %s",
            [row["batch_key"]],
        ).fetchone()
    assert asked is not None
    return Unanswered(
        row["batch_key"], tuple(row["keys"]), tuple(sorted(asked["keys"])), asked["first_at"]
    )


def _same(desk: Desk, held: Unanswered) -> Batch | None:
    """The request as it went out, or None where it cannot be made again byte for byte."""
    batches = desk.provider.plan(items(desk.connection, held.members))
    is_same = len(batches) == 1 and batches[0].key == held.batch_key
    return batches[0] if is_same else None


def _put_back(
    desk: Desk, held: Unanswered, again_at: datetime | None, objection: str | None
) -> None:
    """Back to unknown: until `again_at`, or for good where something speaks against asking."""
    desk.connection.execute(
        "update delivery.messages set leased_by = null, lease_expires_at = null,"
        " next_attempt_at = %s, reason = coalesce(%s, reason)"
        " where message_key = any(%s) and status = 'unknown' and leased_by = %s",
        [
            again_at,
            None if objection is None else f"not_asked_again:{objection}",
            list(held.waiting),
            desk.owner,
        ],
    )
