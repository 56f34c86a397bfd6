"""Rows of raw.batches: what became of each file.

Belongs here: opening, finishing, holding and failing a batch. Keep out: what decides which.
"""

from datetime import datetime

from ingestion import copying
from ingestion.results import HOLD_SHARE, Tally
from warehouse import Warehouse

SET_BATCH = """
    update raw.batches
    set finished_at = %(now)s, rows_read = %(read)s, rows_loaded = %(loaded)s,
        rows_duplicate = %(duplicate)s, rows_rejected = %(rejected)s, status = %(status)s,
        reason = %(reason)s
    where batch_id = %(batch_id)s
"""


def begin(
    connection: copying.Connection, source: str, location: str, content_hash: str, now: datetime
) -> int:
    """Open a batch as loaded: the key on its hash makes a second run of the same file wait."""
    row = connection.execute(
        """
        insert into raw.batches (source, location, content_hash, started_at, status)
        values (%s, %s, %s, %s, 'loaded') returning batch_id
        """,
        [source, location, content_hash, now],
    ).fetchone()
    if row is None:
        raise LookupError("the database gave no batch_id")
    return int(row["batch_id"])


def reopen(connection: copying.Connection, batch_id: int) -> int:
    """Take a held batch up again; its rejects will be written anew."""
    connection.execute("update raw.batches set status = 'loaded' where batch_id = %s", [batch_id])
    connection.execute("delete from raw.rejects where batch_id = %s", [batch_id])
    return batch_id


def finish(
    connection: copying.Connection, batch_id: int, tally: Tally, reason: str | None, now: datetime
) -> None:
    """Write a loaded batch's figures."""
    connection.execute(
        SET_BATCH,
        {
            "batch_id": batch_id, "now": now, "status": "loaded", "reason": reason,
            "read": tally.read, "loaded": tally.loaded, "duplicate": tally.duplicate,
            "rejected": tally.rejected,
        },
    )  # fmt: skip


def hold(
    warehouse: Warehouse,
    source: str,
    location: str,
    content_hash: str,
    tally: Tally,
    now: datetime,
) -> tuple[int, str]:
    """Record a held batch and the first of its rejects; returns its id and the reason.

    All its rows count as rejected, so that read = loaded + duplicate + rejected holds.
    """
    share = tally.rejected / tally.read
    reason = (
        f"held: {tally.rejected:,} of {tally.read:,} rows refused ({share:.1%}, limit"
        f" {HOLD_SHARE:.0%}), most often {tally.main_reason}; all rows count as rejected until"
        " the batch is accepted"
    )
    with warehouse.transaction() as connection:
        batch_id = begin(connection, source, location, content_hash, now)
        connection.execute(
            SET_BATCH,
            {
                "batch_id": batch_id, "now": now, "status": "held", "reason": reason,
                "read": tally.read, "loaded": 0, "duplicate": 0, "rejected": tally.read,
            },
        )  # fmt: skip
        copying.write_rejects(connection, batch_id, source, tally.sample)
    return batch_id, reason


def fail(
    warehouse: Warehouse,
    source: str,
    location: str,
    content_hash: str,
    reason: str,
    now: datetime,
) -> int:
    """Record a file that could not be read."""
    with warehouse.transaction() as connection:
        row = connection.execute(
            """
            insert into raw.batches
                (source, location, content_hash, started_at, finished_at, status, reason)
            values (%s, %s, %s, %s, %s, 'failed', %s) returning batch_id
            """,
            [source, location, content_hash, now, now, reason],
        ).fetchone()
    return int(row["batch_id"]) if row else 0
