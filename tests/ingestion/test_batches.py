"""Batches: held when mostly wrong, accepted by a person, whole or not at all."""

import threading
from pathlib import Path

import psycopg
import pytest

from ingestion import IngestionError, accept, ingest
from ingestion.results import Tally
from tests.ingestion.landed_files import NOW, SettingsFor, message, write_lines
from warehouse import Settings, Warehouse

SEGMENT = {"kind": "segment", "path": "segment/*"}


@pytest.fixture
def settings(settings_for: SettingsFor) -> Settings:
    return settings_for(SEGMENT)


def mostly_wrong(path: Path, wrong: int, right: int) -> Path:
    good = [message(number) for number in range(right)]
    return write_lines(path, [*good, *(f"{{broken {number}" for number in range(wrong))])


@pytest.mark.parametrize(
    ("rejected", "read", "held"),
    [(19, 19, False), (20, 20, True), (20, 400, False), (21, 400, True), (50, 1000, False)],
)
def test_a_batch_is_held_from_20_rejects_over_5_percent(
    rejected: int, read: int, held: bool
) -> None:
    assert Tally(read=read, rejected=rejected).is_mostly_wrong is held


def test_a_held_batch_loads_nothing_is_not_read_again_and_counts_every_row(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    mostly_wrong(tmp_path / "segment" / "a.jsonl", 25, 75)
    result = ingest(warehouse, settings, now=NOW)[0]
    assert (result.status, result.rows_read, result.rows_rejected) == ("held", 100, 100)
    assert result.reason is not None
    assert "25 of 100 rows refused (25.0%, limit 5%), most often broken_json" in result.reason
    assert warehouse.rows("select count(*) as n from raw.events")[0]["n"] == 0
    assert warehouse.rows("select count(*) as n from raw.rejects")[0]["n"] == 25
    again = ingest(warehouse, settings, now=NOW)[0]
    assert (again.status, again.reason) == ("held", f"held already, as batch {result.batch_id}")
    assert warehouse.rows("select count(*) as n from raw.rejects")[0]["n"] == 25


def test_an_accepted_batch_loads_its_good_rows_and_keeps_its_rejects(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    path = mostly_wrong(tmp_path / "segment" / "a.jsonl", 25, 75)
    held = ingest(warehouse, settings, now=NOW)[0]
    assert held.batch_id is not None
    result = accept(warehouse, settings, held.batch_id, now=NOW)
    assert (result.status, result.rows_loaded, result.rows_rejected) == ("loaded", 75, 25)
    recorded = warehouse.rows("select batch_id, status, rows_loaded from raw.batches")
    assert recorded == [{"batch_id": held.batch_id, "status": "loaded", "rows_loaded": 75}]
    rejects = warehouse.rows("select count(*) as n, min(line_number) as first from raw.rejects")
    assert rejects == [{"n": 25, "first": 76}]
    batches = warehouse.rows("select distinct batch_id from raw.events")
    assert batches == [{"batch_id": held.batch_id}]
    assert ingest(warehouse, settings, now=NOW)[0].status == "already_loaded"
    with pytest.raises(IngestionError, match="is not held"):
        accept(warehouse, settings, held.batch_id, now=NOW)
    path.unlink()


def test_a_held_batch_whose_file_changed_cannot_be_accepted(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    path = mostly_wrong(tmp_path / "segment" / "a.jsonl", 25, 75)
    held = ingest(warehouse, settings, now=NOW)[0]
    assert held.batch_id is not None
    mostly_wrong(path, 26, 75)
    with pytest.raises(IngestionError, match="has changed since"):
        accept(warehouse, settings, held.batch_id, now=NOW)
    path.unlink()
    with pytest.raises(IngestionError, match="no longer there"):
        accept(warehouse, settings, held.batch_id, now=NOW)
    assert warehouse.rows("select status from raw.batches") == [{"status": "held"}]


def test_an_interrupt_in_the_middle_leaves_nothing_and_the_next_run_loads_once(
    warehouse: Warehouse,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ingestion.lines.BLOCK_BYTES", 4096)
    write_lines(tmp_path / "segment" / "a.jsonl", [message(i) for i in range(200)])
    from ingestion import segment

    count, calls = segment.count, []

    def interrupted(tally: Tally, chunk: segment.Chunk) -> None:
        calls.append(chunk.read)
        if len(calls) == 3:
            raise KeyboardInterrupt
        count(tally, chunk)

    monkeypatch.setattr("ingestion.segment.count", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ingest(warehouse, settings, now=NOW)
    for table in ("raw.events", "raw.event_ids", "raw.batches"):
        assert warehouse.rows(f"select count(*) as n from {table}")[0]["n"] == 0
    assert not list(settings.workspace_home.glob("ingestion-*"))
    result = ingest(warehouse, settings, now=NOW)[0]
    assert result.rows_loaded == 200


def test_two_runs_at_once_load_a_file_once(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    write_lines(tmp_path / "segment" / "a.jsonl", [message(i) for i in range(500)])
    statuses: list[str] = []

    def run() -> None:
        statuses.extend(result.status for result in ingest(warehouse, settings, now=NOW))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == ["already_loaded", "loaded"]
    assert warehouse.rows("select count(*) as n from raw.events")[0]["n"] == 500


def test_only_the_kinds_asked_for_are_loaded(
    warehouse: Warehouse, settings_for: SettingsFor, tmp_path: Path
) -> None:
    write_lines(tmp_path / "segment" / "a.jsonl", [message(1)])
    settings = settings_for(SEGMENT, {"kind": "products", "path": "products.csv"})
    assert ingest(warehouse, settings, {"crm_deals"}, now=NOW) == []
    results = ingest(warehouse, settings, now=NOW)
    assert [result.status for result in results] == ["loaded", "failed"]
    assert results[1].reason == f"{tmp_path}/products.csv: no such file"


def test_wall_clock_reaches_batches_only(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    write_lines(tmp_path / "segment" / "a.jsonl", [message(1)])
    ingest(warehouse, settings, now=NOW)
    row = warehouse.rows("select started_at, finished_at from raw.batches")[0]
    assert row == {"started_at": NOW, "finished_at": NOW}
    event = warehouse.rows("select received_at from raw.events")[0]
    assert event["received_at"].isoformat() == "2026-02-28T10:00:02+00:00"


def test_the_database_itself_refuses_figures_that_do_not_add_up(warehouse: Warehouse) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        warehouse.execute("""
            insert into raw.batches
                (source, location, content_hash, started_at, status, rows_read, rows_loaded)
            values ('s', 'l', 'h', now(), 'loaded', 2, 1)
        """)
