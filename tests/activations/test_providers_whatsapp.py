"""WhatsApp's own: its templates, Meta's error codes, its statuses, replies and preferences."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from activations.http import Response
from activations.providers import Item, Outcome
from activations.providers.whatsapp import WhatsApp, challenge

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
WHATSAPP = WhatsApp("token", "123", "{program}_{arm}", "en_GB")
ITEM = Item(
    "k1", "+447700900123", "welcome", "whatsapp_none_greeting", "", "Hello Ada,\n\n\there it is"
)


def test_a_message_is_an_approved_template_with_one_line_of_text():
    (batch,) = WHATSAPP.plan([ITEM])
    assert batch.path == "/v26.0/123/messages"
    assert json.loads(batch.content) == {
        "messaging_product": "whatsapp", "recipient_type": "individual", "to": "+447700900123",
        "type": "template",
        "template": {
            "name": "welcome_whatsapp_none_greeting", "language": {"code": "en_GB"},
            "components": [{
                "type": "body", "parameters": [{"type": "text", "text": "Hello Ada, here it is"}],
            }],
        },
        "biz_opaque_callback_data":
            "message_key=k1&program=welcome&arm=whatsapp_none_greeting",
    }  # fmt: skip


@pytest.mark.parametrize(("changes", "code"), [
    ({"address": "447700900123"}, "131009"), ({"text": "\n"}, "131008"),
    ({"text": "x" * 1025}, "132005"),
])  # fmt: skip
def test_what_meta_would_refuse_costs_no_request(changes, code):
    result = WHATSAPP.admit(replace(ITEM, **changes))
    assert (result.outcome, result.code) == (Outcome.PERMANENT, code)
    assert WHATSAPP.admit(ITEM) is None


def parsed(status, body, headers=None):
    (batch,) = WHATSAPP.plan([ITEM])
    (result,) = WHATSAPP.parse(
        batch, Response(status, headers or {}, json.dumps(body).encode()), NOW
    )
    return result


@pytest.mark.parametrize(("status", "code", "outcome"), [
    (401, 0, Outcome.AUTH), (500, 3, Outcome.AUTH), (403, 10, Outcome.AUTH),
    (401, 190, Outcome.AUTH), (403, 200, Outcome.AUTH), (403, 299, Outcome.AUTH),
    (403, 368, Outcome.AUTH), (403, 131005, Outcome.AUTH), (403, 131031, Outcome.AUTH),
    (400, 131037, Outcome.AUTH), (400, 131042, Outcome.AUTH), (500, 131045, Outcome.AUTH),
    (400, 133010, Outcome.AUTH),
    (400, 4, Outcome.RETRY), (400, 80007, Outcome.RETRY), (400, 130429, Outcome.RETRY),
    (400, 131048, Outcome.RETRY), (400, 131056, Outcome.RETRY), (400, 133016, Outcome.RETRY),
    (500, 131057, Outcome.RETRY),
    (400, 130472, Outcome.BLOCKED), (403, 130497, Outcome.BLOCKED),
    (400, 131047, Outcome.BLOCKED), (400, 131049, Outcome.BLOCKED), (400, 131050, Outcome.BLOCKED),
    (400, 33, Outcome.PERMANENT), (400, 100, Outcome.PERMANENT), (400, 131008, Outcome.PERMANENT),
    (400, 131009, Outcome.PERMANENT), (400, 131021, Outcome.PERMANENT),
    (400, 131026, Outcome.PERMANENT), (400, 131051, Outcome.PERMANENT),
    (400, 132000, Outcome.PERMANENT), (404, 132001, Outcome.PERMANENT),
    (400, 132005, Outcome.PERMANENT), (400, 132007, Outcome.PERMANENT),
    (400, 132012, Outcome.PERMANENT), (400, 132015, Outcome.PERMANENT),
    (400, 132016, Outcome.PERMANENT), (400, 135000, Outcome.PERMANENT),
    (400, 1, Outcome.AMBIGUOUS), (503, 2, Outcome.AMBIGUOUS), (500, 131000, Outcome.AMBIGUOUS),
    (500, 131016, Outcome.AMBIGUOUS), (200, 131026, Outcome.PERMANENT),
])  # fmt: skip
def test_the_error_table_row_by_row(status, code, outcome):
    result = parsed(status, {"error": {"code": code, "message": "+447700900123"}})
    assert (result.outcome, result.code) == (outcome, str(code))
    assert "7700" not in repr(result)


def test_a_success_names_the_message_and_what_meta_does_with_it():
    for status in ("accepted", "held_for_quality_assessment", "paused"):
        result = parsed(200, {"messages": [{"id": "wamid.1", "message_status": status}]})
        assert (result.outcome, result.provider_ref, result.detail) == (
            Outcome.ACCEPTED, "wamid.1", status,
        )  # fmt: skip
    for body in ({}, {"messages": []}, {"messages": [{}]}, {"messages": "x"}):
        assert parsed(200, body).outcome is Outcome.AMBIGUOUS


def test_a_limit_says_when_to_try_again_and_for_whom():
    pair, number = ({"error": {"code": code}} for code in (131056, 130429))
    assert parsed(400, pair).retry_at == NOW + timedelta(minutes=5)
    assert parsed(400, number, {"retry-after": "7"}).retry_at == NOW + timedelta(seconds=7)
    states = [
        WHATSAPP.rate(Response(400, {}, json.dumps(body).encode()), NOW) for body in (pair, number)
    ]
    assert states[0].resume_at == NOW, "one person's limit holds up nobody else"
    assert states[1].resume_at == NOW + timedelta(minutes=1)


def told(**value):
    change = {"field": "messages", "value": {"messaging_product": "whatsapp", **value}}
    body = {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}
    return WHATSAPP.events("", {}, json.dumps(body).encode())


@pytest.mark.parametrize(("status", "kind"), [
    ("sent", "sent"), ("delivered", "delivered"), ("read", "open"), ("failed", "failed"),
])  # fmt: skip
def test_statuses_carry_the_key_that_was_sent(status, kind):
    payload = {"id": "wamid.1", "status": status, "timestamp": "1772442000",
               "recipient_id": "447700900123", "errors": [{"code": 131026}],
               "biz_opaque_callback_data": "message_key=k1&program=welcome"}  # fmt: skip
    (event,) = told(statuses=[payload])
    assert (event.type, event.event_id, event.message_key) == (kind, f"wamid.1:{status}", "k1")
    assert (event.occurred_at, event.detail, event.payload) == (NOW, "131026", payload)


@pytest.mark.parametrize(("said", "kind"), [
    ({"type": "text", "text": {"body": " stop "}}, "unsubscribe"),
    ({"type": "button", "button": {"text": "Stop promotions", "payload": "x"}}, "unsubscribe"),
    ({"type": "text", "text": {"body": "START"}}, "resubscribe"),
    ({"type": "text", "text": {"body": "stop it, I love it"}}, "reply"),
    ({"type": "image", "image": {"id": "1"}}, "reply"),
])  # fmt: skip
def test_a_reply_is_read_by_its_word(said, kind):
    message = {"from": "447700900123", "id": "wamid.2", "timestamp": "1772442000", **said}
    (event,) = told(messages=[message], contacts=[])
    assert (event.type, event.event_id, event.message_key) == (kind, "wamid.2:reply", None)


@pytest.mark.parametrize(("value", "kinds"), [
    ("stop", ["unsubscribe"]), ("resume", ["resubscribe"]), ("other", []),
])  # fmt: skip
def test_a_preference_set_in_the_app_is_heard(value, kinds):
    wish = {"wa_id": "447700900123", "detail": "x", "category": "marketing_messages",
            "value": value, "timestamp": 1772442000}  # fmt: skip
    assert [event.type for event in told(user_preferences=[wish])] == kinds


def test_other_notifications_are_left_out():
    assert told(statuses=[{"id": "1", "status": "teleported", "timestamp": "1"}]) == []
    assert told(message_template_id=7) == []
    assert WHATSAPP.events("", {}, b'{"object":"page"}') == []


def test_the_subscription_is_confirmed_with_the_right_token_only():
    query = {"hub.mode": "subscribe", "hub.verify_token": "t", "hub.challenge": "1158201444"}
    assert challenge(query, ["old", "t"]) == "1158201444"
    assert challenge(query, ["old"]) is None
    assert challenge(query, []) is None
    assert challenge(query | {"hub.mode": "unsubscribe"}, ["t"]) is None
    assert challenge(query | {"hub.challenge": "<script>"}, ["t"]) is None
    assert challenge({}, ["t"]) is None
