"""Quiet hours: local wall time decides, through every clock change."""

from datetime import UTC, datetime, timedelta
from importlib import resources
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activations import quiet_hours

ZONES = sorted(available_timezones())
MOMENTS = st.datetimes(
    min_value=datetime(2005, 1, 1), max_value=datetime(2035, 1, 1), timezones=st.just(UTC)
)


@settings(max_examples=400, deadline=None)
@given(MOMENTS, st.sampled_from(ZONES))
def test_the_next_allowed_moment_is_allowed_and_the_first(moment: datetime, zone: str) -> None:
    allowed = quiet_hours.next_allowed(moment, zone)
    local = allowed.astimezone(ZoneInfo(zone))
    assert 8 <= local.hour < 21
    assert allowed >= moment
    # Nothing between is allowed: step through in five minutes, as the dispatcher does.
    step = moment
    while step < allowed:
        assert quiet_hours.is_quiet(step, zone), f"{step} was allowed before {allowed}"
        step += timedelta(minutes=5)
    assert allowed - moment < timedelta(hours=36)


@pytest.mark.parametrize(
    ("evening", "opening"),
    [
        # London springs forward on 2026-03-29: that morning 08:00 is 07:00 UTC.
        ("2026-03-27T22:00+00:00", "2026-03-28T08:00+00:00"),
        ("2026-03-28T22:00+00:00", "2026-03-29T07:00+00:00"),
        # and falls back on 2026-10-25.
        ("2026-10-24T21:30+00:00", "2026-10-25T08:00+00:00"),
    ],
)
def test_eight_in_the_morning_moves_with_the_clock(evening: str, opening: str) -> None:
    moment = datetime.fromisoformat(evening)
    assert quiet_hours.next_allowed(moment, "Europe/London") == datetime.fromisoformat(opening)


def test_twenty_one_is_quiet_and_a_minute_before_is_not() -> None:
    late = datetime(2026, 6, 1, 20, 59, tzinfo=ZoneInfo("America/New_York"))
    assert not quiet_hours.is_quiet(late, "America/New_York")
    assert quiet_hours.is_quiet(late + timedelta(minutes=1), "America/New_York")


def test_a_zone_falls_back_to_the_country_then_to_the_workspace() -> None:
    assert quiet_hours.zone_of("Asia/Tokyo", "US", "Europe/London") == "Asia/Tokyo"
    assert quiet_hours.zone_of(None, "us", "Europe/London") == "US"
    assert quiet_hours.zone_of(None, "AQ", "Europe/London") == "Antarctica/McMurdo"
    assert quiet_hours.zone_of("Mars/Olympus", "FR", "Europe/London") == "Europe/Paris"
    assert quiet_hours.zone_of(None, "Atlantis", "Europe/London") == "Europe/London"


def test_somewhere_in_a_country_means_an_hour_allowed_in_all_of_it() -> None:
    new_york_at_nine = datetime(2026, 6, 1, 13, tzinfo=UTC)
    allowed = quiet_hours.next_allowed(new_york_at_nine, "US")
    assert allowed == datetime(2026, 6, 1, 8, tzinfo=ZoneInfo("Pacific/Honolulu"))
    assert quiet_hours.is_quiet(new_york_at_nine, "US")
    assert not quiet_hours.is_quiet(allowed, "US")
    evening = datetime(2026, 6, 1, 21, tzinfo=ZoneInfo("America/New_York"))
    assert quiet_hours.is_quiet(evening, "US")


@settings(max_examples=60, deadline=None)
@given(MOMENTS)
def test_every_country_has_an_hour_soon(moment: datetime) -> None:
    for country in countries():
        zone = quiet_hours.zone_of(None, country, "Europe/London")
        allowed = quiet_hours.next_allowed(moment, zone)
        assert not quiet_hours.is_quiet(allowed, zone)
        assert timedelta(0) <= allowed - moment < timedelta(hours=36)


def countries() -> list[str]:
    table = resources.files("tzdata").joinpath("zoneinfo", "zone.tab").read_text("utf-8")
    return sorted({line[:2] for line in table.splitlines() if line and line[0] != "#"})


def test_the_wished_hour_is_taken_when_it_comes_in_time() -> None:
    start = datetime(2026, 3, 2, 6, tzinfo=UTC)  # a Monday, 06:00 in London
    deadline = start + timedelta(hours=72)
    wednesday_19 = 2 * 24 + 19
    planned = quiet_hours.planned_at(start, "Europe/London", deadline, wednesday_19)
    assert planned == datetime(2026, 3, 4, 19, tzinfo=UTC)
    sunday_19 = 6 * 24 + 19  # too late: the same hour of the first possible day
    planned = quiet_hours.planned_at(start, "Europe/London", deadline, sunday_19)
    assert planned == datetime(2026, 3, 2, 19, tzinfo=UTC)
    night = 3  # 03:00 is quiet: as early as allowed
    planned = quiet_hours.planned_at(start, "Europe/London", deadline, night)
    assert planned == datetime(2026, 3, 2, 8, tzinfo=UTC)


def test_a_day_that_had_its_message_is_avoided() -> None:
    start = datetime(2026, 3, 2, 12, tzinfo=UTC)
    planned = quiet_hours.planned_at(
        start, "Europe/London", start + timedelta(hours=72), 10, avoid=start.date()
    )
    assert planned == datetime(2026, 3, 3, 10, tzinfo=UTC)
