"""Frequency: how much somebody has heard lately, by rolling and calendar windows, and the gap.

Belongs here: counting touches in windows, the caps that are reached, the first free moment. Pure;
planning, the last look before sending and the replay of past days all count with these functions.
Keep out: reading messages (`candidates.py`, `recheck.py`), the limits themselves (`programs.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from activations import quiet_hours
from activations.programs import Guardrails

# Limits of Guardrails by the window they count in. A rolling window is so many times 24 hours; a
# calendar window is a day, a week from Monday, or a month where the person lives.
ROLLING_DAYS = {"messages_per_7_days": 7, "messages_per_30_days": 30}
CALENDAR_DAYS = {
    "messages_per_local_day": 1,
    "messages_per_local_week": 7,
    "messages_per_local_month": 31,
}
OWN = "program_"
EVERYWHERE = (*ROLLING_DAYS, *CALENDAR_DAYS)
OF_PROGRAM = tuple(f"{OWN}{name}" for name in EVERYWHERE)
CAPS = {"frequency_cap": EVERYWHERE, "program_cap": OF_PROGRAM}


class Touch(NamedTuple):
    """One marketing message of a program: heard `at` a moment, or on its way if `is_planned`."""

    program: str
    at: datetime
    is_planned: bool = False


def look_back(rules: Guardrails) -> timedelta:
    """How far back touches matter under these rules: the longest window with a limit, or the gap.

    A calendar window gets a day more, for the zones east and west of UTC.
    """
    days = [float(ROLLING_DAYS[_bare(name)]) for name in _limited(rules, ROLLING_DAYS)]
    days += [CALENDAR_DAYS[_bare(name)] + 1.0 for name in _limited(rules, CALENDAR_DAYS)]
    return timedelta(days=max([*days, rules.minimum_gap_hours / 24]))


def counts(
    rules: Guardrails,
    program: str,
    touches: Sequence[Touch],
    zone: str,
    now: datetime,
    said_at: datetime | None = None,
) -> dict[str, int]:
    """Touches in the window of each limit in force, by the limit's name.

    Rolling windows end at `now`; calendar windows are those that `said_at` (default `now`) falls
    into in `zone`. What is on its way counts in every window, since nobody knows yet when it lands.
    """
    in_force = limits(rules)
    if not touches:
        return dict.fromkeys(in_force, 0)
    days = _local_days(in_force, touches, zone)
    said_on = quiet_hours.local_date(said_at or now, zone) if days else None
    out = {}
    for name in in_force:
        window = _bare(name)
        is_own = name.startswith(OWN)
        since = now - timedelta(days=ROLLING_DAYS.get(window, 0))
        out[name] = sum(
            touch.is_planned
            or (
                touch.at > since
                if said_on is None or window in ROLLING_DAYS
                else _is_same(window, days[row], said_on)
            )
            for row, touch in enumerate(touches)
            if not is_own or touch.program == program
        )
    return out


@lru_cache(maxsize=256)
def limits(rules: Guardrails) -> Mapping[str, int]:
    """The limits in force, by name; a limit that is null does not exist."""
    held = {name: getattr(rules, name) for name in (*EVERYWHERE, *OF_PROGRAM)}
    return {name: limit for name, limit in held.items() if limit is not None}


def is_reached(rules: Guardrails, counted: Mapping[str, Any], names: Iterable[str]) -> Any:
    """Whether one more would break a limit among `names`; element by element where counts are."""
    out: Any = False
    in_force = limits(rules)
    for name in names:
        if name in in_force:
            out = out | (counted[name] >= in_force[name])
    return out


def reached(
    rules: Guardrails, program: str, touches: Sequence[Touch], zone: str, now: datetime
) -> str | None:
    """The reason why nothing more may be said at `now`, or None."""
    counted = counts(rules, program, touches, zone, now)
    return next((cap for cap, names in CAPS.items() if is_reached(rules, counted, names)), None)


def full_day(rules: Guardrails, touches: Iterable[Touch], zone: str) -> date | None:
    """The last local day on which no further message fits; None where there is none."""
    heard: dict[date, int] = {}
    for touch in touches:
        if not touch.is_planned:
            day = quiet_hours.local_date(touch.at, zone)
            heard[day] = heard.get(day, 0) + 1
    limit = rules.messages_per_local_day
    full = [day for day, count in heard.items() if limit is not None and count >= limit]
    return max(full, default=None)


def rested_at(rules: Guardrails, touches: Iterable[Touch]) -> datetime | None:
    """When the minimum gap since the last message is over; None for who heard nothing."""
    last = max((touch.at for touch in touches if not touch.is_planned), default=None)
    return None if last is None else last + timedelta(hours=rules.minimum_gap_hours)


def _local_days(in_force: Mapping[str, int], touches: Sequence[Touch], zone: str) -> list[date]:
    """The local day of each touch, where a calendar window asks for it."""
    if all(_bare(name) in ROLLING_DAYS for name in in_force):
        return []
    return [quiet_hours.local_date(touch.at, zone) for touch in touches]


def _is_same(window: str, one: date, other: date) -> bool:
    if window == "messages_per_local_day":
        return one == other
    if window == "messages_per_local_week":
        return one.isocalendar()[:2] == other.isocalendar()[:2]
    return (one.year, one.month) == (other.year, other.month)


def _limited(rules: Guardrails, windows: Iterable[str]) -> list[str]:
    in_force = limits(rules)
    return [name for bare in windows for name in (bare, OWN + bare) if name in in_force]


def _bare(name: str) -> str:
    return name.removeprefix(OWN)
