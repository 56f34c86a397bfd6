"""Frequency: rolling and calendar windows, the gap, at every clock change; pure and at sending."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activations import dispatch, frequency, quiet_hours
from activations.frequency import Touch
from activations.programs import Guardrails
from tests.activations.sending import MORNING, SENDGRID, keys, planned
from tests.activations.world import AS_OF, Vendor, World

ZONES = ["Europe/London", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "UTC"]
MOMENTS = st.datetimes(
    min_value=datetime(2024, 1, 1), max_value=datetime(2027, 1, 1), timezones=st.just(UTC)
)
NO_LIMITS: dict[str, Any] = {"messages_per_7_days": None, "messages_per_local_day": None}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def reached(now: str, *touches: str, zone: str = "Europe/London", **rules: Any) -> str | None:
    heard = [Touch(*text.split(" ")[:1], at(text.split(" ")[1])) for text in touches]
    held = Guardrails.model_validate(NO_LIMITS | rules)
    return frequency.reached(held, "win_back", heard, zone, at(now))


@pytest.mark.parametrize(
    ("rules", "now", "touch", "is_reached"),
    [
        ({"messages_per_7_days": 1}, "2026-03-09T07:59", "2026-03-02T08:00", True),
        ({"messages_per_7_days": 1}, "2026-03-09T08:00", "2026-03-02T08:00", False),
        ({"messages_per_30_days": 1}, "2026-03-31T08:00", "2026-03-01T08:01", True),
        ({"messages_per_30_days": 1}, "2026-03-31T08:00", "2026-03-01T08:00", False),
        # Sunday and Monday are two weeks of the calendar, and one of a rolling window.
        ({"messages_per_local_week": 1}, "2026-03-09T08:00", "2026-03-08T20:00", False),
        ({"messages_per_local_week": 1}, "2026-03-08T20:00", "2026-03-02T08:00", True),
        # The ISO week 2026-W01 begins in December.
        ({"messages_per_local_week": 1}, "2026-01-01T12:00", "2025-12-29T12:00", True),
        ({"messages_per_local_month": 1}, "2026-04-01T08:00", "2026-03-31T12:00", False),
        ({"messages_per_local_month": 1}, "2026-03-31T12:00", "2026-03-01T12:00", True),
        # 23:30 UTC on 31 March is 00:30 on 1 April in London, where summer time has begun.
        ({"messages_per_local_month": 1}, "2026-04-01T08:00", "2026-03-31T23:30", True),
        ({"messages_per_local_day": 1}, "2026-06-01T08:00", "2026-05-31T23:30", True),
        ({"messages_per_local_day": 1}, "2026-01-02T08:00", "2026-01-01T23:30", False),
        ({"messages_per_local_day": 0}, "2026-01-02T08:00", "2025-01-01T08:00", True),
    ],
)
def test_a_window_ends_where_it_says(
    rules: dict[str, Any], now: str, touch: str, is_reached: bool
) -> None:
    assert reached(now, f"welcome {touch}", **rules) == ("frequency_cap" if is_reached else None)


def test_a_program_has_limits_of_its_own() -> None:
    rules = {"program_messages_per_30_days": 1}
    assert reached("2026-03-10T08:00", "welcome 2026-03-09T08:00", **rules) is None
    assert reached("2026-03-10T08:00", "win_back 2026-02-20T08:00", **rules) == "program_cap"


@settings(max_examples=200, deadline=None)
@given(MOMENTS, st.sampled_from(ZONES), st.integers(-60, 60))
def test_a_local_day_holds_its_own_touches_through_every_clock_change(
    now: datetime, zone: str, hours: int
) -> None:
    heard = now + timedelta(hours=hours)
    rules = Guardrails.model_validate(NO_LIMITS | {"messages_per_local_day": 1})
    same = heard.astimezone(ZoneInfo(zone)).date() == now.astimezone(ZoneInfo(zone)).date()
    found = frequency.counts(rules, "p", [Touch("p", heard)], zone, now)
    assert found == {"messages_per_local_day": int(same)}
    assert frequency.full_day(rules, [Touch("p", heard)], zone) == quiet_hours.local_date(
        heard, zone
    )


@settings(max_examples=200, deadline=None)
@given(MOMENTS, st.sampled_from(ZONES), st.floats(0, 60 * 24))
def test_what_lies_before_the_look_back_counts_nowhere(
    now: datetime, zone: str, hours: float
) -> None:
    rules = Guardrails.model_validate(
        {name: 1 for name in (*frequency.EVERYWHERE, *frequency.OF_PROGRAM)}
    )
    heard = Touch("p", now - frequency.look_back(rules) - timedelta(hours=hours))
    assert set(frequency.counts(rules, "p", [heard], zone, now).values()) == {0}


def test_only_limits_in_force_are_looked_back_for() -> None:
    assert frequency.look_back(Guardrails()) == timedelta(days=7)
    assert frequency.look_back(Guardrails(messages_per_30_days=9)) == timedelta(days=30)
    assert frequency.look_back(Guardrails(program_messages_per_local_month=9)) == timedelta(days=32)
    assert frequency.look_back(Guardrails(minimum_gap_hours=400)) == timedelta(hours=400)


def test_what_is_on_its_way_counts_everywhere_and_ends_no_gap() -> None:
    rules = Guardrails(messages_per_local_month=1)
    on_its_way = Touch("p", AS_OF - timedelta(days=300), is_planned=True)
    assert set(frequency.counts(rules, "p", [on_its_way], "UTC", AS_OF).values()) == {1}
    assert frequency.rested_at(rules, [on_its_way]) is None
    assert frequency.full_day(rules, [on_its_way], "UTC") is None
    assert frequency.rested_at(rules, [Touch("p", AS_OF)]) == AS_OF + timedelta(hours=12)


def hear(world: World, before: timedelta, program: str = "win_back") -> None:
    """The planned person heard something of a program, so long before the morning."""
    world.warehouse.execute(
        "insert into delivery.messages (message_key, decision_id, program, person_id, channel,"
        " provider, status, variant_id, content_hash, send_at, expires_at, sent_at, address_hash)"
        " select %(k)s, decision_id, %(p)s, person_id, 'sms', 'twilio', 'delivered', variant_id,"
        " content_hash, %(t)s, expires_at, %(t)s, address_hash from delivery.messages limit 1",
        k=f"heard {before}", p=program, t=MORNING - before,
    )  # fmt: skip


def house(world: World, rules: str) -> None:
    world.warehouse.execute("update raw.workspace set guardrails = %(r)s::jsonb", r=rules)


@pytest.mark.parametrize(
    ("rules", "heard", "reason"),
    [
        ("{}", timedelta(days=20), None),
        ('{"messages_per_30_days": 1}', timedelta(days=20), "frequency_cap"),
        ('{"programs": {"win_back": {"messages_per_30_days": 1}}}', timedelta(days=20),
         "frequency_cap"),
        ('{"program_messages_per_30_days": 1}', timedelta(days=20), "program_cap"),
        ('{"messages_per_local_week": 1}', timedelta(days=1), None),  # the morning is a Monday's
        ('{"messages_per_local_month": 1}', timedelta(days=1), "frequency_cap"),  # 2 March
        ('{"messages_per_local_month": 1}', timedelta(days=2), None),
    ],
)  # fmt: skip
def test_house_rules_hold_at_the_moment_of_sending(
    world: World, audience, rules: str, heard: timedelta, reason: str | None
) -> None:
    """Rules that became stricter after the planning stop what was planned under the old ones."""
    planned(world, audience, 1)
    hear(world, heard)
    house(world, rules)
    summary = dispatch.send_due(world.warehouse, MORNING, SENDGRID, Vendor())
    assert dict(summary.by_reason) == ({reason: 1} if reason else {})
    assert world.statuses()["p000"][1] == reason


def test_the_gap_moves_a_message_and_never_beyond_its_expiry(world: World, audience) -> None:
    planned(world, audience, 1)
    key = keys(world)[0]
    hear(world, timedelta(hours=11))  # yesterday at 21:00
    summary = dispatch.send_due(world.warehouse, MORNING, SENDGRID, Vendor())
    assert dict(summary.by_status) == {"replanned": 1}
    query = "select send_at, status from delivery.messages where message_key = %(k)s"
    moved = world.warehouse.rows(query, k=key)[0]
    assert moved == {"send_at": MORNING + timedelta(hours=1), "status": "planned"}
    later = dispatch.send_due(world.warehouse, moved["send_at"], SENDGRID, Vendor())
    assert dict(later.by_status) == {"accepted": 1}
    world.warehouse.execute(
        "update delivery.messages set status = 'planned', sent_at = null, send_at = %(m)s"
        " where message_key = %(k)s",
        k=key, m=MORNING,
    )  # fmt: skip
    house(world, '{"minimum_gap_hours": 500}')
    dispatch.send_due(world.warehouse, MORNING, SENDGRID, Vendor())
    rows = world.warehouse.rows(
        "select status, reason from delivery.messages where message_key = %(k)s", k=key
    )
    assert rows == [{"status": "skipped", "reason": "expired"}]


def test_planning_waits_for_the_gap_and_for_a_free_day(world: World, audience) -> None:
    planned(world, audience, 1)
    dispatch.send_due(world.warehouse, MORNING, SENDGRID, Vendor())
    world.occasion("win_back", "p000", "again")
    world.decide(world.program("win_back"), as_of=AS_OF + timedelta(hours=4))
    query = "select send_at from delivery.messages where status = 'planned'"
    assert world.warehouse.rows(query) == [{"send_at": MORNING + timedelta(days=1)}]
    world.warehouse.execute("delete from delivery.payloads")
    house(world, '{"minimum_gap_hours": 30, "messages_per_local_day": 5}')
    world.occasion("win_back", "p000", "once more")
    world.decide(world.program("win_back"), as_of=AS_OF + timedelta(hours=5))
    rows = world.warehouse.rows(f"{query} order by send_at desc")
    assert rows[0] == {"send_at": MORNING + timedelta(hours=30)}
