"""Order lines: identical lines are real, files overlap, and real orders reconcile to the penny."""

from decimal import Decimal
from pathlib import Path

import pytest

from ingestion import BatchResult, ingest
from tests.ingestion.landed_files import NOW, SettingsFor
from warehouse import Settings, Warehouse

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
MAPPING = {
    "order_id": "InvoiceNo",
    "product_id": "StockCode",
    "description": "Description",
    "quantity": "Quantity",
    "ordered_at": "InvoiceDate",
    "unit_price_amount": "UnitPrice",
    "customer_id": "CustomerID",
    "country": "Country",
}
SOURCE = {
    "kind": "order_lines",
    "path": "orders*",
    "mapping": MAPPING,
    "options": {"time_zone": "Europe/London"},
}
MUG = "1,mug,Mug,2,2011-07-01 10:00:00,4.25,17850.0,United Kingdom"
CUP = "1,cup,Cup,1,2011-07-01 10:00:00,3.1,17850.0,United Kingdom"
JUG = "1,jug,Jug,1,2011-07-01 10:01:00,9,17850.0,United Kingdom"


@pytest.fixture
def settings(settings_for: SettingsFor) -> Settings:
    return settings_for(SOURCE)


def load(warehouse: Warehouse, settings: Settings, path: Path, *rows: str) -> tuple[int, int, int]:
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    result = next(
        result for result in ingest(warehouse, settings, now=NOW) if result.location == str(path)
    )
    assert result.rows_read == len(rows)
    return result.rows_loaded, result.rows_duplicate, result.rows_rejected


def lines(warehouse: Warehouse) -> list[tuple[str, int, str | None, Decimal]]:
    rows = warehouse.rows("select * from raw.order_lines order by order_id, line_number")
    return [
        (row["order_id"], row["line_number"], row["product_id"], row["quantity"]) for row in rows
    ]


def test_identical_lines_are_real_lines_numbered_in_file_order(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    other = "2,mug,Mug,1,2011-07-01 10:00:00,4.25,,France"
    assert load(warehouse, settings, tmp_path / "orders.csv", MUG, other, MUG, CUP) == (4, 0, 0)
    assert lines(warehouse) == [
        ("1", 1, "mug", 2), ("1", 2, "mug", 2), ("1", 3, "cup", 1), ("2", 1, "mug", 1),
    ]  # fmt: skip
    row = warehouse.rows("select * from raw.order_lines where line_number = 1 and order_id='1'")[0]
    assert row["ordered_at"].isoformat() == "2011-07-01T09:00:00+00:00"  # British Summer Time
    assert (row["customer_id"], row["currency"]) == ("17850", "GBP")


def test_kinds_come_from_the_prefix_of_the_invoice(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    rows = [MUG.replace("1,", prefix, 1) for prefix in ("536,", "C536,", "A536,", "ABC,")]
    load(warehouse, settings, tmp_path / "orders.csv", *rows)
    kinds = warehouse.rows("select order_id, kind from raw.order_lines order by order_id")
    assert {row["order_id"]: row["kind"] for row in kinds} == {
        "536": "sale", "C536": "credit_note", "A536": "adjustment", "ABC": "sale",
    }  # fmt: skip


def test_an_overlapping_file_adds_only_what_is_new(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    load(warehouse, settings, tmp_path / "orders1.csv", MUG, MUG, CUP)
    later = "3,mug,Mug,1,2011-07-02 10:00:00,4.25,,France"
    overlap = load(warehouse, settings, tmp_path / "orders2.csv", MUG, MUG, MUG, CUP, later)
    assert overlap == (2, 3, 0)
    assert lines(warehouse) == [
        ("1", 1, "mug", 2), ("1", 2, "mug", 2), ("1", 3, "cup", 1), ("1", 4, "mug", 2),
        ("3", 1, "mug", 1),
    ]  # fmt: skip


def test_an_invoice_cut_in_two_by_the_export_is_whole_again(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    load(warehouse, settings, tmp_path / "orders1.csv", MUG, CUP)
    assert load(warehouse, settings, tmp_path / "orders2.csv", JUG) == (1, 0, 0)
    assert [(line[1], line[2]) for line in lines(warehouse)] == [(1, "mug"), (2, "cup"), (3, "jug")]


def test_a_changed_line_is_refused_rather_than_counted_twice(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    load(warehouse, settings, tmp_path / "orders1.csv", MUG, CUP)
    changed = MUG.replace(",2,", ",3,")
    assert load(warehouse, settings, tmp_path / "orders2.csv", changed, CUP) == (0, 1, 1)
    rejects = warehouse.rows("select reason, line_number, row ->> 'quantity' as q from raw.rejects")
    assert rejects == [{"reason": "order_line_changed", "line_number": 2, "q": "3"}]


def test_bad_lines_are_refused_and_the_others_load(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    rows = [
        MUG,
        MUG.replace("4.25", "cheap"),
        MUG.replace("2011-07", "20111-07"),
        MUG.replace("1,", ",", 1),
        MUG.replace(",2,", ",,"),
    ]
    assert load(warehouse, settings, tmp_path / "orders.csv", *rows) == (1, 0, 4)
    reasons = warehouse.rows("select reason from raw.rejects order by line_number")
    assert [row["reason"] for row in reasons] == [
        "wrong_type: unit_price_amount", "impossible_date: ordered_at", "missing_value: order_id",
        "missing_value: quantity",
    ]  # fmt: skip


def test_real_orders_reconcile_to_the_penny(
    warehouse: Warehouse, settings_for: SettingsFor, shared_data: Path
) -> None:
    path = shared_data / "online_retail" / "online_retail.parquet"
    if not path.exists():
        pytest.skip(f"real orders not present at {path}")
    settings = settings_for(SOURCE | {"path": str(path)})
    result: BatchResult = ingest(warehouse, settings, now=NOW)[0]
    assert (result.status, result.rows_read, result.rows_loaded) == ("loaded", 541_909, 541_909)
    found = warehouse.rows("""
        select count(*) as lines, count(distinct order_id) as invoices,
            count(distinct order_id) filter (where kind = 'credit_note') as credit_notes,
            count(distinct order_id) filter (where kind = 'adjustment') as adjustments,
            count(distinct customer_id) as customers,
            count(*) filter (where customer_id is null) as of_nobody,
            count(*) filter (where kind <> 'credit_note' and quantity < 0) as stock_adjustments,
            round(sum(quantity * unit_price_amount), 2) as total
        from raw.order_lines
    """)[0]
    assert found == {
        "lines": 541_909, "invoices": 25_900, "credit_notes": 3_836, "adjustments": 3,
        "customers": 4_372, "of_nobody": 135_080, "stock_adjustments": 1_336,
        "total": Decimal("9747747.93"),
    }  # fmt: skip
    spanning = warehouse.rows("""
        select count(*) as invoices from (
            select from raw.order_lines group by order_id
            having count(distinct ordered_at) > 1
        ) as spanning
    """)[0]
    assert spanning["invoices"] == 43
    again = ingest(warehouse, settings, now=NOW)[0]
    assert again.status == "already_loaded"
