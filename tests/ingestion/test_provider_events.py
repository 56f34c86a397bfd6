"""Landed webhooks: the vendors' own objects become one vocabulary."""

from pathlib import Path
from typing import Any

import pytest

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
