"""Resend's own: its batches by rows, its error table, Svix's example, its events."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from activations.http import Response
from activations.providers import Item, Outcome
from activations.providers.resend import Resend

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
RESEND = Resend("re_key")


def item(number, **changes):
    made = Item(
        f"key-{number:04d}", f"p{number}@example.com", "welcome", "email_none_reminder",
        "shop@example.com", f"Hello {number}", "Hello", "<p>Hello</p>", "The Shop",
        (("List-Unsubscribe", "<https://shop.example/u>"),),
    )  # fmt: skip
    return replace(made, **changes)


def batch_of(count):
    (batch,) = RESEND.plan([item(number) for number in range(count)])
    return batch


def test_a_hundred_and_no_more_go_under_one_key():
    batches = RESEND.plan([item(number) for number in range(201)])
    assert [len(batch.items) for batch in batches] == [100, 100, 1]
    headers = RESEND.request(batches[0]).headers
    assert headers["Idempotency-Key"] == batches[0].key
    assert 1 <= len(batches[0].key) <= 256
    assert headers["x-batch-validation"] == "permissive"


def test_an_e_mail_carries_its_key_as_a_tag_and_its_headers():
    (mail,) = json.loads(batch_of(1).content)
    assert mail == {
        "from": "The Shop <shop@example.com>", "to": ["p0@example.com"], "subject": "Hello",
        "text": "Hello 0", "html": "<p>Hello</p>",
        "headers": {"List-Unsubscribe": "<https://shop.example/u>"},
        "tags": [
            {"name": "message_key", "value": "key-0000"}, {"name": "program", "value": "welcome"},
            {"name": "arm", "value": "email_none_reminder"},
        ],
    }  # fmt: skip


@pytest.mark.parametrize(("changes", "code"), [
    ({"address": "nobody"}, "invalid_address"), ({"subject": ""}, "empty_subject_or_content"),
    ({"text": "", "html": None}, "empty_subject_or_content"), ({"arm": "é"}, "invalid_tag"),
])  # fmt: skip
def test_what_resend_would_refuse_costs_no_request(changes, code):
    result = RESEND.admit(item(1, **changes))
    assert (result.outcome, result.code) == (Outcome.PERMANENT, code)
    assert RESEND.admit(item(1)) is None


@pytest.mark.parametrize(("status", "name", "outcome"), [
    (400, "invalid_idempotency_key", Outcome.PERMANENT),
    (400, "validation_error", Outcome.PERMANENT),
    (401, "missing_api_key", Outcome.AUTH),
    (401, "restricted_api_key", Outcome.AUTH),
    (403, "invalid_api_key", Outcome.AUTH),
    (403, "validation_error", Outcome.AUTH),
    (404, "not_found", Outcome.PERMANENT),
    (405, "method_not_allowed", Outcome.PERMANENT),
    (409, "invalid_idempotent_request", Outcome.PERMANENT),
    (409, "concurrent_idempotent_requests", Outcome.AMBIGUOUS),
    (422, "missing_required_field", Outcome.PERMANENT),
    (422, "invalid_from_address", Outcome.PERMANENT),
    (429, "rate_limit_exceeded", Outcome.RETRY),
    (429, "daily_quota_exceeded", Outcome.RETRY),
    (429, "monthly_quota_exceeded", Outcome.RETRY),
    (451, "security_error", Outcome.PERMANENT),
    (500, "application_error", Outcome.AMBIGUOUS),
    (500, "internal_server_error", Outcome.AMBIGUOUS),
])  # fmt: skip
def test_the_error_table_row_by_row(status, name, outcome):
    told = json.dumps({"statusCode": status, "name": name, "message": "p1@example.com"}).encode()
    results = RESEND.parse(batch_of(2), Response(status, {}, told), NOW)
    assert {(one.outcome, one.code) for one in results} == {(outcome, name)}
    assert "@" not in repr(results)


def test_a_permissive_answer_is_read_row_by_row():
    told = {"data": [{"id": "a"}, {"id": "b"}], "errors": [{"index": 1, "message": "bad"}]}
    results = RESEND.parse(batch_of(3), Response(200, {}, json.dumps(told).encode()), NOW)
    assert [(one.outcome, one.provider_ref) for one in results] == [
        (Outcome.ACCEPTED, "a"), (Outcome.PERMANENT, None), (Outcome.ACCEPTED, "b"),
    ]  # fmt: skip


@pytest.mark.parametrize("told", [
    {}, {"data": []}, {"data": [{"id": "a"}]}, {"data": [{"id": "a"}] * 4},
    {"data": [{"id": "a"}] * 2, "errors": [{"index": 9}]}, {"data": "x"},
])  # fmt: skip
def test_a_success_that_does_not_add_up_leaves_everything_open(told):
    results = RESEND.parse(batch_of(3), Response(200, {}, json.dumps(told).encode()), NOW)
    assert {one.outcome for one in results} == {Outcome.AMBIGUOUS}


@pytest.mark.parametrize(("status", "headers", "remaining", "seconds"), [
    (200, {"ratelimit-remaining": "4", "ratelimit-reset": "1"}, 4, None),
    (200, {"ratelimit-remaining": "0", "ratelimit-reset": "1"}, 0, 1),
    (429, {"ratelimit-remaining": "0", "ratelimit-reset": "1", "retry-after": "2"}, 0, 2),
    (429, {}, None, None),
])  # fmt: skip
def test_rate_headers_tell_when_to_resume(status, headers, remaining, seconds):
    state = RESEND.rate(Response(status, headers), NOW)
    wait = (state.resume_at - NOW).total_seconds() if state.resume_at else None
    assert (state.remaining, wait) == (remaining, seconds)


def test_a_spent_quota_is_looked_at_again_when_the_day_begins():
    for name in ("daily_quota_exceeded", "monthly_quota_exceeded"):
        told = json.dumps({"name": name}).encode()
        (result,) = RESEND.parse(batch_of(1), Response(429, {}, told), NOW)
        assert result.retry_at == datetime(2026, 3, 3, tzinfo=UTC)
        (told_when,) = RESEND.parse(batch_of(1), Response(429, {"retry-after": "9"}, told), NOW)
        assert told_when.retry_at == NOW + timedelta(seconds=9)


def test_the_published_example_of_svix_is_verified():
    """The example of Svix's page on verifying by hand."""
    secret = "whsec_plJ3nmyCDGBKInavdOK15jsl"  # noqa: S105 - published
    headers = {
        "svix-id": "msg_loFOjxBNrRLzqYUf", "svix-timestamp": "1731705121",
        "svix-signature": "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0= v1a,x v2,y",
    }  # fmt: skip
    raw = b'{"event_type":"ping","data":{"success":true}}'
    at = datetime.fromtimestamp(1731705121, UTC)
    assert RESEND.verify("", headers, raw, [secret], at + timedelta(minutes=5))
    assert not RESEND.verify("", headers, raw, [secret], at - timedelta(minutes=5, seconds=1))
    unmarked = headers | {"svix-signature": headers["svix-signature"].replace("v1,", "v2,")}
    assert not RESEND.verify("", unmarked, raw, [secret], at)


@pytest.mark.parametrize(("kind", "data", "expected"), [
    ("email.scheduled", {}, "processed"), ("email.sent", {}, "sent"),
    ("email.delivered", {}, "delivered"), ("email.delivery_delayed", {}, "deferred"),
    ("email.bounced", {"bounce": {"type": "Permanent", "subType": "General"}}, "bounce"),
    ("email.bounced", {"bounce": {"type": "Transient"}}, "soft_bounce"),
    ("email.bounced", {}, "bounce"), ("email.complained", {}, "complaint"),
    ("email.opened", {}, "open"), ("email.clicked", {"click": {"link": "x"}}, "click"),
    ("email.failed", {}, "failed"), ("email.suppressed", {}, "dropped"),
    ("contact.updated", {"unsubscribed": True}, "unsubscribe"),
])  # fmt: skip
def test_events_are_named_as_the_warehouse_names_them(kind, data, expected):
    tags = [{"name": "message_key", "value": "k1"}]
    told = {"type": kind, "created_at": "2026-03-02T09:00:00.000Z", "data": {"tags": tags, **data}}
    (event,) = RESEND.events("", {"Svix-Id": "msg_1"}, json.dumps(told).encode())
    assert (event.type, event.event_id, event.message_key) == (expected, "msg_1", "k1")
    assert (event.occurred_at, event.payload) == (NOW, told)


@pytest.mark.parametrize("told", [
    {"type": "email.received", "created_at": "2026-03-02T09:00:00Z", "data": {}},
    {"type": "contact.updated", "created_at": "2026-03-02T09:00:00Z",
     "data": {"unsubscribed": False}},
    {"type": "domain.created", "created_at": "2026-03-02T09:00:00Z", "data": {}},
])  # fmt: skip
def test_what_says_nothing_about_a_message_is_left_out(told):
    assert RESEND.events("", {"svix-id": "msg_1"}, json.dumps(told).encode()) == []
