"""Decisions: the receipt for every occasion, and the message that follows from it.

Belongs here: recording choices with everything that led to them, planning and rendering messages.
Keep out: judging (`guardrails.py`), choosing (`choices.py`), sending (`outbox.py`, `dispatch.py`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from activations import assignments, audit, messages, persons, reviews, variants, wallet
from activations.candidates import Candidates, candidates
from activations.choices import Choice, choose
from activations.guardrails import reasons
from activations.keys import stable_id
from activations.messages import Message, message_key
from activations.providers import DEFAULT_BY_CHANNEL
from warehouse import Warehouse
from warehouse.settings import BrandSettings

__all__ = ["Candidates", "Recorded", "candidates", "message_key", "record"]

UTC_TIME = pa.timestamp("us", tz="UTC")
PLAN_LOCK = 0x10095D86


@dataclass(frozen=True)
class Recorded:
    """How many rows one recording wrote."""

    sends: int
    silences: int
    held: int
    by_assignment: Mapping[str, int]
    by_reason: Mapping[str, int]


@dataclass(frozen=True)
class _Row:
    """One candidate row with its choice, flat for table building."""

    index: int
    decision_id: str
    person_id: str
    opportunity_id: str
    step: int
    assignment: str
    choice: Choice
    message: Message | None = None


@dataclass(frozen=True)
class _Voice:
    """With what and by whom a program speaks: words, brand, the key of its links, providers."""

    words: variants.Library
    brand: BrandSettings
    link_key: bytes
    carriers: Mapping[str, str]


def record(
    warehouse: Warehouse,
    held: Candidates,
    *,
    arm_indices: npt.NDArray[np.int64],
    propensities: npt.NDArray[np.float64],
    brand: BrandSettings,
    link_key: bytes,
    model_versions: Mapping[str, str],
    send_hours: npt.NDArray[np.int64] | None = None,
    carriers: Mapping[str, str] = DEFAULT_BY_CHANNEL,
) -> Recorded:
    """Write decisions, messages, payloads, reviews, the wallet's reservation and audit entries.

    One transaction: all of it or nothing. `arm_indices` (n) and `propensities` (n x arms) come
    from the policy and count for its group; `send_hours` (n) are local hours of the week 0..167
    with Monday 00:00 = 0, or -1 for as early as allowed. Recording the same day again writes
    nothing; a silence is written only when its reason is new.
    `link_key` signs the links of messages; `carriers` names the provider of each channel.
    Raises ChoiceError when the policy left the eligible arms.
    """
    hours = np.full(held.frame.num_rows, -1) if send_hours is None else send_hours
    chosen = choose(held, arm_indices, propensities)
    with warehouse.transaction() as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", [PLAN_LOCK])
        known = _recorded_ids(connection, held)
        rows = [row for row in _rows(held, chosen) if row.decision_id not in known]
        sends = [row for row in rows if row.choice.arm is not None]
        people = messages.people(connection, [row.person_id for row in sends])
        words = variants.library(connection, held.program.program)
        voice = _Voice(words, brand, link_key, carriers)
        planned = [_planned(held, row, voice, people, hours) for row in rows]
        fresh = [row for row in planned if _is_news(held, row)]
        _write(warehouse, connection, held, fresh, model_versions)
    return _summary(fresh)


def _rows(held: Candidates, chosen: Sequence[Choice]) -> list[_Row]:
    program, moment = held.program.program, audit.moment(held.as_of)
    names = ("person_id", "opportunity_id", "step", "assignment")
    columns = (held.frame.column(name).to_pylist() for name in names)
    return [
        _Row(
            index,
            stable_id("decision", program, opportunity, step, person, moment),
            person,
            opportunity,
            step,
            group,
            choice,
        )
        for index, (person, opportunity, step, group, choice) in enumerate(
            zip(*columns, chosen, strict=True)
        )
    ]


def _recorded_ids(connection: Any, held: Candidates) -> set[str]:
    rows = connection.execute(
        "select decision_id from delivery.decisions where program = %s and as_of = %s",
        [held.program.program, held.as_of],
    )
    return {row["decision_id"] for row in rows}


def _planned(
    held: Candidates,
    row: _Row,
    voice: _Voice,
    people: Mapping[str, messages.Person],
    hours: npt.NDArray[np.int64],
) -> _Row:
    """The row with its message; a silence stays one, and becomes one where no message fits."""
    if row.choice.arm is None:
        return row
    index, plan = row.index, held.plan
    arm = held.program.arms[row.choice.arm]
    occasion = messages.Occasion(
        decision_id=row.decision_id,
        person_id=row.person_id,
        opportunity_id=row.opportunity_id,
        step=row.step,
        persona_id=held.frame.column("persona_id")[index].as_py(),
        time_zone=held.frame.column("time_zone")[index].as_py(),
        locale=held.frame.column("locale")[index].as_py(),
        arm=arm,
        context=plan.contexts[index],
        start=plan.starts[index],
        deadline=plan.deadlines[index],
        avoid=plan.avoid[index],
        hour_of_week=int(hours[index]) if hours[index] >= 0 else None,
        address_hash=plan.address_hashes[arm.channel][index],
        needs_review=bool(held.verdicts.needs_review[index, row.choice.arm]),
    )
    person = people[row.person_id]
    made = messages.compose(
        held.program, occasion, person, voice.words, voice.brand, voice.link_key, voice.carriers
    )
    if isinstance(made, str):
        return replace(row, choice=Choice(None, None, made, row.choice.propensities))
    return replace(row, message=made)


def _is_news(held: Candidates, row: _Row) -> bool:
    return row.message is not None or held.plan.silence_reasons[row.index] != row.choice.reason


def _write(
    warehouse: Warehouse,
    connection: Any,
    held: Candidates,
    rows: Sequence[_Row],
    model_versions: Mapping[str, str],
) -> None:
    program, as_of = held.program, held.as_of
    groups = assignments.rows(program.program, dict.fromkeys(held.plan.assignments))
    warehouse.upsert("delivery.assignments", groups, ["person_id", "program"], connection)
    if not rows:
        return
    warehouse.append("delivery.decisions", _decision_table(held, rows, model_versions), connection)
    planned = [row.message for row in rows if row.message is not None]
    if planned:
        currency = persons.workspace(connection).currency
        warehouse.append("delivery.messages", _message_table(planned, currency), connection)
        payloads = pa.table(
            {
                "message_key": [message.message_key for message in planned],
                "body": [message.payload for message in planned],
                "created_at": pa.array([as_of] * len(planned), UTC_TIME),
            }
        )
        warehouse.append("delivery.payloads", payloads, connection)
        _ask_for_review(warehouse, connection, held, planned)
        _reserve_money(warehouse, connection, held, planned, currency)
    part = f"{program.program}@{audit.moment(as_of)}"
    audit.append(connection, as_of, f"decide/{program.program}", "decide", "decisions", part)
    if planned:
        audit.append(connection, as_of, f"decide/{program.program}", "plan", "messages", part)


def _decision_table(
    held: Candidates, rows: Sequence[_Row], model_versions: Mapping[str, str]
) -> pa.Table:
    names = held.program.arm_names
    versions = json.dumps(dict(model_versions), sort_keys=True)
    verdicts: dict[tuple[bytes, bytes], str] = {}

    def verdict(row: _Row) -> str:
        blocked = held.verdicts.blocked[row.index]
        review = held.verdicts.needs_review[row.index]
        key = (blocked.tobytes(), review.tobytes())
        if key not in verdicts:
            verdicts[key] = json.dumps(
                {
                    name: reasons(int(bits)) + (["needs_review"] if flag else [])
                    for name, bits, flag in zip(names, blocked, review, strict=True)
                }
            )
        return verdicts[key]

    def considered(row: _Row) -> str:
        shares = row.choice.propensities or (None,) * len(names)
        eligible = held.eligible[row.index]
        return json.dumps(
            {name: share for name, share, ok in zip(names, shares, eligible, strict=True) if ok}
        )

    sent = [row.message is not None for row in rows]
    n = len(rows)
    return pa.table(
        {
            "decision_id": [row.decision_id for row in rows],
            "as_of": pa.array([held.as_of] * n, UTC_TIME),
            "program": [held.program.program] * n,
            "person_id": [row.person_id for row in rows],
            "opportunity_id": [row.opportunity_id for row in rows],
            "step": [row.step for row in rows],
            "assignment": [row.assignment for row in rows],
            "arm": pa.array(
                [
                    names[row.choice.arm or 0] if ok else None
                    for row, ok in zip(rows, sent, strict=True)
                ],
                pa.string(),
            ),
            "propensity": pa.array(
                [row.choice.propensity if ok else None for row, ok in zip(rows, sent, strict=True)],
                pa.float64(),
            ),
            "candidates": [considered(row) for row in rows],
            "verdicts": [verdict(row) for row in rows],
            "outcome": ["send" if ok else "silence" for ok in sent],
            "reason": [row.choice.reason for row in rows],
            "model_versions": [versions] * n,
        }
    )


def _message_table(planned: Sequence[Message], currency: str) -> pa.Table:
    text = (
        "message_key", "decision_id", "program", "person_id", "channel", "provider", "status",
        "reason", "variant_id", "content_hash", "address_hash",
    )  # fmt: skip
    columns: dict[str, Any] = {
        name: pa.array([getattr(message, name) for message in planned], pa.string())
        for name in text
    }
    for name in ("send_at", "expires_at"):
        columns[name] = pa.array([getattr(message, name) for message in planned], UTC_TIME)
    columns["cost_amount"] = [
        str(wallet.major_units(message.cost_minor, currency)) for message in planned
    ]
    return pa.table(columns)


def _ask_for_review(
    warehouse: Warehouse, connection: Any, held: Candidates, planned: Sequence[Message]
) -> None:
    limit = held.program.approval.offer_percent_over
    waiting = [message for message in planned if message.status == "held"]
    deep = [message.message_key for message in waiting if message.offer_percent > limit]
    rest = [message.message_key for message in waiting if message.offer_percent <= limit]
    reviews.request(warehouse, "offer", deep, held.as_of, connection)
    reviews.request(warehouse, "person", rest, held.as_of, connection)


def _reserve_money(
    warehouse: Warehouse,
    connection: Any,
    held: Candidates,
    planned: Sequence[Message],
    currency: str,
) -> None:
    program, as_of = held.program.program, held.as_of
    total = sum(message.cost_minor for message in planned)
    if not total:
        return
    monthly = wallet.minor_units(held.program.budget.monthly_amount, currency)
    wallet.post(warehouse, connection, wallet.allowance(program, monthly, currency, as_of))
    keys = sorted(message.message_key for message in planned)
    reservation = wallet.Transaction(
        stable_id("reserve", program, audit.moment(as_of), *keys),
        {f"program:{program}": -total, f"reserved:{program}": total},
        currency,
        as_of,
        f"reserve {program} {len(planned)} messages",
    )
    wallet.post(warehouse, connection, reservation)


def _summary(rows: Sequence[_Row]) -> Recorded:
    by_assignment: dict[str, int] = {}
    by_reason: dict[str, int] = {}
    for row in rows:
        by_assignment[row.assignment] = by_assignment.get(row.assignment, 0) + 1
        by_reason[row.choice.reason] = by_reason.get(row.choice.reason, 0) + 1
    sends = [row.message for row in rows if row.message is not None]
    held = sum(message.status == "held" for message in sends)
    return Recorded(len(sends), len(rows) - len(sends), held, by_assignment, by_reason)
