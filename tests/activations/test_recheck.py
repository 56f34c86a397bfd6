"""The last look before a message goes out: consent, merges, hours and caps at that moment."""

import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from activations import consent, dispatch, persons
from activations.consent import Change
from activations.dispatch import send_due
from activations.http import Request
from activations.keys import address_hash
from tests.activations.sending import MORNING, SENDGRID, TWILIO, due_times, keys, planned
from tests.activations.world import AS_OF, Vendor, World, adapter


def test_consent_revoked_between_planning_and_sending_is_skipped(world: World, audience) -> None:
    planned(world, audience, 3)
    changed = Change("email", address_hash("p001@example.com"), "revoked", "page", AS_OF)
    assert consent.record(world.warehouse, [changed]) == 1
    vendor = Vendor()
    summary = send_due(world.warehouse, MORNING, SENDGRID, vendor)
    assert dict(summary.by_reason) == {"no_consent": 1}
    assert len(vendor.keys) == 2
    assert world.statuses()["p001"] == ("skipped", "no_consent")


def test_a_revoke_waits_for_one_request_and_stops_the_next(world: World, audience) -> None:
    """No request starts after a revoke was committed: here it arrives in the middle of one.

    It waits for that request alone, not for the 24 others that were looked at together.
    """
    planned(world, audience, 26, arm="sms_none_news")
    row = world.warehouse.rows(
        "select address_hash from delivery.messages order by send_at, message_key offset 1"
    )[0]
    order: list[str] = []
    revoked = Change("sms", row["address_hash"], "revoked", "reply", AS_OF)

    def revoke() -> None:
        consent.record(world.warehouse, [revoked])
        order.append("revoked")

    thread = threading.Thread(target=revoke)

    def before(_request: Request) -> None:
        order.append("request")
        if len(order) == 1:
            thread.start()
            thread.join(timeout=0.3)
            assert thread.is_alive(), "the revoke did not wait for the request under way"

    vendor = Vendor(before=before)
    send_due(world.warehouse, MORNING, TWILIO, vendor)
    thread.join()
    assert order.index("revoked") == 1
    assert order.count("request") == 25
    assert list(world.statuses().values()).count(("skipped", "no_consent")) == 1


def test_late_messages_expire_and_night_ones_move_to_the_morning(world: World, audience) -> None:
    planned(world, audience, 1)
    night = MORNING + timedelta(hours=14)
    summary = send_due(world.warehouse, night, SENDGRID, Vendor())
    assert dict(summary.by_status) == {"replanned": 1}
    morning = MORNING + timedelta(days=1)
    assert due_times(world, night, night + timedelta(days=1)) == [morning]
    late = AS_OF + timedelta(hours=73, minutes=120)
    vendor = Vendor()
    send_due(world.warehouse, late, SENDGRID, vendor)
    assert world.statuses()["p000"] == ("skipped", "expired")
    assert vendor.requests == []


def test_caps_hold_at_send_time_across_channels(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two programs, two channels, two dispatchers, one person: one message that day."""
    mark = dispatch._mark

    def slowly(*args: Any) -> None:
        time.sleep(0.5)  # between the verdict and its mark the other one gets its chance
        mark(*args)

    monkeypatch.setattr(dispatch, "_mark", slowly)
    world.person("p", sms=True)
    for program in ("welcome", "win_back"):
        world.program(program)
        world.assign(program, "policy", ["p"])
        world.occasion(program, "p")
    world.decide(world.program("win_back"), arm="sms_none_news")
    # Decided first, welcome sees no plan of the later program of the same day: both are planned.
    world.decide(world.program("welcome"), arm="email_none_greeting")
    vendors = {"sendgrid": Vendor(), "twilio": Vendor()}
    threads = [
        threading.Thread(target=send_due, args=(world.warehouse, MORNING, adapter(name), vendor))
        for name, vendor in vendors.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(vendor.keys) for vendor in vendors.values()) == 1
    rows = world.warehouse.rows("select status, reason from delivery.messages order by status")
    assert [row["status"] for row in rows] == ["accepted", "skipped"]
    assert rows[1]["reason"] == "frequency_cap"


def test_three_messages_in_seven_days_are_enough(world: World, audience) -> None:
    planned(world, audience, 1)
    key = keys(world)[0]
    for days in (2, 4, 6):
        world.warehouse.execute(
            "insert into delivery.messages (message_key, decision_id, program, person_id, channel,"
            " provider, status, variant_id, content_hash, send_at, expires_at, sent_at,"
            " address_hash) select message_key || %(d)s, decision_id, program, person_id, channel,"
            " provider, 'delivered', variant_id, content_hash, %(t)s, expires_at, %(t)s,"
            " address_hash from delivery.messages where message_key = %(k)s",
            d=str(days), t=MORNING - timedelta(days=days), k=key,
        )  # fmt: skip
    assert dict(send_due(world.warehouse, MORNING, SENDGRID, Vendor()).by_reason) == {
        "frequency_cap": 1
    }


def test_a_merge_after_planning_sends_one_of_two(world: World, audience) -> None:
    planned(world, audience, 2)
    world.warehouse.execute(
        "insert into identity.merges values ('m', 'p000', 'p001', %(t)s, '{}', null, null)",
        t=AS_OF + timedelta(hours=1),
    )
    vendor = Vendor()
    send_due(world.warehouse, MORNING, SENDGRID, vendor)
    assert len(vendor.keys) == 1
    assert sorted(world.statuses().values()) == [
        ("accepted", None), ("skipped", "merged_duplicate"),
    ]  # fmt: skip


def test_a_message_to_an_address_that_became_another_persons_is_skipped(
    world: World, audience
) -> None:
    """A merge undone, or a split: what was planned for one must not reach the other."""
    planned(world, audience, 2)
    world.warehouse.execute(
        "update identity.contact_points set person_id = 'p001' where person_id = 'p000'"
    )
    vendor = Vendor()
    send_due(world.warehouse, MORNING, SENDGRID, vendor)
    assert len(vendor.keys) == 1
    assert world.statuses()["p000"] == ("skipped", "not_their_address")


def test_a_workspace_that_never_ran_says_so(world: World) -> None:
    world.warehouse.execute("delete from raw.workspace")
    with world.warehouse.transaction() as connection, pytest.raises(LookupError, match="is empty"):
        persons.workspace(connection)
