"""Twilio's own: its form, its error table, its signature, its callbacks."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlencode

import pytest

from activations.http import Response
from activations.providers import Item, Outcome
from activations.providers.twilio import Twilio

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
TWILIO = Twilio("AC" + "0" * 32, "12345")
ITEM = Item("k1", "+14155550100", "welcome", "sms_none_reminder", "+14155550000", "Hello é & you",
            status_callback="https://gate.example/webhooks/twilio?message_key=k1")  # fmt: skip


def test_one_request_a_message_with_callback_and_sender():
    (batch,) = TWILIO.plan([ITEM])
    assert parse_qs(batch.content.decode()) == {
        "To": ["+14155550100"], "From": ["+14155550000"], "Body": ["Hello é & you"],
        "StatusCallback": ["https://gate.example/webhooks/twilio?message_key=k1"],
    }  # fmt: skip
    service = "MG" + "a" * 32
    (batch,) = TWILIO.plan([replace(ITEM, sender=service)])
    assert parse_qs(batch.content.decode())["MessagingServiceSid"] == [service]


@pytest.mark.parametrize(("changes", "code"), [
    ({"address": "0415"}, "21211"), ({"address": "+0415555010"}, "21211"),
    ({"text": ""}, "21602"), ({"text": "x" * 1601}, "21617"),
])  # fmt: skip
def test_what_twilio_would_refuse_costs_no_request(changes, code):
    result = TWILIO.admit(replace(ITEM, **changes))
    assert (result.outcome, result.code) == (Outcome.PERMANENT, code)
    assert TWILIO.admit(ITEM) is None


def created(**told):
    return 201, {"sid": "SM1", **told}


@pytest.mark.parametrize(("answer", "outcome", "code"), [
    (created(status="queued"), Outcome.ACCEPTED, "201"),
    (created(status="accepted"), Outcome.ACCEPTED, "201"),
    (created(status="failed", error_code=30008), Outcome.PERMANENT, "30008"),
    (created(status="failed", error_code=21610), Outcome.BLOCKED, "21610"),
    ((201, {}), Outcome.AMBIGUOUS, "201"),
    ((400, {"code": 21211}), Outcome.PERMANENT, "21211"),
    ((400, {"code": 21610}), Outcome.BLOCKED, "21610"),
    ((400, {"code": 21408}), Outcome.BLOCKED, "21408"),
    ((400, {"code": 30001}), Outcome.RETRY, "30001"),
    ((429, {"code": 20429}), Outcome.RETRY, "20429"),
    ((401, {"code": 20003}), Outcome.AUTH, "20003"),
    ((403, {"code": 20403}), Outcome.AUTH, "20403"),
    ((404, {"code": 20404}), Outcome.PERMANENT, "20404"),
    ((500, {"code": 20500}), Outcome.AMBIGUOUS, "20500"),
    ((503, {}), Outcome.AMBIGUOUS, "503"),
])  # fmt: skip
def test_the_error_table_row_by_row(answer, outcome, code):
    status, body = answer
    (batch,) = TWILIO.plan([ITEM])
    response = Response(status, {}, json.dumps(body).encode())
    (result,) = TWILIO.parse(batch, response, NOW)
    assert (result.outcome, result.code) == (outcome, code)


def test_retry_after_is_obeyed():
    response = Response(429, {"retry-after": "3"}, b'{"code":20429}')
    (batch,) = TWILIO.plan([ITEM])
    assert TWILIO.parse(batch, response, NOW)[0].retry_at == NOW + timedelta(seconds=3)


# The example of Twilio's page on webhook security.
PAGE_URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
PAGE_FORM = {
    "CallSid": "CA1234567890ABCDE", "Caller": "+14158675310", "Digits": "1234",
    "From": "+14158675310", "To": "+18005551212",
}  # fmt: skip
PAGE_SIGNATURE = "GvWf1cFY/Q7PnoempGyD5oXAezc="


def is_valid(url=PAGE_URL, form=PAGE_FORM, signature=PAGE_SIGNATURE, secrets=("12345",)):
    raw = urlencode(form).encode()
    return TWILIO.verify(url, {"X-Twilio-Signature": signature}, raw, secrets, NOW)


def test_the_published_example_is_verified():
    assert is_valid()
    assert is_valid(form=dict(reversed(PAGE_FORM.items())))


def test_the_port_may_be_missing_or_added():
    assert is_valid(url=PAGE_URL.replace("mycompany.com", "mycompany.com:443"))


def test_address_and_every_parameter_are_part_of_what_is_signed():
    assert not is_valid(url=PAGE_URL.replace("bar=2", "bar=3"))
    assert not is_valid(url=PAGE_URL.replace("https", "http"))
    assert not is_valid(form={**PAGE_FORM, "Digits": "1235"})
    assert not is_valid(form={**PAGE_FORM, "Blank": "", "Digits": "1234x"})


def test_a_blank_parameter_is_part_of_what_is_signed():
    form = {**PAGE_FORM, "ErrorCode": ""}
    text = PAGE_URL + "".join(name + form[name] for name in sorted(form))
    code = hmac.new(b"12345", text.encode(), hashlib.sha1).digest()
    assert is_valid(form=form, signature=base64.b64encode(code).decode())
    assert not is_valid(form={**form, "ErrorCode": "1"}, signature=base64.b64encode(code).decode())


def test_a_json_body_is_signed_through_its_hash_in_the_query():
    raw = b'{"MessageSid":"SM1"}'
    url = f"https://gate.example/w?bodySHA256={hashlib.sha256(raw).hexdigest()}"
    code = base64.b64encode(hmac.new(b"12345", url.encode(), hashlib.sha1).digest()).decode()
    headers = {"x-twilio-signature": code}
    assert TWILIO.verify(url, headers, raw, ["12345"], NOW)
    assert not TWILIO.verify(url, headers, raw + b" ", ["12345"], NOW)


CALLBACK = "https://gate.example/webhooks/twilio?message_key=k1&program=welcome&arm=a"


@pytest.mark.parametrize(("status", "kind"), [
    ("queued", "processed"), ("accepted", "processed"), ("sending", "processed"),
    ("sent", "sent"), ("delivered", "delivered"), ("undelivered", "undelivered"),
    ("failed", "failed"), ("read", "open"), ("canceled", "dropped"),
])  # fmt: skip
def test_callbacks_carry_the_key_in_the_url(status, kind):
    raw = urlencode({"MessageSid": "SM1", "MessageStatus": status, "ErrorCode": ""}).encode()
    (event,) = TWILIO.events(CALLBACK, {}, raw)
    assert (event.type, event.message_key, event.detail) == (kind, "k1", None)
    assert event.event_id == f"SM1:{status}"


@pytest.mark.parametrize(("body", "kind"), [
    ("STOP", "unsubscribe"), (" stop ", "unsubscribe"), ("Unsubscribe", "unsubscribe"),
    ("QUIT", "unsubscribe"), ("START", "resubscribe"), ("stop it, I love it", "reply"),
])  # fmt: skip
def test_a_reply_is_read_by_its_word(body, kind):
    raw = urlencode({"MessageSid": "SM2", "From": "+14155550100", "Body": body}).encode()
    (event,) = TWILIO.events("https://gate.example/webhooks/twilio", {}, raw)
    assert (event.type, event.message_key) == (kind, None)


def test_a_callback_that_repeats_has_the_same_id_and_strangers_are_ignored():
    raw = urlencode({"MessageSid": "SM1", "MessageStatus": "delivered"}).encode()
    assert TWILIO.events(CALLBACK, {}, raw) == TWILIO.events(CALLBACK, {}, raw)
    assert TWILIO.events(CALLBACK, {}, b"Hello=1") == []
    assert (
        TWILIO.events(CALLBACK, {}, urlencode({"MessageSid": "S", "MessageStatus": "x"}).encode())
        == []
    )
