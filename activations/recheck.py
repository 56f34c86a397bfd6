"""The last look before a message goes out: consent, suppression, merges, expiry, hours, caps.

Belongs here: the facts of reserved messages at this moment and the verdict on each. A verdict
can only skip a message, or move it to the next allowed hour.
Keep out: moving the message (`dispatch.py`), the rules of planning (`guardrails.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from activations import consent, frequency, persons, quiet_hours, switches
from activations.frequency import Touch
from activations.programs import Guardrails, House, Program, ProgramError, house, load, under

# Whoever checks caps and marks what passed does it alone, so that two dispatchers of different
# channels cannot both believe to be the first of the day.
CAPS_LOCK = 0x10095D87
# Two messages of one program for two persons who turned out to be one, planned this close.
TWINS = timedelta(days=7)
# Why a message is skipped, in order of looking; then the caps of `frequency.CAPS`.
FORBIDS = (
    "expired", "switched_off", "no_consent", "no_written_consent", "topic_refused", "suppressed",
    "not_their_address", "merged_duplicate",
)  # fmt: skip

FACTS = f"""
    with latest as ({consent.LATEST}), suppressed as ({consent.SUPPRESSED}),
    topics as ({consent.TOPICS})
    select
        messages.message_key, messages.program, messages.channel, messages.send_at,
        messages.expires_at, decisions.step,
        coalesce(merged.survivor, messages.person_id) as person_id,
        messages.person_id as planned_person_id,
        coalesce(latest.status = 'granted', false) as is_granted,
        coalesce(topics.status = 'revoked', false) as is_refused,
        suppressed.channel is not null as is_suppressed,
        own.is_theirs, own.is_written,
        profiles.time_zone, profiles.country
    from delivery.messages as messages
    inner join delivery.decisions as decisions using (decision_id)
    left join unnest(%(absorbed)s::text[], %(survivors)s::text[]) as merged (absorbed, survivor)
        on messages.person_id = merged.absorbed
    left join latest
        on messages.channel = latest.channel and messages.address_hash = latest.address_hash
    left join suppressed
        on
            messages.channel = suppressed.channel
            and messages.address_hash = suppressed.address_hash
    left join topics
        on
            messages.channel = topics.channel
            and messages.address_hash = topics.address_hash
            and topics.scope = 'marketing:' || messages.program
    cross join lateral (
        select count(*) > 0 as is_theirs, coalesce(bool_and({consent.WRITTEN}), true) as is_written
        from identity.contact_points as points
        where
            points.person_id in (merged.survivor, messages.person_id)
            and points.channel = messages.channel
            and {consent.HASH} = messages.address_hash
    ) as own
    left join identity.profiles as profiles
        on coalesce(merged.survivor, messages.person_id) = profiles.person_id
    where messages.message_key = any(%(keys)s)
    order by messages.send_at, messages.message_key
"""
# What reached these persons in the last days, or is on its way right now in other hands.
HEARD = """
    select
        coalesce(merged.survivor, messages.person_id) as person_id,
        messages.person_id as planned_person_id, messages.program, decisions.step,
        coalesce(messages.sent_at, %(now)s) as sent_at
    from delivery.messages as messages
    inner join delivery.decisions as decisions using (decision_id)
    left join unnest(%(absorbed)s::text[], %(survivors)s::text[]) as merged (absorbed, survivor)
        on messages.person_id = merged.absorbed
    where
        messages.person_id = any(%(everybody)s)
        and not messages.message_key = any(%(keys)s)
        and (
            (messages.sent_at > %(since)s and messages.sent_at <= %(now)s)
            or messages.status = 'sending'
            or (messages.status = 'reserved' and messages.batch_key is not null)
        )
"""


@dataclass(frozen=True)
class Verdict:
    """Send (no reason), skip (reason), or send at another time (`send_at`)."""

    message_key: str
    reason: str | None = None
    send_at: datetime | None = None


def verdicts(connection: Any, keys: Sequence[str], now: datetime) -> list[Verdict]:
    """Judge reserved messages at `now`, the earliest planned first.

    Takes the caps lock: commit soon. Of several messages to one person the first passes.
    """
    connection.execute("select pg_advisory_xact_lock(%s)", [CAPS_LOCK])
    merged = persons.survivors(connection)
    hashes = connection.execute(
        "select address_hash from delivery.messages where message_key = any(%s)", [list(keys)]
    ).fetchall()
    params = {
        "keys": list(keys),
        "hashes": [row["address_hash"] for row in hashes],
        "at": now,
        "now": now,
        "hears_all": True,
        "absorbed": list(merged),
        "survivors": list(merged.values()),
    }
    rows = connection.execute(FACTS, params).fetchall()
    home, off = persons.workspace(connection), switches.off(connection)
    own = house(home.guardrails, "guardrails")
    rules = {name: _rules(name, own) for name in sorted({row["program"] for row in rows})}
    since = now - max([TWINS, *(frequency.look_back(held) for held in rules.values())])
    heard = _heard(connection, rows, merged, params | {"since": since})
    out = []
    for row in rows:
        others = heard.setdefault(row["person_id"], [])
        verdict = _verdict(row, others, rules[row["program"]], home.time_zone, now, off)
        if verdict.reason is None and verdict.send_at is None:
            others.append({**row, "sent_at": now})
        out.append(verdict)
    return out


def _heard(
    connection: Any,
    rows: Sequence[Mapping[str, Any]],
    merged: Mapping[str, str],
    params: Mapping[str, Any],
) -> dict[str, list[Mapping[str, Any]]]:
    people = {row["person_id"] for row in rows}
    everybody = people | {gone for gone, survivor in merged.items() if survivor in people}
    found = connection.execute(HEARD, {**params, "everybody": list(everybody)})
    heard: dict[str, list[Mapping[str, Any]]] = {}
    for row in found:
        heard.setdefault(row["person_id"], []).append(row)
    return heard


def _verdict(
    row: Mapping[str, Any],
    heard: Sequence[Mapping[str, Any]],
    rules: Guardrails,
    workspace_zone: str,
    now: datetime,
    off: switches.Off,
) -> Verdict:
    key = row["message_key"]
    if reason := _forbidden(row, heard, now, off):
        return Verdict(key, reason)
    zone = quiet_hours.zone_of(row["time_zone"], row["country"], workspace_zone)
    allowed = quiet_hours.next_allowed(now, zone)
    if allowed > now:
        return _later(row, allowed)
    return _frequency(row, heard, rules, zone, now)


def _forbidden(
    row: Mapping[str, Any], heard: Sequence[Mapping[str, Any]], now: datetime, off: switches.Off
) -> str | None:
    stands = (
        now >= row["expires_at"],
        off.stops(row["program"], row["channel"]),
        not row["is_granted"],
        not row["is_written"],
        row["is_refused"],
        row["is_suppressed"],
        # Planned while two persons were taken for one: the address is the other's.
        not row["is_theirs"],
        any(_is_twin(row, other) for other in heard),
    )
    return next((reason for reason, stops in zip(FORBIDS, stands, strict=True) if stops), None)


def _later(row: Mapping[str, Any], moment: datetime) -> Verdict:
    is_over = moment >= row["expires_at"]
    return Verdict(row["message_key"], *(("expired",) if is_over else (None, moment)))


def _is_twin(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """The same program's same step, planned for another person who is now this one."""
    return (
        other["program"] == row["program"]
        and other["step"] == row["step"]
        and other["planned_person_id"] != row["planned_person_id"]
    )


def _frequency(
    row: Mapping[str, Any],
    heard: Sequence[Mapping[str, Any]],
    rules: Guardrails,
    zone: str,
    now: datetime,
) -> Verdict:
    """Caps skip, the minimum gap moves: counted as at planning, but at this moment."""
    touches = [Touch(other["program"], other["sent_at"]) for other in heard]
    if reason := frequency.reached(rules, row["program"], touches, zone, now):
        return Verdict(row["message_key"], reason)
    rested = frequency.rested_at(rules, touches)
    if rested is None or rested <= now:
        return Verdict(row["message_key"])
    return _later(row, quiet_hours.next_allowed(rested, zone))


def _rules(program: str, house: House) -> Guardrails:
    """A program's rules in this workspace; one whose file is gone is held to the house's."""
    try:
        return under(_shipped(program), house).guardrails
    except ProgramError:
        return Guardrails.model_validate(dict(house.everywhere))


@lru_cache(maxsize=64)
def _shipped(program: str) -> Program:
    return load(program)
