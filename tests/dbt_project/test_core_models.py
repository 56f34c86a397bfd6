"""What the core models say, against slow references over the same history.

Belongs here: sessions, windows of features, what is known when. Keep out: incremental builds.
"""

import random
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests.dbt_project import core_history as history
from tests.dbt_project.dbt_building import run_dbt
from warehouse import Warehouse

DAYS = 40
AS_OF = history.START + timedelta(days=35)
ZONE = ZoneInfo("Europe/Berlin")
GAP = timedelta(minutes=30)
UNIT_TESTS = (
    "a_pause_or_another_campaign_opens_a_session",
    "consent_for_one_address_never_covers_another",
    "consent_for_one_channel_of_a_phone_never_covers_another",
    "invoices_and_reports_become_one_order",
    "no_address_of_a_channel_that_no_source_speaks_of",
    "phones_and_devices_are_addresses_where_sources_speak_of_it",
)


def test_core_models_equal_slow_references(warehouse: Warehouse, tmp_path: Path) -> None:
    draw = random.Random(5)
    history.land_batch(warehouse, "raw.events", history.events(draw, 900, DAYS))
    history.land_batch(warehouse, "raw.order_lines", history.order_lines(draw, DAYS))
    history.land_batch(warehouse, "raw.crm_contacts", history.contacts(draw, DAYS))
    history.land_batch(warehouse, "raw.currency_rates", history.rates())
    history.build(warehouse, tmp_path, AS_OF)
    _assert_nothing_of_the_future(warehouse)
    _assert_sessions_equal_a_loop_over_events(warehouse)
    _assert_windows_equal_sums_over_orders(warehouse)
    _assert_marts_name_nobody(warehouse)
    run_dbt(warehouse, tmp_path, "test", "-s", "path:tests/core", *UNIT_TESTS)


def _assert_nothing_of_the_future(warehouse: Warehouse) -> None:
    known = warehouse.rows(
        "select count(*) as events, max(occurred_at) as latest from marts.int_events_resolved"
    )[0]
    landed = warehouse.rows("select count(*) as events from raw.events")[0]["events"]
    assert known["latest"] <= AS_OF
    assert 0 < known["events"] < landed
    assert warehouse.rows("select max(ordered_at) as at from marts.orders")[0]["at"] <= AS_OF


def _assert_sessions_equal_a_loop_over_events(warehouse: Warehouse) -> None:
    events = warehouse.rows(
        "select person_id, occurred_at, event_id,"
        " concat_ws('|', utm_source, utm_medium, utm_campaign, click_id_type) as campaign"
        " from marts.int_events_resolved"
        " where person_id is not null and is_visit and not is_bot"
        " order by person_id, occurred_at, event_id"
    )
    expected = sorted(
        (visit[0]["person_id"], visit[0]["occurred_at"], visit[-1]["occurred_at"], len(visit))
        for visit in _visits(events)
    )
    found = [
        (row["person_id"], row["started_at"], row["ended_at"], row["event_count"])
        for row in warehouse.rows("select * from marts.sessions")
    ]
    assert sorted(found) == expected
    assert any(count > 1 for *_, count in expected), "no visit has two events: nothing was tested"
    channels = {r["channel"] for r in warehouse.rows("select channel from marts.sessions")}
    assert {"paid_search", "organic_search", "direct", "organic_social"} <= channels


def _visits(events: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    visits: list[list[dict[str, Any]]] = []
    campaign = ""
    for event in events:
        before = visits[-1][-1] if visits else None
        continues = (
            before is not None
            and before["person_id"] == event["person_id"]
            and event["occurred_at"] - before["occurred_at"] <= GAP
        )
        if continues and event["campaign"] in ("", campaign):
            visits[-1].append(event)
            continue
        visits.append([event])
        # Within one stretch a visit without campaign keeps the last one in mind.
        campaign = event["campaign"] or (campaign if continues else "")
    return visits


def _assert_windows_equal_sums_over_orders(warehouse: Warehouse) -> None:
    orders = defaultdict(list)
    for row in warehouse.rows("select * from marts.orders where person_id is not null"):
        orders[row["person_id"]].append(row)
    features = warehouse.rows("select * from features.person_features")
    weekly = [row for row in features if row["as_of"] != AS_OF]
    assert weekly
    assert all(row["as_of"].astimezone(ZONE).weekday() == 0 for row in weekly)
    for row in features:
        # Buckets are days: a snapshot of Monday, midnight, knows all days before that Monday.
        last_date = _date(row["as_of"] - timedelta(microseconds=1))
        known = [o for o in orders[row["person_id"]] if _date(o["ordered_at"]) <= last_date]
        recent = [o for o in known if _date(o["ordered_at"]) > last_date - timedelta(days=30)]
        assert row["order_count"] == _sales(known)
        assert row["orders_30d_count"] == _sales(recent)
        net = float(sum(order["net_revenue_amount"] for order in recent))
        assert abs(row["net_revenue_30d_amount"] - net) < 1e-6


def _sales(orders: list[dict[str, Any]]) -> int:
    return sum(order["kind"] == "sale" for order in orders)


def _date(moment: datetime) -> datetime:
    return moment.astimezone(ZONE).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)


def _assert_marts_name_nobody(warehouse: Warehouse) -> None:
    tables = warehouse.rows(
        "select table_schema || '.' || table_name as name from information_schema.tables"
        " where table_schema in ('marts', 'features')"
    )
    for table in tables:
        rows = warehouse.rows(
            f"select said::text as said from {table['name']} as said where said::text ~ %(who)s",
            who=r"@example\.com|First [0-9]|\+49301234",
        )
        assert not rows, f"{table['name']} holds personal data"
