"""Segment messages: what they become, and a verdict for every kind of bad input."""

import gzip
import json
from pathlib import Path

import duckdb
import pytest

from ingestion import BatchResult, ingest
from tests.ingestion.landed_files import NOW, SettingsFor, message, write_lines
from warehouse import Settings, Warehouse

SEGMENT = {"kind": "segment", "path": "segment/*"}


@pytest.fixture
def settings(settings_for: SettingsFor) -> Settings:
    return settings_for(SEGMENT)


def load(warehouse: Warehouse, settings: Settings) -> list[BatchResult]:
    results = ingest(warehouse, settings, now=NOW)
    for result in results:
        parts = result.rows_loaded + result.rows_duplicate + result.rows_rejected
        assert result.rows_read == parts
    return results


def reasons(warehouse: Warehouse) -> list[tuple[int, str]]:
    rows = warehouse.rows("select line_number, reason from raw.rejects order by line_number")
    return [(row["line_number"], row["reason"]) for row in rows]


def test_messages_become_events(warehouse: Warehouse, settings: Settings, tmp_path: Path) -> None:
    url = "https://shop.example/p/1?utm_source=x&gclid=Cj0%2BKQ"
    write_lines(
        tmp_path / "segment" / "day.jsonl.gz",
        [
            message(1, context={"page": {"url": url}, "device": {"id": "d-1"}}),
            message(
                2, type="track", name=None, event="Order Completed", userId="u-1", channel="server",
                properties={"order_id": "o-1", "revenue": 12.5, "currency": "eur",
                            "email": " Ada@Example.COM "},
            ),
            message(3, type="identify", name=None, properties=None, channel=None,
                    traits={"phone": "07700 900123", "crm_contact_id": "c-9"}),
            message(4, type="alias", name=None, userId="u-1", previousId="a-1", properties=None),
            message(5, type="screen", name="Basket", properties=None, channel="mobile",
                    timestamp="2026-01-31T23:59:59-02:00"),
        ],
    )  # fmt: skip
    result = load(warehouse, settings)[0]
    assert (result.status, result.rows_loaded, result.unknown_types) == ("loaded", 5, ())
    events = {row["event_id"]: row for row in warehouse.rows("select * from raw.events")}
    page, order, identify = events["m-1"], events["m-2"], events["m-3"]
    assert (page["type"], page["channel"], page["device_id"]) == ("page_viewed", "web", "d-1")
    assert page["identifiers"] == {"ad_click_id": "Cj0+KQ"}
    assert page["properties"] == {"name": "Home", "path": "/"}
    assert page["context"]["page"]["url"] == url
    assert (order["type"], order["order_id"], order["currency"]) == (
        "order_completed", "o-1", "EUR",
    )  # fmt: skip
    assert str(order["revenue_amount"]) == "12.5"
    assert order["email"] == "ada@example.com"
    assert (identify["type"], identify["phone"]) == ("identified", "+447700900123")
    assert identify["identifiers"] == {"crm_contact_id": "c-9"}
    assert events["m-4"]["identifiers"] == {"previous_id": "a-1"}
    assert events["m-5"]["occurred_at"].isoformat() == "2026-02-01T01:59:59+00:00"
    assert events["m-5"]["properties"] == {"name": "Basket"}
    partitions = warehouse.rows(
        "select tableoid::regclass::text as name from raw.events group by 1"
    )
    assert [row["name"] for row in partitions] == ["raw.events_2026_02"]


def test_text_survives_the_way_into_postgres(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    awkward = 'tab\t line\n cr\r back\\slash quote" slash\\N é 漢 😀'
    write_lines(
        tmp_path / "segment" / "a.jsonl",
        [message(1, userId=awkward, properties={"note": awkward, "\\N": "\\."})],
    )
    assert load(warehouse, settings)[0].rows_loaded == 1
    row = warehouse.rows("select user_id, properties from raw.events")[0]
    assert row["user_id"] == awkward
    assert row["properties"] == {"name": "Home", "note": awkward, "\\N": "\\."}


def test_every_bad_line_has_its_reason(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    rows = [
        message(1),
        '{"messageId": "m-2", "type": ',
        b'{"messageId": "m-3", "userId": "\xe9t\xe9"}',
        "[1, 2]",
        message(5, messageId=None),
        message(6, timestamp="yesterday"),
        message(7, timestamp="20111-05-01T00:00:00Z"),
        message(8, timestamp="1989-12-31T23:59:59Z"),
        message(9, timestamp="2026-02-28T10:15:03.000Z"),
        message(10, timestamp="2026-02-28T10:15:02.000Z"),
        message(11, properties="text"),
        message(12, type="track", event="Order Completed", properties={"revenue": "a lot"}),
        message(13, type="track", event="Order Completed", properties={"currency": "XYZ"}),
        message(14, type="track", name=None),
        message(15, userId={"id": 1}),
        message(16, messageId=["m"]),
        message(17, timestamp=None),
        '{"messageId":"m-18","type":"page","timestamp":"2026-02-28T10:00:00Z",'
        '"receivedAt":"2026-02-28T10:00:00Z","properties":{"x":NaN}}',
        message(19, userId="nul\x00nul"),
        "",
        "{",
        "  ",
    ]
    write_lines(tmp_path / "segment" / "a.jsonl", rows)
    result = load(warehouse, settings)[0]
    assert (result.status, result.rows_read, result.rows_loaded) == ("loaded", 21, 2)
    assert reasons(warehouse) == [
        (2, "broken_json"),
        (3, "not_utf8"),
        (4, "not_an_object"),
        (5, "missing_value: messageId"),
        (6, "wrong_type: timestamp"),
        (7, "impossible_date: timestamp"),
        (8, "impossible_date: timestamp"),
        (9, "future_event"),
        (11, "wrong_type: properties"),
        (12, "wrong_type: revenue"),
        (13, "unknown_currency"),
        (14, "missing_value: event"),
        (15, "wrong_type: userId"),
        (16, "wrong_type: messageId"),
        (17, "missing_value: timestamp"),
        (18, "broken_json"),
        (19, "broken_json"),
        (21, "broken_json"),
        (22, "broken_json"),
    ]
    kept = warehouse.rows("select row from raw.rejects where line_number in (3, 6)")
    assert kept[0]["row"]["userId"] == "été"  # read as Latin-1, which most such files are
    assert kept[1]["row"]["timestamp"] == "yesterday"


def test_the_same_event_counts_once_in_a_file_and_across_files(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    retry = message(1, sentAt="2026-02-28T11:00:00Z", receivedAt="2026-02-28T11:00:01Z")
    write_lines(tmp_path / "segment" / "a.jsonl", [message(1), message(2), retry])
    write_lines(
        tmp_path / "segment" / "b.jsonl", [message(3), retry, message(2, name="Other"), message(4)]
    )
    first, second = load(warehouse, settings)
    assert (first.rows_loaded, first.rows_duplicate, first.rows_rejected) == (2, 1, 0)
    assert (second.rows_loaded, second.rows_duplicate, second.rows_rejected) == (2, 1, 1)
    assert reasons(warehouse) == [(3, "event_id_reused")]
    stored = warehouse.rows("select event_id, properties ->> 'name' as name from raw.events")
    assert sorted((row["event_id"], row["name"]) for row in stored) == [
        (f"m-{number}", "Home") for number in (1, 2, 3, 4)
    ]
    ids = warehouse.rows("select count(*) as n from raw.event_ids")[0]["n"]
    assert ids == 4


def test_the_same_file_loads_once_and_a_rerun_changes_nothing_but_batches(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    write_lines(tmp_path / "segment" / "a.jsonl", [message(1), "{broken"])
    write_lines(tmp_path / "segment" / "copy.jsonl", [message(1), "{broken"])
    (tmp_path / "segment" / "empty.jsonl").write_bytes(b"")
    first = load(warehouse, settings)
    assert [result.status for result in first] == ["loaded", "already_loaded", "failed"]
    before = _contents(warehouse)
    again = load(warehouse, settings)
    assert [result.status for result in again] == ["already_loaded", "already_loaded", "failed"]
    assert _contents(warehouse) == before


def test_two_files_with_one_name_are_two_batches(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "segment" / "a.jsonl", [message(1)])
    load(warehouse, settings)
    write_lines(path, [message(1), message(2)])
    result = load(warehouse, settings)[0]
    assert (result.status, result.rows_loaded, result.rows_duplicate) == ("loaded", 1, 1)
    hashes = warehouse.rows("select count(distinct content_hash) as n from raw.batches")
    assert hashes[0]["n"] == 2


def test_an_unknown_event_type_is_kept_and_reported_without_what_it_may_carry(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    names = ["Quiz Finished", "Quiz Finished", "Called ada@example.com on 07700900123"]
    rows = [message(i, type="track", event=name) for i, name in enumerate(names)]
    write_lines(tmp_path / "segment" / "a.jsonl", rows)
    result = load(warehouse, settings)[0]
    assert result.rows_loaded == 3
    assert result.unknown_types == ("(other)", "quiz_finished")
    assert result.reason == "unknown event types, kept: quiz_finished (2), (other) (1)"
    kept = warehouse.rows("select type from raw.events where type = 'quiz_finished'")
    assert len(kept) == 2


@pytest.mark.parametrize(
    ("name", "data", "cause"),
    [
        ("empty.jsonl", b"", "the file is empty (0 bytes)"),
        ("blank.jsonl", b"\n\r\n", "the file is empty (no rows)"),
        ("cut.jsonl.gz", gzip.compress(b'{"messageId":"m"}\n' * 5000)[:40], "is truncated"),
        ("wide.jsonl", '{"messageId":"m"}\n'.encode("utf-16"), "is UTF-16; expected UTF-8"),
        ("torn.parquet", b"PAR1 and then nothing", "not readable as Parquet"),
        (
            "renamed.jsonl",
            json.dumps({**message(1, messageId=None), "message_id": "m-1"}).encode(),
            "no message has messageId; the nearest present is message_id",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[:16] else "",
)
def test_a_file_that_cannot_be_read_fails_alone(
    warehouse: Warehouse, settings: Settings, tmp_path: Path, name: str, data: bytes, cause: str
) -> None:
    write_lines(tmp_path / "segment" / "z.jsonl", [message(1)])
    (tmp_path / "segment" / name).write_bytes(data)
    failed, good = load(warehouse, settings)
    assert (failed.status, good.status, good.rows_loaded) == ("failed", "loaded", 1)
    assert failed.reason is not None
    assert "\n" not in failed.reason
    assert failed.reason.startswith(str(tmp_path / "segment" / name))
    assert cause in failed.reason
    recorded = warehouse.rows("select reason from raw.batches where status = 'failed'")
    assert recorded == [{"reason": failed.reason}]
    assert warehouse.rows("select count(*) as n from raw.rejects")[0]["n"] == 0


def test_a_gzip_cut_after_many_chunks_leaves_nothing(
    warehouse: Warehouse, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion.lines.BLOCK_BYTES", 4096)
    path = write_lines(tmp_path / "segment" / "a.jsonl.gz", [message(i) for i in range(500)])
    path.write_bytes(path.read_bytes()[:-20])
    assert load(warehouse, settings)[0].status == "failed"
    for table in ("raw.events", "raw.event_ids", "raw.rejects"):
        assert warehouse.rows(f"select count(*) as n from {table}")[0]["n"] == 0


def test_chunks_number_lines_and_find_repeats_across_them(
    warehouse: Warehouse, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion.lines.BLOCK_BYTES", 2048)
    rows: list[object] = [message(i) for i in range(300)]
    rows[150] = "{broken"
    rows[299] = message(0)
    rows[298] = message(1, name="Other")
    write_lines(tmp_path / "segment" / "a.jsonl", rows)
    result = load(warehouse, settings)[0]
    assert (result.rows_read, result.rows_loaded, result.rows_duplicate) == (300, 297, 1)
    assert reasons(warehouse) == [(151, "broken_json"), (299, "event_id_reused")]


def test_parquet_gives_the_events_that_json_lines_give(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    rows = [
        message(1),
        message(2, type="track", name=None, event="Order Completed",
                properties={"order_id": "o", "revenue": 3.5, "products": [{"product_id": "p"}]}),
    ]  # fmt: skip
    given = write_lines(tmp_path / "rows.jsonl", rows)
    (tmp_path / "segment").mkdir()
    with duckdb.connect() as session:
        session.execute(
            f"copy (select * from read_json('{given}', maximum_depth = 4))"
            f" to '{tmp_path}/segment/a.parquet'"
        )
    assert load(warehouse, settings)[0].rows_loaded == 2
    row = warehouse.rows("select * from raw.events where type = 'order_completed'")[0]
    assert row["properties"] == rows[1]["properties"]
    assert row["occurred_at"].isoformat() == "2026-02-28T10:00:00+00:00"


def test_a_file_system_that_is_not_local_is_read_through_fsspec(
    warehouse: Warehouse, settings_for: SettingsFor
) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    store.pipe("/bucket/day.jsonl", json.dumps(message(1)).encode())
    settings = settings_for({"kind": "segment", "path": "memory://bucket/*.jsonl"})
    try:
        assert [result.status for result in load(warehouse, settings)] == ["loaded"]
        assert [result.status for result in load(warehouse, settings)] == ["already_loaded"]
    finally:
        store.rm("/bucket", recursive=True)


def test_a_file_system_without_its_package_fails_with_one_line(
    warehouse: Warehouse, settings_for: SettingsFor
) -> None:
    settings = settings_for({"kind": "segment", "path": "s3://bucket/*.jsonl"})
    result = load(warehouse, settings)[0]
    assert result.status == "failed"
    assert result.reason is not None
    assert result.reason.startswith("s3://bucket/*.jsonl: ")


def _contents(warehouse: Warehouse) -> list[object]:
    tables = ("raw.events", "raw.event_ids", "raw.rejects")
    return [
        warehouse.rows(f"select md5(string_agg(t::text, '' order by t::text)) from {table} as t")
        for table in tables
    ]
