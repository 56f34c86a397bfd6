"""Rows of a batch against what is in `raw` already: new, duplicate, or refused.

Belongs here: set-based merging in Postgres, for sources whose files are a day's delta.
Keep out: events, whose ids have a table of their own (copying.py), and any typing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from psycopg import sql

from ingestion import copying
from ingestion.contracts import Contract

INCOMING = sql.Identifier("pg_temp", "incoming")


@dataclass(frozen=True)
class Merged:
    """Rows inserted and duplicate, and refused ones: line in the file, reason, row as JSON."""

    loaded: int
    duplicate: int
    refused: list[tuple[int, str, str]]


def merge(
    connection: copying.Connection,
    contract: Contract,
    batch_id: int,
    chunks: Iterable[pa.ChunkedArray],
) -> Merged:
    """Insert what is new. `chunks` are lines for COPY: line in the file, the contract's columns.

    Within a file the last version of a key counts, and the first row of a key that knows no
    versions; against the warehouse a version is a duplicate when it equals the latest there.
    """
    staged = _stage(connection, contract, chunks)
    if contract.kind == "order_lines":
        verdicts = _order_line_verdicts(connection, contract)
    else:
        verdicts = _verdicts(connection, contract)
    refused = [
        (row["line_in_file"], row["verdict"], row["row"])
        for row in verdicts
        if row["verdict"] != "duplicate"
    ]
    loaded = _insert(connection, contract, batch_id)
    connection.execute("drop table pg_temp.incoming, pg_temp.verdicts")
    return Merged(loaded, staged - loaded - len(refused), refused)


def _stage(
    connection: copying.Connection, contract: Contract, chunks: Iterable[pa.ChunkedArray]
) -> int:
    connection.execute("set local timezone = 'UTC'")
    connection.execute(
        sql.SQL(
            "create temp table incoming on commit drop as"
            " select 0::bigint as line_in_file, {} from {} with no data"
        ).format(_names(contract.columns), sql.Identifier("raw", contract.kind))
    )
    for chunk in chunks:
        copying.copy_lines(connection, INCOMING, ("line_in_file", *contract.columns), chunk)
    connection.execute("analyze pg_temp.incoming")
    row = connection.execute("select count(*) as count from pg_temp.incoming").fetchone()
    return int(row["count"]) if row else 0


def _verdicts(connection: copying.Connection, contract: Contract) -> list[dict[str, Any]]:
    """One verdict per row that is not to be inserted, in the temporary table `verdicts`.

    `heirs` are the rows of the file that stand for their key; the others are measured by them.
    """
    # An earlier version in the same file is not loaded: its key would be in the batch twice.
    in_file = "superseded_in_file" if contract.is_versioned else contract.changed
    in_table = sql.SQL("null") if contract.is_versioned else sql.Literal(contract.changed)
    statement = sql.SQL("""
        create temp table verdicts on commit drop as
        with heirs as (
            select distinct on ({key}) * from pg_temp.incoming
            order by {key}, line_in_file {direction}
        ),
        held as (
            select distinct on ({held_key}) {held_columns}
            from {table} as stored
            where exists (select from heirs where {heir_is_stored})
            order by {held_key}, stored.batch_id desc
        ),
        verdicts as (
            select incoming.line_in_file,
                   case when {incoming_equals_heir} then 'duplicate' else {in_file} end as verdict
            from pg_temp.incoming
            inner join heirs on {heir_is_incoming}
            where heirs.line_in_file <> incoming.line_in_file
            union all
            select heirs.line_in_file,
                   case when {heir_equals_held} then 'duplicate' else {in_table} end
            from heirs inner join held on {heir_is_held}
        )
        select line_in_file, verdict from verdicts where verdict is not null
    """).format(
        key=_names(contract.key),
        direction=sql.SQL("desc" if contract.is_versioned else "asc"),
        held_key=_names(contract.key, "stored"),
        held_columns=_names((*contract.key, *contract.compared), "stored"),
        table=sql.Identifier("raw", contract.kind),
        heir_is_stored=_equal(contract.key, "heirs", "stored", strict=True),
        incoming_equals_heir=_equal(contract.compared, "incoming", "heirs"),
        in_file=sql.Literal(in_file),
        heir_is_incoming=_equal(contract.key, "heirs", "incoming", strict=True),
        heir_equals_held=_equal(contract.compared, "heirs", "held"),
        in_table=in_table,
        heir_is_held=_equal(contract.key, "heirs", "held", strict=True),
    )
    connection.execute(statement)
    return _refused(connection)


def _order_line_verdicts(
    connection: copying.Connection, contract: Contract
) -> list[dict[str, Any]]:
    """Verdicts for order lines, which have no id of their own.

    Lines of an order are compared as a multiset: the n-th of identical lines in a file is the
    n-th of them in the warehouse. What matches is a duplicate. A line that matches none, while
    the warehouse has a line of that order and product that the file lacks, is a changed line and
    refused: the order would else be counted twice. Any other line is new (an order cut in two
    by the hour of an export) and is numbered after those the order has.
    """
    content = ("order_id", *contract.compared)
    connection.execute(
        sql.SQL("""
        create temp table verdicts on commit drop as
        with given as (
            select *, row_number() over (partition by {content} order by line_in_file) as copy
            from pg_temp.incoming
        ),
        stored as (
            select lines.*,
                   row_number() over (partition by {content} order by lines.line_number) as copy
            from raw.order_lines as lines
            where exists (
                select from pg_temp.incoming
                where incoming.source = lines.source and incoming.order_id = lines.order_id
            )
        ),
        matched as (
            select given.line_in_file, stored.line_number
            from given
            inner join stored on {same} and stored.copy = given.copy
        ),
        changed as (
            select distinct given.line_in_file
            from given
            inner join stored
                on stored.order_id = given.order_id and stored.source = given.source
                and stored.product_id = given.product_id
            where not exists (
                select from matched where matched.line_in_file = given.line_in_file
            )
            and not exists (
                select from given as twin where {twin} and twin.copy = stored.copy
            )
        )
        select line_in_file, 'duplicate' as verdict from matched
        union all
        select line_in_file, {changed} from changed
        """).format(
            content=_names(("source", *content)),
            same=_equal(("source", *content), "given", "stored"),
            twin=_equal(("source", *content), "twin", "stored"),
            changed=sql.Literal(contract.changed),
        )
    )
    connection.execute("""
        with renumbered as (
            select incoming.line_in_file,
                   held.last_number + row_number() over (
                       partition by incoming.order_id order by incoming.line_in_file
                   ) as line_number
            from pg_temp.incoming
            inner join (
                select source, order_id, max(line_number) as last_number from raw.order_lines
                where exists (
                    select from pg_temp.incoming
                    where incoming.source = order_lines.source
                    and incoming.order_id = order_lines.order_id
                )
                group by source, order_id
            ) as held on held.order_id = incoming.order_id and held.source = incoming.source
            where not exists (
                select from pg_temp.verdicts where verdicts.line_in_file = incoming.line_in_file
            )
        )
        update pg_temp.incoming set line_number = renumbered.line_number
        from renumbered where renumbered.line_in_file = incoming.line_in_file
    """)
    return _refused(connection)


def _refused(connection: copying.Connection) -> list[dict[str, Any]]:
    return connection.execute("""
        select verdicts.line_in_file, verdicts.verdict,
               (to_jsonb(incoming) - 'line_in_file')::text as row
        from pg_temp.verdicts
        inner join pg_temp.incoming on incoming.line_in_file = verdicts.line_in_file
        where verdicts.verdict <> 'duplicate'
        order by verdicts.line_in_file
    """).fetchall()


def _insert(connection: copying.Connection, contract: Contract, batch_id: int) -> int:
    return connection.execute(
        sql.SQL("""
        insert into {} ({}, batch_id)
        select {}, {} from pg_temp.incoming
        where not exists (
            select from pg_temp.verdicts where verdicts.line_in_file = incoming.line_in_file
        )
        order by line_in_file
        """).format(
            sql.Identifier("raw", contract.kind),
            _names(contract.columns),
            _names(contract.columns, "incoming"),
            sql.Literal(batch_id),
        )
    ).rowcount


def _names(columns: Sequence[str], table: str | None = None) -> sql.Composable:
    return sql.SQL(", ").join(
        sql.Identifier(name) if table is None else sql.Identifier(table, name) for name in columns
    )


def _equal(
    columns: Sequence[str], left: str, right: str, *, strict: bool = False
) -> sql.Composable:
    """Equality of columns; strict where none is null, which lets Postgres hash the join."""
    if not columns:
        return sql.SQL("true")
    operator = sql.SQL(" = " if strict else " is not distinct from ")
    return sql.SQL(" and ").join(
        sql.Identifier(left, name) + operator + sql.Identifier(right, name) for name in columns
    )
