"""Landed webhooks: the vendors' own objects become one vocabulary."""

import json
from pathlib import Path
from typing import Any

import pytest

from activations import providers
from ingestion import ingest
from tests.ingestion.landed_files import NOW, SettingsFor, write_lines
from warehouse import Settings, Warehouse

RECEIVED = "2026-03-01T10:00:00Z"
OCCURRED = 1_772_359_100  # 2026-03-01T09:58:20Z


def sendgrid(number: int, event: str, **extra: Any) -> dict[str, Any]:
    payload = {
        "event": event, "timestamp": OCCURRED, "sg_event_id": f"sg-{number}",
        "sg_message_id": "m.1", "email": "ada@example.com", "message_key": "key-1",
    }  # fmt: skip
    return {"provider": "sendgrid", "received_at": RECEIVED, "payload": payload | extra}


def twilio(number: int, **payload: Any) -> dict[str, Any]:
    return {
        "provider": "twilio",
        "received_at": RECEIVED,
        "url": "https://go.example/webhooks/twilio?message_key=key%2F2&arm=sms_none_reminder",
        "payload": {"MessageSid": f"SM{number}", "To": "+447700900123"} | payload,
    }


URL = "https://go.example/webhooks/any"


def resend(number: int, kind: str, **data: Any) -> tuple[str, dict[str, str], bytes]:
    told = {"type": kind, "created_at": "2026-03-01T09:58:20.123Z", "data": data}
    return "resend", {"svix-id": f"msg_{number}"}, json.dumps(told).encode()


def whatsapp(**value: Any) -> tuple[str, dict[str, str], bytes]:
    told = {
        "object": "x",
        "entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}],
    }
    return "whatsapp", {}, json.dumps(told).encode()


def status(kind: str) -> dict[str, str]:
    return {"id": "wamid.1", "status": kind, "timestamp": str(OCCURRED), "recipient_id": "44770",
            "biz_opaque_callback_data": "message_key=key-7&program=welcome"}  # fmt: skip


def said(number: int, **what: Any) -> dict[str, Any]:
    return {"from": "447700900123", "id": f"in{number}", "timestamp": str(OCCURRED), **what}


LISTED = [{"name": "program", "value": "welcome"}, {"name": "message_key", "value": "key-6"}]
WISH = {"wa_id": "447700900123", "category": "marketing_messages", "timestamp": OCCURRED}
OWN = {"type": "complaint", "message_key": "key-8", "occurred_at": "2026-03-01T10:58:20+01:00"}
HOOKS = [
    *(
        resend(number, f"email.{kind}", tags={"message_key": "key-5"})
        for number, kind in enumerate((
            "scheduled", "sent", "delivered", "delivery_delayed", "bounced", "complained",
            "opened", "clicked", "failed", "suppressed",
        ))
    ),
    resend(20, "email.bounced", bounce={"type": "Transient"}, tags=LISTED),
    resend(21, "contact.updated", unsubscribed=True, email="ada@example.com"),
    whatsapp(statuses=[status(kind) for kind in ("sent", "delivered", "read", "failed")]),
    whatsapp(messages=[
        said(1, type="text", text={"body": " Stop "}),
        said(2, type="button", button={"text": "Stop promotions"}),
        said(3, type="image", image={"id": "7"}),
    ]),
    whatsapp(user_preferences=[WISH | {"value": "stop"}, WISH | {"value": "resume"}]),
    ("webhook", {}, json.dumps({"events": [OWN | {"event_id": "own-1"}]}).encode()),
]  # fmt: skip


@pytest.fixture
def settings(settings_for: SettingsFor) -> Settings:
    return settings_for({"kind": "provider_events", "path": "hooks/*.jsonl"})


def types(warehouse: Warehouse) -> dict[str, str]:
    rows = warehouse.rows("select provider_event_id, type from raw.provider_events")
    return {row["provider_event_id"]: row["type"] for row in rows}


def test_vendors_words_become_one_vocabulary(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    link = {"message_key": "key-2", "event": "click", "event_id": "l-1", "timestamp": OCCURRED}
    write_lines(
        tmp_path / "hooks" / "a.jsonl",
        [
            sendgrid(1, "delivered"),
            sendgrid(2, "open", sg_machine_open=True),
            sendgrid(3, "open", sg_machine_open=False),
            sendgrid(4, "bounce", type="blocked"),
            sendgrid(5, "bounce", type="bounce"),
            sendgrid(6, "spamreport"),
            sendgrid(7, "group_unsubscribe"),
            twilio(1, MessageStatus="delivered"),
            twilio(1, MessageStatus="queued"),
            twilio(2, Body=" Stop ", From="+447700900123"),
            twilio(3, Body="thanks", From="+447700900123"),
            {"provider": "links", "received_at": RECEIVED, "payload": link},
        ],
    )
    result = ingest(warehouse, settings, now=NOW)[0]
    assert (result.status, result.rows_loaded) == ("loaded", 12)
    assert types(warehouse) == {
        "sg-1": "delivered", "sg-2": "machine_open", "sg-3": "open", "sg-4": "soft_bounce",
        "sg-5": "bounce", "sg-6": "complaint", "sg-7": "unsubscribe", "SM1:delivered": "delivered",
        "SM1:queued": "processed", "SM2:reply": "unsubscribe", "SM3:reply": "reply",
        "l-1": "click",
    }  # fmt: skip
    rows = warehouse.rows("select * from raw.provider_events where provider <> 'links'")
    by_id = {row["provider_event_id"]: row for row in rows}
    assert by_id["sg-1"]["occurred_at"].isoformat() == "2026-03-01T09:58:20+00:00"
    assert by_id["sg-1"]["payload"]["email"] == "ada@example.com"
    assert by_id["SM1:delivered"]["message_key"] == "key/2"
    assert by_id["SM1:delivered"]["occurred_at"].isoformat() == "2026-03-01T10:00:00+00:00"


def test_every_vendor_is_read_as_its_adapter_reads_it(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    """The same webhooks through the adapter and through ingestion: one vocabulary, one id."""
    read = [
        (name, headers, event)
        for name, headers, raw in HOOKS
        for event in providers.listener(name).events(URL, headers, raw)
    ]
    landed = [
        {"provider": event.provider, "received_at": RECEIVED, "url": URL,
         "event_id": event.event_id, "payload": event.payload}
        for _, _, event in read
    ]  # fmt: skip
    write_lines(tmp_path / "hooks" / "a.jsonl", landed)
    result = ingest(warehouse, settings, now=NOW)[0]
    assert (result.rows_loaded, result.rows_rejected) == (len(read), 0)
    rows = warehouse.rows("select * from raw.provider_events")
    told = {(row["provider"], row["provider_event_id"]): row for row in rows}
    assert len(told) == len(read) == 22
    for _, _, event in read:
        row = told[event.provider, event.event_id]
        assert (row["type"], row["message_key"]) == (event.type, event.message_key)
        assert row["occurred_at"] == event.occurred_at


def test_a_webhook_repeated_counts_once_and_a_changed_one_is_refused(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    retried = sendgrid(1, "delivered", attempt="2") | {"received_at": "2026-03-01T11:00:00Z"}
    write_lines(tmp_path / "hooks" / "a.jsonl", [sendgrid(1, "delivered"), retried])
    write_lines(tmp_path / "hooks" / "b.jsonl", [retried, sendgrid(1, "open"), sendgrid(2, "open")])
    first, second = ingest(warehouse, settings, now=NOW)
    assert (first.rows_loaded, first.rows_duplicate) == (1, 1)
    assert (second.rows_loaded, second.rows_duplicate, second.rows_rejected) == (1, 1, 1)
    assert types(warehouse) == {"sg-1": "delivered", "sg-2": "open"}
    assert warehouse.rows("select reason from raw.rejects") == [{"reason": "event_id_reused"}]


def test_every_bad_line_has_its_reason(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    nameless = sendgrid(3, "open")
    del nameless["payload"]["sg_event_id"]
    write_lines(
        tmp_path / "hooks" / "a.jsonl",
        [
            sendgrid(1, "open"),
            "{",
            sendgrid(2, "open") | {"provider": "pigeon"},
            nameless,
            sendgrid(4, "open", timestamp=OCCURRED + 86_400),
            sendgrid(5, "open", timestamp=OCCURRED * 1000),
            sendgrid(6, "open") | {"payload": "text"},
            sendgrid(7, "open") | {"received_at": "soon"},
        ],
    )
    result = ingest(warehouse, settings, now=NOW)[0]
    assert (result.rows_loaded, result.rows_rejected) == (1, 7)
    rows = warehouse.rows("select line_number, reason from raw.rejects order by line_number")
    assert [(row["line_number"], row["reason"]) for row in rows] == [
        (2, "broken_json"), (3, "unknown_value: provider"), (4, "missing_value: event_id"),
        (5, "future_event"), (6, "impossible_date: timestamp"), (7, "wrong_type: payload"),
        (8, "wrong_type: received_at"),
    ]  # fmt: skip
