"""Landed webhooks into rows of raw.provider_events.

Belongs here: the flow of one file. Keep out: what a provider means (sql/provider_events.sql).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from ingestion import engine, files, lines
from ingestion.results import Reject


@dataclass(frozen=True)
class Chunk:
    """`lines`: for COPY, line in the file and the contract's columns."""

    lines: pa.ChunkedArray
    read: int
    rejects: list[Reject]


def typed(session: duckdb.DuckDBPyConnection, file: files.LocalFile) -> Iterator[Chunk]:
    """The file's events, normalised, chunk by chunk. Raises FileError."""
    for chunk in lines.chunks(file, session, ("payload",)):
        session.register("incoming", chunk.rows)
        session.execute(engine.statement("provider_events"))
        refused = session.execute("""
            select line_number, reason, line from typed where reason is not null
            order by line_number
        """).fetchall()
        rows = engine.table(
            session, "select copy_line from typed where reason is null order by line_number"
        )
        yield Chunk(
            lines=rows["copy_line"],
            read=chunk.rows.num_rows + len(chunk.rejects),
            rejects=chunk.rejects + [Reject(*found) for found in refused],
        )
