"""Migrations of the tables dbt does not own, and the analyst's wall.

Belongs here: applying `migrations/*.sql` once each, in order, under a lock; grants.
Keep out: data. A migration changes shapes; rows are written by the room that owns them.
"""

import hashlib
from importlib import resources

import psycopg
from psycopg import sql

MIGRATION_LOCK = 0x10095D82
DBT_SCHEMAS = ("staging", "marts", "features", "activation")
OPEN_SCHEMAS = ("marts", "features", "ml", "activation", "delivery")
# Tables inside open schemas that hold identifiers or addresses.
BEHIND_THE_WALL = (
    "ml.identity_verdicts",
    "ml.identity_clusters",
    "ml.identity_moves",
    "delivery.payloads",
)


class MigrationError(RuntimeError):
    """A migration that was applied is no longer the file that is shipped."""


def apply(url: str) -> list[str]:
    """Apply what is missing; returns the names applied. Idempotent, safe from several processes."""
    with psycopg.connect(url) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", [MIGRATION_LOCK])
        connection.execute(
            "create table if not exists public.migrations (name text primary key, digest text)"
        )
        applied: dict[str, str] = dict(
            connection.execute("select name, digest from public.migrations").fetchall()
        )
        missing = []
        for name, text in shipped():
            digest = hashlib.sha256(text.encode()).hexdigest()
            if name not in applied:
                connection.execute(sql.SQL(text))
                connection.execute("insert into public.migrations values (%s, %s)", [name, digest])
                missing.append(name)
            elif applied[name] != digest:
                raise MigrationError(
                    f"migration {name} was changed after it was applied to this database; "
                    "write a new migration instead"
                )
        for schema in DBT_SCHEMAS:
            statement = sql.SQL("create schema if not exists {}")
            connection.execute(statement.format(sql.Identifier(schema)))
    return missing


def shipped() -> list[tuple[str, str]]:
    """Names and texts of the migrations in this version, in order."""
    folder = resources.files("warehouse") / "migrations"
    files = [item for item in folder.iterdir() if item.name.endswith(".sql")]
    return [(f.name, f.read_text(encoding="utf-8")) for f in sorted(files, key=lambda f: f.name)]


def grant_analyst(url: str, role: str, password: str | None) -> str:
    """Make the analyst's login role and let it read all schemas but those behind the wall.

    Default privileges cover the tables dbt will make later. Returns the role's name.
    """
    name = sql.Identifier(role)
    with psycopg.connect(url) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", [MIGRATION_LOCK])
        if (
            connection.execute("select 1 from pg_roles where rolname = %s", [role]).fetchone()
            is None
        ):
            connection.execute(sql.SQL("create role {} login").format(name))
        if password is not None:
            statement = sql.SQL("alter role {} password {}")
            connection.execute(statement.format(name, sql.Literal(password)))
        for schema in OPEN_SCHEMAS:
            for statement_text in (
                "grant usage on schema {schema} to {role}",
                "grant select on all tables in schema {schema} to {role}",
                "alter default privileges in schema {schema} grant select on tables to {role}",
            ):
                statement = sql.SQL(statement_text)
                connection.execute(statement.format(schema=sql.Identifier(schema), role=name))
        for table in BEHIND_THE_WALL:
            statement = sql.SQL("revoke all on table {} from {}")
            connection.execute(statement.format(sql.Identifier(*table.split(".")), name))
    return role
