"""Rows that DuckDB has spelled for COPY, into Postgres.

Belongs here: streaming Arrow string buffers into COPY, month partitions, rejects, event ids.
Keep out: SQL of DuckDB, verdicts about a batch.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from ingestion.results import Reject

Connection = psycopg.Connection[dict[str, Any]]

WRITE_BYTES = 1 << 20


def copy_lines(
    connection: Connection, table: sql.Composable, columns: Sequence[str], lines: pa.ChunkedArray
) -> None:
    """COPY an Arrow column whose values are whole lines of COPY's text format.

    The values lie one behind the other in Arrow's buffer, so the buffer is the stream: nothing
    is converted, nothing copied.
    """
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL("copy {} ({}) from stdin").format(table, names)
    with connection.cursor() as cursor, cursor.copy(statement) as stream:
        for chunk in lines.chunks:
            data = _data(chunk)
            for start in range(0, len(data), WRITE_BYTES):
                stream.write(data[start : start + WRITE_BYTES])


def _data(chunk: pa.Array) -> memoryview:
    if not len(chunk):
        return memoryview(b"")
    width = np.int64 if pa.types.is_large_string(chunk.type) else np.int32
    _, offsets, data = chunk.buffers()
    ends = np.frombuffer(offsets, dtype=width)[chunk.offset : chunk.offset + len(chunk) + 1]
    return memoryview(data)[int(ends[0]) : int(ends[-1])]


def contiguous(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column as plain strings, whose values lie in order in one buffer per chunk."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column
    return column.cast(pa.large_string())


def ensure_months(connection: Connection, months: Iterable[str]) -> None:
    """Create the partitions of raw.events for months written as 2026-03."""
    for month in sorted(set(months)):
        year, number = map(int, month.split("-"))
        name = f"events_{year:04d}_{number:02d}"
        found = connection.execute("select to_regclass(%s) as found", [f"raw.{name}"]).fetchone()
        if found is not None and found["found"] is not None:
            continue
        following = (year + number // 12, number % 12 + 1)
        connection.execute(
            sql.SQL("create table {} partition of raw.events for values from ({}) to ({})").format(
                sql.Identifier("raw", name),
                sql.Literal(f"{year:04d}-{number:02d}-01 00:00:00+00"),
                sql.Literal(f"{following[0]:04d}-{following[1]:02d}-01 00:00:00+00"),
            )
        )


def write_rejects(
    connection: Connection, batch_id: int, source: str, rejects: Sequence[Reject]
) -> None:
    """Append rows to raw.rejects; what is not valid JSON is kept as a JSON string."""
    if not rejects:
        return
    statement = "copy raw.rejects (batch_id, source, line_number, reason, row) from stdin"
    with connection.cursor() as cursor, cursor.copy(statement) as stream:
        for reject in rejects:
            row = reject.row if is_storable(reject.row) else json.dumps(_without_nul(reject.row))
            stream.write_row((batch_id, source, reject.line_number, reject.reason, row))


def is_storable(text: str) -> bool:
    """Whether Postgres takes the text as jsonb: JSON by the letter of RFC 8259, without NUL."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return "\\u0000" not in text or "\\u0000" not in json.dumps(value)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _without_nul(text: str) -> str:
    return text.replace("\x00", "�")


def known_ids(
    connection: Connection, line_numbers: pa.ChunkedArray, id_rows: pa.ChunkedArray
) -> tuple[list[int], list[int]]:
    """Of some events, the lines whose id is in raw.event_ids already.

    Returns line numbers with the same content (duplicates), and with other content. `id_rows`
    are lines for COPY with the columns of raw.event_ids.
    """
    connection.execute("""
        create temp table if not exists incoming_ids (
            position bigint generated always as identity,
            event_id text, content_hash uuid, occurred_at timestamptz, batch_id bigint
        ) on commit drop
    """)
    connection.execute("truncate pg_temp.incoming_ids restart identity")
    copy_lines(
        connection,
        sql.Identifier("pg_temp", "incoming_ids"),
        ("event_id", "content_hash", "occurred_at", "batch_id"),
        id_rows,
    )
    connection.execute("analyze pg_temp.incoming_ids")
    found = connection.execute("""
        select incoming_ids.position, incoming_ids.content_hash = event_ids.content_hash as is_same
        from pg_temp.incoming_ids
        inner join raw.event_ids on event_ids.event_id = incoming_ids.event_id
    """).fetchall()
    same = [row["position"] - 1 for row in found if row["is_same"]]
    other = [row["position"] - 1 for row in found if not row["is_same"]]
    return _taken(line_numbers, same), _taken(line_numbers, other)


def _taken(numbers: pa.ChunkedArray, positions: Sequence[int]) -> list[int]:
    return pc.take(numbers, pa.array(positions, pa.int64())).to_pylist()
