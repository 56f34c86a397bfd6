"""The loop on real orders: what a wholesaler sold in a year reconciles to the penny.

Belongs here: the figures published for the data set, found again in raw and in the marts.
Keep out: how lines are read (ingestion's tests), what the sandbox adds.
"""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from tests.loop.playing import Home, new_home
from warehouse import load_settings

pytestmark = [pytest.mark.verify, pytest.mark.timeout(1800)]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "online_retail" / "loopdrive.yml"


@pytest.fixture(scope="module")
def shop(shared_data: Path) -> Iterator[Home]:
    """One day of the example, after a year of real orders."""
    orders = shared_data / "online_retail" / "online_retail.parquet"
    if not orders.is_file():
        pytest.skip(f"real orders not present at {orders}")
    config = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8").replace("{data}", str(shared_data)))
    with new_home(config) as home:
        home.play(home.last)
        yield home


def one(home: Home, query: str) -> dict:
    return home.warehouse.rows(query)[0]


def test_the_example_is_a_valid_configuration():
    settings = load_settings(EXAMPLE, environ={})
    assert settings.simulation is not None
    assert settings.simulation.kind == "orders"


def test_every_line_is_there_and_the_sum_agrees_to_the_penny(shop):
    found = one(
        shop,
        "select count(*) as lines, round(sum(quantity * unit_price_amount), 2) as total,"
        " count(*) filter (where customer_id is null) as nobodys,"
        " count(distinct customer_id) as customers,"
        " count(*) filter (where kind <> 'credit_note' and quantity < 0) as stock"
        " from raw.order_lines",
    )
    assert found == {
        "lines": 541_909,
        "total": Decimal("9747747.93"),
        "nobodys": 135_080,
        "customers": 4_372,
        "stock": 1_336,
    }


def test_every_invoice_is_one_order_of_its_kind(shop):
    kinds = {
        row["kind"]: row["orders"]
        for row in shop.warehouse.rows(
            "select kind, count(*) as orders from marts.orders"
            " where order_id in (select order_id from raw.order_lines) group by kind"
        )
    }
    assert sum(kinds.values()) == 25_900
    assert kinds["credit_note"] == 3_836
    assert kinds["adjustment"] == 3


def test_orders_add_up_to_their_lines(shop):
    found = one(
        shop,
        "select round(sum(net_revenue_amount), 2) as net from marts.orders"
        " where order_id in (select order_id from raw.order_lines)",
    )
    assert found["net"] == Decimal("9747747.93")


def test_an_invoice_that_spans_two_minutes_takes_the_earliest(shop):
    found = one(
        shop,
        "with spans as (select order_id, min(ordered_at) as first, max(ordered_at) as last"
        " from raw.order_lines group by order_id having min(ordered_at) <> max(ordered_at))"
        " select count(*) as invoices, count(*) filter (where orders.ordered_at = spans.first)"
        " as earliest from spans join marts.orders using (order_id)",
    )
    assert found == {"invoices": 43, "earliest": 43}


def test_persons_come_from_customer_numbers_and_nobodys_orders_stay_nobodys(shop):
    found = one(
        shop,
        "select count(distinct person_id) as persons,"
        " count(*) filter (where person_id is null and customers.id is not null) as lost,"
        " count(*) filter (where person_id is not null and customers.id is null) as invented"
        " from marts.orders join"
        " (select order_id, max(customer_id) as id from raw.order_lines group by order_id)"
        " as customers using (order_id)",
    )
    assert found == {"persons": 4_372, "lost": 0, "invented": 0}
    lines = one(
        shop,
        "select count(*) as n from raw.order_lines join marts.orders using (order_id)"
        " where person_id is null",
    )
    assert lines["n"] == 135_080


def test_the_day_went_out_and_came_to_a_verdict(shop):
    statuses = shop.warehouse.rows(
        "select outcome, count(*) as n from delivery.decisions group by outcome"
    )
    assert sum(row["n"] for row in statuses) > 50
    assert shop.logged("accepted")
    assert one(shop, "select count(*) as n from raw.batches where status <> 'loaded'")["n"] == 0
