"""Sending: once, with consent at that moment, whatever fails and whoever else sends."""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activations import audit, consent, dispatch, outbox, persons, recheck, wallet
from activations.consent import Change
from activations.dispatch import send_due, send_until
from activations.http import Request, Response
from activations.keys import address_hash
from activations.settlement import settle
from tests.activations.world import AS_OF, LOST, REFUSED, Vendor, World, adapter

MORNING = datetime(2026, 3, 2, 8, tzinfo=UTC)
SENDGRID, TWILIO = adapter("sendgrid"), adapter("twilio")


class CrashError(RuntimeError):
    """The process is gone."""


def planned(world: World, audience, count: int, arm: str = "email_none_news") -> list[str]:
    people = audience(count, sms=arm.startswith("sms"))
    assert world.decide(world.program("win_back"), arm=arm).sends == count
    return people


def due_times(
    world: World, after: datetime, until: datetime, provider: Any = SENDGRID
) -> list[datetime]:
    with world.warehouse.connect() as connection:
        return outbox.due_times(connection, after, until, provider.name)


def event(world: World, kind: str, key: str | None, number: int = 1, **payload: str) -> None:
    world.warehouse.execute(
        "insert into raw.provider_events"
        " values (%(v)s, %(i)s, %(k)s, %(t)s, %(o)s, %(p)s, %(o)s, 1)",
        v=payload.pop("provider", "sendgrid"), i=f"{kind}-{key}-{number}", k=key, t=kind,
        o=MORNING + timedelta(minutes=number),
        p="{" + ",".join(f'"{name}": "{value}"' for name, value in payload.items()) + "}",
    )  # fmt: skip


def keys(world: World) -> list[str]:
    rows = world.warehouse.rows("select message_key from delivery.messages order by message_key")
    return [row["message_key"] for row in rows]


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


def test_two_dispatchers_at_once_send_no_message_twice(world: World, audience) -> None:
    planned(world, audience, 60, arm="sms_none_news")
    vendors = [Vendor(), Vendor()]
    start = threading.Barrier(2)

    def run(number: int) -> None:
        start.wait()
        send_due(world.warehouse, MORNING, TWILIO, vendors[number], owner=f"d{number}")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent = vendors[0].keys + vendors[1].keys
    assert sorted(sent) == keys(world)
    assert min(len(vendor.keys) for vendor in vendors) > 0, "only one of them worked"
    assert {status for status, _ in world.statuses().values()} == {"accepted"}
    assert wallet.imbalances(world.warehouse) == []
    assert audit.verify(world.warehouse).is_intact


def test_consent_revoked_between_planning_and_sending_is_skipped(world: World, audience) -> None:
    planned(world, audience, 3)
    changed = Change("email", address_hash("p001@example.com"), "revoked", "page", AS_OF)
    assert consent.record(world.warehouse, [changed]) == 1
    vendor = Vendor()
    summary = send_due(world.warehouse, MORNING, SENDGRID, vendor)
    assert dict(summary.by_reason) == {"no_consent": 1}
    assert len(vendor.keys) == 2
    assert world.statuses()["p001"] == ("skipped", "no_consent")


def test_a_revoke_waits_for_the_request_and_stops_the_next(world: World, audience) -> None:
    """No request starts after a revoke was committed: here it arrives in the middle of one."""
    planned(world, audience, 26, arm="sms_none_news")  # 25 are looked at together, then one more
    row = world.warehouse.rows(
        "select address_hash from delivery.messages order by send_at, message_key offset 25"
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
    assert order == ["request"] * 25 + ["revoked"]
    assert list(world.statuses().values()).count(("skipped", "no_consent")) == 1


def test_a_crash_while_sending_becomes_unknown_and_is_never_sent_again(
    world: World, audience
) -> None:
    planned(world, audience, 3, arm="sms_none_news")

    def crash(_request: Request) -> None:
        if len(vendor.requests) == 1:
            raise CrashError

    vendor = Vendor(before=crash)
    with pytest.raises(CrashError):
        send_due(world.warehouse, MORNING, TWILIO, vendor)
    assert sorted(status for status, _ in world.statuses().values()) == [
        "accepted", "reserved", "sending",
    ]  # fmt: skip
    # At once nothing is touched, for its dispatcher may still live; after the lease it is dead.
    assert send_due(world.warehouse, MORNING, TWILIO, Vendor()).requests == 0
    (tick,) = due_times(world, MORNING, MORNING + timedelta(hours=1), TWILIO)
    assert tick == MORNING + outbox.LEASE
    after = Vendor()
    summary = send_due(world.warehouse, tick, TWILIO, after)
    assert dict(summary.by_status) == {"unknown": 1, "accepted": 1}
    assert len(after.keys) == 1
    assert sorted(status for status, _ in world.statuses().values()) == [
        "accepted", "accepted", "unknown",
    ]  # fmt: skip
    assert set(vendor.keys).isdisjoint(after.keys)
    rows = world.warehouse.rows("select outcome from delivery.send_attempts order by 1")
    assert [row["outcome"] for row in rows] == ["accepted", "accepted", "unknown"]
    assert audit.verify(world.warehouse).is_intact


@pytest.mark.parametrize("step", ["reserve", "admit", "begin", "finish", "close"])
def test_a_kill_at_any_step_loses_and_doubles_nothing(
    world: World, audience, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned(world, audience, 30, arm="sms_none_news")
    target = {
        "reserve": (recheck, "verdicts"),
        "admit": (dispatch, "_send"),
        "begin": (Vendor, "__call__"),
        "finish": (outbox, "finish"),
        "close": (dispatch, "_close"),
    }[step]

    def die(*_args: object, **_kwargs: object) -> None:
        raise CrashError

    vendor = Vendor()
    with monkeypatch.context() as patch:
        patch.setattr(*target, die)
        with pytest.raises(CrashError):
            send_due(world.warehouse, MORNING, TWILIO, vendor)
    send_due(world.warehouse, MORNING + outbox.LEASE, TWILIO, vendor)
    assert len(vendor.keys) == len(set(vendor.keys)), "a message went out twice"
    statuses = [status for status, _ in world.statuses().values()]
    lost = statuses.count("unknown")
    assert lost == (1 if step in ("begin", "finish") else 0)
    assert statuses.count("accepted") == 30 - lost
    assert audit.verify(world.warehouse).is_intact
    with world.warehouse.transaction() as connection:
        later = MORNING + timedelta(days=1)
        assert wallet.balance(connection, "spent:win_back", later) == 30
        assert wallet.balance(connection, "reserved:win_back", later) == 0


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
    assert len(vendor.requests) == outbox.MAX_ATTEMPTS


def test_refused_credentials_stop_and_leave_everything_due(world: World, audience) -> None:
    planned(world, audience, 30, arm="sms_none_news")
    summary = send_due(world.warehouse, MORNING, TWILIO, Vendor(script=[Response(401, {})]))
    assert summary.stopped == "twilio refuses our credentials"
    assert summary.requests == 1
    assert {status for status, _ in world.statuses().values()} == {"planned"}
    later = MORNING + outbox.AUTH_RETRY
    assert send_due(world.warehouse, later, TWILIO, Vendor()).by_status == {"accepted": 30}


def test_a_dry_run_records_and_calls_nobody(world: World, audience) -> None:
    planned(world, audience, 2)
    summary = send_due(world.warehouse, MORNING, SENDGRID, None)
    assert (summary.requests, dict(summary.by_status)) == (0, {"skipped": 2})
    assert set(world.statuses().values()) == {("skipped", "dry_run")}
    assert len(world.warehouse.rows("select 1 from delivery.send_attempts")) == 2


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


def test_a_workspace_that_never_ran_says_so(world: World) -> None:
    world.warehouse.execute("delete from raw.workspace")
    with world.warehouse.transaction() as connection, pytest.raises(LookupError, match="is empty"):
        persons.workspace(connection)


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
