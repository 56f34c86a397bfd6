"""Segment messages into raw.events.

Belongs here: the flow of one file's chunks through DuckDB into Postgres, and dedup by event id.
Keep out: what makes a message valid (sql/segment.sql).
"""

import difflib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from ingestion import copying, engine, files, lines, phones
from ingestion.results import FileError, Reject, Tally

ID_COLUMNS = ("event_id", "content_hash", "occurred_at", "batch_id")
EVENT_COLUMNS = (
    "event_id", "source", "type", "channel", "occurred_at", "received_at", "batch_id",
    "anonymous_id", "user_id", "email", "phone", "device_id", "identifiers", "context",
    "properties", "order_id", "revenue_amount", "currency",
)  # fmt: skip
JSON_COLUMNS = ("traits", "properties", "context")
REQUIRED_FIELDS = ("messageId", "type", "timestamp")

# The Segment spec's own events (browsing, ordering, coupons, wishlists, sharing, reviewing,
# B2B SaaS, lifecycle) that this engine reads, and the ones its architecture adds.
SPECIFIED_TYPES = """
    page_viewed screen_viewed identified aliased products_searched product_list_viewed
    product_list_filtered promotion_viewed promotion_clicked product_clicked product_viewed
    product_added product_removed cart_viewed checkout_started checkout_step_viewed
    checkout_step_completed payment_info_entered order_completed order_updated order_refunded
    order_cancelled coupon_entered coupon_applied coupon_denied coupon_removed
    product_added_to_wishlist product_removed_from_wishlist wishlist_product_added_to_cart
    product_shared cart_shared product_reviewed signed_up signed_in signed_out account_created
    application_installed application_opened application_backgrounded application_updated
    application_uninstalled install_attributed deep_link_opened push_notification_received
    push_notification_tapped ad_clicked support_ticket_opened support_ticket_closed meeting_booked
    form_submitted newsletter_subscribed newsletter_unsubscribed
"""
KNOWN_TYPES = frozenset(SPECIFIED_TYPES.split())


@dataclass(frozen=True)
class Chunk:
    """One chunk, typed. `rows`: line_number, event_id, content_hash, month, id_row, event_row."""

    rows: pa.Table
    given: pa.Table
    rejects: list[Reject]
    read: int
    duplicate: int
    unknown_types: dict[str, int]


def load(
    connection: copying.Connection,
    session: duckdb.DuckDBPyConnection,
    file: files.LocalFile,
    region: str,
) -> Iterator[Chunk]:
    """Load one file chunk by chunk; yields each chunk as written.

    The session's variables `batch_id`, `source` and `currency` are set. While Postgres takes one
    chunk, the next is read and typed on another thread. Raises FileError.
    """
    connection.execute("set local timezone = 'UTC'")
    is_hopeful = True
    for chunk in _ahead(_typed(session, file, region)):
        written, is_hopeful = _write(connection, chunk, is_hopeful)
        yield written


def _ahead(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    with ThreadPoolExecutor(max_workers=1) as pool:
        following = pool.submit(next, chunks, None)
        while (chunk := following.result()) is not None:
            following = pool.submit(next, chunks, None)
            yield chunk


def _typed(
    session: duckdb.DuckDBPyConnection, file: files.LocalFile, region: str
) -> Iterator[Chunk]:
    for number, chunk in enumerate(lines.chunks(file, session, JSON_COLUMNS)):
        session.register("incoming", chunk.rows)
        if number == 0:
            _require_fields(session)
        session.execute(engine.statement("segment"))
        session.register("phones", _phones(session, region))
        rows = engine.table(session, engine.statement("segment_rows"))
        refused = session.execute("""
            select line_number, coalesce(typed.reason, repeats.verdict) as reason, incoming.line
            from typed
            left join repeats using (line_number)
            inner join incoming using (line_number)
            where typed.reason is not null or repeats.verdict = 'event_id_reused'
            order by line_number
        """).fetchall()
        yield Chunk(
            rows=rows,
            given=chunk.rows,
            rejects=chunk.rejects + [Reject(*found) for found in refused],
            read=chunk.rows.num_rows + len(chunk.rejects),
            duplicate=engine.count(
                session, "select count(*) from repeats where verdict = 'duplicate'"
            ),
            unknown_types=_unknown_types(session),
        )


def _require_fields(session: duckdb.DuckDBPyConnection) -> None:
    """A field that no message of a file's beginning has was renamed, or this is another file."""
    found = session.execute("""
        select count(*), list_distinct(flatten(list(try(json_keys(line)))))
        from (select line from incoming limit 1000)
        where try(json_keys(line)) is not null
    """).fetchall()[0]
    if not found[0]:
        return
    present = set(found[1])
    for field in REQUIRED_FIELDS:
        alternatives = {field, "originalTimestamp"} if field == "timestamp" else {field}
        if not alternatives & present:
            raise FileError(f"no message has {field}{nearest(field, present)}")


def nearest(name: str, present: set[str]) -> str:
    """`; the nearest present is …`, or what is present, for an error about a missing name."""
    by_lower = {candidate.lower(): candidate for candidate in sorted(present)}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.4)
    if close:
        return f"; the nearest present is {by_lower[close[0]]}"
    return f"; present are {', '.join(sorted(present)[:12])}" if present else ""


def _phones(session: duckdb.DuckDBPyConnection, region: str) -> pa.Table:
    given = [
        row[0]
        for row in session.execute(
            "select distinct given_phone from typed where given_phone is not null"
        ).fetchall()
    ]
    return pa.table(
        {
            "given": pa.array(given, pa.string()),
            "e164": pa.array([phones.e164(phone, region) for phone in given], pa.string()),
        }
    )


def _unknown_types(session: duckdb.DuckDBPyConnection) -> dict[str, int]:
    found = session.execute(
        "select type, count(*) from typed where reason is null group by type order by type"
    ).fetchall()
    return {_reportable(name): count for name, count in found if name not in KNOWN_TYPES}


def _reportable(name: str) -> str:
    # A type made from a name, an address or a number would carry a person into a log.
    words = name.split("_")
    return name if len(words) <= 5 and re.fullmatch(r"[a-z_]{1,60}", name) else "(other)"


def _write(connection: copying.Connection, chunk: Chunk, is_hopeful: bool) -> tuple[Chunk, bool]:
    """Write one chunk. Hopeful: all ids are taken to be new, as in most files, and the key says
    when not; copying ids straight into their table is twice as fast as looking them up first.
    """
    copying.ensure_months(connection, pc.unique(chunk.rows["month"]).to_pylist())
    if is_hopeful:
        try:
            _copy(connection, chunk)
            return chunk, True
        except psycopg.errors.UniqueViolation:
            is_hopeful = False
        except psycopg.DataError:
            chunk = _strictly_checked(chunk)
    chunk = _without_known(connection, chunk)
    try:
        _copy(connection, chunk)
    except psycopg.DataError:
        chunk = _strictly_checked(chunk)
        _copy(connection, chunk)
    return chunk, is_hopeful


def _copy(connection: copying.Connection, chunk: Chunk) -> None:
    with connection.transaction():
        ids, events = sql.Identifier("raw", "event_ids"), sql.Identifier("raw", "events")
        copying.copy_lines(connection, ids, ID_COLUMNS, chunk.rows["id_row"])
        copying.copy_lines(connection, events, EVENT_COLUMNS, chunk.rows["event_row"])


def _without_known(connection: copying.Connection, chunk: Chunk) -> Chunk:
    same, other = copying.known_ids(connection, chunk.rows["line_number"], chunk.rows["id_row"])
    refused = _without(chunk, other, "event_id_reused")
    return replace(_without(refused, same, None), duplicate=chunk.duplicate + len(same))


def _strictly_checked(chunk: Chunk) -> Chunk:
    """DuckDB reads NaN and NUL in JSON, jsonb does not; such rows are found when COPY fails."""
    bad = [
        number
        for number, line in zip(
            chunk.given["line_number"].to_pylist(), chunk.given["line"].to_pylist(), strict=True
        )
        if not copying.is_storable(line)
    ]
    accepted = set(chunk.rows["line_number"].to_pylist())
    return _without(chunk, [number for number in bad if number in accepted], "broken_json")


def _without(chunk: Chunk, numbers: list[int], reason: str | None) -> Chunk:
    if not numbers:
        return chunk
    taken = pa.array(numbers, pa.int64())
    rows = chunk.rows.filter(pc.invert(pc.is_in(chunk.rows["line_number"], taken)))
    rejects = chunk.rejects
    if reason is not None:
        given = chunk.given.filter(pc.is_in(chunk.given["line_number"], taken))
        rejects = rejects + [
            Reject(row["line_number"], reason, row["line"]) for row in given.to_pylist()
        ]
    return replace(chunk, rows=rows, rejects=rejects)


def count(tally: Tally, chunk: Chunk) -> None:
    """Add one written chunk to a file's counts."""
    tally.read += chunk.read
    tally.duplicate += chunk.duplicate
    tally.unknown_types.update(chunk.unknown_types)
