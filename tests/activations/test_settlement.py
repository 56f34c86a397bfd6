"""What providers tell afterwards, applied to messages, addresses and consent."""

from datetime import timedelta

from activations import audit
from activations.dispatch import send_due
from activations.http import Response
from activations.keys import address_hash
from activations.settlement import settle
from tests.activations.sending import MORNING, SENDGRID, TWILIO, event, keys, planned
from tests.activations.world import AS_OF, LOST, Vendor, World


def test_a_lost_answer_is_unknown_until_an_event_tells(world: World, audience) -> None:
    planned(world, audience, 2)
    vendor = Vendor(script=[LOST])
    summary = send_due(world.warehouse, MORNING, SENDGRID, vendor)
    assert dict(summary.by_status) == {"unknown": 2}
    assert send_due(world.warehouse, MORNING + timedelta(days=1), SENDGRID, vendor).requests == 0
    first, second = keys(world)
    event(world, "delivered", first)
    assert settle(world.warehouse, AS_OF + timedelta(days=1)).messages == 1
    rows = world.warehouse.rows("select message_key, status from delivery.messages order by 1")
    assert [row["status"] for row in rows] == ["delivered", "unknown"]
    assert rows[1]["message_key"] == second


def test_events_move_messages_forward_only(world: World, audience) -> None:
    planned(world, audience, 3)
    send_due(world.warehouse, MORNING, SENDGRID, Vendor())
    first, second, third = keys(world)
    for number, kind in enumerate(("click", "delivered", "processed", "deferred")):
        event(world, kind, first, number)
    event(world, "processed", second)
    event(world, "reply", second)
    event(world, "delivered", third)
    until = AS_OF + timedelta(days=1)
    assert settle(world.warehouse, until).messages == 2
    assert settle(world.warehouse, until).messages == 0
    event(world, "bounce", third, 9)
    assert settle(world.warehouse, until).messages == 1
    rows = world.warehouse.rows("select status, reason from delivery.messages order by message_key")
    assert [(row["status"], row["reason"]) for row in rows] == [
        ("delivered", None), ("accepted", None), ("failed", "bounce"),
    ]  # fmt: skip


def test_bounces_complaints_and_unsubscribes_suppress(world: World, audience) -> None:
    people = planned(world, audience, 5)
    send_due(world.warehouse, MORNING, SENDGRID, Vendor())
    rows = world.warehouse.rows("select person_id, message_key from delivery.messages")
    key = {row["person_id"]: row["message_key"] for row in rows}
    event(world, "bounce", key["p000"])
    event(world, "soft_bounce", key["p001"], 1)
    event(world, "soft_bounce", key["p001"], 2)
    event(world, "complaint", key["p002"])
    event(world, "unsubscribe", key["p003"])
    for number in (1, 2, 3):
        event(world, "soft_bounce", key["p004"], number)
    reply = {"provider": "twilio", "From": "+447700900123", "Body": "STOP"}
    event(world, "unsubscribe", None, **reply)
    until = AS_OF + timedelta(days=1)
    settled = settle(world.warehouse, until)
    assert (settled.suppressions, settled.consent_changes) == (5, 3)
    assert settle(world.warehouse, until) == type(settled)(0, 0, 0)
    held = world.warehouse.rows("select address_hash, reason, since_at from delivery.suppressions")
    hashes = {address_hash(f"{person}@example.com"): person for person in people}
    hashes[address_hash("+447700900123")] = "caller"
    assert {hashes[row["address_hash"]]: row["reason"] for row in held} == {
        "p000": "hard_bounce", "p002": "complaint", "p003": "unsubscribe",
        "p004": "soft_bounces", "caller": "unsubscribe",
    }  # fmt: skip
    third = next(row for row in held if row["reason"] == "soft_bounces")
    assert third["since_at"] == MORNING + timedelta(minutes=3)
    assert audit.verify(world.warehouse).is_intact


def test_events_after_as_of_are_not_known_yet(world: World, audience) -> None:
    planned(world, audience, 1)
    send_due(world.warehouse, MORNING, SENDGRID, Vendor())
    event(world, "delivered", keys(world)[0], 30)
    assert settle(world.warehouse, MORNING + timedelta(minutes=29)).messages == 0
    assert settle(world.warehouse, MORNING + timedelta(minutes=30)).messages == 1


def test_an_opt_out_the_provider_knows_of_becomes_ours(world: World, audience) -> None:
    planned(world, audience, 1, arm="sms_none_news")
    answer = Response(400, {}, b'{"code": 21610, "message": "x", "status": 400}')
    send_due(world.warehouse, MORNING, TWILIO, Vendor(script=[answer]))
    assert world.statuses()["p000"] == ("skipped", "blocked:21610")
    assert world.warehouse.rows("select channel, reason from delivery.suppressions") == [
        {"channel": "sms", "reason": "opted_out"}
    ]
    assert world.warehouse.rows("select status from delivery.consent_changes") == [
        {"status": "revoked"}
    ]
