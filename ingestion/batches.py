"""Files into batches: each file once, whole or not at all.

Belongs here: which files are new, one transaction per file, the rule that holds a batch.
Keep out: how rows are read or merged.
"""

import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import psycopg
import pyarrow as pa

from ingestion import copying, engine, files, merging, provider_events, recording, segment, tables
from ingestion.contracts import PROVIDER_EVENTS, TABLES, Contract
from ingestion.results import BatchResult, FileError, IngestionError, Reject, Tally
from warehouse import Settings, SourceSettings, Warehouse

# (source, content hash), and (source, location), to batch and status.
_Seen = dict[tuple[str, str], tuple[int, str]]


class _HeldError(Exception):
    """Leaves the transaction of a batch that is mostly wrong."""


@dataclass(frozen=True)
class _Run:
    """What the files of one call share."""

    warehouse: Warehouse
    settings: Settings
    session: duckdb.DuckDBPyConnection
    directory: Path
    now: datetime


@dataclass(frozen=True)
class _Batch:
    """One batch being written."""

    batch_id: int
    source: SourceSettings
    connection: copying.Connection
    tally: Tally


def ingest(
    warehouse: Warehouse,
    settings: Settings,
    sources: Collection[str] | None = None,
    *,
    now: datetime,
    on_result: Callable[[BatchResult], None] = lambda _result: None,
) -> list[BatchResult]:
    """Load every file of the configured sources that is not loaded yet.

    `sources`: kinds to load, all when None. `now` (with a time zone) is recorded in raw.batches
    and nowhere else. One result per file, also for those already loaded; a file that cannot be
    read is a result with status `failed`, and the others load. Each file is one transaction.
    """
    wanted = [source for source in settings.sources if sources is None or source.kind in sources]
    results = []
    with _run(warehouse, settings, now) as run:
        seen = _seen(warehouse)
        for source in wanted:
            for result in _load_source(run, source, seen):
                results.append(result)
                on_result(result)
    return results


def accept(
    warehouse: Warehouse, settings: Settings, batch_id: int, *, now: datetime
) -> BatchResult:
    """Load a held batch after all: its good rows; its rejects stay rejects.

    Raises IngestionError when there is no such held batch, its source is no longer configured,
    or its file is gone or has changed.
    """
    found = warehouse.rows(
        "select source, location, content_hash, status from raw.batches where batch_id = %(id)s",
        id=batch_id,
    )
    if not found or found[0]["status"] != "held":
        raise IngestionError(f"batch {batch_id} is not held")
    held = found[0]
    source = next((item for item in settings.sources if item.name == held["source"]), None)
    if source is None:
        raise IngestionError(f"batch {batch_id}: no source is named {held['source']}")
    with _run(warehouse, settings, now) as run:
        try:
            with files.opened(files.at(held["location"]), run.directory) as local:
                if local.content_hash != held["content_hash"]:
                    raise FileError("the file has changed since; its new content is a new batch")
                return _write(run, source, held["location"], local, accepted=batch_id)
        except FileError as error:
            raise IngestionError(f"{held['location']}: {error}") from error


@contextmanager
def _run(warehouse: Warehouse, settings: Settings, now: datetime) -> Iterator[_Run]:
    if now.tzinfo is None:
        raise ValueError("now needs a time zone")
    settings.workspace_home.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="ingestion-", dir=settings.workspace_home) as name,
        engine.opened(Path(name)) as session,
    ):
        yield _Run(warehouse, settings, session, Path(name), now)


def _seen(warehouse: Warehouse) -> _Seen:
    """Batches that need no second reading: loaded ones, and held ones until accepted."""
    rows = warehouse.rows("""
        select source, content_hash, location, batch_id, status from raw.batches
        where status in ('loaded', 'held') order by batch_id
    """)
    return {
        (row["source"], name): (row["batch_id"], row["status"])
        for row in rows
        for name in (row["content_hash"], row["location"])
    }


def _load_source(run: _Run, source: SourceSettings, seen: _Seen) -> Iterator[BatchResult]:
    try:
        found = files.find(source.path)
    except FileError as error:
        yield _failed(run, source, source.path, "", str(error))
        return
    for file in found:
        yield _load_file(run, source, file, seen)


def _load_file(
    run: _Run, source: SourceSettings, file: files.SourceFile, seen: _Seen
) -> BatchResult:
    content_hash = ""
    # A file that never changes once it has its name is known by it: it is not read again.
    if source.options.get("files") == "final" and (source.name, file.location) in seen:
        return _known(source, file.location, *seen[source.name, file.location])
    try:
        with files.opened(file, run.directory) as local:
            content_hash = local.content_hash
            if (source.name, content_hash) in seen:
                return _known(source, file.location, *seen[source.name, content_hash])
            result = _write(run, source, file.location, local)
    except IngestionError as error:
        return _failed(run, source, file.location, content_hash, str(error))
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name != "batches_loaded_once":
            raise
        reason = "loaded by another run meanwhile"
        return BatchResult(source.name, file.location, 0, 0, 0, 0, "already_loaded", reason)
    except psycopg.DataError as error:
        # The server's message quotes the row; its class and column do not.
        column = f" in column {error.diag.column_name}" if error.diag.column_name else ""
        cause = f"the database refused a value ({type(error).__name__}){column}"
        return _failed(run, source, file.location, content_hash, cause)
    except duckdb.Error as error:
        cause = f"not readable ({type(error).__name__})"
        return _failed(run, source, file.location, content_hash, cause)
    if result.batch_id is not None:
        seen[source.name, content_hash] = (result.batch_id, result.status)
    return result


def _write(
    run: _Run,
    source: SourceSettings,
    location: str,
    local: files.LocalFile,
    accepted: int | None = None,
) -> BatchResult:
    """Write one file in one transaction; held when it is mostly wrong, unless `accepted`."""
    tally = Tally()
    arguments = (source.name, location, local.content_hash)
    try:
        with run.warehouse.transaction() as connection:
            batch_id = (
                recording.begin(connection, *arguments, run.now)
                if accepted is None
                else recording.reopen(connection, accepted)
            )
            _load_rows(run, _Batch(batch_id, source, connection, tally), local)
            is_held = tally.is_mostly_wrong and source.options.get("hold") != "never"
            if is_held and accepted is None:
                raise _HeldError
            recording.finish(connection, batch_id, tally, _remark(tally), run.now)
    except _HeldError:
        batch_id, reason = recording.hold(run.warehouse, *arguments, tally, run.now)
        return _held(source, location, tally.read, batch_id, reason)
    return BatchResult(
        source=source.name,
        location=location,
        rows_read=tally.read,
        rows_loaded=tally.loaded,
        rows_duplicate=tally.duplicate,
        rows_rejected=tally.rejected,
        status="loaded",
        reason=_remark(tally),
        batch_id=batch_id,
        unknown_types=tuple(sorted(tally.unknown_types)),
    )


def _load_rows(run: _Run, batch: _Batch, local: files.LocalFile) -> None:
    if batch.source.kind == "segment":
        _load_events(run, batch, local)
    elif batch.source.kind == "provider_events":
        _merge(batch, PROVIDER_EVENTS, _counted(batch, provider_events.typed(run.session, local)))
    else:
        _load_table(run, batch, local, TABLES[batch.source.kind])


def _load_events(run: _Run, batch: _Batch, local: files.LocalFile) -> None:
    engine.set_variables(
        run.session,
        {
            "batch_id": str(batch.batch_id),
            "source": batch.source.name,
            "currency": batch.source.options.get("currency", run.settings.currency),
        },
    )
    for chunk in segment.load(batch.connection, run.session, local, run.settings.country):
        segment.count(batch.tally, chunk)
        _reject(batch, chunk.rejects)


def _load_table(run: _Run, batch: _Batch, local: files.LocalFile, contract: Contract) -> None:
    origin = tables.Origin(
        source=batch.source.name,
        mapping=batch.source.mapping,
        options=batch.source.options,
        currency=run.settings.currency,
        region=run.settings.country,
    )
    found = tables.typed(run.session, local, contract, origin, run.directory)
    batch.tally.read += found.read
    _reject(batch, found.rejects)
    _merge(batch, contract, found.lines)


def _counted(batch: _Batch, chunks: Iterable[provider_events.Chunk]) -> Iterator[pa.ChunkedArray]:
    for chunk in chunks:
        batch.tally.read += chunk.read
        _reject(batch, chunk.rejects)
        yield chunk.lines


def _merge(batch: _Batch, contract: Contract, chunks: Iterable[pa.ChunkedArray]) -> None:
    merged = merging.merge(batch.connection, contract, batch.batch_id, chunks)
    batch.tally.duplicate += merged.duplicate
    _reject(batch, [Reject(*found) for found in merged.refused])


def _reject(batch: _Batch, rejects: Sequence[Reject]) -> None:
    batch.tally.reject(rejects)
    copying.write_rejects(batch.connection, batch.batch_id, batch.source.name, rejects)


def _remark(tally: Tally) -> str | None:
    if not tally.unknown_types:
        return None
    named = sorted(tally.unknown_types.items(), key=lambda item: (-item[1], item[0]))[:10]
    return "unknown event types, kept: " + ", ".join(f"{name} ({count})" for name, count in named)


def _known(source: SourceSettings, location: str, batch_id: int, status: str) -> BatchResult:
    if status == "held":
        return _held(source, location, 0, batch_id, f"held already, as batch {batch_id}")
    reason = f"already loaded, as batch {batch_id}"
    return BatchResult(source.name, location, 0, 0, 0, 0, "already_loaded", reason, batch_id)


def _held(
    source: SourceSettings, location: str, read: int, batch_id: int, reason: str
) -> BatchResult:
    return BatchResult(source.name, location, read, 0, 0, read, "held", reason, batch_id)


def _failed(
    run: _Run, source: SourceSettings, location: str, content_hash: str, cause: str
) -> BatchResult:
    reason = f"{location}: {cause}"
    batch_id = recording.fail(run.warehouse, source.name, location, content_hash, reason, run.now)
    return BatchResult(source.name, location, 0, 0, 0, 0, "failed", reason, batch_id)
