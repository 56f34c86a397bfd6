"""What was said is restated with its cause; money without a rate; a person with 100,000 events.

Belongs here: cases that a plain history does not hold. Keep out: incremental equality, sessions.
"""

import json
import time
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.dbt_project import core_history as history
from tests.dbt_project.dbt_building import (
    land_batch,
    link_identifiers,
    run_dbt,
    set_business_time,
)
from warehouse import Warehouse

Row = dict[str, Any]

START = history.START
BUILT = ("run", "-s", "+restatements", "+person_context", "+sessions_set_apart")
PEOPLE = {
    name: [("user_id", f"{name}-4711"), ("email", f"{name}@mail.example")]
    for name in ("anna", "bela", "cleo", "dora", "emil")
}
PEOPLE["anna"].append(("crm_contact_id", "card-anna"))
ONE_CLICK_SECONDS = 60


def _event(number: int, who: str, day: int, minutes: float, kind: str, **more: Any) -> Row:
    at = START + timedelta(days=day, hours=10, minutes=minutes)
    return {
        "event_id": f"e{number:03d}",
        "source": "segment",
        "type": kind,
        "channel": "web",
        "occurred_at": at,
        "received_at": at,
        "user_id": f"{who}-4711",
        "email": f"{who}@mail.example",
        "context": "{}",
        "properties": "{}",
        "order_id": None,
        "revenue_amount": None,
        "currency": None,
    } | more


def _order(order_id: str, amount: str, currency: str = "EUR") -> Row:
    return {"order_id": order_id, "revenue_amount": amount, "currency": currency}


FIRST = [
    _event(1, "anna", 3, 0, "order_completed", **_order("O1", "10")),
    _event(2, "bela", 4, 0, "order_completed", **_order("O2", "20", "XTS")),
    _event(3, "cleo", 5, 0, "order_completed", **_order("O3", "30")),
    _event(4, "anna", 7, 0, "order_completed", **_order("O4", "40")),
    *(_event(5 + n, ("dora", "emil")[n % 2], 6, 10 * n, "page_viewed") for n in range(4)),
    _event(9, "anna", 9, 0, "product_added", properties='{"product_id": "P9"}'),
    _event(10, "cleo", 9, 0, "product_added", properties='{"product_id": "P8"}'),
    _event(11, "cleo", 9, 1, "product_removed", properties='{"product_id": "P8"}'),
]
SECOND = [
    _event(20, "anna", 3, 5, "page_viewed"),
    _event(21, "cleo", 5, 5, "order_refunded", **_order("O3", "12")),
    # the same order, reported with the time it was really placed
    _event(22, "anna", 2, 0, "order_completed", **_order("O4", "40")),
]
RESTATED = {
    ("orders", 2, "order_count", 0, 1, "landed_late"),
    ("orders", 2, "net_revenue_amount", 0, 40, "landed_late"),
    ("orders", 4, "net_revenue_amount", 0, 10, "currency_rate_changed"),
    ("orders", 5, "net_revenue_amount", 30, 18, "refund"),
    ("orders", 7, "order_count", 1, 0, "duplicate_removed"),
    ("orders", 7, "net_revenue_amount", 40, 0, "duplicate_removed"),
    ("person_days", 2, "event_count", 0, 1, "landed_late"),
    ("person_days", 2, "session_count", 0, 1, "landed_late"),
    ("person_days", 3, "event_count", 1, 2, "landed_late"),
    ("person_days", 5, "event_count", 1, 2, "landed_late"),
    ("person_days", 6, "session_count", 2, 1, "person_merged"),
}


def test_what_was_said_is_restated_with_its_cause(warehouse: Warehouse, tmp_path: Path) -> None:
    _land_first(warehouse)
    run_dbt(warehouse, tmp_path, "seed")
    run_dbt(warehouse, tmp_path, *BUILT)
    _assert_money_without_a_rate_is_unknown(warehouse)
    assert warehouse.rows("select * from marts.restatements") == []
    _land_second(warehouse)
    run_dbt(warehouse, tmp_path, *BUILT)
    said = _restated(warehouse)
    assert {row for row in said if row[0] != "kpi_daily"} == RESTATED
    assert {row[2] for row in said if row[0] == "kpi_daily"} <= {"attributed_revenue_amount"}
    _assert_a_context_tells_all_but_who(warehouse)
    run_dbt(warehouse, tmp_path, *BUILT)
    assert _restated(warehouse) == said, "a second run of the day restated something"


def _land_first(warehouse: Warehouse) -> None:
    link_identifiers(warehouse, PEOPLE)
    set_business_time(warehouse, START + timedelta(days=10))
    land_batch(warehouse, "raw.events", FIRST)
    card = {
        "source": "crm",
        "contact_id": "card-anna",
        "email": "anna@mail.example",
        "first_name": "Annegret",
        "last_name": "Musterfrau",
        "city": "Musterstadt",
        "postal_code": "99998",
        "country": "DE",
        "updated_at": START,
    }
    land_batch(warehouse, "raw.crm_contacts", [card])
    consent = {
        "source": "crm",
        "identifier_type": "email",
        "identifier_value": "anna@mail.example",
        "channel": "email",
        "scope": "marketing",
        "status": "granted",
        "recorded_at": START,
    }
    land_batch(warehouse, "raw.crm_consents", [consent])
    history.land_answers(warehouse, "anna", START + timedelta(days=8))


def _land_second(warehouse: Warehouse) -> None:
    as_of = START + timedelta(days=11)
    set_business_time(warehouse, as_of)
    land_batch(warehouse, "raw.events", SECOND)
    rate = {"date": START.date(), "currency": "XTS", "rate_to_workspace": "0.5"}
    land_batch(warehouse, "raw.currency_rates", [rate])
    merged = {name: list(identifiers) for name, identifiers in PEOPLE.items()}
    merged["dora"] += merged.pop("emil")
    link_identifiers(warehouse, merged)
    warehouse.execute(
        "insert into identity.merges (merge_id, survivor_person_id, absorbed_person_id, merged_at,"
        " evidence) values ('m', 'dora', 'emil', %(at)s, '{}')",
        at=as_of,
    )


def _restated(warehouse: Warehouse) -> set[tuple[Any, ...]]:
    return {
        (
            row["table_name"],
            (date.fromisoformat(row["key"]) - START.date()).days,
            row["column_name"],
            Decimal(row["old_value"]),
            Decimal(row["new_value"]),
            row["cause"],
        )
        for row in warehouse.rows("select * from marts.restatements")
    }


def _assert_money_without_a_rate_is_unknown(warehouse: Warehouse) -> None:
    order = warehouse.rows("select * from marts.orders where order_id = 'O2'")[0]
    assert order["revenue_amount"] is None
    assert order["source_currency"] == "XTS"
    stats = warehouse.rows("select * from marts.person_stats where person_id = 'bela'")[0]
    assert (stats["order_count"], stats["net_revenue_amount"]) == (1, 0)
    told = warehouse.rows("select * from marts.person_chronology where person_id = 'bela'")
    assert [row["summary"] for row in told] == ["Ordered 0 items"]


def _assert_a_context_tells_all_but_who(warehouse: Warehouse) -> None:
    contexts = {
        row["person_id"]: row["context"]
        for row in warehouse.rows("select person_id, context from marts.person_context")
    }
    assert set(contexts) == {"anna", "bela", "cleo", "dora"}
    anna = contexts["anna"]
    assert anna["identifiers"] == {"user_id": 1, "email": 1, "crm_contact_id": 1}
    assert [item["product"] for item in anna["open_cart"]] == ["P9"]
    assert "open_cart" not in contexts["cleo"], "what was taken out again is in the cart"
    assert [item["program"] for item in anna["messages"]] == ["welcome"]
    assert [(item["channel"], item["status"]) for item in anna["consents"]] == [
        ("email", "granted")
    ]
    moments = [item["at"] for item in anna["latest"]]
    assert moments == sorted(moments, reverse=True)
    secrets = {
        row["said"]
        for row in warehouse.rows(
            "select identifier_value as said from identity.person_identifiers"
            " union select address from identity.contact_points"
            " union select address_hash from identity.contact_points"
            " union select unnest(array[first_name, last_name, city, postal_code])"
            " from identity.profiles"
        )
        if row["said"]
    }
    assert {"anna-4711", "anna@mail.example", "Annegret", "99998"} <= secrets
    everything = json.dumps(contexts, default=str)
    assert [secret for secret in secrets if secret in everything] == []


# --- 100,000 events -----------------------------------------------------------------------------

EVERY_MINUTE = """
insert into raw.events (
    event_id, source, type, channel, occurred_at, received_at, batch_id, user_id, context,
    properties, order_id, revenue_amount, currency
)
select
    'h' || n, 'bench',
    case when n %% 1000 = 999 then 'order_completed' when n %% 2 = 0 then 'page_viewed'
        else 'product_viewed' end,
    'web', at, at, %(batch_id)s, 'heavy', '{}',
    jsonb_build_object('product_id', 'P' || n %% 7),
    case when n %% 1000 = 999 then 'O' || n end,
    case when n %% 1000 = 999 then 10 end,
    'EUR'
from (
    select n, %(start)s::timestamptz + (n / 290) * interval '1 day'
        + (n %% 290) * interval '1 minute' as at
    from generate_series(%(since)s::integer, %(until)s::integer - 1) as n
) as drawn
"""
DAYS, A_DAY = 345, 290


@pytest.mark.verify
def test_a_person_with_100_000_events(warehouse: Warehouse, tmp_path: Path) -> None:
    """345 days of 290 events are as many visits; then a day brings 290 more."""
    link_identifiers(warehouse, {"heavy": [("user_id", "heavy")]})
    land_batch(warehouse, "raw.events", [])
    for month in range(14):
        first = date(2026 + (2 + month) // 12, (2 + month) % 12 + 1, 1)
        following = (first + timedelta(days=32)).replace(day=1)
        warehouse.execute(
            f"create table raw.events_{first:%Y%m} partition of raw.events"
            f" for values from ('{first}') to ('{following}')"
        )
    _land_heavy(warehouse, 0, DAYS)
    run_dbt(warehouse, tmp_path, "seed")
    run_dbt(warehouse, tmp_path, *BUILT)
    _assert_heavy(warehouse, DAYS)
    batch = land_batch(warehouse, "raw.events", [])
    assert batch == 2
    _land_heavy(warehouse, DAYS, DAYS + 1)
    begun = time.perf_counter()
    run_dbt(warehouse, tmp_path, *BUILT)
    assert time.perf_counter() - begun < ONE_CLICK_SECONDS
    _assert_heavy(warehouse, DAYS + 1)


def _land_heavy(warehouse: Warehouse, since: int, until: int) -> None:
    batch = warehouse.rows("select max(batch_id) as batch_id from raw.batches")[0]["batch_id"]
    start = START + timedelta(hours=8)
    warehouse.execute(
        EVERY_MINUTE, batch_id=batch, start=start, since=since * A_DAY, until=until * A_DAY
    )
    set_business_time(warehouse, START + timedelta(days=until))


def _assert_heavy(warehouse: Warehouse, days: int) -> None:
    events = days * A_DAY
    assert events > 100_000
    sessions = warehouse.rows(
        "select count(*) as sessions, min(event_count) as least, max(event_count) as most"
        " from marts.sessions"
    )[0]
    assert sessions == {"sessions": days, "least": A_DAY, "most": A_DAY}
    summed = warehouse.rows(
        "select count(*) as days, sum(event_count) as events, sum(order_count) as orders"
        " from marts.person_days"
    )[0]
    assert summed == {"days": days, "events": events, "orders": events // 1000}
    stats = warehouse.rows("select * from marts.person_stats")[0]
    # The thirtieth day of the window is the one that has just begun.
    assert (stats["order_count"], stats["sessions_30d_count"]) == (events // 1000, 29)
    assert stats["net_revenue_amount"] == 10 * (events // 1000)
    told = warehouse.rows("select * from marts.person_chronology order by position")
    latest = warehouse.rows(
        "select occurred_at from raw.events where type <> 'page_viewed'"
        " order by occurred_at desc limit 20"
    )
    assert [row["occurred_at"] for row in told] == [row["occurred_at"] for row in latest]
    assert [row["position"] for row in told] == list(range(1, 21))
