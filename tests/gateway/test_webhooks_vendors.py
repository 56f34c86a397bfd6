"""One suite over every vendor that calls: its own signature, its own ids, its own words for no.

Signed by `tests.signatures`. Keep out: what is SendGrid's and Twilio's alone (test_webhooks.py).
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest

import ingestion
from activations import settlement
from activations.keys import address_hash
from tests.activations.test_providers import CASES
from tests.gateway.conftest import ENVIRONMENT, NOW, Served
from tests.signatures import SIGNERS
from warehouse import Warehouse

HOOKS = {case.name: case.hook for case in CASES if case.hook}
SIGNER = {name: make() for name, make in SIGNERS.items()}
SECRETS = ENVIRONMENT | {
    "SENDGRID_WEBHOOK_VERIFICATION_KEY": SIGNER["sendgrid"].secret,
    "TWILIO_AUTH_TOKEN": SIGNER["twilio"].secret,
    "RESEND_WEBHOOK_SECRET": f"whsec_b2xk, {SIGNER['resend'].secret}",
    "WHATSAPP_APP_SECRET": SIGNER["whatsapp"].secret,
    "WHATSAPP_VERIFY_TOKEN": "old, asked-for",
    "LOOPDRIVE_WEBHOOK_SECRET": SIGNER["webhook"].secret,
}
every_caller = pytest.mark.parametrize("name", sorted(HOOKS))
PHONE = "447700900123"


@pytest.fixture
def hooked(serve_with: Callable[..., Any], warehouse: Warehouse) -> Iterator[Served]:
    with serve_with(warehouse, SECRETS) as served:
        yield served


def call(served: Served, name: str, raw: bytes, **changed: str) -> httpx.Response:
    path = f"/webhooks/{name}?message_key=key-1"
    url = f"https://go.fernway.example{path}"
    headers = SIGNER[name].headers(url, raw, served.clock()) | changed
    return served.client.post(path, content=raw, headers=headers)


def ingested(served: Served) -> list[dict[str, Any]]:
    served.publish()
    warehouse = served.gateway.connections.warehouse
    results = ingestion.ingest(warehouse, served.settings, now=served.clock())
    assert {result.status for result in results} == {"loaded"}
    return warehouse.rows("select * from raw.provider_events order by provider_event_id")


@every_caller
def test_the_same_webhook_five_times_is_one_event_and_its_type_is_ours(
    hooked: Served, name: str
) -> None:
    answers = [call(hooked, name, HOOKS[name]).json()["events"] for _ in range(5)]
    assert answers == [1, 0, 0, 0, 0]
    assert len(hooked.landed("provider_events")) == 1
    [row] = ingested(hooked)
    assert (row["provider"], row["type"], row["message_key"]) == (name, "delivered", "key-1")


@every_caller
def test_a_repeat_after_a_restart_is_dropped_by_the_warehouse(
    serve_with: Callable[..., Any], warehouse: Warehouse, name: str
) -> None:
    for seconds in range(2):
        with serve_with(warehouse, SECRETS) as served:
            served.clock.advance(seconds=seconds)
            assert call(served, name, HOOKS[name]).status_code == 200
    assert len(ingested(served)) == 1


@every_caller
def test_a_bad_signature_is_refused_and_counted(hooked: Served, name: str) -> None:
    marks = {
        "sendgrid": "X-Twilio-Email-Event-Webhook-Signature", "twilio": "X-Twilio-Signature",
        "resend": "svix-signature", "whatsapp": "X-Hub-Signature-256",
        "webhook": "LoopDrive-Signature",
    }  # fmt: skip
    for wrong in ("", "v1,AAAA", "sha256=00", "v1=00"):
        assert call(hooked, name, HOOKS[name], **{marks[name]: wrong}).status_code == 403
    assert hooked.landed("provider_events") == []
    text = hooked.client.get("/metrics").text
    assert f'refused_total{{provider="{name}",reason="bad_signature"}} 4' in text


@every_caller
def test_a_signed_body_that_is_broken_is_400(hooked: Served, name: str) -> None:
    told = b"x=1" if name == "twilio" else b'{"entry":[{"changes":[{"value":{"statuses":[{}]}}]}]}'
    answer = call(hooked, name, told)
    # A form without a message is nothing; a document without what its vendor promises is broken.
    assert answer.status_code == (200 if name in ("twilio", "resend") else 400)
    assert hooked.landed("provider_events") == []


def whatsapp(**value: Any) -> bytes:
    return json.dumps({"entry": [{"id": "1", "changes": [{"value": value}]}]}).encode()


def said(text: str) -> Mapping[str, Any]:
    return {"from": PHONE, "id": "in1", "timestamp": "1772442000", "text": {"body": text}}


WISH = {"wa_id": PHONE, "category": "marketing_messages", "value": "stop", "timestamp": 1772442000}
LEFT = {"type": "contact.updated", "created_at": "2026-03-02T09:00:00Z",
        "data": {"email": "Ada@Example.com ", "unsubscribed": True}}  # fmt: skip
SPAM = {"type": "email.complained", "created_at": "2026-03-02T09:00:00Z",
        "data": {"to": ["ada@example.com"], "email_id": "e1"}}  # fmt: skip
OWN = {"events": [{"event_id": "e1", "type": "unsubscribe", "channel": "push", "address": "a:b",
                   "occurred_at": "2026-03-02T09:00:00Z"}]}  # fmt: skip
REFUSALS = [
    ("whatsapp", whatsapp(messages=[said(" Stop ")]), "whatsapp", f"+{PHONE}", "unsubscribe"),
    ("whatsapp", whatsapp(user_preferences=[WISH]), "whatsapp", f"+{PHONE}", "unsubscribe"),
    ("resend", json.dumps(LEFT).encode(), "email", "ada@example.com", "unsubscribe"),
    ("resend", json.dumps(SPAM).encode(), "email", "ada@example.com", "complaint"),
    ("webhook", json.dumps(OWN).encode(), "push", "a:b", "unsubscribe"),
]


@pytest.mark.parametrize(("name", "raw", "channel", "address", "kind"), REFUSALS)
def test_who_wants_no_more_is_heard_before_the_answer_and_once(
    hooked: Served, name: str, raw: bytes, channel: str, address: str, kind: str
) -> None:
    assert call(hooked, name, raw).status_code == 200
    warehouse = hooked.gateway.connections.warehouse
    query = "select * from delivery.consent_changes"
    [told] = warehouse.rows(query)
    assert (told["channel"], told["address_hash"]) == (channel, address_hash(address))
    assert (told["status"], told["source"]) == ("revoked", f"{name}:{kind}")
    ingested(hooked)
    settled = settlement.settle(warehouse, NOW)
    assert (settled.consent_changes, settled.suppressions) == (0, 1)
    assert warehouse.rows(query) == [told], "settlement says the same once more"


def test_metas_handshake_is_answered_to_whoever_knows_the_token(hooked: Served) -> None:
    asked = {"hub.mode": "subscribe", "hub.challenge": "1158201444"}
    get = hooked.client.get
    right = get("/webhooks/whatsapp", params=asked | {"hub.verify_token": "asked-for"})
    assert (right.status_code, right.text) == (200, "1158201444")
    assert right.headers["content-type"].startswith("text/plain")
    assert get("/webhooks/whatsapp", params=asked).status_code == 403
    wrong = asked | {"hub.verify_token": "guessed"}
    assert get("/webhooks/whatsapp", params=wrong).status_code == 403
    assert get("/webhooks/resend", params=asked).status_code == 404


def test_a_vendor_without_webhooks_is_not_heard(hooked: Served) -> None:
    assert hooked.client.post("/webhooks/fcm", json={}).status_code == 404
