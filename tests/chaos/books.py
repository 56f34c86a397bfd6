"""The books of a rehearsal of sending: what was promised, counted at the vendors.

Belongs here: one figure for each promise, zero where it was kept. Keep out: faults.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from activations import audit, wallet
from tests.chaos.plan import ZONES
from tests.chaos.turmoil import Diary
from warehouse import Warehouse

SENT = ("accepted", "delivered")
OPENS, CLOSES = 8, 21


@dataclass(frozen=True)
class Books:
    """Messages by status, and every broken promise by name with its count."""

    planned: int
    statuses: dict[str, int]
    broken: dict[str, int]
    examples: tuple[str, ...] = ()

    @property
    def are_right(self) -> bool:
        """Whether nothing was broken."""
        return not any(self.broken.values())

    def lines(self) -> list[str]:
        """The books as a person reads them."""
        sent = sum(self.statuses.get(status, 0) for status in SENT)
        rest = [(name, self.statuses.get(name, 0)) for name in ("skipped", "held", "failed")]
        rest.append(("unknown", self.statuses.get("unknown", 0)))
        total = " + ".join([f"{sent} sent", *(f"{count} {name}" for name, count in rest)])
        out = [f"{self.planned} planned = {total}"]
        out += [f"{count:>7}  {name}" for name, count in self.broken.items()]
        return out + [f"see {example}" for example in self.examples]


def close(house: Warehouse, diary: Diary, planned: int) -> Books:
    """Count everything once more, from the tables and from what the vendors took."""
    messages = {
        row["message_key"]: row
        for row in house.rows(
            "select message_key, person_id, provider, status, reason from delivery.messages"
        )
    }
    taken = Counter(row["message_key"] for row in diary.taken)
    statuses = Counter(row["status"] for row in messages.values())
    twice = [messages[key]["provider"] for key, count in taken.items() if count > 1]
    ended = sum(statuses[name] for name in (*SENT, "skipped", "held", "failed", "unknown"))
    late = [key for key, at in diary.revoked.items() if diary.arrived.get(key, 0.0) > at]
    merged = {absorbed: (survivor, at) for survivor, absorbed, at in diary.merged}
    at_night = [row for row in diary.taken if _is_night(row, merged)]
    broken = {
        "missing from the books (planned - sent - skipped - held - failed - unknown)": abs(
            planned - ended
        ),
        "lost: counted as sent, and no vendor has them": sum(
            row["status"] in SENT and not taken[key] for key, row in messages.items()
        ),
        "hidden: a vendor has them, and we say that they did not go": sum(
            not _is_known(messages[key]) for key in taken
        ),
        "duplicates at the provider with keys": twice.count("resend"),
        "blind re-sends at providers without keys": len(twice) - twice.count("resend"),
        "requests started after a revoke was committed": len(late),
        "requests outside the allowed hours": len(at_night),
        "second messages to persons who were merged before": _second_messages(diary, messages),
        "breaks in the audit chain": int(not audit.verify(house).is_intact),
        "unbalanced transactions": len(wallet.imbalances(house)),
    }
    seen = [f"{row['provider']} {row['message_key']} at {row['accepted_at']}" for row in at_night]
    return Books(planned, dict(statuses), broken, tuple([*seen, *late][:10]))


def _is_known(row: dict[str, str]) -> bool:
    """A message that a vendor took is sent, or unknown, or failed by the vendor's own event."""
    return row["status"] in (*SENT, "unknown") or (row["status"], row["reason"]) == (
        "failed",
        "bounce",
    )


def _is_night(row: dict[str, Any], merged: dict[str, tuple[str, int]]) -> bool:
    """By the wall clock of the person: after a merge they live where the survivor lives."""
    named = row["address"].split("@")[0].lstrip("c+")[-7:]
    survivor, at = merged.get(f"c{named}", (f"c{named}", 0))
    number = int(survivor[1:] if row["moment"] > at else named)
    zone = ZoneInfo(ZONES[number % len(ZONES)] or "Europe/London")
    hour = datetime.fromisoformat(row["accepted_at"]).astimezone(zone).hour
    return not OPENS <= hour < CLOSES


def _second_messages(diary: Diary, messages: dict[str, dict[str, str]]) -> int:
    moment = {messages[row["message_key"]]["person_id"]: row["moment"] for row in diary.taken}
    return sum(
        survivor in moment and absorbed in moment
        and max(moment[survivor], moment[absorbed]) > merged_at
        for survivor, absorbed, merged_at in diary.merged
    )  # fmt: skip
