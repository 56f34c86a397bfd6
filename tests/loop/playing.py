"""Playing a small market from nothing, and taking the fingerprints of what it leaves.

Belongs here: homes, days, row hashes, the stand-ins' logs. Keep out: assertions.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import dagster as dg
import yaml
from psycopg import sql

from dagster_project import loop
from dagster_project.cli.run import play
from warehouse import (
    Settings,
    Warehouse,
    adopt_settings,
    business_time,
    load_settings,
    open_warehouse,
    server,
)

SCHEMAS = (
    "raw", "staging", "identity", "marts", "features", "ml", "activation", "delivery",
)  # fmt: skip
# The one table that tells wall time; staging repeats it.
TELLS_WALL_TIME = ("raw.batches", "staging.stg_raw__batches")
PERSONS = (["identity", "person_identifiers"], ["identity", "edges"])
Hashes = dict[str, tuple[int, str]]


@dataclass
class Home:
    """A workspace in a folder of its own: what was played there, and by which runs."""

    settings: Settings
    instance: dg.DagsterInstance
    days: list[loop.Day] = field(default_factory=list)
    hashes: dict[datetime, Hashes] = field(default_factory=dict)
    requests: dict[datetime, int] = field(default_factory=dict)

    @property
    def warehouse(self) -> Warehouse:
        """The workspace's database, with the analyst's role."""
        return open_warehouse(self.settings)

    @property
    def sandbox(self) -> Path:
        """Where the stand-ins keep their logs."""
        return self.settings.workspace_home / "sandbox"

    @property
    def truth(self) -> Path:
        """Where the market keeps what is really so."""
        return self.settings.workspace_home / "truth"

    @property
    def last(self) -> datetime:
        """Business time of the last configured day."""
        assert self.settings.as_of is not None
        return self.settings.as_of

    def play(self, *moments: datetime) -> None:
        """Play these days; after each, keep its row hashes and the requests made until then."""
        for moment in moments:
            with adopted(self.settings):
                self.days += play([moment], self.instance)
            self.hashes[moment] = row_hashes(self.warehouse)
            self.requests[moment] = len(self.logged("requests"))

    def planned(self, days: int) -> list[datetime]:
        """Moments of the last `days` days."""
        return business_time.days_ending(self.last, days, self.settings.time_zone)

    def logged(self, name: str) -> list[dict[str, Any]]:
        """Lines of one of the stand-ins' logs."""
        path = self.sandbox / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def resolve_persons(home: Home) -> None:
    """Execute the assets that persons and their edges need, for the last day, without checks."""
    wanted = dg.AssetSelection.assets(*PERSONS).upstream().required_multi_asset_neighbors()
    part = dg.define_asset_job(
        "persons", wanted.without_checks(), executor_def=dg.in_process_executor
    )
    with adopted(home.settings):
        everything = dg.Definitions.merge(loop.definitions(), dg.Definitions(jobs=[part]))
        job = everything.resolve_job_def("persons")
        loop.execute(job, home.instance, home.last, lambda _step, _done: None)


@contextmanager
def new_home(config: Mapping[str, Any] | None = None) -> Iterator[Home]:
    """The shipped market with other settings, in a folder that is removed afterwards.

    The folder's name is short: the server's socket lies inside, and its path has a limit.
    """
    folder = Path(tempfile.mkdtemp(prefix="loopdrive-loop-"))
    try:
        path = folder / "loopdrive.yml"
        path.write_text(yaml.safe_dump(market_config(config or {}), sort_keys=False))
        settings = load_settings(path, environ={})
        yield Home(settings, dg.DagsterInstance.ephemeral(str(folder)))
    finally:
        server.stop(folder / ".loopdrive")
        shutil.rmtree(folder, ignore_errors=True)


def market_config(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The shipped market's configuration with other keys; `simulation` is merged, None is none."""
    shipped = load_settings(None, environ={"LOOPDRIVE_HOME": "unused"})
    config = yaml.safe_load(shipped.config_path.read_text(encoding="utf-8"))
    changed = changes.get("simulation", {})
    simulation = None if changed is None else config["simulation"] | dict(changed)
    return config | dict(changes) | {"simulation": simulation}


@contextmanager
def adopted(settings: Settings) -> Iterator[None]:
    """Make these the process's settings for a while, as the command line does for good."""
    with mock.patch.dict(os.environ):
        os.environ.pop("LOOPDRIVE_MODE", None)
        os.environ.pop("LOOPDRIVE_DATABASE_URL", None)
        adopt_settings(settings)
        yield


def relations(warehouse: Warehouse, schemas: tuple[str, ...] = SCHEMAS) -> list[str]:
    """Every table and view as `schema.name`; a partitioned table once."""
    rows = warehouse.rows(
        """
        select nspname || '.' || relname as name
        from pg_class join pg_namespace on pg_namespace.oid = relnamespace
        where nspname = any(%(schemas)s) and relkind in ('r', 'v', 'm', 'p')
            and not relispartition
        order by 1
        """,
        schemas=list(schemas),
    )
    return [row["name"] for row in rows]


def row_hashes(warehouse: Warehouse) -> Hashes:
    """Rows and a digest over all rows, whatever their order, of every table but raw.batches."""
    query = sql.SQL(
        "select count(*) as rows, coalesce(md5(string_agg(line, '' order by line)), '') as digest"
        ' from (select md5(content::text) collate "C" as line from {} as content) as lines'
    )
    hashes = {}
    with warehouse.connect() as connection:
        for name in relations(warehouse):
            if name in TELLS_WALL_TIME:
                continue
            table = sql.Identifier(*name.split(".", 1))
            row = connection.execute(query.format(table)).fetchone()
            assert row is not None
            hashes[name] = (row["rows"], row["digest"])
    return hashes


def differing(left: Hashes, right: Hashes) -> list[str]:
    """Names of the tables whose rows differ."""
    return sorted(name for name in left | right if left.get(name) != right.get(name))
