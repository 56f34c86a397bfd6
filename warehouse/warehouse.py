"""The warehouse: one object through which every room speaks to Postgres.

Belongs here: opening a workspace's database, transactions, reads and writes by table name.
Keep out: SQL of a room; it is handed in by the room that means something by it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.datetime import DateLoader, TimestampLoader, TimestamptzLoader

from warehouse import bulk, migrations, server
from warehouse.settings import ConfigError, Settings

# Any constant will do, as long as no other program locks with it in this database.
WORKSPACE_LOCK = 0x10095D81

BUILTIN_LOCALE = "locale_provider builtin builtin_locale 'C.UTF-8' lc_collate 'C' lc_ctype 'C'"

# Tables never analysed, or changed since by more rows than they had. Partitions are left out:
# they are read whole or by their index.
FILLED = """
    select relnamespace::regnamespace || '.' || relname as name
    from pg_class
    where
        relkind = 'r' and not relispartition and relpersistence = 'p'
        and relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema')
        and pg_relation_size(oid) > 0
        and (
            (
                pg_stat_get_last_analyze_time(oid) is null
                and pg_stat_get_last_autoanalyze_time(oid) is null
            )
            or pg_stat_get_mod_since_analyze(oid) > reltuples + 1000
        )
    order by name
"""


class WorkspaceBusyError(RuntimeError):
    """Another run holds this workspace."""


@dataclass(frozen=True)
class Warehouse:
    """A workspace's database. Cheap to copy, opens a connection for each piece of work."""

    url: str
    analyst_url: str | None = None

    def connect(self) -> psycopg.Connection[dict[str, Any]]:
        """A psycopg connection with rows as dicts; the caller closes it."""
        return psycopg.connect(self.url, row_factory=dict_row)

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """One transaction: committed on a clean exit, rolled back on any exception."""
        with self.connect() as connection:
            yield connection

    def read(self, query: str, **params: Any) -> pa.Table:
        """Rows as Arrow, over ADBC. numeric comes as double, jsonb as a string."""
        with self.connect() as connection:
            return bulk.read(self.url, bulk.rendered(connection, query, params))

    def table(self, table: str, where: Mapping[str, Sequence[str]] | None = None) -> pa.Table:
        """A table as Arrow, in no order; numeric comes as double, jsonb as a string.

        `where` keeps the rows whose text columns hold one of the given values.
        """
        query = sql.SQL("select * from {}").format(_name(table))
        for word, (column, values) in zip(("where", "and"), (where or {}).items(), strict=False):
            query += sql.SQL(" {} {} = any({})").format(
                sql.SQL(word), sql.Identifier(column), sql.Literal(list(values))
            )
        with self.connect() as connection:
            return bulk.read(self.url, query.as_string(connection))

    def since(self, table: str, column: str, value: int) -> pa.Table:
        """The rows of a table whose number in `column` is greater, as Arrow."""
        query = sql.SQL("select * from {} where {} > {}").format(
            _name(table), sql.Identifier(column), sql.Literal(value)
        )
        with self.connect() as connection:
            return bulk.read(self.url, query.as_string(connection))

    def matching(self, table: str, keys: pa.Table) -> pa.Table:
        """The rows of a table that hold, in the columns `keys` names, one of its rows."""
        with self.connect() as connection:
            return bulk.read_matching(self.url, _name(table).as_string(connection), keys)

    def row_count(self, table: str, connection: psycopg.Connection[Any] | None = None) -> int:
        """How many rows a table has."""
        query = sql.SQL("select count(*) as row_count from {}").format(_name(table))
        with self._inside(connection) as inside, inside.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(query).fetchone()
            return int(row["row_count"]) if row else 0

    def rows(self, query: str, **params: Any) -> list[dict[str, Any]]:
        """A small result as Python values."""
        with self.connect() as connection:
            return connection.execute(query, params or None).fetchall()

    def execute(self, statement: str, **params: Any) -> int:
        """One statement in its own transaction; returns the row count."""
        with self.transaction() as connection:
            return connection.execute(statement, params or None).rowcount

    def analyse_filled(self) -> list[str]:
        """Analyse the tables that were filled since the planner last looked; returns their names.

        Autovacuum looks once a minute. Until then a table just filled passes for empty, and a
        query of milliseconds loops over all pairs for minutes.
        """
        with self.connect() as connection:
            connection.autocommit = True
            names = [str(row["name"]) for row in connection.execute(FILLED).fetchall()]
            for name in names:
                connection.execute(sql.SQL("analyze {}").format(_name(name)))
        return names

    def append(
        self, table: str, rows: pa.Table, connection: psycopg.Connection[Any] | None = None
    ) -> int:
        """COPY rows to the end of `schema.table`."""
        with self._inside(connection) as inside:
            return bulk.copy(inside, _name(table), rows)

    def replace(
        self, table: str, rows: pa.Table, connection: psycopg.Connection[Any] | None = None
    ) -> int:
        """Make `rows` the whole content; readers see the old or the new, never less."""
        with self._inside(connection) as inside:
            inside.execute(sql.SQL("delete from {}").format(_name(table)))
            return bulk.copy(inside, _name(table), rows)

    def fill(
        self, table: str, rows: pa.Table, connection: psycopg.Connection[Any] | None = None
    ) -> int:
        """Make `rows` the whole content, much faster than `replace` when they are millions: the
        indexes are built after them. Readers wait until it is done."""
        with self._inside(connection) as inside:
            return bulk.fill(inside, _name(table), rows)

    def remove(
        self, table: str, keys: pa.Table, connection: psycopg.Connection[Any] | None = None
    ) -> int:
        """Delete the rows that hold, in the columns `keys` names, one of its rows."""
        with self._inside(connection) as inside:
            return bulk.remove(inside, _name(table), keys)

    def upsert(
        self,
        table: str,
        rows: pa.Table,
        keys: Sequence[str],
        connection: psycopg.Connection[Any] | None = None,
    ) -> int:
        """Insert, or update the rows that differ; returns how many rows changed."""
        with self._inside(connection) as inside:
            return bulk.merge(inside, _name(table), rows, keys, update=True)

    def insert_missing(
        self,
        table: str,
        rows: pa.Table,
        keys: Sequence[str],
        connection: psycopg.Connection[Any] | None = None,
    ) -> int:
        """Insert the rows whose keys are not there yet; returns how many were inserted."""
        with self._inside(connection) as inside:
            return bulk.merge(inside, _name(table), rows, keys, update=False)

    def update(
        self,
        table: str,
        rows: pa.Table,
        keys: Sequence[str],
        connection: psycopg.Connection[Any] | None = None,
    ) -> int:
        """Set the other columns of the rows that exist; returns how many were found."""
        with self._inside(connection) as inside:
            return bulk.update(inside, _name(table), rows, keys)

    def query_as_analyst(self, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """One read-only statement as the analyst role, which cannot read behind the wall."""
        if self.analyst_url is None:
            raise ConfigError("this database has no analyst role; run `loopdrive doctor`")
        with psycopg.connect(self.analyst_url) as connection:
            connection.read_only = True
            connection.adapters.register_loader("date", _Date)
            connection.adapters.register_loader("timestamp", _Timestamp)
            connection.adapters.register_loader("timestamptz", _Timestamptz)
            cursor = connection.execute(query, prepare=True)
            names = [column.name for column in cursor.description or ()]
            return names, cursor.fetchall() if names else []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the workspace: raises WorkspaceBusyError while another run does."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute("select pg_try_advisory_lock(%s)", [WORKSPACE_LOCK]).fetchone()
            if row is None or not row[0]:
                raise WorkspaceBusyError(
                    "another run holds this workspace; wait for it, or end it and try again"
                )
            yield

    @contextmanager
    def _inside(
        self, connection: psycopg.Connection[Any] | None
    ) -> Iterator[psycopg.Connection[Any]]:
        if connection is not None:
            yield connection
        else:
            with self.transaction() as own:
                yield own


class _Date(DateLoader):
    def load(self, data: Any) -> Any:
        return _endless(data) or super().load(data)


class _Timestamp(TimestampLoader):
    def load(self, data: Any) -> Any:
        return _endless(data) or super().load(data)


class _Timestamptz(TimestamptzLoader):
    def load(self, data: Any) -> Any:
        return _endless(data) or super().load(data)


def _endless(data: Any) -> str | None:
    """Moments that Python has no value for stay the words that they are."""
    text = bytes(data)
    return text.decode() if text in (b"infinity", b"-infinity") else None


def open_warehouse(settings: Settings) -> Warehouse:
    """The settings' database: server started, database made, migrations applied, roles granted.

    Raises ServerError when the embedded server cannot start, ConfigError when a named server
    does not answer.
    """
    warehouse = Warehouse(url=database_url(settings, settings.database))
    _ensure_database(settings, settings.database)
    migrations.apply(warehouse.url)
    password = settings.person_key.hex()[:32] if settings.database_url else None
    role = migrations.grant_analyst(warehouse.url, f"{settings.database}_analyst", password)
    return replace(warehouse, analyst_url=_as_user(warehouse.url, role, password))


def dagster_url(settings: Settings) -> str:
    """The URL of Dagster's storage, with the driver its SQLAlchemy needs; the database is made."""
    database = f"{settings.database}_dagster"
    _ensure_database(settings, database)
    return database_url(settings, database).replace("postgresql://", "postgresql+psycopg2://", 1)


def database_url(settings: Settings, database: str) -> str:
    """The libpq URL of one database on the settings' server; starts the embedded one."""
    if settings.database_url is None:
        return server.start(settings.home).url(database)
    parts = urlsplit(settings.database_url.get_secret_value())
    return urlunsplit(parts._replace(path=f"/{database}"))


def create_database(connection: psycopg.Connection[Any], name: str) -> None:
    """Make an empty database, over a connection that commits by itself.

    From PostgreSQL 17 on, Postgres itself orders its text by code points: the same on every
    machine, and half a million keys of 32 characters are sorted in 0.4 s where the C library's
    C.UTF-8 takes 1.3 s.
    """
    locale = BUILTIN_LOCALE if connection.info.server_version >= 170000 else ""
    statement = sql.SQL("create database {} encoding 'UTF8' template template0 {}")
    connection.execute(statement.format(sql.Identifier(name), sql.SQL(locale)))


def _ensure_database(settings: Settings, database: str) -> None:
    maintenance = (
        settings.database_url.get_secret_value()
        if settings.database_url is not None
        else database_url(settings, "postgres")
    )
    try:
        with psycopg.connect(maintenance, autocommit=True, connect_timeout=20) as connection:
            query = "select 1 from pg_database where datname = %s"
            if connection.execute(query, [database]).fetchone() is None:
                create_database(connection, database)
    except psycopg.errors.DuplicateDatabase:
        return  # another process was first
    except psycopg.OperationalError as error:
        host = urlsplit(maintenance).hostname or "the embedded server"
        raise ConfigError(f"cannot reach the database on {host}: {_first_line(error)}") from error


def _as_user(url: str, user: str, password: str | None) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rsplit("@", 1)[-1]
    login = user if password is None else f"{user}:{password}"
    return urlunsplit(parts._replace(netloc=f"{login}@{host}"))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _name(table: str) -> sql.Composable:
    schema, _, name = table.partition(".")
    if not name:
        raise ValueError(f"{table}: write schema.table")
    return sql.Identifier(schema, name)
