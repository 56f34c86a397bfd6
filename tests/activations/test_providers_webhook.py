"""Our own webhook: its contract, row by row."""

import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from activations.http import Response
from activations.providers import Item, Outcome
from activations.providers.webhook import Webhook

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
WEBHOOK = Webhook(("new", "old"), "https://hooks.example/in", "whatsapp")


def item(number, **changes):
    made = Item(f"k{number:04d}", f"a{number}", "welcome", "push_none_greeting", "shop", "Hello")
    return replace(made, **changes)


def batch_of(count):
    (batch,) = WEBHOOK.plan([item(number) for number in range(count)])
    return batch


def test_key_and_body_are_signed_by_every_secret():
    batch = batch_of(2)
    request = WEBHOOK.request(batch)
    assert (request.url, request.headers["Idempotency-Key"]) == (WEBHOOK.base_url, batch.key)
    signed = batch.key.encode() + b"." + batch.content
    assert request.headers["LoopDrive-Signature"] == ",".join(
        f"v1={hmac.new(secret, signed, hashlib.sha256).hexdigest()}" for secret in (b"new", b"old")
    )
    body = json.loads(batch.content)
    assert (body["version"], body["channel"]) == (1, "whatsapp")
    assert [one["message_key"] for one in body["messages"]] == ["k0000", "k0001"]
    assert body["messages"][1]["address"] == "a1"


def test_programs_are_not_mixed_and_a_hundred_is_the_limit():
    items = [item(number, program="ab"[number % 2]) for number in range(250)]
    assert [len(batch.items) for batch in WEBHOOK.plan(items)] == [100, 25, 100, 25]


@pytest.mark.parametrize(("status", "outcome"), [
    (200, Outcome.ACCEPTED), (201, Outcome.ACCEPTED), (202, Outcome.ACCEPTED),
    (204, Outcome.AMBIGUOUS), (302, Outcome.AMBIGUOUS), (400, Outcome.PERMANENT),
    (401, Outcome.AUTH), (403, Outcome.AUTH), (404, Outcome.PERMANENT), (409, Outcome.PERMANENT),
    (410, Outcome.PERMANENT), (413, Outcome.PERMANENT), (422, Outcome.PERMANENT),
    (429, Outcome.RETRY), (500, Outcome.AMBIGUOUS), (503, Outcome.AMBIGUOUS),
])  # fmt: skip
def test_the_error_table_row_by_row(status, outcome):
    results = WEBHOOK.parse(batch_of(2), Response(status, {}), NOW)
    assert {(one.outcome, one.code) for one in results} == {(outcome, str(status))}


def test_messages_are_told_apart_where_the_answer_does():
    statuses = ["accepted", "duplicate", "permanent", "blocked", "retry", "teleported"]
    rows = [
        {"message_key": f"k{number:04d}", "status": status, "id": f"r{number}", "code": "why"}
        for number, status in enumerate(statuses)
    ]
    answer = Response(200, {"retry-after": "30"}, json.dumps({"results": rows[::-1]}).encode())
    results = WEBHOOK.parse(batch_of(7), answer, NOW)
    assert [one.outcome for one in results] == [
        Outcome.ACCEPTED, Outcome.DUPLICATE, Outcome.PERMANENT, Outcome.BLOCKED, Outcome.RETRY,
        Outcome.AMBIGUOUS, Outcome.AMBIGUOUS,
    ]  # fmt: skip
    assert results[0].provider_ref == "r0"
    assert results[4].retry_at == NOW + timedelta(seconds=30)


def test_events_need_an_id_a_time_and_a_type_of_ours():
    good = {"event_id": "e1", "type": "click", "occurred_at": "2026-03-02T10:00:00+01:00"}
    wrong = [
        good | {"event_id": ""}, good | {"type": "teleported"}, good | {"occurred_at": ""},
        good | {"occurred_at": "2026-03-02T10:00:00"},
    ]  # fmt: skip
    raw = json.dumps({"events": [good, *wrong]}).encode()
    (event,) = WEBHOOK.events("", {}, raw)
    assert (event.type, event.occurred_at, event.message_key) == ("click", NOW, None)


def test_a_message_without_address_or_words_costs_no_request():
    assert WEBHOOK.admit(item(1, address=" ")).code == "empty_address_or_content"
    assert WEBHOOK.admit(item(1, text="")).code == "empty_address_or_content"
    assert WEBHOOK.admit(item(1)) is None
