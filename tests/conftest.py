"""Fixtures that all rooms share: a real Postgres, a fresh migrated database for each test.

Belongs here: what more than one room's tests need. Keep out: data of one room.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from warehouse import Warehouse, migrations, server
from warehouse.warehouse import create_database

SHARED_DATA = Path(
    os.environ.get("LOOPDRIVE_SHARED_DATA")
    or Path(__file__).resolve().parents[2] / "shared" / "data"
)
TEMPLATE = "loopdrive_template"


@pytest.fixture(scope="session")
def postgres() -> Iterator[server.Server]:
    """The embedded server in a directory of its own, gone when the session ends."""
    home = Path(tempfile.mkdtemp(prefix="loopdrive-tests-"))
    try:
        running = server.start(home)
        with psycopg.connect(running.url("postgres"), autocommit=True) as connection:
            connection.execute("alter system set fsync = off")
            connection.execute("select pg_reload_conf()")
            create_database(connection, TEMPLATE)
        migrations.apply(running.url(TEMPLATE))
        yield running
    finally:
        server.stop(home)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def warehouse(postgres: server.Server) -> Iterator[Warehouse]:
    """An empty, migrated database, cloned from a template and dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    maintenance = postgres.url("postgres")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"create database {name} template {TEMPLATE} strategy file_copy")
    try:
        yield Warehouse(url=postgres.url(name))
    finally:
        with psycopg.connect(maintenance, autocommit=True) as connection:
            connection.execute(f"drop database {name} with (force)")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; skips, saying so, where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real data not present at {SHARED_DATA}; set LOOPDRIVE_SHARED_DATA")
    return SHARED_DATA
