"""A day's delta gives the tables that a full rebuild gives, on a small random history.

Belongs here: incremental equals full refresh, a second run changes nothing.
"""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.dbt_project.dbt_building import (
    land_batch,
    link_identifiers,
    run_dbt,
    set_business_time,
)
from warehouse import Warehouse

DAY_ONE = datetime(2026, 3, 10, 6, tzinfo=UTC)
PERSONS = 12
TABLES = ("touchpoints", "attributed_touchpoints", "channel_performance")
BUILD = (
    "build",
    "--exclude-resource-type",
    "unit_test",
    "--indirect-selection",
    "cautious",
    "-s",
    "+channel_performance",
)
QUERIES = (
    "",
    "?utm_source=meta&utm_medium=paid_social&utm_campaign=spring&fbclid=f.{n}",
    "?utm_source=google&utm_medium=cpc&utm_campaign=brand&gclid=g.{n}",
    "?utm_source=loopdrive&utm_medium=email&utm_campaign=win_back",
)


def test_incremental_attribution_equals_a_full_refresh(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    draw = random.Random(7)
    history = [_visit(draw, number) for number in range(260)]
    late = [event for event in history if draw.random() < 0.1]
    _land_spend(warehouse)
    for day in range(3):
        as_of = DAY_ONE + timedelta(days=day)
        since = as_of - timedelta(days=1) if day else datetime.min.replace(tzinfo=UTC)
        fresh = [e for e in history if since < e["occurred_at"] <= as_of and e not in late]
        overdue = [e for e in late if e["occurred_at"] <= as_of] if day == 2 else []
        land_batch(warehouse, "raw.events", fresh + overdue)
        _link(warehouse, merged=day == 2)
        set_business_time(warehouse, as_of)
        run_dbt(warehouse, tmp_path, *BUILD)
    incremental = _content(warehouse)
    run_dbt(warehouse, tmp_path, *BUILD)
    assert _content(warehouse) == incremental, "a second run of the same day changed a table"
    run_dbt(warehouse, tmp_path, *BUILD, "--full-refresh")
    assert _content(warehouse) == incremental
    assert all(incremental[table] for table in TABLES)
    assert {row["person_id"] for row in incremental["touchpoints"]} == {
        _person(number) for number in range(1, PERSONS)
    }, "the absorbed person 0 must be gone, their visits the survivor's"


def _visit(draw: random.Random, number: int) -> dict[str, Any]:
    at = DAY_ONE - timedelta(days=20) + timedelta(minutes=draw.randrange(22 * 1440))
    is_order = draw.random() < 0.3
    return {
        "event_id": f"e{number}",
        "source": "segment",
        "type": "order_completed" if is_order else "page_viewed",
        "channel": "web",
        "occurred_at": at,
        "received_at": at,
        "anonymous_id": f"a{draw.randrange(PERSONS)}",
        "context": json.dumps(
            {"page": {"url": "https://shop.example/p" + draw.choice(QUERIES).format(n=number)}}
        ),
        "properties": "{}",
        "order_id": f"o{number}" if is_order else None,
        "revenue_amount": round(draw.uniform(1, 90), 2) if is_order else None,
        "currency": "EUR" if is_order else None,
    }


def _person(number: int) -> str:
    return f"person-{number}"


def _link(warehouse: Warehouse, merged: bool) -> None:
    persons = {_person(n): [("anonymous_id", f"a{n}")] for n in range(PERSONS)}
    if merged:
        persons[_person(1)] += persons.pop(_person(0))
    link_identifiers(warehouse, persons)


def _land_spend(warehouse: Warehouse) -> None:
    rows = [
        {
            "date": (DAY_ONE - timedelta(days=back)).date(),
            "platform": platform,
            "account_id": "1",
            "campaign_id": campaign,
            "ad_set_id": "",
            "channel": channel,
            "impressions": 100,
            "clicks": 10,
            "spend_amount": 10.01 + back,
            "currency": "EUR",
        }
        for back in range(1, 20)
        for platform, campaign, channel in (
            ("meta", "spring", "paid_social"),
            ("google", "brand", "paid_search"),
            ("google", "nobody_came", "paid_search"),
        )
    ]
    land_batch(warehouse, "raw.ad_spend", rows)


def _content(warehouse: Warehouse) -> dict[str, list[dict[str, Any]]]:
    """Rows of each table without the watermark, which tells when a row was last made."""
    return {
        table: sorted(
            (
                {name: value for name, value in row.items() if name != "batch_id"}
                for row in warehouse.rows(f"select * from marts.{table}")
            ),
            key=repr,
        )
        for table in TABLES
    }
