"""Audiences and inputs: who is in, who is not, and the occasion that stays the same occasion.

Belongs here: the borders of every `act_` table and of what budgets and conversions are fed with.
"""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.dbt_project.dbt_building import (
    land_batch,
    link_identifiers,
    run_dbt,
    set_business_time,
)
from warehouse import Warehouse

AS_OF = datetime(2026, 6, 15, 6, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BUILD = ("build", "--exclude-resource-type", "unit_test", "--indirect-selection", "cautious")
SELECT = ("-s", "+path:models/activation")
# person -> what they did: (event type, how long before as_of, extras)
HISTORY: dict[str, list[tuple[str, timedelta, dict[str, Any]]]] = {
    "cart_left": [
        ("product_added", 30 * HOUR, {"product": "mug"}),
        ("product_added", 3 * HOUR, {"product": "tea", "quantity": 2}),
    ],
    "cart_being_filled": [("product_added", 1 * HOUR, {"product": "mug"})],
    "cart_forgotten": [("product_added", 49 * HOUR, {"product": "mug"})],
    "cart_bought": [
        ("product_added", 5 * HOUR, {"product": "mug"}),
        ("order_completed", 4 * HOUR, {"product": "mug", "revenue": 8.0}),
    ],
    "newcomer": [("identified", 2 * DAY, {"email": "n@shop.example"})],
    "newcomer_who_bought": [
        ("identified", 2 * DAY, {"email": "b@shop.example"}),
        ("order_completed", 1 * DAY, {"product": "mug", "revenue": 12.0}),
    ],
    "known_for_a_while": [("identified", 8 * DAY, {"email": "k@shop.example"})],
    "unknown_visitor": [("page_viewed", 1 * DAY, {})],
    "lapsed": [("order_completed", 91 * DAY, {"product": "tea", "revenue": 40.0})],
    "not_yet_lapsed": [("order_completed", 89 * DAY, {"product": "tea", "revenue": 40.0})],
    "lapsed_and_back": [
        ("order_completed", 120 * DAY, {"product": "tea", "revenue": 40.0}),
        ("order_completed", 10 * DAY, {"product": "tea", "revenue": 40.0}),
    ],
    "stranger_again": [("order_completed", 400 * DAY, {"product": "tea", "revenue": 40.0})],
    "ad_clicker": [
        ("page_viewed", 30 * DAY, {"query": "?gclid=g-old"}),
        ("page_viewed", 20 * DAY, {"query": "?gclid=g-new"}),
        ("page_viewed", 19 * DAY, {"query": "?utm_medium=paid_social&utm_campaign=x&fbclid=f-1"}),
        ("order_completed", 1 * DAY, {"product": "mug", "revenue": 20.0}),
    ],
    "ad_clicker_of_last_season": [
        ("page_viewed", 95 * DAY, {"query": "?gclid=g-stale"}),
        ("order_completed", 1 * DAY, {"product": "mug", "revenue": 20.0}),
    ],
}


@pytest.fixture
def history(warehouse: Warehouse, tmp_path: Path) -> Warehouse:
    products = [
        {"product_id": "mug", "name": "Blue mug", "category": "kitchen", "price_amount": 8.0},
        {"product_id": "tea", "name": "Green tea", "category": "food", "price_amount": 4.5},
    ]
    land_batch(warehouse, "raw.products", products)
    land_batch(
        warehouse,
        "raw.events",
        [
            _event(person, number, *what)
            for person, doings in HISTORY.items()
            for number, what in enumerate(doings)
        ],
    )
    _land_spend(warehouse)
    link_identifiers(
        warehouse,
        {
            person: [("anonymous_id", person)]
            + [("email", extras["email"]) for _, _, extras in doings if "email" in extras]
            for person, doings in HISTORY.items()
        },
    )
    set_business_time(warehouse, AS_OF)
    run_dbt(warehouse, tmp_path, *BUILD, *SELECT)
    return warehouse


def test_audiences_hold_exactly_who_has_the_occasion(history: Warehouse, tmp_path: Path) -> None:
    assert _persons(history, "act_abandoned_cart") == ["cart_left"]
    assert _persons(history, "act_welcome") == ["newcomer"]
    assert _persons(history, "act_win_back") == ["lapsed"]
    cart = history.rows("select * from activation.act_abandoned_cart")[0]
    assert cart["value_amount"] == 17
    assert [item["name"] for item in cart["context"]["items"]] == ["Green tea", "Blue mug"]
    assert cart["context"]["categories"] == ["food", "kitchen"]
    assert cart["available_from"] == AS_OF - HOUR
    assert cart["expires_at"] == AS_OF + 45 * HOUR
    win_back = history.rows("select * from activation.act_win_back")[0]
    assert win_back["value_amount"] == 40
    assert [item["name"] for item in win_back["context"]["items"]] == ["Green tea"]
    _assert_conversions(history)
    _assert_budgets(history)
    _assert_one_more_item_is_the_same_cart(history, tmp_path, cart["opportunity_id"])


def _assert_conversions(warehouse: Warehouse) -> None:
    rows = warehouse.rows(
        "select person_id, click_id_type, click_id, value_amount::float8 as value_amount, currency"
        " from activation.conversion_candidates order by click_id_type"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("ad_clicker", "fbclid", "f-1", 20.0, "EUR"),
        ("ad_clicker", "gclid", "g-new", 20.0, "EUR"),
    ]


def _assert_budgets(warehouse: Warehouse) -> None:
    rows = {
        row["campaign_id"]: row for row in warehouse.rows("select * from activation.budget_inputs")
    }
    assert set(rows) == {"x", "planned"}
    # 28 whole days before as_of, the campaign's dollars at two rates: 1/2 until day -3, then 1.
    assert rows["x"]["spend_28d_amount"] == 26 * 5 + 2 * 10
    assert rows["x"]["spend_7d_amount"] == 5 * 5 + 2 * 10
    assert rows["x"]["current_daily_budget_amount"] == Decimal("6.43")  # 45 / 7
    assert rows["planned"]["current_daily_budget_amount"] == 33
    assert rows["x"]["conversions_28d"] == 1
    assert rows["x"]["value_28d_amount"] == 20
    assert rows["x"]["is_learning"]


def _assert_one_more_item_is_the_same_cart(
    warehouse: Warehouse, folder: Path, opportunity_id: str
) -> None:
    added = _event("cart_left", 9, "product_added", timedelta(0), {"product": "mug"})
    land_batch(warehouse, "raw.events", [added])
    set_business_time(warehouse, AS_OF + 3 * HOUR)
    run_dbt(warehouse, folder, *BUILD, *SELECT)
    rows = warehouse.rows(
        "select opportunity_id, value_amount from activation.act_abandoned_cart"
        " where person_id = 'cart_left'"
    )
    assert [tuple(row.values()) for row in rows] == [(opportunity_id, 25)]


def _persons(warehouse: Warehouse, table: str) -> list[str]:
    rows = warehouse.rows(f"select person_id from activation.{table} order by 1")
    return [row["person_id"] for row in rows]


def _event(
    person: str, number: int, kind: str, before: timedelta, extras: dict[str, Any]
) -> dict[str, Any]:
    product = extras.get("product")
    quantity = extras.get("quantity", 1)
    properties = {
        "product_added": f'{{"product_id": "{product}", "quantity": {quantity}}}',
        "order_completed": f'{{"products": [{{"product_id": "{product}", "quantity": 1}}]}}',
    }
    return {
        "event_id": f"{person}-{number}",
        "source": "segment",
        "type": kind,
        "channel": "web",
        "occurred_at": AS_OF - before,
        "received_at": AS_OF - before,
        "anonymous_id": person,
        "email": extras.get("email"),
        "context": json.dumps({"page": {"url": f"https://shop.example/{extras.get('query', '')}"}}),
        "properties": properties.get(kind, "{}"),
        "order_id": f"order-{person}-{number}" if kind == "order_completed" else None,
        "revenue_amount": extras.get("revenue"),
        "currency": "EUR" if "revenue" in extras else None,
    }


def _land_spend(warehouse: Warehouse) -> None:
    today = AS_OF.date()
    rates = [
        {"date": today - 60 * DAY, "currency": "USD", "rate_to_workspace": 0.5},
        {"date": today - 2 * DAY, "currency": "USD", "rate_to_workspace": 1.0},
    ]
    land_batch(warehouse, "raw.currency_rates", rates)
    spend = [
        {
            "date": today - back * DAY,
            "platform": "meta",
            "account_id": "1",
            "campaign_id": campaign,
            "ad_set_id": "",
            "channel": "paid_social",
            "impressions": 100,
            "clicks": 10,
            "spend_amount": 10.0,
            "currency": "USD",
        }
        for back in range(0, 40)
        for campaign in ("x", "planned")
    ]
    land_batch(warehouse, "raw.ad_spend", spend)
    warehouse.execute(
        "insert into delivery.budget_plans select 'plan' || n, %(as_of)s - n * interval '1 day',"
        " 'meta', 'planned', 30, 31, 30 + n, 'EUR', case n when 2 then 'rejected' else 'pushed'"
        " end, 'test' from unnest(array[0, 2, 3, 4]) as n",
        as_of=AS_OF,
    )
