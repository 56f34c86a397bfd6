"""Replay: past occasions judged again, day by day, under rules that may differ. Pure.

Belongs here: what is asked again of the receipts, the order of days, what follows for later ones.
Keep out: the rules (`guardrails.py`, `frequency.py`, `choices.py`, which are called as they are),
reading and comparing (`simulation.py`).

A message that is no longer sent makes room for the next, and one that is added takes room: so a
day is judged on what the replay itself said before, not on what was really said.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from activations import choices, frequency, guardrails, quiet_hours
from activations.candidates import Candidates, Plan
from activations.choices import Choice
from activations.frequency import Touch
from activations.guardrails import Flags, Situation
from activations.programs import Program

Key = tuple[str, str, int]  # program, opportunity, step
NO_PLAN = Plan((), (), (), (), {}, (), ())


@dataclass(frozen=True)
class Said:
    """A message as it really was. `fate` is why it never went out; None where it did or may."""

    person_id: str
    program: str
    decided_at: datetime
    send_at: datetime
    expires_at: datetime
    sent_at: datetime | None
    fate: str | None = None


@dataclass(frozen=True)
class Receipt:
    """One decision and how long it was the last word on its occasion (`until`, None: for ever)."""

    key: Key
    person_id: str
    assignment: str
    arm: str | None
    reason: str
    as_of: datetime
    until: datetime | None
    verdicts: Mapping[str, Sequence[str]] = field(repr=False)
    zone: str
    engagement: float | None
    said: Said | None = None


@dataclass(frozen=True)
class Outcome:
    """What a replay did: messages by occasion, and why there was none, by occasion and day."""

    sent: Mapping[Key, datetime]  # when it was decided
    silences: Mapping[tuple[Key, datetime], str]
    undelivered: Mapping[Key, str]  # planned, and stopped by a cap at the moment of sending


@dataclass
class _Plan:
    """A message of the replay on its way to its moment."""

    key: Key | None
    said: Said
    zone: str
    send_at: datetime
    sent_at: datetime | None = None


@dataclass
class _Books:
    """What the replay has said so far."""

    rules: Mapping[str, Program]
    by_person: dict[str, list[_Plan]] = field(default_factory=dict)
    waiting: list[_Plan] = field(default_factory=list)
    sent: dict[Key, datetime] = field(default_factory=dict)
    silences: dict[tuple[Key, datetime], str] = field(default_factory=dict)
    undelivered: dict[Key, str] = field(default_factory=dict)

    def add(self, plan: _Plan) -> None:
        self.by_person.setdefault(plan.said.person_id, []).append(plan)
        if plan.sent_at is None:
            self.waiting.append(plan)


def replay(
    receipts: Sequence[Receipt],
    before: Iterable[Said],
    rules: Sequence[Program],
    present: Sequence[Program],
    moments: Sequence[datetime],
) -> Outcome:
    """Judge every occasion again at every moment at which it is known to have been open.

    `rules` are the programs as they are to be, in order of priority; `present` as they were when
    the receipts were written; `before` the messages decided before the first of `moments`.
    """
    books = _Books({program.program: program for program in rules})
    for said in before:
        books.add(_Plan(None, said, "UTC", said.send_at, said.sent_at))
    was = {program.program: program for program in present}
    by_key = _by_key(receipts)
    ends = [*moments[1:], datetime.max.replace(tzinfo=moments[0].tzinfo)] if moments else []
    for moment, end in zip(moments, ends, strict=True):
        for rank, program in enumerate(rules):
            open_now = _open(by_key, program.program, moment, books)
            if open_now:
                earlier = {other.program for other in rules[:rank]}
                _decide(books, open_now, program, was[program.program], moment, earlier)
        _send(books, end)
    return Outcome(books.sent, books.silences, books.undelivered)


def _by_key(receipts: Iterable[Receipt]) -> dict[Key, list[Receipt]]:
    found: dict[Key, list[Receipt]] = {}
    for receipt in sorted(receipts, key=lambda one: (one.key, one.as_of)):
        found.setdefault(receipt.key, []).append(receipt)
    return found


def _open(
    by_key: Mapping[Key, Sequence[Receipt]], program: str, moment: datetime, books: _Books
) -> list[Receipt]:
    """The word in force on each occasion of a program, as it was at `moment`."""
    return [
        receipt
        for key, own in by_key.items()
        if key[0] == program and key not in books.sent and key not in books.undelivered
        for receipt in own
        if receipt.as_of <= moment and (receipt.until is None or moment < receipt.until)
    ]


def _decide(
    books: _Books,
    receipts: Sequence[Receipt],
    program: Program,
    was: Program,
    moment: datetime,
    earlier: set[str],
) -> None:
    rules = program.guardrails
    touches = [_touches(books, receipt.person_id, moment, earlier) for receipt in receipts]
    starts = [
        max(moment, frequency.rested_at(rules, heard) or moment) for heard in touches
    ]  # an hour that the program would have waited for anyway is not known any more
    earliest = [
        quiet_hours.planned_at(
            start, one.zone, datetime.max.replace(tzinfo=moment.tzinfo), None,
            frequency.full_day(rules, heard, one.zone),
        )
        for one, heard, start in zip(receipts, touches, starts, strict=True)
    ]  # fmt: skip
    situation = _situation(receipts, program, was, touches, moment, earliest)
    chosen = _choose(receipts, program, situation, moment)
    for receipt, choice, first in zip(receipts, chosen, earliest, strict=True):
        reason = _silence(receipt, choice)
        if reason is not None:
            books.silences[receipt.key, moment] = reason
            continue
        books.sent[receipt.key] = moment
        books.add(_plan(receipt, program, moment, first))


def _touches(books: _Books, person: str, moment: datetime, earlier: set[str]) -> list[Touch]:
    """What planning knows of a person at `moment`; the same words as `candidates.TOUCHES`."""
    out = []
    for plan in books.by_person.get(person, ()):
        said = plan.said
        if plan.sent_at is not None and plan.sent_at <= moment:
            out.append(Touch(said.program, plan.sent_at))
        elif plan.send_at > moment and (
            said.decided_at < moment or (said.decided_at == moment and said.program in earlier)
        ):
            out.append(Touch(said.program, moment, is_planned=True))
    return out


def _situation(
    receipts: Sequence[Receipt],
    program: Program,
    was: Program,
    touches: Sequence[Sequence[Touch]],
    moment: datetime,
    earliest: Sequence[datetime],
) -> Situation:
    """What the receipts say of everything that the rules do not touch, and what they do."""
    rules, n = program.guardrails, len(receipts)

    def is_free(reason: str, channel: str) -> Flags:
        names = [arm.name for arm in program.arms if arm.channel == channel]
        return np.array(
            [all(reason not in one.verdicts.get(name, ()) for name in names) for one in receipts]
        )

    def every(reason: str) -> dict[str, Flags]:
        return {channel: is_free(reason, channel) for channel in program.channels}

    counted = [
        frequency.counts(rules, program.program, heard, one.zone, moment, first)
        for one, heard, first in zip(receipts, touches, earliest, strict=True)
    ]
    deadline = moment + timedelta(hours=rules.expires_hours)
    return Situation(
        switched_off={channel: False for channel in program.channels},
        reachable=every("unreachable"),
        consented=every("no_consent"),
        written=every("no_written_consent"),
        refused={channel: ~flags for channel, flags in every("topic_refused").items()},
        suppressed={channel: ~flags for channel, flags in every("suppressed").items()},
        affordable=every("wallet_empty"),
        heard_count={
            name: np.array([row[name] for row in counted], dtype=np.int64)
            for name in frequency.limits(rules)
        },
        engagement=np.array([_engagement(one, was) for one in receipts]),
        is_in_time=np.array(
            [
                not _all_say(one, "expires_first") and first < deadline
                for one, first in zip(receipts, earliest, strict=True)
            ]
        ),
        is_high_value_at_risk=np.zeros(n, dtype=bool),
        has_copy=np.array(
            [
                [
                    arm.name in one.verdicts and "no_approved_copy" not in one.verdicts[arm.name]
                    for arm in program.arms
                ]
                for one in receipts
            ]
        ),
    )


def _engagement(receipt: Receipt, was: Program) -> float:
    """Today's engagement, held to the side of the floor on which it was that day."""
    rules = was.guardrails
    believed = rules.engagement_prior if receipt.engagement is None else receipt.engagement
    if rules.engagement_floor is None:
        return believed
    if _all_say(receipt, "engagement_floor"):
        return float(min(believed, np.nextafter(rules.engagement_floor, -1)))
    return max(believed, rules.engagement_floor)


def _all_say(receipt: Receipt, reason: str) -> bool:
    return bool(receipt.verdicts) and all(reason in said for said in receipt.verdicts.values())


def _choose(
    receipts: Sequence[Receipt], program: Program, situation: Situation, moment: datetime
) -> list[Choice]:
    """The groups' own policies; the arm that was really drawn stays, where it may be said."""
    verdicts = guardrails.judge(program, situation)
    eligible = verdicts.eligible
    arms = np.where(eligible.any(axis=1), eligible.argmax(axis=1), -1).astype(np.int64)
    names = program.arm_names
    for row, receipt in enumerate(receipts):
        if receipt.arm in names and eligible[row, names.index(receipt.arm)]:
            arms[row] = names.index(receipt.arm)
    shares = np.zeros(eligible.shape)
    rows: npt.NDArray[np.intp] = np.flatnonzero(arms >= 0)
    shares[rows, arms[rows]] = 1.0
    frame = pa.table(
        {
            "opportunity_id": [receipt.key[1] for receipt in receipts],
            "step": [receipt.key[2] for receipt in receipts],
            "assignment": [receipt.assignment for receipt in receipts],
        }
    )
    held = Candidates(program, moment, frame, eligible, verdicts, NO_PLAN)
    return choices.choose(held, arms, shares)


def _silence(receipt: Receipt, choice: Choice) -> str | None:
    """Why nothing is said; what was silent for a reason that no rule made stays silent."""
    if choice.arm is None:
        return choice.reason
    if receipt.said is None and receipt.reason not in guardrails.GUARDRAILS:
        return receipt.reason
    if receipt.reason == "switched_off":
        return receipt.reason
    return None


def _plan(receipt: Receipt, program: Program, moment: datetime, earliest: datetime) -> _Plan:
    said = receipt.said
    if said is not None and said.decided_at == moment:
        return _Plan(receipt.key, said, receipt.zone, said.sent_at or said.send_at)
    lifetime = timedelta(hours=program.guardrails.expires_hours)
    fate = said.fate if said is not None else None
    made = Said(
        receipt.person_id, program.program, moment, earliest, earliest + lifetime, None, fate
    )
    return _Plan(receipt.key, made, receipt.zone, earliest)


def _send(books: _Books, until: datetime) -> None:
    """Every waiting message whose moment comes, the earliest first: caps skip, the gap moves."""
    left = [plan for plan in books.waiting if plan.send_at > until]
    due = [(*_by_time(plan), row, plan) for row, plan in enumerate(books.waiting)]
    queue = [entry for entry in due if entry[0] <= until]
    heapq.heapify(queue)
    while queue:
        *_, row, plan = heapq.heappop(queue)
        again = _send_one(books, plan)
        if again is not None:
            plan.send_at = again
            if again > until:
                left.append(plan)
            else:
                heapq.heappush(queue, (*_by_time(plan), row, plan))
    books.waiting = left


def _send_one(books: _Books, plan: _Plan) -> datetime | None:
    """Send, stop or move one message; the moment to which it moves."""
    if plan.key is None or plan.said.fate is not None:
        plan.sent_at = plan.said.sent_at
        if plan.key is not None:
            books.undelivered[plan.key] = plan.said.fate or ""
            del books.sent[plan.key]
        return None
    rules = books.rules[plan.said.program].guardrails
    others = books.by_person[plan.said.person_id]
    now = plan.send_at
    touches = [
        Touch(other.said.program, other.sent_at)
        for other in others
        if other is not plan and other.sent_at is not None and other.sent_at <= now
    ]
    reason = frequency.reached(rules, plan.said.program, touches, plan.zone, now)
    rested = frequency.rested_at(rules, touches)
    if reason is None and rested is not None and rested > now:
        again = quiet_hours.next_allowed(rested, plan.zone)
        if again < plan.said.expires_at:
            return again
        reason = "expired"
    if reason is None:
        plan.sent_at = now
        return None
    books.undelivered[plan.key] = reason
    del books.sent[plan.key]
    return None


def _by_time(plan: _Plan) -> tuple[datetime, str, str]:
    return plan.send_at, plan.said.program, plan.said.person_id
