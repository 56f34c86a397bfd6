"""Settlement: what providers told us afterwards, applied to messages, addresses and consent.

Belongs here: ranks of progress, bounces, complaints, unsubscribes, opt-outs by reply.
Keep out: reading webhooks (`providers/`, `ingestion/`), rewards and rates (dbt).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from activations import consent
from activations.consent import Change
from activations.providers import OPT_OUT_CODES
from warehouse import Warehouse

SOFT_BOUNCES = 3
# Progress only: a late event of a lower rank changes nothing. A failure after a delivery is an
# asynchronous bounce, so failure ranks highest.
MOVES = """
    with news as (
        select
            message_key,
            max(case
                when type in ('bounce', 'dropped', 'failed', 'undelivered') then 3
                when type in ('delivered', 'open', 'machine_open', 'click', 'complaint',
                    'unsubscribe') then 2
                when type in ('processed', 'sent', 'deferred', 'soft_bounce') then 1
                else 0
            end) as rank,
            min(type) filter (
                where type in ('bounce', 'dropped', 'failed', 'undelivered')
            ) as failure,
            min(occurred_at) as first_at
        from raw.provider_events
        where message_key is not null and occurred_at <= %(as_of)s
        group by message_key
    ),

    ranked as (
        select
            messages.message_key, news.rank, news.failure, news.first_at,
            case messages.status
                when 'failed' then 3 when 'delivered' then 2 when 'accepted' then 1 else 0
            end as held_rank
        from news
        inner join delivery.messages as messages using (message_key)
        where messages.status in ('accepted', 'delivered', 'unknown')
    )

    update delivery.messages as held
    set
        status = (array['accepted', 'delivered', 'failed'])[ranked.rank],
        reason = ranked.failure,
        sent_at = coalesce(held.sent_at, ranked.first_at),
        next_attempt_at = null, leased_by = null, lease_expires_at = null
    from ranked
    where held.message_key = ranked.message_key and ranked.rank > ranked.held_rank
    returning held.status
"""
# Events by address: through the message they answer, or for a reply through the number it is from.
BY_ADDRESS = """
    select
        events.type, events.occurred_at, events.provider,
        coalesce(messages.channel, case events.provider
            when 'twilio' then 'sms' when 'whatsapp' then 'whatsapp'
            when 'webhook' then coalesce(
                (array['sms', 'push', 'whatsapp'])[array_position(
                    array['sms', 'push', 'whatsapp'], events.payload ->> 'channel')], 'email')
            else 'email'
        end) as channel,
        coalesce(
            messages.address_hash,
            encode(sha256(convert_to(
                case events.provider
                    when 'twilio' then events.payload ->> case events.type
                        when 'unsubscribe' then 'From' else 'To'
                    end
                    when 'whatsapp' then '+' || coalesce(
                        events.payload ->> 'from', events.payload ->> 'wa_id',
                        events.payload ->> 'recipient_id'
                    )
                    when 'resend' then lower(trim(coalesce(
                        events.payload #>> '{data,email}', events.payload #>> '{data,to,0}'
                    )))
                    when 'webhook' then case
                        when events.payload ->> 'channel' = 'email'
                            then lower(trim(events.payload ->> 'address'))
                        else events.payload ->> 'address'
                    end
                    else events.payload ->> 'email'
                end, 'UTF8'
            )), 'hex')
        ) as address_hash,
        coalesce(events.payload ->> 'ErrorCode', events.payload #>> '{errors,0,code}', '')
            = any(%(opted_out)s) as is_opted_out
    from raw.provider_events as events
    left join delivery.messages as messages using (message_key)
    where
        events.occurred_at <= %(as_of)s
        and (
            events.type in ('bounce', 'soft_bounce', 'complaint', 'unsubscribe')
            or coalesce(events.payload ->> 'ErrorCode', events.payload #>> '{errors,0,code}')
                = any(%(opted_out)s)
        )
    order by events.occurred_at, events.provider, events.provider_event_id
"""


@dataclass(frozen=True)
class Settled:
    """How many messages moved, and how many suppressions and consent changes are new."""

    messages: int
    suppressions: int
    consent_changes: int


def settle(warehouse: Warehouse, as_of: datetime) -> Settled:
    """Apply every provider event up to `as_of`. Idempotent: the same events change nothing twice.

    An unknown message whose event came is known after all. A hard bounce suppresses at once, the
    third soft bounce too; complaints, unsubscribes and opt-out codes suppress and revoke consent.
    What waited for a review until it expired is skipped.
    """
    with warehouse.transaction() as connection:
        events = connection.execute(
            BY_ADDRESS, {"as_of": as_of, "opted_out": sorted(OPT_OUT_CODES)}
        ).fetchall()
        # First of all, for it waits until no request is under way: a row of the outbox held
        # meanwhile could be one that a sender needs in order to end.
        suppressed = consent.suppress(warehouse, _suppressions(events), connection)
        words = consent.record(warehouse, _changes(events), connection)
        moved = connection.execute(MOVES, {"as_of": as_of}).rowcount
        moved += connection.execute(
            "update delivery.messages set status = 'skipped', reason = 'expired'"
            " where status = 'held' and expires_at <= %s",
            [as_of],
        ).rowcount
    return Settled(moved, suppressed, words)


def _suppressions(events: list[dict[str, Any]]) -> list[tuple[str, str, str, datetime]]:
    out, soft = [], dict[tuple[str, str], int]()
    for event in events:
        address = (event["channel"], event["address_hash"])
        reason = _refusal(event)
        if event["type"] == "bounce":
            reason = "hard_bounce"
        elif event["type"] == "soft_bounce":
            soft[address] = soft.get(address, 0) + 1
            reason = "soft_bounces" if soft[address] >= SOFT_BOUNCES else None
        if reason and address[1]:
            out.append((*address, reason, event["occurred_at"]))
    return out


def _changes(events: list[dict[str, Any]]) -> list[Change]:
    out = {}
    for event in events:
        reason = _refusal(event)
        if event["address_hash"] is None or reason is None:
            continue
        source = f"{event['provider']}:{reason}"
        key = (event["channel"], event["address_hash"], source, event["occurred_at"])
        out[key] = Change(key[0], key[1], "revoked", source, event["occurred_at"])
    return list(out.values())


def _refusal(event: dict[str, Any]) -> str | None:
    if event["is_opted_out"]:
        return "opted_out"
    return event["type"] if event["type"] in ("complaint", "unsubscribe") else None
