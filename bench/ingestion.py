"""Ingestion of Segment events against a bare COPY of the same rows.

Belongs here: the measurement, and the events it takes. Keep out: anything ingestion needs.
"""

import json
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import yaml

from ingestion import ingest
from warehouse import Warehouse, load_settings

EVENTS = 1_000_000
PEOPLE = 20_000
SEED = 7
START = datetime(2026, 1, 1)
READ_BYTES = 1 << 20
KEYED_TABLES = ("raw.event_ids", "raw.events")

WarehouseFactory = Callable[[], AbstractContextManager[Warehouse]]


def run(warehouse_factory: WarehouseFactory, events: int = EVENTS) -> dict[str, Any]:
    """Measure; each call of the factory gives an empty, migrated warehouse.

    The bare COPY streams files in COPY's own text format into raw.event_ids and raw.events, with
    their key, index and month partitions, in one transaction. Returns seconds of both, their
    ratio (1 = as fast as COPY), and this process' peak memory while ingesting, in MiB.
    """
    with tempfile.TemporaryDirectory(prefix="loopdrive-bench-") as name:
        directory = Path(name)
        _write_events(directory / "segment" / "events.jsonl", events)
        with warehouse_factory() as warehouse:
            seconds, peak = _timed_ingest(warehouse, directory, events)
            _export(warehouse, directory)
        with warehouse_factory() as warehouse:
            bare = _timed_copy(warehouse, directory)
    return {
        "events": events,
        "ingestion_seconds": round(seconds, 2),
        "copy_seconds": round(bare, 2),
        "ratio": round(bare / seconds, 3),
        "peak_mebibytes": round(peak),
    }


def _write_events(path: Path, events: int) -> None:
    path.parent.mkdir()
    draw = random.Random(SEED)
    with path.open("w") as file:
        for number in range(events):
            moment = START + timedelta(seconds=number * 15.7 + draw.random())
            message = _message(draw, moment)
            file.write(json.dumps(message, separators=(",", ":")) + "\n")


def _message(draw: random.Random, moment: datetime) -> dict[str, Any]:
    person, product = draw.randrange(PEOPLE), draw.randrange(500)
    received = (moment + timedelta(seconds=2)).isoformat(timespec="milliseconds") + "Z"
    url = f"https://shop.example/products/{product}?utm_source=google&utm_campaign=spring"
    message: dict[str, Any] = {
        "messageId": f"{draw.getrandbits(128):032x}",
        "anonymousId": f"{person * 7919 % 100_003:06d}-{person:06d}",
        "timestamp": moment.isoformat(timespec="milliseconds") + "Z",
        "sentAt": received,
        "receivedAt": received,
        "channel": "client",
        "context": {
            "page": {"url": url, "path": f"/products/{product}", "title": f"Product {product}"},
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Safari/537.36",
            "device": {"id": f"d-{person}", "type": "desktop"},
            "locale": "en-GB",
            "timezone": "Europe/London",
        },
    }
    if person % 3 == 0:
        message["userId"] = f"u-{person}"
    return message | _kind(draw.random(), person, product, draw)


def _kind(share: float, person: int, product: int, draw: random.Random) -> dict[str, Any]:
    item = {"product_id": f"p-{product}", "price": 19.9, "quantity": 1}
    if share < 0.5:
        return {"type": "page", "name": "Product", "properties": {"path": f"/products/{product}"}}
    if share < 0.8:
        return {"type": "track", "event": "Product Viewed", "properties": item}
    if share < 0.92:
        return {"type": "track", "event": "Product Added", "properties": item}
    if share < 0.97:
        order = {"order_id": f"o-{draw.getrandbits(48):012x}", "revenue": 39.8, "currency": "GBP"}
        properties = order | {"products": [item]}
        return {"type": "track", "event": "Order Completed", "properties": properties}
    traits = {"email": f"Person{person}@Example.com", "phone": f"07700 9{person % 100_000:05d}"}
    return {"type": "identify", "traits": traits}


def _timed_ingest(warehouse: Warehouse, directory: Path, events: int) -> tuple[float, float]:
    config = directory / "loopdrive.yml"
    source = {"kind": "segment", "path": "segment/*.jsonl"}
    config.write_text(yaml.safe_dump({"workspace": "bench", "sources": [source]}))
    settings = load_settings(config, environ={})
    with peak_memory() as peak:
        begun = time.perf_counter()
        results = ingest(warehouse, settings, now=datetime(2027, 1, 1, tzinfo=UTC))
        seconds = time.perf_counter() - begun
    if [result.rows_loaded for result in results] != [events]:
        raise RuntimeError(f"expected {events} rows: {results}")
    return seconds, peak[0]


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """The highest resident size of this process in MiB, sampled 20 times a second."""
    process, peak, done = psutil.Process(), [0.0], threading.Event()

    def sample() -> None:
        while not done.wait(0.05):
            peak[0] = max(peak[0], process.memory_info().rss / 2**20)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _export(warehouse: Warehouse, directory: Path) -> None:
    """What ingestion wrote, as COPY's own text, and the partitions it made."""
    with warehouse.transaction() as connection:
        for table in KEYED_TABLES:
            with (
                (directory / table).open("wb") as file,
                connection.cursor().copy(f"copy (select * from {table}) to stdout") as stream,
            ):
                for block in stream:
                    file.write(block)
        names = connection.execute("""
            select relname as name, pg_get_expr(relpartbound, oid) as bounds from pg_class
            where relispartition and relkind = 'r' order by relname
        """).fetchall()
    (directory / "partitions.json").write_text(json.dumps(names))


def _timed_copy(warehouse: Warehouse, directory: Path) -> float:
    with warehouse.transaction() as connection:
        for part in json.loads((directory / "partitions.json").read_text()):
            connection.execute(
                f"create table raw.{part['name']} partition of raw.events {part['bounds']}"
            )
    begun = time.perf_counter()
    with warehouse.transaction() as connection:
        for table in KEYED_TABLES:
            with (
                (directory / table).open("rb") as file,
                connection.cursor().copy(f"copy {table} from stdin") as stream,
            ):
                while block := file.read(READ_BYTES):
                    stream.write(block)
    return time.perf_counter() - begun
