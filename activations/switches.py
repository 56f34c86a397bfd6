"""Kill switches: what must stop now, for one program, one channel, or altogether.

Belongs here: turning off and on again, and what is off at this moment.
Keep out: what follows for planning (`guardrails.py`) and for a message (`recheck.py`).

A switch is a row of the warehouse, so turning one needs no deployment and no restart. It is read
whenever something is planned and again before every request.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from activations import audit
from activations.consent import CONSENT_LOCK
from activations.keys import stable_id
from warehouse import Warehouse

Kind = Literal["everything", "program", "channel"]


class SwitchError(ValueError):
    """A switch that cannot be turned; the text says why."""


@dataclass(frozen=True)
class Off:
    """What is switched off at one moment."""

    everything: bool = False
    programs: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()

    def stops(self, program: str, channel: str) -> bool:
        """Whether a program may not speak on a channel."""
        return self.everything or program in self.programs or channel in self.channels


def off(connection: Any) -> Off:
    """What is off now. A switch counts as soon as it is committed, whatever time it carries."""
    rows = connection.execute(
        "select kind, name from delivery.kill_switches where on_at is null"
    ).fetchall()
    return Off(
        everything=any(row["kind"] == "everything" for row in rows),
        programs=frozenset(row["name"] for row in rows if row["kind"] == "program"),
        channels=frozenset(row["name"] for row in rows if row["kind"] == "channel"),
    )


def turn_off(
    warehouse: Warehouse, kind: Kind, name: str, reason: str, by: str, at: datetime
) -> bool:
    """Stop something; False when it is off already.

    When this returns no request is under way that the switch stops, and none will start: senders
    hold the lock that it takes from their last look until their last answer.
    """
    with warehouse.transaction() as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", [CONSENT_LOCK])
        row = connection.execute(
            "insert into delivery.kill_switches (switch_id, kind, name, off_at, off_by, reason)"
            " select %(id)s || count(*), %(kind)s, %(name)s, %(at)s, %(by)s, %(reason)s"
            " from delivery.kill_switches where kind = %(kind)s and name = %(name)s"
            " on conflict (kind, name) where on_at is null do nothing returning switch_id",
            {
                "id": stable_id("switch", kind, name)[:24],
                "kind": kind,
                "name": name,
                "at": at,
                "by": by,
                "reason": reason,
            },
        ).fetchone()
        if row is not None:
            audit.append(connection, at, by, "switch_off", "switch", row["switch_id"])
    return row is not None


def turn_on(warehouse: Warehouse, kind: Kind, name: str, by: str, at: datetime) -> None:
    """Let something go on. What was skipped meanwhile stays skipped. Raises SwitchError."""
    with warehouse.transaction() as connection:
        row = connection.execute(
            "update delivery.kill_switches set on_at = %s, on_by = %s"
            " where kind = %s and name = %s and on_at is null returning switch_id",
            [at, by, kind, name],
        ).fetchone()
        if row is None:
            what = "everything" if kind == "everything" else f"{kind} {name}"
            raise SwitchError(f"{what} is not switched off; `loopdrive switch list` tells what is")
        audit.append(connection, at, by, "switch_on", "switch", row["switch_id"])


def standing(warehouse: Warehouse) -> list[dict[str, Any]]:
    """What is off, since when, by whom and why."""
    return warehouse.rows(
        "select kind, name, off_at, off_by, reason from delivery.kill_switches"
        " where on_at is null order by off_at, kind, name"
    )
