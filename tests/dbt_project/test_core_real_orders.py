"""Real orders reconcile with their source to the penny.

Belongs here: the published figures of the Online Retail data. Keep out: the loop around them.
"""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from tests.dbt_project import core_history as history
from tests.dbt_project.dbt_building import land_batch
from warehouse import Warehouse

LINES = """
    select
        'order_lines' as source,
        InvoiceNo::varchar as order_id,
        row_number() over (partition by InvoiceNo order by position)::integer as line_number,
        case left(InvoiceNo::varchar, 1) when 'C' then 'credit_note' when 'A' then 'adjustment'
            else 'sale' end as kind,
        StockCode::varchar as product_id,
        Quantity::varchar as quantity,
        UnitPrice::varchar as unit_price_amount,
        'EUR' as currency,
        InvoiceDate::timestamptz as ordered_at,
        CustomerID::bigint::varchar as customer_id,
        Country::varchar as country,
        {batch}::bigint as batch_id
    from (select *, row_number() over () as position from read_parquet('{file}'))
"""


@pytest.mark.verify
def test_real_orders_reconcile(warehouse: Warehouse, tmp_path: Path, shared_data: Path) -> None:
    file = shared_data / "online_retail" / "online_retail.parquet"
    if not file.is_file():
        pytest.skip("the Online Retail data are not here")
    batch = land_batch(warehouse, "raw.order_lines", [])
    with duckdb.connect() as session:
        session.execute("set timezone = 'UTC'")
        lines = session.sql(LINES.format(batch=batch, file=file)).to_arrow_table()
    assert warehouse.append("raw.order_lines", lines) == 541_909
    history.build(warehouse, tmp_path, datetime(2012, 1, 1, tzinfo=UTC))
    kinds = {
        row["kind"]: row["orders"]
        for row in warehouse.rows("select kind, count(*) as orders from marts.orders group by kind")
    }
    assert kinds == {"sale": 25_900 - 3_836 - 3, "credit_note": 3_836, "adjustment": 3}
    totals = warehouse.rows(
        "select sum(net_revenue_amount) as net, count(distinct person_id) as persons"
        " from marts.orders"
    )[0]
    assert round(totals["net"], 2) == Decimal("9747747.93")
    assert totals["persons"] == 4_372
    nobody = warehouse.rows(
        "select count(*) as lines from raw.order_lines as lines"
        " inner join marts.orders as orders on lines.order_id = orders.order_id"
        " where orders.person_id is null"
    )
    assert nobody[0]["lines"] == 135_080
    sums = warehouse.rows("select sum(net_revenue_amount) as net from marts.person_days")[0]["net"]
    owned = warehouse.rows(
        "select sum(net_revenue_amount) as net from marts.orders where person_id is not null"
    )
    assert sums == owned[0]["net"]
