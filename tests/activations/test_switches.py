"""Kill switches: read at planning and before every request, off once committed, and audited."""

import threading

import pytest

from activations import audit, dispatch, switches
from activations.http import Request
from activations.switches import Off, SwitchError
from tests.activations.world import AS_OF, Vendor, World, adapter

MORNING = AS_OF.replace(hour=8)
SENDGRID = adapter("sendgrid")


def stop(world: World, kind: switches.Kind, name: str = "") -> bool:
    return switches.turn_off(world.warehouse, kind, name, "wrong price", "ada", AS_OF)


@pytest.mark.parametrize(
    ("kind", "name"), [("everything", ""), ("program", "win_back"), ("channel", "email")]
)
def test_what_was_planned_before_the_switch_is_skipped(
    world: World, audience, kind: switches.Kind, name: str
) -> None:
    audience(3)
    assert world.decide(world.program("win_back"), arm="email_none_news").sends == 3
    assert stop(world, kind, name)
    assert not stop(world, kind, name), "it was off already"
    vendor = Vendor()
    summary = dispatch.send_due(world.warehouse, MORNING, SENDGRID, vendor)
    assert (vendor.requests, dict(summary.by_reason)) == ([], {"switched_off": 3})
    assert set(world.statuses().values()) == {("skipped", "switched_off")}
    assert audit.verify(world.warehouse).is_intact


def test_nothing_new_is_planned_while_it_is_off_and_it_is_when_it_is_on(
    world: World, audience
) -> None:
    audience(2)
    program = world.program("win_back")
    stop(world, "program", "win_back")
    recorded = world.decide(program)
    assert (recorded.sends, dict(recorded.by_reason)) == (0, {"switched_off": 2})
    switches.turn_on(world.warehouse, "program", "win_back", "ada", AS_OF)
    assert world.decide(program, as_of=AS_OF.replace(day=3)).sends == 2
    assert stop(world, "program", "win_back"), "a switch can be turned off again"
    assert [row["name"] for row in switches.standing(world.warehouse)] == ["win_back"]
    assert audit.verify(world.warehouse).is_intact


def test_one_channel_off_leaves_the_other(world: World, audience) -> None:
    audience(2, sms=True)
    stop(world, "channel", "email")
    assert world.decide(world.program("win_back"), arm="email_none_news").sends == 2
    rows = world.warehouse.rows("select distinct channel from delivery.messages")
    assert rows == [{"channel": "sms"}]


def test_a_switch_waits_for_the_request_under_way_and_stops_the_next(
    world: World, audience
) -> None:
    audience(3, sms=True)
    world.decide(world.program("win_back"), arm="sms_none_news")
    order: list[str] = []

    def turn() -> None:
        stop(world, "everything")
        order.append("off")

    thread = threading.Thread(target=turn)

    def before(_request: Request) -> None:
        order.append("request")
        if len(order) == 1:
            thread.start()
            thread.join(timeout=0.3)
            assert thread.is_alive(), "the switch did not wait for the request under way"

    dispatch.send_due(world.warehouse, MORNING, adapter("twilio"), Vendor(before=before))
    thread.join()
    last = len(order) - order.index("off") - 1
    assert last == 0, f"{last} requests started after the switch was off"
    assert len(order) < 4, "the round did not end for the switch"


def test_turning_on_what_is_not_off_says_so(world: World) -> None:
    with pytest.raises(SwitchError, match="channel sms is not switched off"):
        switches.turn_on(world.warehouse, "channel", "sms", "ada", AS_OF)
    with world.warehouse.transaction() as connection:
        assert switches.off(connection) == Off()
