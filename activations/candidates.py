"""Candidates: who has an occasion today, and which arms may be considered for each of them.

Belongs here: reading the facts about an audience and turning them into the guardrails' situation.
Keep out: the rules (`guardrails.py`), the choice (`ml/`), writing anything (`decisions.py`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from activations import (
    assignments,
    consent,
    frequency,
    guardrails,
    persons,
    programs,
    quiet_hours,
    switches,
    wallet,
)
from activations.assignments import Assignment
from activations.frequency import Touch
from activations.guardrails import Flags, Situation, Verdicts
from activations.programs import Program, names_before
from activations.variants import Library, library
from warehouse import Warehouse

Row = dict[str, Any]
NOTHING: tuple[Touch, ...] = ()
# Everything about the audience but its contact points: what was decided about it, how it feels
# about us, what it is worth. An occasion that led to a message before `as_of` is closed.
AUDIENCE = """
    with past as (
        select
            opportunity_id, step,
            bool_or(outcome = 'send') filter (where as_of < %(as_of)s) as is_closed,
            bool_or(as_of = %(as_of)s) as is_decided,
            (array_agg(reason order by as_of desc) filter (where as_of < %(as_of)s))[1] as reason
        from delivery.decisions
        where program = %(program)s and as_of <= %(as_of)s
        group by opportunity_id, step
    )
    select
        audience.person_id, audience.opportunity_id, audience.step::integer as step,
        audience.context, audience.value_amount::float8 as value_amount,
        audience.available_from, audience.expires_at,
        coalesce(past.is_decided, false) as is_decided, past.reason as silence_reason,
        personas.persona_id, profiles.time_zone, profiles.country, profiles.locale,
        stats.engagement_score::float8 as engagement,
        churn.churn_probability::float8 as churn_probability,
        lifetime.expected_revenue_amount::float8 as expected_value
    from {audience} as audience
    left join past
        on audience.opportunity_id = past.opportunity_id and audience.step = past.step
    left join ml.person_personas as personas on audience.person_id = personas.person_id
    left join identity.profiles as profiles on audience.person_id = profiles.person_id
    left join marts.person_stats as stats on audience.person_id = stats.person_id
    left join ml.churn_scores as churn on audience.person_id = churn.person_id
    left join ml.lifetime_values as lifetime on audience.person_id = lifetime.person_id
    where not coalesce(past.is_closed, false)
    order by audience.opportunity_id, audience.step, audience.person_id
"""
# What was said within the longest window of a limit and what is on its way, as it stood at
# `as_of`: plans of this very day count only where the program decided before ours, so a second
# run sees the same. A moment is null for what is on its way.
TOUCHES = """
    select
        coalesce(merged.survivor, messages.person_id) as person_id,
        array_agg(messages.program order by messages.message_key) as programs,
        array_agg(
            case when messages.sent_at <= %(as_of)s then messages.sent_at end
            order by messages.message_key
        ) as moments
    from delivery.messages as messages
    inner join delivery.decisions as decisions using (decision_id)
    left join unnest(%(absorbed)s::text[], %(survivors)s::text[]) as merged (absorbed, survivor)
        on messages.person_id = merged.absorbed
    where
        coalesce(merged.survivor, messages.person_id) = any(%(persons)s)
        and (
            (messages.sent_at > %(since)s and messages.sent_at <= %(as_of)s)
            or (
                messages.send_at > %(as_of)s
                and (
                    decisions.as_of < %(as_of)s
                    or (decisions.as_of = %(as_of)s and decisions.program = any(%(before)s))
                )
            )
        )
    group by 1
"""


@dataclass(frozen=True)
class Plan:
    """What `decisions.record` needs of each row beside the frame; row order is the frame's."""

    contexts: Sequence[Mapping[str, Any]] = field(repr=False)
    starts: Sequence[datetime]
    deadlines: Sequence[datetime]
    avoid: Sequence[date | None]
    address_hashes: Mapping[str, Sequence[str | None]]
    silence_reasons: Sequence[str | None]
    assignments: Sequence[Assignment]


@dataclass(frozen=True)
class Candidates:
    """n opportunities x the program's arms.

    `frame`: person_id, opportunity_id, step, persona_id, assignment, time_zone, locale,
    value_amount, earliest_at: the first allowed moment. It names nobody. `eligible` and
    `verdicts` have a column per arm, in the order of `program.arm_names`.
    """

    program: Program
    as_of: datetime
    frame: pa.Table
    eligible: Flags
    verdicts: Verdicts
    plan: Plan

    @property
    def is_policy(self) -> Flags:
        """Rows whose arm the policy draws: its group, and at least one eligible arm."""
        group = np.array(self.frame.column("assignment").to_pylist(), dtype=object) == "policy"
        return group & self.eligible.any(axis=1)


@dataclass(frozen=True)
class _Facts:
    program: Program
    rows: list[Row]
    addresses: Mapping[tuple[str, str], Row]
    touches: Mapping[str, list[Touch]]
    assigned: Mapping[str, Assignment]
    home: persons.Workspace
    off: switches.Off
    library: Library
    spendable_minor: int


def candidates(warehouse: Warehouse, program: Program, as_of: datetime) -> Candidates:
    """Everybody in `activation.act_<program>` not yet addressed for their occasion, judged.

    The program comes back under the house rules of the workspace.

    Run the programs in order of priority (`programs.load_all`): a message planned by an earlier
    one counts against the caps of a later one. Reads only.
    """
    facts = _read(warehouse, program, as_of)
    program = facts.program
    home = facts.home.time_zone
    zones = [quiet_hours.zone_of(row["time_zone"], row["country"], home) for row in facts.rows]
    plan = _plan(facts, program, as_of, zones)
    earliest = [
        quiet_hours.planned_at(start, zone, deadline, None, avoid)
        for start, zone, deadline, avoid in zip(
            plan.starts, zones, plan.deadlines, plan.avoid, strict=True
        )
    ]
    verdicts = guardrails.judge(program, _situation(facts, plan, as_of, zones, earliest))
    everything = Candidates(
        program, as_of, _frame(facts, zones, earliest), verdicts.eligible, verdicts, plan
    )
    # Whoever was decided at this very moment is judged along, so that shares of the wallet fall
    # as they fell, and then left out.
    is_open = np.array([not row["is_decided"] for row in facts.rows], dtype=bool)
    return _only(everything, is_open)


def _read(warehouse: Warehouse, program: Program, as_of: datetime) -> _Facts:
    with warehouse.transaction() as connection:
        home = persons.workspace(connection)
        program = programs.under(program, programs.house(home.guardrails, "guardrails"))
        name = program.program
        rows = connection.execute(
            AUDIENCE.format(audience=f"activation.{program.audience}"),
            {"as_of": as_of, "program": program.program},
        ).fetchall()
        people = sorted({row["person_id"] for row in rows})
        merged = persons.survivors(connection)
        held = assignments.stored(connection, program.program, people, merged)
        touches = connection.execute(
            TOUCHES,
            {
                "as_of": as_of,
                "since": as_of - frequency.look_back(program.guardrails),
                "persons": people,
                "absorbed": list(merged),
                "survivors": list(merged.values()),
                "before": list(names_before(program)),
            },
        ).fetchall()
        monthly = wallet.minor_units(program.budget.monthly_amount, home.currency)
        return _Facts(
            program=program,
            rows=rows,
            addresses={
                (row["person_id"], row["channel"]): row
                for row in consent.best_addresses(connection, people, as_of, name)
            },
            touches={row["person_id"]: _touches(row, as_of) for row in touches},
            assigned=assignments.assign(program, people, held, merged, as_of),
            home=home,
            off=switches.off(connection),
            library=library(connection, program.program),
            spendable_minor=wallet.spendable(connection, program.program, monthly, as_of),
        )


def _plan(facts: _Facts, program: Program, as_of: datetime, zones: list[str]) -> Plan:
    latest = as_of + timedelta(hours=program.guardrails.expires_hours)
    rows, rules = facts.rows, program.guardrails
    heard = [facts.touches.get(row["person_id"], NOTHING) for row in rows]
    rested = [frequency.rested_at(rules, touches) or as_of for touches in heard]
    return Plan(
        contexts=[_context(row["context"]) for row in rows],
        starts=[
            max(as_of, row["available_from"] or as_of, rest)
            for row, rest in zip(rows, rested, strict=True)
        ],
        deadlines=[min(latest, row["expires_at"] or latest) for row in rows],
        avoid=[
            frequency.full_day(rules, touches, zone) if touches else None
            for touches, zone in zip(heard, zones, strict=True)
        ],
        address_hashes={
            channel: [
                facts.addresses.get((row["person_id"], channel), {}).get("address_hash")
                for row in rows
            ]
            for channel in program.channels
        },
        silence_reasons=[row["silence_reason"] for row in rows],
        assignments=[facts.assigned[row["person_id"]] for row in rows],
    )


def _heard_counts(
    facts: _Facts, as_of: datetime, zones: Sequence[str], earliest: Sequence[datetime]
) -> dict[str, guardrails.Counts]:
    rules, name = facts.program.guardrails, facts.program.program
    out = {limit: np.zeros(len(facts.rows), dtype=np.int64) for limit in frequency.limits(rules)}
    for index, row in enumerate(facts.rows):
        if touches := facts.touches.get(row["person_id"]):
            counted = frequency.counts(rules, name, touches, zones[index], as_of, earliest[index])
            for limit, count in counted.items():
                out[limit][index] = count
    return out


def _situation(
    facts: _Facts, plan: Plan, as_of: datetime, zones: Sequence[str], earliest: Sequence[datetime]
) -> Situation:
    program, rows, n = facts.program, facts.rows, len(facts.rows)
    points = {
        name: [facts.addresses.get((row["person_id"], name)) for row in rows]
        for name in program.channels
    }

    def flags(column: str, missing: bool = False) -> dict[str, Flags]:
        return {
            name: np.array([missing if one is None else one[column] for one in held], dtype=bool)
            for name, held in points.items()
        }

    prices: dict[str, int] = {arm.channel: arm.cost_minor for arm in program.arms}
    return Situation(
        switched_off={name: facts.off.stops(program.program, name) for name in program.channels},
        reachable={
            name: np.array([one is not None for one in held], dtype=bool)
            for name, held in points.items()
        },
        consented=flags("is_granted"),
        written=flags("is_written", missing=True),
        refused=flags("is_refused"),
        suppressed=flags("is_suppressed"),
        affordable={
            name: guardrails.affordable(facts.spendable_minor, prices[name], n)
            for name in program.channels
        },
        heard_count=_heard_counts(facts, as_of, zones, earliest),
        engagement=_floats(rows, "engagement"),
        is_in_time=np.fromiter(
            (moment < end for moment, end in zip(earliest, plan.deadlines, strict=True)), bool, n
        ),
        is_high_value_at_risk=guardrails.high_value_at_risk(
            _floats(rows, "expected_value"), _floats(rows, "churn_probability")
        ),
        has_copy=_has_copy(facts, program),
    )


def _has_copy(facts: _Facts, program: Program) -> Flags:
    known: dict[tuple[str | None, str | None], list[bool]] = {}
    out = np.zeros((len(facts.rows), len(program.arms)), dtype=bool)
    for index, row in enumerate(facts.rows):
        key = (row["persona_id"], row["locale"])
        if key not in known:
            known[key] = [bool(facts.library.fitting(arm, *key)) for arm in program.arm_names]
        out[index] = known[key]
    return out


def _frame(facts: _Facts, zones: list[str], earliest: list[datetime]) -> pa.Table:
    def text(values: Sequence[Any]) -> pa.Array:
        return pa.array(values, pa.string())

    rows = facts.rows
    return pa.table(
        {
            "person_id": text([row["person_id"] for row in rows]),
            "opportunity_id": text([row["opportunity_id"] for row in rows]),
            "step": pa.array([row["step"] for row in rows], pa.int32()),
            "persona_id": text([row["persona_id"] for row in rows]),
            "assignment": text([facts.assigned[row["person_id"]].assignment for row in rows]),
            "time_zone": text(zones),
            "locale": text([row["locale"] for row in rows]),
            "value_amount": pa.array([row["value_amount"] for row in rows], pa.float64()),
            "earliest_at": pa.array(earliest, pa.timestamp("us", tz="UTC")),
        }
    )


def _only(held: Candidates, keep: Flags) -> Candidates:
    picked = np.flatnonzero(keep).tolist()

    def some(values: Sequence[Any]) -> list[Any]:
        return [values[index] for index in picked]

    plan = held.plan
    return Candidates(
        held.program,
        held.as_of,
        held.frame.filter(pa.array(keep, pa.bool_())),
        held.eligible[keep],
        Verdicts(held.verdicts.blocked[keep], held.verdicts.needs_review[keep]),
        Plan(
            some(plan.contexts),
            some(plan.starts),
            some(plan.deadlines),
            some(plan.avoid),
            {channel: some(values) for channel, values in plan.address_hashes.items()},
            some(plan.silence_reasons),
            some(plan.assignments),
        ),
    )


def _touches(row: Row, as_of: datetime) -> list[Touch]:
    return [
        Touch(program, at or as_of, is_planned=at is None)
        for program, at in zip(row["programs"], row["moments"], strict=True)
    ]


def _context(value: Any) -> Mapping[str, Any]:
    return json.loads(value) if isinstance(value, str) else (value or {})


def _floats(rows: list[Row], column: str) -> guardrails.Floats:
    return np.array(
        [np.nan if row[column] is None else row[column] for row in rows], dtype=np.float64
    )
