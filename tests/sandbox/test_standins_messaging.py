"""Stand-ins of Resend, WhatsApp, FCM and the signed webhook: what they refuse, and what keys do."""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from sandbox import standins
from sandbox.standins import fcm, resend, webhook, whatsapp

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
MAIL = {"from": "Shop <shop@example.com>", "to": ["a@example.com"], "subject": "Hi", "text": "Ho"}
TEMPLATE = {
    "name": whatsapp.TEMPLATE, "language": {"code": "en"},
    "components": [{"type": "body", "parameters": [{"type": "text", "text": "Hello"}]}],
}  # fmt: skip
WHATSAPP = {"messaging_product": "whatsapp", "to": "+447700900123", "type": "template",
            "template": TEMPLATE}  # fmt: skip
PUSH = {"token": "a:b", "notification": {"body": "Hi"}}
MESSAGE = {"message_key": "k1", "address": "a", "program": "welcome", "arm": "x", "sender": "s",
           "sender_name": None, "subject": None, "text": "Hi", "html": None,
           "headers": {}}  # fmt: skip
HOOK = {"version": 1, "channel": "push", "messages": [MESSAGE]}


@pytest.fixture
def servers(tmp_path):
    with standins.serve(tmp_path) as running:
        running.set_clock(NOW)
        yield running


def send(servers, name, body, key="key-1", **headers):
    raw = json.dumps(body).encode()
    bearer = {"resend": resend.API_KEY, "whatsapp": whatsapp.ACCESS_TOKEN, "fcm": fcm.ACCESS_TOKEN}
    path = {"resend": resend.PATH, "fcm": fcm.PATH, "webhook": "",
            "whatsapp": f"/v26.0/{whatsapp.PHONE_NUMBER_ID}/messages"}[name]  # fmt: skip
    signed = hmac.new(webhook.SECRET.encode(), f"{key}.".encode() + raw, hashlib.sha256).hexdigest()
    known = {
        "Content-Type": "application/json", "Idempotency-Key": key,
        "Authorization": f"Bearer {bearer.get(name)}", "LoopDrive-Signature": f"v1={signed}",
    }  # fmt: skip
    with httpx.Client(trust_env=False) as client:
        return client.post(servers.urls[name] + path, content=raw, headers=known | headers)


def logged(tmp_path):
    path = tmp_path / "sandbox" / "accepted.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def without(body, *names):
    return {name: value for name, value in body.items() if name not in names}


REFUSALS = [
    ("resend", [without(MAIL, "to")], 422, "validation_error"),
    ("resend", [MAIL | {"to": "nobody"}], 422, "validation_error"),
    ("resend", [without(MAIL, "text")], 422, "validation_error"),
    ("resend", [MAIL | {"colour": "red"}], 422, "validation_error"),
    ("resend", [MAIL | {"tags": [{"name": "é", "value": "x"}]}], 422, "validation_error"),
    ("resend", [MAIL] * 101, 422, "validation_error"),
    ("resend", [], 422, "validation_error"),
    ("resend", {}, 422, "validation_error"),
    ("whatsapp", without(WHATSAPP, "to"), 400, 100),
    ("whatsapp", WHATSAPP | {"to": "nobody"}, 400, 100),
    ("whatsapp", WHATSAPP | {"type": "text"}, 400, 100),
    ("whatsapp", WHATSAPP | {"colour": "red"}, 400, 100),
    ("whatsapp", WHATSAPP | {"template": TEMPLATE | {"name": "other"}}, 404, 132001),
    ("whatsapp", WHATSAPP | {"template": without(TEMPLATE, "components")}, 400, 132000),
    ("whatsapp", WHATSAPP | {"template": TEMPLATE | {"components": [
        {"type": "body", "parameters": [{"type": "text", "text": "two\nlines"}]}]}}, 400, 100),
    ("fcm", {"message": without(PUSH, "token")}, 400, "INVALID_ARGUMENT"),
    ("fcm", {"message": PUSH | {"fid": "x"}}, 400, "INVALID_ARGUMENT"),
    ("fcm", {"message": without(PUSH, "notification")}, 400, "INVALID_ARGUMENT"),
    ("fcm", {"message": PUSH | {"data": {"n": 1}}}, 400, "INVALID_ARGUMENT"),
    ("fcm", {"message": PUSH | {"data": {"n": "x" * 4096}}}, 400, "INVALID_ARGUMENT"),
    ("fcm", {"message": PUSH, "colour": "red"}, 400, "INVALID_ARGUMENT"),
    ("webhook", HOOK | {"messages": [without(MESSAGE, "address")]}, 400, None),
    ("webhook", HOOK | {"channel": "pigeon"}, 400, None),
    ("webhook", HOOK | {"messages": [MESSAGE] * 101}, 400, None),
    ("webhook", HOOK | {"colour": "red"}, 400, None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body", "status", "code"), REFUSALS)
def test_what_a_vendor_refuses_the_stand_in_refuses(servers, tmp_path, name, body, status, code):
    answer = send(servers, name, body)
    told = answer.json()
    error = told.get("error") if isinstance(told.get("error"), dict) else {}
    given = {"resend": told.get("name"), "whatsapp": error.get("code"), "fcm": error.get("status")}
    assert (answer.status_code, given.get(name)) == (status, code)
    assert logged(tmp_path) == []


def test_one_bad_mail_holds_up_the_others_only_where_nobody_asked_for_leniency(servers, tmp_path):
    mails = [MAIL, MAIL | {"to": "nobody"}, MAIL]
    assert send(servers, "resend", mails).status_code == 422
    lenient = send(servers, "resend", mails, **{"x-batch-validation": "permissive"})
    assert lenient.status_code == 200
    assert [one["index"] for one in lenient.json()["errors"]] == [1]
    assert len(lenient.json()["data"]) == len(logged(tmp_path)) == 2


@pytest.mark.parametrize(("name", "body"), [("resend", [MAIL]), ("webhook", HOOK)])
def test_a_key_is_kept_for_a_day_and_beyond_a_restart(tmp_path, name, body):
    with standins.serve(tmp_path) as first:
        first.set_clock(NOW)
        told = send(first, name, body).json()
        other = (
            [MAIL | {"subject": "?"}] if name == "resend" else HOOK | {"messages": [MESSAGE] * 2}
        )
        assert send(first, name, other).status_code == 409
    with standins.serve(tmp_path) as second:
        second.set_clock(NOW + timedelta(hours=23))
        assert send(second, name, body).json() == told
        assert len(logged(tmp_path)) == 1
        second.set_clock(NOW + timedelta(hours=25))
        assert send(second, name, body).is_success
    assert len(logged(tmp_path)) == 2, "forgotten after a day"


@pytest.mark.parametrize(("name", "body", "address"), [
    ("whatsapp", WHATSAPP, "+447700900123"), ("fcm", {"message": PUSH}, "a:b"),
    ("webhook", HOOK, "a"),
])  # fmt: skip
def test_a_blocked_address_hears_nothing(servers, tmp_path, name, body, address):
    servers.block(address)
    told = send(servers, name, body).text
    assert {"whatsapp": "131050", "fcm": "UNREGISTERED", "webhook": "blocked"}[name] in told
    assert logged(tmp_path) == []
