"""FCM's own: its message, Google's error table."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from activations.http import Response
from activations.providers import GONE_CODES, Item, Outcome
from activations.providers.fcm import Fcm

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
FCM = Fcm("token", "shop")
ITEM = Item("k1", "abc:APA91b", "welcome", "push_none_greeting", "", "Your mug is back.",
            sender_name="Fernway")  # fmt: skip
KIND = "type.googleapis.com/"


def test_a_message_replaces_itself_on_every_kind_of_device():
    (batch,) = FCM.plan([ITEM])
    assert batch.path == "/v1/projects/shop/messages:send"
    assert json.loads(batch.content) == {
        "message": {
            "token": "abc:APA91b",
            "notification": {"title": "Fernway", "body": "Your mug is back."},
            "data": {"message_key": "k1", "program": "welcome", "arm": "push_none_greeting"},
            "android": {"notification": {"tag": "k1"}},
            "apns": {"headers": {"apns-collapse-id": "k1"}},
            "webpush": {"notification": {"tag": "k1"}},
        }
    }


def test_an_installation_is_addressed_by_its_own_field():
    (batch,) = FCM.plan([replace(ITEM, address="cBWW9bqOQ_m3tyXvLuSQsM")])
    message = json.loads(batch.content)["message"]
    assert message["fid"] == "cBWW9bqOQ_m3tyXvLuSQsM"
    assert "token" not in message


@pytest.mark.parametrize(("changes", "code"), [
    ({"address": " "}, "INVALID_REGISTRATION"), ({"text": ""}, "empty_notification"),
    ({"text": "é" * 2048}, "message_too_big"),
])  # fmt: skip
def test_what_fcm_would_refuse_costs_no_request(changes, code):
    result = FCM.admit(replace(ITEM, **changes))
    assert (result.outcome, result.code) == (Outcome.PERMANENT, code)
    assert FCM.admit(ITEM) is None


def fcm_error(code):
    return {"@type": f"{KIND}google.firebase.fcm.v1.FcmError", "errorCode": code}


BAD_REQUEST = {"@type": f"{KIND}google.rpc.BadRequest", "fieldViolations": [{"field": "x"}]}


@pytest.mark.parametrize(("status", "name", "details", "outcome", "code"), [
    (400, "INVALID_ARGUMENT", [BAD_REQUEST], Outcome.PERMANENT, "INVALID_ARGUMENT"),
    (400, "INVALID_ARGUMENT", [fcm_error("INVALID_ARGUMENT"), BAD_REQUEST], Outcome.PERMANENT,
     "INVALID_ARGUMENT"),
    (400, "INVALID_ARGUMENT", [fcm_error("INVALID_ARGUMENT")], Outcome.PERMANENT,
     "INVALID_REGISTRATION"),
    (401, "UNAUTHENTICATED", [], Outcome.AUTH, "UNAUTHENTICATED"),
    (401, "UNAUTHENTICATED", [fcm_error("THIRD_PARTY_AUTH_ERROR")], Outcome.AUTH,
     "THIRD_PARTY_AUTH_ERROR"),
    (403, "PERMISSION_DENIED", [], Outcome.AUTH, "PERMISSION_DENIED"),
    (403, "PERMISSION_DENIED", [fcm_error("SENDER_ID_MISMATCH")], Outcome.PERMANENT,
     "SENDER_ID_MISMATCH"),
    (404, "NOT_FOUND", [], Outcome.PERMANENT, "NOT_FOUND"),
    (404, "NOT_FOUND", [fcm_error("UNREGISTERED")], Outcome.PERMANENT, "UNREGISTERED"),
    (429, "RESOURCE_EXHAUSTED", [fcm_error("QUOTA_EXCEEDED")], Outcome.RETRY, "QUOTA_EXCEEDED"),
    (500, "INTERNAL", [fcm_error("INTERNAL")], Outcome.AMBIGUOUS, "INTERNAL"),
    (503, "UNAVAILABLE", [fcm_error("UNAVAILABLE")], Outcome.AMBIGUOUS, "UNAVAILABLE"),
])  # fmt: skip
def test_the_error_table_row_by_row(status, name, details, outcome, code):
    told = {"error": {"code": status, "message": "abc:APA91b", "status": name, "details": details}}
    (batch,) = FCM.plan([ITEM])
    (result,) = FCM.parse(batch, Response(status, {}, json.dumps(told).encode()), NOW)
    assert (result.outcome, result.code) == (outcome, code)
    is_gone = code in ("UNREGISTERED", "INVALID_REGISTRATION", "SENDER_ID_MISMATCH")
    assert (code in GONE_CODES) == is_gone
    assert "APA91b" not in repr(result)


def test_a_success_names_the_message_and_another_is_open():
    (batch,) = FCM.plan([ITEM])
    (taken,) = FCM.parse(batch, Response(200, {}, b'{"name":"projects/shop/messages/1"}'), NOW)
    assert (taken.outcome, taken.provider_ref) == (Outcome.ACCEPTED, "projects/shop/messages/1")
    (open_one,) = FCM.parse(batch, Response(200, {}, b"{}"), NOW)
    assert open_one.outcome is Outcome.AMBIGUOUS


def test_a_spent_quota_waits_as_told_and_a_minute_otherwise():
    for headers, seconds in (({"retry-after": "9"}, 9), ({}, 60)):
        state = FCM.rate(Response(429, headers), NOW)
        assert state.resume_at == NOW + timedelta(seconds=seconds)


def test_a_vendor_that_calls_nobody_is_never_believed():
    assert not FCM.verify("", {"Authorization": "Bearer x"}, b"{}", ["x"], NOW)
    assert FCM.events("", {}, b"{}") == []
