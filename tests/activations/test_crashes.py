"""Crashes inside one process, and dispatchers at once: nothing lost, nothing twice."""

import threading
import time
from datetime import timedelta

import pytest

from activations import audit, dispatch, outbox, outcomes, recheck, wallet
from activations.dispatch import send_due
from activations.http import Request
from tests.activations.sending import (
    MORNING,
    SENDGRID,
    TWILIO,
    CrashError,
    due_times,
    keys,
    planned,
)
from tests.activations.world import Vendor, World


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
        "finish": (outcomes, "finish"),
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


def test_an_answer_after_the_lease_is_better_knowledge(world: World, audience) -> None:
    """The dispatcher was slow, not dead: meanwhile another one counted its messages as unknown."""
    planned(world, audience, 3)
    later = MORNING + outbox.LEASE

    def slowly(_request: Request) -> None:
        assert dict(send_due(world.warehouse, later, SENDGRID, Vendor()).by_status) == {
            "unknown": 3
        }
        assert audit.verify(world.warehouse).is_intact

    vendor = Vendor(before=slowly)
    summary = send_due(world.warehouse, MORNING, SENDGRID, vendor)
    assert dict(summary.by_status) == {"accepted": 3}
    assert {status for status, _ in world.statuses().values()} == {"accepted"}
    assert len(vendor.requests) == 1
    assert audit.verify(world.warehouse).is_intact


def test_a_dispatcher_that_dies_after_anothers_seal_leaves_an_intact_chain(
    world: World, audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both send at one moment: the entry over its attempts was chained before the last answers."""
    planned(world, audience, 30, arm="sms_none_news")

    def other(_request: Request) -> None:
        if len(vendor.requests) == 20:
            send_due(world.warehouse, MORNING, TWILIO, Vendor(), owner="other")
            assert audit.verify(world.warehouse).is_intact

    def die(*_args: object) -> None:
        raise CrashError

    vendor = Vendor(before=other)
    with monkeypatch.context() as patch:
        patch.setattr(dispatch, "_may_go_on", lambda *_: len(vendor.requests) < 24 or die())
        with pytest.raises(CrashError):
            send_due(world.warehouse, MORNING, TWILIO, vendor)
    assert audit.verify(world.warehouse).is_intact
    send_due(world.warehouse, MORNING + outbox.LEASE, TWILIO, vendor)
    assert audit.verify(world.warehouse).is_intact
    unsealed = "select 1 from delivery.send_attempts where not is_sealed"
    assert world.warehouse.rows(unsealed) == []


def test_two_who_settle_money_at_once_post_it_once(world: World, audience) -> None:
    planned(world, audience, 4, arm="sms_none_news")
    send_due(world.warehouse, MORNING, TWILIO, Vendor())
    world.warehouse.execute("delete from delivery.wallet_entries where account like 'spent:%'")
    world.warehouse.execute("delete from delivery.wallet_entries where reference like 'settle %'")
    posted: list[int] = []

    def settle() -> None:
        with world.warehouse.transaction() as connection:
            for transaction in wallet.settlements(connection, MORNING):
                posted.append(wallet.post(world.warehouse, connection, transaction))
            time.sleep(0.2)

    threads = [threading.Thread(target=settle) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert posted == [True]
    assert wallet.imbalances(world.warehouse) == []
