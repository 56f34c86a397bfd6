"""Lines of a JSON Lines file, or rows of a Parquet file as such lines, in bounded chunks.

Belongs here: cutting bytes into numbered Arrow strings, setting lines that are not UTF-8 apart.
Keep out: what a line means.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from ingestion import engine, files
from ingestion.results import FileError, Reject

# 16 MiB hold about 23,000 events of 700 bytes. Processor time for 200,000 events was 1.9 s at
# 16 MiB, 2.5 s at 8 (more statements) and 2.3 s at 32, where malloc maps every block anew.
BLOCK_BYTES = 16 << 20
PARQUET_ROWS = 50_000
NEWLINE, CARRIAGE_RETURN = 10, 13


@dataclass(frozen=True)
class LineChunk:
    """`rows`: line_number (int64, 1 = first line of the file), line (string)."""

    rows: pa.Table
    rejects: list[Reject]


def chunks(
    file: files.LocalFile, session: duckdb.DuckDBPyConnection, json_columns: tuple[str, ...]
) -> Iterator[LineChunk]:
    """The file's lines in order; blank lines are left out, undecodable ones are rejects.

    `json_columns` are those that a Parquet file may hold as JSON text. Raises FileError for a
    file that cannot be read or holds no line.
    """
    found = _parquet_chunks(file, session, json_columns) if file.is_parquet else _text_chunks(file)
    is_empty = True
    for chunk in found:
        is_empty = is_empty and not chunk.rows.num_rows and not chunk.rejects
        yield chunk
    if is_empty:
        raise FileError("the file is empty (no rows)")


def _text_chunks(file: files.LocalFile) -> Iterator[LineChunk]:
    first = 1
    for block in files.blocks(file, BLOCK_BYTES):
        chunk, count = _cut(block, first)
        first += count
        yield chunk


def _cut(block: bytes, first: int) -> tuple[LineChunk, int]:
    data = block if block.endswith(b"\n") else block + b"\n"
    characters = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(characters == NEWLINE) + 1
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    lines = pa.StringArray.from_buffers(len(ends), *buffers[1:])
    numbers = np.arange(first, first + len(ends), dtype=np.int64)
    # The newline may stay, since JSON ends in white space; a line of nothing else is no row.
    lengths = np.diff(offsets)
    is_bare = (lengths == 2) & (characters[offsets[:-1]] == CARRIAGE_RETURN)
    keep = (lengths > 1) & ~is_bare
    rejects: list[Reject] = []
    if not _is_utf8(data):
        bad = [i for i in np.flatnonzero(keep).tolist() if not _is_utf8(_line(data, offsets, i))]
        keep[bad] = False
        rejects = [
            Reject(int(numbers[i]), "not_utf8", _line(data, offsets, i).decode("latin-1"))
            for i in bad
        ]
    table = pa.table({"line_number": numbers, "line": lines})
    return LineChunk(table if keep.all() else table.filter(pa.array(keep)), rejects), len(ends)


def _line(data: bytes, offsets: np.ndarray, index: int) -> bytes:
    return data[offsets[index] : offsets[index + 1]].rstrip(b"\r\n")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _parquet_chunks(
    file: files.LocalFile, session: duckdb.DuckDBPyConnection, json_columns: tuple[str, ...]
) -> Iterator[LineChunk]:
    path = str(file.path)
    # A connection of its own: the caller works on the session between two chunks.
    with session.cursor() as cursor:
        yield from _parquet_rows(cursor, path, json_columns)


def _parquet_rows(
    cursor: duckdb.DuckDBPyConnection, path: str, json_columns: tuple[str, ...]
) -> Iterator[LineChunk]:
    try:
        types = {
            row[0]: row[1]
            for row in cursor.execute("describe select * from read_parquet(?)", [path]).fetchall()
        }
        parsed = ", ".join(
            f"coalesce(try({name}::json), to_json({name})) as {name}"
            for name in json_columns
            if types.get(name) == "VARCHAR"
        )
        replaced = f"replace ({parsed})" if parsed else ""
        # A union of events has a column for every field any of them has; a null there is absence.
        query = f"""
            select file_row_number + 1 as line_number,
                   json_merge_patch('{{}}'::json, to_json(message))::varchar as line
            from (select * {replaced} from read_parquet(?, file_row_number = true)) as message
        """
        for batch in engine.batches(cursor, query, PARQUET_ROWS, [path]):
            yield LineChunk(pa.Table.from_batches([batch]), [])
    except duckdb.Error as error:
        raise FileError(f"not readable as Parquet ({type(error).__name__})") from error
