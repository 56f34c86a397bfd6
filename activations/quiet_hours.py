"""Local time: in which zone a person lives, and when a message may reach them.

Belongs here: zones with their fallbacks, quiet hours, the next occurrence of a local hour.
Keep out: which hour is best (`ml/`), caps and consent (`guardrails.py`).
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

# 47 U.S.C. 227 / 47 CFR 64.1200(c)(1): no solicitation before 8 a.m. or after 9 p.m. at the
# called party's location. The house keeps these hours everywhere and for every channel.
OPENS_HOUR, CLOSES_HOUR = 8, 21


def zone_of(person: str | None, country: str | None, workspace: str) -> str:
    """The IANA zone to believe: the person's own, else their country's, else the workspace's.

    A country with several zones stands for its first entry in the tz database's `zone.tab`,
    whose maintainers put the most populous zone first. An unknown name counts as missing.
    """
    if person and _zone(person) is not None:
        return person
    if country and (zone := _zones_by_country().get(country.strip().upper())):
        return zone
    return workspace


def is_quiet(moment: datetime, zone: str) -> bool:
    """Whether `moment` lies in the quiet hours of `zone`."""
    return not OPENS_HOUR <= moment.astimezone(_known(zone)).hour < CLOSES_HOUR


def local_date(moment: datetime, zone: str) -> date:
    """The calendar day on which `moment` falls in `zone`."""
    return moment.astimezone(_known(zone)).date()


def next_allowed(send_at: datetime, zone: str) -> datetime:
    """The first moment at or after `send_at` outside the quiet hours of `zone`, in UTC.

    Local wall time decides, so the answer is 08:00 before and after every clock change.
    """
    if not is_quiet(send_at, zone):
        return send_at.astimezone(UTC)
    local = send_at.astimezone(_known(zone))
    day = local.date() + timedelta(days=0 if local.hour < OPENS_HOUR else 1)
    while True:
        opening = _at(day, OPENS_HOUR, zone)
        # A zone that jumps over its own morning (Samoa, 2011-12-30) opens on the day after.
        if opening > send_at and not is_quiet(opening, zone):
            return opening
        day += timedelta(days=1)


def planned_at(
    start: datetime,
    zone: str,
    deadline: datetime,
    hour_of_week: int | None = None,
    avoid: date | None = None,
) -> datetime:
    """When to send: the wished local hour if it fits before `deadline`, else the earliest allowed.

    `hour_of_week` is 0..167 with Monday 00:00 local = 0; a weekday too far away falls back to
    the same hour of the next possible day. `avoid` is a local day that already had a message.
    """
    earliest = next_allowed(start, zone)
    if avoid is not None and local_date(earliest, zone) <= avoid:
        earliest = next_allowed(_at(avoid + timedelta(days=1), 0, zone), zone)
    if hour_of_week is None:
        return earliest
    local = earliest.astimezone(_known(zone))
    days_ahead = (hour_of_week // 24 - local.weekday()) % 7
    for ahead in (days_ahead, 0, 1):
        wished = _at(local.date() + timedelta(days=ahead), hour_of_week % 24, zone)
        if earliest <= wished < deadline and not is_quiet(wished, zone):
            return wished
    return earliest


def _at(day: date, hour: int, zone: str) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=_known(zone)).astimezone(UTC)


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _known(name: str) -> ZoneInfo:
    zone = _zone(name)
    if zone is None:
        raise ValueError(f"{name}: no such time zone in the IANA database")
    return zone


@lru_cache(maxsize=1)
def _zones_by_country() -> dict[str, str]:
    table = resources.files("tzdata").joinpath("zoneinfo", "zone.tab").read_text("utf-8")
    zones: dict[str, str] = {}
    for line in table.splitlines():
        if line and not line.startswith("#"):
            country, _coordinates, zone, *_note = line.split("\t")
            zones.setdefault(country, zone)
    return zones
