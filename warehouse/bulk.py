"""Arrow in and out of Postgres, in bulk.

Belongs here: COPY from Arrow tables, keyed upserts through a temporary table, ADBC reads.
Keep out: what the rows mean.
"""

import io
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from psycopg import sql
from psycopg.rows import tuple_row

# 64 MiB of CSV at a time bounds the client's memory whatever the table's size.
COPY_ROWS = 200_000
# What sorts the keys of five million rows without going to disk.
FILL_MEMORY = "512MB"


def read(url: str, query: str) -> pa.Table:
    """Run one query over ADBC.

    numeric comes back as double, jsonb and other types Arrow does not know as strings.
    """
    with _sessions.session(url).cursor() as cursor:
        cursor.execute(query)
        return plain(cursor.fetch_arrow_table())


def read_matching(url: str, table: str, keys: pa.Table) -> pa.Table:
    """The rows of a (quoted) table that hold, in the columns `keys` names, one of its rows.

    The keys go into a temporary table, so the server chooses: an index for a few of them, a hash
    join for many. Keys without null, each once.
    """
    if keys.num_rows == 0:
        return read(url, f"select * from {table} where false")
    names = ", ".join(f'"{name}"' for name in keys.column_names)
    with _sessions.session(url).cursor() as cursor:
        cursor.adbc_ingest("wanted_keys", keys, mode="create", temporary=True)
        try:
            cursor.execute("analyze pg_temp.wanted_keys")
            cursor.execute(
                f"select held.* from {table} as held inner join pg_temp.wanted_keys using ({names})"
            )
            return plain(cursor.fetch_arrow_table())
        finally:
            cursor.execute("drop table pg_temp.wanted_keys")


class _Sessions(threading.local):
    """The ADBC session of a thread: opening one reads the server's catalogue, some 70 ms.

    A session commits by itself, so between reads it holds neither locks nor a snapshot.
    """

    url: str | None = None
    held: adbc.Connection | None = None

    def session(self, url: str) -> adbc.Connection:
        if self.held is not None and (self.url != url or not _is_alive(self.held)):
            self.held.close()
            self.held = None
        if self.held is None:
            self.url, self.held = url, adbc.connect(url, autocommit=True)
        return self.held


def _is_alive(session: adbc.Connection) -> bool:
    try:
        with session.cursor() as cursor:
            cursor.execute("select 1")
            cursor.fetchall()
    except adbc.Error:
        return False
    return True


_sessions = _Sessions()


def plain(table: pa.Table) -> pa.Table:
    """Replace extension columns: numeric becomes double, jsonb and the rest their storage.

    Timestamps become UTC microseconds.
    """
    return table.cast(pa.schema([_plain_field(field) for field in table.schema]))


def _plain_field(field: pa.Field) -> pa.Field:
    kind = field.type
    if isinstance(kind, pa.OpaqueType) and kind.type_name == "numeric":
        kind = pa.float64()
    elif isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        kind = pa.timestamp("us", tz="UTC")
    return pa.field(field.name, kind)


def copy(connection: psycopg.Connection[Any], table: sql.Composable, rows: pa.Table) -> int:
    """COPY an Arrow table in; its columns are named as the target's. Returns the row count."""
    if rows.num_rows == 0:
        return 0
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in rows.column_names)
    statement = sql.SQL("copy {} ({}) from stdin (format csv)").format(table, columns)
    options = pacsv.WriteOptions(include_header=False, quoting_style="all_valid")
    with connection.cursor() as cursor, cursor.copy(statement) as stream:
        for start in range(0, rows.num_rows, COPY_ROWS):
            sink = io.BytesIO()
            pacsv.write_csv(_csv_ready(rows.slice(start, COPY_ROWS)), sink, options)
            stream.write(sink.getbuffer())
    return rows.num_rows


def _csv_ready(rows: pa.Table) -> pa.Table:
    columns = {}
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        kind = column.type
        if (
            pa.types.is_list(kind)
            or pa.types.is_large_list(kind)
            or pa.types.is_fixed_size_list(kind)
        ):
            column = _array_literals(column)
        elif pa.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
        elif pa.types.is_null(kind):
            column = column.cast(pa.string())
        elif pa.types.is_floating(kind):
            column = _spelled_floats(column)
        columns[name] = column
    return pa.table(columns)


def _spelled_floats(column: pa.ChunkedArray) -> pa.ChunkedArray:
    # Arrow writes inf and nan in a spelling Postgres also reads; NaN from pandas means null.
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def _array_literals(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    kind = column.type.value_type
    flat = pc.list_flatten(column)
    if pa.types.is_floating(kind) and flat.null_count == 0 and not pc.any(pc.is_nan(flat)).as_py():
        # All in Arrow: 115,000 curves of 168 numbers took 19 s as Python strings, 3 s like this.
        joined = pc.binary_join(column.cast(pa.list_(pa.string())), ",")
        return pc.binary_join_element_wise("{", joined, "}", "")
    return pa.array([_array_literal(item) for item in column.to_pylist()], pa.string())


def _array_literal(items: Sequence[Any] | None) -> str | None:
    if items is None:
        return None
    return "{" + ",".join(_array_item(item) for item in items) + "}"


def _array_item(item: Any) -> str:
    if item is None:
        return "NULL"
    if isinstance(item, str):
        escaped = item.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(item)


def stage(
    connection: psycopg.Connection[Any], table: sql.Composable, rows: pa.Table
) -> sql.Identifier:
    """COPY rows into a temporary table shaped like the target; it goes with the transaction."""
    name = sql.Identifier("staged_rows")
    columns = sql.SQL(", ").join(sql.Identifier(column) for column in rows.column_names)
    connection.execute(sql.SQL("drop table if exists pg_temp.staged_rows"))
    connection.execute(
        sql.SQL("create temp table {} on commit drop as select {} from {} with no data").format(
            name, columns, table
        )
    )
    copy(connection, name, rows)
    return name


def merge(
    connection: psycopg.Connection[Any],
    table: sql.Composable,
    rows: pa.Table,
    keys: Sequence[str],
    *,
    update: bool,
) -> int:
    """Insert rows; on a conflict of `keys` update what differs, or keep what is there."""
    if rows.num_rows == 0:
        return 0
    staged = stage(connection, table, rows)
    values = [name for name in rows.column_names if name not in keys]
    action: sql.Composable = sql.SQL("do nothing")
    if update and values:
        target, source = sql.Identifier("held"), sql.Identifier("excluded")
        action = sql.SQL("do update set {} where ({}) is distinct from ({})").format(
            sql.SQL(", ").join(
                sql.SQL("{} = {}.{}").format(sql.Identifier(v), source, sql.Identifier(v))
                for v in values
            ),
            sql.SQL(", ").join(sql.SQL("{}.{}").format(target, sql.Identifier(v)) for v in values),
            sql.SQL(", ").join(sql.SQL("{}.{}").format(source, sql.Identifier(v)) for v in values),
        )
    names = sql.SQL(", ").join(sql.Identifier(name) for name in rows.column_names)
    statement = sql.SQL("insert into {} as held ({}) select {} from {} on conflict ({}) {}").format(
        table, names, names, staged, sql.SQL(", ").join(map(sql.Identifier, keys)), action
    )
    count = connection.execute(statement).rowcount
    connection.execute(sql.SQL("drop table pg_temp.staged_rows"))
    return count


def remove(connection: psycopg.Connection[Any], table: sql.Composable, keys: pa.Table) -> int:
    """Delete the rows that hold, in the columns `keys` names, one of its rows."""
    if keys.num_rows == 0:
        return 0
    staged = stage(connection, table, keys)
    same = sql.SQL(" and ").join(
        sql.SQL("held.{0} = gone.{0}").format(sql.Identifier(key)) for key in keys.column_names
    )
    statement = sql.SQL("delete from {} as held using {} as gone where {}")
    count = connection.execute(statement.format(table, staged, same)).rowcount
    connection.execute(sql.SQL("drop table pg_temp.staged_rows"))
    return count


def fill(connection: psycopg.Connection[Any], table: sql.Composable, rows: pa.Table) -> int:
    """Make `rows` the content of a table, its indexes built after them.

    Five million rows into a key of text: 20 s with the index in place, 9 s like this.
    """
    name = table.as_string(connection)
    connection.execute(f"set local maintenance_work_mem = '{FILL_MEMORY}'")
    connection.execute(sql.SQL("truncate {}").format(table))
    with connection.cursor(row_factory=tuple_row) as cursor:
        built = cursor.execute(INDEXES, [name]).fetchall()
    for dropping, _ in built:
        connection.execute(dropping)
    count = copy(connection, table, rows)
    for _, building in built:
        connection.execute(building)
    return count


# Statements that drop and build a table's indexes, those of constraints as their constraints.
INDEXES = """
    select
        case
            when constraints.oid is null then 'drop index ' || indexes.indexrelid::regclass
            else 'alter table ' || indexes.indrelid::regclass
                || ' drop constraint ' || quote_ident(constraints.conname)
        end as dropping,
        case
            when constraints.oid is null then pg_get_indexdef(indexes.indexrelid)
            else 'alter table ' || indexes.indrelid::regclass || ' add constraint '
                || quote_ident(constraints.conname) || ' '
                || pg_get_constraintdef(constraints.oid)
        end as building
    from pg_index as indexes
    left join pg_constraint as constraints on indexes.indexrelid = constraints.conindid
    where indexes.indrelid = %s::regclass
    order by constraints.conname is null, indexes.indexrelid
"""


def update(
    connection: psycopg.Connection[Any],
    table: sql.Composable,
    rows: pa.Table,
    keys: Sequence[str],
) -> int:
    """Set the other columns of existing rows by key; returns how many rows were found."""
    staged = stage(connection, table, rows)
    values = [name for name in rows.column_names if name not in keys]
    statement = sql.SQL("update {} as held set {} from {} as news where {}").format(
        table,
        sql.SQL(", ").join(sql.SQL("{0} = news.{0}").format(sql.Identifier(v)) for v in values),
        staged,
        sql.SQL(" and ").join(
            sql.SQL("held.{0} = news.{0}").format(sql.Identifier(key)) for key in keys
        ),
    )
    count = connection.execute(statement).rowcount
    connection.execute(sql.SQL("drop table pg_temp.staged_rows"))
    return count


def rendered(connection: psycopg.Connection[Any], query: str, params: Mapping[str, Any]) -> str:
    """The query with its %(name)s parameters as literals, quoted by the server's own rules."""
    if not params:
        return query
    return psycopg.ClientCursor(connection).mogrify(query, params)
