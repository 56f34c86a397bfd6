"""Building parts of the dbt project in a test's own database.

Belongs here: one way to run dbt, and the rows that every history needs. Keep out: expectations.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import yaml
from dbt.cli.main import dbtRunner

from warehouse import Warehouse

PROJECT = Path(__file__).resolve().parents[2] / "dbt_project"


def run_dbt(warehouse: Warehouse, folder: Path, *arguments: str) -> None:
    """One dbt command against the database; fails the test with the first error of each model."""
    _write_profile(warehouse, folder)
    where = ["--project-dir", str(PROJECT), "--profiles-dir", str(folder)]
    where += ["--target-path", str(folder / "target"), "--log-path", str(folder)]
    result = dbtRunner(manifest=_manifest(str(folder))).invoke(["--quiet", *arguments, *where])
    failed = [
        f"{item.node.name}: {item.message}"
        for item in (result.result.results if result.result is not None else ())
        if item.status in ("error", "fail")
    ]
    assert result.success, failed or result.exception


def set_business_time(warehouse: Warehouse, as_of: datetime) -> None:
    """Make `as_of` the workspace's time."""
    warehouse.execute("delete from raw.workspace")
    warehouse.execute(
        "insert into raw.workspace (workspace, as_of, currency, time_zone, country)"
        " values ('test', %(as_of)s, 'EUR', 'Europe/Berlin', 'DE')",
        as_of=as_of,
    )


def land_batch(warehouse: Warehouse, table: str, rows: Sequence[dict[str, Any]]) -> int:
    """Append rows to a raw table as one loaded batch; returns its id."""
    batch = warehouse.rows(
        "insert into raw.batches (source, location, content_hash, started_at, status)"
        " select 'test', 'test', 'batch ' || count(*), timestamptz '2026-01-01', 'loaded'"
        " from raw.batches returning batch_id"
    )[0]["batch_id"]
    if table == "raw.events":
        for month in sorted({row["occurred_at"].strftime("%Y-%m-01") for row in rows}):
            warehouse.execute(
                f"create table if not exists raw.events_{month[:7].replace('-', '')}"
                f" partition of raw.events for values from ('{month}')"
                f" to ('{_following(month)}')"
            )
    if rows:
        warehouse.append(table, pa.Table.from_pylist([{**row, "batch_id": batch} for row in rows]))
    return int(batch)


def link_identifiers(warehouse: Warehouse, persons: dict[str, Sequence[tuple[str, str]]]) -> None:
    """Say who is who: person -> identifiers (type, value); the first one founded the person."""
    latest = warehouse.rows(
        "select coalesce(max(resolution), 0) as latest from ml.identity_clusters"
    )
    resolution = latest[0]["latest"] + 1
    warehouse.execute("delete from ml.identity_clusters")
    clusters = [
        {
            "cluster_id": person,
            "identifier_type": kind,
            "identifier_value": value,
            "resolution": resolution,
        }
        for person, identifiers in persons.items()
        for kind, value in identifiers
    ]
    warehouse.append("ml.identity_clusters", pa.Table.from_pylist(clusters))
    warehouse.insert_missing(
        "identity.person_id_ledger",
        pa.Table.from_pylist(
            [
                {
                    "identifier_type": identifiers[0][0],
                    "identifier_value": identifiers[0][1],
                    "person_id": person,
                    "founded_at": datetime.fromisoformat("2026-01-01T00:00:00+00:00"),
                }
                for person, identifiers in persons.items()
            ]
        ),
        ["identifier_type", "identifier_value"],
    )


def _following(month: str) -> str:
    year, number = int(month[:4]), int(month[5:7])
    return f"{year + number // 12}-{number % 12 + 1:02d}-01"


def _write_profile(warehouse: Warehouse, folder: Path) -> None:
    url = urlsplit(warehouse.url)
    query = parse_qs(url.query)
    output = {
        "type": "postgres",
        "host": url.hostname or query["host"][0],
        "port": int(url.port or query["port"][0]),
        "user": url.username,
        "password": url.password or "",
        "dbname": url.path.lstrip("/"),
        "schema": "public",
        "threads": 2,
    }
    profile = {"loopdrive": {"target": "warehouse", "outputs": {"warehouse": output}}}
    (folder / "profiles.yml").write_text(yaml.safe_dump(profile))


@cache
def _manifest(folder: str) -> Any:
    """The parsed project, once a database: dbt writes its name into every node."""
    where = ["--project-dir", str(PROJECT), "--profiles-dir", folder, "--log-path", folder]
    result = dbtRunner().invoke(["--quiet", "parse", *where, "--target-path", f"{folder}/target"])
    assert result.success, result.exception
    return result.result
