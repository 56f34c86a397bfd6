"""A request refused whole, with nobody named: halved until the culprit is alone.

Keep out: which answers are split (test_providers.py), messages that a vendor names.
"""

import json
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from activations import audit
from activations.dispatch import send_due
from activations.http import Answer, Request, Response
from activations.providers.resend import Resend
from tests.activations.sending import MORNING, SENDGRID, CrashError, keys, planned
from tests.activations.world import World


@dataclass
class Strict:
    """Refuses every request in which somebody is `bad`, and does not say who."""

    bad: frozenset[str]
    script: list[Answer | None] = field(default_factory=list)
    requests: int = 0
    delivered: list[str] = field(default_factory=list)

    def __call__(self, request: Request) -> Answer:
        self.requests += 1
        scripted = self.script.pop(0) if self.script else None
        if scripted is not None:
            return scripted
        parts = json.loads(request.content)["personalizations"]
        held = [part["custom_args"]["message_key"] for part in parts]
        if self.bad & set(held):
            return Response(400, {})
        self.delivered += held
        return Response(202, {"x-message-id": f"id-{self.requests}"})


def states(world: World) -> dict[str, str]:
    rows = world.warehouse.rows("select message_key, status from delivery.messages")
    return {row["message_key"]: row["status"] for row in rows}


@pytest.mark.parametrize("bad_count", [1, 2, 11])
def test_only_the_culprits_fail(world: World, audience, bad_count: int) -> None:
    planned(world, audience, 11)
    bad = frozenset(keys(world)[:: 11 // bad_count][:bad_count])
    vendor = Strict(bad)
    summary = send_due(world.warehouse, MORNING, SENDGRID, vendor)
    assert {key for key, status in states(world).items() if status == "failed"} == bad
    assert sorted(vendor.delivered) == [key for key in keys(world) if key not in bad]
    wanted = {"accepted": 11 - bad_count, "failed": bad_count}
    assert dict(summary.by_status) == {status: n for status, n in wanted.items() if n}
    assert summary.requests == vendor.requests <= 2 * 11
    assert audit.verify(world.warehouse).is_intact
    assert send_due(world.warehouse, MORNING, SENDGRID, vendor).requests == 0


def test_a_limit_in_between_ends_the_run_and_fails_nobody(world: World, audience) -> None:
    planned(world, audience, 40)
    bad = frozenset(keys(world)[:1])
    # Six halves deep the seventh request meets a limit: no fifth attempt of anybody's own.
    vendor = Strict(bad, script=[None] * 5 + [Response(429, {"retry-after": "60"})])
    first = send_due(world.warehouse, MORNING, SENDGRID, vendor)
    assert "failed" not in first.by_status
    assert set(states(world).values()) <= {"accepted", "planned"}
    later = send_due(world.warehouse, MORNING + timedelta(hours=3), SENDGRID, vendor)
    assert later.stopped is None
    assert {key for key, status in states(world).items() if status == "failed"} == bad
    assert sorted(vendor.delivered) == [key for key in keys(world) if key not in bad]


def test_a_crash_in_between_loses_and_repeats_nobody(world: World, audience) -> None:
    planned(world, audience, 8)
    bad = frozenset(keys(world)[-1:])
    vendor = Strict(bad)

    def dies(request: Request) -> Answer:
        if vendor.requests == 2:
            raise CrashError
        return vendor(request)

    with pytest.raises(CrashError):
        send_due(world.warehouse, MORNING, SENDGRID, dies)
    later = MORNING + timedelta(minutes=20)
    send_due(world.warehouse, later, SENDGRID, vendor)
    told = list(states(world).values())
    # The request that died may have gone out: SendGrid knows no keys, so nobody asks again.
    assert sorted(set(told)) in (["accepted", "failed", "unknown"], ["accepted", "unknown"])
    assert len(set(vendor.delivered)) == len(vendor.delivered)
    assert audit.verify(world.warehouse).is_intact


def test_a_request_that_goes_again_under_its_key_is_never_parted(world: World, audience) -> None:
    """Membership is part of what a key stands for."""
    world.carriers = {"email": "resend", "sms": "twilio"}
    planned(world, audience, 4)
    asked: list[Request] = []

    def vendor(request: Request) -> Answer:
        asked.append(request)
        return Response(500 if len(asked) == 1 else 400, {})

    provider = Resend("re_key")
    send_due(world.warehouse, MORNING, provider, vendor)
    send_due(world.warehouse, MORNING + timedelta(minutes=10), provider, vendor)
    assert len(asked) == 2
    assert asked[0] == asked[1]
    assert set(states(world).values()) == {"failed"}
