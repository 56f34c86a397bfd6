"""Lost answers of a provider with keys: the same request again, and never another one."""

from datetime import timedelta

import pytest

from activations import audit, consent, outbox, wallet
from activations.consent import Change
from activations.dispatch import send_due
from activations.http import Response
from activations.keys import address_hash
from activations.settlement import settle
from tests.activations.keyed import Keyed, KeyedVendor
from tests.activations.sending import MORNING, CrashError, due_times, event, keys, planned
from tests.activations.world import AS_OF, REFUSED, World

KEYED = Keyed()
SOON = MORNING + timedelta(minutes=5)


def statuses(world: World) -> list[str]:
    return sorted(status for status, _ in world.statuses().values())


def test_a_lost_answer_is_asked_for_again_under_its_key(world: World, audience) -> None:
    planned(world, audience, 3)
    vendor = KeyedVendor(script=["lost"])
    first = send_due(world.warehouse, MORNING, KEYED, vendor)
    assert (dict(first.by_status), statuses(world)) == ({"unknown": 3}, ["unknown"] * 3)
    assert send_due(world.warehouse, MORNING, KEYED, vendor).requests == 0
    assert due_times(world, MORNING, MORNING + timedelta(days=1), KEYED) == [SOON]
    again = send_due(world.warehouse, SOON, KEYED, vendor)
    assert (again.requests, dict(again.by_status)) == (1, {"accepted": 3})
    assert vendor.requests[0] == vendor.requests[1]
    assert sorted(vendor.delivered) == keys(world)
    assert audit.verify(world.warehouse).is_intact


def test_a_crash_while_sending_is_asked_for_again(world: World, audience) -> None:
    planned(world, audience, 12)
    vendor = KeyedVendor()

    def die(request: object) -> None:
        vendor(request)  # type: ignore[arg-type]
        raise CrashError

    with pytest.raises(CrashError):
        send_due(world.warehouse, MORNING, KEYED, die)  # type: ignore[arg-type]
    assert statuses(world) == ["reserved"] * 2 + ["sending"] * 10
    later = MORNING + outbox.LEASE
    summary = send_due(world.warehouse, later, KEYED, vendor)
    assert statuses(world) == ["accepted"] * 12
    assert sorted(vendor.delivered) == keys(world)
    assert summary.requests == 2
    assert audit.verify(world.warehouse).is_intact


def test_a_crash_while_asking_again_loses_nothing(world: World, audience) -> None:
    planned(world, audience, 2)
    vendor = KeyedVendor(script=["lost"])
    send_due(world.warehouse, MORNING, KEYED, vendor)

    def die(_request: object) -> None:
        raise CrashError

    with pytest.raises(CrashError):
        send_due(world.warehouse, SOON, KEYED, die)  # type: ignore[arg-type]
    assert statuses(world) == ["sending"] * 2
    assert send_due(world.warehouse, SOON, KEYED, vendor).requests == 0
    send_due(world.warehouse, SOON + outbox.LEASE, KEYED, vendor)
    assert statuses(world) == ["accepted"] * 2
    assert sorted(vendor.delivered) == keys(world)


def test_what_was_not_processed_when_asked_again_stays_unknown(world: World, audience) -> None:
    """The second request was refused; the first may have been taken: it is no plain retry."""
    planned(world, audience, 2)
    vendor = KeyedVendor(script=["lost", Response(429, {"retry-after": "600"}), REFUSED, None])
    now = MORNING
    seen = []
    for _ in range(4):
        summary = send_due(world.warehouse, now, KEYED, vendor)
        seen.append(dict(summary.by_status))
        ticks = due_times(world, now, now + timedelta(days=1), KEYED)
        now = ticks[0] if ticks else now
    assert seen == [{"unknown": 2}, {"unknown": 2}, {"unknown": 2}, {"accepted": 2}]
    assert len({request.headers["Idempotency-Key"] for request in vendor.requests}) == 1
    assert sorted(vendor.delivered) == keys(world)


def test_a_key_is_not_used_when_the_provider_may_have_forgotten_it(world: World, audience) -> None:
    planned(world, audience, 1)
    vendor = KeyedVendor(script=["lost"])
    send_due(world.warehouse, MORNING, KEYED, vendor)
    late = MORNING + timedelta(hours=23)
    assert send_due(world.warehouse, late, KEYED, vendor).requests == 0
    assert world.statuses()["p000"] == ("unknown", "not_asked_again:key_forgotten")
    assert due_times(world, late, late + timedelta(days=9), KEYED) == []


def test_asking_again_ends(world: World, audience) -> None:
    planned(world, audience, 1)
    vendor, now = KeyedVendor(script=["lost"] * 9), MORNING - timedelta(minutes=5)
    while ticks := due_times(world, now, now + timedelta(days=1), KEYED):
        now = ticks[0]
        send_due(world.warehouse, now, KEYED, vendor)
    assert world.statuses()["p000"] == ("unknown", "no_answer:ReadTimeout")
    assert len(vendor.requests) == 5
    assert vendor.delivered == keys(world)


def test_nobody_is_asked_again_for_somebody_who_left(world: World, audience) -> None:
    """The key stands for the whole batch, so one revoke keeps all of it from going again."""
    planned(world, audience, 3)
    vendor = KeyedVendor(script=["lost"])
    send_due(world.warehouse, MORNING, KEYED, vendor)
    revoked = Change("email", address_hash("p001@example.com"), "revoked", "page", MORNING)
    consent.record(world.warehouse, [revoked])
    assert send_due(world.warehouse, SOON, KEYED, vendor).requests == 0
    assert set(world.statuses().values()) == {("unknown", "not_asked_again:no_consent")}


def test_nobody_is_asked_again_at_night(world: World, audience) -> None:
    planned(world, audience, 1)
    vendor = KeyedVendor(script=["lost"])
    evening = MORNING + timedelta(hours=12, minutes=59)
    send_due(world.warehouse, evening, KEYED, vendor)
    night = MORNING + timedelta(hours=13, minutes=5)
    assert send_due(world.warehouse, night, KEYED, vendor).requests == 0
    (morning,) = due_times(world, night, night + timedelta(days=1), KEYED)
    assert morning == MORNING + timedelta(days=1)
    send_due(world.warehouse, morning, KEYED, vendor)
    assert world.statuses()["p000"] == ("accepted", None)


def test_an_event_settles_what_would_be_asked_again(world: World, audience) -> None:
    planned(world, audience, 1)
    vendor = KeyedVendor(script=["lost"])
    send_due(world.warehouse, MORNING, KEYED, vendor)
    event(world, "delivered", keys(world)[0])
    settle(world.warehouse, AS_OF + timedelta(days=1))
    assert send_due(world.warehouse, SOON, KEYED, vendor).requests == 0
    assert world.statuses()["p000"] == ("delivered", None)


def test_half_refused_batches_are_told_apart_message_by_message(world: World, audience) -> None:
    planned(world, audience, 5)
    first, second, third, *_ = keys(world)
    vendor = KeyedVendor(refused={first: "invalid", second: "later", third: "invalid"})
    summary = send_due(world.warehouse, MORNING, KEYED, vendor)
    assert dict(summary.by_status) == {"failed": 2, "planned": 1, "accepted": 2}
    send_due(world.warehouse, SOON, KEYED, KeyedVendor())
    assert statuses(world) == ["accepted"] * 3 + ["failed"] * 2
    assert wallet.imbalances(world.warehouse) == []
