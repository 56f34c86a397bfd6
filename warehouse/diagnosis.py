"""What `loopdrive doctor` finds: versions, server, wall, migrations, credentials, the machine.

Belongs here: looking. Keep out: mending; each finding names the next step instead.
"""

import sys
from dataclasses import dataclass
from importlib import metadata

import psycopg

from warehouse import migrations, server
from warehouse.credentials import CREDENTIALS
from warehouse.settings import ConfigError, Settings
from warehouse.warehouse import Warehouse, open_warehouse

SHOWN_VERSIONS = ("loopdrive", "dagster", "dbt-core", "duckdb", "lightgbm", "psycopg")
OLDEST_SERVER = 16


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis."""

    topic: str
    text: str
    is_broken: bool = False
    is_warning: bool = False


def examine(settings: Settings) -> list[Finding]:
    """All findings, worst last only by reading; never raises for a broken part it can name."""
    found = [*_versions(), *_configuration(settings), *_credentials(settings)]
    try:
        warehouse = open_warehouse(settings)
    except (ConfigError, server.ServerError, migrations.MigrationError, psycopg.Error) as error:
        return [*found, Finding("database", str(error).splitlines()[0], is_broken=True)]
    return [*found, *_database(settings, warehouse), *_machine(settings)]


def _versions() -> list[Finding]:
    python = ".".join(str(part) for part in sys.version_info[:3])
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in SHOWN_VERSIONS)
    return [Finding("versions", f"Python {python}, {packages}")]


def _configuration(settings: Settings) -> list[Finding]:
    sources = ", ".join(sorted({source.kind for source in settings.sources})) or "none"
    return [
        Finding("configuration", str(settings.config_path)),
        Finding("workspace", f"{settings.workspace}, mode {settings.mode}, sources: {sources}"),
    ]


def _credentials(settings: Settings) -> list[Finding]:
    held = [var for name, var in CREDENTIALS.items() if getattr(settings.secrets, name)]
    missing = [var for name, var in CREDENTIALS.items() if not getattr(settings.secrets, name)]
    text = f"set: {', '.join(held) or 'none'}; not set: {', '.join(missing) or 'none'}"
    return [Finding("credentials", text, is_broken=settings.mode == "live" and not held)]


def _database(settings: Settings, warehouse: Warehouse) -> list[Finding]:
    facts = warehouse.rows(
        """
        select
            current_setting('server_version') as version,
            current_setting('server_version_num')::int / 10000 as major,
            pg_size_pretty(pg_database_size(current_database())) as size,
            (select string_agg(extname || ' ' || extversion, ', ' order by extname)
                from pg_extension) as extensions,
            exists (select from pg_available_extensions where name = 'vector') as has_vector
        """
    )[0]
    where = "embedded" if settings.database_url is None else "named by LOOPDRIVE_DATABASE_URL"
    applied = [row["name"] for row in warehouse.rows("select name from public.migrations")]
    return [
        Finding(
            "server",
            f"PostgreSQL {facts['version']} ({where}), {settings.database} {facts['size']}",
            is_broken=facts["major"] < OLDEST_SERVER,
        ),
        Finding(
            "extensions",
            f"{facts['extensions']}; pgvector {'available' if facts['has_vector'] else 'missing'}",
        ),
        Finding("migrations", f"{len(applied)} of {len(migrations.shipped())} applied"),
        _wall(warehouse),
    ]


def _wall(warehouse: Warehouse) -> Finding:
    for table in ("raw.events", "identity.person_id_ledger", *migrations.BEHIND_THE_WALL):
        try:
            warehouse.query_as_analyst(f"select * from {table} limit 0")
        except psycopg.errors.InsufficientPrivilege:
            continue
        return Finding("wall", f"the analyst role can read {table}", is_broken=True)
    return Finding("wall", "the analyst role cannot read identifiers or payloads")


def _machine(settings: Settings) -> list[Finding]:
    if settings.database_url is not None:
        return [Finding("machine", "nothing was changed on this machine")]
    done = [f"data under {settings.home}"]
    if user := server.system_user():
        done.append(
            f"the server runs as system user `{user}` (made on first use, because root may not "
            "run PostgreSQL); the folders above the data and the server's programs were made "
            "readable for it"
        )
    return [Finding("machine", "; ".join(done))]
