"""CSV and Parquet sources: columns, types, versions, and a verdict for bad input."""

import gzip
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ingestion import BatchResult, ingest
from tests.ingestion.landed_files import NOW, SettingsFor
from warehouse import Settings, Warehouse

HEADERS = {
    "crm_contacts": "contact_id,email,phone,first_name,country,birth_date,updated_at,user_id",
    "crm_consents": "identifier_type,identifier_value,channel,scope,status,regulation,evidence,"
    "recorded_at",
    "crm_deals": "deal_id,contact_id,stage,amount,created_at,closed_at,is_won",
    "products": "product_id,name,category,price_amount,in_stock",
    "ad_spend": "date,platform,account_id,campaign_id,channel,impressions,clicks,spend_amount,"
    "currency",
    "currency_rates": "date,currency,rate_to_workspace",
}


def write(folder: Path, kind: str, *rows: str, name: str = "a.csv") -> Path:
    path = folder / kind / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([HEADERS[kind], *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def settings(settings_for: SettingsFor) -> Settings:
    return settings_for(*({"kind": kind, "path": f"{kind}/*"} for kind in HEADERS))


def load(warehouse: Warehouse, settings: Settings) -> list[BatchResult]:
    results = ingest(warehouse, settings, now=NOW)
    for result in results:
        parts = result.rows_loaded + result.rows_duplicate + result.rows_rejected
        assert result.rows_read == parts
    return results


def counts(result: BatchResult) -> tuple[int, int, int]:
    return result.rows_loaded, result.rows_duplicate, result.rows_rejected


def reasons(warehouse: Warehouse) -> list[tuple[int, str]]:
    rows = warehouse.rows("select line_number, reason from raw.rejects order by reject_id")
    return [(row["line_number"], row["reason"]) for row in rows]


def test_contacts_are_normalised_and_keep_what_has_no_column(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    write(
        tmp_path, "crm_contacts",
        '7.0, Ada@Example.COM ,07700 900123,"Ada, the first",GB,1915-12-10,2026-01-01 10:00,u-7',
        "8,not an address,12,Bo,DE,1980-02-30,2026-01-01T10:00:00+02:00,",
        "9,bo@example.org,030 901820,Bo,DE,1980-02-29,2026-01-01T10:00:00+02:00,",
    )  # fmt: skip
    assert counts(load(warehouse, settings)[0]) == (2, 0, 1)
    assert reasons(warehouse) == [(3, "wrong_type: birth_date")]
    first, second = warehouse.rows("select * from raw.crm_contacts order by contact_id")
    assert (first["contact_id"], first["email"]) == ("7", "ada@example.com")
    assert (first["phone"], first["first_name"]) == ("+447700900123", "Ada, the first")
    assert first["properties"] == {"user_id": "u-7"}
    assert second["phone"] == "+4930901820"
    assert second["updated_at"].isoformat() == "2026-01-01T08:00:00+00:00"
    assert second["properties"] is None


def test_contact_points_that_are_none_are_kept_apart(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    write(tmp_path, "crm_contacts", "8,not an address,12,Bo,DE,,2026-01-01,")
    load(warehouse, settings)
    row = warehouse.rows("select email, phone, properties from raw.crm_contacts")[0]
    assert (row["email"], row["phone"]) == (None, None)
    assert row["properties"] == {"email_as_given": "not an address", "phone_as_given": "12"}


def test_contact_versions_append_and_equal_ones_are_duplicates(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    first = "1,a@example.com,,Ada,GB,,2026-01-01,u-1"
    write(tmp_path, "crm_contacts", first, first, "2,b@example.com,,Bo,GB,,2026-01-01,")
    write(
        tmp_path, "crm_contacts",
        first, "1,a@example.com,,Ada,GB,,2026-01-02,u-1", "2,b@example.com,,Bob,GB,,2026-01-01,",
        "3,c@example.com,,C,GB,,2026-01-01,", "3,c@example.com,,Cy,GB,,2026-01-01,",
        name="b.csv",
    )  # fmt: skip
    first_file, second_file = load(warehouse, settings)
    assert counts(first_file) == (2, 1, 0)
    assert counts(second_file) == (3, 1, 1)
    assert reasons(warehouse) == [(5, "superseded_in_file")]
    names = warehouse.rows("select first_name from raw.crm_contacts where contact_id = '3'")
    assert names == [{"first_name": "Cy"}]


def test_consents_know_no_versions_and_normalise_what_they_are_about(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    rows = [
        "email,Ada@Example.com,email,marketing,granted,gdpr,form,2026-01-01T00:00:00Z",
        "email,ada@example.com,email,marketing,granted,gdpr,other form,2026-01-01T00:00:00Z",
        "phone,07700 900123,sms,marketing,revoked,gdpr,,2026-01-02T00:00:00Z",
        "phone,nobody,sms,marketing,revoked,gdpr,,2026-01-02T00:00:00Z",
        "email,ada@example.com,email,marketing,maybe,gdpr,,2026-01-03T00:00:00Z",
        "email,,email,marketing,granted,gdpr,,2026-01-03T00:00:00Z",
        "email,ada@example.com,email,marketing,revoked,gdpr,,20111-01-03T00:00:00Z",
    ]
    write(tmp_path, "crm_consents", *rows)
    write(tmp_path, "crm_consents", *rows[:3], name="b.csv")
    first, second = load(warehouse, settings)
    assert counts(first) == (2, 1, 4)
    assert counts(second) == (0, 3, 0)
    assert [reason for _, reason in reasons(warehouse)] == [
        "wrong_type: identifier_value",
        "unknown_value: status",
        "missing_value: identifier_value",
        "impossible_date: recorded_at",
    ]
    values = warehouse.rows("select identifier_value as v, evidence from raw.crm_consents")
    assert {row["v"] for row in values} == {"ada@example.com", "+447700900123"}
    assert "form" in {row["evidence"] for row in values}


def test_a_deal_that_returns_to_an_earlier_state_is_a_new_version(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    won = "d-1,c-1,won,100.50,2026-01-01,2026-01-05,true"
    lost = "d-1,c-1,lost,100.50,2026-01-01,2026-01-06,false"
    for number, row in enumerate([won, lost, won]):
        write(tmp_path, "crm_deals", row, f"x-{number},c,open,,2026-01-01,,", name=f"{number}.csv")
    assert [counts(result) for result in load(warehouse, settings)] == [(2, 0, 0)] * 3
    stages = warehouse.rows("select stage from raw.crm_deals where deal_id='d-1' order by batch_id")
    assert [row["stage"] for row in stages] == ["won", "lost", "won"]


def test_later_spend_wins_and_the_unchanged_is_a_duplicate(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    write(tmp_path, "ad_spend", "2026-02-01,meta,1,c1,paid_social,100,5,10.00,GBP",
          "2026-02-02,meta,1,c1,paid_social,100,5,10.00,GBP")  # fmt: skip
    write(tmp_path, "ad_spend", "2026-02-01,meta,1,c1,paid_social,100,5,10,GBP",
          "2026-02-02,meta,1,c1,paid_social,140,7,12.00,GBP",
          "2026-02-03,meta,1,c1,paid_social,1.5,7,12.00,GBP",
          "2026-02-03,meta,1,c1,paid_social,many,7,12.00,GBP",
          "2026-02-03,meta,1,c1,paid_social,15,7,12.00,XXX", name="b.csv")  # fmt: skip
    first, second = load(warehouse, settings)
    assert counts(first) == (2, 0, 0)
    assert counts(second) == (1, 1, 3)
    assert [reason for _, reason in reasons(warehouse)] == [
        "wrong_type: impressions", "wrong_type: impressions", "unknown_currency: currency",
    ]  # fmt: skip


def test_products_and_rates(warehouse: Warehouse, settings: Settings, tmp_path: Path) -> None:
    write(tmp_path, "products", "p1,Mug,Kitchen,4.5,yes", "p2,Cup,Kitchen,free,no", "p3,,,1,1")
    write(tmp_path, "currency_rates", "2026-01-01,eur,0.86", "2026-01-01,USD,0",
          "0211-01-01,USD,1")  # fmt: skip
    results = {result.source: result for result in load(warehouse, settings)}
    assert counts(results["products"]) == (1, 0, 2)
    assert counts(results["currency_rates"]) == (1, 0, 2)
    product = warehouse.rows("select * from raw.products")[0]
    assert (product["currency"], product["in_stock"]) == ("GBP", True)
    assert sorted(reason for _, reason in reasons(warehouse)) == [
        "impossible_date: date", "missing_value: name", "not_positive: rate_to_workspace",
        "wrong_type: price_amount",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"\n", "the header line is empty"),
        (
            b"product_ID,title\np,x\n",
            "column name is missing; present are product_ID, title",
        ),
        (
            b"product_id,product_name\np,x\n",
            "column name is missing; the nearest present is product_name",
        ),
        (b"product_id,name,name\np,x,y\n", "the header names a column twice"),
        (b'product_id,name\np1,"open\np2,Mug\np3,Cup\n', "line 2: a quote is never closed"),
        (b"product_id,n\xe4me\np,x\n", "the header line is not UTF-8"),
        ("product_id,name\np,x\n".encode("utf-16"), "the file is UTF-16; expected UTF-8"),
        (gzip.compress(b"product_id,name\np,x\n" * 999)[:60], "the gzip file is truncated"),
        (b"\x1f\x8bnonsense", "the gzip file is damaged"),
    ],
    ids=range(10),
)
def test_a_file_that_cannot_be_read_fails_alone(
    warehouse: Warehouse, settings: Settings, tmp_path: Path, content: bytes, cause: str
) -> None:
    write(tmp_path, "products", "p9,Mug,,,", name="z.csv")
    (tmp_path / "products" / "a.csv").write_bytes(content)
    failed, good = load(warehouse, settings)
    assert (failed.status, good.status) == ("failed", "loaded")
    assert failed.reason == f"{tmp_path}/products/a.csv: {cause}"
    assert warehouse.rows("select count(*) as n from raw.products")[0]["n"] == 1


def test_a_column_renamed_from_one_day_to_the_next_is_named_with_its_mapping(
    warehouse: Warehouse, settings_for: SettingsFor, tmp_path: Path
) -> None:
    settings = settings_for(
        {
            "kind": "products",
            "path": "items-*.csv",
            "mapping": {"product_id": "SKU", "name": "Title", "price_amount": "Price"},
        }
    )
    (tmp_path / "items-1.csv").write_text("SKU,Title,Price\np1,Mug,4.5\n")
    (tmp_path / "items-2.csv").write_text("SKU,Title,Unit Price\np2,Cup,3\n")
    first, second = load(warehouse, settings)
    assert first.rows_loaded == 1
    assert second.reason is not None
    assert second.reason.endswith("column Price is missing; the nearest present is Unit Price")


def test_a_mapping_to_a_column_that_does_not_exist_names_the_nearest(
    warehouse: Warehouse, settings_for: SettingsFor, tmp_path: Path
) -> None:
    mapping = {"product_idd": "SKU"}
    settings = settings_for({"kind": "products", "path": "a.csv", "mapping": mapping})
    (tmp_path / "a.csv").write_text("SKU,name\np1,Mug\n")
    result = load(warehouse, settings)[0]
    assert result.reason is not None
    assert "products has no column product_idd; the nearest present is product_id" in result.reason


def test_torn_rows_are_rejects_with_their_line(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "products" / "a.csv"
    path.parent.mkdir()
    path.write_bytes(
        b"\xef\xbb\xbfproduct_id,name\r\np1,Mug\r\np2\r\np3,Cup,more\r\np4,M\xfcsli\r\n"
        b'p5,"two\r\nlines"\r\n'
    )
    assert counts(load(warehouse, settings)[0]) == (2, 0, 3)
    assert reasons(warehouse) == [
        (3, "missing_columns"), (4, "too_many_columns"), (5, "not_utf8"),
    ]  # fmt: skip
    names = warehouse.rows("select name from raw.products order by product_id")
    assert [row["name"] for row in names] == ["Mug", "two\r\nlines"]


def test_parquet_gzip_and_plain_csv_give_the_same_rows(
    warehouse: Warehouse, settings_for: SettingsFor, tmp_path: Path
) -> None:
    text = "product_id,name,price_amount,in_stock\np1,Mug,4.5,true\np2,Cup,,false\n"
    (tmp_path / "a.csv").write_text(text)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(text.encode()))
    with duckdb.connect() as session:
        session.execute(
            f"copy (select * from '{tmp_path}/a.csv') to '{tmp_path}/c.parquet' (format parquet)"
        )
    results: list[Any] = []
    for name in ("a.csv", "b.csv.gz", "c.parquet"):
        results += load(warehouse, settings_for({"kind": "products", "path": name}))
    assert [counts(result) for result in results] == [(2, 0, 0), (0, 2, 0), (0, 2, 0)]


def test_local_times_and_formats_are_the_sources_own(
    warehouse: Warehouse, settings_for: SettingsFor, tmp_path: Path
) -> None:
    settings = settings_for(
        {
            "kind": "crm_deals",
            "path": "a.csv",
            "options": {
                "time_zone": "America/New_York",
                "timestamp_format": "%m/%d/%Y %H:%M",
                "delimiter": ";",
            },
        }
    )
    (tmp_path / "a.csv").write_text(
        "deal_id;contact_id;stage;created_at\n1;c;open;7/4/2025 12:00\n2;c;open;2025-07-04\n"
    )
    assert counts(load(warehouse, settings)[0]) == (1, 0, 1)
    row = warehouse.rows("select created_at from raw.crm_deals")[0]
    assert row["created_at"].isoformat() == "2025-07-04T16:00:00+00:00"


def test_a_second_run_changes_nothing_but_batches(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    write(tmp_path, "products", "p1,Mug,Kitchen,4.5,yes", "p2,Cup,Kitchen,free,no")
    write(tmp_path, "currency_rates", "2026-01-01,EUR,0.86")
    load(warehouse, settings)
    tables = ("raw.products", "raw.currency_rates", "raw.rejects")
    queries = [f"select * from {table} order by 1" for table in tables]
    before = [warehouse.rows(query) for query in queries]
    assert {result.status for result in load(warehouse, settings)} == {"already_loaded"}
    assert [warehouse.rows(query) for query in queries] == before
