"""Around real orders the companion invents what they lack, and never an order."""

import gzip
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sandbox
from sandbox import orders_companion

AS_OF = datetime(2011, 3, 1, 6, tzinfo=UTC)


@dataclass(frozen=True)
class Simulation:
    orders: Path
    kind: str = "orders"
    people: int = 0
    days: int = 0
    seed: int = 11


def _order_file(path: Path, lines: int = 1_000) -> Path:
    """Write order lines with the faults of the real ones: nobody's lines, credit notes."""
    rng = np.random.default_rng(5)
    invoice = np.sort(rng.integers(0, lines // 8, lines))
    start = datetime(2010, 12, 1, 8)
    customer = 12_000 + invoice % 60
    table = pa.table(
        {
            "InvoiceNo": [f"{'C' if n % 17 == 0 else ''}{536_000 + n}" for n in invoice],
            "StockCode": [f"2{code:04d}A" for code in rng.integers(0, 80, lines)],
            "Description": ["WHITE METAL LANTERN"] * lines,
            "Quantity": rng.integers(1, 12, lines),
            "InvoiceDate": [start + timedelta(hours=int(n) * 19) for n in invoice],
            "UnitPrice": np.round(rng.lognormal(1, 0.5, lines), 2),
            "CustomerID": [None if n % 9 == 0 else f"{c}.0" for n, c in zip(
                invoice.tolist(), customer.tolist(), strict=True)],
            "Country": ["United Kingdom"] * lines,
        }
    )  # fmt: skip
    pq.write_table(table, path)
    return path


def _events(home: Path) -> list[dict]:
    return [
        json.loads(line)
        for path in sorted((home / "landing" / "segment").glob("*.gz"))
        for line in gzip.open(path, "rt", encoding="utf-8")
    ]


def _csv(home: Path, kind: str) -> list[dict]:
    paths = sorted((home / "landing" / kind).glob("*.csv"))
    with duckdb.connect() as connection:
        read = "select * from read_csv($paths, all_varchar = true, union_by_name = true)"
        found = connection.sql(read, params={"paths": [str(path) for path in paths]})
        return found.to_arrow_table().to_pylist()


def _hashes(home: Path) -> dict[str, str]:
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((home / "landing").rglob("*.*"))
    }


@pytest.fixture
def simulation(tmp_path: Path) -> Simulation:
    return Simulation(_order_file(tmp_path / "orders.parquet"))


def test_every_customer_number_gets_one_card_of_its_own(simulation, tmp_path):
    sandbox.found(simulation, tmp_path, AS_OF, "GBP")
    contacts = _csv(tmp_path, "crm_contacts")
    numbers = {row["contact_id"] for row in contacts}
    lines = pq.read_table(simulation.orders)["CustomerID"].to_pylist()
    assert numbers == {line.removesuffix(".0") for line in lines if line}
    assert len({row["email"] for row in contacts}) == len(contacts)
    assert all(row["email"].rpartition("@")[2].endswith(("example.com", "example.org",
               "example.net")) for row in contacts)  # fmt: skip


def test_no_purchase_is_invented(simulation, tmp_path):
    sandbox.found(simulation, tmp_path, AS_OF, "GBP")
    events = _events(tmp_path)
    assert {event.get("event") or event["type"] for event in events} == {"page", "Product Viewed"}
    assert all(event["context"]["library"]["name"] == "simulated" for event in events)


def test_visits_come_shortly_before_real_orders_and_never_after_as_of(simulation, tmp_path):
    sandbox.found(simulation, tmp_path, AS_OF, "GBP")
    cards = {row["user_id"]: row["contact_id"] for row in _csv(tmp_path, "crm_contacts")}
    orders: dict[str, list[datetime]] = {}
    for row in pq.read_table(simulation.orders).to_pylist():
        if row["CustomerID"]:
            moment = row["InvoiceDate"].replace(tzinfo=UTC)  # London keeps UTC in winter
            orders.setdefault(row["CustomerID"].removesuffix(".0"), []).append(moment)
    landings = [event for event in _events(tmp_path) if event["type"] == "page"]
    assert len(landings) > 40
    for event in landings:
        at = datetime.fromisoformat(event["timestamp"])
        ahead = [order - at for order in orders[cards[event["userId"]]]]
        assert any(timedelta(0) < gap < timedelta(minutes=31) for gap in ahead)
        assert at < AS_OF
    paid = [e for e in landings if "clid=" in e["context"]["page"]["url"]]
    assert 0.15 < len(paid) / len(landings) < 0.55


def test_living_twice_gives_the_same_bytes(simulation, tmp_path):
    sandbox.found(simulation, tmp_path, AS_OF, "GBP")
    first = sandbox.live(simulation, tmp_path, AS_OF + timedelta(days=1), "GBP")
    assert first
    before = _hashes(tmp_path)
    assert sandbox.live(simulation, tmp_path, AS_OF + timedelta(days=1), "GBP") == []
    (tmp_path / "sandbox" / "state" / "companion.json").unlink()
    sandbox.found(simulation, tmp_path, AS_OF, "GBP")
    sandbox.live(simulation, tmp_path, AS_OF + timedelta(days=1), "GBP")
    assert _hashes(tmp_path) == before


def test_readers_answer_with_webhooks_and_landings(simulation, tmp_path):
    sandbox.found(simulation, tmp_path, AS_OF, "GBP")
    contacts = _csv(tmp_path, "crm_contacts")
    log = tmp_path / "sandbox" / "accepted.jsonl"
    with log.open("w") as lines:
        for row in contacts * 4:
            key = hashlib.sha256(f"{row['email']}{lines.tell()}".encode()).hexdigest()
            message = {"provider": "sendgrid", "provider_message_id": key[:20],
                       "message_key": key, "channel": "email", "address": row["email"],
                       "program": "abandoned_cart", "arm": "email_10_discount",
                       "accepted_at": (AS_OF + timedelta(hours=6)).isoformat()}  # fmt: skip
            lines.write(json.dumps(message) + "\n")
    for day in (1, 2, 3):
        sandbox.live(simulation, tmp_path, AS_OF + timedelta(days=day), "GBP")
    told = [
        json.loads(line)["payload"]
        for path in (tmp_path / "landing" / "provider_events").glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    delivered = {event["message_key"] for event in told if event["event"] == "delivered"}
    clicked = {event["message_key"] for event in told if event["event"] == "click"}
    assert len(delivered) > 0.95 * len(contacts) * 4
    landed = [e for e in _events(tmp_path) if e["context"].get("campaign")]
    assert 0 < len(landed) <= len(clicked)
    assert {event["context"]["campaign"]["name"] for event in landed} == {"abandoned_cart"}
    assert not any("revenue" in event["properties"] for event in landed)


def test_a_missing_order_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.parquet"):
        orders_companion.found(Simulation(tmp_path / "gone.parquet"), tmp_path, AS_OF)


def test_the_real_orders_get_their_world(shared_data, tmp_path):
    path = shared_data / "online_retail" / "online_retail.parquet"
    if not path.exists():
        pytest.skip(f"real orders not present at {path}")
    as_of = datetime(2011, 12, 9, 6, tzinfo=UTC)
    sandbox.found(Simulation(path), tmp_path, as_of, "GBP")
    sandbox.live(Simulation(path), tmp_path, as_of + timedelta(days=1), "GBP")
    assert len(_csv(tmp_path, "crm_contacts")) == 4_372
    events = _events(tmp_path)
    assert sum(event["type"] == "page" for event in events) > 18_000
    assert max(event["timestamp"] for event in events) < "2011-12-10T06:00"
