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
    """Where to believe somebody: in their own zone, else their country, else the workspace's zone.

    An IANA name, or the code of a country that has several zones: then the person may live in
    any of them (Antarctica, whose zones share no hour, is its first). An unknown name counts as
    missing.
    """
    if person and _zone(person) is not None:
        return person
    code = (country or "").strip().upper()
    zones = _zones_by_country().get(code, ())
    if not zones:
        return workspace
    return zones[0] if len(zones) == 1 else code


def is_quiet(moment: datetime, zone: str) -> bool:
    """Whether `moment` lies in quiet hours: for a country, in those of any of its zones."""
    return any(_is_quiet_in(moment, name) for name in _zones_of(zone))


def local_date(moment: datetime, zone: str) -> date:
    """The calendar day on which `moment` falls; for a country, in its most populous zone."""
    return moment.astimezone(_known(_zones_of(zone)[0])).date()


def next_allowed(send_at: datetime, zone: str) -> datetime:
    """The first moment at or after `send_at` outside the quiet hours of `zone`, in UTC.

    Local wall time decides, so the answer is 08:00 before and after every clock change; for a
    country, 08:00 in its westernmost zone.
    """
    moment, zones = send_at.astimezone(UTC), _zones_of(zone)
    while late := [name for name in zones if _is_quiet_in(moment, name)]:
        moment = max(_opening(moment, name) for name in late)
    return moment


def _opening(moment: datetime, zone: str) -> datetime:
    local = moment.astimezone(_known(zone))
    day = local.date() + timedelta(days=0 if local.hour < OPENS_HOUR else 1)
    while True:
        opening = _at(day, OPENS_HOUR, zone)
        # A zone that jumps over its own morning (Samoa, 2011-12-30) opens on the day after.
        if opening > moment and not _is_quiet_in(opening, zone):
            return opening
        day += timedelta(days=1)


def _is_quiet_in(moment: datetime, zone: str) -> bool:
    return not OPENS_HOUR <= moment.astimezone(_known(zone)).hour < CLOSES_HOUR


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
    local = earliest.astimezone(_known(_zones_of(zone)[0]))
    days_ahead = (hour_of_week // 24 - local.weekday()) % 7
    for ahead in (days_ahead, 0, 1):
        wished = _at(local.date() + timedelta(days=ahead), hour_of_week % 24, zone)
        if earliest <= wished < deadline and not is_quiet(wished, zone):
            return wished
    return earliest


def _at(day: date, hour: int, zone: str) -> datetime:
    here = _known(_zones_of(zone)[0])
    return datetime(day.year, day.month, day.day, hour, tzinfo=here).astimezone(UTC)


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


def _zones_of(zone: str) -> tuple[str, ...]:
    return _zones_by_country().get(zone) or (zone,)


@lru_cache(maxsize=1)
def _zones_by_country() -> dict[str, tuple[str, ...]]:
    """IANA names by ISO 3166 code: the tz database's `zone.tab`, the most populous zone first."""
    table = resources.files("tzdata").joinpath("zoneinfo", "zone.tab").read_text("utf-8")
    zones: dict[str, tuple[str, ...]] = {}
    for line in table.splitlines():
        if line and not line.startswith("#"):
            country, _coordinates, zone, *_note = line.split("\t")
            zones[country] = (*zones.get(country, ()), zone)
    return {code: own if _share_hours(own) else own[:1] for code, own in zones.items()}


def _share_hours(zones: tuple[str, ...]) -> bool:
    """Whether two hours of each day are allowed in all zones, in January and in July."""
    days = ([datetime(2026, month, 1, hour, tzinfo=UTC) for hour in range(24)] for month in (1, 7))
    return all(
        sum(not any(_is_quiet_in(moment, zone) for zone in zones) for moment in day) >= 2
        for day in days
    )
