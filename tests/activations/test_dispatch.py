"""Sending: what is due goes once, retries have their times and end, a dry run calls nobody."""

from datetime import datetime, timedelta

from activations import audit, outcomes
from activations.dispatch import send_due, send_until
from activations.http import Response
from tests.activations.sending import MORNING, SENDGRID, TWILIO, due_times, keys, planned
from tests.activations.world import AS_OF, REFUSED, Vendor, World


def test_what_is_due_is_sent_once_in_one_request(world: World, audience) -> None:
    planned(world, audience, 7)
    assert due_times(world, AS_OF, AS_OF + timedelta(days=1)) == [MORNING]
    vendor = Vendor()
    early = send_due(world.warehouse, MORNING - timedelta(minutes=5), SENDGRID, vendor)
    assert (early.requests, dict(early.by_status)) == (0, {})
    summary = send_due(world.warehouse, MORNING, SENDGRID, vendor)
    assert (summary.requests, dict(summary.by_status)) == (1, {"accepted": 7})
    assert sorted(vendor.keys) == keys(world)
    assert send_due(world.warehouse, MORNING, SENDGRID, vendor).requests == 0
    assert due_times(world, AS_OF, AS_OF + timedelta(days=3)) == []
    rows = world.warehouse.rows("select distinct status, sent_at, leased_by from delivery.messages")
    assert rows == [{"status": "accepted", "sent_at": MORNING, "leased_by": None}]
    assert audit.verify(world.warehouse).is_intact


def test_a_simulated_day_is_played_at_the_moments_of_its_provider(world: World, audience) -> None:
    planned(world, audience, 3)
    ticks: list[datetime] = []
    end = AS_OF + timedelta(days=1)
    idle = send_until(world.warehouse, AS_OF, end, TWILIO, Vendor(), ticks.append)
    assert (idle.requests, ticks) == (0, [])
    vendor = Vendor(script=[REFUSED])
    summary = send_until(world.warehouse, AS_OF, end, SENDGRID, vendor, ticks.append)
    assert ticks == [MORNING, MORNING + timedelta(minutes=5)]
    assert dict(summary.by_status) == {"planned": 3, "accepted": 3}


def test_what_was_not_processed_goes_again_later(world: World, audience) -> None:
    planned(world, audience, 2)
    vendor = Vendor(script=[REFUSED, Response(429, {}), None])
    now, seen = MORNING, []
    for _ in range(3):
        seen.append(dict(send_due(world.warehouse, now, SENDGRID, vendor).by_status))
        ticks = due_times(world, now, now + timedelta(days=1))
        now = ticks[0] if ticks else now
    assert seen == [{"planned": 2}, {"planned": 2}, {"accepted": 2}]
    assert now == MORNING + timedelta(minutes=15)  # 5 minutes, then 10
    assert due_times(world, now, now + timedelta(days=1)) == []
    rows = world.warehouse.rows("select outcome from delivery.send_attempts order by attempt_id")
    assert sorted(row["outcome"] for row in rows) == ["accepted"] * 2 + ["retry"] * 4


def test_retries_end(world: World, audience) -> None:
    planned(world, audience, 1)
    vendor, now = Vendor(script=[REFUSED] * 9), MORNING
    while ticks := due_times(world, now - timedelta(minutes=5), now + timedelta(days=1)):
        now = ticks[0]
        send_due(world.warehouse, now, SENDGRID, vendor)
    assert world.statuses()["p000"] == ("failed", "retries_exhausted:ConnectError")
    assert len(vendor.requests) == outcomes.MAX_ATTEMPTS


def test_refused_credentials_stop_and_leave_everything_due(world: World, audience) -> None:
    planned(world, audience, 30, arm="sms_none_news")
    summary = send_due(world.warehouse, MORNING, TWILIO, Vendor(script=[Response(401, {})]))
    assert summary.stopped == "twilio refuses our credentials"
    assert summary.requests == 1
    assert {status for status, _ in world.statuses().values()} == {"planned"}
    later = MORNING + outcomes.AUTH_RETRY
    assert send_due(world.warehouse, later, TWILIO, Vendor()).by_status == {"accepted": 30}


def test_a_dry_run_records_and_calls_nobody(world: World, audience) -> None:
    planned(world, audience, 2)
    summary = send_due(world.warehouse, MORNING, SENDGRID, None)
    assert (summary.requests, dict(summary.by_status)) == (0, {"skipped": 2})
    assert set(world.statuses().values()) == {("skipped", "dry_run")}
    assert len(world.warehouse.rows("select 1 from delivery.send_attempts")) == 2


def test_an_address_the_provider_would_refuse_fails_without_a_request(
    world: World, audience
) -> None:
    planned(world, audience, 1)
    world.warehouse.execute(
        "update delivery.payloads set body = jsonb_set(body, '{address}', '\"nobody\"')"
    )
    vendor = Vendor()
    assert dict(send_due(world.warehouse, MORNING, SENDGRID, vendor).by_status) == {"failed": 1}
    assert vendor.requests == []
    assert world.statuses()["p000"] == ("failed", "permanent:invalid_address")
