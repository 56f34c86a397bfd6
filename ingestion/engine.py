"""The DuckDB session that reads, types and validates one source's files.

Belongs here: its limits, its macros, its variables, SQL files by name.
Keep out: what any row means.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path

import duckdb
import pyarrow as pa

from warehouse.currencies import CODES

# Half the cores: Postgres takes the others. On two cores one thread needed 2.6 s of processor time
# for 200,000 events and two needed 4.0 s.
THREADS = max(1, min(4, (os.cpu_count() or 2) // 2))
# Two chunks of 16 MiB and their typed copies stay below; more would only be spilled later.
MEMORY_LIMIT = "512MB"


@contextmanager
def opened(directory: Path, threads: int = THREADS) -> Iterator[duckdb.DuckDBPyConnection]:
    """A session in memory that spills into `directory`, works in UTC and loads no extension."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY_LIMIT,
        "threads": threads,
        "temp_directory": str(directory),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    session = duckdb.connect(":memory:", config=config)
    try:
        session.execute("set timezone = 'UTC'; set enable_progress_bar = false")
        session.execute(statement("macros"))
        session.execute("set variable currencies = ?", [sorted(CODES)])
        yield session
    finally:
        session.close()


def set_variables(session: duckdb.DuckDBPyConnection, values: Mapping[str, object]) -> None:
    """Make values readable in SQL by `getvariable`."""
    for name, value in values.items():
        session.execute(f"set variable {name} = ?", [value])


@cache
def statement(name: str) -> str:
    """The text of `sql/<name>.sql`."""
    return resources.files("ingestion").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def table(session: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    """A query's rows as Arrow."""
    return session.sql(query).to_arrow_table()


def count(session: duckdb.DuckDBPyConnection, query: str) -> int:
    """The one number of a query. Fetched whole: an unfinished result blocks the session."""
    return int(session.execute(query).fetchall()[0][0])


def batches(
    session: duckdb.DuckDBPyConnection, query: str, rows: int, params: list[object] | None = None
) -> Iterator[pa.RecordBatch]:
    """A query's rows in batches of at most `rows`; the session is free again after the last."""
    reader = session.sql(query, params=params).to_arrow_reader(rows)
    try:
        yield from reader
    finally:
        reader.close()
