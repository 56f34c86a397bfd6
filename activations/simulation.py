"""Simulation: the last days under other guardrails, what would be lost and gained, and its worth.

Belongs here: reading receipts, messages and matured rewards, comparing two replays.
Keep out: judging (`replay.py`, which calls the guardrails), printing. Writes nothing.

Both replays start from the same receipts: one under the present rules, one under the others. Only
their difference is told, so what a receipt does not know weighs on both alike; how often the
first of them comes to what really happened is told too.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from activations import frequency, persons, quiet_hours, replay
from activations.programs import House, Program, house, under
from activations.replay import Key, Outcome, Receipt, Said
from warehouse import Warehouse

UNKNOWN = "unknown"
Z95 = 1.959964
# A receipt speaks until the next one of its occasion. The last one speaks for the days after it
# only where the occasion is still in the audience; else nobody knows when it ended.
RECEIPTS = """
    with open_now as ({open_now}),
    told as (
        select
            decisions.*,
            lead(as_of) over (
                partition by program, opportunity_id, step order by as_of, decision_id
            ) as next_at
        from delivery.decisions as decisions
        where program = any(%(programs)s)
    )
    select
        told.program, told.opportunity_id, told.step, told.assignment, told.arm, told.reason,
        told.as_of, told.next_at, told.verdicts, told.outcome,
        coalesce(merged.survivor, told.person_id) as person_id,
        open_now.opportunity_id is not null as is_open,
        profiles.time_zone, profiles.country, stats.engagement_score::float8 as engagement,
        messages.status, messages.reason as message_reason, messages.send_at, messages.expires_at,
        messages.sent_at
    from told
    left join open_now using (program, opportunity_id, step)
    left join unnest(%(absorbed)s::text[], %(survivors)s::text[]) as merged (absorbed, survivor)
        on told.person_id = merged.absorbed
    left join delivery.messages as messages on told.decision_id = messages.decision_id
    left join identity.profiles as profiles
        on coalesce(merged.survivor, told.person_id) = profiles.person_id
    left join marts.person_stats as stats
        on coalesce(merged.survivor, told.person_id) = stats.person_id
    where
        told.as_of > %(start)s
        or (
            told.outcome = 'silence'
            and (told.next_at > %(start)s
                or (told.next_at is null and open_now.opportunity_id is not null))
        )
    order by told.program, told.opportunity_id, told.step, told.as_of
"""
# What was decided before the window and is heard within its look-back, or was still to come.
BEFORE = """
    select
        coalesce(merged.survivor, messages.person_id) as person_id, messages.program,
        decisions.as_of, messages.status, messages.reason as message_reason, messages.send_at,
        messages.expires_at, messages.sent_at
    from delivery.messages as messages
    inner join delivery.decisions as decisions using (decision_id)
    left join unnest(%(absorbed)s::text[], %(survivors)s::text[]) as merged (absorbed, survivor)
        on messages.person_id = merged.absorbed
    where
        (decisions.as_of <= %(start)s or not messages.program = any(%(programs)s))
        and (messages.sent_at > %(since)s or messages.send_at > %(start)s)
    order by messages.message_key
"""
MOMENTS = """
    select distinct as_of
    from delivery.decisions
    where as_of > %(start)s and as_of <= %(until)s and program = any(%(programs)s)
    order by as_of
"""
REWARDS = """
    select
        program, reward_kind, count(*) as messages, avg(reward)::float8 as mean,
        coalesce(stddev_samp(reward), 0)::float8 as deviation
    from marts.bandit_feedback
    where is_matured and program = any(%(programs)s)
    group by program, reward_kind
"""
UNITS = {"click": "clicks", "conversion": "conversions", "revenue": "revenue"}


@dataclass(frozen=True)
class Worth:
    """What a message of a program earned on average, with a 95 % interval, in `unit`."""

    unit: str
    mean: float
    lower: float
    upper: float
    matured_count: int


@dataclass(frozen=True)
class Change:
    """Sends lost and gained in one program for one reason, and what their difference is worth.

    The values are None where no reward of the program has matured yet.
    """

    program: str
    reason: str
    sends_lost: int
    sends_gained: int
    value: float | None
    value_lower: float | None
    value_upper: float | None
    unit: str | None


@dataclass(frozen=True)
class Simulation:
    """The last days under other rules. `agreeing_count` of `occasion_count` occasions end under
    the present rules as they really did; the further apart, the less to believe."""

    since: datetime
    until: datetime
    run_count: int
    occasion_count: int
    agreeing_count: int
    sends_before: int
    sends_after: int
    changes: list[Change]
    worths: dict[str, Worth | None]


def simulate(
    warehouse: Warehouse, programs: Sequence[Program], other: House, until: datetime, days: int
) -> Simulation:
    """Replay the `days` days before and including `until` under the present rules and `other`.

    `other` is laid over the workspace's own house rules: what it does not name stays. Reads only.
    """
    start = until - timedelta(days=days)
    with warehouse.transaction() as connection:
        connection.execute("set transaction read only")
        home = persons.workspace(connection)
        own = house(home.guardrails, "guardrails")
        present = [under(program, own) for program in programs]
        rules = [under(program, _laid_over(own, other)) for program in programs]
        params = _params(connection, [*present, *rules], start, until)
        past = _past(connection, programs, params, home.time_zone)
        worths = _worths(connection, params["programs"])
    base = replay.replay(past.receipts, past.before, present, present, past.moments)
    news = replay.replay(past.receipts, past.before, rules, present, past.moments)
    real = _really_sent(past.receipts, start)
    return Simulation(
        since=start,
        until=until,
        run_count=len(past.moments),
        occasion_count=len(real),
        agreeing_count=sum((key in base.sent) == was_sent for key, was_sent in real.items()),
        sends_before=len(base.sent),
        sends_after=len(news.sent),
        changes=changes(base, news, worths),
        worths=worths,
    )


def changes(base: Outcome, news: Outcome, worths: Mapping[str, Worth | None]) -> list[Change]:
    """What one replay sends and the other does not, by program and by what kept the other."""
    lost = Counter(
        (key[0], _why(news, key, at)) for key, at in base.sent.items() if key not in news.sent
    )
    gained = Counter(
        (key[0], _why(base, key, at)) for key, at in news.sent.items() if key not in base.sent
    )
    return [
        _change(*pair, lost[pair], gained[pair], worths) for pair in sorted(lost.keys() | gained)
    ]


def _why(silent: Outcome, key: Key, at: datetime) -> str:
    """What kept a replay from saying what the other one decided `at` that moment."""
    return silent.undelivered.get(key) or silent.silences.get((key, at), UNKNOWN)


def _change(
    program: str, reason: str, lost: int, gained: int, worths: Mapping[str, Worth | None]
) -> Change:
    worth, count = worths.get(program), gained - lost
    if worth is None:
        return Change(program, reason, lost, gained, None, None, None, None)
    low, high = sorted((count * worth.lower, count * worth.upper))
    return Change(program, reason, lost, gained, count * worth.mean, low, high, worth.unit)


def worth(kind: str, count: int, mean: float, deviation: float) -> Worth | None:
    """What one message earns, from matured rewards; None where there is none.

    Clicks and conversions: Wilson's score interval (Wilson 1927, doi:10.2307/2276774), which is
    right for rare events and few messages. Revenue: the mean and 1.96 standard errors.
    """
    if count == 0:
        return None
    if kind == "revenue":
        half = Z95 * deviation / math.sqrt(count)
        return Worth(UNITS[kind], mean, max(mean - half, 0.0), mean + half, count)
    spread = Z95**2 / count
    centre = (mean + spread / 2) / (1 + spread)
    half = Z95 / (1 + spread) * math.sqrt(mean * (1 - mean) / count + spread / (4 * count))
    return Worth(UNITS[kind], mean, max(centre - half, 0.0), min(centre + half, 1.0), count)


def _laid_over(own: House, other: House) -> House:
    names = own.by_program.keys() | other.by_program.keys()
    return House(
        {**own.everywhere, **other.everywhere},
        {
            name: {**own.by_program.get(name, {}), **other.by_program.get(name, {})}
            for name in sorted(names)
        },
    )


@dataclass(frozen=True)
class _Past:
    """What a replay starts from."""

    moments: Sequence[datetime] = ()
    receipts: Sequence[Receipt] = ()
    before: Sequence[Said] = ()


def _past(
    connection: Any, programs: Sequence[Program], params: Mapping[str, Any], home_zone: str
) -> _Past:
    found = connection.execute(MOMENTS, params).fetchall()
    moments = [row["as_of"] for row in found]
    if not moments:
        return _Past()
    query = RECEIPTS.format(open_now=_open_now(connection, programs))
    rows = connection.execute(query, params).fetchall()
    return _Past(
        moments,
        [_receipt(row, moments, home_zone) for row in rows],
        [_said(row) for row in connection.execute(BEFORE, params)],
    )


def _params(
    connection: Any, programs: Sequence[Program], start: datetime, until: datetime
) -> dict[str, Any]:
    merged = persons.survivors(connection)
    return {
        "start": start,
        "until": until,
        "since": start - max(frequency.look_back(program.guardrails) for program in programs),
        "programs": sorted({program.program for program in programs}),
        "absorbed": list(merged),
        "survivors": list(merged.values()),
    }


def _open_now(connection: Any, programs: Sequence[Program]) -> str:
    there = {
        program
        for program in programs
        if connection.execute(
            "select to_regclass(%s) as name", [f"activation.{program.audience}"]
        ).fetchone()["name"]
    }
    return (
        " union ".join(
            f"select '{program.program}' as program, opportunity_id, step::integer as step"
            f" from activation.{program.audience}"
            for program in programs
            if program in there
        )
        or "select '' as program, '' as opportunity_id, 0 as step where false"
    )


def _receipt(row: Mapping[str, Any], moments: Sequence[datetime], home_zone: str) -> Receipt:
    until = row["next_at"]
    if until is None and not row["is_open"]:
        until = next((moment for moment in moments if moment > row["as_of"]), None)
    return Receipt(
        key=(row["program"], row["opportunity_id"], row["step"]),
        person_id=row["person_id"],
        assignment=row["assignment"],
        arm=row["arm"],
        reason=row["reason"],
        as_of=row["as_of"],
        until=until,
        verdicts=row["verdicts"],
        zone=quiet_hours.zone_of(row["time_zone"], row["country"], home_zone),
        engagement=row["engagement"],
        said=_said(row) if row["status"] is not None else None,
    )


def _said(row: Mapping[str, Any]) -> Said:
    fate = None
    if row["sent_at"] is None and row["status"] in ("skipped", "failed", "held"):
        fate = row["message_reason"] or row["status"]
        # Caps are asked again; a dry run skips what it would have sent.
        fate = None if fate in (*frequency.CAPS, "dry_run") else fate
    return Said(
        row["person_id"], row["program"], row["as_of"], row["send_at"], row["expires_at"],
        row["sent_at"], fate,
    )  # fmt: skip


def _really_sent(receipts: Sequence[Receipt], start: datetime) -> dict[Key, bool]:
    out: dict[Key, bool] = {}
    for receipt in receipts:
        if receipt.as_of > start:
            was_sent = receipt.said is not None and _went_out(receipt.said)
            out[receipt.key] = out.get(receipt.key, False) or was_sent
    return out


def _went_out(said: Said) -> bool:
    return said.sent_at is not None or said.fate is None


def _worths(connection: Any, names: Sequence[str]) -> dict[str, Worth | None]:
    found: dict[str, Worth | None] = dict.fromkeys(names)
    there = connection.execute(
        "select to_regclass('marts.bandit_feedback') is not null as there"
    ).fetchone()
    if there["there"]:
        for row in connection.execute(REWARDS, {"programs": list(names)}):
            found[row["program"]] = worth(
                row["reward_kind"], row["messages"], row["mean"], row["deviation"]
            )
    return found
