"""Assignments: which group a person is in, decided once per program and kept.

Belongs here: the draw by hash, keeping it through merges, reporting contamination.
Keep out: what a group may hear (`decisions.py`), the policy itself (`ml/`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from activations.keys import unit_draw
from activations.programs import ASSIGNMENTS, Program


@dataclass(frozen=True)
class Assignment:
    """A person's group in one program; `contaminated_by` is a merged person of another group."""

    person_id: str
    assignment: str
    assigned_at: datetime
    contaminated_by: str | None = None


def draw(program: Program, person_id: str) -> str:
    """The group that the hash of person and salt falls into; the same for ever."""
    point, edge = unit_draw("assignment", program.salt, person_id), 0.0
    for name in ASSIGNMENTS:
        edge += getattr(program.shares, name)
        if point < edge:
            return name
    return ASSIGNMENTS[-1]


def stored(
    connection: Any, program: str, person_ids: Sequence[str], survivors: Mapping[str, str]
) -> list[Assignment]:
    """What was assigned to these persons, and to whoever they absorbed."""
    wanted = set(person_ids)
    absorbed = [gone for gone, survivor in survivors.items() if survivor in wanted]
    rows = connection.execute(
        "select person_id, assignment, assigned_at, contaminated_by from delivery.assignments"
        " where program = %s and person_id = any(%s) order by assigned_at, person_id",
        [program, [*wanted, *absorbed]],
    ).fetchall()
    return [Assignment(**row) for row in rows]


def assign(
    program: Program,
    person_ids: Iterable[str],
    held: Iterable[Assignment],
    survivors: Mapping[str, str],
    as_of: datetime,
) -> dict[str, Assignment]:
    """Everybody's group: the earliest one held by the person or by whoever they absorbed.

    Of two groups assigned at the same moment the survivor's own counts. Where the others
    differ, the first of them is named as the contamination.
    """
    families: dict[str, list[Assignment]] = {}
    for known in held:
        families.setdefault(survivors.get(known.person_id, known.person_id), []).append(known)
    out = {}
    for person in dict.fromkeys(person_ids):
        family = families.get(person)
        if not family:
            out[person] = Assignment(person, draw(program, person), as_of)
            continue
        ordered = sorted(
            family, key=lambda one: (one.assigned_at, one.person_id != person, one.person_id)
        )
        first = ordered[0]
        others = [one.person_id for one in ordered if one.assignment != first.assignment]
        # Once the survivor's row carries the earlier group, only its own note still tells.
        noted = next((one.contaminated_by for one in ordered if one.contaminated_by), None)
        foreign = next((other for other in others if other != person), None)
        by = noted or foreign or (first.person_id if others else None)
        out[person] = Assignment(person, first.assignment, first.assigned_at, by)
    return out


def rows(program: str, assigned: Iterable[Assignment]) -> pa.Table:
    """Rows of delivery.assignments, to be upserted by person and program."""
    ordered = sorted(assigned, key=lambda one: one.person_id)
    return pa.table(
        {
            "person_id": pa.array([one.person_id for one in ordered], pa.string()),
            "program": pa.array([program] * len(ordered), pa.string()),
            "assignment": pa.array([one.assignment for one in ordered], pa.string()),
            "assigned_at": pa.array(
                [one.assigned_at for one in ordered], pa.timestamp("us", tz="UTC")
            ),
            "contaminated_by": pa.array([one.contaminated_by for one in ordered], pa.string()),
        }
    )
