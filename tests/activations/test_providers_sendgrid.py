"""SendGrid's own: rendering by substitution, its error table, its events."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activations.http import Response
from activations.providers import Item, Outcome
from activations.providers.sendgrid import HTML_SLOT, TEXT_SLOT, SendGrid

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SENDGRID = SendGrid("SG.key")


def item(number, text="Hello", html=None, **changes):
    made = Item(
        f"key-{number:04d}", f"p{number}@example.com", "welcome", "email_none_reminder",
        "shop@example.com", text, "Hello", html, "The Shop",
    )  # fmt: skip
    return replace(made, **changes)


def rendered(batch):
    """What SendGrid would deliver: each person's content with their substitutions made."""
    body = json.loads(batch.content)
    told = {}
    for envelope in body["personalizations"]:
        parts = {}
        for part in body["content"]:
            value = part["value"]
            for slot, replacement in envelope.get("substitutions", {}).items():
                value = value.replace(slot, replacement)
            parts[part["type"]] = value
        told[envelope["custom_args"]["message_key"]] = (
            envelope["to"][0]["email"], envelope["subject"], parts.get("text/plain", ""),
            parts.get("text/html"),
        )  # fmt: skip
    return told


pieces = st.sampled_from(["a", "b", " ", "-", "<p>", "é", TEXT_SLOT, HTML_SLOT])
copy = st.lists(pieces, min_size=1, max_size=6).map("".join)


@given(st.lists(st.tuples(copy, st.none() | copy), min_size=1, max_size=8))
@settings(max_examples=300, deadline=None)
def test_everyone_receives_exactly_the_copy_that_was_rendered_for_them(copies):
    items = [item(number, text, html) for number, (text, html) in enumerate(copies)]
    told = {}
    for batch in SENDGRID.plan(items):
        told |= rendered(batch)
    assert told == {
        one.message_key: (one.address, one.subject, one.text, one.html) for one in items
    }


def test_copy_that_holds_a_slot_of_ours_is_sent_alone():
    copies = ["Hi", f"About {HTML_SLOT}", f"About {TEXT_SLOT}", "Ho"]
    items = [item(number, text, f"<p>{text}</p>") for number, text in enumerate(copies)]
    told = {}
    for batch in SENDGRID.plan(items):
        told |= rendered(batch)
    assert [told[one.message_key][2:] for one in items] == [(i.text, i.html) for i in items]


def test_what_all_share_is_sent_once_and_what_differs_is_substituted():
    shared = "The same long paragraph for everybody. " * 50
    items = [item(number, f"Hello {number}! {shared}") for number in range(1000)]
    (batch,) = SENDGRID.plan(items)
    assert len(batch.content) < 300_000 < sum(len(one.text) for one in items)
    assert rendered(batch)["key-0007"][2] == items[7].text


def test_a_person_whose_copy_exceeds_the_substitution_limit_gets_a_request_of_their_own():
    long = "é" * 6000
    items = [item(0, "Hello a"), item(1, long), item(2, "Hello b")]
    batches = SENDGRID.plan(items)
    assert sorted(len(batch.items) for batch in batches) == [1, 2]
    alone = next(batch for batch in batches if len(batch.items) == 1)
    assert json.loads(alone.content)["content"] == [{"type": "text/plain", "value": long}]


def test_the_same_address_is_in_a_request_once():
    items = [item(0), item(1, address="P0@example.com"), item(2)]
    batches = SENDGRID.plan(items)
    for batch in batches:
        addresses = [one.address.lower() for one in batch.items]
        assert len(set(addresses)) == len(addresses)
    assert sum(len(batch.items) for batch in batches) == 3


def test_programs_arms_and_senders_are_not_mixed():
    items = [item(0), item(1, program="win_back"), item(2, arm="b"), item(3, sender="x@y.example")]
    assert [len(batch.items) for batch in SENDGRID.plan(items)] == [1, 1, 1, 1]


def test_the_request_carries_key_category_and_unsubscribe_headers():
    headers = (("List-Unsubscribe", "<https://shop.example/u/1>"),
               ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))  # fmt: skip
    body = json.loads(SENDGRID.plan([item(1, headers=headers)])[0].content)
    assert body["categories"] == ["welcome"]
    assert body["from"] == {"email": "shop@example.com", "name": "The Shop"}
    (envelope,) = body["personalizations"]
    assert envelope["headers"] == dict(headers)
    assert envelope["custom_args"] == {
        "message_key": "key-0001", "program": "welcome", "arm": "email_none_reminder",
    }  # fmt: skip


@pytest.mark.parametrize(("changes", "code"), [
    ({"address": "nobody"}, "invalid_address"),
    ({"subject": ""}, "empty_subject_or_content"),
    ({"text": "", "html": None}, "empty_subject_or_content"),
    ({"headers": (("Reply-To", "x"),)}, "reserved_header"),
])  # fmt: skip
def test_what_would_spoil_a_whole_request_is_refused_before(changes, code):
    result = SENDGRID.admit(item(1, **changes))
    assert (result.outcome, result.code) == (Outcome.PERMANENT, code)
    assert SENDGRID.admit(item(1)) is None


ERRORS = b'{"errors":[{"field":"personalizations.0.to","message":"p1@example.com is bad"}]}'


@pytest.mark.parametrize(("status", "headers", "content", "outcome", "detail"), [
    (202, {"x-message-id": "abc"}, b"", Outcome.ACCEPTED, None),
    (400, {}, ERRORS, Outcome.PERMANENT, "personalizations.0.to"),
    (401, {}, b"", Outcome.AUTH, None),
    (403, {}, b"", Outcome.AUTH, None),
    (404, {}, b"", Outcome.PERMANENT, None),
    (405, {}, b"", Outcome.PERMANENT, None),
    (413, {}, b"", Outcome.PERMANENT, None),
    (429, {}, b"", Outcome.RETRY, None),
    (500, {}, ERRORS, Outcome.AMBIGUOUS, None),
    (503, {}, b"", Outcome.AMBIGUOUS, None),
])  # fmt: skip
def test_the_error_table_row_by_row(status, headers, content, outcome, detail):
    (batch,) = SENDGRID.plan([item(1)])
    (result,) = SENDGRID.parse(batch, Response(status, headers, content), NOW)
    assert (result.outcome, result.code, result.detail) == (outcome, str(status), detail)
    assert result.provider_ref == headers.get("x-message-id")
    assert "@" not in repr(result)


@pytest.mark.parametrize(("status", "headers", "remaining", "resume"), [
    (202, {"x-ratelimit-remaining": "5", "x-ratelimit-reset": "1772442060"}, 5, None),
    (202, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1772442060"}, 0, 60),
    (429, {"x-ratelimit-reset": "1772442060"}, None, 60),
    (429, {"retry-after": "7"}, None, 7),
    (429, {}, None, None),
    (429, {"retry-after": "soon"}, None, None),
])  # fmt: skip
def test_rate_headers_tell_when_to_resume(status, headers, remaining, resume):
    state = SENDGRID.rate(Response(status, headers), NOW)
    seconds = (state.resume_at - NOW).total_seconds() if state.resume_at else None
    assert (state.remaining, seconds) == (remaining, resume)


def test_who_is_named_is_refused_and_the_others_may_go_again():
    (batch,) = SENDGRID.plan([item(number) for number in range(4)])
    fields = ["personalizations.1.to.0.email", "personalizations[3].subject"]
    told = json.dumps({"errors": [{"field": field, "message": "bad"} for field in fields]}).encode()
    results = SENDGRID.parse(batch, Response(400, {}, told), NOW)
    retry, permanent = Outcome.RETRY, Outcome.PERMANENT
    assert [one.outcome for one in results] == [retry, permanent, retry, permanent]
    assert [one.detail for one in results][1::2] == fields
    assert SENDGRID.split(batch, results) == []


@pytest.mark.parametrize("field", ["from.email", "content.0.value", "personalizations.9.to"])
def test_an_error_about_everybody_refuses_all_and_is_not_split(field):
    (batch,) = SENDGRID.plan([item(number) for number in range(4)])
    told = json.dumps({"errors": [{"field": field, "message": "bad"}]}).encode()
    results = SENDGRID.parse(batch, Response(400, {}, told), NOW)
    assert {(one.outcome, one.detail) for one in results} == {(Outcome.PERMANENT, field)}
    assert SENDGRID.split(batch, results) == []


@pytest.mark.parametrize(("entry", "kind"), [
    ({"event": "processed"}, "processed"), ({"event": "delivered"}, "delivered"),
    ({"event": "deferred"}, "deferred"), ({"event": "dropped"}, "dropped"),
    ({"event": "bounce", "type": "bounce"}, "bounce"),
    ({"event": "bounce", "type": "blocked"}, "soft_bounce"),
    ({"event": "open"}, "open"), ({"event": "open", "sg_machine_open": True}, "machine_open"),
    ({"event": "open", "sg_machine_open": False}, "open"), ({"event": "click"}, "click"),
    ({"event": "spamreport"}, "complaint"), ({"event": "unsubscribe"}, "unsubscribe"),
    ({"event": "group_unsubscribe"}, "unsubscribe"),
    ({"event": "group_resubscribe"}, "resubscribe"),
])  # fmt: skip
def test_events_are_named_as_the_warehouse_names_them(entry, kind):
    told = {"sg_event_id": "e1", "timestamp": 1772442000, "message_key": "k1", **entry}
    (event,) = SENDGRID.events("", {}, json.dumps([told]).encode())
    assert (event.type, event.event_id, event.message_key) == (kind, "e1", "k1")
    assert event.occurred_at == NOW
    assert event.payload == told


def test_account_events_and_unknown_kinds_are_left_out():
    entries = [{"event": "account_status_change", "sg_event_id": "a"}, {"event": "click"},
               {"event": "teleported", "sg_event_id": "b"}]  # fmt: skip
    assert SENDGRID.events("", {}, json.dumps(entries).encode()) == []
