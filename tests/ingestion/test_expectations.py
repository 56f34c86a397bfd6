"""Source checks: they see what is wrong with the latest files, and say it in figures only."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ingestion import CheckResult, check, ingest
from ingestion.expectations import SUITES
from tests.ingestion.landed_files import NOW, SettingsFor, message, write_lines
from warehouse import Warehouse
from warehouse.settings import SOURCE_KINDS

AS_OF = datetime(2026, 3, 1, 6, tzinfo=UTC)


def outcome(results: list[CheckResult]) -> dict[str, bool]:
    return {result.name: result.passed for result in results}


def test_every_source_kind_has_a_suite_that_runs(warehouse: Warehouse) -> None:
    assert set(SUITES) == set(SOURCE_KINDS)
    for kind in SUITES:
        results = check(warehouse, kind, AS_OF)
        failed = [result.name for result in results if not result.passed]
        # Before the first message nobody owes us a webhook; every other source should have files.
        assert failed == ([] if kind == "provider_events" else ["latest_files_brought_rows"])


def test_good_events_pass(warehouse: Warehouse, settings_for: SettingsFor, tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [message(number) for number in range(50)])
    settings = settings_for({"kind": "segment", "path": "a.jsonl", "name": "web"})
    ingest(warehouse, settings, now=NOW)
    results = check(warehouse, "segment", AS_OF, names=["web"])
    assert all(result.passed for result in results), outcome(results)
    age = next(result for result in results if result.name == "events_are_fresh").observed
    assert age == {"age_hours": 20.0, "at_most": 36.0}


@pytest.mark.parametrize(
    ("changes", "failed", "severe"),
    [
        ({"anonymousId": None}, "events_name_somebody", True),
        ({"context": {}}, "page_views_have_an_address", False),
        ({"timestamp": "2026-02-20T00:00:00Z"}, "events_are_fresh", False),
        ({"timestamp": "2026-03-01T09:00:00Z", "receivedAt": "2026-03-01T09:00:00Z"},
         "little_is_later_than_as_of", False),
        ({"type": "track", "event": "Order Completed"}, "orders_are_complete", True),
        ({"type": "track", "event": "Order Completed",
          "properties": {"order_id": "o", "revenue": 1, "currency": "USD"}},
         "every_currency_has_a_rate", True),
    ],
)  # fmt: skip
def test_each_check_sees_its_fault(
    warehouse: Warehouse,
    settings_for: SettingsFor,
    tmp_path: Path,
    changes: dict[str, Any],
    failed: str,
    severe: bool,
) -> None:
    warehouse.execute("""
        insert into raw.workspace (workspace, currency, time_zone, country)
        values ('test', 'GBP', 'Europe/London', 'GB')
    """)
    write_lines(tmp_path / "a.jsonl", [message(number, **changes) for number in range(50)])
    ingest(warehouse, settings_for({"kind": "segment", "path": "a.jsonl"}), now=NOW)
    results = [result for result in check(warehouse, "segment", AS_OF) if not result.passed]
    assert [(result.name, result.severe) for result in results] == [(failed, severe)]


def test_only_the_latest_run_is_judged_and_held_files_are_named(
    warehouse: Warehouse, settings_for: SettingsFor, tmp_path: Path
) -> None:
    settings = settings_for({"kind": "segment", "path": "*.jsonl"})
    write_lines(tmp_path / "a.jsonl", [message(n, anonymousId=None) for n in range(50)])
    ingest(warehouse, settings, now=NOW)
    assert not outcome(check(warehouse, "segment", AS_OF))["events_name_somebody"]
    write_lines(tmp_path / "b.jsonl", [message(n) for n in range(50, 100)])
    write_lines(tmp_path / "c.jsonl", [f"{{{n}" for n in range(30)])
    ingest(warehouse, settings, now=NOW.replace(day=3))
    verdict = outcome(check(warehouse, "segment", AS_OF))
    assert verdict["events_name_somebody"]
    assert not verdict["no_file_is_held"]


def test_what_is_observed_is_numbers(
    warehouse: Warehouse, settings_for: SettingsFor, tmp_path: Path
) -> None:
    write_lines(tmp_path / "a.jsonl", [message(1, userId="ada@example.com")])
    ingest(warehouse, settings_for({"kind": "segment", "path": "a.jsonl"}), now=NOW)
    for result in check(warehouse, "segment", AS_OF):
        assert all(isinstance(value, int | float | None) for value in result.observed.values())
