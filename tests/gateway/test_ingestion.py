"""What the gateway lands is what ingestion reads: nothing it took is refused later."""

import json
import random
from datetime import datetime
from typing import Any

import ingestion
from tests.gateway.conftest import NOW, Served

TEXTS = ["", " ", "x" * 250, "{a", "[", "é", "\u2028", "日本", "a\tb", "\\u0000", "1e5", "NaN", "-"]
VALUES: list[Any] = [
    *TEXTS, None, True, False, 0, -1, 1e300, 10**40, 12.5, "9.99", " 7 ", ".5", "1,5", [], [1], {},
    {"a": {"b": [1, None, "x"]}}, "2026-11-20T10:00:00Z", "2026-11-20", "1815-01-01T00:00:00Z",
    "2026-11-20T10:00:00+05:45", "2026-13-01", "EUR", "eur", "ZZZ!", "GBP", "a@b.example",
]  # fmt: skip
FIELDS = ["event", "userId", "anonymousId", "messageId", "timestamp", "sentAt", "context", "name",
          "traits", "properties", "channel", "previousId", "originalTimestamp", "type"]  # fmt: skip
PARTS = ["revenue", "total", "currency", "email", "phone", "order_id", "ad_click_id", "device"]


def message(draw: random.Random, number: int) -> dict[str, Any]:
    """A good message of which some fields were replaced by anything."""
    made: dict[str, Any] = {"type": "track", "event": "E", "userId": "u", "messageId": f"m{number}"}
    for _ in range(draw.randrange(3)):
        made[draw.choice(FIELDS)] = draw.choice(VALUES)
    if draw.random() < 0.6:
        inside = {draw.choice(PARTS): draw.choice(VALUES) for _ in range(2)}
        made[draw.choice(["properties", "traits", "context"])] = inside
    return made


def test_every_event_that_was_taken_is_loaded(served: Served) -> None:
    draw = random.Random(5)
    refused = 0
    for start in range(0, 4_000, 200):
        batch = [message(draw, number) for number in range(start, start + 200)]
        answer = served.client.post("/v1/batch", json={"batch": batch}, auth=("wk_new", ""))
        refused += len(answer.json()["refused"])
    served.publish()
    landed = served.landed()
    assert 200 < refused == 4_000 - len(landed)
    unique = len({line["messageId"] for line in landed})
    [events] = ingestion.ingest(served.gateway.connections.warehouse, served.settings, now=NOW)
    reasons = served.gateway.connections.warehouse.rows("select reason, count(*) from raw.rejects"
                                                        " group by reason")  # fmt: skip
    assert {row["reason"] for row in reasons} <= {"event_id_reused"}, reasons
    assert events.status == "loaded"
    assert events.rows_read == len(landed)
    assert events.rows_loaded == unique


def test_refused_lines_of_some_never_hold_the_events_of_others(served: Served) -> None:
    """Anybody can read a page's write key: what they send must not stop what others sent."""
    lines = [{"event": f"E{number}", "messageId": "the same"} for number in range(60)]
    for line in [*lines, {"messageId": "a customer's"}]:
        assert served.event(**line).status_code == 200
    served.publish()
    [events] = ingestion.ingest(served.gateway.connections.warehouse, served.settings, now=NOW)
    assert (events.status, events.rows_loaded, events.rows_rejected) == ("loaded", 2, 59)


def test_a_whole_file_is_loaded_once_and_not_read_again(served: Served) -> None:
    warehouse = served.gateway.connections.warehouse
    for number in range(2):
        served.event(messageId=f"m{number}")
        served.publish()
    folder = served.settings.workspace_home / "gateway" / "events"
    loaded = ingestion.ingest(warehouse, served.settings, now=NOW)
    for path in folder.glob("*.jsonl"):
        path.write_bytes(b"whoever reads this fails")
    served.event(messageId="m2")
    served.publish()
    again = ingestion.ingest(warehouse, served.settings, now=NOW)
    assert [one.status for one in loaded] == ["loaded", "loaded"]
    assert sorted(one.status for one in again) == ["already_loaded", "already_loaded", "loaded"]
    assert warehouse.rows("select count(*) as n from raw.events") == [{"n": 3}]


def test_times_and_identifiers_arrive_as_they_were_sent(served: Served) -> None:
    traits = {"email": " Ada@Example.COM ", "phone": "+44 7700 900123"}
    body = {"userId": "u1", "anonymousId": "a1", "traits": traits, "messageId": "m"}
    stated = {"timestamp": "2026-11-20T09:00:00Z", "sentAt": "2026-11-20T12:00:00Z"}
    served.client.post("/v1/identify", json=body | stated, auth=("wk_new", ""))
    served.publish()
    ingestion.ingest(served.gateway.connections.warehouse, served.settings, now=NOW)
    [row] = served.gateway.connections.warehouse.rows("select * from raw.events")
    expected = {
        "event_id": "m", "type": "identified", "user_id": "u1", "anonymous_id": "a1",
        "email": "ada@example.com", "phone": "+447700900123", "received_at": NOW,
        "occurred_at": datetime.fromisoformat("2026-11-20T09:00:00Z"), "source": "gateway_events",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert json.loads(json.dumps(row["properties"])) == traits
