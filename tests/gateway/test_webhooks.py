"""Webhooks with the vendors' real signatures: refused, repeated, reordered, heeded at once."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import ingestion
from activations import settlement
from activations.keys import address_hash
from tests.gateway.conftest import ENVIRONMENT, NOW, Served
from warehouse import Warehouse

KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = base64.b64encode(
    KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()
SECRETS = ENVIRONMENT | {"SENDGRID_WEBHOOK_VERIFICATION_KEY": f"AAAA,{PUBLIC}"}
PUBLIC_URL = "https://go.fernway.example"


@pytest.fixture
def hooked(serve_with: Callable[..., Any], warehouse: Warehouse) -> Iterator[Served]:
    with serve_with(warehouse, SECRETS) as served:
        yield served


def sendgrid(served: Served, events: Any, signed: bytes | None = None) -> httpx.Response:
    raw, stamp = json.dumps(events).encode(), str(int(NOW.timestamp()))
    signature = KEY.sign(stamp.encode() + (signed or raw), ec.ECDSA(SHA256()))
    headers = {
        "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
        "X-Twilio-Email-Event-Webhook-Timestamp": stamp,
        "Content-Type": "application/json",
    }
    return served.client.post("/webhooks/sendgrid", content=raw, headers=headers)


def twilio(served: Served, form: dict[str, str], query: str = "", signer: str = "12345") -> Any:
    path = f"/webhooks/twilio{query}"
    tail = "".join(name + value for name, value in sorted(form.items()))
    digest = hmac.new(signer.encode(), (PUBLIC_URL + path + tail).encode(), hashlib.sha1).digest()
    headers = {
        "X-Twilio-Signature": base64.b64encode(digest).decode(),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    return served.client.post(path, content=urlencode(form), headers=headers)


def event(number: int, kind: str = "delivered", **more: Any) -> dict[str, Any]:
    told = {"sg_event_id": f"e{number}", "event": kind, "timestamp": int(NOW.timestamp()) - 60}
    return told | {"email": "ada@example.com", "message_key": f"k{number}"} | more


def ingested(served: Served) -> Any:
    served.publish()
    warehouse = served.gateway.connections.warehouse
    results = ingestion.ingest(warehouse, served.settings, now=NOW)
    assert {result.status for result in results} == {"loaded"}
    return warehouse.rows("select * from raw.provider_events order by provider_event_id, type")


def test_the_same_webhook_five_times_and_in_reverse_order_is_one_event(hooked: Served) -> None:
    events = [event(number, kind) for number, kind in enumerate(("processed", "delivered", "open"))]
    for batch in ([events] * 5) + [events[::-1]] + [[one] for one in reversed(events)]:
        assert sendgrid(hooked, batch).status_code == 200
    assert len(hooked.landed("provider_events")) == 3
    hooked.publish()
    again = [one | {"email": "other@example.com"} for one in reversed(events)]
    hooked.client.post("/health")
    assert sendgrid(hooked, again).json() == {"success": True, "events": 0}
    rows = ingested(hooked)
    assert [(row["provider_event_id"], row["type"], row["message_key"]) for row in rows] == [
        ("e0", "processed", "k0"), ("e1", "delivered", "k1"), ("e2", "open", "k2")
    ]  # fmt: skip


def test_a_repeat_that_a_restarted_gateway_lands_again_is_dropped_by_the_warehouse(
    serve_with: Callable[..., Any], warehouse: Warehouse
) -> None:
    form = {"MessageSid": "SM1", "MessageStatus": "delivered"}
    for seconds in range(3):
        with serve_with(warehouse, SECRETS) as served:
            served.clock.advance(seconds=seconds)  # a status has no time but its arrival's
            assert twilio(served, form, "?message_key=k1").status_code == 200
    [only] = ingested(served)
    batches = warehouse.rows("select sum(rows_rejected) as rejected from raw.batches")
    assert (only["provider_event_id"], batches[0]["rejected"]) == ("SM1:delivered", 0)


def test_a_bad_signature_is_refused_and_counted(hooked: Served) -> None:
    assert sendgrid(hooked, [event(1)], signed=b"[]").status_code == 403
    assert (
        twilio(hooked, {"MessageSid": "SM1", "MessageStatus": "sent"}, signer="x").status_code
        == 403
    )
    unsigned = hooked.client.post("/webhooks/twilio", content=b"\xff=\xff")
    assert unsigned.status_code in (403, 415)
    assert hooked.landed("provider_events") == []
    text = hooked.client.get("/metrics").text
    assert 'refused_total{provider="sendgrid",reason="bad_signature"} 1' in text
    assert 'refused_total{provider="twilio",reason="bad_signature"}' in text


def test_a_provider_without_a_secret_is_not_heard(served: Served) -> None:
    assert served.client.post("/webhooks/sendgrid", json=[event(1)]).status_code == 404
    assert served.client.post("/webhooks/nobody", json=[]).status_code == 404


def test_status_callbacks_land_with_the_key_of_their_url(hooked: Served) -> None:
    query = "?message_key=k7&program=win_back&arm=sms_none_news"
    form = {"MessageSid": "SM1", "MessageStatus": "undelivered", "ErrorCode": "30005", "Blank": ""}
    assert twilio(hooked, form, query).status_code == 200
    [row] = ingested(hooked)
    assert (row["message_key"], row["type"], row["occurred_at"]) == ("k7", "undelivered", NOW)
    assert row["payload"]["ErrorCode"] == "30005"


def consents(served: Served) -> list[dict[str, Any]]:
    return served.gateway.connections.warehouse.rows(
        "select channel, address_hash, status, source, recorded_at from delivery.consent_changes"
        " order by channel"
    )


def test_stop_and_complaint_are_committed_before_the_answer(hooked: Served) -> None:
    stop = {"MessageSid": "SM9", "Body": " stop ", "From": "+447700900123", "To": "+441632960000"}
    assert twilio(hooked, stop).text == "<Response></Response>"
    sendgrid(hooked, [event(1, "spamreport"), event(2, "open")])
    said = [(row["channel"], row["address_hash"], row["source"]) for row in consents(hooked)]
    assert said == [
        ("email", address_hash("ada@example.com"), "sendgrid:complaint"),
        ("sms", address_hash("+447700900123"), "twilio:unsubscribe"),
    ]
    ingested(hooked)
    before = consents(hooked)
    settled = settlement.settle(hooked.gateway.connections.warehouse, NOW)
    assert (settled.consent_changes, settled.suppressions) == (0, 2)
    assert consents(hooked) == before, "settlement says the same once more"


def test_help_is_answered_and_other_words_are_not(hooked: Served) -> None:
    base = {"From": "+447700900123", "To": "+441632960000"}
    answer = twilio(hooked, base | {"MessageSid": "SM1", "Body": "help"})
    assert "Reply STOP to opt out." in answer.text
    assert answer.headers["content-type"] == "application/xml"
    assert (
        twilio(hooked, base | {"MessageSid": "SM2", "Body": "hi"}).text == "<Response></Response>"
    )
    assert consents(hooked) == []


def test_a_reply_that_no_database_can_hold_is_mended(hooked: Served) -> None:
    form = {"MessageSid": "SM1", "Body": "a\x00b", "From": "+447700900123", "To": "+44"}
    assert twilio(hooked, form).status_code == 200
    [row] = ingested(hooked)
    assert row["payload"]["Body"] == "a\ufffdb"


def test_the_warehouse_away_loses_no_refusal(serve_with: Callable[..., Any]) -> None:
    with serve_with(environment=SECRETS) as served:
        form = {"MessageSid": "SM9", "Body": "STOP", "From": "+447700900123", "To": "+44"}
        assert twilio(served, form).status_code == 503
        assert len(served.landed("provider_events")) == 1
        assert twilio(served, form).status_code == 503, "the provider is asked to call again"
