"""Every vendor from decision to webhook over its stand-in, and new channels under old guardrails.

Keep out: wire formats (test_providers.py), the rules themselves (test_guardrails.py).
"""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from activations import audit, consent, http, providers, settlement, variants
from activations.consent import Change
from activations.dispatch import send_due
from activations.keys import address_hash
from activations.outbox import LEASE
from activations.programs import Program
from activations.providers import MessageProvider
from sandbox import standins
from tests.activations.sending import MORNING, event
from tests.activations.world import World

# Vendor, channel and what an address looks like there.
ROUTES = [
    ("sendgrid", "email", "p{}@example.com"),
    ("resend", "email", "p{}@example.com"),
    ("twilio", "sms", "+44770090{:04d}"),
    ("whatsapp", "whatsapp", "+44770090{:04d}"),
    ("fcm", "push", "fid{}:APA91b"),
    ("webhook", "push", "device-{}"),
]
every_route = pytest.mark.parametrize(("name", "channel", "address"), ROUTES)
new_channel = pytest.mark.parametrize(("name", "channel", "address"), ROUTES[3:5])
OPTIONS = standins.ACCOUNTS | {"webhook": {"channel": "push"}}


@pytest.fixture
def servers(tmp_path) -> Iterator[standins.StandIns]:
    with standins.serve(tmp_path) as running:
        yield running


@pytest.fixture
def sender() -> Iterator[Any]:
    with http.open_client("sandbox") as client:
        yield partial(http.send, client)


def speaking(world: World, channel: str) -> Program:
    """The shipped program with one more arm, and words for it."""
    shipped = world.program("win_back").model_dump(mode="json")
    arm = {"channel": channel, "offer_percent": 0, "theme": "hello"}
    program = Program.model_validate(shipped | {"arms": [*shipped["arms"], arm]})
    words = {"subject": "Hello", "body": "{{ first_name }}, we kept {{ item }} for you.\n\n-> Look"}
    if channel != "email":
        words = {"body": "{{ first_name }}, look: {{ link }} Reply STOP to opt out"}
    made = variants.variant("win_back", f"{channel}_none_hello", channel, words)
    rows = variants.table([variants.row_of(made, "person", [], "approved", "test")])
    world.warehouse.upsert("delivery.copy_variants", rows, ["variant_id"])
    return program


def people(world: World, program: Program, channel: str, address: str, count: int = 3) -> None:
    for number in range(count):
        world.person(f"p{number}")
        if channel != "email":
            world.address(f"p{number}", channel, address.format(number))
        world.occasion("win_back", f"p{number}")
    world.assign("win_back", "policy", [f"p{number}" for number in range(count)])


def planned(world: World, name: str, channel: str, address: str) -> None:
    world.carriers = providers.carriers({name: OPTIONS.get(name, {})})
    program = speaking(world, channel)
    people(world, program, channel, address)
    assert world.decide(program, arm=f"{channel}_none_hello").sends == 3
    rows = world.warehouse.rows("select distinct provider, channel from delivery.messages")
    assert rows == [{"provider": name, "channel": channel}]


def opened(servers: standins.StandIns, name: str, at: datetime) -> MessageProvider:
    servers.set_clock(at)
    return providers.provider(name, standins.CREDENTIALS, servers.urls[name], OPTIONS.get(name))


def accepted(tmp_path) -> list[dict[str, Any]]:
    path = tmp_path / "sandbox" / "accepted.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@every_route
def test_a_message_goes_out_once_and_its_webhook_finds_it(
    world: World, servers, sender, tmp_path, name: str, channel: str, address: str
) -> None:
    planned(world, name, channel, address)
    provider = opened(servers, name, MORNING)
    summary = send_due(world.warehouse, MORNING, provider, sender)
    assert dict(summary.by_status) == {"accepted": 3}
    assert send_due(world.warehouse, MORNING, provider, sender).requests == 0
    log = accepted(tmp_path)
    rows = world.warehouse.rows("select * from delivery.messages order by message_key")
    assert sorted(row["message_key"] for row in log) == [row["message_key"] for row in rows]
    assert {(row["channel"], row["arm"]) for row in log} == {(channel, f"{channel}_none_hello")}
    assert {address_hash(row["address"]) for row in log} == {row["address_hash"] for row in rows}
    assert audit.verify(world.warehouse).is_intact
    event(world, "delivered", rows[0]["message_key"], provider=name)
    event(world, "bounce", rows[1]["message_key"], number=2, provider=name)
    settled = settlement.settle(world.warehouse, MORNING + timedelta(hours=1))
    assert (settled.messages, settled.suppressions) == (2, 1)
    gone = world.warehouse.rows("select channel, address_hash, reason from delivery.suppressions")
    assert gone == [
        {"channel": channel, "address_hash": rows[1]["address_hash"], "reason": "hard_bounce"}
    ]


@every_route
def test_a_lost_answer_is_one_message_whoever_carries_it(
    world: World, servers, sender, tmp_path, name: str, channel: str, address: str
) -> None:
    """With a key the request goes again under it; without one the message stays unknown."""
    planned(world, name, channel, address)
    provider = opened(servers, name, MORNING)
    servers.fail(name, "reset_after_accept", times=3)
    send_due(world.warehouse, MORNING, provider, sender)
    assert {status for status, _ in world.statuses().values()} == {"unknown"}
    for minutes in (5, 15, 60, 600):
        at = MORNING + timedelta(minutes=minutes)
        send_due(world.warehouse, at, opened(servers, name, at), sender)
    wanted = "accepted" if provider.limits.has_key else "unknown"
    assert {status for status, _ in world.statuses().values()} == {wanted}
    assert len(accepted(tmp_path)) == 3, "none lost, none twice"
    keys = [row["message_key"] for row in accepted(tmp_path)]
    for number, key in enumerate(keys):
        event(world, "delivered", key, number, provider=name)
    settlement.settle(world.warehouse, MORNING + timedelta(hours=11))
    assert {status for status, _ in world.statuses().values()} == {"delivered"}


@every_route
def test_a_crash_after_the_provider_took_it_is_one_message(
    world: World, servers, sender, tmp_path, name: str, channel: str, address: str
) -> None:
    planned(world, name, channel, address)
    provider = opened(servers, name, MORNING)

    def dies(request: http.Request) -> http.Answer:
        sender(request)
        raise RuntimeError("the process is gone")

    with pytest.raises(RuntimeError):
        send_due(world.warehouse, MORNING, provider, dies)
    sent = len(accepted(tmp_path))
    assert sent == min(3, provider.limits.max_items)
    for minutes in (15, 30, 60):
        at = MORNING + timedelta(minutes=minutes) + LEASE
        send_due(world.warehouse, at, opened(servers, name, at), sender)
    keys = [row["message_key"] for row in accepted(tmp_path)]
    assert len(set(keys)) == len(keys) == 3
    # Without a key, what was in the request that died stays unknown until its webhook comes.
    unknown = 0 if provider.limits.has_key else sent
    told = sorted(status for status, _ in world.statuses().values())
    assert told == ["accepted"] * (3 - unknown) + ["unknown"] * unknown


@new_channel
def test_consent_for_one_channel_is_none_for_another(
    world: World, name: str, channel: str, address: str
) -> None:
    program = speaking(world, channel)
    for number, status in enumerate(("granted", "revoked", "unknown", None)):
        person, where = f"p{number}", address.format(number)
        world.person(person)
        world.address(person, "sms", where)
        world.address(person, channel, where, status)
        world.occasion("win_back", person)
    world.assign("win_back", "policy", [f"p{number}" for number in range(4)])
    only = program.model_copy(update={"arms": program.arms[-1:]})
    world.decide(only)
    rows = world.warehouse.rows(
        "select person_id, outcome, reason from delivery.decisions order by person_id"
    )
    assert [(row["person_id"], row["outcome"], row["reason"]) for row in rows] == [
        ("p0", "send", "policy"), ("p1", "silence", "no_consent"),
        ("p2", "silence", "no_consent"), ("p3", "silence", "no_consent"),
    ]  # fmt: skip


@new_channel
def test_the_last_look_is_the_same_for_every_channel(
    world: World, servers, sender, tmp_path, name: str, channel: str, address: str
) -> None:
    planned(world, name, channel, address)
    revoked = Change(channel, address_hash(address.format(0)), "revoked", "test", MORNING)
    consent.record(world.warehouse, [revoked])
    with world.warehouse.transaction() as connection:
        gone = (channel, address_hash(address.format(1)), "complaint", MORNING)
        consent.suppress(world.warehouse, [gone], connection)
    night = MORNING + timedelta(hours=14)
    provider = opened(servers, name, night)
    summary = send_due(world.warehouse, night, provider, sender)
    assert dict(summary.by_status) == {"skipped": 2, "replanned": 1}
    assert accepted(tmp_path) == []
    assert world.statuses()["p0"] == ("skipped", "no_consent")
    assert world.statuses()["p1"] == ("skipped", "suppressed")
    tomorrow = MORNING + timedelta(days=1)
    assert dict(
        send_due(world.warehouse, tomorrow, opened(servers, name, tomorrow), sender).by_status
    ) == {"accepted": 1}


@new_channel
def test_caps_count_over_all_channels(
    world: World, servers, sender, audience: Callable[..., Any], name: str, channel: str,
    address: str,
) -> None:  # fmt: skip
    """Three e-mails in the week before: no push, no WhatsApp message either."""
    planned(world, name, channel, address)
    world.warehouse.execute(
        "insert into delivery.messages (message_key, decision_id, program, person_id, channel,"
        " provider, status, variant_id, content_hash, send_at, expires_at, sent_at, address_hash)"
        " select message_key || n, decision_id, 'welcome', person_id, 'email', 'sendgrid',"
        " 'accepted', variant_id, content_hash, send_at, expires_at,"
        " %(at)s::timestamptz - n * interval '1 day', address_hash"
        " from delivery.messages cross join generate_series(1, 3) as n where person_id = 'p0'",
        at=MORNING,
    )
    summary = send_due(world.warehouse, MORNING, opened(servers, name, MORNING), sender)
    assert dict(summary.by_status) == {"skipped": 1, "accepted": 2}
    assert dict(summary.by_reason) == {"frequency_cap": 1}


@pytest.mark.parametrize(
    ("name", "channel", "address", "reason", "words"),
    [
        ("twilio", "sms", "+44770090{:04d}", "opted_out", 1),
        ("whatsapp", "whatsapp", "+44770090{:04d}", "opted_out", 1),
        ("fcm", "push", "fid{}:APA91b", "gone", 0),
    ],
)
def test_what_a_vendor_says_of_an_address_is_heeded(
    world: World, servers, sender, name: str, channel: str, address: str, reason: str, words: int
) -> None:
    planned(world, name, channel, address)
    servers.block(address.format(1))
    send_due(world.warehouse, MORNING, opened(servers, name, MORNING), sender)
    rows = world.warehouse.rows("select channel, address_hash, reason from delivery.suppressions")
    hashed = address_hash(address.format(1))
    assert rows == [{"channel": channel, "address_hash": hashed, "reason": reason}]
    changes = world.warehouse.rows("select status, source from delivery.consent_changes")
    assert changes == [{"status": "revoked", "source": f"{name}:opted_out"}] * words
